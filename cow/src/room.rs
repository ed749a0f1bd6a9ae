//! The part of the file system that data never takes, so that flush, trim, delete and metadata find room when
//! everything else is full.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    context::Context,
    disk::Space,
    error::{Error, Kind, Result},
    limits::{BLOCK_BYTES, RESERVE_BYTES_MAX, RESERVE_BYTES_MIN, RESERVE_SHARE, ROOM_STEP_BLOCKS},
};

/// Blocks of data that may be written before the file system is asked again.
#[derive(Default)]
pub(crate) struct Room(AtomicU64);

impl Context {
    /// Takes room for blocks of data; [`Kind::NoSpace`] when only the reserve is left.
    pub(crate) fn take_room(&self, blocks: u64) -> Result<()> {
        let budget = &self.room.0;
        let take = |left: u64| left.checked_sub(blocks);
        if budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            return Ok(());
        }
        let space = self.look()?;
        let free = space.free_bytes.saturating_sub(reserve_bytes(space.total_bytes)) / BLOCK_BYTES;
        if free < blocks {
            return Err(self.no_room());
        }
        budget.store((free - blocks).min(ROOM_STEP_BLOCKS), Ordering::Relaxed);
        Ok(())
    }
}

impl Context {
    /// Takes room for copies that set free more than they take: they may have the half of the reserve.
    pub(crate) fn take_room_for_copies(&self, blocks: u64) -> Result<()> {
        let space = self.look()?;
        if space.free_bytes < reserve_bytes(space.total_bytes) / 2 + blocks * BLOCK_BYTES {
            return Err(self.no_room());
        }
        Ok(())
    }

    fn look(&self) -> Result<Space> {
        let space = self.disk.space(&self.root);
        space.map_err(|error| Error::io("ask for the space of", &self.root, error))
    }

    fn no_room(&self) -> Error {
        let message = format!("{}: only the reserve of the file system is left", self.root.display());
        Error::new(Kind::NoSpace, message)
    }
}

/// What a file system of this size keeps for metadata.
pub(crate) fn reserve_bytes(total_bytes: u64) -> u64 {
    (total_bytes / RESERVE_SHARE).clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX)
}
