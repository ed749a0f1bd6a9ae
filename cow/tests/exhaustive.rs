//! Every sequence of up to three operations of a small alphabet, crashed before every step of the disk, in every
//! subset of unsynced sectors and names up to a bound, and in a sample of them beyond it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test may stop at the first surprise"
)]

mod support;

use support::{
    full,
    history::{History, Plan, Tally},
};

/// Write, write parts of two blocks, trim, flush, checkpoint, reclaim, snapshot.
const ALPHABET: [char; 7] = ['w', 'p', 't', 'f', 'c', 'r', 's'];

fn plan() -> Plan {
    let subset_bits = if full() { 8 } else { 4 };
    Plan {
        operations: 0,
        fork_one_in: 0,
        cuts_per_fork: if full() { 60 } else { 10 },
        crash_one_in: 0,
        fault_one_in: 0,
        subset_bits,
    }
}

fn run(sequence: &[char], seed: u64) -> Tally {
    let mut history = History::new(seed, plan());
    let mut all = || {
        history.begin_quietly()?;
        // One volume; and something in it, so that there is an old content to fall back to.
        history.operation_of(0, None)?;
        history.letter('w')?;
        history.letter('f')?;
        history.fork_every_step(true);
        sequence.iter().try_for_each(|letter| history.letter(*letter))?;
        history.fork_every_step(false);
        history.finish()
    };
    let result = all();
    if let Err(wrong) = result {
        panic!("{sequence:?}, seed {seed}: {wrong}\n{}", history.told());
    }
    history.tally
}

fn all(length: usize, seeds: std::ops::Range<u64>) {
    let mut sum = Tally::default();
    for seed in seeds {
        for number in 0..ALPHABET.len().pow(length as u32) {
            let sequence: Vec<char> = (0..length)
                .map(|at| ALPHABET[number / ALPHABET.len().pow(at as u32) % ALPHABET.len()])
                .collect();
            sum = sum.and(run(&sequence, seed));
        }
    }
    println!("sequences of {length}: {} crash states", sum.crash_states);
    assert!(sum.crash_states > 100);
}

#[test]
fn every_operation_may_be_cut_off_anywhere() {
    all(1, 1..7);
}

#[test]
fn every_two_operations_may_be_cut_off_anywhere() {
    all(2, 1..3);
}

#[test]
fn every_three_operations_may_be_cut_off_anywhere() {
    if full() {
        all(3, 1..2);
    } else {
        println!("skipped: set COW_FULL=1, with the profile `sim`");
    }
}
