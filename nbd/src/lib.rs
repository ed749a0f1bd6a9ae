//! The NBD protocol, server side, as a machine: bytes in, requests out, replies to bytes. No socket, clock or file.
//!
//! Source: the NBD protocol document of the NetworkBlockDevice project (doc/proto.md). Fixed newstyle with structured
//! replies and the metadata context `base:allocation`; no TLS, no resize, no extended headers.
//!
//! ```text
//!   socket ──bytes──▶ receive_buffer ──▶ poll_event ──▶ Request(command, ticket) ──▶ the driver does it
//!                                           │ Refused: answered already                   │
//!                                           ▼ Ended                                       ▼
//!   socket ◀─writev── transmit_slices / advance_transmit ◀──────────── complete(ticket, outcome)
//! ```
//!
//! # Order of calls
//! 1. While [`Connection::wants_read`]: receive into [`Connection::receive_buffer`].
//! 2. Drain [`Connection::poll_event`] until it gives `None`: after every receive, after every
//!    [`Connection::complete`], and after every [`Connection::advance_transmit`], for a full machine holds requests back.
//! 3. Send what [`Connection::transmit_slices`] shows.
//! 4. After [`Event::Ended`] nothing more is read; requests that were begun are still answered.
//!
//! # Who may panic
//! No function of this crate panics on bytes of a peer: they are read through checked slices. Every length is compared
//! with [`limits`] before anything is kept for it, and memory grows with the bytes that came, not with those announced.
#![forbid(unsafe_code)]

mod connection;
mod error;
mod export;
mod handshake;
pub mod limits;
mod outbox;
mod reply;
mod transmission;
pub mod wire;

pub use connection::{Connection, Ending, Event};
pub use error::{ErrorCode, ProtocolError};
pub use export::Export;
pub use reply::{Extent, Outcome};
pub use transmission::{Command, Refused, Request, Ticket};
