//! One run of guestfish, from its session's text to what it said.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use api::Code;
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, memfd_create};
use script::Expanded;

use super::blame::Facts;
use super::contained::{self, Bounds, End};
use super::limits;
use super::machine::Found;
use super::output::Output;
use super::probe::Kvm;
use super::sandbox::{Accelerator, NOBODY, Sandbox};
use super::text::Text;
use crate::deploy::job::{Ended, StepTime, Stop};

/// Random bytes of a mark: no script prints it by accident.
const MARK_BYTES: usize = 16;

/// Boots the appliance. libguestfs wants a disk.
const EMPTY_SESSION: &str = "!truncate -s 1M /tmp/own/empty\nadd-drive /tmp/own/empty format:raw\nrun\n";

/// All that one run needs.
pub(super) struct Work {
    pub(super) found: Found,
    pub(super) script: Expanded,
    pub(super) socket: PathBuf,
    pub(super) squeeze: bool,
    pub(super) accelerator: Accelerator,
    pub(super) time_max: Duration,
}

impl Work {
    /// Runs it; `begins` hears of each step. Blocks until nothing of it is left.
    pub(super) fn run(self, unwanted: &AtomicBool, begins: &mut dyn FnMut(usize)) -> Ended {
        match self.try_run(unwanted, begins) {
            Ok(ended) => ended,
            Err(error) => Ended::stopped(Stop {
                step: None,
                line: None,
                message: format!("cannot run guestfish in its sandbox: {error}"),
                code: Code::Internal,
            }),
        }
    }

    fn try_run(&self, unwanted: &AtomicBool, begins: &mut dyn FnMut(usize)) -> io::Result<Ended> {
        let mark = mark()?;
        let text = Text::new(&self.script, &mark, self.squeeze);
        if self.found.host.is_root {
            // Whoever runs inside is somebody else. The directory around it lets nobody near.
            std::os::unix::fs::chown(&self.socket, Some(NOBODY), Some(NOBODY))?;
        }
        let sandbox = Sandbox { socket: Some(&self.socket), ..appliance(&self.found, self.accelerator) };
        let words = sandbox.words(&command(&self.found, self.time_max)?);
        let mask = |text: &str| self.script.mask(text);
        let mut output = Output::new(&mask, mark, self.script.steps().len() + 1);
        let bounds = Bounds::until(Instant::now() + self.time_max);
        let end = contained::run(&words, input(text.as_str())?, bounds, unwanted, &mut |bytes| {
            output.take(bytes, begins);
        })?;
        let printed = output.finish();
        let facts = Facts {
            script: &self.script,
            text: &text,
            messages: output.messages(),
            marks: output.begun().len(),
            output: &printed,
            time_max: self.time_max,
        };
        let outcome = facts.outcome(&end);
        Ok(Ended { outcome, steps: self.times(output.begun()), output: printed })
    }

    fn times(&self, begun: &[Instant]) -> Vec<StepTime> {
        let now = Instant::now();
        let times = self.script.steps().enumerate().zip(begun).map(|((step, name), began)| {
            let ended = begun.get(step + 1).copied().unwrap_or(now);
            StepTime { step, name: name.to_owned(), took: ended.saturating_duration_since(*began) }
        });
        times.collect()
    }
}

/// Boots the appliance and ends it.
pub(super) fn boot(found: &Found, accelerator: Accelerator, time_max: Duration) -> Kvm {
    let began = Instant::now();
    let mut printed = Vec::new();
    let end = command(found, time_max).and_then(|command| {
        let words = appliance(found, accelerator).words(&command);
        let bounds = Bounds::until(began + time_max);
        let sink = &mut |bytes: &[u8]| printed.extend_from_slice(bytes);
        contained::run(&words, input(EMPTY_SESSION)?, bounds, &AtomicBool::new(false), sink)
    });
    let printed = String::from_utf8_lossy(&printed);
    let said = printed.lines().next().unwrap_or("it failed").to_owned();
    match end {
        Ok(End::Exited(status)) if status.success() => {
            Kvm::Works(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX))
        }
        Ok(End::TimedOut) => Kvm::Fails(format!("the appliance was not up after {} s", time_max.as_secs())),
        Ok(End::Exited(_) | End::Memory(_) | End::Output | End::Unwanted) => Kvm::Fails(said),
        Err(error) => Kvm::Fails(error.to_string()),
    }
}

/// A sandbox with the appliance and no disk.
fn appliance(found: &Found, accelerator: Accelerator) -> Sandbox<'_> {
    Sandbox {
        bwrap: &found.bwrap,
        host: &found.host,
        disable_userns: found.disable_userns,
        appliance: Some(&found.appliance),
        socket: None,
        accelerator,
        scratch_bytes_max: limits::SCRATCH_BYTES_MAX,
        appliance_mib: limits::APPLIANCE_MIB,
    }
}

/// guestfish with its limits. Its lines are printed as they are made, so that both streams keep their order.
fn command(found: &Found, time_max: Duration) -> io::Result<Vec<String>> {
    let guestfish =
        found.guestfish.to_str().ok_or_else(|| io::Error::other("guestfish's path is not UTF-8"))?;
    let mut words = limits::words(time_max);
    words.extend(["/usr/bin/stdbuf", "-oL", guestfish].map(str::to_owned));
    Ok(words)
}

fn mark() -> io::Result<String> {
    let mut bytes = [0; MARK_BYTES];
    getrandom::fill(&mut bytes)?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("osvol-{hex}-"))
}

/// A text in memory that can be read and not changed: no file, since it has passwords in it.
fn input(text: &str) -> io::Result<File> {
    let mut file = File::from(memfd_create("script", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all(text.as_bytes())?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    // Its own offset, at the beginning.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    Ok(File::from(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_session_is_read_and_never_changed() {
        let mut file = input("run\n").unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "run\n");
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        let written =
            std::fs::OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(b"x"));
        assert!(written.is_err());
    }

    #[test]
    fn no_two_marks_are_the_same() {
        assert_ne!(mark().unwrap(), mark().unwrap());
        assert_eq!(mark().unwrap().len(), "osvol--".len() + 2 * MARK_BYTES);
    }
}
