//! What real initiators said, said again: each capture in `captures/` is played to a fresh connection, at several
//! segmentations, and what the connection answers must mean what was answered then. Captures are made by
//! `tests/rig/capture.py`; CHAP identifiers and challenges, TSIHs and the results of commands are taken from them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's helpers may fail")]

use std::collections::{HashMap, VecDeque};
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use iscsi::auth::{AuthenticationPolicy, ChapCredential, ChapPolicy};
use iscsi::text::{Pairs, decode_binary};
use iscsi::wire::{
    Bhs, DataIn, DataOut, Deframer, LoginRequest, LoginResponse, LogoutResponse, NopIn, Opcode, Pdu,
    ReadyToTransfer, Residual, ScsiResponsePdu, Stage, TextResponse, data_segment_bytes,
};
use iscsi::{
    Command, Connection, ConnectionConfig, Event, InitiatorTaskTag, IscsiName, LoginAuthorization,
    ScsiResponse, TargetRecord, TargetTransferTag,
};

const STEPS: [usize; 6] = [1, 7, 48, 53, 1000, usize::MAX];
const HEADER_BYTES: usize = 48;

/// A line of a capture.
#[derive(Clone)]
struct Line {
    by_initiator: bool,
    bytes: Vec<u8>,
}

struct Capture {
    header: String,
    lines: Vec<Line>,
}

impl Capture {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let header: String = text.lines().filter(|line| line.starts_with('#')).collect();
        let lines = text.lines().filter_map(|line| {
            let (direction, hex) = line.split_at_checked(2)?;
            let by_initiator = match direction {
                "> " => true,
                "< " => false,
                _ => return None,
            };
            let hex = hex.trim_end_matches('.').as_bytes();
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
            Some(Line { by_initiator, bytes: hex.chunks(2).map(byte).collect() })
        });
        let lines: Vec<Line> = lines.collect();
        assert!(lines.len() > 3 && text.matches("\nconnection ").count() == 1, "{}", path.display());
        Self { header, lines }
    }

    /// Names and secrets: "CHAP: the initiator is A with B, the target C with D".
    fn authentication(&self) -> AuthenticationPolicy {
        let Some((_, terms)) = self.header.split_once("# CHAP: the initiator is ") else {
            return AuthenticationPolicy::None;
        };
        let credential = |text: &str| {
            let (name, secret) = text.split_once(" with ").unwrap();
            let secret = secret.split(['#', ',']).next().unwrap();
            ChapCredential { name: name.into(), secret: secret.as_bytes().into() }
        };
        let (initiator, target) = terms.split_once(", the target ").unwrap();
        let (users, mutual) = (vec![credential(initiator)], Some(credential(target)));
        AuthenticationPolicy::Chap(ChapPolicy { users, mutual, algorithms: Vec::new() })
    }

    fn answered_logins(&self) -> impl Iterator<Item = (LoginResponse, Pairs)> {
        let logins = self.lines.iter().filter(|line| !line.by_initiator && line.bytes[0] == 0x23);
        logins.map(|line| {
            let bhs = header(&line.bytes);
            let text = &line.bytes[HEADER_BYTES..][..data_segment_bytes(&bhs)];
            (LoginResponse::parse(&bhs), Pairs::parse(text).unwrap())
        })
    }

    /// What the target drew by lot then.
    fn authorization(&self) -> LoginAuthorization {
        let mut authorization =
            LoginAuthorization { authentication: self.authentication(), ..LoginAuthorization::default() };
        for (_, pairs) in self.answered_logins() {
            if let (Some(identifier), Some(challenge)) = (pairs.value("CHAP_I"), pairs.value("CHAP_C")) {
                let challenge = decode_binary(challenge).unwrap();
                authorization.chap_identifier = identifier.parse().unwrap();
                authorization.chap_challenge[..challenge.len()].copy_from_slice(&challenge);
            }
        }
        authorization
    }
}

fn header(bytes: &[u8]) -> Bhs {
    bytes[..HEADER_BYTES].try_into().unwrap()
}

fn tag(bhs: &Bhs) -> InitiatorTaskTag {
    NopIn::parse(bhs).initiator_task_tag
}

/// A connection that hears a capture.
struct Replay<'a> {
    capture: &'a Capture,
    connection: Connection,
    deframer: Deframer,
    step: usize,
    received: BytesMut,
    sent: BytesMut,
    answers: VecDeque<Pdu>,
    waiting: HashMap<u32, Command>,
    /// Write data that the initiator has sent for a tag.
    written: HashMap<u32, Vec<u8>>,
    transfer_tags: HashMap<u32, u32>,
    log: Log,
}

/// What a replay is asked about afterwards.
#[derive(Default)]
struct Log {
    logins: usize,
    commands: usize,
    data_out_bytes: Vec<usize>,
    longest_write: usize,
    logged_out: bool,
    header_digest: bool,
    data_digest: bool,
}

fn replay(capture: &Capture, step: usize) -> Log {
    let connection = Connection::new(Arc::new(ConnectionConfig::default()), Instant::now());
    let deframer = Deframer { header_digest: false, data_digest: false, segment_bytes_max: 1 << 24 };
    let mut replay = Replay {
        capture,
        connection,
        deframer,
        step,
        received: BytesMut::new(),
        sent: BytesMut::new(),
        answers: VecDeque::new(),
        waiting: HashMap::new(),
        written: HashMap::new(),
        transfer_tags: HashMap::new(),
        log: Log::default(),
    };
    for (at, line) in capture.lines.iter().enumerate() {
        if line.by_initiator { replay.say(&line.bytes) } else { replay.expect(at, &line.bytes) }
    }
    replay.skip_window_news();
    assert!(replay.answers.is_empty(), "more is answered than was: {:?}", replay.answers);
    let agreed = replay.connection.parameters();
    (replay.log.header_digest, replay.log.data_digest) = (agreed.header_digest, agreed.data_digest);
    replay.log
}

impl Replay<'_> {
    // ---- the initiator --------------------------------------------------------------------------------------

    fn say(&mut self, captured: &[u8]) {
        let mut bytes = captured.to_vec();
        let bhs = header(&bytes);
        let data_begin =
            HEADER_BYTES + 4 * usize::from(bhs[4]) + if self.deframer.header_digest { 4 } else { 0 };
        let data = bytes[data_begin..][..data_segment_bytes(&bhs)].to_vec();
        match Opcode::of(&bhs) {
            Opcode::LoginRequest => self.log.logins += 1,
            Opcode::ScsiCommand => {
                self.log.commands += 1;
                self.written.insert(tag(&bhs).0, data);
            }
            Opcode::DataOut => {
                self.log.data_out_bytes.push(data.len());
                self.written.get_mut(&tag(&bhs).0).unwrap().extend_from_slice(&data);
                self.rename_transfer(&mut bytes);
            }
            _ => {}
        }
        for piece in bytes.chunks(self.step.min(bytes.len())) {
            self.received.extend_from_slice(piece);
            self.connection.handle_bytes(Instant::now(), &mut self.received);
            self.take_events();
        }
        assert!(self.received.is_empty(), "it is all understood");
    }

    /// Transfer tags are the target's to choose.
    fn rename_transfer(&self, bytes: &mut [u8]) {
        let data_out = DataOut::parse(&header(bytes));
        let captured = data_out.target_transfer_tag;
        if captured == TargetTransferTag::RESERVED {
            return;
        }
        bytes[20..24].copy_from_slice(&self.transfer_tags[&captured.0].to_be_bytes());
        if self.deframer.header_digest {
            let digest = crc32c::crc32c(&bytes[..HEADER_BYTES]);
            bytes[HEADER_BYTES..][..4].copy_from_slice(&digest.to_le_bytes());
        }
    }

    // ---- the driver -----------------------------------------------------------------------------------------

    fn take_events(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            match event {
                Event::LoginRequested(_) => self.connection.authorize_login(self.capture.authorization()),
                Event::SessionRequested(_) => {
                    let (last, _) = self.capture.answered_logins().last().unwrap();
                    self.connection.establish_session(last.tsih);
                }
                Event::Command(command) => self.take_command(command),
                Event::SendTargets(_) => {}
                Event::Logout(_) => self.log.logged_out = true,
                Event::SessionEstablished(_) | Event::Closed(_) => {}
                Event::TaskManagement(request) => {
                    self.connection.complete_task_management(request.id, request.proposed);
                }
            }
        }
    }

    fn take_command(&mut self, command: Command) {
        // The newest command of a tag is the one that is waited for; its data is what was said last.
        let bytes = command.data_out.to_bytes();
        let tag =
            self.written.iter().find(|(tag, data)| !self.waiting.contains_key(*tag) && ***data == *bytes);
        let tag = *tag.expect("the data of one of the commands, whole and in order").0;
        if command.writes {
            assert_eq!(bytes.len(), command.expected_data_transfer_bytes as usize);
            self.log.longest_write = self.log.longest_write.max(bytes.len());
        }
        self.waiting.insert(tag, command);
    }

    /// Ends a command as it ended then.
    fn complete(&mut self, at: usize, tag: u32) {
        let Some(command) = self.waiting.remove(&tag) else { return };
        let mut response = ScsiResponse::default();
        let (mut data, mut residual) = (Vec::new(), Residual::Exact);
        for line in self.capture.lines[at..].iter().filter(|line| !line.by_initiator) {
            let bhs = header(&line.bytes);
            if self::tag(&bhs).0 != tag {
                continue;
            }
            let segment = self.segment(&line.bytes);
            if Opcode::of(&bhs) == Opcode::DataIn {
                data.extend_from_slice(&segment);
                data.resize(DataIn::parse(&bhs).buffer_offset as usize + data_segment_bytes(&bhs), 0);
                if DataIn::parse(&bhs).status.is_some() {
                    break;
                }
            } else {
                let pdu = ScsiResponsePdu::parse(&bhs);
                (response.status, residual) = (pdu.status, pdu.residual);
                response.sense = segment.get(2..).map(Bytes::copy_from_slice).unwrap_or_default();
                break;
            }
        }
        let expected = u64::from(command.expected_data_transfer_bytes);
        response.transfer_bytes = match residual {
            Residual::Exact => expected,
            Residual::Underflow(count) => expected - u64::from(count),
            Residual::Overflow(count) => expected + u64::from(count),
        };
        response.data_in = Bytes::from(data).into();
        self.connection.complete_task(command.task, response);
        self.written.remove(&tag);
    }

    /// The data of a captured PDU, as much of it as was kept.
    fn segment(&self, bytes: &[u8]) -> Vec<u8> {
        let bhs = header(bytes);
        let has_digest = self.deframer.header_digest && Opcode::of(&bhs) != Opcode::LoginResponse;
        let begin = HEADER_BYTES + if has_digest { 4 } else { 0 };
        let length = data_segment_bytes(&bhs);
        bytes[begin..].iter().take(length).copied().collect()
    }

    // ---- the target's answers -------------------------------------------------------------------------------

    fn pull(&mut self) {
        loop {
            let mut slices = [IoSlice::new(&[]); 8];
            let count = self.connection.transmit_slices(&mut slices);
            slices[..count].iter().for_each(|slice| self.sent.extend_from_slice(slice));
            let bytes = slices[..count].iter().map(|slice| slice.len()).sum();
            if bytes == 0 {
                break;
            }
            self.connection.advance_transmit(bytes);
        }
        while let Some(pdu) = self.deframer.next(&mut self.sent).unwrap() {
            assert!(pdu.data_is_intact);
            let is_last_login = Opcode::of(&pdu.bhs) == Opcode::LoginResponse
                && LoginResponse::parse(&pdu.bhs).transit
                && LoginResponse::parse(&pdu.bhs).next_stage == Stage::FullFeaturePhase;
            if is_last_login {
                let agreed = self.connection.parameters();
                (self.deframer.header_digest, self.deframer.data_digest) =
                    (agreed.header_digest, agreed.data_digest);
            }
            self.answers.push_back(pdu);
        }
    }

    fn skip_window_news(&mut self) {
        self.pull();
        let is_news =
            |pdu: &Pdu| Opcode::of(&pdu.bhs) == Opcode::NopIn && tag(&pdu.bhs) == InitiatorTaskTag::RESERVED;
        while self.answers.front().is_some_and(is_news) {
            self.answers.pop_front();
        }
    }

    fn expect(&mut self, at: usize, captured: &[u8]) {
        let bhs = header(captured);
        self.skip_window_news();
        let opcode = Opcode::of(&bhs);
        if matches!(opcode, Opcode::DataIn | Opcode::ScsiResponse) {
            self.complete(at, tag(&bhs).0);
        }
        let data = self.segment(captured);
        if opcode == Opcode::TextResponse && self.answers.is_empty() {
            self.connection.complete_send_targets(&records(&data));
        }
        self.skip_window_news();
        let answer = self.answers.pop_front();
        let answer = answer.unwrap_or_else(|| panic!("line {at}: no {opcode:?} for tag {:?}", tag(&bhs)));
        assert_eq!(Opcode::of(&answer.bhs), opcode, "line {at}");
        assert_eq!(tag(&answer.bhs), tag(&bhs), "line {at}");
        self.compare(at, &bhs, &data, &answer);
    }

    /// Everything that has a meaning; the window depends on how commands and answers met on their way.
    fn compare(&mut self, at: usize, captured: &Bhs, data: &[u8], answer: &Pdu) {
        let (given, then) = (&answer.bhs, captured);
        match Opcode::of(captured) {
            Opcode::LoginResponse => {
                let (a, b) = (LoginResponse::parse(given), LoginResponse::parse(then));
                assert_eq!(
                    (a.transit, a.current_stage, a.isid, a.tsih),
                    (b.transit, b.current_stage, b.isid, b.tsih)
                );
                assert_eq!((a.next_stage, a.status, a.continues), (b.next_stage, b.status, b.continues));
                assert_eq!(a.sequence.stat_sn, b.sequence.stat_sn);
                assert_eq!(sorted(&answer.data), sorted(data), "line {at}");
            }
            Opcode::DataIn => {
                let (a, b) = (DataIn::parse(given), DataIn::parse(then));
                assert_eq!((a.status, a.is_final, a.data_sn), (b.status, b.is_final, b.data_sn), "line {at}");
                assert_eq!((a.buffer_offset, a.residual), (b.buffer_offset, b.residual), "line {at}");
                assert_eq!(answer.data.len(), data_segment_bytes(then), "line {at}");
                assert!(answer.data.starts_with(data), "line {at}");
                if a.status.is_some() {
                    assert_eq!(a.sequence.stat_sn, b.sequence.stat_sn, "line {at}");
                }
            }
            Opcode::ReadyToTransfer => {
                let (a, b) = (ReadyToTransfer::parse(given), ReadyToTransfer::parse(then));
                assert_eq!(
                    (a.r2t_sn, a.buffer_offset, a.desired_bytes),
                    (b.r2t_sn, b.buffer_offset, b.desired_bytes)
                );
                assert_eq!((a.lun, a.sequence.stat_sn), (b.lun, b.sequence.stat_sn));
                self.transfer_tags.insert(b.target_transfer_tag.0, a.target_transfer_tag.0);
            }
            Opcode::ScsiResponse => {
                let (a, b) = (ScsiResponsePdu::parse(given), ScsiResponsePdu::parse(then));
                assert_eq!(
                    (a.response, a.status, a.residual),
                    (b.response, b.status, b.residual),
                    "line {at}"
                );
                assert_eq!(a.sequence.stat_sn, b.sequence.stat_sn, "line {at}");
                assert_eq!(&answer.data[..], data, "line {at}");
            }
            Opcode::NopIn => {
                let (a, b) = (NopIn::parse(given), NopIn::parse(then));
                assert_eq!(
                    (a.target_transfer_tag, a.sequence.stat_sn),
                    (b.target_transfer_tag, b.sequence.stat_sn)
                );
                assert_eq!(&answer.data[..], data);
            }
            Opcode::TextResponse => {
                let (a, b) = (TextResponse::parse(given), TextResponse::parse(then));
                assert_eq!((a.is_final, a.continues), (b.is_final, b.continues));
                assert_eq!(&answer.data[..], data);
            }
            Opcode::LogoutResponse => {
                let (a, b) = (LogoutResponse::parse(given), LogoutResponse::parse(then));
                assert_eq!(
                    (a.response, a.time2wait, a.time2retain),
                    (b.response, b.time2wait, b.time2retain)
                );
                assert_eq!(a.sequence.stat_sn, b.sequence.stat_sn);
            }
            other => panic!("line {at}: {other:?}"),
        }
    }
}

fn sorted(text: &[u8]) -> Vec<(String, String)> {
    let pairs = Pairs::parse(text).unwrap();
    let mut pairs: Vec<_> = pairs.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    pairs.sort();
    pairs
}

fn records(text: &[u8]) -> Vec<TargetRecord> {
    let mut records: Vec<TargetRecord> = Vec::new();
    for (key, value) in Pairs::parse(text).unwrap().iter() {
        match key {
            "TargetName" => {
                records.push(TargetRecord { name: IscsiName::parse(value).unwrap(), addresses: Vec::new() });
            }
            _ => records.last_mut().unwrap().addresses.push(value.to_owned()),
        }
    }
    records
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures")
}

fn capture(name: &str) -> Capture {
    Capture::read(&folder().join(name))
}

#[test]
fn every_capture_is_answered_as_it_was() {
    let mut count = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let capture = Capture::read(&path);
        for step in STEPS {
            println!("{} in pieces of {step}", path.display());
            let log = replay(&capture, step);
            assert!(log.logins > 0);
        }
        count += 1;
    }
    assert!(count >= 9, "{count} captures");
}

/// COMPAT L1, P1: two round trips to full feature phase, and writes of 512 bytes a PDU.
#[test]
fn ipxe_needs_two_round_trips_and_writes_512_bytes_at_a_time() {
    let log = replay(&capture("ipxe.txt"), usize::MAX);
    assert_eq!(log.logins, 2);
    assert!(!log.data_out_bytes.is_empty() && log.data_out_bytes.iter().all(|bytes| *bytes == 512));
    assert_eq!(log.longest_write, 2048);
    assert!(!log.logged_out, "it never logs out");
}

/// COMPAT L4: iPXE's T bit is set in every round of CHAP.
#[test]
fn ipxe_sets_the_t_bit_while_chap_is_under_way() {
    let capture = capture("ipxe-mutual-chap.txt");
    let is_login = |line: &&Line| line.by_initiator && line.bytes[0] & 0x3f == 3;
    let requests: Vec<_> =
        capture.lines.iter().filter(is_login).map(|line| LoginRequest::parse(&header(&line.bytes))).collect();
    assert!(requests.len() > 2 && requests.iter().all(|request| request.transit));
    assert_eq!(replay(&capture, 1).logins, requests.len());
}

#[test]
fn digests_are_where_they_were_agreed() {
    let log = replay(&capture("open-iscsi-digests.txt"), 53);
    assert!(log.header_digest && log.data_digest && log.logged_out);
    let log = replay(&capture("qemu-header-digest.txt"), 53);
    assert!(log.header_digest && !log.data_digest);
}

/// A byte that is another one is noticed: the comparison does compare.
#[test]
fn a_changed_answer_is_noticed() {
    let mut changed = capture("ipxe.txt");
    let line = changed.lines.iter_mut().rfind(|line| line.bytes[0] == 0x25).unwrap();
    line.bytes[39] ^= 1;
    assert!(std::panic::catch_unwind(|| replay(&changed, usize::MAX)).is_err());
}
