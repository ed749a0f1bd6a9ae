//! Upkeep: what an open store does now and then, in the background.

use std::sync::{Arc, atomic::Ordering};

use super::Store;
use crate::{
    error::Result,
    ids::VolumeId,
    layer::Layer,
    limits::{
        BLOCK_BYTES, COMPACT_BYTES_ROUND, COMPACT_LIVE_PERCENT, COMPACT_LIVE_PERCENT_SHORT,
        COMPACT_SEGMENTS_MIN, DEAD_SEGMENTS_MAX, MARKERS_ROUND, RECLAIM_BYTES_ALWAYS, RECLAIM_BYTES_MIN,
        RECLAIM_SHARE, RELEASE_FILES_ROUND, REPLAY_RECORDS_MAX,
    },
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
    /// Bytes that were copied out of segments of which little was live.
    pub compacted_bytes: u64,
    /// Segments that were emptied so.
    pub compacted_segments: usize,
    /// Logs that say now that their last records are durable.
    pub markers: usize,
    /// Segments that could not be: a block or a record in them is damaged, and stays where it is.
    pub damaged_segments: usize,
}

/// What is left of a round.
struct Round {
    /// Bytes that may still be copied.
    copy_bytes: u64,
    done: Upkeep,
}

impl Store {
    /// One round of upkeep over all open volumes: gives space back where much of it is dead, empties segments of
    /// which little is live, a few MiB a round, writes maps down where recovery would have much to replay, and merges
    /// layers that no snapshot needs, marks quiet logs as durable, and unlinks what was removed. May wait for the disk.
    /// Calls that change volumes go on meanwhile. What fails in one volume does not keep the others from their turn;
    /// the first error is given at the end.
    pub fn maintain(&self) -> Result<Upkeep> {
        let mut open: Vec<VolumeId> = {
            let catalogue = self.catalogue.lock();
            catalogue.volumes.iter().filter(|(_, entry)| entry.open.is_some()).map(|(id, _)| *id).collect()
        };
        // Another one is first in the next round, so that none has all that may be copied.
        let turn = self.rounds.fetch_add(1, Ordering::Relaxed);
        let turn = turn.checked_rem(open.len()).unwrap_or(0);
        open.rotate_left(turn);
        let mut round = Round { copy_bytes: COMPACT_BYTES_ROUND, done: Upkeep::default() };
        let mut results: Vec<Result<()>> = open.iter().map(|id| self.look_after(*id, &mut round)).collect();
        results.push(self.sweep_released(RELEASE_FILES_ROUND));
        results.into_iter().collect::<Result<()>>()?;
        Ok(round.done)
    }

    fn look_after(&self, id: VolumeId, round: &mut Round) -> Result<()> {
        let mut merges = false;
        if let Ok(gate) = self.gate(id) {
            // Who opens, closes or removes it comes first: its turn comes again.
            let Some(_gate) = gate.try_lock() else { return Ok(()) };
            let open = self.catalogue.lock().volumes.get(&id).and_then(|entry| entry.open.clone());
            if let Some(volume) = open.filter(|volume| !volume.is_poisoned()) {
                round.tidy(&volume)?;
                round.compact(&volume)?;
                round.mark(&volume)?;
                merges = volume.layers() > 1;
            }
        }
        if merges {
            round.done.merged_layers += self.merge_layers(id)?;
        }
        Ok(())
    }
}

impl Round {
    /// Gives dead space back and writes the map down.
    fn tidy(&mut self, volume: &Volume) -> Result<()> {
        let stack = volume.stack();
        for layer in stack.below.iter().filter(|layer| is_worth_reclaiming(layer)) {
            self.done.reclaimed_bytes += layer.reclaim()? * BLOCK_BYTES;
        }
        if is_worth_reclaiming(&stack.top) {
            self.done.reclaimed_bytes += volume.reclaim()?;
            return Ok(());
        }
        stack.top.set_pace();
        if volume.unsaved_records() > REPLAY_RECORDS_MAX {
            volume.checkpoint()?;
            self.done.checkpoints += 1;
        }
        Ok(())
    }

    /// Says in the logs that are quiet how far they are durable.
    fn mark(&mut self, volume: &Volume) -> Result<()> {
        let stack = volume.stack();
        for layer in std::iter::once(&stack.top).chain(&stack.below) {
            // Each costs a sync; those that are left out have their turn in a later round.
            if self.done.markers < MARKERS_ROUND {
                self.done.markers += usize::from(layer.tell_durable()?);
            }
        }
        Ok(())
    }

    /// Empties sparse segments, and removes them once there is none left that is worth it.
    fn compact(&mut self, volume: &Volume) -> Result<()> {
        let top: &Arc<Layer> = &volume.stack().top;
        let (percent, least) = match top.is_short_of_slots() {
            true => (COMPACT_LIVE_PERCENT_SHORT, 1),
            false => (COMPACT_LIVE_PERCENT, COMPACT_SEGMENTS_MIN),
        };
        if self.copy_bytes == 0 || top.sparse_segments(percent) < least {
            return Ok(());
        }
        let compacted = volume.compact(self.copy_bytes, percent)?;
        self.copy_bytes = self.copy_bytes.saturating_sub(compacted.bytes);
        self.done.compacted_bytes += compacted.bytes;
        self.done.compacted_segments += compacted.segments;
        self.done.damaged_segments += compacted.left_alone;
        let is_done = top.is_short_of_slots() || top.sparse_segments(percent) < least;
        if compacted.segments > 0 && (is_done || compacted.is_full) {
            self.done.reclaimed_bytes += volume.reclaim()?;
        }
        Ok(())
    }
}

fn is_worth_reclaiming(layer: &Layer) -> bool {
    let dead = layer.dead_segments();
    dead >= DEAD_SEGMENTS_MAX
        || dead > 0 && layer.is_short_of_slots()
        || wants_reclaim(layer.garbage_blocks() * BLOCK_BYTES, layer.mapped_blocks() * BLOCK_BYTES)
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
