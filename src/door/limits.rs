//! Limits of doors. Those of one connection are in `nbd::limits`: about 80 MiB for a client that does its worst.

use std::time::Duration;

/// Longest path of a Unix socket (`sockaddr_un`, with its last zero).
pub const PATH_BYTES_MAX: usize = 107;

/// Connections in handshake, of one door; then the oldest makes way.
pub const HANDSHAKES_MAX: usize = 64;

/// Time from accepting a connection to transmission.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// Requests of one door that wait for the disk at a time, each on a thread: a store that hangs takes no more of them.
pub const POOL_JOBS_MAX: usize = 8;

/// Longest read or write that is tried on the connection's own task.
pub const AT_ONCE_BYTES_MAX: usize = 1 << 20;

/// Range of one answer to a block status, and range that is asked about at a time.
pub const STATUS_BYTES_MAX: u64 = 4 << 30;
/// See `STATUS_BYTES_MAX`.
pub const STATUS_STEP_BYTES: u64 = 64 << 20;

/// Faults that are kept in words; of more, the number.
pub const FAULTS_MAX: usize = 16;

/// Longest wait for what was begun when a door is closed.
pub const CLOSE_TIME_MAX: Duration = Duration::from_secs(5);

/// Time that a door rests after the system had no descriptor for a connection.
pub const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Slices handed to one vectored write.
pub const WRITE_SLICES: usize = 64;
