//! Every limit that a peer or an operator can run into, in one place: first those of the protocol machine, then those that
//! a driver of many connections keeps. The table of docs/PROTOCOL.md is made from them.
//!
//! What a limit bounds is either memory that a peer can make us keep, or work that it can make us do.
//! At a limit the command window closes, or the newest request is refused; nothing is dropped silently.

use std::time::Duration;

/// Length of a basic header segment (RFC 7143 §11.2).
pub const BHS_BYTES: usize = 48;

/// Additional header segments that a PDU may carry: an extended CDB of 260 bytes and a bidirectional read length fit.
pub const AHS_BYTES_MAX: usize = 512;

/// Data segment that a peer may send before full feature phase (RFC 7143 §13.12: the default of the key).
pub const LOGIN_SEGMENT_BYTES_MAX: usize = 8192;

/// Text of one login or text request, gathered over its C-bit continuations.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Keys in one gathered text.
pub const TEXT_KEYS_MAX: usize = 256;

/// Key name (RFC 7143 §6.1).
pub const TEXT_KEY_BYTES_MAX: usize = 63;

/// Value of one key (RFC 7143 §6.1: 255 unless a key says otherwise; CHAP binaries are longer).
pub const TEXT_VALUE_BYTES_MAX: usize = 8192;

/// iSCSI name (RFC 7143 §4.2.7.1).
pub const NAME_BYTES_MAX: usize = 223;

/// Binary value of a CHAP key, decoded (RFC 7143 §12.1.3).
pub const CHAP_BINARY_BYTES_MAX: usize = 1024;

/// Request/response rounds of one login: more is a peer that plays for time.
pub const LOGIN_ROUNDS_MAX: usize = 32;

/// Time from accepting a connection to full feature phase.
pub const LOGIN_TIME: Duration = Duration::from_secs(15);

/// Commands of one session that may be open at a time: the width of the command window.
pub const TASKS_MAX: usize = 128;

/// Immediate commands beyond the window that may be open at a time (RFC 7143 §4.2.2.1 wants at least two).
pub const IMMEDIATE_TASKS_MAX: usize = 16;

/// Task management requests that wait for their answer.
pub const TASK_MANAGEMENT_MAX: usize = 16;

/// Commands with a gap before them that are held until the gap is filled.
pub const HELD_COMMANDS_MAX: usize = TASKS_MAX;

/// The largest data segment that we offer to take (our MaxRecvDataSegmentLength).
pub const RECEIVE_SEGMENT_BYTES_MAX: usize = 256 * 1024;

/// Data that one write may bring; what is above it is not solicited, and the command is handed over without. No command
/// of the SCSI layer may take more.
pub const WRITE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Write data that one connection may have buffered before its command window closes.
pub const BUFFERED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// R2Ts open for one task (our MaxOutstandingR2T).
pub const OUTSTANDING_R2T_MAX: u32 = 4;

/// Response bytes waiting to be sent above which no further command is handed out and nothing more is read.
pub const TRANSMIT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Segments waiting to be sent above which no further command is handed out and nothing more is read.
pub const TRANSMIT_SEGMENTS_MAX: usize = 16 * 1024;

/// Text responses that are waiting for the peer to ask for the rest.
pub const TEXT_RESPONSE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Sessions that one table admits.
pub const SESSIONS_MAX: usize = 16 * 1024;

// ---- of all connections together: the driver's ----------------------------------------------------------------

/// Connections of all portals together.
pub const CONNECTIONS_MAX: usize = 8192;

/// Connections from one address: it never has all.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = CONNECTIONS_MAX / 2;

/// Connections in login, of all portals together.
pub const HALF_OPEN_MAX: usize = 4096;

/// Connections in login from one address.
pub const HALF_OPEN_PER_ADDRESS_MAX: usize = 1024;

/// Data on its way, of all connections together, above which each gets a small share only.
pub const DATA_BYTES_HIGH: usize = 256 << 20;

/// Data on its way above which each connection may bring one write at a time; others are answered TASK SET FULL.
pub const DATA_BYTES_MAX: usize = 512 << 20;

/// Write data that a connection may have when memory is short: enough for a few first bursts.
pub const SHARE_BYTES_MIN: usize = 1 << 20;

/// Responses that may wait on a connection when memory is short.
pub const TRANSMIT_SHARE_BYTES_MIN: usize = 128 << 10;

/// Commands of one connection that may wait for their store, a thread each.
pub const JOBS_PER_CONNECTION_MAX: usize = 64;

/// Commands of all connections that wait, above which each connection may have a small share only.
pub const JOBS_HIGH: usize = 256;

/// See `JOBS_HIGH`.
pub const JOBS_SHARE_MIN: usize = 4;

/// Lines of the log about sessions that come and go: as many at once as a boot of everything brings, then these.
pub const SESSION_LINES: u32 = 2000;

/// See `SESSION_LINES`: one more after this time.
pub const SESSION_LINES_EVERY: Duration = Duration::from_millis(50);

/// Lines of the log about logins that are refused and sessions that break the protocol.
pub const FAULT_LINES: u32 = 100;

/// See `FAULT_LINES`: one more after this time.
pub const FAULT_LINES_EVERY: Duration = Duration::from_secs(1);

/// Time for the last bytes to go out after the end of a connection.
pub const LINGER_TIME: Duration = Duration::from_secs(2);

/// A peer whose host is gone is noticed within a minute (COMPAT P2): by probes when idle, by this when not.
pub const USER_TIMEOUT: Duration = Duration::from_secs(45);

/// First probe of an idle connection.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// Probes after the first.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Unanswered probes that end a connection.
pub const KEEPALIVE_PROBES: u32 = 4;

const _: () = assert!(TASKS_MAX + IMMEDIATE_TASKS_MAX < u16::MAX as usize);
const _: () = assert!(HELD_COMMANDS_MAX <= TASKS_MAX);
