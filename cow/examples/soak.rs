//! Runs random histories on the simulated disk for as long as it is told, and says how many a second.
//!
//! `cargo run -p cow --profile sim --features sim --example soak -- --seconds 600 --seed 1`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test may stop at the first surprise"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use support::history::{Plan, Tally, run};

struct Options {
    seconds: u64,
    seed: u64,
    seeds: u64,
    threads: u64,
    /// Both kinds of histories when none is asked for.
    faults: Option<bool>,
}

fn options() -> Options {
    let mut options = Options { seconds: u64::MAX, seed: 1, seeds: u64::MAX, threads: 1, faults: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().unwrap_or_default();
        let number = || value.parse().unwrap_or_else(|_| usage(&name));
        match name.as_str() {
            "--seconds" => options.seconds = number(),
            "--seed" => options.seed = number(),
            "--seeds" => options.seeds = number(),
            "--threads" => options.threads = number(),
            "--faults" => options.faults = Some(value == "true"),
            _ => usage(&name),
        }
    }
    if options.seconds == u64::MAX && options.seeds == u64::MAX {
        options.seconds = 60;
    }
    options
}

fn usage(what: &str) -> ! {
    eprintln!(
        "not understood: {what}\nsoak [--seconds N] [--seed S] [--seeds N] [--threads N] [--faults true|false]"
    );
    std::process::exit(2);
}

fn plan(options: &Options, seed: u64) -> Plan {
    // The replayed seed must meet the same plan whatever else was asked for.
    if options.faults.unwrap_or(seed.is_multiple_of(2)) { Plan::faults() } else { Plan::crashes() }
}

fn main() {
    let options = options();
    let (start, next) = (Instant::now(), AtomicU64::new(options.seed));
    let end = start.checked_add(Duration::from_secs(options.seconds.min(1 << 30))).unwrap_or(start);
    let sum = parking_lot::Mutex::new((0_u64, Tally::default(), start));
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                while Instant::now() < end {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed - options.seed >= options.seeds {
                        return;
                    }
                    let tally = run(seed, plan(&options, seed));
                    let mut sum = sum.lock();
                    (sum.0, sum.1) = (sum.0 + 1, sum.1.and(tally));
                    if sum.2.elapsed() > Duration::from_secs(10) {
                        sum.2 = Instant::now();
                        report(sum.0, &sum.1, start);
                    }
                }
            });
        }
    });
    let sum = sum.lock();
    report(sum.0, &sum.1, start);
}

fn report(seeds: u64, tally: &Tally, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{seconds:.0} s: {seeds} seeds ({:.1} a second), {} crash states ({:.0} a second), {} operations, {} of them after dead blocks were given back for them, {} crashes in the run, {} refused calls, {} volumes known to be damaged after a failed sync",
        seeds as f64 / seconds,
        tally.crash_states,
        tally.crash_states as f64 / seconds,
        tally.operations,
        tally.waits,
        tally.crashes,
        tally.faults,
        tally.damaged,
    );
}
