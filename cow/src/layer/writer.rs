//! Writing: one change at a time, data before record before map.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use parking_lot::MutexGuard;

use super::{
    Layer,
    segment::{Segment, segment_path},
};
use crate::{
    error::{Error, Kind, Result},
    format::{
        record::{self, At, Body, Record},
        segment::SegmentHeader,
    },
    geometry::Geometry,
    index::Place,
    limits::{BLOCK_BYTES, BLOCK_LEN, HEADER_BYTES, SEGMENT_SLOTS_MAX, SLOTS_KEPT, SUMMARY_AHEAD_BYTES},
};

/// What the next change needs to know.
#[derive(Default)]
pub(super) struct Writer {
    pub active: Option<Active>,
    /// Segments that are no longer written to, but not yet synced.
    pub sealed_unsynced: Vec<Arc<Segment>>,
    pub next_segment: u64,
    pub next_seq: u64,
    /// The layer's directory is there.
    pub has_dir: bool,
    /// Names were made since the last sync of the directories.
    pub names_unsynced: bool,
    /// No block changes any more.
    pub frozen: bool,
    /// Number of the newest checkpoint.
    pub checkpoint: u64,
    pub scratch: Vec<u8>,
}

/// The segment that is being written.
pub(super) struct Active {
    pub segment: Arc<Segment>,
    salt: u32,
    pub chain: u32,
    pub next_block: u32,
    pub end_offset: u32,
    reserved_to: u64,
    /// Where the last sync found `next_block`.
    synced_block: u32,
    /// Blocks before this one have been written, if only with zeros.
    zeroed_to: u32,
}

impl Active {
    /// Called by every sync. A file that grows costs the file system a commit of its journal at every sync; so
    /// where syncs come often, blocks are written with zeros ahead, many at a time, and the data then overwrites
    /// them. If that fails nothing is lost: the write that needs the room will say so.
    pub(super) fn prepare_next_sync(&mut self, geometry: &Geometry) {
        let small = self.next_block - self.synced_block <= geometry.small_sync_blocks;
        let soon_out = self.zeroed_to < self.next_block + geometry.small_sync_blocks / 2;
        let first_sync = self.synced_block == 0;
        self.synced_block = self.next_block;
        if !small || !soon_out || first_sync {
            return;
        }
        let from = self.zeroed_to.max(self.next_block);
        let to = (from + geometry.data_ahead_blocks).min(self.segment.blocks);
        let zeros = [0; BLOCK_LEN];
        let ahead = vec![&zeros[..]; (to - from) as usize];
        if self.segment.file.write_at(self.segment.block_offset(from), &ahead).is_ok() {
            self.zeroed_to = to;
        }
    }
}

/// The right to change a layer, held while a change is decided on and made.
pub(crate) struct WriteGuard<'a> {
    layer: &'a Layer,
    writer: MutexGuard<'a, Writer>,
}

impl Layer {
    /// Most blocks of one change.
    pub(crate) fn blocks_max(&self) -> usize {
        self.context.geometry.record_blocks_max
    }

    /// Takes the right to change this layer; waits for the change that is under way. `None` when the layer is
    /// frozen: another one lies on top of it.
    pub(crate) fn write_guard(&self) -> Result<Option<WriteGuard<'_>>> {
        let guard = self.any_guard()?;
        Ok(if guard.writer.frozen { None } else { Some(guard) })
    }

    /// The same, frozen or not: for work that changes no block.
    pub(super) fn any_guard(&self) -> Result<WriteGuard<'_>> {
        let writer = self.writer.lock();
        if self.is_poisoned() {
            return Err(self.poison_error());
        }
        Ok(WriteGuard { layer: self, writer })
    }
}

impl WriteGuard<'_> {
    /// Most blocks of one change.
    pub(crate) fn blocks_max(&self) -> usize {
        self.layer.blocks_max()
    }

    /// Writes whole blocks, at most [`Self::blocks_max`], as one change: after a crash all of them are new or
    /// none is.
    pub(crate) fn write(&mut self, lba: u32, data: &[&[u8]], crcs: &[u32]) -> Result<()> {
        let volume = self.layer.volume.get().copied();
        self.layer.context.take_room_of(volume, crcs.len() as u64)?;
        let died = self.put(lba, data, crcs, SLOTS_KEPT)?;
        self.layer.garbage_blocks.fetch_add(died, Ordering::Relaxed);
        self.layer.count_fresh(crcs.len() as u64);
        Ok(())
    }

    /// Writes blocks once more, as they are, so that nothing is left where they were.
    pub(super) fn copy(&mut self, lba: u32, data: &[&[u8]], crcs: &[u32]) -> Result<()> {
        self.layer.context.take_room_for_copies(crcs.len() as u64)?;
        let died = self.put(lba, data, crcs, SLOTS_KEPT / 2)?;
        self.layer.moved_blocks.fetch_add(died, Ordering::Relaxed);
        Ok(())
    }

    /// Data, record, map. Gives the blocks that nothing looks at any more.
    fn put(&mut self, lba: u32, data: &[&[u8]], crcs: &[u32], slots_kept: usize) -> Result<u64> {
        debug_assert!(!crcs.is_empty() && crcs.len() <= self.blocks_max());
        debug_assert_eq!(
            data.iter().map(|slice| slice.len() as u64).sum::<u64>(),
            crcs.len() as u64 * BLOCK_BYTES
        );
        let blocks = u32::try_from(crcs.len()).unwrap_or(u32::MAX);
        let reserve = u64::from(self.layer.context.geometry.summary_reserve_bytes);
        self.make_room(blocks, record::write_record_bytes(crcs.len()), reserve, slots_kept)?;
        let layer = self.layer;
        let Some(active) = self.writer.active.as_mut() else { return Err(layer.poison_error()) };
        let (segment, block) = (active.segment.clone(), active.next_block);
        segment
            .file
            .write_at(segment.block_offset(block), data)
            .map_err(|error| layer.io_error("write data to", error))?;
        active.next_block += blocks;
        self.append(|out, at, seqs| record::pack_write(out, at, seqs, (lba, block), crcs))?;
        layer.changed_seq.store(layer.written_seq.load(Ordering::Acquire), Ordering::Release);
        let place = Place { slot: segment.slot, block: u16::try_from(block).unwrap_or(u16::MAX) };
        segment.live_blocks.fetch_add(blocks, Ordering::Relaxed);
        Ok(layer.map.write().apply(|index, dead| index.write(lba, place, crcs, dead)))
    }

    /// `blocks` whole blocks from `lba` on read zeros from now on.
    pub(crate) fn trim(&mut self, lba: u32, blocks: u64) -> Result<()> {
        self.append_record(Body::Trim { lba, blocks })?;
        let layer = self.layer;
        layer.changed_seq.store(layer.written_seq.load(Ordering::Acquire), Ordering::Release);
        let died = self.layer.map.write().apply(|index, dead| index.trim(lba, blocks, dead));
        self.layer.garbage_blocks.fetch_add(died, Ordering::Relaxed);
        Ok(())
    }

    /// Writes a record that changes nothing: it says what is durable.
    pub(super) fn mark(&mut self) -> Result<()> {
        self.append_record(Body::Marker)
    }

    /// No block of this layer changes any more.
    pub(crate) fn freeze(&mut self) {
        self.writer.frozen = true;
    }

    /// Ends the segment that is being written, so that its dead blocks can be given back.
    pub(super) fn seal(&mut self) {
        if let Some(active) = self.writer.active.take() {
            active.segment.sealed.store(true, Ordering::Release);
            self.writer.sealed_unsynced.push(active.segment);
        }
    }

    pub(super) fn writer(&mut self) -> &mut Writer {
        &mut self.writer
    }

    fn append_record(&mut self, body: Body) -> Result<()> {
        self.make_room(0, record::FIXED_BYTES, 0, 0)?;
        self.append(|out, at, (seq, durable_seq)| record::pack(out, at, &Record { seq, durable_seq, body }))
    }

    /// Writes one record behind the last one. A failure poisons: whether it is there is not known.
    fn append(&mut self, pack: impl FnOnce(&mut Vec<u8>, At, (u64, u64)) -> u32) -> Result<()> {
        let layer = self.layer;
        let writer = &mut *self.writer;
        let Some(active) = writer.active.as_mut() else { return Err(layer.poison_error()) };
        let at = At { salt: active.salt, offset: active.end_offset, chain: active.chain };
        let (seq, durable_seq) = (writer.next_seq, layer.durable_seq.load(Ordering::Acquire));
        writer.scratch.clear();
        active.chain = pack(&mut writer.scratch, at, (seq, durable_seq));
        let written = active.segment.file.write_at(u64::from(active.end_offset), &[&writer.scratch]);
        if let Err(error) = written {
            layer.poison();
            return Err(layer.io_error("write a record to", error));
        }
        active.end_offset += u32::try_from(writer.scratch.len()).unwrap_or(u32::MAX);
        writer.next_seq = seq + 1;
        layer.written_seq.store(seq, Ordering::Release);
        layer.told_seq.fetch_max(durable_seq, Ordering::AcqRel);
        Ok(())
    }

    /// Sees to it that the active segment has room for `blocks` blocks and a record, and leaves `spare` bytes of
    /// allocated summary and `slots_kept` slots to others.
    fn make_room(&mut self, blocks: u32, record_bytes: usize, spare: u64, slots_kept: usize) -> Result<()> {
        let fits = self.writer.active.as_ref().is_some_and(|active| {
            active.next_block + blocks <= active.segment.blocks
                && u64::from(active.end_offset) + record_bytes as u64 <= u64::from(active.segment.data_offset)
        });
        if !fits {
            let active = self.layer.create_segment(&mut self.writer, slots_kept)?;
            self.seal();
            self.writer.active = Some(active);
        }
        let Some(active) = self.writer.active.as_mut() else { return Err(self.layer.poison_error()) };
        let data_offset = u64::from(active.segment.data_offset);
        let need = (u64::from(active.end_offset) + record_bytes as u64 + spare).min(data_offset);
        if need > active.reserved_to {
            let ahead = u64::from(self.layer.context.geometry.summary_ahead_bytes);
            let more = ahead.min(data_offset - active.reserved_to);
            let zeros = [0; SUMMARY_AHEAD_BYTES as usize];
            let written = active
                .segment
                .file
                .write_at(active.reserved_to, &[&zeros[..usize::try_from(more).unwrap_or(0)]]);
            written.map_err(|error| self.layer.io_error("allocate summary in", error))?;
            active.reserved_to += more;
        }
        Ok(())
    }
}

impl Layer {
    fn segments_max(&self) -> usize {
        self.context.geometry.segments_max.min(SEGMENT_SLOTS_MAX)
    }

    fn no_slot(&self) -> Error {
        Error::new(Kind::NoSpace, format!("layer {} has all the segments it can have", self.id))
    }

    /// Whether few slots are left: space comes back by emptying segments that are not quite full as well.
    pub(crate) fn is_short_of_slots(&self) -> bool {
        self.map.read().segments_in_use() >= self.segments_max() / 4 * 3
    }

    fn create_segment(&self, writer: &mut Writer, slots_kept: usize) -> Result<Active> {
        if self.map.read().segments_in_use() + slots_kept >= self.segments_max() {
            return Err(self.no_slot());
        }
        if !writer.has_dir {
            match self.context.disk.create_dir(&self.dir) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(self.io_error("create", error));
                }
                _ => writer.has_dir = true,
            }
        }
        let number = writer.next_segment;
        let path = segment_path(&self.dir, number);
        // Whatever happens now, the number is taken.
        writer.next_segment += 1;
        let file = self.context.disk.create(&path).map_err(|error| Error::io("create", &path, error))?;
        writer.names_unsynced = true;
        let geometry = &self.context.geometry;
        let (data_offset, blocks) = (geometry.data_offset, geometry.segment_blocks);
        let header = SegmentHeader {
            store: self.context.store,
            layer: self.id,
            number,
            boot: self.context.boot,
            first_seq: writer.next_seq,
            data_offset,
            blocks,
        };
        let (bytes, chain) = header.pack();
        let ahead = geometry.summary_ahead_bytes.min(data_offset - HEADER_BYTES);
        let reserved_to = bytes.len() as u64 + u64::from(ahead);
        if let Err(error) = file.write_at(0, &[&bytes, &[0; SUMMARY_AHEAD_BYTES as usize][..ahead as usize]])
        {
            // An empty segment is harmless, and recovery skips it; the first error is the one to report.
            drop(self.context.disk.remove_file(&path));
            return Err(Error::io("begin", &path, error));
        }
        let (live_blocks, left_alone) = (AtomicU32::new(0), AtomicBool::new(false));
        let sealed = AtomicBool::new(false);
        let make = |slot| {
            Arc::new(Segment { number, slot, file, data_offset, blocks, live_blocks, sealed, left_alone })
        };
        let segment = self.map.write().add(make);
        let segment = segment.ok_or_else(|| self.no_slot())?;
        let salt = record::segment_salt(self.id, number);
        let end_offset = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Ok(Active {
            segment,
            salt,
            chain,
            next_block: 0,
            end_offset,
            reserved_to,
            synced_block: 0,
            zeroed_to: 0,
        })
    }
}
