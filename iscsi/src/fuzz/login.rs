//! The login machine: any requests in any order against any answers of a driver. Nobody gets in without what the driver
//! asked for.
//!
//! ```text
//!   what the driver asks for, then for each request
//!   T, C, CSG, NSG · faults of the header · how much text · text (a line feed ends a pair)
//! ```

use super::oracle::Oracle;
use super::{Meter, Source};
use crate::auth::{AuthenticationPolicy, ChapAlgorithm, ChapCredential, ChapPolicy};
use crate::config::ConnectionConfig;
use crate::connection::Connection;
use crate::error::LoginStatus;
use crate::event::{Event, LoginAuthorization};
use crate::limits::{LOGIN_ROUNDS_MAX, LOGIN_SEGMENT_BYTES_MAX};
use crate::names::{ConnectionId, Isid, PortalGroupTag, Tsih};
use crate::text::{Pairs, append_pair, binary_to_hex};
use crate::wire::{LoginRequest, LoginResponse, Stage, with_data_segment};
use bytes::BytesMut;
use std::io::IoSlice;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

const STAGES: [Stage; 4] = [
    Stage::SecurityNegotiation,
    Stage::LoginOperationalNegotiation,
    Stage::Unknown(2),
    Stage::FullFeaturePhase,
];
const SECRET: &[u8] = b"a-secret-of-16-b";
const CHALLENGE: [u8; 32] = [0xa5; 32];
const IDENTIFIER: u8 = 7;
/// The machine refuses a peer that plays for time; so many requests see it do so.
const REQUESTS_MAX: usize = LOGIN_ROUNDS_MAX + 3;

pub(super) fn run(input: &[u8], _: Meter) {
    let mut source = Source(input);
    let mut login = Login::new(source.byte());
    let mut requests = 0;
    while !source.is_empty() && requests < REQUESTS_MAX && !login.is_over() {
        login.step(&mut source);
        requests += 1;
    }
    login.finish();
}

struct Login {
    connection: Connection,
    oracle: Oracle,
    received: BytesMut,
    now: Instant,
    driver: u8,
    /// A right CHAP answer was sent to a challenge of this login.
    proved: bool,
    asked: usize,
    requests: usize,
    established: bool,
    last: LoginRequest,
}

fn config() -> Arc<ConnectionConfig> {
    static CONFIG: OnceLock<Arc<ConnectionConfig>> = OnceLock::new();
    Arc::clone(CONFIG.get_or_init(Arc::default))
}

fn beginning() -> Instant {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    *BEGINNING.get_or_init(Instant::now)
}

impl Login {
    fn new(driver: u8) -> Self {
        let now = beginning();
        Self {
            connection: Connection::new(config(), now),
            oracle: Oracle::new(),
            received: BytesMut::new(),
            now,
            driver,
            proved: false,
            asked: 0,
            requests: 0,
            established: false,
            last: LoginRequest::default(),
        }
    }

    fn is_over(&self) -> bool {
        self.established || self.connection.is_closed()
    }

    fn wants_chap(&self) -> bool {
        self.driver & 1 != 0
    }

    fn step(&mut self, source: &mut Source<'_>) {
        let (flags, faults, length) = (source.byte(), source.byte(), source.byte());
        let request = LoginRequest {
            transit: flags & 0x80 != 0,
            continues: flags & 0x40 != 0,
            current_stage: STAGES[usize::from(flags >> 2 & 3)],
            next_stage: STAGES[usize::from(flags & 3)],
            version_max: 0,
            version_min: u8::from(faults == 0xf1),
            isid: Isid([0, 2, 0x3d, 0, 0, u8::from(faults == 0xf2)]),
            tsih: Tsih(u16::from(faults == 0xf3)),
            connection_id: ConnectionId(u16::from(faults == 0xf4)),
            ..LoginRequest::default()
        };
        let mut text = Vec::with_capacity(256);
        if faults & 1 != 0 {
            append_pair(&mut text, "InitiatorName", "iqn.2026-01.fuzz:i");
            append_pair(&mut text, "TargetName", "iqn.2026-01.fuzz:t");
        }
        let own = source.bytes(usize::from(length));
        text.extend(own.iter().map(|byte| if *byte == b'\n' { 0 } else { *byte }));
        if faults & 2 != 0 {
            self.prove(&mut text);
        }
        if faults == 0xf5 {
            // More than a text may be, over several requests.
            text.resize(LOGIN_SEGMENT_BYTES_MAX, b'x');
        }
        if faults == 0xf6 {
            self.now += Duration::from_secs(20);
            self.connection.handle_timeout(self.now);
        }
        self.send(request, &text);
        self.drive();
        self.listen();
    }

    /// The right answer to the challenge, if there is one.
    fn prove(&mut self, text: &mut Vec<u8>) {
        let offered = self.oracle.logins.iter().rev().find_map(|(_, text)| {
            Pairs::parse(text).ok().and_then(|pairs| pairs.value("CHAP_A").map(str::to_owned))
        });
        let Some(algorithm) =
            offered.and_then(|code| ChapAlgorithm::ALL.into_iter().find(|a| a.code().to_string() == code))
        else {
            return;
        };
        let challenge_bytes = match algorithm {
            ChapAlgorithm::Md5 => 16,
            ChapAlgorithm::Sha1 => 20,
            ChapAlgorithm::Sha256 | ChapAlgorithm::Sha3_256 => 32,
        };
        let answer = algorithm.answer(IDENTIFIER, SECRET, &CHALLENGE[..challenge_bytes]);
        if text.last().is_some_and(|byte| *byte != 0) {
            text.push(0);
        }
        append_pair(text, "CHAP_N", "alice");
        append_pair(text, "CHAP_R", &binary_to_hex(&answer));
        self.proved = true;
    }

    fn send(&mut self, request: LoginRequest, text: &[u8]) {
        let taken = text.len().min(LOGIN_SEGMENT_BYTES_MAX);
        self.received.extend_from_slice(&with_data_segment(request.emit(), taken));
        self.received.extend_from_slice(&text[..taken]);
        self.received.resize(self.received.len().next_multiple_of(4), 0);
        self.requests += 1;
        self.last = request;
        self.connection.handle_bytes(self.now, &mut self.received);
    }

    /// The driver's answers: yes with or without CHAP, elsewhere, or no.
    fn drive(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            match event {
                Event::LoginRequested(identity) => {
                    self.asked += 1;
                    assert_eq!(self.asked, 1, "{identity:?} is asked for again");
                    assert!(!self.connection.wants_read());
                    self.decide();
                }
                Event::SessionRequested(_) => {
                    assert!(self.proved || !self.wants_chap(), "let in without proof");
                    assert!(self.last.transit, "full feature phase without being asked for");
                    if self.driver & 8 != 0 {
                        self.connection.refuse_login(LoginStatus::TooManyConnections);
                    } else {
                        self.connection.establish_session(Tsih(9));
                    }
                }
                Event::SessionEstablished(session) => {
                    assert_eq!(session.chap_name.is_some(), self.wants_chap());
                    self.established = true;
                }
                Event::Closed(_) => assert!(self.connection.is_closed()),
                other => unreachable!("{other:?} during a login"),
            }
        }
    }

    fn decide(&mut self) {
        match self.driver >> 1 & 3 {
            0 | 1 => self.connection.authorize_login(self.authorization()),
            2 => self.connection.redirect_login("192.0.2.7:3260,1", self.driver & 16 != 0),
            _ => self.connection.refuse_login(LoginStatus::NotFound),
        }
    }

    fn authorization(&self) -> LoginAuthorization {
        let credential = |name: &str| ChapCredential { name: name.to_owned(), secret: SECRET.to_vec() };
        let policy = ChapPolicy {
            users: vec![credential("alice")],
            mutual: (self.driver & 0x20 != 0)
                .then(|| ChapCredential { name: "target".to_owned(), secret: b"another-secret".to_vec() }),
            algorithms: if self.driver & 0x40 != 0 { vec![ChapAlgorithm::Sha256] } else { Vec::new() },
        };
        LoginAuthorization {
            authentication: if self.wants_chap() {
                AuthenticationPolicy::Chap(policy)
            } else {
                AuthenticationPolicy::None
            },
            chap_identifier: IDENTIFIER,
            chap_challenge: CHALLENGE,
            portal_group_tag: PortalGroupTag(1),
            target_alias: (self.driver & 0x80 != 0).then(|| "a target".to_owned()),
        }
    }

    fn listen(&mut self) {
        let mut slices = [IoSlice::new(&[]); 16];
        let count = self.connection.transmit_slices(&mut slices);
        let mut sent = 0;
        for slice in &slices[..count] {
            self.oracle.hear(slice);
            sent += slice.len();
        }
        self.connection.advance_transmit(sent);
        assert_eq!(self.connection.transmit_bytes(), 0, "more than a few answers to one request");
        let before = self.oracle.logins.len();
        self.oracle.listen();
        assert!(self.oracle.logins.len() <= before + 1, "two answers to one request");
        if let Some((response, text)) = self.oracle.logins.get(before) {
            self.check_response(*response, text);
        }
        self.connection.audit();
    }

    /// §11.13: what a response says, in terms of the request.
    fn check_response(&self, response: LoginResponse, text: &[u8]) {
        assert_eq!(response.is_success(), !self.connection.is_closed());
        assert_eq!(response.isid, self.last.isid);
        if !response.is_success() {
            return;
        }
        assert_eq!(response.current_stage, self.last.current_stage);
        assert!(!response.transit || self.last.transit, "a stage ends that the initiator does not end");
        assert!(!response.transit || response.next_stage == self.last.next_stage);
        assert!(!response.transit || !response.continues);
        assert!(text.len() <= LOGIN_SEGMENT_BYTES_MAX);
        if response.transit && response.next_stage == Stage::FullFeaturePhase {
            assert!(self.established && response.tsih == Tsih(9));
        }
        if !response.continues
            && !text.is_empty()
            && !self.oracle.logins.iter().any(|(other, _)| other.continues)
        {
            assert!(Pairs::parse(text).is_ok(), "an answer that is no text");
        }
    }

    fn finish(&mut self) {
        assert!(self.requests < LOGIN_ROUNDS_MAX + 2 || self.is_over(), "a login goes on for ever");
        if !self.is_over() {
            let deadline = self.connection.poll_timeout();
            self.now += Duration::from_secs(60);
            assert!(deadline.is_some_and(|at| at <= self.now), "a login without end");
            self.connection.handle_timeout(self.now);
            assert!(self.connection.is_closed());
        }
    }
}
