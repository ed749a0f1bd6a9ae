//! The map that the records make, and which of its blocks are lost.

use super::{Base, Change, Event, LayerMap, Reading, blocks_of};
use crate::{
    format::{checkpoint::CheckpointHead, record::Body},
    index::{Index, Place},
    layer::{SEALED_END, segment_path},
    offline::{ranges::Ranges, report::Problem, segment::SegmentScan},
};

impl Reading<'_> {
    /// Applies the changes, and finds which blocks are lost.
    pub(super) fn replay(
        mut self,
        base: Base,
        segments: Vec<Option<SegmentScan>>,
        events: Vec<Event>,
    ) -> LayerMap {
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
                let whole = scan.blocks_from(u32::from(run.place.block));
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
}
