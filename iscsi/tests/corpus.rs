//! What the fuzzers in `fuzz/` have found worth keeping, without a fuzzer: every input of `fuzz/seeds` is run, and many near
//! them; none makes anything panic, and none makes it keep much memory.
//!
//! `fuzz/seeds` holds a file for each target: its inputs, each after its length (two bytes, little-endian).

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test may stop at the first surprise"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    fs,
    path::Path,
};

use iscsi::fuzz;

thread_local! {
    static IN_USE: Cell<usize> = const { Cell::new(0) };
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, that counts for each thread what is in use, and knows the largest allocation.
struct Counted;

#[allow(unsafe_code, reason = "an allocator has no safe form; it only passes on")]
// SAFETY: every call is the system's own, with the same arguments.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = IN_USE.try_with(|bytes| bytes.set(bytes.get().wrapping_add(layout.size())));
        let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(layout.size())));
        // SAFETY: the caller's promise is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _ = IN_USE.try_with(|bytes| bytes.set(bytes.get().wrapping_sub(layout.size())));
        // SAFETY: the caller's promise is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// No input, however small, may ask for more at once.
const AT_ONCE_MAX: usize = 4 << 20;
/// Changed inputs for each that is kept; `NEAR=1000` for more of them.
const NEAR: usize = 3;
/// Random inputs for each target; `ROUNDS=1000000` for more of them.
const ROUNDS: usize = 500;

fn inputs(target: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let packed = fs::read(path).unwrap();
    let (mut rest, mut inputs) = (&packed[..], Vec::new());
    while let Some((length, tail)) = rest.split_first_chunk() {
        let (input, tail) = tail.split_at(usize::from(u16::from_le_bytes(*length)));
        inputs.push(input.to_vec());
        rest = tail;
    }
    assert!(rest.is_empty(), "{target}: the corpus ends in the middle of an input");
    inputs
}

fn run(name: &str, target: fuzz::Target, input: &[u8]) {
    LARGEST.set(0);
    let meter = || IN_USE.get();
    let result = std::panic::catch_unwind(|| target(input, meter));
    assert!(result.is_ok(), "`{name}` panics with {input:02x?}");
    assert!(LARGEST.get() <= AT_ONCE_MAX, "`{name}` takes {} bytes at once with {input:02x?}", LARGEST.get());
}

#[test]
fn every_input_of_the_corpus_is_taken() {
    for (name, target) in fuzz::TARGETS {
        let inputs = inputs(name);
        println!("{name}: {} inputs", inputs.len());
        assert!(inputs.len() >= 10, "{name} has {} inputs", inputs.len());
        inputs.iter().for_each(|input| run(name, *target, input));
    }
}

/// Inputs from nowhere: what a corpus does not hold yet.
#[test]
fn no_random_input_panics() {
    let rounds = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let mut random = Random(std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(2));
    for (name, target) in fuzz::TARGETS {
        for _ in 0..rounds {
            let input: Vec<u8> = (0..random.below(200)).map(|_| random.below(256) as u8).collect();
            run(name, *target, &input);
        }
    }
}

/// A generator (xorshift64*), so that a plain test goes a step beyond the corpus, and the same step every time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }
}

#[test]
fn nothing_near_the_corpus_panics() {
    let near = std::env::var("NEAR").ok().and_then(|near| near.parse().ok()).unwrap_or(NEAR);
    let mut random = Random(std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1));
    for (name, target) in fuzz::TARGETS {
        let inputs = inputs(name);
        for input in &inputs {
            for _ in 0..near {
                let mut changed = input.clone();
                // The end of another one behind the beginning of this; then some bytes.
                if random.below(3) == 0 {
                    let other = &inputs[random.below(inputs.len())];
                    changed.truncate(random.below(input.len() + 1));
                    changed.extend_from_slice(&other[random.below(other.len() + 1)..]);
                }
                for _ in 0..random.below(5) {
                    if !changed.is_empty() {
                        let at = random.below(changed.len());
                        changed[at] = random.below(256) as u8;
                    }
                }
                run(name, *target, &changed);
            }
        }
    }
}
