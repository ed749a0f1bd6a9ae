//! A disk as it was at one moment, behind a door or as a target of its own.

use cow::{Allocation, Kind, Still, Wait};
use scsi::{StatusRun, Usage};

use crate::lun::{BlockStore, StoreError};

type Result<T> = std::result::Result<T, StoreError>;

/// A still as a volume that nothing can be written to.
pub struct StillDisk(pub Still);

impl BlockStore for StillDisk {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }

    fn read(&self, offset: u64, out: &mut [u8], wait: Wait) -> Result<()> {
        Ok(self.0.read_with(offset, out, wait)?)
    }

    fn write(&self, _: u64, _: &[&[u8]], _: Wait) -> Result<()> {
        Err(StoreError(Kind::Invalid))
    }

    fn write_atomic(&self, _: u64, _: &[&[u8]], _: Wait) -> Result<()> {
        Err(StoreError(Kind::Invalid))
    }

    fn compare_and_write(&self, _: u64, _: &[u8], _: &[u8], _: Wait) -> Result<Option<u64>> {
        Err(StoreError(Kind::Invalid))
    }

    fn update(&self, _: u64, _: u64, _: Wait, _: &mut dyn FnMut(&mut [u8])) -> Result<()> {
        Err(StoreError(Kind::Invalid))
    }

    fn trim(&self, _: u64, _: u64, _: Wait) -> Result<()> {
        Err(StoreError(Kind::Invalid))
    }

    fn write_zeroes(&self, _: u64, _: u64, _: Wait) -> Result<()> {
        Err(StoreError(Kind::Invalid))
    }

    fn block_status(&self, offset: u64, bytes: u64) -> Result<Vec<StatusRun>> {
        let runs = self.0.block_status(offset, bytes)?;
        let run = |(len, allocation)| StatusRun { len, mapped: allocation == Allocation::Mapped };
        Ok(runs.into_iter().map(run).collect())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn reclaim(&self) {}
}
