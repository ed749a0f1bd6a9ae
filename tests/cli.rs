//! The command line against a real osvold, and the daemon's own command line.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on panics")]

mod support;

use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::{Command, Output};

use support::{Daemon, OSVOL, OSVOLD, directory, qcow2, raw_disk, said, text};

fn osvold(arguments: &[&str]) -> Output {
    Command::new(OSVOLD).args(arguments).output().unwrap()
}

#[test]
fn from_an_image_to_a_volume_and_back_to_nothing() {
    let directory = directory();
    let daemon = Daemon::start(directory.path());
    let raw = directory.path().join("disk.raw");
    raw_disk(&raw, 8);
    assert!(daemon.done(&["image", "add", "base", text(&raw)]).starts_with("golden image base added: 8 MiB"));
    assert!(daemon.done(&["image", "list"]).lines().nth(1).unwrap().starts_with("base  OK      8 MiB"));
    assert!(
        daemon.done(&["volume", "create", "web01", "--image", "base", "--size", "40GiB"]).contains("40 GiB")
    );

    let list = daemon.done(&["volume", "list"]);
    let (titles, row) = list.split_once('\n').unwrap();
    for title in ["NAME", "STATE", "HEALTH", "PROVISIONED", "ALLOCATED", "ISCSI NAME", "IP ADDRESS", "PORT"] {
        assert!(titles.contains(title), "{titles}");
    }
    assert!(row.starts_with("web01  Ready  OK") && row.contains("127.0.0.1"), "{row}");

    let volume = daemon.json(&["volume", "show", "web01"]);
    let (name, port) = (volume["iscsiName"].as_str().unwrap(), &volume["portals"][0]["port"]);
    let shown = daemon.done(&["volume", "show", "web01"]);
    for line in [
        format!("iscsiadm -m discovery -t sendtargets -p 127.0.0.1:{port}"),
        format!("iscsiadm -m node -T {name} -p 127.0.0.1:{port} --login"),
        format!("-drive file=iscsi://127.0.0.1:{port}/{name}/0,format=raw,if=virtio"),
        format!("sanboot iscsi:127.0.0.1::{port}:0:{name}"),
    ] {
        assert!(shown.contains(&line), "{line} is not in\n{shown}");
    }

    assert!(daemon.refused(&["image", "remove", "base"]).contains("in use by OS volume \"web01\""));
    assert!(daemon.done(&["status"]).contains("OS volumes:    1 with 0 sessions"));
    daemon.done(&["volume", "remove", "web01"]);
    daemon.done(&["image", "remove", "base"]);
    assert!(daemon.leftovers().is_empty());
}

#[test]
fn snapshots_are_taken_cloned_rolled_back_and_removed() {
    let directory = directory();
    let daemon = Daemon::start(directory.path());
    daemon.done(&["volume", "create", "web01", "--size", "1GiB"]);
    daemon.done(&["snapshot", "create", "web01", "fresh"]);
    assert!(daemon.refused(&["snapshot", "create", "web01", "fresh"]).contains("fresh"));
    assert!(daemon.refused(&["snapshot", "remove", "web01", "frehs"]).contains("did you mean \"fresh\"?"));
    daemon.done(&["volume", "create", "web02", "--snapshot", "web01/fresh"]);
    assert_eq!(daemon.json(&["volume", "show", "web02"])["size"], 1u64 << 30);
    daemon.done(&["snapshot", "rollback", "web01", "fresh"]);
    for list in [&["snapshot", "list"][..], &["snapshot", "list", "web01"]] {
        assert!(daemon.done(list).lines().nth(1).unwrap().starts_with("web01   fresh     1 GiB"), "{list:?}");
    }
    assert!(daemon.refused(&["volume", "remove", "web01"]).contains("it has a snapshot"));
    daemon.done(&["snapshot", "remove", "web01", "fresh"]);
    daemon.done(&["volume", "remove", "web01"]);
    daemon.done(&["volume", "remove", "web02"]);
}

#[test]
fn a_volume_is_grown_and_limited_by_name() {
    let directory = directory();
    let daemon = Daemon::start(directory.path());
    daemon.done(&["volume", "create", "web01", "--size", "1GiB"]);
    assert_eq!(daemon.done(&["volume", "grow", "web01", "2GiB"]), "volume web01 has 2 GiB now\n");
    let words = daemon.refused(&["volume", "grow", "web01", "1.5GiB"]);
    assert!(words.contains("has 2 GiB (2147483648 bytes) and cannot shrink to 1.5 GiB"), "{words}");
    let said = daemon.done(&["volume", "set", "web01", "--quota", "10GiB"]);
    assert_eq!(said, "volume web01: 0 B used of a quota of 10 GiB, no reserve\n");
    let said = daemon.done(&["volume", "set", "web01", "--reserve", "1MiB"]);
    assert_eq!(said, "volume web01: 0 B used of a quota of 10 GiB, a reserve of 1 MiB\n");
    assert!(
        daemon.done(&["status"]).contains("1 MiB for volumes with a reserve"),
        "{}",
        daemon.done(&["status"])
    );
    let words = daemon.refused(&["volume", "set", "web01", "--reserve", "1PiB", "--quota", "none"]);
    assert!(words.contains("space") || words.contains("room"), "{words}");
    let shown = daemon.done(&["volume", "show", "web01"]);
    assert!(shown.contains("a reserve of 1 MiB") && shown.contains("a quota of 10 GiB"), "{shown}");
    let words = daemon.refused(&["volume", "set", "web01", "--reserve", "11GiB"]);
    assert!(words.contains("more than the quota"), "{words}");
    daemon.done(&["volume", "set", "web01", "--reserve", "none"]);
    assert!(
        daemon.done(&["volume", "show", "web01"]).contains("Quota:        0 B used of a quota of 10 GiB")
    );
    assert_eq!(
        daemon.json(&["volume", "set", "web01", "--quota", "none"])["quotaBytes"],
        serde_json::Value::Null
    );
    for bad in [&["volume", "set", "web01"][..], &["volume", "set", "web01", "--quota", "much"]] {
        assert_eq!(daemon.osvol(bad).status.code(), Some(2), "{bad:?}");
    }
    let status = daemon.done(&["status"]);
    assert!(
        status.contains("free for data of") && status.contains("Allocated:     0 B: images 0 B"),
        "{status}"
    );
}

#[test]
fn a_sparse_image_of_a_tebibyte_is_added_as_its_data() {
    let directory = directory();
    let daemon = Daemon::start(directory.path());
    let path = directory.path().join("big.raw");
    raw_disk(&path, 1 << 20);
    daemon.done(&["image", "add", "big", text(&path)]);
    let image = daemon.json(&["image", "show", "big"]);
    assert_eq!(image["size"], 1u64 << 40);
    assert!(image["allocatedBytes"].as_u64().unwrap() < 1 << 20, "{image}");
}

#[test]
fn qcow2_becomes_the_same_disk_and_stays_sparse() {
    let directory = directory();
    let daemon = Daemon::start(directory.path());
    let (raw, packed) = (directory.path().join("disk.raw"), directory.path().join("disk.qcow2"));
    raw_disk(&raw, 64);
    let Some(()) = qcow2(&raw, &packed) else { return };
    daemon.done(&["image", "add", "raw", text(&raw)]);
    daemon.done(&["image", "add", "packed", text(&packed)]);
    let (one, other) = (daemon.json(&["image", "show", "raw"]), daemon.json(&["image", "show", "packed"]));
    assert_eq!(one["checkSum"], other["checkSum"], "the same content");
    assert_eq!(other["sourceFormat"], "qcow2");
    assert!(other["allocatedBytes"].as_u64().unwrap() < 1 << 20, "{other}");
}

#[test]
fn a_damaged_qcow2_is_refused_and_leaves_nothing() {
    let directory = directory();
    let daemon = Daemon::start(directory.path());
    let (raw, packed) = (directory.path().join("disk.raw"), directory.path().join("disk.qcow2"));
    std::fs::write(
        &raw,
        (0..8u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>(),
    )
    .unwrap();
    let Some(()) = qcow2(&raw, &packed) else { return };
    let whole = std::fs::read(&packed).unwrap();
    let bad = directory.path().join("bad.qcow2");
    let end = whole.len();
    for cut in [60, 100, 4096, 70_000, 300_000, end / 2, end - 65_536, end - 512] {
        std::fs::write(&bad, &whole[..cut]).unwrap();
        let words = daemon.refused(&["image", "add", "bad", text(&bad)]);
        assert!(words.contains("truncated"), "cut at {cut}: {words}");
        assert!(daemon.leftovers().is_empty(), "cut at {cut}: {:?}", daemon.leftovers());
    }
    let garbage = std::fs::File::create(&bad).unwrap();
    garbage.write_all_at(&whole, 0).unwrap();
    garbage.write_all_at(&[0xff; 4096], 196_608).unwrap();
    assert!(daemon.refused(&["image", "add", "bad", text(&bad)]).contains("damaged"));
    assert!(daemon.leftovers().is_empty());
}

#[test]
fn a_qcow2_that_names_another_file_is_refused_unread() {
    let directory = directory();
    let daemon = Daemon::start(directory.path());
    let (raw, packed) = (directory.path().join("disk.raw"), directory.path().join("disk.qcow2"));
    raw_disk(&raw, 1);
    let Some(()) = qcow2(&raw, &packed) else { return };
    let make = |arguments: &[&str], name: &str| {
        let path = directory.path().join(name);
        let mut qemu_img = Command::new("qemu-img");
        qemu_img.args(["create", "-q", "-f", "qcow2"]).args(arguments).arg(&path).arg("1M");
        assert!(qemu_img.status().unwrap().success());
        path
    };
    let backed = make(&["-b", text(&raw), "-F", "raw"], "backed.qcow2");
    assert!(daemon.refused(&["image", "add", "x", text(&backed)]).contains("backing file"));
    let data = format!("data_file={}", text(&directory.path().join("data.raw")));
    let outside = make(&["-o", &data], "outside.qcow2");
    assert!(daemon.refused(&["image", "add", "x", text(&outside)]).contains("in another file"));
    assert!(daemon.leftovers().is_empty());
}

#[test]
fn without_qemu_img_the_package_is_named() {
    let directory = directory();
    let config = directory.path().join("osvold.toml");
    let place = text(directory.path());
    let content = format!(
        "[store]\npath = \"{place}/store\"\n[control]\nsocket = \"{place}/control.sock\"\n\
         [iscsi]\nportals = [\"127.0.0.1:0\"]\n[images]\nqemu_img = \"/nonexistent/qemu-img\"\n"
    );
    std::fs::write(&config, content).unwrap();
    let mut command = Command::new(OSVOLD);
    command.arg("--config").arg(&config);
    let daemon = Daemon::spawn(command, directory.path());
    let (raw, packed) = (directory.path().join("disk.raw"), directory.path().join("disk.qcow2"));
    raw_disk(&raw, 1);
    let Some(()) = qcow2(&raw, &packed) else { return };
    assert!(daemon.refused(&["image", "add", "x", text(&packed)]).contains("qemu-utils"));
    assert!(daemon.leftovers().is_empty());
    daemon.done(&["image", "add", "x", text(&raw)]);
}

#[test]
fn bad_input_is_named_before_the_daemon_is_asked() {
    let directory = directory();
    let nobody = directory.path().join("nobody.sock");
    let osvol = |arguments: &[&str]| {
        let output = Command::new(OSVOL).env("OSVOL_CONTROL", &nobody).args(arguments).output().unwrap();
        (output.status.code(), said(&output))
    };
    let raw = directory.path().join("disk.raw");
    raw_disk(&raw, 1);
    for (arguments, code, says) in [
        (&["image", "add", "a/b", text(&raw)][..], 2, "'/'"),
        (&["image", "add", "ok", "/nonexistent/disk.raw"], 1, "/nonexistent/disk.raw: No such file"),
        (&["image", "add", "ok", "/tmp"], 1, "is a directory"),
        (&["volume", "create", "ok", "--image", "base", "--size", "lots"], 2, "40GiB"),
        (&["volume", "create", "ok"], 2, "--image"),
        (&["volume", "show", "../x"], 2, "neither a name nor an id"),
        (&["volume", "list"], 1, "is osvold running?"),
        (&["vol"], 2, "volume"),
    ] {
        let (got, words) = osvol(arguments);
        assert_eq!(got, Some(code), "{arguments:?}: {words}");
        assert!(words.contains(says), "{arguments:?}: {words}");
    }
}

#[test]
fn a_failure_is_json_when_that_is_asked_for() {
    let directory = directory();
    let daemon = Daemon::start(directory.path());
    let output = daemon.osvol(&["volume", "show", "nobody", "--json"]);
    let refusal: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(refusal["errorCode"], "NOT_FOUND");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_command_line_that_was_killed_leaves_nothing() {
    let directory = directory();
    let daemon = Daemon::start(directory.path());
    let path = directory.path().join("big.raw");
    let file = std::fs::File::create(&path).unwrap();
    let part = vec![7; 1 << 20];
    (0..512).for_each(|mib| file.write_all_at(&part, mib << 20).unwrap());
    let mut client = Command::new(OSVOL);
    client.arg("--control").arg(&daemon.control).args(["image", "add", "big", text(&path), "--json"]);
    let mut client = client.spawn().unwrap();
    let staged = || {
        daemon
            .leftovers()
            .iter()
            .any(|dir| std::fs::metadata(dir.join("image.raw")).is_ok_and(|m| m.blocks() > 0))
    };
    while !staged() {
        assert!(client.try_wait().unwrap().is_none(), "it was over before it could be killed");
    }
    client.kill().unwrap();
    client.wait().unwrap();
    daemon.wait_without_leftovers();
}

#[test]
fn a_configuration_that_is_wrong_names_file_and_line() {
    let directory = directory();
    let path = directory.path().join("osvold.toml");
    for (content, says) in [
        (&b"[store]\npaht = \"/x\"\n"[..], ":2: unknown key \"paht\" in [store]; did you mean \"path\"?"),
        (b"\x00\xff\x13 garbage", "osvold.toml"),
        (b"[iscsi]\nportals = [\"here\"]\n", ":2: "),
    ] {
        std::fs::write(&path, content).unwrap();
        let output = osvold(&["--config", text(&path)]);
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains(says), "{}", said(&output));
    }
    let output = osvold(&["--state", text(directory.path())]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let output = osvold(&["--config", text(&path), "--state", "/x", "--portal", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    std::fs::write(&path, "").unwrap();
    assert!(osvold(&["--config", text(&path), "--check"]).status.success());
}

#[test]
fn completions_and_man_pages_are_generated() {
    let directory = directory();
    let output = Command::new(OSVOL).args(["completions", "bash"]).output().unwrap();
    assert!(said(&output).contains("_osvol()"));
    let man = Command::new(OSVOL).arg("man").arg(directory.path()).output().unwrap();
    assert!(man.status.success(), "{}", said(&man));
    for page in ["osvol.1", "osvol-image-add.1", "osvol-volume-create.1"] {
        assert!(directory.path().join(page).exists(), "{page}");
    }
}
