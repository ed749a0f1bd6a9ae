//! A process in its sandbox, from its start until nothing of it is left: bounded in time, memory and output.
//!
//! A job has a thread of its own, which begins the process and outlives it: the kernel ties "die with the parent" to the
//! thread that began it. osvold killed with -9 ends its jobs so.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::limits::{MEMORY_BYTES_MAX, OUTPUT_BYTES_MAX, WATCH_INTERVAL};
use super::tree;

/// Longest wait for processes that have been killed.
const KILL_TIME_MAX: Duration = Duration::from_secs(10);
/// From one look at killed processes to the next.
const KILL_INTERVAL: Duration = Duration::from_millis(5);
/// Bytes of one read.
const READ_BYTES: usize = 16 << 10;
/// Reads that may wait to be taken.
const HEARD_MAX: usize = 16;
/// From one look to the next when nothing is printed any more: the process is about to end.
const LAST_INTERVAL: Duration = Duration::from_millis(10);

/// Bounds of one run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) deadline: Instant,
    pub(super) memory_bytes_max: u64,
    pub(super) output_bytes_max: u64,
}

impl Bounds {
    pub(super) fn until(deadline: Instant) -> Self {
        Self { deadline, memory_bytes_max: MEMORY_BYTES_MAX, output_bytes_max: OUTPUT_BYTES_MAX }
    }
}

/// How a process ended.
#[derive(Debug)]
pub(super) enum End {
    /// By itself.
    Exited(ExitStatus),
    /// It was killed: its time was over.
    TimedOut,
    /// It was killed: its processes held so much memory.
    Memory(u64),
    /// It was killed: its output did not end.
    Output,
    /// It was killed: nobody wants it any more.
    Unwanted,
}

/// Runs `words` with `input`, and gives `sink` all that it prints, both streams as they come. Blocks until nothing of it is
/// left; `unwanted` ends it early.
pub(super) fn run(
    words: &[OsString],
    input: File,
    bounds: Bounds,
    unwanted: &AtomicBool,
    sink: &mut dyn FnMut(&[u8]),
) -> io::Result<End> {
    let (reader, writer) = io::pipe()?;
    let [program, arguments @ ..] = words else { return Err(io::ErrorKind::InvalidInput.into()) };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().current_dir("/").stdin(input);
    command.stdout(writer.try_clone()?).stderr(Stdio::from(writer));
    let mut contained =
        Contained { child: command.spawn()?, is_reaped: false, seen: Vec::new(), over: false };
    // It holds the writing ends: without them the end of the output is seen.
    drop(command);
    let (sender, heard) = sync_channel(HEARD_MAX);
    let reading = thread::Builder::new().name("osvold-output".to_owned());
    reading.spawn(move || read(reader, &sender))?;
    let end = contained.watch(bounds, &heard, unwanted, sink)?;
    if !contained.over {
        contained.end()?;
    }
    Ok(end)
}

/// Hands on what comes, until nothing comes or nobody listens.
fn read(mut reader: PipeReader, sender: &SyncSender<Vec<u8>>) {
    let mut bytes = vec![0; READ_BYTES];
    while let Ok(read @ 1..) = reader.read(&mut bytes) {
        if sender.send(bytes[..read].to_vec()).is_err() {
            break;
        }
    }
}

/// A child that does not outlive its value.
struct Contained {
    child: Child,
    /// It has ended and been waited for: its number may be another's.
    is_reaped: bool,
    /// All its processes as they were seen last.
    seen: Vec<tree::Process>,
    over: bool,
}

impl Contained {
    fn watch(
        &mut self,
        bounds: Bounds,
        heard: &Receiver<Vec<u8>>,
        unwanted: &AtomicBool,
        sink: &mut dyn FnMut(&[u8]),
    ) -> io::Result<End> {
        let (mut printed, mut interval, mut next_look) = (0_u64, WATCH_INTERVAL, Instant::now());
        loop {
            let now = Instant::now();
            if now >= bounds.deadline {
                return Ok(End::TimedOut);
            }
            if unwanted.load(Ordering::Relaxed) {
                return Ok(End::Unwanted);
            }
            if now >= next_look {
                // Whoever has the output open: its first process decides when the job is over.
                if let Some(status) = self.status()? {
                    self.end()?;
                    return Ok(
                        drain(bounds.output_bytes_max, printed, heard, sink).unwrap_or(End::Exited(status))
                    );
                }
                self.seen = tree::of(self.child.id());
                let resident = tree::resident_bytes(&self.seen);
                if resident > bounds.memory_bytes_max {
                    return Ok(End::Memory(resident));
                }
                next_look = now + interval;
            }
            let wait = next_look.min(bounds.deadline).saturating_duration_since(now);
            match heard.recv_timeout(wait) {
                Ok(bytes) => {
                    sink(&bytes);
                    printed = printed.saturating_add(bytes.len() as u64);
                    if printed > bounds.output_bytes_max {
                        return Ok(End::Output);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                // Nobody holds the other end of the output: it is about to end, or has closed it.
                Err(RecvTimeoutError::Disconnected) => {
                    interval = LAST_INTERVAL;
                    next_look = next_look.min(now + interval);
                    thread::sleep(next_look.min(bounds.deadline).saturating_duration_since(now));
                }
            }
        }
    }

    fn status(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        self.is_reaped |= status.is_some();
        Ok(status)
    }

    /// Ends all of it, and sees that nothing is left.
    fn end(&mut self) -> io::Result<()> {
        self.over = true;
        let until = Instant::now() + KILL_TIME_MAX;
        loop {
            if !self.is_reaped {
                self.seen.extend(tree::of(self.child.id()));
                let _ = self.child.kill();
            }
            // The first process of the job's own process namespace is among them, and takes with it whatever is not.
            tree::kill(&self.seen);
            if self.status()?.is_some() && tree::running(&self.seen) == 0 {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(io::Error::other("processes of the job have been killed and do not end"));
            }
            thread::sleep(KILL_INTERVAL);
        }
    }
}

/// The rest of the output, when nobody is left to write to it.
fn drain(
    bytes_max: u64,
    mut printed: u64,
    heard: &Receiver<Vec<u8>>,
    sink: &mut dyn FnMut(&[u8]),
) -> Option<End> {
    while let Ok(bytes) = heard.recv_timeout(KILL_TIME_MAX) {
        sink(&bytes);
        printed = printed.saturating_add(bytes.len() as u64);
        if printed > bytes_max {
            return Some(End::Output);
        }
    }
    None
}

impl Drop for Contained {
    fn drop(&mut self) {
        if !self.over && self.end().is_err() {
            tracing::error!(pid = self.child.id(), "a job's processes do not end");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a sandbox: what is watched is the same.
    fn shell(script: &str, bounds: Bounds, unwanted: &AtomicBool) -> (End, String) {
        let words: Vec<OsString> = ["/bin/bash", "-c", script].map(OsString::from).to_vec();
        let mut printed = Vec::new();
        let input = File::open("/dev/null").unwrap();
        let end = run(&words, input, bounds, unwanted, &mut |bytes| printed.extend_from_slice(bytes));
        (end.unwrap(), String::from_utf8_lossy(&printed).into_owned())
    }

    fn bounds() -> Bounds {
        Bounds::until(Instant::now() + Duration::from_secs(60))
    }

    /// Whether a process whose command line has a word is there.
    fn is_running(word: &str) -> bool {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter(|entry| {
                entry.file_name().to_string_lossy().parse::<u32>().is_ok_and(|pid| pid != std::process::id())
            })
            .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
            .any(|line| String::from_utf8_lossy(&line).contains(word))
    }

    #[test]
    fn both_streams_come_in_order_with_the_status() {
        let script = "echo a; echo b >&2; printf c; echo $HOME; exit 3";
        let (end, printed) = shell(script, bounds(), &AtomicBool::new(false));
        assert!(matches!(end, End::Exited(status) if status.code() == Some(3)), "{end:?}");
        assert_eq!(printed, "a\nb\nc\n");
    }

    #[test]
    fn whoever_takes_too_long_is_ended_with_all_its_children() {
        let bounds = Bounds { deadline: Instant::now() + Duration::from_millis(500), ..bounds() };
        let (end, _) = shell("sleep 987.125 & sleep 987.125", bounds, &AtomicBool::new(false));
        assert!(matches!(end, End::TimedOut), "{end:?}");
        assert!(!is_running("987.125"));
    }

    #[test]
    fn what_nobody_wants_is_ended() {
        let (end, _) = shell("sleep 988.125", bounds(), &AtomicBool::new(true));
        assert!(matches!(end, End::Unwanted), "{end:?}");
        assert!(!is_running("988.125"));
    }

    #[test]
    fn output_without_end_is_ended() {
        let bounds = Bounds { output_bytes_max: 1 << 20, ..bounds() };
        let (end, printed) = shell("yes", bounds, &AtomicBool::new(false));
        assert!(matches!(end, End::Output), "{end:?}");
        assert!(printed.len() > 1 << 20 && printed.len() < 2 << 20, "{}", printed.len());
    }

    #[test]
    fn much_memory_is_ended() {
        let bounds = Bounds { memory_bytes_max: 64 << 20, ..bounds() };
        // bash doubles a word until somebody stops it.
        let script = "x=0123456789abcdef; while :; do x=$x$x; done";
        let (end, _) = shell(script, bounds, &AtomicBool::new(false));
        assert!(matches!(end, End::Memory(_)), "{end:?}");
    }

    #[test]
    fn a_child_that_stays_behind_does_not_hold_the_job_up() {
        let (end, printed) = shell("sleep 989.125 & sleep 0.5; echo a", bounds(), &AtomicBool::new(false));
        assert!(matches!(end, End::Exited(status) if status.success()), "{end:?}");
        assert_eq!(printed, "a\n");
        assert!(!is_running("989.125"));
    }
}
