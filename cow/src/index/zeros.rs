//! Trimmed ranges: disjoint, not touching, in order.

use std::collections::BTreeMap;

/// A set of block ranges.
#[derive(Debug, Default)]
pub(crate) struct Zeros(BTreeMap<u64, u64>);

impl Zeros {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds `start..end`, joining what it touches.
    pub(crate) fn add(&mut self, start: u64, end: u64) {
        let (mut from, mut to) = (start, end);
        if let Some((before, before_end)) = self.0.range(..=start).next_back()
            && *before_end >= start
        {
            (from, to) = (*before, to.max(*before_end));
        }
        while let Some((next, next_end)) = self.0.range(from..=to).next() {
            let (next, next_end) = (*next, *next_end);
            to = to.max(next_end);
            self.0.remove(&next);
        }
        self.0.insert(from, to);
    }

    /// The end of the range that holds `at`, or where the next range begins.
    pub(crate) fn at(&self, at: u64) -> Result<u64, u64> {
        if let Some((_, end)) = self.0.range(..=at).next_back()
            && *end > at
        {
            return Ok(*end);
        }
        Err(self.0.range(at..).next().map_or(u64::MAX, |(start, _)| *start))
    }

    /// All ranges, `(start, end)`.
    pub(crate) fn ranges(&self) -> impl ExactSizeIterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|(start, end)| (*start, *end))
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.0.len() * 24
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_joined() {
        let mut zeros = Zeros::default();
        zeros.add(10, 20);
        zeros.add(30, 40);
        zeros.add(20, 30);
        assert_eq!(zeros.ranges().collect::<Vec<_>>(), [(10, 40)]);
        zeros.add(50, 60);
        zeros.add(0, 55);
        zeros.add(12, 13);
        assert_eq!(zeros.ranges().collect::<Vec<_>>(), [(0, 60)]);
        assert_eq!((zeros.at(59), zeros.at(60)), (Ok(60), Err(u64::MAX)));
    }
}
