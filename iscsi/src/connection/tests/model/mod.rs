//! Random legal sessions against an oracle: whatever is negotiated, however bytes are cut and wherever a connection is
//! lost, in whatever order commands, data, completions, aborts, resets and logins mix, every command gets its data and
//! its answer, once and in order, every PDU is numbered as the standard says, and nothing that was aborted or belongs
//! to a session that was replaced reaches the disk afterwards.
//!
//! ```text
//!   login.rs, initiator.rs, requests.rs   what a legal initiator may send      oracle.rs   what it may hear
//!   world.rs   ports, connections, bytes, losses, time                         driver.rs   the target's side, a disk
//! ```
//! Time is virtual and all choices come from one seed. `MODEL_RUNS=100000 cargo test -p iscsi --release model` runs
//! more seeds, `MODEL_SEED=7` one of them with a trace. A failure is made shorter by leaving kinds of steps out.

/// A line of the trace; costs nothing when there is none.
macro_rules! note {
    ($shared:expr, $($format:tt)*) => {
        if let Some(trace) = &mut $shared.trace {
            trace.push(format!($($format)*));
        }
    };
}

mod driver;
mod initiator;
mod link;
mod login;
mod oracle;
mod random;
mod requests;
mod shared;
mod world;

use shared::Stats;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{STEPS, World};

const STEPS_MAX: usize = 400;
const TRACE_LINES: usize = 150;

/// A run that went wrong.
struct Failure {
    message: String,
    steps: usize,
    trace: Vec<String>,
}

fn run(seed: u64, steps: usize, allowed: &[bool], traced: bool) -> Result<Stats, Failure> {
    let mut world = World::new(seed, traced);
    let mut done = 0;
    let result = catch_unwind(AssertUnwindSafe(|| {
        while done < steps {
            done += 1;
            world.step(allowed);
        }
        world.finish();
    }));
    match result {
        Ok(()) => Ok(world.shared.stats),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let message = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let trace = world.shared.trace.take().unwrap_or_default();
            Err(Failure { message: message.unwrap_or_default(), steps: done, trace })
        }
    }
}

/// Leaves out what the failure does not need, and tells the rest.
fn explain(seed: u64, first: &Failure) -> String {
    let mut allowed = [true; STEPS.len()];
    let mut steps = first.steps;
    for kind in 0..STEPS.len() {
        allowed[kind] = false;
        match run(seed, STEPS_MAX, &allowed, false) {
            Err(failure) => steps = failure.steps,
            Ok(_) => allowed[kind] = true,
        }
    }
    let Err(failure) = run(seed, STEPS_MAX, &allowed, true) else { return first.message.clone() };
    let kinds: Vec<_> =
        STEPS.iter().zip(allowed).filter(|(_, allowed)| *allowed).map(|((kind, _), _)| kind).collect();
    let skip = failure.trace.len().saturating_sub(TRACE_LINES);
    format!(
        "seed {seed}: {}\nshorter, with {kinds:?}, after {steps} steps: {}\n{}",
        first.message,
        failure.message,
        failure.trace[skip..].join("\n")
    )
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn random_legal_sessions() {
    let allowed = [true; STEPS.len()];
    let seeds = match number("MODEL_SEED") {
        Some(seed) => seed..=seed,
        None => {
            let first = number("MODEL_FIRST").unwrap_or(1);
            first..=first + number("MODEL_RUNS").unwrap_or(150) - 1
        }
    };
    let runs = seeds.clone().count() as u64;
    let mut all = Stats::default();
    for seed in seeds {
        match run(seed, STEPS_MAX, &allowed, false) {
            Ok(stats) => all.add(&stats),
            Err(failure) => panic!("{}", explain(seed, &failure)),
        }
    }
    println!("{runs} seeds: {all:?}");
    // A model in which nothing happens proves nothing.
    if runs >= 100 {
        let Stats {
            answered,
            managed,
            texts,
            logouts,
            r2ts,
            r2ts_at_once,
            sessions,
            reinstated,
            cut,
            buried,
        } = all;
        assert!(answered > runs * 20 && r2ts > runs && r2ts_at_once > 1 && sessions > runs);
        let others = [managed, texts, logouts, reinstated, cut, buried];
        assert!(others.iter().all(|count| *count > runs / 10), "{all:?}");
    }
}
