//! Capture and export through a real osvold: disks that go out and come back are the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on panics")]

mod support;

use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::{Daemon, directory, raw_disk, text};

/// A daemon with a golden image `base` of 64 MiB, and a volume `web` on it of 96 MiB with a snapshot `s`.
fn daemon(directory: &Path) -> Daemon {
    let daemon = Daemon::start(directory);
    let raw = directory.join("base.raw");
    raw_disk(&raw, 64);
    daemon.done(&["image", "add", "base", text(&raw)]);
    daemon.done(&["volume", "create", "web", "--image", "base", "--size", "96MiB"]);
    daemon.done(&["snapshot", "create", "web", "s"]);
    daemon
}

#[test]
fn a_captured_volume_is_a_golden_image() {
    let directory = directory();
    let daemon = daemon(directory.path());
    let said = daemon.done(&["image", "capture", "web-golden", "--volume", "web"]);
    assert!(said.starts_with("golden image web-golden captured: 96 MiB"), "{said}");
    daemon.done(&["image", "capture", "of-snapshot", "--volume", "web", "--snapshot", "s"]);
    let (image, other) =
        (daemon.json(&["image", "show", "web-golden"]), daemon.json(&["image", "show", "of-snapshot"]));
    assert_eq!((&image["imageCapture"], &image["sourceFormat"]), (&json!(true), &json!("capture")));
    assert_eq!(image["checkSum"], other["checkSum"], "nothing was written since the snapshot");
    assert!(image["allocatedBytes"].as_u64().unwrap() < 1 << 20, "{image}");
    assert_eq!(daemon.json(&["image", "show", "base"])["imageCapture"], false);
    assert_eq!(daemon.json(&["snapshot", "list"])["total"], 1, "no snapshot is left");

    let again = daemon.refused(&["image", "capture", "base", "--volume", "web"]);
    assert!(again.contains("a golden image named \"base\" exists"), "{again}");
    assert!(daemon.refused(&["image", "capture", "x", "--volume", "wbe"]).contains("did you mean \"web\"?"));
    let none = daemon.refused(&["image", "capture", "x", "--volume", "web", "--snapshot", "t"]);
    assert!(none.contains("has no snapshot"), "{none}");
}

#[test]
fn a_capture_is_asked_for_in_image_streamers_words() {
    let directory = directory();
    let daemon = daemon(directory.path());
    let ask = |body: &Value| {
        let body = body.to_string();
        let head = "POST /rest/golden-images HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json";
        let mut stream = UnixStream::connect(&daemon.control).unwrap();
        write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str::<Value>(body).unwrap())
    };
    let volume = daemon.json(&["volume", "show", "web"])["uri"].clone();
    let image = |name: &str| loop {
        let found = daemon.json(&["image", "list"])["members"].as_array().unwrap().clone();
        if let Some(image) = found.into_iter().find(|image| image["name"] == name) {
            break image;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    let (status, task) =
        ask(&json!({"type": "GoldenImage", "name": "a", "description": "", "imageCapture": "true",
        "osVolumeURI": volume, "buildPlanUri": null}));
    assert_eq!((status, &task["associatedResource"]["resourceName"]), (202, &json!("a")), "{task}");
    let captured = image("a");
    assert_eq!(
        (&captured["imageCapture"], &captured["size"]),
        (&json!(true), &json!(96 << 20)),
        "{captured}"
    );
    assert_eq!(captured["osVolumeURI"], volume);
    let (status, _) = ask(&json!({"name": "b", "osVolumeURI": "web", "snapshotURI": "s"}));
    assert_eq!(status, 202);
    image("b");
    let (status, _) = ask(&json!({"name": "c", "snapshotURI": "web/s"}));
    assert_eq!(status, 202);
    image("c");
    for (body, status, source) in [
        (json!({"name": "d"}), 400, "osVolumeURI"),
        (json!({"name": "d", "snapshotURI": "s"}), 400, "snapshotURI"),
        (json!({"name": "d", "imageCapture": "false", "osVolumeURI": "web"}), 400, "imageCapture"),
        (
            json!({"name": "d", "osVolumeURI": "web", "buildPlanUri": "/rest/build-plans/1"}),
            400,
            "buildPlanUri",
        ),
    ] {
        let (got, refusal) = ask(&body);
        assert_eq!((got, refusal["errorSource"].as_str()), (status, Some(source)), "{body}: {refusal}");
    }
    assert_eq!(ask(&json!({"name": "d", "osVolumeURI": "nobody"})).0, 404);
    assert_eq!(ask(&json!({"name": "a", "osVolumeURI": "web"})).0, 409);
    assert_eq!(ask(&json!({"name": "a/b", "osVolumeURI": "web"})).0, 400);
}

#[test]
fn what_is_exported_is_the_disk_and_stays_sparse() {
    let directory = directory();
    let daemon = daemon(directory.path());
    let path = |name: &str| directory.path().join(name);
    let base = std::fs::read(path("base.raw")).unwrap();
    let said = daemon.done(&["image", "export", "base", text(&path("image.raw"))]);
    assert!(said.contains("golden image base exported to") && said.contains("64 MiB"), "{said}");
    assert!(std::fs::read(path("image.raw")).unwrap() == base);
    daemon.done(&["volume", "export", "web", text(&path("volume.raw"))]);
    daemon.done(&["volume", "export", "web", text(&path("snapshot.raw")), "--snapshot", "s"]);
    let volume = std::fs::read(path("volume.raw")).unwrap();
    assert!(volume[..64 << 20] == base && volume[64 << 20..].iter().all(|byte| *byte == 0));
    assert_eq!(volume.len(), 96 << 20);
    assert!(std::fs::read(path("snapshot.raw")).unwrap() == volume);
    let allocated = std::fs::metadata(path("volume.raw")).unwrap().blocks() * 512;
    assert!(allocated < 1 << 20, "{allocated} bytes");
    assert_eq!(daemon.json(&["snapshot", "list"])["total"], 1, "no snapshot is left");

    let refused = daemon.refused(&["volume", "export", "web", text(&path("volume.raw"))]);
    assert!(refused.contains("exists; --force replaces it"), "{refused}");
    daemon.done(&["volume", "export", "web", text(&path("volume.raw")), "--format", "qcow2", "--force"]);
    assert!(std::fs::read(path("volume.raw")).unwrap().starts_with(b"QFI\xfb"));
    assert!(daemon.refused(&["volume", "export", "nobody", text(&path("x"))]).contains("nobody"));
    assert!(!path("x").exists(), "nothing is made for a volume that is not there");
    // What was exported can be added again, and is the same.
    daemon.done(&["image", "add", "back", text(&path("image.raw"))]);
    let sum = |name| daemon.json(&["image", "show", name])["checkSum"].clone();
    assert_eq!(sum("back"), sum("base"));
}

#[test]
fn any_client_can_read_a_disk_as_bytes() {
    let directory = directory();
    let daemon = daemon(directory.path());
    let base = std::fs::read(directory.path().join("base.raw")).unwrap();
    for uri in ["/rest/golden-images/base/content", "/rest/os-volumes/web/content"] {
        let mut stream = UnixStream::connect(&daemon.control).unwrap();
        write!(stream, "GET {uri} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let at = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8_lossy(&answer[..at]).to_lowercase();
        let bytes = answer.len() - at;
        assert!(head.contains(&format!("content-length: {bytes}\r\n")), "{uri}: {head}");
        assert!(head.contains("content-type: application/octet-stream"), "{uri}: {head}");
        assert!(answer[at..at + base.len()] == base[..], "{uri}");
        assert!(answer[at + base.len()..].iter().all(|byte| *byte == 0), "{uri}");
    }
}

#[test]
fn a_rotten_disk_is_not_exported_and_the_reason_is_told() {
    let directory = directory();
    let daemon = daemon(directory.path());
    let golden = daemon.store.join("golden");
    let content = std::fs::read_dir(golden).unwrap().next().unwrap().unwrap().path().join("image.raw");
    // The daemon proves a chunk before it serves it first.
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().write(true).open(content).unwrap();
    file.write_all_at(b"rot", (64 << 20) - 300).unwrap();
    let out = directory.path().join("out.raw");
    let said = daemon.refused(&["image", "export", "base", text(&out)]);
    assert!(said.contains("not what was imported"), "{said}");
    let names: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("out.raw")), "{names:?}");
    let said = daemon.refused(&["image", "capture", "x", "--volume", "web"]);
    assert!(said.contains("not what was imported"), "{said}");
    assert_eq!(daemon.json(&["image", "list"])["total"], 1);
}

#[test]
fn an_export_that_is_killed_leaves_no_file_of_that_name_and_no_snapshot() {
    let directory = directory();
    let daemon = Daemon::start(directory.path());
    let raw = directory.path().join("big.raw");
    let data: Vec<u8> = (0..256_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(&raw, data).unwrap();
    daemon.done(&["image", "add", "big", text(&raw)]);
    daemon.done(&["volume", "create", "web", "--image", "big"]);
    let out = directory.path().join("out.raw");
    let mut command = Command::new(support::OSVOL);
    command.arg("--control").arg(&daemon.control).args(["volume", "export", "web", text(&out), "--json"]);
    let mut client = command.spawn().unwrap();
    let begun = || {
        std::fs::read_dir(directory.path())
            .unwrap()
            .any(|e| e.unwrap().file_name().to_string_lossy().ends_with(".part"))
    };
    while !begun() {
        assert!(client.try_wait().unwrap().is_none(), "it was over before it could be killed");
    }
    client.kill().unwrap();
    client.wait().unwrap();
    assert!(!out.exists());
    let snapshots = || std::fs::read_dir(daemon.store.join("snapshots")).unwrap().count();
    let start = std::time::Instant::now();
    while snapshots() > 0 {
        assert!(start.elapsed().as_secs() < 60, "a snapshot is left");
        std::thread::yield_now();
    }
}
