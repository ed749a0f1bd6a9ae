//! Which records count: those that the chain reaches and that must be there, those that survived, and those that are
//! missing, mended where that can be.

use std::collections::{BTreeMap, BTreeSet};

use super::{Base, Change, Event, Reading};
use crate::{
    format::record::{self, Body},
    layer::{SEALED_END, segment_path},
    limits::HEADER_BYTES,
    offline::{
        mend::{Gap, Mended, mend},
        report::Problem,
        segment::{ChainStart, FoundRecord, SegmentScan, next},
    },
};

impl Reading<'_> {
    /// What happened after the checkpoint, in order.
    pub(super) fn events(&mut self, base: &Base, segments: &[Option<SegmentScan>]) -> Vec<Event> {
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
}

/// Whether the data of a record that was never called durable survived, by the measure of recovery: what lies past the
/// end of the file did not, though it would read as zeros and might have their checksum.
fn survived(scan: Option<&SegmentScan>, record: &FoundRecord) -> bool {
    match (&record.found.record.body, scan) {
        (Body::Write { block, crcs, .. }, Some(scan)) => {
            scan.blocks_from(*block) >= crcs.len() as u64
                && scan.verify(*block, crcs, &mut Vec::new()).iter().all(|good| *good)
        }
        (Body::Write { .. }, None) => false,
        (Body::Trim { .. } | Body::Marker, _) => true,
    }
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
