//! Real guestfish in its sandbox, over a disk of nbdkit. They need an appliance: `OSVOL_TEST_APPLIANCE` names it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::Code;
use parking_lot::Mutex;
use script::{Expanded, Step, Values, expand};

use super::Guestfish;
use crate::deploy::job::{Ended, Event};

/// A disk behind a socket.
struct Disk {
    directory: tempfile::TempDir,
    server: Child,
}

impl Disk {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("disk.sock");
        let server = Command::new("nbdkit")
            .args(["-f", "-U"])
            .arg(&socket)
            .args(["memory", "128M"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while !socket.exists() {
            assert!(began.elapsed() < Duration::from_secs(30), "nbdkit does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { directory, server }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("disk.sock")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// An engine, if the machine has everything.
fn engine(time_max: Duration) -> Option<Arc<Guestfish>> {
    let Some(appliance) = std::env::var_os("OSVOL_TEST_APPLIANCE") else {
        eprintln!("SKIPPED: OSVOL_TEST_APPLIANCE names no appliance: guestfish is not run");
        return None;
    };
    let settings = config::Plans {
        appliance: appliance.into(),
        acceleration: config::Acceleration::Tcg,
        time_max: config::Duration::from_secs(time_max.as_secs()),
        ..config::Plans::default()
    };
    let engine = Guestfish::new(&settings);
    assert!(engine.readiness().is_ready(), "{:?}", engine.readiness().checks());
    Some(engine)
}

fn script(contents: &[&str]) -> Expanded {
    let mut values = Values::new();
    values.set("Password", "hunter22", true);
    let step = |(index, content): (usize, &&str)| Step {
        name: format!("step {}", index + 1),
        content: (*content).to_owned(),
        has_attributes: true,
    };
    expand(&contents.iter().enumerate().map(step).collect::<Vec<_>>(), &values).unwrap()
}

fn run(engine: &Arc<Guestfish>, script: &Expanded, squeeze: bool) -> (Ended, Vec<Event>) {
    let disk = Disk::new();
    let events = Mutex::new(Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ended =
        runtime.block_on(engine.run(script, &disk.socket(), squeeze, &|event| events.lock().push(event)));
    (ended, events.into_inner())
}

/// Whether QEMU runs with a socket of ours: inside it is `/disk.sock`.
fn is_running(word: &str) -> bool {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .any(|line| String::from_utf8_lossy(&line).contains(word))
}

#[test]
fn steps_are_one_session_and_what_they_print_comes_in_order_without_passwords() {
    let Some(engine) = engine(Duration::from_secs(300)) else { return };
    let contents = [
        "part-disk /dev/sda mbr\nmkfs ext4 /dev/sda1\nmount /dev/sda1 /\n!echo x=here > kept\necho one\n!echo two >&2\necho three",
        "upload -<<END /secret\n@Password@\nEND\ncat /secret\n!source ./kept; echo $x; id -u; printf 'no end'\n-mkdir /nosuch/x",
        "umount /\n\nmkdir /x\necho never",
    ];
    let (ended, events) = run(&engine, &script(&contents), false);
    eprintln!("{}\n{:?}", ended.output, ended.steps);
    let stop = ended.outcome.unwrap_err();
    assert_eq!((stop.step, stop.line, stop.code), (Some(2), Some(3), Code::ScriptFailed), "{}", stop.message);
    assert!(stop.message.starts_with("mkdir: "), "{}", stop.message);
    let lines: Vec<_> = ended.output.lines().collect();
    assert_eq!(lines[..3], ["one", "two", "three"]);
    assert!(lines.contains(&"********") && lines.contains(&"here") && lines.contains(&"65534"));
    assert!(
        lines.contains(&"no end*stdin*:15: libguestfs: error: mkdir: /nosuch/x: No such file or directory")
    );
    assert!(!ended.output.contains("osvol-") && !ended.output.contains("hunter22"));
    assert_eq!(ended.steps.len(), 3);
    let names: Vec<_> = events.iter().map(|event| format!("{event:?}")).collect();
    assert_eq!(names, ["Step(0, 3, \"step 1\")", "Step(1, 3, \"step 2\")", "Step(2, 3, \"step 3\")"]);
}

#[test]
fn a_capture_gives_free_space_back() {
    let Some(engine) = engine(Duration::from_secs(300)) else { return };
    let content = "part-disk /dev/sda gpt\nmkfs ext4 /dev/sda1\nmount /dev/sda1 /\nfill 7 50000000 /f\nrm /f";
    let (ended, _) = run(&engine, &script(&[content]), true);
    assert_eq!(ended.outcome, Ok(()), "{}", ended.output);
    assert!(!ended.output.contains("error"), "{}", ended.output);
}

#[test]
fn nothing_is_left_of_a_job_that_nobody_waits_for() {
    let Some(engine) = engine(Duration::from_secs(300)) else { return };
    let disk = Disk::new();
    let word = "sleep 1234.5678";
    let script = script(&[&format!("!setsid {word} & {word}")]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = disk.socket();
        let job = engine.run(&script, &socket, false, &|_| ());
        let until_it_runs = async {
            while !is_running(word) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            ended = job => panic!("it ended: {ended:?}"),
            () = until_it_runs => {}
        }
    });
    let began = Instant::now();
    while is_running(word) {
        assert!(began.elapsed() < Duration::from_secs(10), "it still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_job_ends_with_its_time() {
    let Some(engine) = engine(Duration::from_secs(40)) else { return };
    let (ended, _) = run(&engine, &script(&["!sleep 2345.6789"]), false);
    let stop = ended.outcome.unwrap_err();
    assert_eq!(stop.code, Code::TimedOut, "{}", stop.message);
    assert!(!is_running("sleep 2345.6789"));
}
