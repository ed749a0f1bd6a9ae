//! Random histories on a simulated disk, crashed at random steps, against a model. A failure prints its seed and
//! the command that shows it again.

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
    history::{Plan, Tally, run},
    number,
};

fn seeds(name: &str, plan: Plan, first: u64, count: u64) {
    let start = std::time::Instant::now();
    let next = std::sync::atomic::AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let work = || {
            let mut sum = Tally::default();
            loop {
                let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if seed >= first + count {
                    return sum;
                }
                sum = sum.and(run(seed, plan));
            }
        };
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let sum = tallies.into_iter().fold(Tally::default(), Tally::and);
    let seconds = start.elapsed().as_secs_f64();
    println!("{name}: {count} seeds in {seconds:.1} s ({:.0} a second), {sum:?}", count as f64 / seconds);
    assert!(sum.waits > 0 || count < 30, "no change ever had to wait for dead blocks");
}

#[test]
fn what_was_acknowledged_survives_and_nothing_else_appears() {
    let count = number("COW_SEEDS", if full() { 1000 } else { 30 });
    seeds("crashes", Plan::crashes(), number("COW_SEED", 1), count);
}

#[test]
fn refused_calls_lose_nothing() {
    let count = number("COW_SEEDS", if full() { 1200 } else { 30 });
    seeds("faults", Plan::faults(), number("COW_SEED", 1), count);
}
