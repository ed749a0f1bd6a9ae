//! A layer: the blocks written to one volume between two snapshots, as a log of segments with a map in memory.
//!
//! ```text
//!   write ──► writer (one at a time): data, then record, then map ──► acknowledged, survives a kill
//!   flush ──► sync (group commit): every segment with unsynced records, their names ──► survives a power cut
//!   read  ──► map (shared lock) ──► places ──► segments, outside the lock; every block's checksum is compared
//! ```
//!
//! Invariants:
//! 1. A record is written only after its data; it counts only with its checksum and its predecessor's.
//! 2. A segment is never continued by a later process, and a place is never written twice while anything may
//!    still look there: not the map, not the last durable checkpoint, not a record after it.
//! 3. `durable_seq` of a record is never more than what had been synced when it was written.
//! 4. After a failed sync, or a failed write of a record, nothing more is written: the layer is poisoned.

mod checkpoint;
mod compact;
mod pace;
mod recover;
mod segment;
mod sync;
mod writer;

use std::{
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

pub(crate) use checkpoint::{SEALED_END, put};
pub use compact::Compacted;
use parking_lot::{Condvar, Mutex, RwLock};
pub(crate) use recover::FAILED_SYNC;
pub(crate) use segment::{Segment, checkpoint_path, numbered, segment_path};
use sync::SyncState;
pub(crate) use writer::WriteGuard;
use writer::Writer;

use crate::{
    context::Context,
    error::{Error, Kind, Result},
    ids::{LayerId, VolumeId},
    index::{Extent, Index},
};

/// One layer, open.
pub(crate) struct Layer {
    pub(crate) id: LayerId,
    context: Arc<Context>,
    dir: PathBuf,
    map: RwLock<Map>,
    writer: Mutex<Writer>,
    /// Held while a checkpoint is made: one at a time, in the order of their numbers.
    one_checkpoint: Mutex<()>,
    one_compaction: Mutex<()>,
    /// The volume that writes here.
    volume: OnceLock<VolumeId>,
    /// The last record that was written.
    written_seq: AtomicU64,
    /// The last record that is known to survive a power cut.
    durable_seq: AtomicU64,
    /// The last record that changed something.
    changed_seq: AtomicU64,
    /// The last record of which a later one, or a checkpoint, says that it survives a power cut.
    told_seq: AtomicU64,
    /// The last record when upkeep came by.
    seen_seq: AtomicU64,
    sync: Mutex<SyncState>,
    synced: Condvar,
    poisoned: AtomicBool,
    /// Blocks in segments that nothing looks at any more, not yet given back.
    garbage_blocks: AtomicU64,
    /// The same of blocks that are live elsewhere: a compaction copied them.
    moved_blocks: AtomicU64,
    /// Blocks written since dead ones were last given back; see [`pace`].
    fresh_blocks: AtomicU64,
    /// The last record that the newest checkpoint covers.
    saved_seq: AtomicU64,
    /// Bytes that the newest checkpoint takes on disk.
    checkpoint_bytes: AtomicU64,
}

/// Where blocks lie.
#[derive(Default)]
pub(crate) struct Map {
    index: Index,
    /// By slot.
    segments: Vec<Option<Arc<Segment>>>,
}

/// What a layer says of a range, to be read without its lock.
pub(crate) enum Piece {
    /// Written: `blocks` blocks of a segment; their checksums were appended to the list.
    Data { segment: Arc<Segment>, block: u16, blocks: u64 },
    /// Reads zeros.
    Zero { blocks: u64 },
    /// Ask the layer below.
    Hole { blocks: u64 },
}

impl Layer {
    /// Tells `out` what is in a range, in order; checksums of written blocks go to `crcs`.
    pub(crate) fn resolve(
        &self,
        lba: u32,
        blocks: u64,
        crcs: &mut impl Extend<u32>,
        out: &mut impl Extend<Piece>,
    ) -> Result<()> {
        let map = self.map.read();
        let end = u64::from(lba) + blocks;
        let mut at = u64::from(lba);
        while at < end {
            let first = u32::try_from(at).map_err(|_| Error::new(Kind::OutOfRange, "block past 2^32"))?;
            let extent = map.index.lookup(first, end - at);
            at += extent.blocks();
            out.extend([match extent {
                Extent::Data(place, sums) => {
                    crcs.extend(sums.iter().copied());
                    let segment = map.segment(place.slot)?.clone();
                    Piece::Data { segment, block: place.block, blocks: sums.len() as u64 }
                }
                Extent::Zero(blocks) => Piece::Zero { blocks },
                Extent::Hole(blocks) => Piece::Hole { blocks },
            }]);
        }
        Ok(())
    }

    /// Bytes of blocks that it holds, those included that nothing looks at any more.
    pub(crate) fn used_bytes(&self) -> u64 {
        (self.mapped_blocks() + self.garbage_blocks()) * crate::limits::BLOCK_BYTES
    }

    /// Says which volume writes here: room may be kept for it.
    pub(crate) fn belongs_to(&self, volume: VolumeId) {
        // A layer never becomes that of another volume.
        self.volume.get_or_init(|| volume);
    }

    /// Bytes of memory that the map takes.
    pub(crate) fn index_bytes(&self) -> usize {
        self.map.read().index.memory_bytes()
    }

    /// Records that the next opening would have to replay.
    pub(crate) fn unsaved_records(&self) -> u64 {
        self.written_seq.load(Ordering::Acquire) - self.saved_seq.load(Ordering::Acquire)
    }

    /// Blocks written and still mapped.
    pub(crate) fn mapped_blocks(&self) -> u64 {
        self.map.read().index.blocks()
    }

    /// Bytes that the file system has given to this layer's files.
    pub(crate) fn allocated_bytes(&self) -> Result<u64> {
        let segments: Vec<_> = self.map.read().segments.iter().flatten().cloned().collect();
        segments.iter().try_fold(self.checkpoint_bytes.load(Ordering::Relaxed), |sum, segment| {
            let bytes =
                segment.file.allocated_bytes().map_err(|error| Error::io("stat", &self.dir, error))?;
            Ok(sum + bytes)
        })
    }

    /// Whether an earlier failure forbids writing.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    pub(crate) fn poison_error(&self) -> Error {
        Error::new(
            Kind::Poisoned,
            format!("layer {}: an earlier write or sync failed; reopen the volume", self.id),
        )
    }

    pub(crate) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    fn io_error(&self, operation: &str, error: std::io::Error) -> Error {
        Error::io(operation, &self.dir, error)
    }
}

impl Map {
    fn segment(&self, slot: u32) -> Result<&Arc<Segment>> {
        let segment = self.segments.get(slot as usize).and_then(Option::as_ref);
        segment.ok_or_else(|| {
            Error::new(Kind::Format, format!("the map names segment slot {slot}, which is empty"))
        })
    }

    fn segments_in_use(&self) -> usize {
        self.segments.iter().flatten().count()
    }

    /// A slot for one more segment.
    fn add(&mut self, make: impl FnOnce(u32) -> Arc<Segment>) -> Option<Arc<Segment>> {
        let free = self.segments.iter().position(Option::is_none).unwrap_or(self.segments.len());
        if free >= crate::limits::SEGMENT_SLOTS_MAX {
            return None;
        }
        let segment = make(u32::try_from(free).ok()?);
        if free == self.segments.len() {
            self.segments.push(None);
        }
        self.segments[free] = Some(segment.clone());
        Some(segment)
    }

    /// Applies a record's change, keeping each segment's count of live blocks; gives how many blocks died.
    fn apply(&mut self, change: impl FnOnce(&mut Index, &mut dyn FnMut(crate::index::Place, u32))) -> u64 {
        let Self { index, segments } = self;
        let mut died = 0;
        change(index, &mut |place, blocks| {
            died += u64::from(blocks);
            if let Some(segment) = segments.get(place.slot as usize).and_then(Option::as_ref) {
                segment.live_blocks.fetch_sub(blocks, Ordering::Relaxed);
            }
        });
        died
    }
}
