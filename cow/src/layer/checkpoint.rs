//! Checkpoints, and the space that comes back behind them.
//!
//! Nothing that a durable checkpoint looks at is given back before the next checkpoint is durable: a crash in
//! between finds everything where the older one says.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use parking_lot::MutexGuard;

use super::{
    Layer, Segment,
    segment::{checkpoint_path, numbered, segment_path},
    writer::WriteGuard,
};
use crate::{
    context::Context,
    error::{Error, Result},
    format::checkpoint::{self, CheckpointHead, CheckpointSegment},
    limits::BLOCK_BYTES,
};

/// Blocks of a segment that nothing looks at, to be punched out.
struct Holes {
    segment: Arc<Segment>,
    /// First block and blocks.
    ranges: Vec<(u32, u32)>,
}

/// What can be given back once a checkpoint is durable.
struct Garbage {
    whole: Vec<Arc<Segment>>,
    holes: Vec<Holes>,
    /// Blocks that were overwritten or trimmed.
    blocks: u64,
    /// Blocks that were copied elsewhere.
    moved: u64,
}

impl Layer {
    /// Blocks that a [`Layer::reclaim`] would give back.
    pub(crate) fn garbage_blocks(&self) -> u64 {
        self.garbage_blocks.load(Ordering::Relaxed)
    }

    /// Writes the map down, so that the next opening reads it instead of replaying records.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        let _one = self.one_checkpoint.lock();
        let mut guard = self.any_guard()?;
        if !guard.writer().has_dir {
            return Ok(());
        }
        let (head, bytes) = self.capture(&mut guard);
        drop(guard);
        self.sync_all()?;
        self.publish(&head, &bytes)
    }

    /// Gives dead space back to the file system: unlinks dead segments, punches dead blocks out of the others.
    pub(crate) fn reclaim(&self) -> Result<u64> {
        self.reclaim_alone(&self.one_checkpoint.lock())
    }

    /// The same for a caller who makes this layer's checkpoints alone.
    pub(super) fn reclaim_alone(&self, _: &MutexGuard<'_, ()>) -> Result<u64> {
        let mut guard = self.any_guard()?;
        if !guard.writer().has_dir {
            return Ok(0);
        }
        guard.seal();
        let garbage = self.find_garbage();
        let fresh = self.fresh_blocks.load(Ordering::Relaxed);
        for segment in &garbage.whole {
            self.map.write().segments[segment.slot as usize] = None;
        }
        let (head, bytes) = self.capture(&mut guard);
        drop(guard);
        self.sync_all()?;
        self.publish(&head, &bytes)?;
        let (blocks, moved) = (garbage.blocks, garbage.moved);
        // Nobody waits for the unlinking, which may be of far more than what was overwritten.
        self.forget_fresh(fresh);
        self.give_back(garbage)?;
        self.garbage_blocks.fetch_sub(blocks.min(self.garbage_blocks()), Ordering::Relaxed);
        self.moved_blocks.fetch_sub(moved.min(self.moved_blocks.load(Ordering::Relaxed)), Ordering::Relaxed);
        Ok(blocks)
    }

    fn capture(&self, guard: &mut WriteGuard<'_>) -> (CheckpointHead, Vec<u8>) {
        let writer = guard.writer();
        writer.checkpoint += 1;
        let active =
            writer.active.as_ref().map(|active| (active.segment.number, active.end_offset, active.chain));
        let map = self.map.read();
        let segments = map.segments.iter().flatten().map(|segment| {
            let (end_offset, chain) = match active {
                Some((number, end_offset, chain)) if number == segment.number => (end_offset, chain),
                // Nothing more will be written there: a scan that begins at the end finds nothing.
                _ => (SEALED_END, 0),
            };
            CheckpointSegment { number: segment.number, slot: segment.slot, end_offset, chain }
        });
        let head = CheckpointHead {
            store: self.context.store,
            layer: self.id,
            number: writer.checkpoint,
            seq: self.written_seq.load(Ordering::Acquire),
            next_segment: writer.next_segment,
            segments: segments.collect(),
        };
        let bytes = checkpoint::pack(&head, &map.index);
        (head, bytes)
    }

    fn publish(&self, head: &CheckpointHead, bytes: &[u8]) -> Result<()> {
        put(&self.context, &self.dir, &checkpoint_path(&self.dir, head.number), bytes)?;
        self.saved_seq.fetch_max(head.seq, Ordering::AcqRel);
        self.told_seq.fetch_max(head.seq, Ordering::AcqRel);
        self.checkpoint_bytes.store(allocated(bytes.len()), Ordering::Relaxed);
        let names = self.context.disk.list(&self.dir).map_err(|error| self.io_error("list", error))?;
        for old in
            names.iter().filter_map(|entry| numbered(&entry.name, "ckpt-")).filter(|n| *n < head.number)
        {
            let path = checkpoint_path(&self.dir, old);
            self.context.disk.remove_file(&path).map_err(|error| Error::io("remove", &path, error))?;
        }
        Ok(())
    }

    /// What nothing looks at now. Called with the writer held: nothing moves meanwhile.
    fn find_garbage(&self) -> Garbage {
        let map = self.map.read();
        let mut live: HashMap<u32, Vec<(u32, u32)>> = HashMap::new();
        for run in map.index.runs() {
            let range = (u32::from(run.place.block), u32::try_from(run.crcs.len()).unwrap_or(0));
            live.entry(run.place.slot).or_default().push(range);
        }
        let (blocks, moved) = (self.garbage_blocks(), self.moved_blocks.load(Ordering::Relaxed));
        let mut garbage = Garbage { whole: Vec::new(), holes: Vec::new(), blocks, moved };
        for segment in map.segments.iter().flatten() {
            match live.remove(&segment.slot) {
                None => garbage.whole.push(segment.clone()),
                Some(mut used) => {
                    used.sort_unstable();
                    garbage
                        .holes
                        .push(Holes { segment: segment.clone(), ranges: complement(&used, segment.blocks) });
                }
            }
        }
        garbage
    }

    fn give_back(&self, garbage: Garbage) -> Result<()> {
        for segment in garbage.whole {
            let path = segment_path(&self.dir, segment.number);
            self.context.disk.remove_file(&path).map_err(|error| Error::io("remove", &path, error))?;
        }
        for Holes { segment, ranges } in garbage.holes {
            for (first, blocks) in ranges {
                let punched =
                    segment.file.punch(segment.block_offset(first), u64::from(blocks) * BLOCK_BYTES);
                punched.map_err(|error| self.io_error("punch a hole into a segment of", error))?;
            }
        }
        Ok(())
    }
}

/// What a file that was written whole takes on disk.
pub(super) fn allocated(bytes: usize) -> u64 {
    (bytes as u64).next_multiple_of(BLOCK_BYTES)
}

/// An end that no scan goes beyond.
pub(crate) const SEALED_END: u32 = u32::MAX;

/// The ranges of a segment that are in none of `used`, which is sorted.
fn complement(used: &[(u32, u32)], blocks: u32) -> Vec<(u32, u32)> {
    let mut free = Vec::new();
    let mut at = 0;
    for (first, blocks) in used.iter().copied().chain([(blocks, 0)]) {
        if first > at {
            free.push((at, first - at));
        }
        at = at.max(first + blocks);
    }
    free
}

/// Puts a file in its place, whole and durable or not at all; the name must be free.
pub(crate) fn put(context: &Context, dir: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    let disk = &context.disk;
    let staged = context.staging_path()?;
    let written = disk.create(&staged).and_then(|file| {
        file.write_at(0, &[bytes])?;
        file.sync_data()
    });
    let placed = written.and_then(|()| disk.rename(&staged, path));
    if let Err(error) = placed {
        // Swept at the next opening if it cannot be removed now; the first error is the one to report.
        drop(disk.remove_file(&staged));
        return Err(Error::io("write", path, error));
    }
    disk.sync_dir(dir).map_err(|error| Error::io("sync", dir, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_used_is_free() {
        assert_eq!(complement(&[(0, 2), (5, 1)], 9), [(2, 3), (6, 3)]);
        assert_eq!(complement(&[(0, 9)], 9), []);
    }
}
