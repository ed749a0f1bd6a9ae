//! Places where a test may end the daemon, as a crash would.
//!
//! Built with `--features failpoints`, `OSVOLD_FAILPOINT=<step>[:n]` makes osvold abort when it passes the step for the
//! n-th time; every other step that it passes is told on its standard error, so that a test knows when an operation is over.
//! Without the feature nothing of it is there.

/// The steps, in the order in which an operation passes them. Recovery passes those of what it undoes or carries on.
pub const STEPS: &[&str] = &[
    "begin",
    "begun",
    "created",
    "personalized",
    "withdrawn",
    "committed",
    "published",
    "disposed-one",
    "disposed",
    "finished",
];

/// Passes a step.
#[cfg(not(feature = "failpoints"))]
pub fn pass(_step: &'static str) {}

/// Passes a step.
#[cfg(feature = "failpoints")]
pub fn pass(step: &'static str) {
    use std::sync::atomic::{AtomicU64, Ordering};
    static PASSED: AtomicU64 = AtomicU64::new(0);
    debug_assert!(STEPS.contains(&step), "{step} is not in the list");
    let Ok(wanted) = std::env::var("OSVOLD_FAILPOINT") else { return };
    let (name, count) = wanted.split_once(':').unwrap_or((&wanted, "1"));
    if name == step {
        let passed = PASSED.fetch_add(1, Ordering::SeqCst) + 1;
        if count.parse() == Ok(passed) {
            eprintln!("osvold: failpoint {step}");
            std::process::abort();
        }
    }
    eprintln!("osvold: passed {step}");
}
