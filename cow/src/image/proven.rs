//! Which chunks of an image have been proven since it was opened.
//!
//! The page cache holds whatever the disk gave: also a rotten chunk that was refused once, and what the kernel read
//! ahead. So it is believed only where the chunk was compared with its digest before.

use std::sync::atomic::{AtomicU64, Ordering};

/// One bit a digest.
#[derive(Debug)]
pub(crate) struct Proven(Vec<AtomicU64>);

impl Proven {
    /// None of so many.
    pub(crate) fn new(digests: usize) -> Self {
        Self((0..digests.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    /// Whether the chunk with this digest was proven.
    pub(crate) fn is(&self, digest: usize) -> bool {
        self.0.get(digest / 64).is_some_and(|word| word.load(Ordering::Acquire) & bit(digest) != 0)
    }

    /// Takes down what a comparison said.
    pub(crate) fn set(&self, digest: usize, proven: bool) {
        let Some(word) = self.0.get(digest / 64) else { return };
        match proven {
            true => word.fetch_or(bit(digest), Ordering::AcqRel),
            false => word.fetch_and(!bit(digest), Ordering::AcqRel),
        };
    }
}

fn bit(digest: usize) -> u64 {
    1 << (digest % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_is_set_and_taken_back_alone() {
        let proven = Proven::new(130);
        proven.set(64, true);
        proven.set(129, true);
        proven.set(500, true);
        assert_eq!([63, 64, 65, 129, 500].map(|n| proven.is(n)), [false, true, false, true, false]);
        proven.set(64, false);
        assert!(!proven.is(64) && proven.is(129));
    }
}
