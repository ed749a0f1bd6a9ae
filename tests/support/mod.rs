//! A real osvold on a directory that vanishes, and the real osvol beside it.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on panics")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

pub const OSVOLD: &str = env!("CARGO_BIN_EXE_osvold");
pub const OSVOL: &str = env!("CARGO_BIN_EXE_osvol");
/// Longest wait for anything; a bound, never a pause.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon that is ready. Killed when dropped.
pub struct Daemon {
    pub child: Child,
    pub ready: String,
    /// What was logged before.
    pub before: String,
    pub control: PathBuf,
    pub store: PathBuf,
    log: Receiver<String>,
}

impl Daemon {
    /// Starts with the store and the socket in `directory`, and waits for the ready line.
    pub fn start(directory: &Path) -> Self {
        let mut command = Command::new(OSVOLD);
        command.arg("--state").arg(directory.join("store")).args(["--portal", "127.0.0.1:0"]);
        command.arg("--control").arg(directory.join("control.sock"));
        Self::spawn(command, directory)
    }

    /// The same, from a command line that puts store and socket there.
    pub fn spawn(mut command: Command, directory: &Path) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdin(Stdio::null()).spawn().expect("osvold starts");
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, log) = channel();
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let mut seen = String::new();
        let ready = loop {
            match log.recv_timeout(PATIENCE) {
                Ok(line) if line.contains("ready: ") => break line,
                Ok(line) => seen += &format!("{line}\n"),
                Err(error) => panic!("osvold does not get ready ({error}):\n{seen}"),
            }
        };
        let (control, store) = (directory.join("control.sock"), directory.join("store"));
        Self { child, ready, before: seen, control, store, log }
    }

    /// What was logged since, without waiting.
    pub fn log(&self) -> String {
        self.log.try_iter().collect::<Vec<_>>().join("\n")
    }

    /// `osvol` with these arguments.
    pub fn osvol(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(OSVOL);
        command.env_remove("OSVOL_CONTROL").arg("--control").arg(&self.control).args(arguments);
        command.stdin(Stdio::null()).output().expect("osvol starts")
    }

    /// The same, which must succeed: its standard output.
    pub fn done(&self, arguments: &[&str]) -> String {
        let output = self.osvol(arguments);
        assert!(output.status.success(), "osvol {arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same with `--json`.
    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.done(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// The same, which must be refused with exit code 1: what it says.
    pub fn refused(&self, arguments: &[&str]) -> String {
        let output = self.osvol(arguments);
        assert_eq!(output.status.code(), Some(1), "osvol {arguments:?}: {}", said(&output));
        said(&output)
    }

    /// One request as raw bytes; the answer's status and body.
    pub fn request(&self, head: &str, body: &[u8]) -> (u16, String) {
        let mut stream = UnixStream::connect(&self.control).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The same with a JSON answer.
    pub fn api(&self, head: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let (status, answer) = self.request(head, &body);
        (status, serde_json::from_str(&answer).unwrap_or(Value::Null))
    }

    /// Files of the store that an import might leave.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let children =
            |name: &str| std::fs::read_dir(self.store.join(name)).unwrap().map(|e| e.unwrap().path());
        ["staging", "golden", "images"].into_iter().flat_map(children).collect()
    }

    /// Waits until nothing is left; a client that was killed is noticed a moment later.
    pub fn wait_without_leftovers(&self) {
        let start = std::time::Instant::now();
        while !self.leftovers().is_empty() {
            assert!(start.elapsed() < PATIENCE, "left behind: {:?}", self.leftovers());
            std::thread::yield_now();
        }
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// SIGTERM, and the exit code.
    pub fn stop(mut self) -> (Option<i32>, String) {
        self.signal(rustix::process::Signal::TERM);
        let status = self.child.wait().unwrap();
        let rest: Vec<_> = self.log.iter().collect();
        (status.code(), rest.join("\n"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both outputs of a command.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub fn directory() -> TempDir {
    TempDir::new().unwrap()
}

/// A raw disk of `mib` MiB that has data in its first 64 KiB and at its end.
pub fn raw_disk(path: &Path, mib: u64) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::create(path).unwrap();
    file.set_len(mib << 20).unwrap();
    let data: Vec<u8> = (0..65536u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    file.write_all_at(&data, 0).unwrap();
    file.write_all_at(&data[..512], (mib << 20) - 512).unwrap();
}

/// The same disk as qcow2; `None`, said aloud, where qemu-img is missing.
pub fn qcow2(raw: &Path, path: &Path) -> Option<()> {
    let arguments = ["convert", "-f", "raw", "-O", "qcow2"];
    match Command::new("qemu-img").args(arguments).arg(raw).arg(path).status() {
        Ok(status) if status.success() => Some(()),
        outcome => {
            eprintln!("SKIPPED: qemu-img is needed: {outcome:?}");
            None
        }
    }
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
