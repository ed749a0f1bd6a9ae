//! The scrub of a real osvold: what has rotted is found, told, and still known after a restart.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on panics")]

mod support;

use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Daemon, OSVOLD, directory, raw_disk, text};

/// A daemon with these settings of the scrub.
fn start(directory: &Path, scrub: &str) -> Daemon {
    let config = directory.join("osvold.toml");
    let (store, socket) = (directory.join("store"), directory.join("control.sock"));
    let body = format!(
        "[store]\npath = {store:?}\n[control]\nsocket = {socket:?}\n[iscsi]\nportals = [\"127.0.0.1:0\"]\n[scrub]\n{scrub}\n"
    );
    std::fs::write(&config, body).unwrap();
    let mut command = Command::new(OSVOLD);
    command.arg("--config").arg(config);
    Daemon::spawn(command, directory)
}

/// How the scrub stands once `done` says that it is so far.
fn scrubbed(daemon: &Daemon, done: impl Fn(&Value) -> bool) -> Value {
    let begin = Instant::now();
    loop {
        let scrub = daemon.json(&["scrub", "status"]);
        if done(&scrub) {
            return scrub;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "the scrub does not get there: {scrub}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Changes a byte of the one golden image in the store.
fn rot(store: &Path, offset: u64) {
    let golden = std::fs::read_dir(store.join("golden")).unwrap().next().unwrap().unwrap().path();
    let path = golden.join("image.raw");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], offset).unwrap();
}

#[test]
fn damage_is_told_everywhere_and_survives_a_restart() {
    let directory = directory();
    let off = "automatic = false\npace = \"1GiB\"";
    let daemon = start(directory.path(), off);
    let raw = directory.path().join("disk.raw");
    raw_disk(&raw, 8);
    daemon.done(&["image", "add", "base", text(&raw)]);
    daemon.done(&["volume", "create", "web01", "--image", "base"]);
    daemon.done(&["volume", "create", "empty", "--size", "1GiB"]);
    let scrub = daemon.json(&["scrub", "status"]);
    assert_eq!(
        (&scrub["state"], &scrub["last"], &scrub["damaged"]),
        (&"Off".into(), &Value::Null, &0.into())
    );

    daemon.done(&["scrub", "start"]);
    let scrub = scrubbed(&daemon, |scrub| scrub["state"] == "Off");
    let last = &scrub["last"];
    assert_eq!((&last["result"], &last["done"], &last["total"]), (&"Completed".into(), &3.into(), &3.into()));
    assert_eq!(last["doneBytes"], 2 * 65536, "the image's two chunks of data");
    assert_eq!((&scrub["damaged"], &scrub["completed"]), (&0.into(), &last["ended"]));
    assert!(daemon.done(&["status"]).contains("all was read"), "{}", daemon.done(&["status"]));

    rot(&daemon.store, 4096);
    daemon.done(&["scrub", "start"]);
    let scrub = scrubbed(&daemon, |scrub| scrub["state"] == "Off");
    assert_eq!((&scrub["damaged"], &scrub["last"]["damaged"]), (&1.into(), &1.into()));
    let finding = &scrub["findings"][0];
    assert_eq!((&finding["category"], &finding["name"]), (&"golden-images".into(), &"base".into()));
    assert_eq!(finding["offset"], 0, "a chunk is 64 KiB");
    assert!(daemon.log().contains("scrub: damage"), "the log");

    let told = |daemon: &Daemon| {
        assert_eq!(daemon.json(&["image", "show", "base"])["status"], "Critical");
        assert_eq!(daemon.json(&["volume", "show", "web01"])["status"], "Critical");
        assert_eq!(daemon.json(&["volume", "show", "empty"])["status"], "OK");
        let status = daemon.done(&["status"]);
        assert!(status.contains("1 golden image is not well; 1 volume is not well"), "{status}");
        assert!(status.contains("1 place damaged: see osvol scrub status"), "{status}");
        let table = daemon.done(&["scrub", "status"]);
        assert!(table.contains("image  base") && table.contains("is not what was imported"), "{table}");
    };
    told(&daemon);
    assert_eq!(daemon.stop().0, Some(0));
    let daemon = start(directory.path(), off);
    told(&daemon);

    rot(&daemon.store, 4096);
    daemon.done(&["scrub", "start"]);
    let scrub = scrubbed(&daemon, |scrub| scrub["state"] == "Off");
    assert_eq!((&scrub["damaged"], &scrub["findings"]), (&0.into(), &Value::Array(vec![])));
    assert_eq!(daemon.json(&["volume", "show", "web01"])["status"], "OK", "the byte is as it was");
}

#[test]
fn a_pass_keeps_its_pace_and_can_be_stopped() {
    let directory = directory();
    let daemon = start(directory.path(), "automatic = false\npace = \"64KiB\"");
    let raw = directory.path().join("disk.raw");
    std::fs::write(&raw, (0..4u32 << 20).map(|i| (i * 7 % 251) as u8).collect::<Vec<_>>()).unwrap();
    daemon.done(&["image", "add", "base", text(&raw)]);
    assert!(daemon.refused(&["scrub", "stop"]).contains("no pass of the scrub runs"));
    let begin = Instant::now();
    daemon.done(&["scrub", "start"]);
    assert!(daemon.refused(&["scrub", "start"]).contains("runs already"));
    let scrub = scrubbed(&daemon, |scrub| scrub["current"]["doneBytes"].as_u64().unwrap() >= 2 * 65536);
    let (read, seconds) = (scrub["current"]["doneBytes"].as_f64().unwrap(), begin.elapsed().as_secs_f64());
    assert!(read <= 65536.0 * (seconds + 1.5), "{read} bytes in {seconds} s");
    assert_eq!((&scrub["state"], &scrub["next"]), (&"Running".into(), &Value::Null));
    assert!(daemon.done(&["status"]).contains("running, 0 of 1 done"), "{}", daemon.done(&["status"]));
    daemon.done(&["scrub", "stop"]);
    let scrub = daemon.json(&["scrub", "status"]);
    assert_eq!((&scrub["state"], &scrub["last"]["result"]), (&"Off".into(), &"Stopped".into()));
    assert_eq!(scrub["completed"], Value::Null);
    daemon.done(&["scrub", "start"]);
    assert_eq!(daemon.stop().0, Some(0), "a pass does not hold up the end");
}

#[test]
fn passes_begin_by_themselves() {
    let directory = directory();
    let daemon = start(directory.path(), "interval = \"1s\"");
    assert!(daemon.json(&["scrub", "status"])["next"].is_string());
    let first = scrubbed(&daemon, |scrub| scrub["completed"].is_string());
    let again = scrubbed(&daemon, |scrub| scrub["completed"] != first["completed"]);
    assert_eq!(again["state"], "Waiting");
}
