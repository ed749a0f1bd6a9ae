//! A client of the API over TLS: real sockets, real rustls, the daemon's own certificate.

#![allow(unreachable_pub, reason = "a part of one test file")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on panics")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use serde_json::Value;

use super::support::{Daemon, OSVOLD};

pub type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon with the API over TLS and boot scripts on ports of its own.
pub struct Secure {
    pub daemon: Daemon,
    pub tls: SocketAddr,
    pub boot: SocketAddr,
}

impl Secure {
    pub fn start(directory: &Path, control: &str) -> Self {
        let shown = directory.display();
        let config = directory.join("osvold.toml");
        let text = format!(
            "[store]\npath = \"{shown}/store\"\n[control]\nsocket = \"{shown}/control.sock\"\n{control}\n\
             [control.tls]\nlisten = [\"127.0.0.1:0\"]\n[boot]\nlisten = [\"127.0.0.1:0\"]\n\
             [iscsi]\nportals = [\"127.0.0.1:0\"]\n"
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(OSVOLD);
        command.arg("--config").arg(&config);
        let daemon = Daemon::spawn(command, directory);
        let after = |words: &str| {
            let line = daemon.before.lines().find(|line| line.contains(words)).expect(words);
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        let (tls, boot) = (after("the API over TLS listens on"), after("boot scripts are served on"));
        Self { daemon, tls, boot }
    }

    /// A connection whose certificate is the one in the store.
    pub fn connect(&self, versions: &[&'static SupportedProtocolVersion]) -> Tls {
        let mut roots = RootCertStore::empty();
        let own = self.daemon.store.join("tls/certificate.pem");
        roots.add(CertificateDer::from_pem_file(own).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
        let connection = ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap();
        let stream = TcpStream::connect(self.tls).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        StreamOwned::new(connection, stream)
    }

    /// One request: status, headers, body.
    pub fn exchange(&self, head: &str, headers: &[(&str, &str)], body: &Value) -> (u16, String, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let mut stream = self.connect(rustls::ALL_VERSIONS);
        let length = body.len();
        let request = format!(
            "{head} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let answer = rest(&mut stream);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// The same with a session, or none.
    pub fn ask(&self, token: &str, head: &str, body: &Value) -> (u16, Value) {
        let headers = if token.is_empty() { vec![] } else { vec![("auth", token)] };
        let (status, _, body) = self.exchange(head, &headers, body);
        (status, body)
    }

    pub fn log_in(&self, name: &str, password: &str) -> (u16, Value) {
        let body = serde_json::json!({"userName": name, "password": password, "authLoginDomain": "LOCAL", "loginMsgAck": true});
        self.ask("", "POST /rest/login-sessions", &body)
    }

    /// A session that is there.
    pub fn token(&self, name: &str, password: &str) -> String {
        let (status, session) = self.log_in(name, password);
        assert_eq!(status, 200, "{session}");
        session["sessionID"].as_str().unwrap().to_owned()
    }

    /// A user, made over the Unix socket.
    pub fn add_user(&self, name: &str, password: &str, role: &str) {
        let body = serde_json::json!({"userName": name, "password": password, "roles": [role]});
        let (status, user) = self.daemon.api("POST /rest/users", &body);
        assert_eq!(status, 201, "{user}");
        assert!(!user.to_string().contains("argon2") && !user.to_string().contains(password), "{user}");
    }
}

/// What comes until the other side ends; a close without TLS's own goodbye ends as well.
pub fn rest(stream: &mut impl Read) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}
