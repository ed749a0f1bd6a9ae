//! A leaf of the index: up to 512 runs, held column by column so that nothing is padded away.

use super::{Place, Run};
use crate::limits::{LEAF_BLOCKS_MAX, LEAF_ENTRIES_MAX, RUN_BLOCKS_MAX};

/// Runs in order of their first block; they never overlap.
#[derive(Debug, Default)]
pub(crate) struct Leaf {
    lbas: Vec<u32>,
    /// Blocks of each run, less one.
    last: Vec<u8>,
    places: Vec<PackedPlace>,
    /// Of all runs, one after the other.
    crcs: Vec<u32>,
}

/// 14 bits of block, 26 bits of slot.
type PackedPlace = [u8; 5];

fn pack(place: Place) -> PackedPlace {
    let bits = u64::from(place.slot) << 14 | u64::from(place.block);
    let [a, b, c, d, e, ..] = bits.to_le_bytes();
    [a, b, c, d, e]
}

fn unpack([a, b, c, d, e]: PackedPlace) -> Place {
    let bits = u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]);
    Place { slot: (bits >> 14 & 0x03ff_ffff) as u32, block: (bits & 0x3fff) as u16 }
}

/// How many of `sorted` are at most `lba`. Blocks that were written at random lie about evenly, so the search begins
/// where it would be then: it touches fewer lines of memory than halving does.
fn count_up_to(sorted: &[u32], lba: u32) -> usize {
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else { return 0 };
    if lba < *first {
        return 0;
    }
    if lba >= *last {
        return sorted.len();
    }
    let share = u64::from(lba - first) * sorted.len() as u64 / (u64::from(last - first) + 1);
    let guess = usize::try_from(share).unwrap_or(0);
    let (mut low, mut high, mut step) = (guess, guess, 8);
    while low > 0 && sorted[low] > lba {
        (high, low, step) = (low, low.saturating_sub(step), step * 2);
    }
    while high < sorted.len() && sorted[high] <= lba {
        (low, high, step) = (high, high + step, step * 2);
    }
    let high = high.min(sorted.len());
    low + sorted[low..high].partition_point(|at| *at <= lba)
}

impl Leaf {
    pub(crate) fn is_empty(&self) -> bool {
        self.lbas.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.lbas.len() > LEAF_ENTRIES_MAX || self.crcs.len() > LEAF_BLOCKS_MAX
    }

    /// Place and checksums from `lba` to the end of the run that holds it.
    pub(crate) fn run_at(&self, lba: u32) -> Option<(Place, &[u32])> {
        let i = count_up_to(&self.lbas, lba).checked_sub(1)?;
        let skip = lba - self.lbas[i];
        let blocks = u32::from(self.last[i]) + 1;
        if skip >= blocks {
            return None;
        }
        let first = self.crc_start(i) + skip as usize;
        let mut place = self.place(i);
        place.block += u16::try_from(skip).unwrap_or(u16::MAX);
        Some((place, &self.crcs[first..first + (blocks - skip) as usize]))
    }

    /// The first block of the first run that begins at or after `lba`.
    pub(crate) fn first_at_or_after(&self, lba: u32) -> Option<u32> {
        self.lbas.get(self.lbas.partition_point(|at| *at < lba)).copied()
    }

    /// The common rewrite: a run of just this block gets a new place. Gives the old place.
    pub(crate) fn replace_one(&mut self, lba: u32, place: Place, crc: u32) -> Option<Place> {
        let i = count_up_to(&self.lbas, lba).checked_sub(1)?;
        if self.lbas[i] != lba || self.last[i] != 0 {
            return None;
        }
        let old = self.place(i);
        let at = self.crc_start(i);
        self.crcs[at] = crc;
        self.places[i] = pack(place);
        Some(old)
    }

    /// Adds a run that overlaps none here; it grows the run before it where both lie side by side.
    pub(crate) fn insert(&mut self, run: Run<'_>) {
        let i = self.lbas.partition_point(|at| *at < run.lba);
        let at = self.crc_start(i);
        grow(&mut self.crcs, run.crcs.len());
        self.crcs.splice(at..at, run.crcs.iter().copied());
        let blocks = u32::try_from(run.crcs.len()).unwrap_or(RUN_BLOCKS_MAX);
        if let Some(before) = i.checked_sub(1)
            && let Some(joined) = self.joins(before, run, blocks)
        {
            self.last[before] = joined;
            return;
        }
        self.insert_entry(i, run.lba, blocks, run.place);
    }

    /// Removes `start..end`; gives how many blocks were there.
    pub(crate) fn cut(&mut self, start: u64, end: u64, dead: &mut dyn FnMut(Place, u32)) -> u64 {
        let i0 = self.lbas.partition_point(|at| u64::from(*at) < start);
        let i0 = if i0 > 0 && self.end(i0 - 1) > start { i0 - 1 } else { i0 };
        let i1 = self.lbas.partition_point(|at| u64::from(*at) < end);
        if i0 >= i1 {
            return 0;
        }
        let left = start.saturating_sub(u64::from(self.lbas[i0]));
        let right = self.end(i1 - 1).saturating_sub(end);
        let (first, last) = ((self.lbas[i0], self.place(i0)), (self.end(i1 - 1), self.place(i1 - 1)));
        let last_blocks = u64::from(self.last[i1 - 1]) + 1;
        for i in i0..i1 {
            let skip = if i == i0 { left } else { 0 };
            let keep = if i == i1 - 1 { right } else { 0 };
            let place = self.place(i);
            let blocks = u64::from(self.last[i]) + 1 - skip - keep;
            dead(shifted(place, skip), u32::try_from(blocks).unwrap_or(u32::MAX));
        }
        let crc_first = self.crc_start(i0) + usize::try_from(left).unwrap_or(0);
        let crc_end = self.crc_start(i1) - usize::try_from(right).unwrap_or(0);
        self.crcs.drain(crc_first..crc_end);
        self.lbas.drain(i0..i1);
        self.last.drain(i0..i1);
        self.places.drain(i0..i1);
        if right > 0 {
            let lba = u32::try_from(last.0 - right).unwrap_or(u32::MAX);
            let place = shifted(last.1, last_blocks - right);
            self.insert_entry(i0, lba, u32::try_from(right).unwrap_or(1), place);
        }
        if left > 0 {
            self.insert_entry(i0, first.0, u32::try_from(left).unwrap_or(1), first.1);
        }
        self.shrink();
        (crc_end - crc_first) as u64
    }

    /// Moves the upper part into a leaf of its own; gives its first block. `inserted` was the last insert: when
    /// it came at the end, only it moves, so that sequential writing leaves full leaves behind.
    pub(crate) fn split(&mut self, inserted: u32) -> Option<(u32, Leaf)> {
        let entries = self.lbas.len();
        let at = if self.lbas.last() == Some(&inserted) { entries - 1 } else { entries / 2 };
        let first = *self.lbas.get(at)?;
        if at == 0 {
            return None;
        }
        let crc_at = self.crc_start(at);
        let right = Leaf {
            lbas: self.lbas.split_off(at),
            last: self.last.split_off(at),
            places: self.places.split_off(at),
            crcs: self.crcs.split_off(crc_at),
        };
        self.fit();
        Some((first, right))
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = Run<'_>> {
        let mut at = 0;
        (0..self.lbas.len()).map(move |i| {
            let blocks = usize::from(self.last[i]) + 1;
            at += blocks;
            Run { lba: self.lbas[i], place: self.place(i), crcs: &self.crcs[at - blocks..at] }
        })
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        // Each allocation costs its allocator about 12 bytes.
        4 * self.lbas.capacity()
            + self.last.capacity()
            + size_of::<PackedPlace>() * self.places.capacity()
            + 4 * self.crcs.capacity()
            + 4 * 12
    }

    fn place(&self, i: usize) -> Place {
        unpack(self.places[i])
    }

    fn end(&self, i: usize) -> u64 {
        u64::from(self.lbas[i]) + u64::from(self.last[i]) + 1
    }

    fn crc_start(&self, i: usize) -> usize {
        if self.crcs.len() == self.lbas.len() {
            return i;
        }
        i + self.last[..i].iter().map(|last| usize::from(*last)).sum::<usize>()
    }

    fn joins(&self, before: usize, run: Run<'_>, blocks: u32) -> Option<u8> {
        let have = u32::from(self.last[before]) + 1;
        let place = self.place(before);
        let touches = self.end(before) == u64::from(run.lba)
            && place.slot == run.place.slot
            && u32::from(place.block) + have == u32::from(run.place.block);
        if !touches || have + blocks > RUN_BLOCKS_MAX {
            return None;
        }
        u8::try_from(have + blocks - 1).ok()
    }

    fn insert_entry(&mut self, i: usize, lba: u32, blocks: u32, place: Place) {
        debug_assert!((1..=RUN_BLOCKS_MAX).contains(&blocks));
        grow(&mut self.lbas, 1);
        grow(&mut self.last, 1);
        grow(&mut self.places, 1);
        self.lbas.insert(i, lba);
        self.last.insert(i, u8::try_from(blocks - 1).unwrap_or(u8::MAX));
        self.places.insert(i, pack(place));
    }

    fn shrink(&mut self) {
        if self.lbas.capacity() > 2 * self.lbas.len() + 16 || self.crcs.capacity() > 2 * self.crcs.len() + 64
        {
            self.fit();
        }
    }

    fn fit(&mut self) {
        self.lbas.shrink_to_fit();
        self.last.shrink_to_fit();
        self.places.shrink_to_fit();
        self.crcs.shrink_to_fit();
    }
}

/// Room in small steps: a sixteenth, where `Vec` alone would double.
fn grow<T>(column: &mut Vec<T>, more: usize) {
    if column.capacity() - column.len() < more {
        column.reserve_exact(more.max(column.len() / 16 + 2));
    }
}

fn shifted(place: Place, blocks: u64) -> Place {
    Place { slot: place.slot, block: place.block + u16::try_from(blocks).unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_finds_what_halving_finds() {
        let even: Vec<u32> = (0..500).map(|n| n * 1000 + 7).collect();
        let steep: Vec<u32> = (0..30).map(|n| 1 << n).chain([u32::MAX - 1, u32::MAX]).collect();
        for sorted in [&[][..], &[5], &[0, u32::MAX], &even, &steep] {
            let near = sorted.iter().flat_map(|at| [at.saturating_sub(1), *at, at.saturating_add(1)]);
            for lba in near.chain([0, u32::MAX]) {
                let want = sorted.partition_point(|at| *at <= lba);
                assert_eq!(count_up_to(sorted, lba), want, "{lba} in {sorted:?}");
            }
        }
    }

    #[test]
    fn a_place_keeps_all_its_bits() {
        for place in [Place { slot: 0, block: 0 }, Place { slot: (1 << 26) - 1, block: (1 << 14) - 1 }] {
            assert_eq!(unpack(pack(place)), place);
        }
    }
}
