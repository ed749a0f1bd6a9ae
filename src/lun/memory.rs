//! A small medium in memory that is never written: the seed of a cloud image.

use bytes::Bytes;
use cow::{Kind, Wait};
use scsi::{StatusRun, Usage};

use super::store::{BlockStore, StoreError};

type Result<T> = std::result::Result<T, StoreError>;

/// Bytes that are read and nothing else. Its unit is read-only, so nothing else is asked; if it is, it fails.
#[derive(Clone)]
pub struct ReadOnlyMemory(Bytes);

const NEVER: StoreError = StoreError(Kind::Invalid);

impl ReadOnlyMemory {
    /// A medium with this content.
    #[must_use]
    pub fn new(content: impl Into<Bytes>) -> Self {
        Self(content.into())
    }

    fn part(&self, offset: u64, bytes: usize) -> Result<&[u8]> {
        let begin = usize::try_from(offset).map_err(|_| StoreError(Kind::OutOfRange))?;
        let end = begin.checked_add(bytes).ok_or(StoreError(Kind::OutOfRange))?;
        self.0.get(begin..end).ok_or(StoreError(Kind::OutOfRange))
    }
}

/// It has passwords in it: it is not for logs.
impl std::fmt::Debug for ReadOnlyMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadOnlyMemory").field("bytes", &self.0.len()).finish()
    }
}

impl BlockStore for ReadOnlyMemory {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn usage(&self) -> Usage {
        Usage { used_bytes: self.size_bytes(), available_bytes: 0, ..Usage::default() }
    }

    fn read(&self, offset: u64, out: &mut [u8], _: Wait) -> Result<()> {
        out.copy_from_slice(self.part(offset, out.len())?);
        Ok(())
    }

    fn write(&self, _: u64, _: &[&[u8]], _: Wait) -> Result<()> {
        Err(NEVER)
    }

    fn write_atomic(&self, _: u64, _: &[&[u8]], _: Wait) -> Result<()> {
        Err(NEVER)
    }

    fn compare_and_write(&self, _: u64, _: &[u8], _: &[u8], _: Wait) -> Result<Option<u64>> {
        Err(NEVER)
    }

    fn update(&self, _: u64, _: u64, _: Wait, _: &mut dyn FnMut(&mut [u8])) -> Result<()> {
        Err(NEVER)
    }

    fn trim(&self, _: u64, _: u64, _: Wait) -> Result<()> {
        Err(NEVER)
    }

    fn write_zeroes(&self, _: u64, _: u64, _: Wait) -> Result<()> {
        Err(NEVER)
    }

    fn block_status(&self, _: u64, bytes: u64) -> Result<Vec<StatusRun>> {
        Ok(vec![StatusRun { len: bytes, mapped: true }])
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn reclaim(&self) {}
}
