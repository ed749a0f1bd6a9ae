//! Compaction: what is still live in sparse segments is written once more, at the head of the log, so that those
//! segments die and the next reclaim unlinks them, with their summaries, slots and fragments.
//!
//! ```text
//!   choose   sealed segments, fewest live blocks first
//!   find     a segment's own records name blocks; those are live whose place the map still has
//!   read     without the writer, and compare with the checksums of the map
//!   move     with the writer, block by block only where the map has the old place still: an ordinary record
//! ```
//!
//! Nothing on disk tells a copy from a write. The old place stays as it is until a checkpoint that does not look
//! there is durable. A block that is not what was written is never copied, for the copy would have a good
//! checksum: its segment is left alone, and read errors there stay read errors. So is one whose records do not
//! tell of all its blocks. A frozen layer is never compacted: no data is written to it any more.

use std::sync::{Arc, atomic::Ordering};

use super::{Layer, Segment, recover::scan};
use crate::{
    disk::Wait,
    error::{Kind, Result},
    format::{
        record::{self, Body},
        segment::SegmentHeader,
    },
    index::{Extent, Place},
    limits::{BLOCK_LEN, COMPACT_STEP_BLOCKS, COMPACT_SYNC_BLOCKS, HEADER_BYTES},
};

/// What a compaction did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes that were written once more.
    pub bytes: u64,
    /// Segments in which nothing is left.
    pub segments: usize,
    /// Segments that had to be left alone: a block or a record in them is damaged. A scrub tells which.
    pub left_alone: usize,
    /// It stopped early: not even the reserve of the file system, or of the layer's slots, has room for more.
    pub is_full: bool,
}

/// A live block of the segment that is being emptied.
#[derive(Debug, Clone, Copy)]
struct Live {
    lba: u32,
    block: u16,
    crc: u32,
}

/// How moving some blocks went.
enum Moved {
    /// So many; the others had changed meanwhile.
    Blocks(u64),
    /// One of them is not what was written; none was moved.
    Rotten,
    /// No block of the layer changes any more.
    Frozen,
}

impl Layer {
    /// Sealed segments of which no more than `percent` is live, and something is, fewest live blocks first.
    fn sparse(&self, percent: u64) -> Vec<Arc<Segment>> {
        let map = self.map.read();
        let mut sparse: Vec<_> =
            map.segments.iter().flatten().filter(|segment| segment.is_sparse(percent)).cloned().collect();
        sparse.sort_by_key(|segment| segment.live_blocks.load(Ordering::Relaxed));
        sparse
    }

    /// How many segments a compaction would empty.
    pub(crate) fn sparse_segments(&self, percent: u64) -> usize {
        self.map.read().segments.iter().flatten().filter(|segment| segment.is_sparse(percent)).count()
    }

    /// Segments in which nothing is live: a reclaim unlinks them.
    pub(crate) fn dead_segments(&self) -> usize {
        self.map.read().segments.iter().flatten().filter(|segment| segment.is_dead()).count()
    }

    /// Copies live blocks of sparse segments to the log's head, at most about `blocks_max`.
    pub(crate) fn compact(&self, blocks_max: u64, percent: u64) -> Result<Compacted> {
        let _one = self.one_compaction.lock();
        let (mut done, mut unsynced) = (Compacted::default(), 0);
        // Only what is there now: a copy is not copied again.
        for segment in self.sparse(percent) {
            let live = self.find_live(&segment);
            for some in steps(&live, self.blocks_max().min(COMPACT_STEP_BLOCKS)) {
                if done.bytes >= blocks_max.saturating_mul(BLOCK_LEN as u64) {
                    return Ok(done);
                }
                match self.relocate(&segment, some) {
                    Ok(Moved::Blocks(blocks)) => {
                        done.bytes += blocks * BLOCK_LEN as u64;
                        unsynced += blocks;
                    }
                    Ok(Moved::Rotten) => break,
                    Ok(Moved::Frozen) => return Ok(done),
                    Err(error) if error.kind() == Kind::NoSpace => {
                        return Ok(Compacted { is_full: true, ..done });
                    }
                    Err(error) => return Err(error),
                }
                // A caller's flush finds little to do for this.
                if unsynced >= COMPACT_SYNC_BLOCKS {
                    self.flush()?;
                    unsynced = 0;
                }
            }
            match segment.live_blocks.load(Ordering::Relaxed) {
                0 => done.segments += 1,
                _ => {
                    segment.left_alone.store(true, Ordering::Relaxed);
                    done.left_alone += 1;
                }
            }
        }
        Ok(done)
    }

    /// The live blocks that a segment's records tell of, in the order of the volume; none where they cannot be read.
    fn find_live(&self, segment: &Segment) -> Vec<Live> {
        let mut summary = vec![0; segment.data_offset as usize];
        let Ok(read) = segment.file.read_at(0, &mut summary, Wait::Yes) else { return Vec::new() };
        summary.truncate(read);
        let header = summary.get(..BLOCK_LEN).unwrap_or(&summary);
        let Ok((_, chain)) = SegmentHeader::unpack(header, self.id, segment.number) else {
            return Vec::new();
        };
        let salt = record::segment_salt(self.id, segment.number);
        let (records, _) = scan(&summary, salt, HEADER_BYTES, chain);
        let mut live = Vec::new();
        for record in records {
            if let Body::Write { lba, block, crcs } = record.body {
                self.live_of_record(segment, (lba, block), crcs.len() as u64, &mut live);
            }
        }
        live.sort_unstable_by_key(|block| block.lba);
        live
    }

    /// Adds the blocks of one record that the map still finds where the record put them.
    fn live_of_record(&self, segment: &Segment, first: (u32, u32), blocks: u64, live: &mut Vec<Live>) {
        let map = self.map.read();
        let mut at = 0;
        while at < blocks {
            let here = |base: u32| u32::try_from(u64::from(base) + at).ok();
            let (Some(lba), Some(block)) = (here(first.0), here(first.1)) else { return };
            let extent = map.index.lookup(lba, blocks - at);
            at += extent.blocks();
            if let Extent::Data(place, crcs) = extent
                && place.slot == segment.slot
                && u32::from(place.block) == block
            {
                let found = (lba..).zip(place.block..).zip(crcs);
                live.extend(found.map(|((lba, block), crc)| Live { lba, block, crc: *crc }));
            }
        }
    }

    /// Writes blocks that follow each other in the volume at new places.
    fn relocate(&self, segment: &Segment, blocks: &[Live]) -> Result<Moved> {
        let mut data = vec![0; blocks.len() * BLOCK_LEN];
        let mut rest = &mut data[..];
        for run in blocks.chunk_by(|a, b| u32::from(b.block) == u32::from(a.block) + 1) {
            let (here, after) = rest.split_at_mut(run.len() * BLOCK_LEN);
            if segment.read(run[0].block, here, Wait::Yes).is_err() {
                return Ok(Moved::Rotten);
            }
            rest = after;
        }
        let contents = || data.chunks_exact(BLOCK_LEN);
        let is_sound: Vec<bool> =
            contents().zip(blocks).map(|(data, block)| crc32c::crc32c(data) == block.crc).collect();
        let Some(mut guard) = self.write_guard()? else { return Ok(Moved::Frozen) };
        // What is still there under the guard has been there all the time: its place was not given back meanwhile.
        let is_there: Vec<bool> = {
            let map = self.map.read();
            let place = |block: &Live| Place { slot: segment.slot, block: block.block };
            let there = |block: &Live| match map.index.lookup(block.lba, 1) {
                Extent::Data(found, _) => found == place(block),
                Extent::Zero(_) | Extent::Hole(_) => false,
            };
            blocks.iter().map(there).collect()
        };
        if is_there.iter().zip(&is_sound).any(|(there, sound)| *there && !*sound) {
            return Ok(Moved::Rotten);
        }
        let (mut at, mut moved) = (0, 0);
        for same in is_there.chunk_by(|a, b| a == b) {
            let here = at..at + same.len();
            at = here.end;
            if same[0] {
                let crcs: Vec<u32> = blocks[here.clone()].iter().map(|block| block.crc).collect();
                let bytes = here.start * BLOCK_LEN..here.end * BLOCK_LEN;
                guard.copy(blocks[here.start].lba, &[&data[bytes]], &crcs)?;
                moved += crcs.len() as u64;
            }
        }
        Ok(Moved::Blocks(moved))
    }
}

impl Segment {
    fn is_sparse(&self, percent: u64) -> bool {
        let live = u64::from(self.live_blocks.load(Ordering::Relaxed));
        self.sealed.load(Ordering::Acquire)
            && !self.left_alone.load(Ordering::Relaxed)
            && live > 0
            && live * 100 <= u64::from(self.blocks) * percent
    }

    fn is_dead(&self) -> bool {
        self.sealed.load(Ordering::Acquire) && self.live_blocks.load(Ordering::Relaxed) == 0
    }
}

/// Cuts blocks, in the order of the volume, into stretches without a gap of at most `most` blocks.
fn steps(live: &[Live], most: usize) -> impl Iterator<Item = &[Live]> {
    live.chunk_by(|a, b| a.lba.checked_add(1) == Some(b.lba)).flat_map(move |stretch| stretch.chunks(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_without_gaps_and_short() {
        let live: Vec<Live> =
            [3, 4, 5, 6, 9, u32::MAX].iter().map(|lba| Live { lba: *lba, block: 0, crc: 0 }).collect();
        let lbas: Vec<Vec<u32>> =
            steps(&live, 3).map(|step| step.iter().map(|block| block.lba).collect()).collect();
        assert_eq!(lbas, [vec![3, 4, 5], vec![6], vec![9], vec![u32::MAX]]);
    }
}
