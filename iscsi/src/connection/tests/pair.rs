//! A target connection and the initiator's end of it, joined by two byte buffers.
//!
//! Every PDU of the target passes a validator: StatSN without gaps, ExpCmdSN and MaxCmdSN never moving back, reserved
//! tags where they belong.

use super::super::Connection;
use crate::config::ConnectionConfig;
use crate::event::{Command, Event, LoginAuthorization, ScsiResponse};
use crate::limits::RECEIVE_SEGMENT_BYTES_MAX;
use crate::names::{InitiatorTaskTag, Isid, LogicalUnitNumber, TargetTransferTag, TaskId, Tsih};
use crate::payload::Payload;
use crate::serial::SerialNumber;
use crate::text::append_pair;
use crate::wire::*;
use bytes::{Bytes, BytesMut};
use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) const INITIATOR: &str = "iqn.2026-01.test:initiator";
pub(super) const TARGET: &str = "iqn.2026-01.test:target";

/// The operational keys of open-iscsi.
pub(super) const OPEN_ISCSI: &[(&str, &str)] = &[
    ("HeaderDigest", "None"),
    ("DataDigest", "None"),
    ("DefaultTime2Wait", "2"),
    ("DefaultTime2Retain", "0"),
    ("IFMarker", "No"),
    ("OFMarker", "No"),
    ("ErrorRecoveryLevel", "0"),
    ("InitialR2T", "No"),
    ("ImmediateData", "Yes"),
    ("MaxBurstLength", "16776192"),
    ("FirstBurstLength", "262144"),
    ("MaxOutstandingR2T", "1"),
    ("MaxConnections", "1"),
    ("DataPDUInOrder", "Yes"),
    ("DataSequenceInOrder", "Yes"),
    ("MaxRecvDataSegmentLength", "262144"),
];

pub(super) struct Pair {
    pub(super) target: Connection,
    pub(super) now: Instant,
    /// Bytes are delivered to the target in pieces of this size.
    pub(super) step: usize,
    to_target: BytesMut,
    from_target: BytesMut,
    deframer: Deframer,
    pub(super) header_digest: bool,
    pub(super) data_digest: bool,
    pub(super) cmd_sn: SerialNumber,
    pub(super) exp_stat_sn: Option<SerialNumber>,
    pub(super) exp_cmd_sn: SerialNumber,
    pub(super) max_cmd_sn: SerialNumber,
    next_tag: u32,
    event_left: Option<Event>,
}

impl Pair {
    pub(super) fn new() -> Self {
        Self::with_config(ConnectionConfig::default())
    }

    pub(super) fn with_config(config: ConnectionConfig) -> Self {
        let now = Instant::now();
        Self {
            target: Connection::new(Arc::new(config), now),
            now,
            step: usize::MAX,
            to_target: BytesMut::new(),
            from_target: BytesMut::new(),
            deframer: Deframer {
                header_digest: false,
                data_digest: false,
                segment_bytes_max: RECEIVE_SEGMENT_BYTES_MAX,
            },
            header_digest: false,
            data_digest: false,
            cmd_sn: SerialNumber(1),
            exp_stat_sn: None,
            exp_cmd_sn: SerialNumber(1),
            max_cmd_sn: SerialNumber(1),
            next_tag: 1,
            event_left: None,
        }
    }

    /// A session with these operational keys, in full feature phase.
    pub(super) fn established(keys: &[(&str, &str)]) -> Self {
        let mut pair = Self::new();
        pair.establish(keys);
        pair
    }

    pub(super) fn establish(&mut self, keys: &[(&str, &str)]) {
        let mut all = vec![("InitiatorName", INITIATOR), ("TargetName", TARGET), ("SessionType", "Normal")];
        all.extend_from_slice(keys);
        let response = self.log_in_once(&all);
        assert!(response.0.transit && response.0.is_success(), "{response:?}");
        let agreed = self.target.parameters();
        self.header_digest = agreed.header_digest;
        self.data_digest = agreed.data_digest;
        self.deframer.header_digest = agreed.header_digest;
        self.deframer.data_digest = agreed.data_digest;
        self.cmd_sn = response.0.sequence.exp_cmd_sn;
        assert!(matches!(self.target.poll_event(), Some(Event::SessionEstablished(_))));
    }

    /// One login request from the operational stage to full feature phase, all events answered with yes.
    pub(super) fn log_in_once(&mut self, keys: &[(&str, &str)]) -> (LoginResponse, String) {
        let request = LoginRequest {
            transit: true,
            current_stage: Stage::LoginOperationalNegotiation,
            next_stage: Stage::FullFeaturePhase,
            ..self.login_request()
        };
        self.send(request.emit(), &text(keys));
        self.answer_login();
        self.login_response()
    }

    pub(super) fn login_request(&self) -> LoginRequest {
        LoginRequest {
            isid: Isid([0, 2, 0x3d, 0, 0, 1]),
            initiator_task_tag: InitiatorTaskTag(9),
            cmd_sn: self.cmd_sn,
            ..LoginRequest::default()
        }
    }

    /// Answers login events with yes until there are none.
    pub(super) fn answer_login(&mut self) {
        self.answer_login_with(&LoginAuthorization::default());
    }

    pub(super) fn answer_login_with(&mut self, authorization: &LoginAuthorization) {
        loop {
            match self.target.poll_event() {
                Some(Event::LoginRequested(_)) => self.target.authorize_login(authorization.clone()),
                Some(Event::SessionRequested(_)) => {
                    self.target.establish_session(Tsih(7));
                    return;
                }
                other => {
                    self.event_left = other;
                    return;
                }
            }
        }
    }

    /// The next event, or the one that answering a login left.
    pub(super) fn event(&mut self) -> Option<Event> {
        self.event_left.take().or_else(|| self.target.poll_event())
    }

    pub(super) fn login_response(&mut self) -> (LoginResponse, String) {
        let pdu = self.receive().expect("a login response");
        assert_eq!(Opcode::of(&pdu.bhs), Opcode::LoginResponse);
        (LoginResponse::parse(&pdu.bhs), String::from_utf8(pdu.data.to_vec()).unwrap())
    }

    /// Sends a PDU, with digests as agreed, in pieces of `step`.
    pub(super) fn send(&mut self, bhs: Bhs, data: &[u8]) {
        let frame = self.frame(bhs, data);
        self.deliver(&frame);
    }

    pub(super) fn frame(&self, bhs: Bhs, data: &[u8]) -> Vec<u8> {
        let mut frame = with_data_segment(bhs, data.len()).to_vec();
        if self.header_digest {
            frame.extend_from_slice(&crc32c::crc32c(&frame).to_le_bytes());
        }
        let begin = frame.len();
        frame.extend_from_slice(data);
        frame.resize(frame.len() + padding(data.len()), 0);
        if self.data_digest && !data.is_empty() {
            let digest = crc32c::crc32c(&frame[begin..]).to_le_bytes();
            frame.extend_from_slice(&digest);
        }
        frame
    }

    pub(super) fn deliver(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(self.step.min(bytes.len()).max(1)) {
            self.to_target.extend_from_slice(piece);
            self.target.handle_bytes(self.now, &mut self.to_target);
        }
    }

    /// Lets the target look again at bytes that it left.
    pub(super) fn nudge(&mut self) {
        self.target.handle_bytes(self.now, &mut self.to_target);
    }

    pub(super) fn undelivered(&self) -> usize {
        self.to_target.len()
    }

    /// The target's next PDU.
    pub(super) fn receive(&mut self) -> Option<Pdu> {
        self.transfer();
        let pdu = self.deframer.next(&mut self.from_target).expect("the target's framing is right")?;
        assert!(pdu.data_is_intact, "the target's data digest is right");
        self.validate(&pdu);
        Some(pdu)
    }

    pub(super) fn receive_all(&mut self) -> Vec<Pdu> {
        std::iter::from_fn(|| self.receive()).collect()
    }

    fn transfer(&mut self) {
        loop {
            let mut slices = [IoSlice::new(&[]); 8];
            let count = self.target.transmit_slices(&mut slices);
            let mut sent = 0;
            for slice in &slices[..count] {
                self.from_target.extend_from_slice(slice);
                sent += slice.len();
            }
            if sent == 0 {
                return;
            }
            self.target.advance_transmit(sent);
        }
    }

    fn validate(&mut self, pdu: &Pdu) {
        let opcode = Opcode::of(&pdu.bhs);
        let sequence = NopIn::parse(&pdu.bhs).sequence;
        let nop = NopIn::parse(&pdu.bhs);
        let uses_stat_sn = match opcode {
            Opcode::DataIn => DataIn::parse(&pdu.bhs).status.is_some(),
            Opcode::ReadyToTransfer => false,
            Opcode::NopIn => nop.initiator_task_tag != InitiatorTaskTag::RESERVED,
            _ => true,
        };
        let carries_stat_sn = uses_stat_sn || opcode != Opcode::DataIn;
        if let Some(expected) = self.exp_stat_sn
            && carries_stat_sn
        {
            assert_eq!(sequence.stat_sn, expected, "StatSN of {opcode:?}");
        }
        if uses_stat_sn {
            self.exp_stat_sn = Some(sequence.stat_sn.next());
        }
        assert!(!sequence.exp_cmd_sn.is_before(self.exp_cmd_sn), "ExpCmdSN moves back in {opcode:?}");
        assert!(!sequence.max_cmd_sn.is_before(self.max_cmd_sn), "MaxCmdSN moves back in {opcode:?}");
        self.exp_cmd_sn = sequence.exp_cmd_sn;
        self.max_cmd_sn = sequence.max_cmd_sn;
    }

    pub(super) fn tag(&mut self) -> InitiatorTaskTag {
        self.next_tag += 1;
        InitiatorTaskTag(self.next_tag)
    }

    /// A numbered command header with the next CmdSN and a fresh tag.
    pub(super) fn command(&mut self, reads: bool, writes: bool, expected_bytes: u32) -> ScsiCommand {
        let initiator_task_tag = self.tag();
        let cdb = [if writes { 0x2a } else { 0x28 }; 16];
        let command = ScsiCommand {
            immediate: false,
            is_final: true,
            reads,
            writes,
            attribute: crate::event::TaskAttribute::Simple,
            lun: LogicalUnitNumber::ZERO,
            initiator_task_tag,
            expected_data_transfer_bytes: expected_bytes,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn.unwrap_or_default(),
            cdb,
        };
        self.cmd_sn = self.cmd_sn.next();
        command
    }

    pub(super) fn send_read(&mut self, expected_bytes: u32) -> InitiatorTaskTag {
        let command = self.command(true, false, expected_bytes);
        self.send(command.emit(), &[]);
        command.initiator_task_tag
    }

    pub(super) fn data_out(
        &self,
        tag: InitiatorTaskTag,
        ttt: TargetTransferTag,
        sn: u32,
        offset: u32,
        last: bool,
    ) -> Bhs {
        DataOut {
            is_final: last,
            lun: LogicalUnitNumber::ZERO,
            initiator_task_tag: tag,
            target_transfer_tag: ttt,
            exp_stat_sn: SerialNumber(0xdead),
            data_sn: sn,
            buffer_offset: offset,
        }
        .emit()
    }

    /// The next event, which must be a command.
    pub(super) fn expect_command(&mut self) -> Command {
        match self.target.poll_event() {
            Some(Event::Command(command)) => command,
            other => panic!("expected a command, got {other:?}"),
        }
    }

    pub(super) fn complete_read(&mut self, task: TaskId, data: impl Into<Payload>) {
        let data_in = data.into();
        let transfer_bytes = data_in.len_bytes() as u64;
        self.target.complete_task(task, ScsiResponse { data_in, transfer_bytes, ..ScsiResponse::default() });
    }

    pub(super) fn complete_good(&mut self, task: TaskId, transfer_bytes: u64) {
        self.target.complete_task(task, ScsiResponse { transfer_bytes, ..ScsiResponse::default() });
    }

    pub(super) fn no_event(&mut self) {
        if let Some(event) = self.target.poll_event() {
            panic!("unexpected {event:?}");
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        if self.target.poll_timeout().is_some_and(|deadline| deadline <= self.now) {
            self.target.handle_timeout(self.now);
        }
    }
}

pub(super) fn text(keys: &[(&str, &str)]) -> Vec<u8> {
    let mut text = Vec::new();
    keys.iter().for_each(|(key, value)| append_pair(&mut text, key, value));
    text
}

pub(super) fn pattern(bytes: usize) -> Bytes {
    (0..bytes).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect()
}
