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
    number,
};

/// Write, write parts of two blocks, trim, flush, checkpoint, reclaim, snapshot.
const ALPHABET: [char; 7] = ['w', 'p', 't', 'f', 'c', 'r', 's'];

/// The same with compaction, after a segment was written of which one block is live still.
const COMPACTING: [char; 7] = ['w', 't', 'f', 'c', 'r', 's', 'k'];
const SPARSE: [char; 3] = ['p', 'r', 'w'];

/// The same with overwrites of one block, until one has to wait for what is dead.
const PACED: [char; 7] = ['o', 'p', 't', 'f', 'c', 's', 'k'];

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

fn run(before: &[char], sequence: &[char], seed: u64) -> Tally {
    let mut history = History::new(seed, plan());
    let mut all = || {
        history.begin_quietly()?;
        // One volume; and something in it, so that there is an old content to fall back to.
        history.operation_of(0, None)?;
        history.letter('w')?;
        history.letter('f')?;
        before.iter().try_for_each(|letter| history.letter(*letter))?;
        history.fork_every_step(true);
        sequence.iter().try_for_each(|letter| history.letter(*letter))?;
        history.fork_every_step(false);
        history.finish()
    };
    let result = all();
    if let Err(wrong) = result {
        let word = |letters: &[char]| letters.iter().collect::<String>();
        panic!(
            "{before:?} {sequence:?}, seed {seed}: {wrong}\n{}\nreplay: COW_SEQUENCE={}/{} COW_SEED={seed} COW_FULL={} cargo test -p cow --profile sim --test exhaustive replay",
            history.told(),
            word(before),
            word(sequence),
            u8::from(full()),
        );
    }
    history.tally
}

fn all(before: &[char], alphabet: [char; 7], length: usize, seeds: std::ops::Range<u64>) -> Tally {
    let mut sum = Tally::default();
    for seed in seeds {
        for number in 0..alphabet.len().pow(length as u32) {
            let sequence: Vec<char> = (0..length)
                .map(|at| alphabet[number / alphabet.len().pow(at as u32) % alphabet.len()])
                .collect();
            sum = sum.and(run(before, &sequence, seed));
        }
    }
    println!("sequences of {length}: {} crash states", sum.crash_states);
    assert!(sum.crash_states > 100);
    sum
}

#[test]
fn every_operation_may_be_cut_off_anywhere() {
    all(&[], ALPHABET, 1, 1..7);
}

#[test]
fn every_two_operations_may_be_cut_off_anywhere() {
    all(&[], ALPHABET, 2, 1..3);
}

#[test]
fn every_three_operations_may_be_cut_off_anywhere() {
    if full() {
        all(&[], ALPHABET, 3, 1..2);
    } else {
        println!("skipped: set COW_FULL=1, with the profile `sim`");
    }
}

#[test]
fn a_compaction_may_be_cut_off_anywhere() {
    let copied = |length, seeds| all(&SPARSE, COMPACTING, length, seeds).copied_bytes;
    assert!(copied(1, 1..7) > 0);
    assert!(copied(2, 1..if full() { 5 } else { 2 }) > 0);
    if full() {
        assert!(copied(3, 1..2) > 0);
    }
}

#[test]
fn a_write_that_waits_for_dead_blocks_may_be_cut_off_anywhere() {
    assert!(all(&[], PACED, 1, 1..7).waits > 0);
    assert!(all(&[], PACED, 2, 1..if full() { 5 } else { 2 }).waits > 0);
}

/// What a failure of the others asks for.
#[test]
fn replay() {
    let Ok(asked) = std::env::var("COW_SEQUENCE") else { return };
    let (before, sequence) = asked.split_once('/').expect("COW_SEQUENCE=before/sequence");
    let letters = |word: &str| word.chars().collect::<Vec<_>>();
    println!("{:?}", run(&letters(before), &letters(sequence), number("COW_SEED", 1)));
}
