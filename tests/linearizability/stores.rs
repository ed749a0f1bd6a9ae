//! Volumes in memory: one that does what it should, at awkward moments, and ones that do not.

use std::sync::atomic::{AtomicU64, Ordering};

use cow::{Kind, Wait};
use osvold::lun::{BlockStore, StoreError};
use parking_lot::Mutex;
use scsi::{StatusRun, Usage};

type Result<T> = std::result::Result<T, StoreError>;

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Compares, and writes some time later, without keeping others out.
    OpenCompareAndWrite,
    /// Says that a write is done before it is.
    EarlyAnswer,
    /// None; but a write takes so long that others are done meanwhile.
    Lazy,
}

/// A volume of a few blocks. At every other call or so it lets others go first, or says that it would have to wait.
pub struct Restless {
    bytes: Mutex<Vec<u8>>,
    /// A write that was answered and not done.
    owed: Mutex<Option<(usize, Vec<u8>)>>,
    random: AtomicU64,
    fault: Fault,
}

impl Restless {
    pub fn new(fault: Fault, seed: u64) -> Self {
        let bytes = Mutex::new(vec![0; 1 << 16]);
        Self { bytes, owed: Mutex::new(None), random: AtomicU64::new(seed), fault }
    }

    fn chance(&self, of: u64) -> bool {
        let number = self.random.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        (number ^ number >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40 & 0xFFFF < 0xFFFF / of
    }

    /// Whatever a call does, others may come before it.
    fn dither(&self, wait: Wait) -> Result<()> {
        if wait == Wait::No && self.chance(3) {
            return Err(StoreError(Kind::WouldBlock));
        }
        while self.chance(2) {
            std::thread::yield_now();
        }
        Ok(())
    }

    fn put(&self, at: usize, data: &[u8]) {
        self.bytes.lock()[at..at + data.len()].copy_from_slice(data);
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

impl BlockStore for Restless {
    fn size_bytes(&self) -> u64 {
        self.bytes.lock().len() as u64
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }

    fn read(&self, offset: u64, out: &mut [u8], wait: Wait) -> Result<()> {
        self.dither(wait)?;
        let at = place(offset);
        out.copy_from_slice(&self.bytes.lock()[at..at + out.len()]);
        self.dither(Wait::Yes)
    }

    fn write(&self, offset: u64, data: &[&[u8]], wait: Wait) -> Result<()> {
        self.dither(wait)?;
        let data = data.concat();
        if let Some((at, data)) = self.owed.lock().take() {
            self.put(at, &data);
        }
        if self.fault == Fault::EarlyAnswer && self.chance(2) {
            *self.owed.lock() = Some((place(offset), data));
            return Ok(());
        }
        if self.fault == Fault::Lazy {
            (0..200).for_each(|_| std::thread::yield_now());
        }
        self.put(place(offset), &data);
        self.dither(Wait::Yes)
    }

    fn write_atomic(&self, offset: u64, data: &[&[u8]], wait: Wait) -> Result<()> {
        self.write(offset, data, wait)
    }

    fn compare_and_write(&self, offset: u64, expected: &[u8], new: &[u8], wait: Wait) -> Result<Option<u64>> {
        self.dither(wait)?;
        let at = place(offset);
        let differs = |bytes: &[u8]| bytes[at..].iter().zip(expected).position(|(a, b)| a != b);
        let mut bytes = self.bytes.lock();
        let mut differs_at = differs(&bytes);
        if self.fault == Fault::OpenCompareAndWrite {
            drop(bytes);
            (0..20).for_each(|_| std::thread::yield_now());
            bytes = self.bytes.lock();
        } else {
            differs_at = differs(&bytes);
        }
        if differs_at.is_none() {
            bytes[at..at + new.len()].copy_from_slice(new);
        }
        drop(bytes);
        self.dither(Wait::Yes)?;
        Ok(differs_at.map(|at| at as u64))
    }

    fn update(&self, offset: u64, bytes: u64, wait: Wait, change: &mut dyn FnMut(&mut [u8])) -> Result<()> {
        self.dither(wait)?;
        change(&mut self.bytes.lock()[place(offset)..place(offset + bytes)]);
        Ok(())
    }

    fn trim(&self, offset: u64, bytes: u64, wait: Wait) -> Result<()> {
        self.update(offset, bytes, wait, &mut |part| part.fill(0))
    }

    fn write_zeroes(&self, offset: u64, bytes: u64, wait: Wait) -> Result<()> {
        self.trim(offset, bytes, wait)
    }

    fn block_status(&self, _: u64, bytes: u64) -> Result<Vec<StatusRun>> {
        Ok(vec![StatusRun { len: bytes, mapped: true }])
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn reclaim(&self) {}
}
