//! The control API over TLS, users and sessions, boot scripts: a real osvold, asked over real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on panics")]

mod support;
#[path = "support/tls.rs"]
mod tls_support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{OSVOL, directory, said};
use tls_support::{Secure, rest};

const ADMIN: &str = "Infrastructure administrator";
const PASSWORD: &str = "correct horse battery";

#[test]
fn both_versions_of_tls_are_spoken_and_nothing_in_the_clear() {
    let directory = directory();
    let secure = Secure::start(directory.path(), "");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut stream = secure.connect(&[version]);
        stream.write_all(b"GET /rest/version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let answer = rest(&mut stream);
        assert!(
            answer.contains("\"minimumVersion\":120") && answer.contains("\"currentVersion\":2020"),
            "{answer}"
        );
        assert_eq!(stream.conn.protocol_version(), Some(version.version));
    }
    let mut plain = TcpStream::connect(secure.tls).unwrap();
    plain.write_all(b"GET /rest/version HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[test]
fn the_certificate_of_the_first_start_stays_and_its_key_is_secret() {
    let directory = directory();
    let own = directory.path().join("store/tls");
    let secure = Secure::start(directory.path(), "");
    assert!(secure.daemon.before.contains("sha256="), "{}", secure.daemon.before);
    let mode = std::fs::metadata(own.join("key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let first = std::fs::read(own.join("certificate.pem")).unwrap();
    assert_eq!(secure.daemon.stop().0, Some(0));
    let _again = Secure::start(directory.path(), "");
    assert_eq!(first, std::fs::read(own.join("certificate.pem")).unwrap());
}

#[test]
fn nothing_is_done_without_a_session_and_everything_with_one() {
    let directory = directory();
    let secure = Secure::start(directory.path(), "");
    secure.add_user("admin", PASSWORD, ADMIN);
    for head in
        ["GET /rest/os-volumes", "GET /rest/users", "DELETE /rest/os-volumes/x", "GET /rest/osvol/events"]
    {
        let (status, refusal) = secure.ask("", head, &Value::Null);
        assert_eq!((status, &refusal["errorCode"]), (401, &json!("NOT_AUTHENTICATED")), "{head}");
        assert_eq!(secure.ask("0123", head, &Value::Null).0, 401, "{head}");
    }
    let token = secure.token("Admin", PASSWORD);
    let volume = json!({"name": "web01", "size": 1 << 20});
    assert_eq!(secure.ask(&token, "POST /rest/os-volumes", &volume).0, 201);
    let (status, session) = secure.ask(&token, "PUT /rest/login-sessions", &Value::Null);
    assert_eq!((status, session["sessionID"].as_str()), (200, Some(token.as_str())));
    assert_eq!(secure.ask(&token, "DELETE /rest/login-sessions", &json!({})).0, 204);
    assert_eq!(secure.ask(&token, "GET /rest/os-volumes", &Value::Null).0, 401);
    let log = secure.daemon.stop().1;
    assert!(!log.contains(&token) && !log.contains(PASSWORD), "{log}");
}

#[test]
fn a_role_lets_do_what_it_says() {
    let directory = directory();
    let secure = Secure::start(directory.path(), "");
    let volume = json!({"name": "v", "size": 1 << 20});
    for (name, role, makes_volumes) in [
        ("looks", "Read only", 403),
        ("software", "Software administrator", 403),
        ("server", "Server administrator", 201),
    ] {
        secure.add_user(name, PASSWORD, role);
        let token = secure.token(name, PASSWORD);
        assert_eq!(secure.ask(&token, "GET /rest/os-volumes", &Value::Null).0, 200, "{name}");
        let (status, refusal) = secure.ask(&token, "POST /rest/os-volumes", &volume);
        assert_eq!(status, makes_volumes, "{name}: {refusal}");
        assert_eq!(secure.ask(&token, "GET /rest/users", &Value::Null).0, 403, "{name}");
    }
    let token = secure.token("looks", PASSWORD);
    let (_, refusal) = secure.ask(&token, "GET /rest/os-volumes/v/content", &Value::Null);
    assert_eq!(refusal["errorCode"], "NOT_AUTHORIZED", "a disk has secrets: {refusal}");
}

#[test]
fn whoever_is_disabled_changed_or_removed_is_out_at_once() {
    let directory = directory();
    let secure = Secure::start(directory.path(), "");
    secure.add_user("admin", PASSWORD, ADMIN);
    let looks = |token: &str| secure.ask(token, "GET /rest/os-volumes", &Value::Null).0;
    let token = secure.token("admin", PASSWORD);
    secure.daemon.done(&["user", "set", "admin", "--disable"]);
    assert_eq!((looks(&token), secure.log_in("admin", PASSWORD).0), (401, 401));
    secure.daemon.done(&["user", "set", "admin", "--enable", "--role", "read-only"]);
    let token = secure.token("admin", PASSWORD);
    let other = json!({"password": "another password", "currentPassword": "wrong"});
    assert_eq!(secure.ask(&token, "PUT /rest/users/admin/password", &other).0, 403);
    let other = json!({"password": "another password", "currentPassword": PASSWORD});
    assert_eq!(secure.ask(&token, "PUT /rest/users/admin/password", &other).0, 204);
    assert_eq!((looks(&token), secure.log_in("admin", PASSWORD).0), (401, 401));
    let token = secure.token("admin", "another password");
    assert_eq!(secure.ask(&token, "PUT /rest/users/else/password", &json!({"password": "12345678"})).0, 403);
    secure.daemon.done(&["user", "remove", "admin"]);
    assert_eq!((looks(&token), secure.log_in("admin", "another password").0), (401, 401));
}

#[test]
fn whoever_guesses_waits_and_the_unix_socket_does_not() {
    let directory = directory();
    let secure = Secure::start(directory.path(), "");
    secure.add_user("admin", PASSWORD, ADMIN);
    let mut said = Vec::new();
    for name in ["admin", "nobody"].repeat(5) {
        let (status, refusal) = secure.log_in(name, "wrong password");
        assert_eq!(status, 401);
        said.push(refusal["message"].to_string());
    }
    said.dedup();
    assert_eq!(said.len(), 1, "the same words whether or not there is such a user: {said:?}");
    let (status, refusal) = secure.log_in("admin", PASSWORD);
    assert_eq!((status, &refusal["errorCode"]), (429, &json!("TOO_MANY")), "{refusal}");
    let login = json!({"userName": "admin", "password": PASSWORD});
    assert_eq!(secure.daemon.api("POST /rest/login-sessions", &login).0, 200);
}

#[test]
fn idle_and_slow_clients_hurt_nobody() {
    let directory = directory();
    let secure = Secure::start(directory.path(), "");
    secure.add_user("admin", PASSWORD, ADMIN);
    let token = secure.token("admin", PASSWORD);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let silent: Vec<_> = (0..1000).map(|_| TcpStream::connect(secure.tls).unwrap()).collect();
    // More than one address may have, and all of them in the middle of a request.
    let slow: Vec<_> = (0..560)
        .map(|n| {
            let mut stream = secure.connect(rustls::ALL_VERSIONS);
            let rest = if n % 2 == 0 { "X-Slow: " } else { "Content-Length: 1000\r\n\r\n{\"userName\": \"" };
            let request = format!("POST /rest/login-sessions HTTP/1.1\r\nHost: x\r\n{rest}");
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(secure.ask(&token, "GET /rest/os-volumes", &Value::Null).0, 200);
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    drop((silent, slow));
    let (code, log) = secure.daemon.stop();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn a_client_that_sends_all_before_it_reads_hears_why_it_was_refused() {
    let directory = directory();
    let secure = Secure::start(directory.path(), "");
    let mut stream = secure.connect(rustls::ALL_VERSIONS);
    let length = 32 << 20;
    let head = format!(
        "POST /rest/os-volumes HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    for _ in 0..length / (1 << 20) {
        stream.write_all(&vec![b'x'; 1 << 20]).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the end is said, not broken off");
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[test]
fn headers_are_kept_to() {
    let directory = directory();
    let secure = Secure::start(directory.path(), "");
    secure.add_user("admin", PASSWORD, ADMIN);
    let token = secure.token("admin", PASSWORD);
    let ask = |head: &str, headers: &[(&str, &str)]| {
        let headers = [&[("Auth", token.as_str())], headers].concat();
        secure.exchange(head, &headers, &Value::Null)
    };
    assert_eq!(ask("GET /rest/users", &[("X-API-Version", "800")]).0, 200);
    let (status, _, refusal) = ask("GET /rest/users", &[("X-API-Version", "4600")]);
    assert_eq!((status, &refusal["errorSource"]), (400, &json!("X-API-Version")), "{refusal}");
    let (_, head, user) = ask("GET /rest/users/admin", &[]);
    let tag = user["eTag"].as_str().unwrap();
    assert!(head.contains(&format!("etag: \"{tag}\"")), "{head}");
    assert_eq!(ask("GET /rest/users/admin", &[("If-None-Match", &format!("\"{tag}\""))]).0, 304);
    let (status, _, refusal) = ask("DELETE /rest/users/admin", &[("If-Match", "\"1/1\"")]);
    assert_eq!((status, &refusal["errorCode"]), (412, &json!("STALE")), "{refusal}");
    let filter = "GET /rest/users?start=0&count=-1&filter=%22userName%3D%27ADMIN%27%22&filter=enabled%3Dtrue";
    let (_, _, list) = ask(filter, &[]);
    assert_eq!((&list["total"], &list["nextPageUri"]), (&json!(1), &Value::Null), "{list}");
    assert_eq!(ask("GET /rest/users?start=x", &[]).0, 400);
    for head in ["GET /rest/users/%ff", "GET /nonsense", "PATCH /rest/users", "GET /rest/users/%00"] {
        let (status, _, refusal) = ask(head, &[]);
        assert!((400..500).contains(&status) && refusal["message"].is_string(), "{head}: {status} {refusal}");
    }
}

#[test]
fn a_listener_hears_of_changes_and_does_not_hold_up_the_end() {
    let directory = directory();
    let secure = Secure::start(directory.path(), "");
    let mut stream = UnixStream::connect(&secure.daemon.control).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(b"GET /rest/osvol/events HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().starts_with("HTTP/1.1 200"));
    secure.add_user("admin", PASSWORD, ADMIN);
    let data = lines.find_map(|line| line.strip_prefix("data: ").map(str::to_owned)).unwrap();
    let event: Value = serde_json::from_str(&data).unwrap();
    assert_eq!(
        (&event["changeType"], &event["resourceCategory"]),
        (&json!("Created"), &json!("users")),
        "{event}"
    );
    assert_eq!(event["resourceName"], "admin");
    let start = Instant::now();
    assert_eq!(secure.daemon.stop().0, Some(0));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[test]
fn the_boot_listener_serves_boot_scripts_and_nothing_else() {
    let directory = directory();
    let secure = Secure::start(directory.path(), "");
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(secure.boot).unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
            .unwrap();
        rest(&mut stream)
    };
    for machine in
        ["52%3A54%3A00%3A12%3A35%3A10", "52:54:00:12:35:10", "936da01f-9abd-4d9d-80c7-02af85c822a8"]
    {
        let answer = ask(&format!("/boot/{machine}.ipxe"));
        assert!(
            answer.starts_with("HTTP/1.1 200")
                && answer.contains("#!ipxe\necho osvold: no server is known as "),
            "{answer}"
        );
        assert!(answer.ends_with("exit 1\n"), "{answer}");
    }
    for path in
        ["/", "/rest/version", "/rest/os-volumes", "/boot/", "/boot/x.ipxe", "/boot/52:54:00:12:35:10"]
    {
        assert!(ask(path).starts_with("HTTP/1.1 404"), "{path}: {}", ask(path));
    }
}

#[test]
fn a_machine_gets_the_script_of_its_profiles_volume() {
    let directory = directory();
    let secure = Secure::start(directory.path(), "");
    let post = |path: &str, body: Value| {
        let (status, answer) = secure.daemon.api(&format!("POST {path}"), &body);
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    };
    let hardware_type = post("/rest/server-hardware-types", json!({"name": "blade"}));
    let hardware = json!({"name": "bay 3", "serverHardwareTypeUri": hardware_type["uri"], "macAddresses": ["52:54:00:12:35:10"]});
    post("/rest/server-hardware", hardware);
    let mut stream = TcpStream::connect(secure.boot).unwrap();
    stream
        .write_all(b"GET /boot/52-54-00-12-35-10.ipxe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let answer = rest(&mut stream);
    assert!(answer.contains("no profile is assigned to server bay 3"), "{answer}");
    let token_less = secure.ask("", "GET /boot/52:54:00:12:35:10.ipxe", &Value::Null);
    assert_eq!(token_less.0, 401, "on the API a session is needed");
}

#[test]
fn a_password_comes_from_standard_input_and_is_kept_as_a_hash() {
    let directory = directory();
    let secure = Secure::start(directory.path(), "");
    let osvol = |arguments: &[&str], input: &str| {
        let mut command = Command::new(OSVOL);
        command.arg("--control").arg(&secure.daemon.control).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let add = ["user", "add", "alice", "--role", "infrastructure", "--full-name", "Alice A."];
    let output = osvol(&add, "");
    assert!(!output.status.success() && said(&output).contains("--password-stdin"), "{}", said(&output));
    let add = [&add[..], &["--password-stdin"]].concat();
    let output = osvol(&add, "short\n");
    assert!(said(&output).contains("at least 8 characters"), "{}", said(&output));
    let output = osvol(&add, "correct horse\n");
    assert!(output.status.success(), "{}", said(&output));
    secure.token("alice", "correct horse");
    assert!(osvol(&["user", "passwd", "alice", "--password-stdin"], "battery staple\n").status.success());
    secure.token("alice", "battery staple");
    let list = secure.daemon.done(&["user", "list"]);
    assert!(list.contains("alice") && list.contains(ADMIN) && list.contains("Alice A."), "{list}");
    let mut catalog = Vec::new();
    for entry in std::fs::read_dir(secure.daemon.store.join("catalog")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            catalog.extend(std::fs::read(path).unwrap());
        }
    }
    let has = |text: &[u8]| catalog.windows(text.len()).any(|window| window == text);
    assert!(has(b"$argon2id$") && !has(b"battery staple") && !has(b"correct horse"));
}

#[test]
fn the_socket_is_as_open_as_configured() {
    let directory = directory();
    let secure = Secure::start(directory.path(), "others = \"read\"");
    let mode = std::fs::metadata(&secure.daemon.control).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", OSVOL, "--control"])
        .arg(&secure.daemon.control)
        .args(["volume", "create", "v", "--size", "1MiB"])
        .output();
    let Ok(output) = output else { return eprintln!("SKIPPED: setpriv is needed") };
    if said(&output).contains("Permission denied") || said(&output).contains("setpriv:") {
        return eprintln!(
            "SKIPPED: not root, or the socket's directory is closed to others: {}",
            said(&output)
        );
    }
    assert!(said(&output).contains("uid:65534 may not change profiles"), "{}", said(&output));
}
