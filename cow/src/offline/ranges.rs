//! A set of numbers as ranges: disjoint, not touching, in order.

use std::{collections::BTreeMap, ops::Range};

/// Blocks, or bytes, as ranges.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many numbers are in it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().map(|(start, end)| *start..*end)
    }

    /// Whether any number of `range` is in it.
    #[must_use]
    pub fn touches(&self, range: Range<u64>) -> bool {
        self.0.range(..range.end).next_back().is_some_and(|(_, end)| *end > range.start && !range.is_empty())
    }

    /// Adds a range, joining what it touches.
    pub fn add(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut from, mut to) = (range.start, range.end);
        if let Some((before, end)) = self.0.range(..=from).next_back()
            && *end >= from
        {
            (from, to) = (*before, to.max(*end));
        }
        while let Some((next, end)) = self.0.range(from..=to).next() {
            let (next, end) = (*next, *end);
            to = to.max(end);
            self.0.remove(&next);
        }
        self.0.insert(from, to);
    }

    /// Adds all of another set.
    pub fn add_all(&mut self, other: &Self) {
        other.iter().for_each(|range| self.add(range));
    }

    /// Takes a range out.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        while let Some((start, end)) =
            self.0.range(..range.end).next_back().map(|(start, end)| (*start, *end))
        {
            if end <= range.start {
                return;
            }
            self.0.remove(&start);
            if end > range.end {
                self.0.insert(range.end, end);
            }
            if start < range.start {
                self.0.insert(start, range.start);
                return;
            }
        }
    }

    /// The part of it that lies in `range`.
    #[must_use]
    pub fn within(&self, range: Range<u64>) -> Self {
        let mut part = Self::default();
        let from = self.0.range(..=range.start).next_back().map_or(range.start, |(start, _)| *start);
        for (start, end) in self.0.range(from..range.end.max(from)) {
            part.add((*start).max(range.start)..(*end).min(range.end));
        }
        part
    }

    /// Every number times `factor`: blocks as bytes.
    #[must_use]
    pub fn scaled(&self, factor: u64) -> Self {
        Self(self.0.iter().map(|(start, end)| (start * factor, end * factor)).collect())
    }
}

impl From<Range<u64>> for Ranges {
    fn from(range: Range<u64>) -> Self {
        let mut set = Self::default();
        set.add(range);
        set
    }
}

impl FromIterator<Range<u64>> for Ranges {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Self {
        let mut set = Self::default();
        ranges.into_iter().for_each(|range| set.add(range));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_changes_agree_with_a_plain_set() {
        let mut state = 7_u64;
        let mut below = |n: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % n
        };
        let mut plain = [false; 200];
        let mut set = Ranges::default();
        for _ in 0..5000 {
            let start = below(190);
            let end = start + below(10);
            let add = below(2) == 0;
            if add {
                set.add(start..end)
            } else {
                set.remove(start..end)
            }
            (start..end).for_each(|n| plain[n as usize] = add);
            let want: Ranges = (0..200).filter(|n| plain[*n as usize]).map(|n| n..n + 1).collect();
            assert_eq!(set, want);
            let (from, to) = (below(100), 100 + below(100));
            let part: Ranges = (from..to).filter(|n| plain[*n as usize]).map(|n| n..n + 1).collect();
            assert_eq!(set.within(from..to), part);
            assert_eq!(set.touches(from..to), !part.is_empty());
        }
    }

    #[test]
    fn blocks_become_bytes() {
        let set: Ranges = [1..2, 2..3, 5..6].into_iter().collect();
        assert_eq!(set.scaled(4096).iter().collect::<Vec<_>>(), [4096..12288, 20480..24576]);
        assert_eq!(set.total(), 3);
    }
}
