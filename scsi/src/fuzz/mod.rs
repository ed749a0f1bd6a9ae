//! What takes an initiator's bytes, for fuzzers and for the tests that stand in for them: no panic, no work outside the
//! medium, no answer longer than asked for, nothing in an answer that is not its own.

mod decoder;
mod disk;
mod unit;

/// What a fuzzer calls.
pub type Target = fn(&[u8]);

/// Every target of the fuzzers in `fuzz/`, by the name that its corpus has.
pub const TARGETS: &[(&str, Target)] = &[("decoder", decoder::run), ("unit", unit::run)];

/// Hands out the bytes of an input; zeros when there are no more.
struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
