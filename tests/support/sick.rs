//! A volume in memory that fails, hangs or is cold where a test wants it to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on panics")]
#![allow(unreachable_pub, reason = "a part of a test")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cow::{Kind, Wait};
use osvold::lun::{BlockStore, StoreError};
use parking_lot::{Condvar, Mutex};
use scsi::{StatusRun, Usage};

type Result<T> = std::result::Result<T, StoreError>;

pub struct SickDisk {
    bytes: Mutex<Vec<u8>>,
    fail: Mutex<Option<Kind>>,
    hangs: Mutex<bool>,
    healed: Condvar,
    /// Calls that hang.
    pub waiting: AtomicUsize,
    /// What may not wait fails with `WouldBlock`.
    pub cold: AtomicBool,
}

impl SickDisk {
    pub fn new(bytes: usize) -> Self {
        Self {
            bytes: Mutex::new(vec![0; bytes]),
            fail: Mutex::default(),
            hangs: Mutex::default(),
            healed: Condvar::new(),
            waiting: AtomicUsize::new(0),
            cold: AtomicBool::new(false),
        }
    }

    pub fn fail(&self, kind: Option<Kind>) {
        *self.fail.lock() = kind;
    }

    /// Changes and flushes hang from now on, or no more.
    pub fn hang(&self, hangs: bool) {
        *self.hangs.lock() = hangs;
        self.healed.notify_all();
    }

    pub fn bytes(&self, at: usize, count: usize) -> Vec<u8> {
        self.bytes.lock()[at..at + count].to_vec()
    }

    fn check(&self, wait: Wait) -> Result<()> {
        if let Some(kind) = *self.fail.lock() {
            return Err(StoreError(kind));
        }
        match self.cold.load(Ordering::Acquire) && wait == Wait::No {
            true => Err(StoreError(Kind::WouldBlock)),
            false => Ok(()),
        }
    }

    fn check_change(&self, wait: Wait) -> Result<()> {
        let mut hangs = self.hangs.lock();
        if *hangs && wait == Wait::No {
            return Err(StoreError(Kind::WouldBlock));
        }
        while *hangs {
            self.waiting.fetch_add(1, Ordering::AcqRel);
            self.healed.wait(&mut hangs);
        }
        self.check(wait)
    }

    fn put(&self, offset: u64, bytes: u64, fill: impl FnOnce(&mut [u8])) {
        let (at, bytes) = (usize::try_from(offset).unwrap(), usize::try_from(bytes).unwrap());
        fill(&mut self.bytes.lock()[at..at + bytes]);
    }
}

impl BlockStore for SickDisk {
    fn size_bytes(&self) -> u64 {
        self.bytes.lock().len() as u64
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }

    fn read(&self, offset: u64, out: &mut [u8], wait: Wait) -> Result<()> {
        self.check(wait)?;
        let at = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.bytes.lock()[at..at + out.len()]);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[&[u8]], wait: Wait) -> Result<()> {
        self.check_change(wait)?;
        let data = data.concat();
        self.put(offset, data.len() as u64, |to| to.copy_from_slice(&data));
        Ok(())
    }

    fn write_atomic(&self, offset: u64, data: &[&[u8]], wait: Wait) -> Result<()> {
        self.write(offset, data, wait)
    }

    fn compare_and_write(&self, _: u64, _: &[u8], _: &[u8], _: Wait) -> Result<Option<u64>> {
        Err(StoreError(Kind::Invalid))
    }

    fn update(&self, _: u64, _: u64, _: Wait, _: &mut dyn FnMut(&mut [u8])) -> Result<()> {
        Err(StoreError(Kind::Invalid))
    }

    fn trim(&self, offset: u64, bytes: u64, wait: Wait) -> Result<()> {
        self.check_change(wait)?;
        self.put(offset, bytes, |to| to.fill(0));
        Ok(())
    }

    fn write_zeroes(&self, offset: u64, bytes: u64, wait: Wait) -> Result<()> {
        self.trim(offset, bytes, wait)
    }

    fn block_status(&self, _: u64, bytes: u64) -> Result<Vec<StatusRun>> {
        self.check(Wait::Yes)?;
        Ok(vec![StatusRun { len: bytes, mapped: true }])
    }

    fn flush(&self) -> Result<()> {
        self.check_change(Wait::Yes)
    }

    fn reclaim(&self) {}
}
