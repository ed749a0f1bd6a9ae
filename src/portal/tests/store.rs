//! A store in memory that stalls.

use cow::{Kind, Wait};
use parking_lot::{Condvar, Mutex};
use scsi::{StatusRun, Usage};

use crate::lun::BlockStore;

type Result<T> = std::result::Result<T, crate::lun::StoreError>;

const SIZE: usize = 1 << 20;

pub(super) struct StallingStore {
    state: Mutex<State>,
    resumed: Condvar,
}

struct State {
    bytes: Vec<u8>,
    stalls: bool,
    /// Even what must not wait does, as writes to a frozen file system.
    without_a_word: bool,
    stalled_calls: usize,
    writes_done: usize,
}

impl Default for StallingStore {
    fn default() -> Self {
        let state = State {
            bytes: vec![0; SIZE],
            stalls: false,
            without_a_word: false,
            stalled_calls: 0,
            writes_done: 0,
        };
        Self { state: Mutex::new(state), resumed: Condvar::new() }
    }
}

impl StallingStore {
    pub(super) fn stall(&self) {
        self.state.lock().stalls = true;
    }

    /// Stalls, and does not tell those that must not wait.
    pub(super) fn stall_without_a_word(&self) {
        let mut state = self.state.lock();
        (state.stalls, state.without_a_word) = (true, true);
    }

    pub(super) fn resume(&self) {
        let mut state = self.state.lock();
        (state.stalls, state.without_a_word) = (false, false);
        drop(state);
        self.resumed.notify_all();
    }

    pub(super) fn stalled_calls(&self) -> usize {
        self.state.lock().stalled_calls
    }

    pub(super) fn writes_done(&self) -> usize {
        self.state.lock().writes_done
    }

    /// All that is on the disk now.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.state.lock().bytes.clone()
    }

    fn with<T>(&self, wait: Wait, work: impl FnOnce(&mut State) -> T) -> Result<T> {
        let mut state = self.state.lock();
        if state.stalls && !state.without_a_word && wait == Wait::No {
            return Err(crate::lun::StoreError(Kind::WouldBlock));
        }
        state.stalled_calls += usize::from(state.stalls);
        while state.stalls {
            self.resumed.wait(&mut state);
        }
        Ok(work(&mut state))
    }
}

fn range(offset: u64, len: usize) -> std::ops::Range<usize> {
    let offset = usize::try_from(offset).unwrap();
    offset..offset + len
}

impl BlockStore for StallingStore {
    fn size_bytes(&self) -> u64 {
        SIZE as u64
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }

    fn read(&self, offset: u64, out: &mut [u8], wait: Wait) -> Result<()> {
        self.with(wait, |state| out.copy_from_slice(&state.bytes[range(offset, out.len())]))
    }

    fn write(&self, offset: u64, data: &[&[u8]], wait: Wait) -> Result<()> {
        self.with(wait, |state| {
            let data = data.concat();
            state.bytes[range(offset, data.len())].copy_from_slice(&data);
            state.writes_done += 1;
        })
    }

    fn write_atomic(&self, offset: u64, data: &[&[u8]], wait: Wait) -> Result<()> {
        self.write(offset, data, wait)
    }

    fn compare_and_write(&self, _: u64, _: &[u8], _: &[u8], wait: Wait) -> Result<Option<u64>> {
        self.with(wait, |_| None)
    }

    fn update(&self, offset: u64, bytes: u64, wait: Wait, change: &mut dyn FnMut(&mut [u8])) -> Result<()> {
        self.with(wait, |state| change(&mut state.bytes[range(offset, usize::try_from(bytes).unwrap())]))
    }

    fn trim(&self, _: u64, _: u64, wait: Wait) -> Result<()> {
        self.with(wait, |_| ())
    }

    fn write_zeroes(&self, _: u64, _: u64, wait: Wait) -> Result<()> {
        self.with(wait, |_| ())
    }

    fn block_status(&self, _: u64, bytes: u64) -> Result<Vec<StatusRun>> {
        Ok(vec![StatusRun { len: bytes, mapped: true }])
    }

    fn flush(&self) -> Result<()> {
        self.with(Wait::Yes, |_| ())
    }

    fn reclaim(&self) {}
}
