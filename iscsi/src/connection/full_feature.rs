//! Full feature phase: which request is whose, NOPs, logout, rejects, asynchronous messages.

use super::window::Position;
use super::{Connection, task::TaskState};
use crate::error::CloseReason;
use crate::event::{AsyncNotice, Event, LogoutRequested, TaskScope};
use crate::limits::{BHS_BYTES, HELD_COMMANDS_MAX};
use crate::names::{InitiatorTaskTag, LogicalUnitNumber, SessionType, TargetTransferTag};
use crate::serial::SerialNumber;
use crate::wire::{
    AsyncEvent, AsyncMessage, Bhs, DataOut, LogoutRequest, LogoutResponse, NopIn, NopOut, Opcode, Pdu,
    Reject, RejectReason, ScsiCommand, TaskManagementRequestPdu, TextRequest, is_immediate,
};
use bytes::Bytes;
use std::time::Instant;

/// A logout that waits for the commands before it.
#[derive(Debug)]
pub(super) struct PendingLogout {
    initiator_task_tag: InitiatorTaskTag,
    kind: LogoutRequested,
}

const LOGOUT_SUCCESS: u8 = 0;
const LOGOUT_CID_NOT_FOUND: u8 = 1;
const LOGOUT_RECOVERY_NOT_SUPPORTED: u8 = 2;

impl Connection {
    pub(super) fn handle_full_feature_pdu(&mut self, pdu: Pdu) {
        let opcode = Opcode::of(&pdu.bhs);
        if !pdu.data_is_intact {
            return self.handle_data_digest_error(opcode, &pdu);
        }
        match opcode {
            Opcode::DataOut => self.handle_data_out(&DataOut::parse(&pdu.bhs), &pdu.bhs, pdu.data),
            Opcode::NopOut
            | Opcode::ScsiCommand
            | Opcode::TaskManagementRequest
            | Opcode::TextRequest
            | Opcode::LogoutRequest => self.handle_request(opcode, pdu),
            // ErrorRecoveryLevel 0 has no SNACK (RFC 7143 §11.16).
            Opcode::Snack => self.reject(RejectReason::SnackReject, &pdu.bhs),
            // §4.2.4: a connection has one login.
            Opcode::LoginRequest => self.reject(RejectReason::ProtocolError, &pdu.bhs),
            Opcode::NopIn
            | Opcode::ScsiResponse
            | Opcode::TaskManagementResponse
            | Opcode::LoginResponse
            | Opcode::TextResponse
            | Opcode::DataIn
            | Opcode::LogoutResponse
            | Opcode::ReadyToTransfer
            | Opcode::AsyncMessage
            | Opcode::Reject
            | Opcode::Unknown(_) => self.reject(RejectReason::CommandNotSupported, &pdu.bhs),
        }
    }

    /// A request with a CmdSN: immediate ones are taken at once, numbered ones in their order (§4.2.2.1).
    fn handle_request(&mut self, opcode: Opcode, pdu: Pdu) {
        if is_immediate(&pdu.bhs) || is_unnumbered(opcode, &pdu.bhs) {
            return self.dispatch(opcode, pdu);
        }
        let cmd_sn = ScsiCommand::parse(&pdu.bhs).cmd_sn;
        match self.window.position(cmd_sn) {
            Position::Outside => {}
            Position::Ahead => self.hold(cmd_sn, Some(pdu)),
            Position::Expected => {
                self.window.advance();
                self.dispatch(opcode, pdu);
                self.dispatch_held();
            }
        }
    }

    /// A numbered request was aborted before it came: it counts as received, and is ignored should it come (§11.5.1).
    pub(super) fn give_up(&mut self, cmd_sn: SerialNumber) {
        match self.window.position(cmd_sn) {
            Position::Outside => {}
            Position::Ahead => self.hold(cmd_sn, None),
            Position::Expected => {
                self.window.advance();
                self.dispatch_held();
            }
        }
    }

    /// Commands of a logical unit that wait for their turn are aborted with those that had it.
    pub(super) fn give_up_held(&mut self, scope: TaskScope, before: SerialNumber) {
        for (cmd_sn, pdu) in &mut self.held {
            let is_meant = |pdu: &Pdu| {
                let command = ScsiCommand::parse(&pdu.bhs);
                Opcode::of(&pdu.bhs) == Opcode::ScsiCommand && scope.contains(command.lun)
            };
            if cmd_sn.is_before(before) && pdu.as_ref().is_some_and(is_meant) {
                *pdu = None;
            }
        }
    }

    /// What comes before its turn is copied, so that it keeps no receive buffer in memory, and counted. No initiator that
    /// sends its commands in order on one connection (§4.2.2.1) comes near the limit.
    fn hold(&mut self, cmd_sn: SerialNumber, pdu: Option<Pdu>) {
        let is_new = self.held.iter().all(|(other, _)| *other != cmd_sn);
        if !is_new || self.held.len() >= HELD_COMMANDS_MAX {
            return;
        }
        if self.held_bytes() + held_data_bytes(&pdu) > self.buffered_bytes_max {
            return self.fail("too much data ahead of a missing command");
        }
        let copied = pdu.map(|pdu| Pdu {
            ahs: Bytes::copy_from_slice(&pdu.ahs),
            data: Bytes::copy_from_slice(&pdu.data),
            ..pdu
        });
        self.held.push((cmd_sn, copied));
    }

    /// Data of requests that wait for one that is missing.
    pub(super) fn held_bytes(&self) -> usize {
        self.held.iter().map(|(_, pdu)| held_data_bytes(pdu)).sum()
    }

    fn dispatch_held(&mut self) {
        while let Some(at) = self.held.iter().position(|(cmd_sn, _)| *cmd_sn == self.window.exp_cmd_sn()) {
            let (_, pdu) = self.held.swap_remove(at);
            self.window.advance();
            if let Some(pdu) = pdu {
                self.dispatch(Opcode::of(&pdu.bhs), pdu);
            }
        }
    }

    fn dispatch(&mut self, opcode: Opcode, pdu: Pdu) {
        // §4.3: a discovery session takes text and logout, and rejects the rest; pings harm nobody.
        let is_discovery = self.session.session_type == SessionType::Discovery;
        match opcode {
            Opcode::ScsiCommand | Opcode::TaskManagementRequest if is_discovery => {
                self.refuse(RejectReason::ProtocolError, &pdu.bhs);
            }
            // §11.2.1.8: no task bears the reserved tag; a ping that wants no answer does.
            _ if has_reserved_tag(&pdu.bhs) && opcode != Opcode::NopOut => {
                self.refuse(RejectReason::InvalidPduField, &pdu.bhs);
            }
            Opcode::ScsiCommand => self.handle_scsi_command(pdu),
            Opcode::TaskManagementRequest => {
                self.handle_task_management(&TaskManagementRequestPdu::parse(&pdu.bhs), &pdu.bhs);
            }
            Opcode::TextRequest => self.handle_text(&TextRequest::parse(&pdu.bhs), &pdu),
            Opcode::LogoutRequest => self.handle_logout(&LogoutRequest::parse(&pdu.bhs), &pdu.bhs),
            _ => self.handle_nop_out(&NopOut::parse(&pdu.bhs), &pdu.data),
        }
    }

    /// §7.8: the PDU is discarded and rejected; what depended on it cannot go on at ErrorRecoveryLevel 0.
    fn handle_data_digest_error(&mut self, opcode: Opcode, pdu: &Pdu) {
        self.reject(RejectReason::DataDigestError, &pdu.bhs);
        if opcode == Opcode::DataOut {
            self.fail_data_out(&DataOut::parse(&pdu.bhs));
        } else {
            self.fail("data digest");
        }
    }

    // ---- NOP ------------------------------------------------------------------------------------------------

    fn handle_nop_out(&mut self, nop: &NopOut, data: &Bytes) {
        if nop.target_transfer_tag != TargetTransferTag::RESERVED {
            self.ping.sent = None;
            self.ping.peer_answers = true;
        }
        if nop.initiator_task_tag == InitiatorTaskTag::RESERVED {
            return;
        }
        // §11.19: the data is the ping's, as much of it as the initiator takes; the transfer tag is reserved.
        let bytes_max = self.parameters.transmit_segment_bytes_max as usize;
        let answer = NopIn {
            lun: LogicalUnitNumber::ZERO,
            initiator_task_tag: nop.initiator_task_tag,
            target_transfer_tag: TargetTransferTag::RESERVED,
            sequence: self.next_sequence(),
        };
        // A copy: what waits to be sent must not keep the buffer in memory that the ping came in.
        let echo = Bytes::copy_from_slice(&data[..data.len().min(bytes_max)]);
        self.transmit.push_with(answer.emit(), echo);
    }

    pub(super) fn handle_ping_timeout(&mut self, now: Instant) {
        let due = self.is_full_feature() && self.ping_deadline().is_some_and(|deadline| deadline <= now);
        if !due {
            return;
        }
        if self.ping.sent.is_some() && self.ping.peer_answers {
            return self.close(CloseReason::PingTimeout);
        }
        self.ping.sent = Some(now);
        let target_transfer_tag = self.next_transfer_tag(0);
        self.send_nop_in(target_transfer_tag);
    }

    pub(super) fn ping_deadline(&self) -> Option<Instant> {
        let interval = self.config.ping_interval?;
        Some(self.ping.sent.unwrap_or(self.last_received).max(self.last_received) + interval)
    }

    /// A NOP-In of our own: it has no data, and uses up no StatSN (§11.19, §11.19.2). With a transfer tag it asks for an
    /// answer (§11.19.1); LUN 0 is there in every target (§11.19.3).
    fn send_nop_in(&mut self, target_transfer_tag: TargetTransferTag) {
        let nop = NopIn {
            lun: LogicalUnitNumber::ZERO,
            initiator_task_tag: InitiatorTaskTag::RESERVED,
            target_transfer_tag,
            sequence: self.sequence(),
        };
        self.transmit.push(nop.emit());
    }

    // ---- logout ---------------------------------------------------------------------------------------------

    fn handle_logout(&mut self, request: &LogoutRequest, bhs: &Bhs) {
        let kind = match request.reason {
            0 => LogoutRequested::Session,
            1 if request.connection_id == self.session.connection_id => LogoutRequested::Connection,
            1 => return self.send_logout_response(request.initiator_task_tag, LOGOUT_CID_NOT_FOUND),
            2 => return self.send_logout_response(request.initiator_task_tag, LOGOUT_RECOVERY_NOT_SUPPORTED),
            // §11: a reserved value in a field that is defined is a protocol error.
            _ => return self.refuse(RejectReason::ProtocolError, bhs),
        };
        self.logout = Some(PendingLogout { initiator_task_tag: request.initiator_task_tag, kind });
    }

    /// Commands that were complete before the logout are answered; those whose data was still to come are gone (§11.14).
    /// The connection is closed behind the response (§11.15).
    pub(super) fn settle_logout(&mut self) {
        if self.logout.is_none() || self.tasks.executing() > 0 || !self.ready.is_empty() {
            return;
        }
        let Some(logout) = self.logout.take() else { return };
        self.send_logout_response(logout.initiator_task_tag, LOGOUT_SUCCESS);
        self.events.push_back(Event::Logout(logout.kind));
        self.close(CloseReason::Logout);
    }

    fn send_logout_response(&mut self, initiator_task_tag: InitiatorTaskTag, response: u8) {
        let (time2wait, time2retain) = (self.parameters.time2wait, self.parameters.time2retain);
        let sequence = self.next_sequence();
        let response = LogoutResponse { response, initiator_task_tag, sequence, time2wait, time2retain };
        self.transmit.push(response.emit());
    }

    // ---- rejects and messages -------------------------------------------------------------------------------

    /// Rejects a request whose turn had come. A numbered one does not count as received (§7.3): its CmdSN is missing
    /// until the initiator sends something else with it. Nothing was answered since, so no ExpCmdSN is taken back.
    pub(super) fn refuse(&mut self, reason: RejectReason, bhs: &Bhs) {
        if !is_immediate(bhs) {
            self.window.retreat();
        }
        self.reject(reason, bhs);
    }

    /// Rejects a PDU (§11.17.1): no task ends by it without a response of its own.
    pub(super) fn reject(&mut self, reason: RejectReason, bhs: &Bhs) {
        let reject = Reject { reason: reason.code(), sequence: self.next_sequence() };
        self.transmit.push_with(reject.emit(), Bytes::copy_from_slice(&bhs[..BHS_BYTES]));
    }

    /// An asynchronous message: over this connection, and so about it (§11.9.1); a SCSI event names its unit (§11.9.3).
    pub(super) fn send_async_message(&mut self, notice: AsyncNotice) {
        let cid = self.session.connection_id.0;
        let (event, parameter1, parameter3) = match &notice {
            AsyncNotice::ScsiEvent { .. } => (AsyncEvent::ScsiEvent, 0, 0),
            AsyncNotice::RequestLogout { seconds } => (AsyncEvent::RequestLogout, 0, *seconds),
            AsyncNotice::DroppingConnection => {
                (AsyncEvent::DroppingConnection, cid, self.parameters.time2retain)
            }
            AsyncNotice::DroppingSession => (AsyncEvent::DroppingSession, 0, self.parameters.time2retain),
        };
        let parameter2 = if parameter1 == 0 && parameter3 == 0 { 0 } else { self.parameters.time2wait };
        let (lun, data) = match notice {
            AsyncNotice::ScsiEvent { lun, sense } => (lun, sense_segment(&sense)),
            AsyncNotice::RequestLogout { .. }
            | AsyncNotice::DroppingConnection
            | AsyncNotice::DroppingSession => (LogicalUnitNumber::ZERO, Bytes::new()),
        };
        let parameter2 = if event == AsyncEvent::RequestLogout { 0 } else { parameter2 };
        let sequence = self.next_sequence();
        let message = AsyncMessage { lun, sequence, event, parameter1, parameter2, parameter3 };
        self.transmit.push_with(message.emit(), data);
    }

    // ---- after every step -----------------------------------------------------------------------------------

    /// Whatever a step made possible: solicit more data, open the window and say so (§11.4.11), finish a logout.
    pub(super) fn settle(&mut self) {
        if !self.is_full_feature() {
            return;
        }
        self.solicit();
        self.open_window();
        let was_closed = self.advertised_max_cmd_sn.is_before(self.window.exp_cmd_sn());
        if was_closed && !self.window.is_closed() && self.logout.is_none() {
            self.send_nop_in(TargetTransferTag::RESERVED);
        }
        self.settle_logout();
    }

    /// Room for more commands, by count and by the memory that their unsolicited data may take.
    pub(super) fn open_window(&mut self) {
        let by_count = self.config.tasks_max.saturating_sub(self.tasks.numbered() + self.held.len());
        let takes_unsolicited = self.parameters.immediate_data || !self.parameters.initial_r2t;
        let each = if takes_unsolicited { self.parameters.unsolicited_bytes_max() as usize } else { 0 };
        let left = self.buffered_bytes_max.saturating_sub(self.buffered_bytes());
        let free = left.checked_div(each).map_or(by_count, |by_memory| by_count.min(by_memory));
        self.window.open_for(u32::try_from(free).unwrap_or(u32::MAX));
    }

    /// Moves a task with all its data to those that wait for the driver.
    pub(super) fn make_ready(&mut self, id: crate::names::TaskId) {
        if let Some(task) = self.tasks.get_mut(id) {
            task.state = TaskState::Ready;
            self.ready.push_back(id);
        }
    }
}

/// SenseLength and sense data (RFC 7143 §11.4.7.1).
pub(super) fn sense_segment(sense: &Bytes) -> Bytes {
    let length = u16::try_from(sense.len()).unwrap_or(u16::MAX);
    let mut segment = Vec::with_capacity(2 + sense.len());
    segment.extend_from_slice(&length.to_be_bytes());
    segment.extend_from_slice(sense.get(..usize::from(length)).unwrap_or_default());
    segment.into()
}

fn held_data_bytes(pdu: &Option<Pdu>) -> usize {
    pdu.as_ref().map_or(0, |pdu| pdu.data.len())
}

fn has_reserved_tag(bhs: &Bhs) -> bool {
    ScsiCommand::parse(bhs).initiator_task_tag == InitiatorTaskTag::RESERVED
}

/// A NOP-Out that wants no answer takes no CmdSN (§11.18.1), whatever its I bit says.
fn is_unnumbered(opcode: Opcode, bhs: &Bhs) -> bool {
    opcode == Opcode::NopOut && NopOut::parse(bhs).initiator_task_tag == InitiatorTaskTag::RESERVED
}
