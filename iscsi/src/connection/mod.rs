//! One connection of one session, from its first byte to its last.

use crate::config::ConnectionConfig;
use crate::error::{CloseReason, LoginStatus};
use crate::event::*;
use crate::names::{TaskId, Tsih};
use bytes::BytesMut;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

/// The target's end of an iSCSI connection.
#[derive(Debug)]
pub struct Connection {
    _config: Arc<ConnectionConfig>,
}

impl Connection {
    /// A connection that was accepted at `now`.
    #[must_use]
    pub fn new(config: Arc<ConnectionConfig>, _now: Instant) -> Self {
        Self { _config: config }
    }

    // ---- bytes and time -------------------------------------------------------------------------------------

    /// Takes all whole PDUs off the front of `received`; payloads are split off without a copy.
    /// What is left is the beginning of a PDU; [`Self::receive_bytes_wanted`] says how much is missing.
    pub fn handle_bytes(&mut self, _now: Instant, _received: &mut BytesMut) {}
    /// How many bytes are missing to the end of the PDU that began, at least; for sizing the receive buffer.
    #[must_use]
    pub fn receive_bytes_wanted(&self) -> usize {
        48
    }
    /// May the driver read from the socket? Not while too much waits for transmission, nor after the end.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        true
    }
    /// Tells that the time of [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, _now: Instant) {}
    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    /// The next thing to do; drain until `None`.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    // ---- transmission ---------------------------------------------------------------------------------------

    /// Fills `slices` with what is to be sent next, and says how many were filled.
    pub fn transmit_slices<'a>(&'a self, _slices: &mut [IoSlice<'a>]) -> usize {
        0
    }
    /// Tells that so many bytes of the slices went out.
    pub fn advance_transmit(&mut self, _bytes: usize) {}
    /// Bytes that wait for transmission.
    #[must_use]
    pub fn transmit_bytes(&self) -> usize {
        0
    }

    // ---- answers to events ----------------------------------------------------------------------------------

    /// Answers [`Event::LoginRequested`]: go on, with these terms.
    pub fn authorize_login(&mut self, _authorization: LoginAuthorization) {}
    /// Answers [`Event::LoginRequested`]: the target is at `address` (`a.b.c.d:port[,tag]`).
    pub fn redirect_login(&mut self, _address: &str, _permanently: bool) {}
    /// Answers [`Event::LoginRequested`] or [`Event::SessionRequested`]: no.
    pub fn refuse_login(&mut self, _status: LoginStatus) {}
    /// Answers [`Event::SessionRequested`]: the session it replaces, if any, has no more effect.
    pub fn establish_session(&mut self, _tsih: Tsih) {}
    /// Answers [`Event::Command`]. A task that was aborted meanwhile is forgotten without a response.
    pub fn complete_task(&mut self, _task: TaskId, _response: ScsiResponse) {}
    /// Answers [`Event::TaskManagement`]. The response waits until the tasks concerned are completed.
    pub fn complete_task_management(&mut self, _id: TaskManagementId, _response: TaskManagementResponse) {}
    /// Answers [`Event::SendTargets`].
    pub fn complete_send_targets(&mut self, _targets: &[TargetRecord]) {}

    // ---- commands -------------------------------------------------------------------------------------------

    /// Stops the tasks in `scope`, for a request that came on another connection: no response will be sent.
    pub fn abort_tasks(&mut self, _scope: TaskScope) {}
    /// Are there aborted tasks in `scope` whose execution has not ended yet?
    #[must_use]
    pub fn has_aborted_tasks(&self, _scope: TaskScope) -> bool {
        false
    }
    /// Commands handed out and not yet completed.
    #[must_use]
    pub fn tasks_executing(&self) -> usize {
        0
    }
    /// Sends an asynchronous message; ignored before full feature phase.
    pub fn notify(&mut self, _notice: AsyncNotice) {}
    /// Ends the connection: nothing more is read, and every open task is forgotten when it completes.
    pub fn close(&mut self, _reason: CloseReason) {}
    /// Did the connection end?
    #[must_use]
    pub fn is_closed(&self) -> bool {
        false
    }
}
