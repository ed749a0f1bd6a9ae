//! The map of one layer: which block lies where. In memory, about 15 bytes for a block written alone and
//! 4 (its checksum) for one in a run.
//!
//! Written blocks live in [`leaf::Leaf`]s, each the blocks from its key up to the next key; trimmed ranges live
//! in [`zeros::Zeros`]. A written block wins over a trimmed range, so that writing never has to cut ranges;
//! trimming removes written blocks.

mod leaf;
mod zeros;

use std::collections::BTreeMap;

use leaf::Leaf;
pub(crate) use zeros::Zeros;

/// Where a block's bytes lie: slot of the segment in its layer's table, and block in the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub slot: u32,
    pub block: u16,
}

/// A run of blocks that lie side by side, both in the volume and in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run<'a> {
    pub lba: u32,
    pub place: Place,
    /// One checksum a block.
    pub crcs: &'a [u32],
}

/// What a layer says of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent<'a> {
    /// Written.
    Data(Place, &'a [u32]),
    /// Trimmed: reads zeros.
    Zero(u64),
    /// Nothing: ask the layer below.
    Hole(u64),
}

impl Extent<'_> {
    /// Blocks, never 0.
    pub(crate) fn blocks(&self) -> u64 {
        match self {
            Extent::Data(_, crcs) => crcs.len() as u64,
            Extent::Zero(blocks) | Extent::Hole(blocks) => *blocks,
        }
    }
}

/// The map of one layer.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// By first block that the leaf may hold; the first key is 0.
    leaves: BTreeMap<u32, Leaf>,
    zeros: Zeros,
    blocks: u64,
}

impl Index {
    /// Whether it says nothing at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks == 0 && self.zeros.is_empty()
    }

    /// Blocks that are written.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Trimmed ranges.
    pub(crate) fn zeros(&self) -> &Zeros {
        &self.zeros
    }

    /// What is at `lba`, for at most `blocks` (at least 1) blocks.
    pub(crate) fn lookup(&self, lba: u32, blocks: u64) -> Extent<'_> {
        let own = self.leaves.range(..=lba).next_back();
        if let Some((place, crcs)) = own.and_then(|(_, leaf)| leaf.run_at(lba)) {
            let most = usize::try_from(blocks).unwrap_or(usize::MAX).min(crcs.len());
            return Extent::Data(place, &crcs[..most]);
        }
        let clear = self.unwritten(own, lba, blocks);
        match self.zeros.at(u64::from(lba)) {
            Ok(end) => Extent::Zero(clear.min(end - u64::from(lba))),
            Err(next) => Extent::Hole(clear.min(next.saturating_sub(u64::from(lba)))),
        }
    }

    /// How many of `blocks` blocks from `lba` on, which is not written itself, are not written. `own` is the leaf
    /// that would hold it.
    fn unwritten(&self, own: Option<(&u32, &Leaf)>, lba: u32, blocks: u64) -> u64 {
        for (key, leaf) in own.into_iter().chain(self.leaves.range(lba..)) {
            if u64::from(*key) >= u64::from(lba) + blocks {
                break;
            }
            if let Some(next) = leaf.first_at_or_after(lba) {
                return blocks.min(u64::from(next - lba));
            }
        }
        blocks
    }

    /// Blocks from `lba` on lie at `place` from now on. `dead` hears of every place that is no longer used.
    pub(crate) fn write(&mut self, lba: u32, place: Place, crcs: &[u32], dead: &mut dyn FnMut(Place, u32)) {
        if crcs.len() == 1
            && let Some((_, leaf)) = self.leaves.range_mut(..=lba).next_back()
            && let Some(old) = leaf.replace_one(lba, place, crcs[0])
        {
            dead(old, 1);
            return;
        }
        self.cut(u64::from(lba), u64::from(lba) + crcs.len() as u64, dead);
        let (mut lba, mut place, mut rest) = (lba, place, crcs);
        loop {
            // A run never reaches into the next leaf's blocks.
            let next = self.leaves.range(lba..).find(|(key, _)| **key > lba).map(|(key, _)| *key - lba);
            let here = next.map_or(rest.len(), |blocks| rest.len().min(blocks as usize));
            self.insert(Run { lba, place, crcs: &rest[..here] });
            rest = &rest[here..];
            if rest.is_empty() {
                return;
            }
            let blocks = u16::try_from(here).unwrap_or(u16::MAX);
            lba += u32::from(blocks);
            place.block += blocks;
        }
    }

    /// `blocks` blocks from `lba` on read zeros from now on.
    pub(crate) fn trim(&mut self, lba: u32, blocks: u64, dead: &mut dyn FnMut(Place, u32)) {
        let (start, end) = (u64::from(lba), u64::from(lba) + blocks);
        self.cut(start, end, dead);
        self.zeros.add(start, end);
    }

    /// Takes back a trimmed range of a checkpoint; written blocks in it stay.
    pub(crate) fn restore_zeros(&mut self, start: u64, end: u64) {
        self.zeros.add(start, end);
    }

    /// All runs of written blocks, in order.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Run<'_>> {
        self.leaves.values().flat_map(Leaf::runs)
    }

    /// Bytes of memory that it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        // A map's node holds up to 11 keys and values and is about two thirds full.
        let node = (size_of::<u32>() + size_of::<Leaf>()) * 3 / 2;
        self.leaves.values().map(|leaf| leaf.memory_bytes() + node).sum::<usize>() + self.zeros.memory_bytes()
    }

    fn insert(&mut self, run: Run<'_>) {
        self.blocks += run.crcs.len() as u64;
        let leaf = match self.leaves.range_mut(..=run.lba).next_back() {
            Some((_, leaf)) => leaf,
            None => self.leaves.entry(0).or_default(),
        };
        leaf.insert(run);
        let split = if leaf.is_full() { leaf.split(run.lba) } else { None };
        if let Some((key, right)) = split {
            self.leaves.insert(key, right);
        }
    }

    fn cut(&mut self, start: u64, end: u64, dead: &mut dyn FnMut(Place, u32)) {
        let Ok(first) = u32::try_from(start) else { return };
        let last = u32::try_from(end - 1).unwrap_or(u32::MAX);
        let from = self.leaves.range(..=first).next_back().map_or(0, |(key, _)| *key);
        let mut emptied = Vec::new();
        for (key, leaf) in self.leaves.range_mut(from..=last) {
            self.blocks -= leaf.cut(start, end, dead);
            if leaf.is_empty() && *key != 0 {
                emptied.push(*key);
            }
        }
        for key in emptied {
            self.leaves.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(n: u64) -> Place {
        Place { slot: u32::try_from(n / 10_000).unwrap(), block: u16::try_from(n % 10_000).unwrap() }
    }

    /// A small generator: the tests must not depend on a seed of the day.
    struct Rng(u64);
    impl Rng {
        fn below(&mut self, n: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % n
        }
    }

    #[test]
    fn random_changes_agree_with_a_plain_map() {
        for seed in 1..40 {
            let mut rng = Rng(seed * 7919);
            let space = if seed % 2 == 0 { 600 } else { 20_000 };
            let mut index = Index::default();
            let mut plain: BTreeMap<u64, Option<(u64, u32)>> = BTreeMap::new();
            let (mut next, mut dead_blocks) = (0, 0);
            for _ in 0..3000 {
                let lba = rng.below(space);
                let blocks = if rng.below(3) == 0 { 1 + rng.below(256) } else { 1 };
                let lba32 = u32::try_from(lba).unwrap();
                let mut dead = |_: Place, n: u32| dead_blocks += u64::from(n);
                if rng.below(6) == 0 {
                    index.trim(lba32, blocks, &mut dead);
                    plain.extend((lba..lba + blocks).map(|at| (at, None)));
                } else {
                    if next % 10_000 + blocks > 10_000 {
                        next = (next / 10_000 + 1) * 10_000;
                    }
                    let crcs: Vec<u32> =
                        (0..blocks).map(|_| u32::try_from(rng.below(1 << 32)).unwrap()).collect();
                    index.write(lba32, place(next), &crcs, &mut dead);
                    for (at, crc) in (lba..).zip(&crcs) {
                        plain.insert(at, Some((next + at - lba, *crc)));
                    }
                    next += blocks;
                }
            }
            let live = plain.values().filter(|v| v.is_some()).count() as u64;
            assert_eq!(index.blocks(), live);
            check(&index, &plain, space + 300);
            assert!(dead_blocks > 0);
        }
    }

    fn check(index: &Index, plain: &BTreeMap<u64, Option<(u64, u32)>>, space: u64) {
        let mut lba = 0;
        while lba < space {
            let extent = index.lookup(u32::try_from(lba).unwrap(), space - lba);
            assert!(extent.blocks() > 0);
            for i in 0..extent.blocks() {
                let want = plain.get(&(lba + i));
                match extent {
                    Extent::Data(at, crcs) => {
                        let got = (u64::from(at.slot) * 10_000 + u64::from(at.block) + i, crcs[i as usize]);
                        assert_eq!(want, Some(&Some(got)), "lba {}", lba + i);
                    }
                    Extent::Zero(_) => assert_eq!(want, Some(&None), "lba {}", lba + i),
                    Extent::Hole(_) => assert_eq!(want, None, "lba {}", lba + i),
                }
            }
            lba += extent.blocks();
        }
        let written: u64 = index.runs().map(|run| run.crcs.len() as u64).sum();
        assert_eq!(written, index.blocks());
    }

    #[test]
    fn a_whole_volume_can_be_trimmed() {
        let mut index = Index::default();
        index.write(u32::MAX, place(0), &[1], &mut |_, _| {});
        index.trim(0, 1 << 32, &mut |_, _| {});
        assert_eq!(index.lookup(0, 1 << 32), Extent::Zero(1 << 32));
        assert_eq!((index.blocks(), index.is_empty()), (0, false));
    }

    #[test]
    fn a_block_written_alone_takes_sixteen_bytes_and_one_in_a_run_far_less() {
        let mut rng = Rng(99);
        let mut random = Index::default();
        for n in 0..400_000 {
            random.write(u32::try_from(rng.below(1 << 30)).unwrap(), place(n), &[1], &mut |_, _| {});
        }
        let each = random.memory_bytes() as f64 / random.blocks() as f64;
        assert!(each <= 16.0, "{each} bytes");
        let mut sequential = Index::default();
        for n in 0..400_000 {
            sequential.write(u32::try_from(n).unwrap(), place(n), &[1], &mut |_, _| {});
        }
        let each = sequential.memory_bytes() as f64 / sequential.blocks() as f64;
        assert!(each <= 5.0, "{each} bytes");
    }
}
