//! Opening a layer: its newest checkpoint, then every record after it, in order.
//!
//! What may be trusted depends on the boot. In the boot that wrote a record its data is in the page cache, synced
//! or not, and the record alone is proof. After a power cut a record may be there without its data, or without the
//! record before it: what no later record calls durable is believed only up to the first record that is missing or
//! whose data does not match its checksums. It and all that follow were never flushed, and their blocks keep their
//! old content. (All that follow, because a later one may carry a part of an earlier atomic write: a write of a
//! sector writes the whole block around it.) That decision is made durable by a checkpoint before anything else
//! is written, so that it can never be made again with another result.
//!
//! After a sync that failed, memory may show what the disk will never have, and call it clean. A file named
//! [`FAILED_SYNC`] says so: nothing unsynced is then believed without its checksums, and what is believed is
//! written once more, so that the next sync has it to write.
//!
//! A record that had been durable and is missing or broken is damage: the layer does not open, and says what
//! is lost. Nothing is guessed.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use parking_lot::{Condvar, Mutex, RwLock};

use super::{
    Layer, Map, Segment,
    checkpoint::{SEALED_END, allocated},
    segment::{checkpoint_path, numbered, segment_path},
    sync::SyncState,
    writer::Writer,
};
use crate::{
    context::Context,
    disk::{File, Wait},
    error::{Error, Result},
    format::{
        Damage,
        checkpoint::{self, CheckpointHead, CheckpointSegment},
        record::{self, Body, Record},
        segment::SegmentHeader,
    },
    ids::{BootId, LayerId},
    index::Place,
    limits::{BLOCK_BYTES, BLOCK_LEN, HEADER_BYTES, RECORD_BLOCKS_MAX},
};

/// What the medium writes whole or not at all.
const SECTOR: usize = 512;

/// Name of the file that says that a sync of the layer failed.
pub(crate) const FAILED_SYNC: &str = "failed-sync";

/// What opening a layer took, for logs and tests.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recovery {
    /// Records that were replayed.
    pub replayed: u64,
    /// Unflushed records that did not survive a power cut.
    pub dropped: u64,
    /// A decision was taken that a checkpoint must make final before anything is written.
    pub must_checkpoint: bool,
}

/// A segment as it was found.
struct Scanned {
    segment: Arc<Segment>,
    boot: BootId,
    records: Vec<Record>,
    /// A record beyond the end of the chain that says it, or more, had been durable.
    torn_durable_seq: u64,
    /// The checkpoint names it.
    known: bool,
}

impl Scanned {
    /// Whether a sync has covered all of it, header and name included.
    fn is_durable(&self, durable_seq: u64) -> bool {
        match self.records.last() {
            Some(last) => last.seq <= durable_seq,
            None => self.known,
        }
    }
}

/// Opens the layer whose files lie in `layers/<id>`; one that has none yet is empty.
pub(crate) fn open(context: &Arc<Context>, id: LayerId) -> Result<(Arc<Layer>, Recovery)> {
    let dir = context.layer_dir(id);
    let names = match context.disk.list(&dir) {
        Ok(names) => Some(names),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(Error::io("list", &dir, error)),
    };
    let has_dir = names.is_some();
    let names = names.unwrap_or_default();
    let numbers =
        |prefix| -> Vec<u64> { names.iter().filter_map(|entry| numbered(&entry.name, prefix)).collect() };
    let sync_failed = names.iter().any(|entry| entry.name == FAILED_SYNC);
    let opener = Opener { context, dir: &dir, id, sync_failed };
    let (head, mut map, checkpoint_bytes) = opener.checkpoint(numbers("ckpt-").into_iter().max())?;
    let scanned = opener.segments(&head, &numbers("seg-"), &mut map)?;
    let next_segment = numbers("seg-").into_iter().max().map_or(0, |last| last + 1).max(head.next_segment);
    let (recovery, seqs) = opener.replay(&head, &scanned, &mut map)?;
    let unsynced: Vec<_> = scanned
        .iter()
        .filter(|found| !found.is_durable(seqs.durable))
        .map(|found| found.segment.clone())
        .collect();
    let writer = Writer {
        // What a killed process made may not be durable.
        names_unsynced: has_dir,
        sealed_unsynced: unsynced,
        next_segment,
        next_seq: seqs.last + 1,
        has_dir,
        checkpoint: head.number,
        ..Writer::default()
    };
    let layer = Layer {
        id,
        context: context.clone(),
        dir: dir.clone(),
        garbage_blocks: AtomicU64::new(garbage_blocks(&scanned)),
        moved_blocks: AtomicU64::new(0),
        fresh_blocks: AtomicU64::new(0),
        saved_seq: AtomicU64::new(head.seq),
        checkpoint_bytes: AtomicU64::new(checkpoint_bytes),
        map: RwLock::new(map),
        writer: Mutex::new(writer),
        one_checkpoint: Mutex::new(()),
        one_compaction: Mutex::new(()),
        volume: OnceLock::new(),
        written_seq: AtomicU64::new(seqs.last),
        durable_seq: AtomicU64::new(seqs.durable),
        changed_seq: AtomicU64::new(last_change(&scanned).max(head.seq)),
        told_seq: AtomicU64::new(seqs.durable),
        seen_seq: AtomicU64::new(0),
        sync: Mutex::new(SyncState::default()),
        synced: Condvar::new(),
        poisoned: AtomicBool::new(false),
    };
    let layer = Arc::new(layer);
    if recovery.must_checkpoint {
        layer.checkpoint()?;
    }
    if sync_failed {
        // Left behind it costs the next opening a little.
        drop(context.disk.remove_file(&dir.join(FAILED_SYNC)));
    }
    Ok((layer, recovery))
}

struct Seqs {
    last: u64,
    durable: u64,
}

struct Opener<'a> {
    context: &'a Context,
    dir: &'a Path,
    id: LayerId,
    /// A sync failed since the last checkpoint.
    sync_failed: bool,
}

impl Opener<'_> {
    fn damaged(&self, what: impl std::fmt::Display) -> Error {
        Error::corrupt(0, format!("layer {}: {what}; `osvol store check` tells what is lost", self.id))
    }

    /// The newest checkpoint, and the bytes that it takes on disk.
    fn checkpoint(&self, newest: Option<u64>) -> Result<(CheckpointHead, Map, u64)> {
        let Some(number) = newest else {
            let head = CheckpointHead {
                store: self.context.store,
                layer: self.id,
                number: 0,
                seq: 0,
                next_segment: 0,
                segments: Vec::new(),
            };
            return Ok((head, Map::default(), 0));
        };
        let path = checkpoint_path(self.dir, number);
        let file = self.context.disk.open(&path, false).map_err(|error| Error::io("open", &path, error))?;
        let bytes = read_whole(&*file).map_err(|error| Error::io("read", &path, error))?;
        let (head, index) = checkpoint::unpack(&bytes, self.id, number)
            .map_err(|damage| self.damaged(format_args!("checkpoint {number} is {damage}")))?;
        Ok((head, Map { index, segments: Vec::new() }, allocated(bytes.len())))
    }

    /// Opens and scans every segment that the checkpoint names or that came after it.
    fn segments(&self, head: &CheckpointHead, numbers: &[u64], map: &mut Map) -> Result<Vec<Scanned>> {
        let known: BTreeMap<u64, CheckpointSegment> =
            head.segments.iter().map(|segment| (segment.number, *segment)).collect();
        if let Some(missing) = known.keys().find(|number| !numbers.contains(number)) {
            return Err(self.damaged(format_args!("segment {missing} is missing")));
        }
        let mut scanned = Vec::new();
        let slots = head.segments.iter().map(|segment| segment.slot as usize + 1).max().unwrap_or(0);
        map.segments.resize(slots, None);
        let is_left_over = |number: &&u64| !known.contains_key(number) && **number < head.next_segment;
        self.remove_left_over(numbers.iter().filter(is_left_over));
        for number in numbers.iter().filter(|number| !is_left_over(number)) {
            scanned.extend(self.segment(*number, known.get(number), map)?);
        }
        count_live(map);
        Ok(scanned)
    }

    /// Segments that were given back, but whose removal was cut short. If it fails again, the next opening tries
    /// again. A kill may have come before the checkpoint's name was durable: an older one may need them until it is.
    fn remove_left_over<'n>(&self, numbers: impl Iterator<Item = &'n u64>) {
        let mut numbers = numbers.peekable();
        if numbers.peek().is_some() && self.context.disk.sync_dir(self.dir).is_ok() {
            numbers.for_each(|number| drop(self.context.disk.remove_file(&segment_path(self.dir, *number))));
        }
    }

    fn segment(
        &self,
        number: u64,
        known: Option<&CheckpointSegment>,
        map: &mut Map,
    ) -> Result<Option<Scanned>> {
        let path = segment_path(self.dir, number);
        let file = self.context.disk.open(&path, true).map_err(|error| Error::io("open", &path, error))?;
        // The records of a sealed segment are all in the checkpoint: its header is enough.
        let sealed = known.is_some_and(|known| known.end_offset == SEALED_END);
        let mut summary = vec![0; BLOCK_LEN];
        let read =
            file.read_at(0, &mut summary, Wait::Yes).map_err(|error| Error::io("read", &path, error))?;
        summary.truncate(read);
        let header = SegmentHeader::unpack(&summary, self.id, number);
        let (header, chain) = match (header, known) {
            (Ok(found), _) => found,
            (Err(Damage::Version(version)), _) => {
                return Err(self.damaged(format_args!("segment {number} is {}", Damage::Version(version))));
            }
            (Err(damage), Some(_)) => {
                return Err(self.damaged(format_args!("the header of segment {number} is {damage}")));
            }
            // Begun, but never synced: it holds nothing that was promised. A gap in the records tells if it did. The
            // header lies in one sector, which is there whole or not at all.
            (Err(_), None) if summary.iter().take(SECTOR).all(|byte| *byte == 0) => {
                return Ok(None);
            }
            (Err(damage), None) => {
                return Err(self.damaged(format_args!("the header of segment {number} is {damage}")));
            }
        };
        let make = |slot| {
            let (data_offset, blocks) = (header.data_offset, header.blocks);
            let (live_blocks, left_alone) = (AtomicU32::new(0), AtomicBool::new(false));
            let sealed = AtomicBool::new(true);
            Arc::new(Segment { number, slot, file, data_offset, blocks, live_blocks, sealed, left_alone })
        };
        let segment = match known {
            Some(known) => {
                let segment = make(known.slot);
                map.segments[known.slot as usize] = Some(segment.clone());
                segment
            }
            None => {
                map.add(make).ok_or_else(|| self.damaged("it has more segments than a layer can have"))?
            }
        };
        if !sealed {
            summary.resize(header.data_offset as usize, 0);
            let rest = segment.file.read_at(BLOCK_LEN as u64, &mut summary[BLOCK_LEN..], Wait::Yes);
            summary.truncate(BLOCK_LEN + rest.map_err(|error| Error::io("read", &path, error))?);
        }
        let salt = record::segment_salt(self.id, number);
        let from = known.map_or(HEADER_BYTES, |known| known.end_offset);
        let chain = known.map_or(chain, |known| known.chain);
        let (records, torn_durable_seq) = scan(&summary, salt, from, chain);
        if self.sync_failed && !sealed {
            segment.file.write_at(0, &[&summary]).map_err(|error| Error::io("write", &path, error))?;
        }
        let known = known.is_some();
        Ok(Some(Scanned { segment, boot: header.boot, records, torn_durable_seq, known }))
    }

    fn replay(&self, head: &CheckpointHead, scanned: &[Scanned], map: &mut Map) -> Result<(Recovery, Seqs)> {
        let mut records: Vec<(&Record, &Scanned)> = scanned
            .iter()
            .flat_map(|found| found.records.iter().map(move |record| (record, found)))
            .filter(|(record, _)| record.seq > head.seq)
            .collect();
        records.sort_by_key(|(record, _)| record.seq);
        let claims = records.iter().map(|(record, _)| record.durable_seq);
        let durable = claims.chain(scanned.iter().map(|found| found.torn_durable_seq)).max().unwrap_or(0);
        self.no_gap(head.seq, durable, records.iter().map(|(record, _)| record.seq))?;
        let mut recovery = Recovery { must_checkpoint: self.sync_failed, ..Recovery::default() };
        let (mut last, mut next, mut ended) = (head.seq.max(durable), head.seq + 1, false);
        for (record, found) in records {
            last = last.max(record.seq);
            let trusted = found.boot == self.context.boot && !self.sync_failed;
            if record.seq > durable && !trusted {
                recovery.must_checkpoint = true;
                ended = ended || record.seq != next || !self.data_is_there(record, &found.segment)?;
                if ended {
                    recovery.dropped += 1;
                    continue;
                }
            } else if record.seq != next {
                return Err(self.damaged(format_args!("records {next} to {} are missing", record.seq - 1)));
            }
            next = record.seq + 1;
            recovery.replayed += 1;
            apply(map, record, &found.segment);
        }
        Ok((recovery, Seqs { last, durable: durable.max(head.seq) }))
    }

    /// Every record that was once durable must still be there.
    fn no_gap(&self, from: u64, durable: u64, seqs: impl Iterator<Item = u64>) -> Result<()> {
        let mut next = from + 1;
        for seq in seqs.take_while(|seq| *seq <= durable) {
            if seq != next {
                return Err(self.damaged(format_args!("records {next} to {} are missing", seq - 1)));
            }
            next = seq + 1;
        }
        if next <= durable {
            return Err(self.damaged(format_args!("records {next} to {durable} are missing")));
        }
        Ok(())
    }

    fn data_is_there(&self, record: &Record, segment: &Segment) -> Result<bool> {
        let Body::Write { block, crcs, .. } = &record.body else { return Ok(true) };
        debug_assert!(crcs.len() <= RECORD_BLOCKS_MAX);
        let mut data = vec![0; crcs.len() * BLOCK_LEN];
        let read = segment.file.read_at(segment.block_offset(*block), &mut data, Wait::Yes);
        let read = read.map_err(|error| Error::io("read a segment of", self.dir, error))?;
        let matches = data.chunks(BLOCK_LEN).zip(crcs).all(|(block, crc)| crc32c::crc32c(block) == *crc);
        let is_there = read as u64 == crcs.len() as u64 * BLOCK_BYTES && matches;
        if is_there && self.sync_failed {
            let written = segment.file.write_at(segment.block_offset(*block), &[&data]);
            written.map_err(|error| Error::io("write a segment of", self.dir, error))?;
        }
        Ok(is_there)
    }
}

/// The records from `from` to the end of the chain, and the highest `durable_seq` in what lies beyond it.
pub(super) fn scan(summary: &[u8], salt: u32, from: u32, chain: u32) -> (Vec<Record>, u64) {
    let mut records = Vec::new();
    let (mut at, mut chain) = (from as usize, chain);
    while let Some(rest) = summary.get(at..) {
        let offset = u32::try_from(at).unwrap_or(u32::MAX);
        match record::unpack(rest, salt, offset) {
            Ok(found) if found.chain == chain => {
                at += found.bytes;
                chain = found.crc;
                records.push(found.record);
            }
            _ => break,
        }
    }
    let beyond = (at..summary.len()).step_by(record::ALIGN).filter_map(|at| {
        let found = record::unpack(&summary[at..], salt, u32::try_from(at).ok()?).ok()?;
        Some(found.record.durable_seq)
    });
    (records, beyond.max().unwrap_or(0))
}

fn apply(map: &mut Map, record: &Record, segment: &Segment) {
    match &record.body {
        Body::Write { lba, block, crcs } => {
            let place = Place { slot: segment.slot, block: u16::try_from(*block).unwrap_or(u16::MAX) };
            segment.live_blocks.fetch_add(u32::try_from(crcs.len()).unwrap_or(0), Ordering::Relaxed);
            map.apply(|index, dead| index.write(*lba, place, crcs, dead));
        }
        Body::Trim { lba, blocks } => drop(map.apply(|index, dead| index.trim(*lba, *blocks, dead))),
        Body::Marker => {}
    }
}

/// The last record that is more than a marker.
fn last_change(scanned: &[Scanned]) -> u64 {
    let records = scanned.iter().flat_map(|found| &found.records);
    records.filter(|record| record.body != Body::Marker).map(|record| record.seq).max().unwrap_or(0)
}

/// Blocks that were written after the checkpoint and that nothing looks at any more.
fn garbage_blocks(scanned: &[Scanned]) -> u64 {
    let garbage = scanned.iter().map(|found| {
        let written = found.records.iter().map(|record| match &record.body {
            Body::Write { crcs, .. } => crcs.len() as u64,
            Body::Trim { .. } | Body::Marker => 0,
        });
        written.sum::<u64>().saturating_sub(u64::from(found.segment.live_blocks.load(Ordering::Relaxed)))
    });
    garbage.sum()
}

fn count_live(map: &Map) {
    for run in map.index.runs() {
        if let Ok(segment) = map.segment(run.place.slot) {
            segment.live_blocks.fetch_add(u32::try_from(run.crcs.len()).unwrap_or(0), Ordering::Relaxed);
        }
    }
}

fn read_whole(file: &dyn File) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(std::io::Error::other)?];
    let read = file.read_at(0, &mut bytes, Wait::Yes)?;
    bytes.truncate(read);
    Ok(bytes)
}

impl Layer {
    /// Opens, or recovers, the layer `id`.
    pub(crate) fn open(context: &Arc<Context>, id: LayerId) -> Result<(Arc<Self>, Recovery)> {
        open(context, id)
    }
}
