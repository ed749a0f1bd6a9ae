//! A connection with a driver and a peer, both of whom do what a fuzzer says; and what must hold after each step.

use super::Meter;
use super::oracle::Oracle;
use crate::config::{ConnectionConfig, NegotiationPolicy};
use crate::connection::Connection;
use crate::event::{
    Event, LoginAuthorization, ScsiResponse, TargetRecord, TaskManagementId, TaskManagementResponse,
    TaskScope,
};
use crate::names::{IscsiName, Isid, TaskId, Tsih};
use crate::text::append_pair;
use crate::wire::{Bhs, LoginRequest, Stage, padding, with_data_segment};
use bytes::{Bytes, BytesMut};
use std::io::IoSlice;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Responses that wait, above which nothing more is read. Small, so that a fuzzer meets every limit soon.
const TRANSMIT_BYTES_MAX: usize = 64 * 1024;
const BUFFERED_BYTES_MAX: usize = 64 * 1024;
const SEGMENT_BYTES_MAX: u32 = 16 * 1024;
/// Bytes that the peer may have sent and the target not taken.
const UNTAKEN_BYTES_MAX: usize = 64 * 1024;
/// Data that the driver answers a read with, at most.
pub(super) const READ_BYTES_MAX: usize = 4 * 1024;

static ZEROS: [u8; 32 * 1024] = [0; 32 * 1024];

pub(super) struct World {
    pub(super) connection: Connection,
    pub(super) oracle: Oracle,
    pub(super) now: Instant,
    to_target: BytesMut,
    digests: (bool, bool),
    pub(super) executing: Vec<TaskId>,
    pub(super) managing: Vec<TaskManagementId>,
    pub(super) asks: Asks,
    /// `Closed` was told: nothing more may be.
    closed_told: bool,
    pub(super) established: bool,
    meter: Meter,
    begun_with: usize,
}

/// What the target waits for its driver with.
#[derive(Default)]
pub(super) struct Asks {
    pub(super) login: bool,
    pub(super) session: bool,
    pub(super) targets: bool,
}

fn config(tasks_max: usize, pings: bool) -> ConnectionConfig {
    ConnectionConfig {
        negotiation: NegotiationPolicy {
            receive_segment_bytes_max: SEGMENT_BYTES_MAX,
            burst_bytes_max: 16 * 1024,
            first_burst_bytes_max: 8 * 1024,
            ..NegotiationPolicy::default()
        },
        ping_interval: pings.then_some(Duration::from_secs(5)),
        tasks_max,
        buffered_bytes_max: BUFFERED_BYTES_MAX,
        ..ConnectionConfig::default()
    }
}

/// The same for all inputs: making them is dear.
fn configs(which: usize) -> Arc<ConnectionConfig> {
    static CONFIGS: OnceLock<[Arc<ConnectionConfig>; 4]> = OnceLock::new();
    let all = CONFIGS
        .get_or_init(|| [config(1, true), config(4, true), config(8, false), config(16, true)].map(Arc::new));
    Arc::clone(&all[which % all.len()])
}

/// Time begins anew with every input, at no particular time.
fn beginning() -> Instant {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    *BEGINNING.get_or_init(Instant::now)
}

impl World {
    pub(super) fn new(which: usize, meter: Meter) -> Self {
        let config = configs(which);
        let now = beginning();
        let begun_with = meter();
        let mut connection = Connection::new(config, now);
        connection.limit_memory(BUFFERED_BYTES_MAX, TRANSMIT_BYTES_MAX);
        Self {
            connection,
            oracle: Oracle::new(),
            now,
            to_target: BytesMut::new(),
            digests: (false, false),
            executing: Vec::new(),
            managing: Vec::new(),
            asks: Asks::default(),
            closed_told: false,
            established: false,
            meter,
            begun_with,
        }
    }

    /// Logs in, with some of the keys.
    pub(super) fn establish(&mut self, choice: u8) {
        let mut text = Vec::with_capacity(256);
        append_pair(&mut text, "InitiatorName", "iqn.2026-01.fuzz:i");
        if choice & 0xc0 == 0xc0 {
            append_pair(&mut text, "SessionType", "Discovery");
        } else {
            append_pair(&mut text, "TargetName", "iqn.2026-01.fuzz:t");
        }
        let keys = [
            ("HeaderDigest", "CRC32C"),
            ("DataDigest", "CRC32C"),
            ("InitialR2T", "No"),
            ("ImmediateData", "No"),
            ("MaxOutstandingR2T", "4"),
            ("MaxRecvDataSegmentLength", if choice & 0x80 == 0 { "512" } else { "65536" }),
        ];
        for (bit, (key, value)) in keys.iter().enumerate() {
            if choice >> bit & 1 != 0 || bit == 5 {
                append_pair(&mut text, key, value);
            }
        }
        let request = LoginRequest {
            transit: true,
            current_stage: Stage::LoginOperationalNegotiation,
            next_stage: Stage::FullFeaturePhase,
            isid: Isid([0, 2, 0x3d, 0, 0, 1]),
            ..LoginRequest::default()
        };
        self.send(request.emit(), &text);
        self.answer_login();
        self.drain(usize::MAX);
    }

    /// Says yes to whatever a login asks.
    pub(super) fn answer_login(&mut self) {
        self.take_events();
        while self.asks.login || self.asks.session {
            if std::mem::take(&mut self.asks.login) {
                self.connection.authorize_login(LoginAuthorization::default());
            } else if std::mem::take(&mut self.asks.session) {
                self.connection.establish_session(Tsih(7));
            }
            self.take_events();
        }
        self.adopt_session();
    }

    /// Full feature phase begins with the first byte after the last login response.
    pub(super) fn adopt_session(&mut self) {
        if self.established || !self.connection.is_full_feature() {
            return;
        }
        self.drain(usize::MAX);
        self.established = true;
        let agreed = self.connection.parameters();
        self.digests = (agreed.header_digest, agreed.data_digest);
        self.oracle.enter_full_feature(agreed);
    }

    // ---- the peer -------------------------------------------------------------------------------------------

    /// Sends a PDU with digests as agreed.
    pub(super) fn send(&mut self, bhs: Bhs, data: &[u8]) {
        let bhs = with_data_segment(bhs, data.len());
        let (header_digest, data_digest) = self.digests;
        self.make_room(BHS_AND_DIGESTS + data.len());
        self.to_target.extend_from_slice(&bhs);
        if header_digest {
            self.to_target.extend_from_slice(&crc32c::crc32c(&bhs).to_le_bytes());
        }
        self.to_target.extend_from_slice(data);
        let pad = &[0; 3][..padding(data.len())];
        self.to_target.extend_from_slice(pad);
        if data_digest && !data.is_empty() {
            let digest = crc32c::crc32c_append(crc32c::crc32c(data), pad);
            self.to_target.extend_from_slice(&digest.to_le_bytes());
        }
        self.deliver();
    }

    /// Sends a PDU with so many zeros.
    pub(super) fn send_zeros(&mut self, bhs: Bhs, bytes: usize) {
        self.send(bhs, &ZEROS[..bytes.min(ZEROS.len())]);
    }

    pub(super) fn send_raw(&mut self, bytes: &[u8]) {
        self.make_room(bytes.len());
        self.to_target.extend_from_slice(bytes);
        self.deliver();
    }

    /// A socket that nobody reads takes no more.
    fn make_room(&mut self, bytes: usize) {
        if self.to_target.len() + bytes > UNTAKEN_BYTES_MAX {
            self.drain(usize::MAX);
        }
        if self.to_target.len() + bytes > UNTAKEN_BYTES_MAX {
            self.to_target.clear();
            self.connection.close(crate::error::CloseReason::Requested);
        }
    }

    pub(super) fn deliver(&mut self) {
        self.connection.handle_bytes(self.now, &mut self.to_target);
        self.oracle.segments_may_be(self.connection.parameters());
    }

    /// Takes so many bytes from the target.
    pub(super) fn drain(&mut self, bytes: usize) {
        let mut left = bytes;
        while left > 0 {
            let mut slices = [IoSlice::new(&[]); 16];
            let count = self.connection.transmit_slices(&mut slices);
            let mut sent = 0;
            for slice in &slices[..count] {
                let part = &slice[..slice.len().min(left)];
                self.oracle.hear(part);
                left -= part.len();
                sent += part.len();
                if part.len() < slice.len() {
                    break;
                }
            }
            if sent == 0 {
                break;
            }
            self.connection.advance_transmit(sent);
        }
        self.oracle.listen();
    }

    // ---- the driver -----------------------------------------------------------------------------------------

    pub(super) fn take_events(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            assert!(!self.closed_told, "{event:?} after the end");
            match event {
                Event::LoginRequested(_) => assert!(!std::mem::replace(&mut self.asks.login, true)),
                Event::SessionRequested(_) => assert!(!std::mem::replace(&mut self.asks.session, true)),
                Event::SessionEstablished(_) => {}
                Event::Command(command) => {
                    assert!(!self.executing.contains(&command.task), "a command is given twice");
                    assert!(command.data_out.len_bytes() <= command.expected_data_transfer_bytes as usize);
                    self.executing.push(command.task);
                }
                Event::TaskManagement(request) => self.managing.push(request.id),
                Event::SendTargets(_) => assert!(!std::mem::replace(&mut self.asks.targets, true)),
                Event::Logout(_) => {}
                Event::Closed(_) => {
                    assert!(self.connection.is_closed());
                    self.closed_told = true;
                }
            }
        }
    }

    pub(super) fn complete(&mut self, at: usize, kind: u8) {
        if self.executing.is_empty() {
            return;
        }
        let task = self.executing.swap_remove(at % self.executing.len());
        let bytes = usize::from(kind >> 2) * READ_BYTES_MAX / 63;
        let data_in = Bytes::from_static(&ZEROS[..bytes]);
        let response = match kind & 3 {
            0 => ScsiResponse { transfer_bytes: bytes as u64, ..ScsiResponse::default() },
            1 | 2 => ScsiResponse {
                transfer_bytes: bytes as u64 * u64::from(kind & 3),
                data_in: data_in.into(),
                ..ScsiResponse::default()
            },
            _ => {
                ScsiResponse { status: 2, sense: Bytes::from_static(&ZEROS[..18]), ..ScsiResponse::default() }
            }
        };
        let is_owed = self.connection.is_full_feature() && !self.connection.has_aborted_tasks(TaskScope::All);
        let before = self.connection.transmit_bytes();
        self.connection.complete_task(task, response.clone());
        assert!(!is_owed || self.connection.transmit_bytes() > before, "a command is not answered");
        let (waiting, open) = (self.connection.transmit_bytes(), self.connection.tasks_open());
        self.connection.complete_task(task, response);
        assert_eq!(
            (waiting, open),
            (self.connection.transmit_bytes(), self.connection.tasks_open()),
            "a second answer is heard"
        );
    }

    pub(super) fn complete_management(&mut self, at: usize) {
        if self.managing.is_empty() {
            return;
        }
        let id = self.managing.swap_remove(at % self.managing.len());
        self.connection.complete_task_management(id, TaskManagementResponse::FunctionComplete);
    }

    pub(super) fn answer_targets(&mut self, many: usize) {
        if !std::mem::take(&mut self.asks.targets) {
            return;
        }
        static NAME: OnceLock<Option<IscsiName>> = OnceLock::new();
        let name = NAME.get_or_init(|| IscsiName::parse("iqn.2026-01.fuzz:t").ok());
        let record = name
            .clone()
            .map(|name| TargetRecord { name, addresses: vec!["192.0.2.1:3260,1".into(); many % 8] });
        let records: Vec<_> = record.into_iter().cycle().take(many).collect();
        self.connection.complete_send_targets(&records);
    }

    // ---- what must hold -------------------------------------------------------------------------------------

    /// Between any two steps.
    pub(super) fn check(&mut self) {
        self.connection.audit();
        assert_eq!(self.connection.tasks_executing(), self.executing.len());
        let kept = (self.meter)().saturating_sub(self.begun_with);
        assert!(kept <= KEPT_BYTES_MAX, "{kept} bytes are kept");
    }

    /// Everything is answered and sent: what is left is what waits for the peer.
    pub(super) fn finish(&mut self) {
        for _ in 0..1000 {
            self.take_events();
            if std::mem::take(&mut self.asks.login) || std::mem::take(&mut self.asks.session) {
                self.connection.refuse_login(crate::error::LoginStatus::TargetError);
            }
            while !self.executing.is_empty() {
                self.complete(0, 0);
            }
            while !self.managing.is_empty() {
                self.complete_management(0);
            }
            self.answer_targets(1);
            self.check();
            if self.connection.transmit_bytes() == 0 && self.executing.is_empty() {
                break;
            }
            self.drain(usize::MAX);
            self.adopt_session();
            self.deliver();
        }
        assert_eq!(self.connection.transmit_bytes(), 0, "the transmit queue is never empty");
        assert!(self.oracle.is_between_pdus(), "half a PDU is sent");
        assert_eq!(self.connection.tasks_executing(), 0);
        if self.connection.is_closed() {
            assert!(self.closed_told, "nobody is told of the end");
            assert_eq!((self.connection.tasks_open(), self.connection.buffered_bytes()), (0, 0));
        }
    }
}

const BHS_AND_DIGESTS: usize = 48 + 3 + 8;

/// All that a peer can make a connection of this size keep, with the buffers of the two ends: write data that is accounted
/// for and one large write, the requests ahead of a gap and immediate ones, each with the buffer that its data lies in,
/// responses, texts.
const KEPT_BYTES_MAX: usize = 4 * BUFFERED_BYTES_MAX
    + 2 * UNTAKEN_BYTES_MAX
    + 48 * (SEGMENT_BYTES_MAX as usize + 2048)
    + 2 * TRANSMIT_BYTES_MAX
    + 4 * crate::limits::TEXT_BYTES_MAX;
