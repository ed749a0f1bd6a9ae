//! What the executor needs of a volume. `cow::Volume` is one; tests have one that fails where they want.

use std::time::Duration;

use cow::{Allocation, Error, Kind, Wait};
use scsi::{StatusRun, Usage};

use crate::seldom::Seldom;

/// Why the store did not do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreError(pub Kind);

type Result<T> = std::result::Result<T, StoreError>;

/// A volume, by byte offsets that are multiples of 512. Every call may come from any thread.
/// With `Wait::No` a call that would wait fails with `Kind::WouldBlock` and has changed nothing.
#[expect(missing_docs, reason = "each is the method of cow::Volume of that name")]
pub trait BlockStore: Send + Sync {
    fn size_bytes(&self) -> u64;
    fn usage(&self) -> Usage;
    fn read(&self, offset: u64, out: &mut [u8], wait: Wait) -> Result<()>;
    fn write(&self, offset: u64, data: &[&[u8]], wait: Wait) -> Result<()>;
    fn write_atomic(&self, offset: u64, data: &[&[u8]], wait: Wait) -> Result<()>;
    fn compare_and_write(&self, offset: u64, expected: &[u8], new: &[u8], wait: Wait) -> Result<Option<u64>>;
    fn update(&self, offset: u64, bytes: u64, wait: Wait, change: &mut dyn FnMut(&mut [u8])) -> Result<()>;
    fn trim(&self, offset: u64, bytes: u64, wait: Wait) -> Result<()>;
    fn write_zeroes(&self, offset: u64, bytes: u64, wait: Wait) -> Result<()>;
    fn block_status(&self, offset: u64, bytes: u64) -> Result<Vec<StatusRun>>;
    fn flush(&self) -> Result<()>;
    /// Gives space of deallocated blocks back; failure only means later.
    fn reclaim(&self);
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match error.kind() {
            Kind::WouldBlock => {}
            Kind::NoSpace => {
                if let Some(unsaid) = REFUSALS.say() {
                    tracing::warn!(%error, unsaid, "a write is refused");
                }
            }
            _ => {
                if let Some(unsaid) = ERRORS.say() {
                    tracing::warn!(%error, source = ?std::error::Error::source(&error), unsaid, "volume");
                }
            }
        }
        Self(error.kind())
    }
}

/// Writes that find no space come by the thousand: one of them is logged now and then.
static REFUSALS: Seldom = Seldom::new(1, Duration::from_secs(10));

/// So do reads of a block that is damaged: an initiator tries again and again.
static ERRORS: Seldom = Seldom::new(50, Duration::from_secs(1));

impl BlockStore for cow::Volume {
    fn size_bytes(&self) -> u64 {
        self.size_bytes()
    }

    fn usage(&self) -> Usage {
        let used_bytes = self.mapped_bytes();
        let available_bytes = self.size_bytes().saturating_sub(used_bytes);
        Usage { used_bytes, available_bytes, writes_failed: self.is_poisoned(), ..Usage::default() }
    }

    fn read(&self, offset: u64, out: &mut [u8], wait: Wait) -> Result<()> {
        Ok(self.read(offset, out, wait)?)
    }

    fn write(&self, offset: u64, data: &[&[u8]], wait: Wait) -> Result<()> {
        Ok(self.write(offset, data, wait)?)
    }

    fn write_atomic(&self, offset: u64, data: &[&[u8]], wait: Wait) -> Result<()> {
        Ok(self.write_atomic(offset, data, wait)?)
    }

    fn compare_and_write(&self, offset: u64, expected: &[u8], new: &[u8], wait: Wait) -> Result<Option<u64>> {
        Ok(self.compare_and_write(offset, expected, new, wait)?)
    }

    fn update(&self, offset: u64, bytes: u64, wait: Wait, change: &mut dyn FnMut(&mut [u8])) -> Result<()> {
        Ok(self.update(offset, bytes, wait, change)?)
    }

    fn trim(&self, offset: u64, bytes: u64, wait: Wait) -> Result<()> {
        Ok(self.trim(offset, bytes, wait)?)
    }

    fn write_zeroes(&self, offset: u64, bytes: u64, wait: Wait) -> Result<()> {
        Ok(self.write_zeroes(offset, bytes, wait)?)
    }

    fn block_status(&self, offset: u64, bytes: u64) -> Result<Vec<StatusRun>> {
        let runs = self.block_status(offset, bytes)?;
        let mapped = |allocation| match allocation {
            Allocation::Mapped => true,
            Allocation::Deallocated => false,
        };
        Ok(runs.into_iter().map(|(len, allocation)| StatusRun { len, mapped: mapped(allocation) }).collect())
    }

    fn flush(&self) -> Result<()> {
        Ok(self.flush()?)
    }

    fn reclaim(&self) {
        if let Err(error) = self.reclaim() {
            tracing::warn!(%error, "space is given back later");
        }
    }
}
