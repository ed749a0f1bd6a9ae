//! One connection of one session, from its first byte to its last.
//!
//! # Invariants
//! - Responses leave in the order in which they were queued; StatSN (§4.2.2.2), ExpCmdSN and MaxCmdSN are set when
//!   queued. All that belongs to a command goes over its connection (§4.2.5.1), the only one of its session (§4.2.1).
//! - A task is in [`task::TaskTable`] from its command until it is completed or aborted; the driver knows it from
//!   [`Event::Command`] on, and its slot is not used again before the driver gave it back.
//! - What a peer can make us keep is bounded: tasks by the window, write data by `buffered_bytes_max`, responses by
//!   not handing out commands while the transmit queue is full, everything else by [`crate::limits`].

#[cfg(any(test, feature = "fuzz"))]
mod audit;
mod command;
mod data_out;
mod full_feature;
mod login;
mod login_phase;
mod respond;
mod task;
mod task_management;
#[cfg(test)]
mod tests;
mod text;
mod transmit;
mod window;

use crate::config::ConnectionConfig;
use crate::error::CloseReason;
use crate::event::{
    AsyncNotice, Event, ScsiResponse, TargetRecord, TaskManagementId, TaskManagementResponse, TaskScope,
};
use crate::limits::LOGIN_SEGMENT_BYTES_MAX;
use crate::names::{ConnectionId, IscsiName, SessionType, TaskId};
use crate::serial::SerialNumber;
use crate::text::Parameters;
use crate::wire::{Deframer, FrameError, Pdu, Sequence};
use bytes::BytesMut;
use login::Login;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;
use task::TaskTable;
use task_management::PendingTaskManagement;
use text::TextExchange;
use transmit::Transmit;
use window::CommandWindow;

/// The target's end of an iSCSI connection.
#[derive(Debug)]
pub struct Connection {
    config: Arc<ConnectionConfig>,
    phase: Phase,
    deframer: Deframer,
    transmit: Transmit,
    events: VecDeque<Event>,
    stat_sn: SerialNumber,
    window: CommandWindow,
    /// MaxCmdSN as the peer knows it.
    advertised_max_cmd_sn: SerialNumber,
    parameters: Parameters,
    session: SessionFacts,
    tasks: TaskTable,
    /// Tasks to hand to the driver, in order.
    ready: VecDeque<TaskId>,
    /// Tasks that wait until there is memory for the data that they have to solicit.
    soliciting: VecDeque<TaskId>,
    buffered_bytes: usize,
    buffered_bytes_max: usize,
    /// See `shed_writes`.
    sheds_writes: bool,
    /// Tasks that may solicit all their data.
    soliciting_now: usize,
    transfer_count: u16,
    /// Numbered requests that came before one that is missing; without a PDU, those that were aborted before they
    /// came, or while they waited.
    held: Vec<(SerialNumber, Option<Pdu>)>,
    task_management: Vec<PendingTaskManagement>,
    task_management_count: u64,
    text: Option<TextExchange>,
    logout: Option<full_feature::PendingLogout>,
    ping: Ping,
    login_deadline: Option<Instant>,
    last_received: Instant,
}

#[derive(Debug)]
enum Phase {
    Login(Box<Login>),
    FullFeature,
    Closed,
}

/// Who is at the other end.
#[derive(Debug, Default)]
struct SessionFacts {
    session_type: SessionType,
    initiator_name: Option<IscsiName>,
    target_name: Option<IscsiName>,
    connection_id: ConnectionId,
}

#[derive(Debug, Default)]
struct Ping {
    /// When the one under way was sent.
    sent: Option<Instant>,
    /// iPXE never answers a ping; only a peer that once did is expected to.
    peer_answers: bool,
}

impl Connection {
    /// A connection that was accepted at `now`.
    #[must_use]
    pub fn new(config: Arc<ConnectionConfig>, now: Instant) -> Self {
        let login_deadline = Some(now + config.login_time);
        let buffered_bytes_max = config.buffered_bytes_max;
        Self {
            config,
            phase: Phase::Login(Box::default()),
            deframer: Deframer {
                header_digest: false,
                data_digest: false,
                segment_bytes_max: LOGIN_SEGMENT_BYTES_MAX,
            },
            transmit: Transmit::default(),
            events: VecDeque::new(),
            stat_sn: SerialNumber(0),
            window: CommandWindow::default(),
            advertised_max_cmd_sn: SerialNumber(0),
            parameters: Parameters::default(),
            session: SessionFacts::default(),
            tasks: TaskTable::default(),
            ready: VecDeque::new(),
            soliciting: VecDeque::new(),
            buffered_bytes: 0,
            buffered_bytes_max,
            sheds_writes: false,
            soliciting_now: 0,
            transfer_count: 0,
            held: Vec::new(),
            task_management: Vec::new(),
            task_management_count: 0,
            text: None,
            logout: None,
            ping: Ping::default(),
            login_deadline,
            last_received: now,
        }
    }

    // ---- bytes and time -------------------------------------------------------------------------------------

    /// Takes whole PDUs off the front of `received`, as many as there are; payloads are split off without a copy.
    /// What is left is the beginning of a PDU, or PDUs that must wait: for the driver's answer to a login, or for
    /// room in the transmit queue. Call again after either.
    pub fn handle_bytes(&mut self, now: Instant, received: &mut BytesMut) {
        while self.takes_pdus() {
            match self.deframer.next(received) {
                Ok(Some(pdu)) => {
                    self.last_received = now;
                    self.handle_pdu(pdu);
                }
                Ok(None) => break,
                Err(error) => self.handle_frame_error(error),
            }
        }
        self.settle();
    }

    /// How many bytes `received` lacks to the end of its first PDU, at least; for sizing the receive buffer.
    #[must_use]
    pub fn receive_bytes_wanted(&self, received: &[u8]) -> usize {
        self.deframer.bytes_missing(received)
    }

    /// May the driver read from the socket? Not while too much waits for transmission, nor after the end.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        self.takes_pdus()
    }

    /// Tells that the time of [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.login_deadline.is_some_and(|deadline| deadline <= now) {
            self.close(CloseReason::LoginTimeout);
        }
        self.handle_ping_timeout(now);
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Login(_) => self.login_deadline,
            Phase::FullFeature => self.ping_deadline(),
            Phase::Closed => None,
        }
    }

    /// The next thing to do; drain until `None`. Commands are held back while the transmit queue is full.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        if self.transmit.is_full() {
            return None;
        }
        self.next_command().map(Event::Command)
    }

    // ---- transmission ---------------------------------------------------------------------------------------

    /// Fills `slices` with what is to be sent next, and says how many were filled.
    pub fn transmit_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.transmit.slices(slices)
    }

    /// Tells that so many bytes of the slices went out.
    pub fn advance_transmit(&mut self, bytes: usize) {
        self.transmit.advance(bytes);
    }

    /// Bytes that wait for transmission.
    #[must_use]
    pub const fn transmit_bytes(&self) -> usize {
        self.transmit.bytes()
    }

    // ---- answers to events ----------------------------------------------------------------------------------

    /// Answers [`Event::Command`]. A task that was aborted meanwhile is forgotten without a response.
    pub fn complete_task(&mut self, task: TaskId, response: ScsiResponse) {
        self.finish_task(task, &response);
        self.settle();
    }

    /// Answers [`Event::TaskManagement`]. The response waits until the tasks concerned are completed.
    pub fn complete_task_management(&mut self, id: TaskManagementId, response: TaskManagementResponse) {
        self.answer_task_management(id, response);
        self.settle();
    }

    /// Answers [`Event::SendTargets`].
    pub fn complete_send_targets(&mut self, targets: &[TargetRecord]) {
        self.answer_send_targets(targets);
    }

    // ---- commands -------------------------------------------------------------------------------------------

    /// Stops the tasks in `scope`, for a request that came on another connection: no response will be sent.
    pub fn abort_tasks(&mut self, scope: TaskScope) {
        self.stop_tasks(scope);
        self.settle();
    }

    /// Are there aborted tasks in `scope` whose execution has not ended yet?
    #[must_use]
    pub fn has_aborted_tasks(&self, scope: TaskScope) -> bool {
        let is_aborted = |id| {
            self.tasks.get(id).is_some_and(|task| task.state == task::TaskState::Aborted && task.is_in(scope))
        };
        self.tasks.executing() > 0 && self.tasks.ids().any(is_aborted)
    }

    /// Commands handed out and not yet completed, aborted ones included.
    #[must_use]
    pub const fn tasks_executing(&self) -> usize {
        self.tasks.executing()
    }

    /// Commands of any state.
    #[must_use]
    pub const fn tasks_open(&self) -> usize {
        self.tasks.len()
    }

    /// Narrows what this connection may keep, or widens it again up to its configuration: write data, and responses
    /// that wait. Windows that were opened stay open until they are used (§4.2.2.1: MaxCmdSN never moves back).
    pub fn limit_memory(&mut self, buffered_bytes_max: usize, transmit_bytes_max: usize) {
        self.buffered_bytes_max = buffered_bytes_max.min(self.config.buffered_bytes_max);
        self.transmit.limit(transmit_bytes_max);
    }

    /// While there is no memory a connection may bring one write at a time, so that everybody gets on: one that comes
    /// beside another is answered with TASK SET FULL, and its data is dropped. A window that is open cannot be closed.
    pub const fn shed_writes(&mut self, sheds: bool) {
        self.sheds_writes = sheds;
    }

    /// What is or may come to be in memory for the peer: write data, requests ahead of a missing one, text.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.buffered_bytes + self.held_bytes() + self.text.as_ref().map_or(0, TextExchange::kept_bytes)
    }

    /// What was agreed at login; the defaults before it.
    #[must_use]
    pub const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Is the connection in full feature phase?
    #[must_use]
    pub const fn is_full_feature(&self) -> bool {
        matches!(self.phase, Phase::FullFeature)
    }

    /// Sends an asynchronous message; ignored outside full feature phase.
    pub fn notify(&mut self, notice: AsyncNotice) {
        if self.is_full_feature() {
            self.send_async_message(notice);
        }
    }

    /// Ends the connection, and its tasks with it, immediate ones too (§7.14): nothing more is read, and every open task is forgotten when it completes.
    pub fn close(&mut self, reason: CloseReason) {
        if self.is_closed() {
            return;
        }
        self.phase = Phase::Closed;
        self.login_deadline = None;
        self.stop_tasks(TaskScope::All);
        self.held = Vec::new();
        self.text = None;
        self.task_management = Vec::new();
        self.logout = None;
        self.events.push_back(Event::Closed(reason));
    }

    /// Did the connection end?
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    // ---- inside ---------------------------------------------------------------------------------------------

    /// One login request at a time is looked at (§6.3).
    fn takes_pdus(&self) -> bool {
        match &self.phase {
            Phase::Login(login) => !login.waits_for_driver() && !self.transmit.is_full(),
            Phase::FullFeature => self.logout.is_none() && !self.transmit.is_full(),
            Phase::Closed => false,
        }
    }

    fn handle_pdu(&mut self, pdu: Pdu) {
        match self.phase {
            Phase::Login(_) => self.handle_login_pdu(&pdu),
            Phase::FullFeature => self.handle_full_feature_pdu(pdu),
            Phase::Closed => {}
        }
    }

    /// Format errors and broken header digests (§7.7, §7.8): at ErrorRecoveryLevel 0 the only way on is another session
    /// (§7.14).
    fn handle_frame_error(&mut self, error: FrameError) {
        let what = match error {
            FrameError::HeaderDigest => "header digest",
            FrameError::SegmentTooLong => "data segment is longer than declared",
            FrameError::AhsTooLong => "additional headers are too long",
        };
        self.fail(what);
    }

    fn fail(&mut self, what: &'static str) {
        self.close(CloseReason::Protocol(what));
    }

    /// The numbers of a response that uses up a StatSN.
    fn next_sequence(&mut self) -> Sequence {
        let sequence = self.sequence();
        self.stat_sn = self.stat_sn.next();
        sequence
    }

    /// The numbers of a PDU that uses up none.
    fn sequence(&mut self) -> Sequence {
        self.advertised_max_cmd_sn = self.window.max_cmd_sn();
        Sequence {
            stat_sn: self.stat_sn,
            exp_cmd_sn: self.window.exp_cmd_sn(),
            max_cmd_sn: self.window.max_cmd_sn(),
        }
    }
}
