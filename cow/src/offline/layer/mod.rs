//! A layer as it is found on disk, read without changing a byte: its map, and what of it is lost.
//!
//! It follows the rules of recovery (FORMAT.md, *Recovery of a layer*), but where recovery stops at damage, this
//! goes on: it names the damage, and takes whatever is sound. Where the newest checkpoint is rotten the map is
//! rebuilt from the records of all segments.
//!
//! ```text
//!   mod      reads the newest sound checkpoint and the segments
//!   records  which records count, and which are missing
//!   replay   the map that they make, and what of it is lost
//!   verify   every block beside its checksum
//! ```

mod records;
mod replay;
mod verify;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use super::{
    ranges::Ranges,
    report::Problem,
    segment::{Layout, SegmentScan},
};
use crate::{
    context::Context,
    disk::Wait,
    error::{Error, Result},
    format::{
        checkpoint::{self, CheckpointHead},
        record::Record,
    },
    ids::LayerId,
    index::{Extent, Index, Run},
    layer::{FAILED_SYNC, checkpoint_path, numbered, segment_path},
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
}

/// The blocks of a run.
pub(crate) fn blocks_of(run: &Run<'_>) -> std::ops::Range<u64> {
    u64::from(run.lba)..u64::from(run.lba) + run.crcs.len() as u64
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
