//! The built-in engine: plans that only touch FAT file systems, done without a machine, as guestfish would do them.
//!
//! ```text
//!  Expanded ──► fit ──► operations ──► session ──► fat ──► overlay ──► changed blocks, for whoever owns the disk
//! ```
//! A script's error is the script's; where this engine is not sure to do what guestfish does, it says so and has changed
//! nothing. No disk makes it panic, go round in circles, or take memory past a bound.

mod fat;
mod overlay;
mod partitions;
mod probe;
mod session;
#[cfg(test)]
mod tests;
mod trouble;

pub use overlay::{BLOCK_BYTES, Disk};

use crate::expand::Expanded;
use crate::fit::{self, Unfit};
use session::{Refusal, Session};
use trouble::{Errno, Trouble};

/// What a session may print.
const OUTPUT_BYTES_MAX: usize = 16 << 20;

/// How a session ended.
#[derive(Debug)]
pub enum Outcome {
    /// Every command was done, but for those that may fail: these are the changed blocks, by their offsets.
    Done(Vec<(u64, Vec<u8>)>),
    /// A command failed: its message, as guestfish words it.
    Failed {
        /// Index of the step, from 0.
        step: usize,
        /// Line of its script, from 1.
        line: usize,
        /// Why.
        message: String,
    },
    /// It is one for guestfish.
    Unfit(Unfit),
    /// There was no time left.
    Late {
        /// Index of the step, from 0.
        step: usize,
        /// Line of its script, from 1.
        line: usize,
    },
    /// The disk could not be read.
    Disk(std::io::Error),
}

/// A session that has ended.
#[derive(Debug)]
pub struct Run {
    /// How.
    pub outcome: Outcome,
    /// What its commands printed.
    pub output: String,
}

/// Runs a script on a disk, which is only read. `unix_seconds` is the time that files get; `began` is told the index of
/// each step as it begins.
pub fn run(script: &Expanded, disk: &dyn Disk, unix_seconds: u64, began: &mut dyn FnMut(usize)) -> Run {
    let mut output = Vec::new();
    let outcome = run_to(script, disk, unix_seconds, began, &mut output);
    Run { outcome, output: String::from_utf8_lossy(&output).into_owned() }
}

fn run_to(
    script: &Expanded,
    disk: &dyn Disk,
    unix_seconds: u64,
    began: &mut dyn FnMut(usize),
    output: &mut Vec<u8>,
) -> Outcome {
    let operations = match fit::operations(script) {
        Ok(operations) => operations,
        Err(unfit) => return Outcome::Unfit(unfit),
    };
    let mut session = Session::new(disk, fat::Stamp::of(unix_seconds));
    let mut steps = 0..script.steps().len();
    for (command, operation) in &operations {
        while steps.start <= command.step {
            steps.by_ref().take(1).for_each(&mut *began);
        }
        let done = session.run(operation);
        output.append(&mut session.take_output());
        let (step, line) = (command.step, command.line);
        let unfit = |reason| Outcome::Unfit(Unfit { step, line, reason });
        if output.len() > OUTPUT_BYTES_MAX {
            return unfit("it prints very much".to_owned());
        }
        match done {
            Ok(()) => {}
            Err(Refusal::Trouble(Trouble::Doubt(reason))) => return unfit(reason),
            Err(Refusal::Trouble(Trouble::Late)) => return Outcome::Late { step, line },
            Err(Refusal::Trouble(Trouble::Disk(error))) => return Outcome::Disk(error),
            Err(refusal) if command.quiet => {
                let message = message(refusal);
                if message.ends_with(&Errno::NoSpace.to_string()) {
                    // How much of a file is there then is for Linux to say.
                    return unfit("the file system is full, and that may be".to_owned());
                }
                output.extend_from_slice(format!("libguestfs: error: {message}\n").as_bytes());
            }
            Err(refusal) => return Outcome::Failed { step, line, message: message(refusal) },
        }
    }
    steps.for_each(began);
    match session.end() {
        Ok(changes) => Outcome::Done(changes),
        Err(Trouble::Disk(error)) => Outcome::Disk(error),
        Err(_) => {
            Outcome::Unfit(Unfit { step: 0, line: 0, reason: "a file system cannot be unmounted".to_owned() })
        }
    }
}

fn message(refusal: Refusal) -> String {
    match refusal {
        Refusal::Message(message) => message,
        Refusal::Trouble(Trouble::Errno(errno)) => errno.to_string(),
        Refusal::Trouble(trouble) => format!("{trouble:?}"),
    }
}
