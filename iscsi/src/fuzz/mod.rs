//! Everything that takes a peer's bytes, for fuzzers and for the tests that stand in for them. Whatever the bytes are,
//! nothing panics, nothing is kept beyond [`crate::limits`], and what is said in answer follows the protocol.

mod deframer;
mod login;
mod oracle;
mod program;
mod stream;
mod text;
mod world;

/// What a fuzzer calls: with its input, and with a way to ask how many bytes are allocated.
pub type Target = fn(&[u8], Meter);

/// Bytes in use, as the caller's allocator counts them; always zero where nobody counts.
pub type Meter = fn() -> usize;

/// Every target of the fuzzers in `fuzz/`, by the name that its corpus has.
pub const TARGETS: &[(&str, Target)] = &[
    ("deframer", deframer::run),
    ("text", text::run),
    ("login", login::run),
    ("stream", stream::run),
    ("program", program::run),
];

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

    /// One of `count`.
    fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count.max(1)
    }
}
