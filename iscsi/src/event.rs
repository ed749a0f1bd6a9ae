//! What the machine asks of its driver, and what the driver answers with.

use crate::auth::AuthenticationPolicy;
use crate::error::CloseReason;
use crate::names::{
    ConnectionId, IscsiName, Isid, LogicalUnitNumber, PortalGroupTag, SessionType, TaskId, Tsih,
};
use crate::payload::Payload;
use bytes::Bytes;
use std::fmt;

/// One thing for the driver to do. Drain with [`crate::Connection::poll_event`].
#[derive(Debug)]
pub enum Event {
    /// Who wants in, and where to? Answer with `authorize_login`, `redirect_login` or `refuse_login`.
    LoginRequested(LoginRequested),
    /// The peer is authenticated and all keys are agreed. Admit it to the [`crate::SessionTable`], end and quiesce
    /// the session that it replaces, then answer with `establish_session` or `refuse_login`.
    SessionRequested(SessionRequested),
    /// Full feature phase began.
    SessionEstablished(SessionEstablished),
    /// A SCSI command with all of its data. Answer with `complete_task`.
    Command(Command),
    /// A task management request. The machine has already stopped the tasks of its own connection that it names;
    /// do the logical unit's part (and other connections' tasks), then answer with `complete_task_management`.
    TaskManagement(TaskManagement),
    /// SendTargets. Answer with `complete_send_targets`.
    SendTargets(SendTargetsRequested),
    /// The peer logs out; the answer is queued already, and `Closed` follows.
    Logout(LogoutRequested),
    /// Nothing more is read. Send what is queued for transmission, then close the socket.
    Closed(CloseReason),
}

/// The identification part of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginRequested {
    /// InitiatorName.
    pub initiator_name: IscsiName,
    /// InitiatorAlias, if given.
    pub initiator_alias: Option<String>,
    /// TargetName; absent in a discovery session unless the peer named one.
    pub target_name: Option<IscsiName>,
    /// SessionType.
    pub session_type: SessionType,
    /// ISID.
    pub isid: Isid,
    /// TSIH: zero for a new session.
    pub tsih: Tsih,
}

/// A login that may go on.
#[derive(Clone, Debug, Default)]
pub struct LoginAuthorization {
    /// How the peer must prove itself.
    pub authentication: AuthenticationPolicy,
    /// CHAP identifier: a random byte.
    pub chap_identifier: u8,
    /// CHAP challenge: from the system's CSPRNG, fresh for every login.
    pub chap_challenge: [u8; 32],
    /// TargetPortalGroupTag to declare.
    pub portal_group_tag: PortalGroupTag,
    /// TargetAlias to declare.
    pub target_alias: Option<String>,
}

/// An authenticated login at the brink of full feature phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRequested {
    /// InitiatorName.
    pub initiator_name: IscsiName,
    /// TargetName; absent in a discovery session.
    pub target_name: Option<IscsiName>,
    /// SessionType.
    pub session_type: SessionType,
    /// ISID.
    pub isid: Isid,
    /// TSIH: zero for a new session, else the session that a connection is to be added to.
    pub tsih: Tsih,
    /// CID.
    pub connection_id: ConnectionId,
    /// Portal group of the login.
    pub portal_group_tag: PortalGroupTag,
}

/// A session in full feature phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEstablished {
    /// SessionType.
    pub session_type: SessionType,
    /// TSIH given to it.
    pub tsih: Tsih,
    /// Name of the CHAP user that the peer proved to be, if it was asked.
    pub chap_name: Option<String>,
    /// CRC32C over headers was agreed.
    pub header_digest: bool,
    /// CRC32C over data was agreed.
    pub data_digest: bool,
}

/// Command descriptor block: sixteen bytes, or more with an extended CDB (RFC 7143 §11.2.2.3).
#[derive(Clone, PartialEq, Eq)]
pub struct Cdb {
    head: [u8; 16],
    tail: Bytes,
}

impl Cdb {
    /// A CDB of the sixteen bytes of the header and what an extended CDB added.
    #[must_use]
    pub const fn new(head: [u8; 16], tail: Bytes) -> Self {
        Self { head, tail }
    }

    /// The first sixteen bytes; a shorter CDB is padded with zeros (RFC 7143 §11.3.5).
    #[must_use]
    #[inline]
    pub const fn head(&self) -> &[u8; 16] {
        &self.head
    }

    /// What follows the first sixteen bytes.
    #[must_use]
    #[inline]
    pub const fn tail(&self) -> &Bytes {
        &self.tail
    }

    /// The bytes in one piece: borrowed when there are sixteen.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> std::borrow::Cow<'_, [u8]> {
        if self.tail.is_empty() {
            std::borrow::Cow::Borrowed(&self.head)
        } else {
            std::borrow::Cow::Owned([&self.head[..], &self.tail].concat())
        }
    }
}

impl fmt::Debug for Cdb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x?}", self.bytes())
    }
}

/// Task attribute (RFC 7143 §11.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskAttribute {
    /// 0.
    Untagged,
    /// 1.
    Simple,
    /// 2.
    Ordered,
    /// 3.
    HeadOfQueue,
    /// 4.
    Aca,
    /// 5 to 7: reserved.
    Unknown(u8),
}

/// A SCSI command, complete with the data that it brings.
#[derive(Debug)]
pub struct Command {
    /// Names the command until it is completed.
    pub task: TaskId,
    /// Logical unit addressed.
    pub lun: LogicalUnitNumber,
    /// Command descriptor block.
    pub cdb: Cdb,
    /// Task attribute.
    pub attribute: TaskAttribute,
    /// Expected data transfer length: for a bidirectional command, of its write.
    pub expected_data_transfer_bytes: u32,
    /// R bit: the initiator has a buffer for data.
    pub reads: bool,
    /// W bit: the initiator has data to send.
    pub writes: bool,
    /// The data it sent: all of it, or the first [`crate::limits::WRITE_BYTES_MAX`] of it.
    pub data_out: Payload,
}

/// How a SCSI command ended.
#[derive(Clone, Debug, Default)]
pub struct ScsiResponse {
    /// SAM status byte: 00h GOOD, 02h CHECK CONDITION, …
    pub status: u8,
    /// Sense data; sent only when not empty.
    pub sense: Bytes,
    /// Data for the initiator; cut to what it expects.
    pub data_in: Payload,
    /// Bytes the command wanted to move, before any cut: the residual is the difference to what was expected.
    pub transfer_bytes: u64,
}

/// Names one task management request until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TaskManagementId(pub(crate) u64);

/// Task management function (RFC 7143 §11.5.1), with the functions of RFC 7144 §4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskManagementFunction {
    /// 1.
    AbortTask,
    /// 2.
    AbortTaskSet,
    /// 3.
    ClearAca,
    /// 4.
    ClearTaskSet,
    /// 5.
    LogicalUnitReset,
    /// 6.
    TargetWarmReset,
    /// 7: the sessions end after the response.
    TargetColdReset,
    /// 9 (RFC 7144).
    QueryTask,
    /// 10 (RFC 7144).
    QueryTaskSet,
    /// 11 (RFC 7144).
    ITNexusReset,
    /// 12 (RFC 7144).
    QueryAsynchronousEvent,
}

/// A task management request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskManagement {
    /// Names the request.
    pub id: TaskManagementId,
    /// What is asked.
    pub function: TaskManagementFunction,
    /// Logical unit addressed; without meaning for target resets.
    pub lun: LogicalUnitNumber,
    /// The response that the machine proposes when the driver has nothing to object: `FunctionComplete`, or
    /// `TaskDoesNotExist` for ABORT TASK of a task that never was.
    pub proposed: TaskManagementResponse,
}

/// Answer to a task management request (RFC 7143 §11.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskManagementResponse {
    /// 0.
    FunctionComplete,
    /// 1.
    TaskDoesNotExist,
    /// 2.
    LunDoesNotExist,
    /// 3.
    TaskStillAllegiant,
    /// 4.
    ReassignNotSupported,
    /// 5.
    NotSupported,
    /// 6.
    AuthorizationFailed,
    /// 7 (RFC 7144): a query found something.
    FunctionSucceeded,
    /// 255.
    FunctionRejected,
}

/// Which tasks of a connection to stop, for a request that came on another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskScope {
    /// Those of one logical unit.
    LogicalUnit(LogicalUnitNumber),
    /// All.
    All,
}

impl TaskScope {
    /// Are the tasks of this logical unit meant?
    #[must_use]
    pub fn contains(self, lun: LogicalUnitNumber) -> bool {
        match self {
            Self::All => true,
            Self::LogicalUnit(own) => own.names_same_unit(lun),
        }
    }
}

/// SendTargets (RFC 7143 Appendix C).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendTargetsRequested {
    /// Who asks: what it may not log in to, it does not discover.
    pub initiator_name: IscsiName,
    /// Which targets.
    pub scope: SendTargetsScope,
}

/// The value of the SendTargets key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendTargetsScope {
    /// `All`: allowed in a discovery session only.
    All,
    /// One target by name, or the session's own when the value was empty.
    Target(IscsiName),
}

/// One target in the answer to SendTargets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetRecord {
    /// TargetName.
    pub name: IscsiName,
    /// TargetAddress values: `address:port,tag`, IPv6 in brackets.
    pub addresses: Vec<String>,
}

/// Kind of logout (RFC 7143 §11.14.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogoutRequested {
    /// 0: close the session.
    Session,
    /// 1: close the connection.
    Connection,
    /// 2: remove the connection for recovery; we have no such recovery.
    Recovery,
}

/// Asynchronous message to a peer (RFC 7143 §11.9.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AsyncNotice {
    /// 0: a SCSI asynchronous event with sense data.
    ScsiEvent {
        /// Logical unit concerned.
        lun: LogicalUnitNumber,
        /// Sense data.
        sense: Bytes,
    },
    /// 1: the target asks for a logout within so many seconds.
    RequestLogout {
        /// Seconds to do it in.
        seconds: u16,
    },
    /// 2: the target will drop this connection.
    DroppingConnection,
    /// 3: the target will drop all connections of the session.
    DroppingSession,
}
