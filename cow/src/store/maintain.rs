//! Upkeep: what an open store does now and then, in the background.

use std::sync::Arc;

use super::Store;
use crate::{
    error::Result,
    limits::{RECLAIM_BYTES_ALWAYS, RECLAIM_BYTES_MIN, RECLAIM_SHARE, REPLAY_RECORDS_MAX},
    volume::Volume,
};

/// What one round of upkeep did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Upkeep {
    /// Bytes of overwritten and trimmed blocks that were given back to the file system.
    pub reclaimed_bytes: u64,
    /// Volumes whose map was written down.
    pub checkpoints: usize,
    /// Layers that went because no snapshot needs them any more.
    pub merged_layers: usize,
}

impl Store {
    /// One round of upkeep over all open volumes: gives space back where much of it is dead, writes maps down where
    /// recovery would have much to replay, and merges layers that no snapshot needs. May wait for the disk. Calls that change volumes go on meanwhile.
    pub fn maintain(&self) -> Result<Upkeep> {
        let open: Vec<Arc<Volume>> =
            self.catalogue.lock().volumes.values().filter_map(|entry| entry.open.clone()).collect();
        let mut done = Upkeep::default();
        for volume in open.iter().filter(|volume| !volume.is_poisoned()) {
            if wants_reclaim(volume.garbage_bytes(), volume.mapped_bytes()) {
                done.reclaimed_bytes += volume.reclaim()?;
            } else if volume.unsaved_records() > REPLAY_RECORDS_MAX {
                volume.checkpoint()?;
                done.checkpoints += 1;
            }
            if volume.layers() > 1 {
                done.merged_layers += self.merge_layers(volume.id())?;
            }
        }
        Ok(done)
    }
}

/// Whether giving dead space back is worth a checkpoint.
fn wants_reclaim(garbage_bytes: u64, mapped_bytes: u64) -> bool {
    garbage_bytes >= RECLAIM_BYTES_ALWAYS
        || garbage_bytes >= RECLAIM_BYTES_MIN && garbage_bytes >= mapped_bytes / RECLAIM_SHARE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_garbage_waits_and_much_does_not() {
        assert!(!wants_reclaim(RECLAIM_BYTES_MIN - 1, 0));
        assert!(wants_reclaim(RECLAIM_BYTES_MIN, 0));
        assert!(!wants_reclaim(RECLAIM_BYTES_MIN, 1 << 40));
        assert!(wants_reclaim(RECLAIM_BYTES_ALWAYS, 1 << 40));
    }
}
