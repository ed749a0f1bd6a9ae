//! `osvol store …` on a store that lies there, as an operator runs it: words, JSON, exit codes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test may stop at the first surprise"
)]

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cow::{NewVolume, Store, Wait};

/// A store with one volume of three written blocks, closed; and what it holds.
fn store(dir: &Path) -> (PathBuf, Vec<u8>) {
    let path = dir.join("store");
    let store = Store::open(&path).unwrap();
    let new = NewVolume { name: "web01".to_owned(), image: None, size_bytes: Some(1 << 20) };
    let id = store.create_volume(new).unwrap().id;
    let volume = store.open_volume(id).unwrap();
    for n in 0..3_u8 {
        volume.write(u64::from(n) * 8192, &[&[n + 1; 4096]], Wait::Yes).unwrap();
    }
    let mut content = vec![0; 1 << 20];
    volume.read(0, &mut content, Wait::Yes).unwrap();
    drop(volume);
    store.snapshot(id, "monday").unwrap();
    store.close().unwrap();
    (path, content)
}

fn osvol(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_osvol")).arg("store").args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Changes a byte of the second block that was written.
fn rot(store: &Path) {
    let layers = std::fs::read_dir(store.join("layers")).unwrap();
    let segments = layers.map(|layer| layer.unwrap().path().join("seg-0000000000000000"));
    let segment = segments.into_iter().find(|path| path.exists()).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(segment).unwrap();
    file.write_all_at(&[0xff], (1 << 20) + 4096 + 17).unwrap();
}

#[test]
fn a_sound_store_is_clean_listed_exported_and_copied() {
    let dir = tempfile::tempdir().unwrap();
    let (path, content) = store(dir.path());
    let path = path.to_str().unwrap();
    let check = osvol(&["check", path, "--data"]);
    assert_eq!(check.status.code(), Some(0), "{check:?}");
    assert!(
        stdout(&check).contains("1 volume, 1 snapshot") && stdout(&check).contains("no damage"),
        "{check:?}"
    );
    let dump = stdout(&osvol(&["dump", path, "--records"]));
    for word in ["store: ", "volume: ", "name web01", "snapshot: ", "layer: ", "  segment: ", "change write"]
    {
        assert!(dump.contains(word), "{word}: {dump}");
    }
    let json = osvol(&["dump", path, "--volume", "web01/monday", "--json"]);
    for line in stdout(&json).lines() {
        let item: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(item["kind"].is_string());
    }
    let file = dir.path().join("web01.raw");
    let export = osvol(&["export", path, "web01", file.to_str().unwrap()]);
    assert_eq!(export.status.code(), Some(0), "{export:?}");
    assert!(std::fs::read(&file).unwrap() == content);
    let again = osvol(&["export", path, "web01", file.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(3), "{again:?}");
    assert!(stderr(&again).contains("nothing is ever overwritten"), "{again:?}");
    let to = dir.path().join("copy");
    let repair = osvol(&["repair", path, "--to", to.to_str().unwrap()]);
    assert_eq!(repair.status.code(), Some(0), "{repair:?}");
    assert!(stdout(&repair).contains("nothing is lost"), "{repair:?}");
}

#[test]
fn damage_is_named_with_its_volume_and_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (path, mut content) = store(dir.path());
    rot(&path);
    let path = path.to_str().unwrap();
    let check = osvol(&["check", path, "--data"]);
    assert_eq!(check.status.code(), Some(1), "{check:?}");
    for word in
        ["volume web01: 4 KiB lost: bytes 8192 to 12287", "snapshot web01/monday: 4 KiB lost", "block 1"]
    {
        assert!(stdout(&check).contains(word), "{word}: {check:?}");
    }
    let json = osvol(&["check", path, "--data", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&stdout(&json)).unwrap();
    let loss = &report["findings"][0]["losses"][0];
    assert_eq!((loss["kind"].as_str(), loss["name"].as_str()), (Some("volume"), Some("web01")));
    assert_eq!(loss["ranges"], serde_json::json!([{ "offset": 8192, "bytes": 4096 }]));
    let file = dir.path().join("web01.raw");
    let export = osvol(&["export", path, "web01", file.to_str().unwrap()]);
    assert_eq!(export.status.code(), Some(1), "{export:?}");
    assert!(stderr(&export).contains("--skip-damage") && !file.exists(), "{export:?}");
    let export = osvol(&["export", path, "web01", file.to_str().unwrap(), "--zero-damage"]);
    assert_eq!(export.status.code(), Some(1), "{export:?}");
    assert!(stdout(&export).contains("bytes 8192 to 12287"), "{export:?}");
    content[8192..12288].fill(0);
    assert!(std::fs::read(&file).unwrap() == content);
    let to = dir.path().join("repaired");
    let repair = osvol(&["repair", path, "--to", to.to_str().unwrap()]);
    assert_eq!(repair.status.code(), Some(1), "{repair:?}");
    let again = osvol(&["check", to.to_str().unwrap(), "--data"]);
    assert!(stdout(&again).contains("lost before the store was repaired"), "{again:?}");
}

#[test]
fn a_store_that_is_served_or_is_none_cannot_be_checked() {
    let dir = tempfile::tempdir().unwrap();
    let served = dir.path().join("served");
    let _store = Store::open(&served).unwrap();
    let check = osvol(&["check", served.to_str().unwrap()]);
    assert_eq!(check.status.code(), Some(3), "{check:?}");
    assert!(stderr(&check).contains("systemctl stop osvold"), "{check:?}");
    let none = osvol(&["check", dir.path().to_str().unwrap()]);
    assert_eq!(none.status.code(), Some(3), "{none:?}");
    assert!(stderr(&none).contains("is not a store"), "{none:?}");
    assert_eq!(osvol(&["check"]).status.code(), Some(2));
}
