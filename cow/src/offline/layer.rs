//! A layer as it is found on disk, read without changing a byte: its map, and what of it is lost.
//!
//! It follows the rules of recovery (FORMAT.md, *Recovery of a layer*), but where recovery stops at damage, this
//! goes on: it names the damage, and takes whatever is sound. Where the newest checkpoint is rotten the map is
//! rebuilt from the records of all segments.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use super::{
    lost,
    mend::{Gap, Mended, mend},
    ranges::Ranges,
    report::Problem,
    segment::{ChainStart, FoundRecord, Layout, SegmentScan, next},
};
use crate::{
    context::Context,
    disk::Wait,
    error::{Error, Result},
    format::{
        checkpoint::{self, CheckpointHead},
        record::{self, Body, Record},
    },
    ids::LayerId,
    index::{Extent, Index, Place, Run},
    layer::{FAILED_SYNC, SEALED_END, checkpoint_path, numbered, segment_path},
    limits::{BLOCK_LEN, HEADER_BYTES},
};

/// Something wrong with a layer.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    /// The file.
    pub path: PathBuf,
    pub problem: Problem,
    /// Blocks whose content is lost.
    pub lost: Ranges,
    /// Other blocks may show an older state, and which ones cannot be known.
    pub unlocated: bool,
}

/// A layer that was read.
pub(crate) struct LayerMap {
    pub id: LayerId,
    pub index: Index,
    /// By slot.
    pub segments: Vec<Option<SegmentScan>>,
    pub faults: Vec<Fault>,
    /// Blocks that are lost, by whatever fault.
    pub lost: Ranges,
    /// What was begun and not finished: no damage, and the next opening tidies it up.
    pub unfinished: Vec<String>,
    /// The map was rebuilt without a checkpoint, or without a header: which blocks are there is known only once they
    /// were read.
    pub must_verify: bool,
}

/// The newest checkpoint that can be read.
struct Base {
    head: CheckpointHead,
    index: Index,
    /// It is the newest there is, or there is none and never was.
    sound: bool,
}

/// One record that counts, and the slot of its segment.
struct Event {
    seq: u64,
    slot: usize,
    change: Change,
}

enum Change {
    Record(Record),
    /// A record that is damaged changed these blocks.
    Lost(std::ops::Range<u64>, usize),
}

struct Reading<'a> {
    context: &'a Context,
    id: LayerId,
    dir: PathBuf,
    faults: Vec<Fault>,
    unfinished: Vec<String>,
    must_verify: bool,
    /// A sync failed since the newest checkpoint: what was written in this boot may not be on the disk.
    sync_failed: bool,
}

/// Reads the layer whose files lie in `layers/<id>`; one that has none was never written.
pub(crate) fn read(context: &Context, id: LayerId) -> Result<LayerMap> {
    let dir = context.layer_dir(id);
    let names = match context.disk.list(&dir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Error::io("list", &dir, error)),
    };
    let numbers =
        |prefix| -> Vec<u64> { names.iter().filter_map(|entry| numbered(&entry.name, prefix)).collect() };
    let sync_failed = names.iter().any(|entry| entry.name == FAILED_SYNC);
    let mut reading = Reading {
        context,
        id,
        dir,
        faults: Vec::new(),
        unfinished: Vec::new(),
        must_verify: false,
        sync_failed,
    };
    let base = reading.base(&numbers("ckpt-"));
    let scans = reading.scans(&numbers("seg-"), &base)?;
    let segments = reading.slots(&base, scans);
    let events = reading.events(&base, &segments);
    Ok(reading.replay(base, segments, events))
}

impl Reading<'_> {
    fn fault(&mut self, path: &Path, problem: Problem) -> usize {
        let path = path.strip_prefix(&self.context.root).unwrap_or(path).to_owned();
        self.faults.push(Fault { path, problem, lost: Ranges::default(), unlocated: false });
        self.faults.len() - 1
    }

    /// The newest checkpoint that can be read; an empty one when there is none.
    fn base(&mut self, numbers: &[u64]) -> Base {
        let mut sound = true;
        for number in numbers.iter().rev() {
            let path = checkpoint_path(&self.dir, *number);
            match read_checkpoint(self.context, &path, self.id, *number) {
                Ok((head, index)) => return Base { head, index, sound },
                Err(damage) => {
                    self.fault(&path, Problem::Checkpoint { damage });
                    sound = false;
                }
            }
        }
        let (store, layer) = (self.context.store, self.id);
        let head = CheckpointHead { store, layer, number: 0, seq: 0, next_segment: 0, segments: Vec::new() };
        Base { head, index: Index::default(), sound }
    }

    /// Every segment that counts.
    fn scans(&mut self, numbers: &[u64], base: &Base) -> Result<Vec<SegmentScan>> {
        let mut scans = Vec::new();
        let mut layout = self.usual_layout(numbers);
        for number in numbers {
            let known = base.head.segments.iter().any(|segment| segment.number == *number);
            let path = segment_path(&self.dir, *number);
            if base.sound && !known && *number < base.head.next_segment {
                self.unfinished.push(format!("{}: given back, but not removed yet", self.relative(&path)));
                continue;
            }
            match SegmentScan::read(self.context, self.id, *number, &path, layout) {
                Ok(scan) => {
                    layout = scan.layout;
                    if self.header(&path, &scan, known) {
                        scans.push(scan);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(Error::io("read", &path, error));
                }
                Err(error) => drop(self.fault(&path, Problem::Unreadable { why: error.to_string() })),
            }
        }
        Ok(scans)
    }

    /// The sizes that the segments of this layer have, for one whose header cannot be read.
    fn usual_layout(&self, numbers: &[u64]) -> Layout {
        let geometry = &self.context.geometry;
        let usual = Layout { data_offset: geometry.data_offset, blocks: geometry.segment_blocks };
        let read = |number: &u64| {
            let path = segment_path(&self.dir, *number);
            let scan = SegmentScan::read(self.context, self.id, *number, &path, usual).ok()?;
            scan.header.is_ok().then_some(scan.layout)
        };
        numbers.iter().find_map(read).unwrap_or(usual)
    }

    /// Looks at a segment's header; gives whether the segment counts.
    fn header(&mut self, path: &Path, scan: &SegmentScan, known: bool) -> bool {
        let damage = match (&scan.header, scan.mended) {
            (Ok(_), None) => return true,
            (Ok(_), Some(damage)) => damage,
            (Err(damage), _) => *damage,
        };
        if !known && scan.was_never_durable() {
            let name = self.relative(path);
            self.unfinished.push(format!("{name}: begun, but nothing of it was ever made durable"));
            return false;
        }
        let mended = scan.header.is_ok();
        let fault = self.fault(path, Problem::Header { damage: damage.to_string(), mended });
        self.faults[fault].unlocated = !known && scan.records.is_empty();
        self.must_verify |= !mended;
        true
    }

    /// The segments by slot: those of the checkpoint where it says, the others behind them.
    fn slots(&mut self, base: &Base, scans: Vec<SegmentScan>) -> Vec<Option<SegmentScan>> {
        let known: BTreeMap<u64, usize> =
            base.head.segments.iter().map(|segment| (segment.number, segment.slot as usize)).collect();
        let mut slots = Vec::new();
        slots.resize_with(known.values().map(|slot| slot + 1).max().unwrap_or(0), || None);
        for scan in scans {
            match known.get(&scan.number) {
                Some(slot) => slots[*slot] = Some(scan),
                None => slots.push(Some(scan)),
            }
        }
        slots
    }

    /// What happened after the checkpoint, in order.
    fn events(&mut self, base: &Base, segments: &[Option<SegmentScan>]) -> Vec<Event> {
        let found = self.found(base, segments);
        let trusted = self.trusted(base, segments, &found);
        let mut events: BTreeMap<u64, Event> = BTreeMap::new();
        let mut later: BTreeMap<u64, (usize, &FoundRecord)> = BTreeMap::new();
        for (slot, record, chained) in &found {
            let seq = record.found.record.seq;
            // The same number twice: what the chain reaches counts, and what a later process wrote.
            if seq > trusted && *chained {
                later.insert(seq, (*slot, record));
            } else if seq <= trusted && (*chained || !events.contains_key(&seq)) {
                let change = Change::Record(record.found.record.clone());
                events.insert(seq, Event { seq, slot: *slot, change });
            }
        }
        // What was never called durable counts up to the first record that is missing, or whose data is.
        for (next, (seq, (slot, record))) in (trusted + 1..).zip(later) {
            if seq != next || !survived(segments[slot].as_ref(), record) {
                break;
            }
            let change = Change::Record(record.found.record.clone());
            events.insert(seq, Event { seq, slot, change });
        }
        self.gaps(base, segments, &found, trusted, &mut events);
        self.tail(base, segments);
        self.undecided(base, segments);
        self.spares(base, segments);
        events.into_values().collect()
    }

    /// Every record after the checkpoint: slot, record, and whether the chain reaches it; in order of segments.
    fn found(&self, base: &Base, segments: &[Option<SegmentScan>]) -> Vec<(usize, FoundRecord, bool)> {
        let mut found = Vec::new();
        let mut in_order: Vec<(usize, &SegmentScan)> =
            segments.iter().enumerate().filter_map(|(slot, scan)| Some((slot, scan.as_ref()?))).collect();
        in_order.sort_by_key(|(_, scan)| scan.number);
        for (i, (slot, scan)) in in_order.iter().enumerate() {
            // A record that a later segment's first number passes over was dropped by the recovery in between.
            let later = in_order[i + 1..].iter().filter_map(|(_, scan)| scan.header.as_ref().ok());
            let end = later.map(|header| header.first_seq).min().unwrap_or(u64::MAX);
            let (reach, beyond) = scan.chained(chain_start(base, scan));
            let both = reach.iter().map(|r| (r, true)).chain(beyond.iter().map(|r| (r, false)));
            let counts = |record: &FoundRecord| {
                let seq = record.found.record.seq;
                seq > base.head.seq && seq < end
            };
            found.extend(
                both.filter(|(record, _)| counts(record))
                    .map(|(record, chained)| (*slot, record.clone(), chained)),
            );
        }
        found
    }

    /// The last record that must be there: it had been made durable, or it was written in this boot.
    fn trusted(
        &self,
        base: &Base,
        segments: &[Option<SegmentScan>],
        found: &[(usize, FoundRecord, bool)],
    ) -> u64 {
        let boot = |slot: usize| segments[slot].as_ref().and_then(SegmentScan::boot);
        let this_boot = |slot: usize| !self.sync_failed && boot(slot) == Some(self.context.boot);
        let claims = found.iter().map(|(slot, record, _)| {
            let record = &record.found.record;
            if this_boot(*slot) { record.seq.max(record.durable_seq) } else { record.durable_seq }
        });
        claims.max().unwrap_or(0).max(base.head.seq)
    }

    /// Records that must be there and are not: mends those it can, and names the others.
    fn gaps(
        &mut self,
        base: &Base,
        segments: &[Option<SegmentScan>],
        found: &[(usize, FoundRecord, bool)],
        trusted: u64,
        events: &mut BTreeMap<u64, Event>,
    ) {
        let mut seq = base.head.seq + 1;
        while seq <= trusted {
            if events.contains_key(&seq) {
                seq += 1;
                continue;
            }
            let end = events.range(seq..).next().map_or(trusted + 1, |(next, _)| *next);
            self.gap(base, segments, found, seq..end, events);
            seq = end;
        }
    }

    fn gap(
        &mut self,
        base: &Base,
        segments: &[Option<SegmentScan>],
        found: &[(usize, FoundRecord, bool)],
        missing: std::ops::Range<u64>,
        events: &mut BTreeMap<u64, Event>,
    ) {
        let place = place_of(base, segments, found, missing.start);
        let path = place.map_or(self.dir.clone(), |(slot, _)| {
            segments[slot].as_ref().map_or(self.dir.clone(), |scan| segment_path(&self.dir, scan.number))
        });
        let fault =
            self.fault(&path, Problem::Records { first: missing.start, last: missing.end - 1, mended: 0 });
        let (mut at, mut mended) = (place, 0);
        for seq in missing.clone() {
            let Some((slot, start)) = at else { break };
            let Some(scan) = segments[slot].as_ref() else { break };
            let end = scan.records.iter().map(|record| record.offset).find(|offset| *offset >= start.offset);
            if end == Some(start.offset) {
                break;
            }
            let salt = record::segment_salt(self.id, scan.number);
            let change = match mend(&scan.summary, salt, Gap { start, end, seq }) {
                Mended::Whole(record) => {
                    at = Some((slot, next(&record)));
                    mended += 1;
                    Change::Record(record.found.record)
                }
                Mended::Blocks(blocks, bytes) => {
                    at = Some((slot, ChainStart { offset: start.offset.saturating_add(bytes), chain: None }));
                    Change::Lost(blocks, fault)
                }
                Mended::Nothing => break,
            };
            events.insert(seq, Event { seq, slot, change });
        }
        let all_known = missing.clone().all(|seq| events.contains_key(&seq));
        self.faults[fault].unlocated = !all_known;
        self.faults[fault].problem = Problem::Records { first: missing.start, last: missing.end - 1, mended };
    }

    /// Records that the checkpoint covers and that are gone, though a record of the same boot says that they had been
    /// durable: nothing is lost as long as the checkpoint is sound.
    fn spares(&mut self, base: &Base, segments: &[Option<SegmentScan>]) {
        if !base.sound {
            return;
        }
        let scans = || segments.iter().flatten();
        let there: BTreeSet<u64> = scans().flat_map(SegmentScan::seqs).collect();
        for scan in scans() {
            let Ok(header) = &scan.header else { continue };
            let same_boot = scans().filter(|other| other.boot() == Some(header.boot));
            let durable =
                same_boot.flat_map(|other| &other.records).map(|r| r.found.record.durable_seq).max();
            let next = scans().find(|other| other.number == scan.number + 1);
            let next = next.and_then(|other| other.header.as_ref().ok()).map(|header| header.first_seq);
            let last = next.map(|first| first.saturating_sub(1)).or(scan.seqs().max()).unwrap_or(0);
            let end = last.min(durable.unwrap_or(0)).min(base.head.seq);
            let mut gone = (header.first_seq..=end).filter(|seq| !there.contains(seq));
            if let Some(first) = gone.next() {
                let last = gone.next_back().unwrap_or(first);
                let path = segment_path(&self.dir, scan.number);
                self.fault(&path, Problem::Spare { first, last });
            }
        }
    }

    /// Without its checkpoint, a log does not say which records the recovery after a power cut dropped. Those that
    /// had not been durable then, and are all there with their data, it kept; otherwise nobody knows.
    fn undecided(&mut self, base: &Base, segments: &[Option<SegmentScan>]) {
        let Some(fault) =
            self.faults.iter().position(|fault| matches!(fault.problem, Problem::Checkpoint { .. }))
        else {
            return;
        };
        let mut in_order: Vec<&SegmentScan> = segments.iter().flatten().collect();
        in_order.sort_by_key(|scan| scan.number);
        for (n, pair) in in_order.windows(2).enumerate() {
            let [before, after] = pair else { continue };
            let end = after.header.as_ref().map_or(u64::MAX, |header| header.first_seq);
            if before.boot() == after.boot() && before.boot().is_some() {
                continue;
            }
            let records =
                || in_order[..=n].iter().flat_map(|scan| scan.records.iter().map(move |r| (*scan, r)));
            let durable =
                records().map(|(_, r)| r.found.record.durable_seq).max().unwrap_or(0).max(base.head.seq);
            let open = records().filter(|(_, r)| (durable + 1..end).contains(&r.found.record.seq));
            let (mut there, mut sound) = (0, true);
            for (scan, record) in open {
                there += 1;
                sound &= survived(Some(scan), record);
            }
            let all = end.saturating_sub(durable + 1);
            self.faults[fault].unlocated |= !sound || there != all;
        }
    }

    /// A log whose last records were lost, as far as that leaves traces.
    fn tail(&mut self, base: &Base, segments: &[Option<SegmentScan>]) {
        let Some(last) = segments.iter().flatten().max_by_key(|scan| scan.number) else { return };
        let start = chain_start(base, last);
        if start.offset == SEALED_END {
            return;
        }
        let path = segment_path(&self.dir, last.number);
        let first = last.records.partition_point(|record| record.offset < start.offset);
        let leads_up = last.records[..first].last().is_some_and(|record| next(record).offset == start.offset);
        if start.offset > HEADER_BYTES && !leads_up && first == last.records.len() {
            let fault = self.fault(&path, Problem::Summary);
            self.faults[fault].unlocated = true;
        }
        // Written in this boot, all of it is there. One change may have been under way: its data comes first.
        let blocks = if !self.sync_failed && last.boot() == Some(self.context.boot) {
            last.data_behind_records()
        } else {
            0
        };
        if blocks > self.context.geometry.record_blocks_max as u64 {
            let fault = self.fault(&path, Problem::Tail { blocks });
            self.faults[fault].unlocated = true;
        }
    }

    /// Applies the changes, and finds which blocks are lost.
    fn replay(mut self, base: Base, segments: Vec<Option<SegmentScan>>, events: Vec<Event>) -> LayerMap {
        let mut index = base.index;
        for event in events {
            debug_assert!(event.seq > base.head.seq);
            match event.change {
                Change::Record(record) => self.apply(&mut index, event.slot, &record.body),
                Change::Lost(blocks, fault) => self.faults[fault].lost.add(blocks),
            }
        }
        let map = LayerMap {
            id: self.id,
            index,
            segments,
            faults: Vec::new(),
            lost: Ranges::default(),
            unfinished: Vec::new(),
            must_verify: self.must_verify || !base.sound,
        };
        self.missing(&base.head, &map);
        self.cut_short(&map);
        self.finish(map)
    }

    fn apply(&mut self, index: &mut Index, slot: usize, body: &Body) {
        let slot = u32::try_from(slot).unwrap_or(u32::MAX);
        let changed = match body {
            Body::Write { lba, block, crcs } => {
                let place = Place { slot, block: u16::try_from(*block).unwrap_or(u16::MAX) };
                index.write(*lba, place, crcs, &mut |_, _| {});
                u64::from(*lba)..u64::from(*lba) + crcs.len() as u64
            }
            Body::Trim { lba, blocks } => {
                index.trim(*lba, *blocks, &mut |_, _| {});
                u64::from(*lba)..u64::from(*lba) + blocks
            }
            Body::Marker => return,
        };
        for fault in &mut self.faults {
            fault.lost.remove(changed.clone());
        }
    }

    /// Segments that the map looks at and that are not there.
    fn missing(&mut self, head: &CheckpointHead, map: &LayerMap) {
        for segment in &head.segments {
            if map.segments.get(segment.slot as usize).is_some_and(Option::is_some) {
                continue;
            }
            let path = segment_path(&self.dir, segment.number);
            let relative = path.strip_prefix(&self.context.root).unwrap_or(&path);
            let unreadable = self.faults.iter().position(|fault| fault.path == relative);
            let fault = unreadable.unwrap_or_else(|| self.fault(&path, Problem::SegmentMissing));
            let runs = map.index.runs().filter(|run| run.place.slot == segment.slot);
            runs.for_each(|run| self.faults[fault].lost.add(blocks_of(&run)));
            // The log went on in it behind the checkpoint, unless the next segment takes up just there.
            let next =
                |scan: &SegmentScan| scan.header.as_ref().is_ok_and(|found| found.first_seq == head.seq + 1);
            let went_on = segment.end_offset != SEALED_END && !map.segments.iter().flatten().any(next);
            self.faults[fault].unlocated |= went_on;
        }
    }

    /// Blocks that lie beyond the end of their file.
    fn cut_short(&mut self, map: &LayerMap) {
        for (slot, scan) in map.segments.iter().enumerate() {
            let Some(scan) = scan else { continue };
            let mut lost = Ranges::default();
            for run in map.index.runs().filter(|run| run.place.slot as usize == slot) {
                let whole = scan.file_bytes.saturating_sub(scan.block_offset(u32::from(run.place.block)))
                    / BLOCK_LEN as u64;
                let blocks = blocks_of(&run);
                lost.add((blocks.start + whole.min(run.crcs.len() as u64))..blocks.end);
            }
            if !lost.is_empty() {
                let path = segment_path(&self.dir, scan.number);
                let fault = self.fault(&path, Problem::CutShort { bytes: scan.file_bytes });
                self.faults[fault].lost = lost;
            }
        }
    }

    fn finish(self, mut map: LayerMap) -> LayerMap {
        self.faults.iter().for_each(|fault| map.lost.add_all(&fault.lost));
        LayerMap { faults: self.faults, unfinished: self.unfinished, ..map }
    }

    fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.context.root).unwrap_or(path).display().to_string()
    }
}

impl LayerMap {
    /// What it says of a range, lost blocks apart.
    pub(crate) fn lookup(&self, lba: u32, blocks: u64) -> Extent<'_> {
        self.index.lookup(lba, blocks)
    }

    /// The segment in a slot, if its file is there.
    pub(crate) fn segment(&self, slot: u32) -> Option<&SegmentScan> {
        self.segments.get(slot as usize)?.as_ref()
    }

    /// Blocks that it has written, and that are mapped.
    pub(crate) fn blocks(&self) -> u64 {
        self.index.blocks()
    }

    /// The block behind the last one that it says anything of.
    pub(crate) fn end(&self) -> u64 {
        let written = self.index.runs().last().map_or(0, |run| blocks_of(&run).end);
        let trimmed = self.index.zeros().ranges().last().map_or(0, |(_, end)| end);
        let lost = self.lost.iter().last().map_or(0, |range| range.end);
        written.max(trimmed).max(lost)
    }

    /// Reads every block, and adds what is not what was written to the faults. `progress` hears of every run.
    pub(crate) fn verify(
        &mut self,
        context: &Context,
        progress: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let mut rotten: BTreeMap<(u32, bool), (Ranges, Ranges)> = BTreeMap::new();
        let mut buffer = Vec::new();
        for run in self.index.runs() {
            let Some(scan) = self.segment(run.place.slot) else { continue };
            let good = scan.verify(u32::from(run.place.block), run.crcs, &mut buffer);
            let blocks = run.crcs.iter().zip(buffer.chunks(BLOCK_LEN)).zip(good).zip(0_u64..);
            for (((crc, data), _), n) in blocks.filter(|((_, good), _)| !good) {
                let lba = u64::from(run.lba) + n;
                if self.lost.touches(lba..lba + 1) {
                    continue;
                }
                let marked = lost::is_marked(data, *crc);
                let (lbas, places) = rotten.entry((run.place.slot, marked)).or_default();
                lbas.add(lba..lba + 1);
                let place = u64::from(run.place.block) + n;
                places.add(place..place + 1);
            }
            progress(run.crcs.len() as u64)?;
        }
        let dir = context.layer_dir(self.id);
        for ((slot, marked), (lost, places)) in rotten {
            let Some(scan) = self.segment(slot) else { continue };
            let path = segment_path(&dir, scan.number);
            let path = path.strip_prefix(&context.root).unwrap_or(&path).to_owned();
            self.lost.add_all(&lost);
            let problem = if marked { Problem::Marked { places } } else { Problem::Blocks { places } };
            self.faults.push(Fault { path, problem, lost, unlocated: false });
        }
        Ok(())
    }
}

/// Whether the data of a record that was never called durable survived.
fn survived(scan: Option<&SegmentScan>, record: &FoundRecord) -> bool {
    match (&record.found.record.body, scan) {
        (Body::Write { block, crcs, .. }, Some(scan)) => {
            scan.verify(*block, crcs, &mut Vec::new()).iter().all(|good| *good)
        }
        (Body::Write { .. }, None) => false,
        (Body::Trim { .. } | Body::Marker, _) => true,
    }
}

/// The blocks of a run.
pub(crate) fn blocks_of(run: &Run<'_>) -> std::ops::Range<u64> {
    u64::from(run.lba)..u64::from(run.lba) + run.crcs.len() as u64
}

/// Where the records begin that the checkpoint does not cover.
fn chain_start(base: &Base, scan: &SegmentScan) -> ChainStart {
    match base.head.segments.iter().find(|segment| segment.number == scan.number) {
        Some(known) if known.end_offset == SEALED_END => ChainStart { offset: SEALED_END, chain: Some(0) },
        Some(known) => ChainStart { offset: known.end_offset, chain: Some(known.chain) },
        None => ChainStart { offset: HEADER_BYTES, chain: scan.chain },
    }
}

/// Slot and place where the record with number `seq` must have begun.
fn place_of(
    base: &Base,
    segments: &[Option<SegmentScan>],
    found: &[(usize, FoundRecord, bool)],
    seq: u64,
) -> Option<(usize, ChainStart)> {
    let begins = |scan: &SegmentScan| scan.header.as_ref().is_ok_and(|header| header.first_seq == seq);
    let first = segments.iter().enumerate().find_map(|(slot, scan)| {
        let scan = scan.as_ref().filter(|scan| begins(scan))?;
        Some((slot, ChainStart { offset: HEADER_BYTES, chain: scan.chain }))
    });
    let before = || {
        let (slot, record, _) =
            found.iter().rev().find(|(_, record, _)| record.found.record.seq + 1 == seq)?;
        Some((*slot, next(record)))
    };
    let active = || {
        let known = base.head.segments.iter().find(|segment| segment.end_offset != SEALED_END)?;
        let start = ChainStart { offset: known.end_offset, chain: Some(known.chain) };
        (base.head.seq + 1 == seq).then_some((known.slot as usize, start))
    };
    first.or_else(before).or_else(active)
}

fn read_checkpoint(
    context: &Context,
    path: &Path,
    id: LayerId,
    number: u64,
) -> std::result::Result<(CheckpointHead, Index), String> {
    let read = || -> io::Result<Vec<u8>> {
        let file = context.disk.open(path, false)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
        let read = file.read_at(0, &mut bytes, Wait::Yes)?;
        bytes.truncate(read);
        Ok(bytes)
    };
    let bytes = read().map_err(|error| error.to_string())?;
    checkpoint::unpack(&bytes, id, number).map_err(|damage| damage.to_string())
}
