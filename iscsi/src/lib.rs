//! The iSCSI protocol (RFC 7143) as a machine without I/O: bytes in, bytes out.
//!
//! The crate has no clock, no socket, no task and no `unsafe`; it knows no SCSI either. A driver owns a TCP
//! connection and a [`Connection`], and moves bytes and decisions between them:
//!
//! ```text
//!   socket ──bytes──▶ handle_bytes ──▶ poll_event ──▶ driver decides, executes
//!                                                        │ authorize_login, establish_session,
//!                                                        │ complete_task, complete_task_management, …
//!   socket ◀─writev── transmit_slices / advance_transmit ◀┘
//! ```
//!
//! # Order of calls
//! 1. After bytes arrived: [`Connection::handle_bytes`]; after the time of [`Connection::poll_timeout`]:
//!    [`Connection::handle_timeout`].
//! 2. Drain [`Connection::poll_event`] until it gives `None`, answering each event at once or later.
//! 3. Send what [`Connection::transmit_slices`] shows with one vectored write, then tell
//!    [`Connection::advance_transmit`] how much went out; drain the events again, since a drained transmit queue
//!    releases commands that were held back.
//! 4. Read more only while [`Connection::wants_read`] says so: that is the back-pressure on the peer.
//!
//! # Who may panic
//! No function of this crate panics on bytes of a peer: they are read through fixed-size arrays or checked slices.
//! Every length is checked against [`limits`] before anything is kept for it.
#![forbid(unsafe_code)]

pub mod auth;
mod config;
mod connection;
mod error;
mod event;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod limits;
mod names;
mod payload;
mod serial;
mod session;
pub mod text;
pub mod wire;

pub use config::{ConnectionConfig, NegotiationPolicy};
pub use connection::Connection;
pub use error::{CloseReason, LoginStatus, NameError};
pub use event::{
    AsyncNotice, Cdb, Command, Event, LoginAuthorization, LoginRequested, LogoutRequested, ScsiResponse,
    SendTargetsRequested, SendTargetsScope, SessionEstablished, SessionRequested, TargetRecord,
    TaskAttribute, TaskManagement, TaskManagementFunction, TaskManagementId, TaskManagementResponse,
    TaskScope,
};
pub use names::{
    ConnectionId, InitiatorTaskTag, IscsiName, Isid, LogicalUnitNumber, PortalGroupTag, SessionType,
    TargetTransferTag, TaskId, Tsih,
};
pub use payload::Payload;
pub use serial::SerialNumber;
pub use session::{Admission, SessionKey, SessionRefusal, SessionTable};
