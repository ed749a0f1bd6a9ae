//! The control API of a real osvold, asked in plain HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on panics")]

mod support;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;

use serde_json::{Value, json};
use support::{Daemon, OSVOLD, directory, raw_disk, said};

/// A daemon with the golden image `base` of 8 MiB.
fn with_image(directory: &std::path::Path) -> Daemon {
    let daemon = Daemon::start(directory);
    let raw = directory.join("disk.raw");
    raw_disk(&raw, 8);
    let (status, body) =
        upload(&daemon, "name=base&format=raw", "application/octet-stream", &std::fs::read(raw).unwrap());
    assert_eq!(status, 201, "{body}");
    daemon
}

/// A POST with headers of its own.
fn post_file(daemon: &Daemon, head: &str, body: &[u8]) -> (u16, String) {
    let mut stream = UnixStream::connect(&daemon.control).unwrap();
    let head = format!("{head}\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    // The daemon may answer, and close, before it has read all.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn upload(daemon: &Daemon, query: &str, media_type: &str, body: &[u8]) -> (u16, Value) {
    let head = format!("POST /rest/golden-images?{query} HTTP/1.1\r\nContent-Type: {media_type}");
    let (status, body) = post_file(daemon, &head, body);
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

#[test]
fn the_socket_is_for_its_owner_alone_and_goes_with_the_daemon() {
    let directory = directory();
    let daemon = Daemon::start(directory.path());
    let mode = std::fs::metadata(&daemon.control).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let control = daemon.control.clone();
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("SIGTERM: stopping") && log.contains("stopped"), "{log}");
    assert!(!control.exists());
}

#[test]
fn sigint_stops_cleanly_as_well() {
    let directory = directory();
    let mut daemon = Daemon::start(directory.path());
    daemon.signal(rustix::process::Signal::INT);
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_second_daemon_on_the_store_is_refused() {
    let directory = directory();
    let _first = Daemon::start(directory.path());
    let mut command = Command::new(OSVOLD);
    command.arg("--state").arg(directory.path().join("store")).args(["--portal", "127.0.0.1:0"]);
    let output = command.arg("--control").arg(directory.path().join("other.sock")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("is in use by another process"), "{}", said(&output));
}

#[test]
fn a_portal_that_is_taken_is_named_and_leaves_no_socket() {
    let directory = directory();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let portal = taken.local_addr().unwrap().to_string();
    let mut command = Command::new(OSVOLD);
    command.arg("--state").arg(directory.path().join("store")).args(["--portal", &portal]);
    let output = command.arg("--control").arg(directory.path().join("control.sock")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains(&format!("cannot listen on {portal}: Address already in use")),
        "{}",
        said(&output)
    );
    assert!(!directory.path().join("control.sock").exists());
}

#[test]
fn the_socket_of_a_killed_daemon_is_replaced_and_its_volumes_are_there() {
    let directory = directory();
    let mut daemon = with_image(directory.path());
    let (status, _) =
        daemon.api("POST /rest/os-volumes", &json!({"name": "web01", "goldenImageURI": "base"}));
    assert_eq!(status, 201);
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    assert!(daemon.control.exists());
    let again = Daemon::start(directory.path());
    assert!(again.ready.contains("1 golden images and 1 volumes"), "{}", again.ready);
    assert_eq!(again.api("GET /rest/os-volumes/web01", &Value::Null).1["imageName"], "base");
}

#[test]
fn a_service_manager_hears_when_the_daemon_is_ready() {
    let directory = directory();
    let manager = UnixDatagram::bind(directory.path().join("notify")).unwrap();
    let mut command = Command::new(OSVOLD);
    command.arg("--state").arg(directory.path().join("store")).args(["--portal", "127.0.0.1:0"]);
    command.arg("--control").arg(directory.path().join("control.sock"));
    command.env("NOTIFY_SOCKET", directory.path().join("notify"));
    let daemon = Daemon::spawn(command, directory.path());
    let mut message = [0; 4096];
    let length = manager.recv(&mut message).unwrap();
    assert!(message[..length].starts_with(b"READY=1\n"));
    daemon.stop();
    let length = manager.recv(&mut message).unwrap();
    assert!(message[..length].starts_with(b"STOPPING=1\n"));
}

#[test]
fn an_image_and_a_volume_have_image_streamers_shape() {
    let directory = directory();
    let daemon = with_image(directory.path());
    let (_, images) = daemon.api("GET /rest/golden-images?start=0&count=-1", &Value::Null);
    assert_eq!((&images["total"], &images["type"]), (&json!(1), &json!("GoldenImageCollection")));
    let image = &images["members"][0];
    assert_eq!((&image["type"], &image["category"]), (&json!("GoldenImage"), &json!("golden-images")));
    assert_eq!(image["size"], 8 << 20);
    assert!(image["checkSum"].as_str().unwrap().starts_with("sha256:"));

    let new = json!({"type": "OeVolume", "name": "Web_01", "goldenImageURI": image["uri"], "size": (1u64 << 40).to_string()});
    let (status, volume) = daemon.api("POST /rest/os-volumes", &new);
    assert_eq!(status, 201, "{volume}");
    assert_eq!((&volume["type"], &volume["oeVolumeId"]), (&json!("OeVolume"), &volume["id"]));
    assert_eq!((&volume["state"], &volume["status"]), (&json!("Ready"), &json!("OK")));
    assert_eq!((&volume["size"], &volume["provisionedBytes"]), (&json!(1u64 << 40), &json!(1u64 << 40)));
    assert_eq!(volume["goldenVolumeUri"], image["uri"]);
    let name = volume["iscsiName"].as_str().unwrap();
    assert_eq!(name, name.to_lowercase(), "iSCSI names are lower case");
    assert!(!name.contains('_'), "{name}: RFC 3722 has no underscore");
    assert_eq!(volume["oeVolumeIQN"], volume["iscsiName"]);
    let port = volume["portals"][0]["port"].as_u64().unwrap();
    assert!(port > 0, "a portal of port 0 is told by its real port");

    let uri = volume["uri"].as_str().unwrap();
    assert_eq!(daemon.api(&format!("GET {uri}"), &Value::Null), (200, volume.clone()));
    let (_, storage) = daemon.api(&format!("GET {uri}/storage"), &Value::Null);
    assert_eq!((&storage["provisionedBytes"], &storage["snapshots"]), (&json!(1u64 << 40), &json!([])));
    let by_filter = "GET /rest/os-volumes?start=0&count=-1&filter=%22name%3D%27web_01%27%22";
    assert_eq!(daemon.api(by_filter, &Value::Null).1["members"][0]["id"], volume["id"]);
    assert_eq!(daemon.api("GET /rest/version", &Value::Null).1["currentVersion"], 2020);
}

#[test]
fn what_is_used_is_not_removed_and_what_is_removed_is_gone() {
    let directory = directory();
    let daemon = with_image(directory.path());
    daemon.api("POST /rest/os-volumes", &json!({"name": "web01", "goldenImageURI": "base"}));
    let (status, refusal) = daemon.api("DELETE /rest/golden-images/base?force=True", &Value::Null);
    assert_eq!((status, &refusal["errorCode"]), (409, &json!("IN_USE")), "{refusal}");
    assert_eq!(daemon.request("DELETE /rest/os-volumes/web01", b"{}").0, 204);
    assert_eq!(daemon.api("GET /rest/os-volumes/web01", &Value::Null).0, 404);
    assert_eq!(daemon.request("DELETE /rest/golden-images/base", b"").0, 204);
    assert_eq!(daemon.leftovers(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_volume_grows_never_shrinks_and_has_a_quota() {
    let directory = directory();
    let daemon = with_image(directory.path());
    let size = |mib: u64| json!({"size": mib << 20});
    daemon.api("POST /rest/os-volumes", &json!({"name": "web01", "goldenImageURI": "base"}));
    let change = "PATCH /rest/os-volumes/web01";
    let (status, volume) = daemon.api(change, &size(16));
    assert_eq!(
        (status, &volume["provisionedBytes"], &volume["quotaBytes"]),
        (200, &json!(16 << 20), &Value::Null)
    );
    let (status, volume) = daemon.api(change, &json!({"size": "33554432", "quotaBytes": 1 << 20}));
    assert_eq!((status, &volume["size"], &volume["quotaBytes"]), (200, &json!(32 << 20), &json!(1 << 20)));
    for (body, code, says) in [
        (size(31), "INVALID_VALUE", "cannot shrink"),
        (json!({"size": (32 << 20) + 1}), "INVALID_VALUE", "multiple of 512"),
        (json!({"size": 1_u64 << 60}), "INVALID_VALUE", "largest volume"),
        (json!({"quotaBytes": 0}), "INVALID_VALUE", "lets nothing be written"),
        (json!({"size": (31 << 20), "quotaBytes": null}), "INVALID_VALUE", "cannot shrink"),
        (json!({"name": "web02"}), "INVALID_VALUE", "name"),
    ] {
        let (status, refusal) = daemon.api(change, &body);
        assert_eq!((status, refusal["errorCode"].as_str()), (400, Some(code)), "{body}: {refusal}");
        assert!(refusal["message"].as_str().unwrap().contains(says), "{body}: {refusal}");
    }
    let (_, same) = daemon.api("GET /rest/os-volumes/web01", &Value::Null);
    assert_eq!(
        (&same["size"], &same["quotaBytes"]),
        (&json!(32 << 20), &json!(1 << 20)),
        "nothing was changed"
    );
    assert_eq!(daemon.api(change, &json!({"quotaBytes": null})).1["quotaBytes"], Value::Null);
    drop(daemon);
    let daemon = Daemon::start(directory.path());
    assert_eq!(daemon.api("GET /rest/os-volumes/web01", &Value::Null).1["size"], 32 << 20);
}

#[test]
fn damaged_reservations_are_a_warning_until_they_are_taken_away() {
    let directory = directory();
    let daemon = Daemon::start(directory.path());
    let (_, volume) = daemon.api("POST /rest/os-volumes", &json!({"name": "web01", "size": 1 << 20}));
    let id = volume["id"].as_str().unwrap();
    drop(daemon);
    let reservations = directory.path().join("store/reservations");
    std::fs::create_dir_all(&reservations).unwrap();
    let aside = reservations.join(format!("{id}.damaged"));
    std::fs::write(&aside, b"xyz").unwrap();
    let daemon = Daemon::start(directory.path());
    let shown = || daemon.api("GET /rest/os-volumes/web01", &Value::Null).1;
    assert_eq!((&shown()["status"], &shown()["state"]), (&json!("Warning"), &json!("Ready")));
    assert!(shown()["statusReason"].as_str().unwrap().contains("reservations were damaged"), "{}", shown());
    let (_, status) = daemon.api("GET /rest/osvol/status", &Value::Null);
    assert!(status["statusReason"].as_str().unwrap().contains("1 volume needs attention"), "{status}");
    std::fs::remove_file(aside).unwrap();
    assert_eq!((&shown()["status"], &shown()["statusReason"]), (&json!("OK"), &Value::Null));
}

#[test]
fn data_whose_volume_has_lost_its_manifest_is_told() {
    let directory = directory();
    let path = directory.path().join("store");
    let store = cow::Store::open(&path).unwrap();
    let new = cow::NewVolume { name: "lost".into(), image: None, size_bytes: Some(1 << 20) };
    let id = store.create_volume(new).unwrap().id;
    store.open_volume(id).unwrap().write(0, &[&[7; 4096]], cow::Wait::Yes).unwrap();
    store.close().unwrap();
    drop(store);
    std::fs::remove_dir_all(path.join("volumes").join(id.to_string())).unwrap();
    let daemon = Daemon::start(directory.path());
    let (_, status) = daemon.api("GET /rest/osvol/status", &Value::Null);
    assert_eq!((&status["orphans"], &status["status"]), (&json!(1), &json!("Warning")));
    assert!(daemon.done(&["status"]).contains("Orphans:       1 layer whose volume"));
}

#[test]
fn a_user_who_may_not_is_told_so() {
    use std::os::unix::process::CommandExt;
    let directory = directory();
    let daemon = Daemon::start(directory.path());
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(&daemon.control, open.clone()).unwrap();
    std::fs::set_permissions(directory.path(), open).unwrap();
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can become somebody else");
        return;
    }
    // The binary is copied to where anybody can reach it.
    let osvol = directory.path().join("osvol");
    std::fs::copy(support::OSVOL, &osvol).unwrap();
    let mut command = Command::new(&osvol);
    let output =
        command.arg("--control").arg(&daemon.control).arg("status").uid(65534).gid(65534).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("user id 65534 may not use osvold's control socket"), "{}", said(&output));
}

#[test]
fn bad_requests_are_refused_with_a_reason() {
    let directory = directory();
    let daemon = with_image(directory.path());
    daemon.api("POST /rest/os-volumes", &json!({"name": "web01", "goldenImageURI": "base"}));
    let volumes = "POST /rest/os-volumes";
    let long = "x".repeat(65);
    for (head, body, status, code, says) in [
        (volumes, json!({"name": "a/b", "goldenImageURI": "base"}), 400, "INVALID_VALUE", "'/'"),
        (volumes, json!({"name": long, "goldenImageURI": "base"}), 400, "INVALID_VALUE", "65 bytes"),
        (volumes, json!({"name": "WEB01", "goldenImageURI": "base"}), 409, "NAME_EXISTS", "exists"),
        (volumes, json!({"name": "x", "goldenImageURI": "bsae"}), 404, "NOT_FOUND", "bsae"),
        (
            volumes,
            json!({"name": "x", "goldenImageURI": "base", "size": 4096}),
            400,
            "INVALID_VALUE",
            "smaller",
        ),
        (volumes, json!({"name": "x", "size": 1000}), 400, "INVALID_VALUE", "multiple of 512"),
        (volumes, json!({"name": "x"}), 400, "INVALID_VALUE", "a golden image or a size"),
        (volumes, json!({"name": "x", "sise": 1}), 400, "INVALID_VALUE", "sise"),
        (volumes, json!([1]), 400, "INVALID_VALUE", "expected"),
        ("GET /rest/os-volumes?count=many", Value::Null, 400, "MALFORMED_REQUEST", "query"),
        ("GET /rest/os-volumes?filter=nonsense", Value::Null, 400, "MALFORMED_REQUEST", "filter"),
        ("GET /rest/os-volumes/web02", Value::Null, 404, "NOT_FOUND", "web02"),
        ("PUT /rest/os-volumes/web01", Value::Null, 405, "METHOD_NOT_ALLOWED", "PUT"),
        ("GET /rest/nothing", Value::Null, 404, "NOT_FOUND", "/rest/nothing"),
    ] {
        let (got, refusal) = daemon.api(head, &body);
        assert_eq!((got, refusal["errorCode"].as_str()), (status, Some(code)), "{head} {body}: {refusal}");
        assert!(refusal["message"].as_str().unwrap().contains(says), "{head} {body}: {refusal}");
    }
    let (_, refusal) = daemon.api("GET /rest/os-volumes/web02", &Value::Null);
    assert_eq!(refusal["recommendedActions"], json!(["did you mean \"web01\"?"]));
    assert_eq!(daemon.request(volumes, b"{\"name\": ").0, 400);
    let big = format!("{{\"name\": \"{}\"}}", "x".repeat(2 << 20));
    assert_eq!(post_file(&daemon, "POST /rest/os-volumes HTTP/1.1", big.as_bytes()).0, 413);
    let (_, volumes) = daemon.api("GET /rest/os-volumes", &Value::Null);
    assert_eq!(volumes["total"], 1, "nothing half-made");
}

#[test]
fn bad_uploads_are_refused_and_leave_nothing() {
    let directory = directory();
    let daemon = Daemon::start(directory.path());
    let (extents, plain) = ("application/vnd.osvol.extents", "application/octet-stream");
    let cut = [&b"OSVOLEX1"[..], &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0], &[7; 512]].concat();
    for (query, media_type, body, status, code) in [
        ("name=a%2Fb", plain, &[0; 512][..], 400, "INVALID_VALUE"),
        ("name=..", plain, &[0; 512], 400, "INVALID_VALUE"),
        ("name=a&format=floppy", plain, &[0; 512], 400, "INVALID_VALUE"),
        ("format=raw", plain, &[0; 512], 400, "INVALID_VALUE"),
        ("name=a", "text/plain", &[0; 512], 400, "MALFORMED_REQUEST"),
        ("name=a", plain, b"", 422, "BAD_IMAGE"),
        ("name=a", plain, &[7; 513], 422, "BAD_IMAGE"),
        ("name=a", plain, b"\x1f\x8b\x08 is a gzip file", 422, "BAD_IMAGE"),
        ("name=a&format=qcow2", plain, &[7; 512], 422, "BAD_IMAGE"),
        ("name=a", extents, &cut, 422, "BAD_IMAGE"),
        ("name=a", extents, &[7; 512], 400, "MALFORMED_REQUEST"),
    ] {
        let (got, refusal) = upload(&daemon, query, media_type, body);
        assert_eq!((got, refusal["errorCode"].as_str()), (status, Some(code)), "{query}: {refusal}");
        daemon.wait_without_leftovers();
    }
}

#[test]
fn a_client_that_goes_away_leaves_nothing() {
    let directory = directory();
    let daemon = Daemon::start(directory.path());
    let mut stream = UnixStream::connect(&daemon.control).unwrap();
    let head = "POST /rest/golden-images?name=gone HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n\
                Content-Length: 1000000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let part = vec![7; 1 << 20];
    // Once so much has been taken, some of it must be staged.
    (0..16).for_each(|_| stream.write_all(&part).unwrap());
    assert!(!daemon.leftovers().is_empty());
    drop(stream);
    daemon.wait_without_leftovers();
    raw_disk(&directory.path().join("disk.raw"), 1);
    let disk = std::fs::read(directory.path().join("disk.raw")).unwrap();
    assert_eq!(upload(&daemon, "name=gone", "application/octet-stream", &disk).0, 201, "the name is free");
}

#[test]
fn a_disk_that_is_full_refuses_the_image_and_leaves_nothing() {
    let directory = directory();
    let mut command = Command::new("sh");
    // A limit of the size of a file stands in for a full disk: the kernel refuses the write in the same place.
    let line = r#"trap "" XFSZ; ulimit -f 16384; exec "$0" --state "$1/store" --portal 127.0.0.1:0 --control "$1/control.sock""#;
    command.args(["-c", line, OSVOLD]).arg(directory.path());
    let daemon = Daemon::spawn(command, directory.path());
    let (status, refusal) = upload(&daemon, "name=big", "application/octet-stream", &vec![7; 32 << 20]);
    assert_eq!((status, refusal["errorCode"].as_str()), (507, Some("NO_SPACE")), "{refusal}");
    daemon.wait_without_leftovers();
    assert_eq!(upload(&daemon, "name=small", "application/octet-stream", &vec![7; 1 << 20]).0, 201);
}

#[test]
fn a_long_list_comes_in_pages() {
    let directory = directory();
    let daemon = with_image(directory.path());
    for number in 0..200 {
        let (status, _) = daemon
            .api("POST /rest/os-volumes", &json!({"name": format!("v{number}"), "goldenImageURI": "base"}));
        assert_eq!(status, 201);
    }
    let (_, first) = daemon.api("GET /rest/os-volumes?start=0&count=50&sort=name:descending", &Value::Null);
    assert_eq!((&first["count"], &first["total"]), (&json!(50), &json!(200)));
    assert_eq!(first["members"][0]["name"], "v99");
    assert_eq!(first["nextPageUri"], "/rest/os-volumes?start=50&count=50&sort=name:descending");
}
