//! The built-in engine: scripts whose every command it understands, on file systems that are all FAT.
//!
//! Whether scripts fit is found out by running them: the engine keeps all changes to itself, so a script that turns out to
//! be guestfish's has changed nothing. Nobody else uses the volume between that and the run whose changes are written.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cow::{Kind, Wait};
use script::Expanded;
use script::builtin::{self, BLOCK_BYTES, Disk, Outcome, Run};

use super::job::{Ended, Event, StepTime, Stop, Told};
use crate::lun::{BlockStore, StoreError};

/// Time to find out whether scripts fit.
const FIT_TIME_MAX: Duration = Duration::from_secs(20);
/// Output that is kept at its beginning, and as much at its end.
const OUTPUT_BYTES_KEPT: usize = 256 << 10;

/// A volume that is read until a moment.
struct Volume<'a> {
    store: &'a dyn BlockStore,
    deadline: Instant,
}

impl Disk for Volume<'_> {
    fn size_bytes(&self) -> u64 {
        self.store.size_bytes()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let failed = |StoreError(kind)| std::io::Error::other(format!("the volume cannot be read: {kind:?}"));
        self.store.read(offset, out, Wait::Yes).map_err(failed)
    }

    fn is_late(&self) -> bool {
        Instant::now() >= self.deadline
    }
}

/// Whether scripts could fit, as far as that can be said without a disk.
pub(super) fn may_fit(script: &Expanded) -> bool {
    script::fit(script).is_ok()
}

/// Whether scripts fit this engine on this disk.
pub(super) fn fits(script: &Expanded, disk: &dyn BlockStore) -> bool {
    if !may_fit(script) {
        return false;
    }
    let disk = Volume { store: disk, deadline: Instant::now() + FIT_TIME_MAX };
    match attempt(script, &disk, &mut |_| {}).map(|run| run.outcome) {
        Some(Outcome::Done(_) | Outcome::Failed { .. }) => true,
        Some(Outcome::Unfit(unfit)) => {
            tracing::debug!(%unfit, "scripts are guestfish's");
            false
        }
        Some(Outcome::Late { .. } | Outcome::Disk(_)) | None => false,
    }
}

/// Runs scripts; nothing if the engine fails of itself.
fn attempt(script: &Expanded, disk: &Volume<'_>, began: &mut dyn FnMut(usize)) -> Option<Run> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let run = catch_unwind(AssertUnwindSafe(|| builtin::run(script, disk, now, began)));
    if run.is_err() {
        tracing::error!("the built-in engine panicked: its scripts are guestfish's");
    }
    run.ok()
}

/// Runs them. Blocks; everything is flushed at the end.
pub(super) fn run(script: &Expanded, disk: Arc<dyn BlockStore>, deadline: Instant, told: &Told<'_>) -> Ended {
    let names: Vec<&str> = script.steps().collect();
    let mut begun: Vec<(usize, Instant)> = Vec::new();
    let mut began = |step: usize| {
        begun.push((step, Instant::now()));
        told(Event::Step(step, names.len(), names.get(step).copied().unwrap_or_default().to_owned()));
    };
    let run = attempt(script, &Volume { store: &*disk, deadline }, &mut began);
    let Some(run) = run else {
        return Ended::stopped(stop(
            None,
            "the built-in engine failed; see the daemon's log",
            api::Code::Internal,
        ));
    };
    let outcome = outcome(run.outcome).and_then(|changes| write_down(&*disk, &changes));
    let ends = begun.iter().skip(1).map(|(_, began)| *began).chain([Instant::now()]);
    let steps = begun.iter().zip(ends).map(|((step, began), end)| StepTime {
        step: *step,
        name: names.get(*step).copied().unwrap_or_default().to_owned(),
        took: end.duration_since(*began),
    });
    Ended { outcome, steps: steps.collect(), output: kept(&script.mask(&run.output)) }
}

fn stop(at: Option<(usize, usize)>, message: &str, code: api::Code) -> Stop {
    Stop { step: at.map(|(step, _)| step), line: at.map(|(_, line)| line), message: message.to_owned(), code }
}

fn outcome(outcome: Outcome) -> Result<Vec<(u64, Vec<u8>)>, Stop> {
    match outcome {
        Outcome::Done(changes) => Ok(changes),
        Outcome::Failed { step, line, message } => {
            Err(stop(Some((step, line)), &message, api::Code::ScriptFailed))
        }
        Outcome::Unfit(unfit) => {
            Err(stop(Some((unfit.step, unfit.line)), &unfit.reason, api::Code::Internal))
        }
        Outcome::Late { step, line } => {
            Err(stop(Some((step, line)), "the time for the scripts is over", api::Code::TimedOut))
        }
        Outcome::Disk(error) => Err(stop(None, &error.to_string(), api::Code::Internal)),
    }
}

/// Writes the blocks that differ, and sees to it that they last.
fn write_down(disk: &dyn BlockStore, changes: &[(u64, Vec<u8>)]) -> Result<(), Stop> {
    let mut old = vec![0; BLOCK_BYTES];
    for (offset, bytes) in changes {
        let old = old.get_mut(..bytes.len()).unwrap_or_default();
        disk.read(*offset, old, Wait::Yes).map_err(|error| not_written(&error))?;
        if old != bytes {
            disk.write(*offset, &[bytes], Wait::Yes).map_err(|error| not_written(&error))?;
        }
    }
    disk.flush().map_err(|error| not_written(&error))
}

fn not_written(StoreError(kind): &StoreError) -> Stop {
    let (why, code) = match kind {
        Kind::NoSpace => ("no space is left in the store".to_owned(), api::Code::NoSpace),
        kind => (format!("{kind:?}"), api::Code::Internal),
    };
    stop(None, &format!("the changes cannot be written to the volume: {why}"), code)
}

/// The beginning and the end of a text.
fn kept(text: &str) -> String {
    if text.len() <= 2 * OUTPUT_BYTES_KEPT {
        return text.to_owned();
    }
    let begin = text.floor_char_boundary(OUTPUT_BYTES_KEPT);
    let end = text.ceil_char_boundary(text.len() - OUTPUT_BYTES_KEPT);
    let (head, tail) = (text.get(..begin).unwrap_or_default(), text.get(end..).unwrap_or_default());
    format!("{head}\n[… {} bytes are left out …]\n{tail}", end - begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_very_much_output_the_beginning_and_the_end_are_kept() {
        let text = format!("begin{}end", "é".repeat(OUTPUT_BYTES_KEPT));
        let kept = kept(&text);
        assert!(kept.starts_with("begin") && kept.ends_with("end") && kept.contains("bytes are left out"));
        assert!(kept.len() < 2 * OUTPUT_BYTES_KEPT + 100);
        assert_eq!(super::kept("short"), "short");
    }
}
