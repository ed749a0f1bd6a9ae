//! How the portals portion out time and buffers. What a peer or an operator can run into is in [`iscsi::limits`], all of
//! it, and in the table of docs/PROTOCOL.md.

use std::time::Duration;

pub(super) use iscsi::limits::{
    CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, DATA_BYTES_HIGH, DATA_BYTES_MAX, FAULT_LINES,
    FAULT_LINES_EVERY, HALF_OPEN_MAX, HALF_OPEN_PER_ADDRESS_MAX, JOBS_HIGH, JOBS_PER_CONNECTION_MAX,
    JOBS_SHARE_MIN, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES, LINGER_TIME, SESSION_LINES,
    SESSION_LINES_EVERY, SHARE_BYTES_MIN, TRANSMIT_SHARE_BYTES_MIN, USER_TIMEOUT,
};

/// A read from a socket has room for this much at least.
pub(super) const READ_BYTES_MIN: usize = 16 * 1024;

/// A new receive buffer has room for this much at least.
pub(super) const RECEIVE_BUFFER_BYTES: usize = 128 * 1024;

/// Read buffers kept for use again, of all connections together: the long reads of a few busy ones.
pub(super) const IDLE_READ_BYTES_MAX: usize = 16 << 20;

/// A connection that lacks more than this to the end of a PDU gets a buffer of `BULK_BUFFER_BYTES`.
pub(super) const BULK_BYTES: usize = 64 * 1024;
/// See `BULK_BYTES`.
pub(super) const BULK_BUFFER_BYTES: usize = 1 << 20;

/// An idle connection gives its receive buffer back after this time.
pub(super) const IDLE_BUFFER_TIME: Duration = Duration::from_secs(1);

/// Slices handed to one vectored write.
pub(super) const WRITE_SLICES: usize = 128;

/// Rounds of one turn: then other connections of the thread have theirs.
pub(super) const ROUNDS_MAX: usize = 16;

/// Events answered in one round, and data moved by its commands: then what is there is sent first.
pub(super) const ROUND_EVENTS_MAX: usize = 64;
/// See `ROUND_EVENTS_MAX`.
pub(super) const ROUND_BYTES_MAX: usize = 4 << 20;

/// A round of a connection that took this long was stalled by its store: its commands go to the blocking pool for
/// `SLOW_TIME`, so that the thread is free for others.
pub(super) const SLOW_ROUND: Duration = Duration::from_millis(100);
/// See `SLOW_ROUND`.
pub(super) const SLOW_TIME: Duration = Duration::from_secs(1);

/// How often the lookout looks for commands that do not come back, and how many of these looks one may take before its
/// connection goes on without it.
pub(super) const LOOKOUT_INTERVAL: Duration = Duration::from_millis(50);
/// See `LOOKOUT_INTERVAL`.
pub(super) const LOOKOUT_TICKS: u64 = 2;

/// Time that a listener rests after the system had no descriptor for a connection.
pub(super) const ACCEPT_REST: Duration = Duration::from_millis(100);

// A command must find all its data, or take its initiator to have no more: what comes is cut off where no command is.
const _: () = assert!(iscsi::limits::WRITE_BYTES_MAX as u64 >= scsi::limits::TRANSFER_BYTES_MAX);
