//! Limits of the portals. Those of the protocol itself are in `iscsi::limits`.

use std::time::Duration;

/// Connections of all portals together.
pub(super) const CONNECTIONS_MAX: usize = 8192;

/// Connections in login, of all portals together.
pub(super) const HALF_OPEN_MAX: usize = 4096;

/// Connections in login from one address.
pub(super) const HALF_OPEN_PER_ADDRESS_MAX: usize = 1024;

/// Data on its way, of all connections together, above which each gets a small share only.
pub(super) const DATA_BYTES_HIGH: usize = 256 << 20;

/// Data on its way above which nothing more is read, but for writes that have begun.
pub(super) const DATA_BYTES_MAX: usize = 512 << 20;

/// Write data that a connection may have when memory is short: enough for a few first bursts.
pub(super) const SHARE_BYTES_MIN: usize = 1 << 20;

/// Responses that may wait on a connection when memory is short.
pub(super) const TRANSMIT_SHARE_BYTES_MIN: usize = 128 << 10;

/// A connection that was not read from because memory was short looks again after this time.
pub(super) const SHORTAGE_REST: Duration = Duration::from_millis(20);

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

/// Time for the last bytes to go out after the end of a connection.
pub(super) const LINGER_TIME: Duration = Duration::from_secs(2);

/// Time that a listener rests after the system had no descriptor for a connection.
pub(super) const ACCEPT_REST: Duration = Duration::from_millis(100);

/// A peer whose host is gone is noticed within a minute (COMPAT P2): by probes when idle, by this when not.
pub(super) const USER_TIMEOUT: Duration = Duration::from_secs(45);
/// First probe of an idle connection.
pub(super) const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// Probes after the first.
pub(super) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Unanswered probes that end a connection.
pub(super) const KEEPALIVE_PROBES: u32 = 4;
