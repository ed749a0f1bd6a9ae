//! Scrubbing: every golden chunk and every overlay block is read in turn and compared with its checksum, however
//! rarely anybody else reads it. What is rotten makes its volume or image critical; service goes on.
//!
//! A [`Scrub`] is one pass over the store, taken in steps of as many bytes as the caller has to spend; [`Pace`] says
//! how many that are. Volumes that are closed are opened for it, one at a time, and closed again.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::{
    disk::Wait,
    error::{Error, Kind, Result},
    ids::{ImageId, LayerId, SnapshotId, VolumeId},
    layer::{Layer, Piece, Segment},
    limits::{BLOCK_BYTES, BLOCK_LEN, CHUNK_BYTES},
    store::Store,
};

/// Blocks of a volume that are looked up at a time.
const WINDOW_BLOCKS: u64 = 1 << 14;
/// So many where there was nothing before; should they be full all the same, their checksums take 16 MiB.
const EMPTY_WINDOW_BLOCKS: u64 = 1 << 22;
/// What each image, volume and snapshot counts for the pace beside its data: it is opened, and its map is read.
const OPENING_BYTES: u64 = 64 << 10;
/// The block behind the last one that a layer can have.
const END: u64 = 1 << 32;

/// How many bytes may be read by now at so many bytes a second. It knows no clock: `now` is the caller's.
#[derive(Debug, Clone)]
pub struct Pace {
    bytes_per_second: u64,
    last: Duration,
}

impl Pace {
    /// From `now` on.
    #[must_use]
    pub fn new(bytes_per_second: u64, now: Duration) -> Self {
        Self { bytes_per_second, last: now }
    }

    /// Bytes that fell due since the last call; never more than those of a second, whatever was missed.
    pub fn due(&mut self, now: Duration) -> u64 {
        let since = now.saturating_sub(self.last).min(Duration::from_secs(1));
        self.last = now;
        let bytes = u128::from(self.bytes_per_second) * since.as_nanos() / 1_000_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

/// Whose bytes a scrub found rotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scrubbed {
    /// A golden image's.
    Image(ImageId),
    /// A volume's.
    Volume(VolumeId),
    /// A snapshot's.
    Snapshot(SnapshotId),
}

/// A rotten place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotten {
    /// Whose.
    pub whose: Scrubbed,
    /// First byte, in the volume or image.
    pub offset: u64,
    /// What is wrong.
    pub why: String,
}

/// How far a pass has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScrubProgress {
    /// Bytes that were read in this pass.
    pub done_bytes: u64,
    /// What this step counts for the pace: the bytes that it read, and something for all that it opened.
    pub spent_bytes: u64,
    /// Images, volumes and snapshots that are done, and how many there were at the start.
    pub done: usize,
    /// See `done`.
    pub total: usize,
    /// The pass is complete.
    pub finished: bool,
    /// What this step found.
    pub rotten: Vec<Rotten>,
}

/// One pass over a store.
pub struct Scrub {
    store: Arc<Store>,
    todo: VecDeque<Scrubbed>,
    total: usize,
    done_bytes: u64,
    /// Where the first of `todo` is taken up.
    at: Cursor,
    /// Layers that were scrubbed in this pass, with the blocks that are rotten.
    layers: BTreeMap<LayerId, BTreeSet<u32>>,
    buffer: Vec<u8>,
}

/// How far the first of the list has come.
#[derive(Debug, Default)]
struct Cursor {
    /// Chunk of an image, or block of the layer that is being read.
    next: u64,
    /// Layers of a volume that are done, from the top.
    layers_done: usize,
    /// It was opened for this pass.
    opened: bool,
    /// Something rotten was found.
    found: bool,
    /// Rotten blocks of the layer that is being read.
    bad: BTreeSet<u32>,
}

/// What is left of a step.
struct Step {
    budget: u64,
    spent: u64,
    rotten: Vec<Rotten>,
}

impl Scrub {
    /// A pass over everything that is there now: images first, for all volumes live on them.
    pub fn new(store: &Arc<Store>) -> Result<Self> {
        let images = store.images()?.into_iter().map(|info| Scrubbed::Image(info.id));
        let volumes = store.volumes().into_iter().map(|info| Scrubbed::Volume(info.id));
        let snapshots = store.snapshots().into_iter().map(|info| Scrubbed::Snapshot(info.id));
        let todo: VecDeque<Scrubbed> = images.chain(volumes).chain(snapshots).collect();
        Ok(Self {
            store: store.clone(),
            total: todo.len(),
            todo,
            done_bytes: 0,
            at: Cursor::default(),
            layers: BTreeMap::new(),
            buffer: Vec::new(),
        })
    }

    /// Reads about `budget_bytes`, at least one chunk or record. Waits for the disk: call it where that is allowed.
    pub fn step(&mut self, budget_bytes: u64) -> ScrubProgress {
        let mut step = Step { budget: budget_bytes.max(1), spent: 0, rotten: Vec::new() };
        while let Some(whose) = self.todo.front().copied() {
            if step.budget == 0 {
                break;
            }
            let done = match whose {
                Scrubbed::Image(id) => self.image(id, &mut step),
                Scrubbed::Volume(id) => self.volume(id, &mut step),
                Scrubbed::Snapshot(id) => self.snapshot(id, &mut step),
            };
            match done {
                Ok(true) => {}
                Ok(false) => break,
                // Removed meanwhile: nothing is left to scrub.
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => self.rotten(&mut step, whose, 0, &error.to_string()),
            }
            self.next(whose);
            step.spend(OPENING_BYTES);
        }
        ScrubProgress {
            done_bytes: self.done_bytes,
            spent_bytes: step.spent,
            done: self.total - self.todo.len(),
            total: self.total,
            finished: self.todo.is_empty(),
            rotten: step.rotten,
        }
    }

    /// The first of the list is done.
    fn next(&mut self, whose: Scrubbed) {
        let at = std::mem::take(&mut self.at);
        self.todo.pop_front();
        match whose {
            Scrubbed::Image(id) if !at.found => self.store.forget_rot_of_image(id),
            Scrubbed::Volume(id) => {
                if !at.found {
                    self.store.forget_rot_of_volume(id);
                }
                if at.opened {
                    // Somebody uses it now: then it stays open.
                    drop(self.store.close_volume(id));
                }
            }
            Scrubbed::Image(_) | Scrubbed::Snapshot(_) => {}
        }
    }

    fn rotten(&mut self, step: &mut Step, whose: Scrubbed, offset: u64, why: &str) {
        self.at.found = true;
        match whose {
            Scrubbed::Image(id) => self.store.mark_image_rotten(id, offset, why),
            Scrubbed::Volume(id) => self.store.mark_volume_rotten(id, offset, why),
            Scrubbed::Snapshot(_) => {}
        }
        step.rotten.push(Rotten { whose, offset, why: why.to_owned() });
    }

    fn image(&mut self, id: ImageId, step: &mut Step) -> Result<bool> {
        let image = self.store.content(id)?;
        while let Some(chunk) = image.next_data_chunk(self.at.next) {
            if step.budget == 0 {
                return Ok(false);
            }
            let result = image.verify_chunk(chunk, &mut self.buffer);
            self.spend(step, CHUNK_BYTES);
            self.at.next = chunk + 1;
            if let Err(error) = result {
                self.rotten(step, Scrubbed::Image(id), chunk * CHUNK_BYTES, &error.to_string());
            }
        }
        Ok(true)
    }

    fn volume(&mut self, id: VolumeId, step: &mut Step) -> Result<bool> {
        self.at.opened |= !self.store.volume_info(id)?.open;
        // The volume itself is not held: it can be removed and rolled back meanwhile.
        let stack = self.store.open_volume(id)?.stack();
        let layers: Vec<&Arc<Layer>> = std::iter::once(&stack.top).chain(&stack.below).collect();
        while let Some(layer) = layers.get(self.at.layers_done) {
            if !self.layer(Scrubbed::Volume(id), layer, step)? {
                return Ok(false);
            }
            let above = &layers[..self.at.layers_done];
            for lba in self.layers.get(&layer.id).cloned().unwrap_or_default() {
                if above.iter().all(|layer| place(layer, lba).is_ok_and(|place| place.is_none())) {
                    self.rotten(step, Scrubbed::Volume(id), u64::from(lba) * BLOCK_BYTES, ROTTEN);
                }
            }
            self.at.layers_done += 1;
            self.at.next = 0;
        }
        Ok(true)
    }

    fn snapshot(&mut self, id: SnapshotId, step: &mut Step) -> Result<bool> {
        let layers = self.store.snapshot_layers(id)?;
        while let Some(layer) = layers.get(self.at.layers_done) {
            let open = self.store.shared_layer(*layer)?;
            if !self.layer(Scrubbed::Snapshot(id), &open, step)? {
                return Ok(false);
            }
            for lba in self.layers.get(layer).cloned().unwrap_or_default() {
                self.rotten(step, Scrubbed::Snapshot(id), u64::from(lba) * BLOCK_BYTES, ROTTEN);
            }
            self.at.layers_done += 1;
            self.at.next = 0;
        }
        Ok(true)
    }

    /// Reads a layer on from where the cursor is, unless this pass has read it already; `false` when the budget ends
    /// first.
    fn layer(&mut self, whose: Scrubbed, layer: &Arc<Layer>, step: &mut Step) -> Result<bool> {
        if self.layers.contains_key(&layer.id) {
            return Ok(true);
        }
        let mut window = WINDOW_BLOCKS;
        while self.at.next < END {
            let looked_up = window.min(END - self.at.next);
            let (mut crcs, mut pieces) = (Vec::new(), Vec::new());
            layer.resolve(block(self.at.next)?, looked_up, &mut crcs, &mut pieces)?;
            // Most volumes are empty for the most part.
            window = if crcs.is_empty() { (window * 2).min(EMPTY_WINDOW_BLOCKS) } else { WINDOW_BLOCKS };
            let mut sums = crcs.as_slice();
            for piece in pieces {
                let (Piece::Data { blocks, .. } | Piece::Zero { blocks } | Piece::Hole { blocks }) = piece;
                if let Piece::Data { segment, block, .. } = piece {
                    if step.budget == 0 {
                        return Ok(false);
                    }
                    let (here, after) = sums.split_at(usize::try_from(blocks).unwrap_or(0));
                    sums = after;
                    self.run(whose, layer.id, (&segment, block), here)?;
                    self.spend(step, blocks * BLOCK_BYTES);
                }
                self.at.next += blocks;
            }
        }
        self.layers.insert(layer.id, std::mem::take(&mut self.at.bad));
        Ok(true)
    }

    /// Compares a run of blocks, which begins where the cursor is, with their checksums.
    fn run(&mut self, whose: Scrubbed, layer: LayerId, at: (&Segment, u16), crcs: &[u32]) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(crcs.len() * BLOCK_LEN, 0);
        let read = at.0.read(at.1, &mut buffer, Wait::Yes);
        let sums = buffer.chunks(BLOCK_LEN).map(crc32c::crc32c);
        let suspects: Vec<u64> = (self.at.next..)
            .zip(sums.zip(crcs))
            .filter(|(_, (sum, crc))| read.is_err() || sum != *crc)
            .map(|(lba, _)| lba)
            .collect();
        self.buffer = buffer;
        for lba in suspects {
            let lba = block(lba)?;
            if self.is_rotten(whose, layer, lba)? {
                self.at.bad.insert(lba);
            }
        }
        Ok(())
    }

    /// Looks at a block once more: it may have been overwritten, and its place given back, since it was looked up.
    fn is_rotten(&self, whose: Scrubbed, layer: LayerId, lba: u32) -> Result<bool> {
        let Some(layer) = self.fresh(whose, layer)? else { return Ok(false) };
        let Some(Some((segment, block, crc))) = place(&layer, lba)? else { return Ok(false) };
        let mut data = [0; BLOCK_LEN];
        let read = segment.read(block, &mut data, Wait::Yes);
        Ok(read.is_err() || crc32c::crc32c(&data) != crc)
    }

    /// The layer as it is open now, if it still belongs there.
    fn fresh(&self, whose: Scrubbed, id: LayerId) -> Result<Option<Arc<Layer>>> {
        match whose {
            Scrubbed::Image(_) => Ok(None),
            Scrubbed::Snapshot(_) => self.store.shared_layer(id).map(Some),
            Scrubbed::Volume(volume) => {
                let stack = self.store.open_volume(volume)?.stack();
                let layers = std::iter::once(&stack.top).chain(&stack.below);
                Ok(layers.into_iter().find(|layer| layer.id == id).cloned())
            }
        }
    }

    fn spend(&mut self, step: &mut Step, bytes: u64) {
        self.done_bytes += bytes;
        step.spend(bytes);
    }
}

impl Step {
    fn spend(&mut self, bytes: u64) {
        self.spent += bytes;
        self.budget = self.budget.saturating_sub(bytes);
    }
}

const ROTTEN: &str = "an overlay block is not what was written";

fn block(lba: u64) -> Result<u32> {
    u32::try_from(lba).map_err(|_| Error::new(Kind::OutOfRange, "block past 2^32"))
}

/// Segment, block in it, and checksum.
type Place = (Arc<Segment>, u16, u32);

/// What a layer says of a block: nothing, zeros (`Some(None)`), or where it lies.
fn place(layer: &Layer, lba: u32) -> Result<Option<Option<Place>>> {
    let (mut crcs, mut pieces) = (Vec::new(), Vec::new());
    layer.resolve(lba, 1, &mut crcs, &mut pieces)?;
    Ok(match (pieces.pop(), crcs.first()) {
        (Some(Piece::Data { segment, block, .. }), Some(crc)) => Some(Some((segment, block, *crc))),
        (Some(Piece::Hole { .. }) | None, _) => None,
        (Some(Piece::Zero { .. } | Piece::Data { .. }), _) => Some(None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_bytes_a_second_and_does_not_make_up_for_a_pause() {
        let at = Duration::from_millis;
        let mut pace = Pace::new(1000, at(0));
        assert_eq!([pace.due(at(100)), pace.due(at(100)), pace.due(at(350))], [100, 0, 250]);
        assert_eq!(pace.due(at(60_000)), 1000);
        assert_eq!(Pace::new(u64::MAX, at(0)).due(at(1000)), u64::MAX);
    }
}
