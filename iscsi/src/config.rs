//! What a driver fixes before a connection begins.

use crate::limits;
use std::time::Duration;

/// Configuration of one connection; the same for all connections of a portal.
#[derive(Clone, Debug)]
pub struct ConnectionConfig {
    /// Our side of the negotiation.
    pub negotiation: NegotiationPolicy,
    /// Time from accepting a connection to full feature phase.
    pub login_time: Duration,
    /// Ping an idle peer this often; `None` leaves finding dead peers to TCP. iPXE never answers pings.
    pub ping_interval: Option<Duration>,
    /// Width of the command window.
    pub tasks_max: usize,
    /// Write data buffered before the command window closes.
    pub buffered_bytes_max: usize,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            negotiation: NegotiationPolicy::default(),
            login_time: limits::LOGIN_TIME,
            ping_interval: None,
            tasks_max: limits::TASKS_MAX,
            buffered_bytes_max: limits::BUFFERED_BYTES_MAX,
        }
    }
}

/// The values we bring to the negotiation of operational keys (RFC 7143 §13).
#[derive(Clone, Debug)]
pub struct NegotiationPolicy {
    /// Take CRC32C header digests when the peer prefers them.
    pub header_digest: bool,
    /// Take CRC32C data digests when the peer prefers them.
    pub data_digest: bool,
    /// Our MaxRecvDataSegmentLength.
    pub receive_segment_bytes_max: u32,
    /// MaxBurstLength.
    pub burst_bytes_max: u32,
    /// FirstBurstLength.
    pub first_burst_bytes_max: u32,
    /// Insist on R2T for the first burst.
    pub initial_r2t: bool,
    /// Accept immediate data.
    pub immediate_data: bool,
    /// MaxOutstandingR2T.
    pub outstanding_r2t_max: u32,
}

impl Default for NegotiationPolicy {
    fn default() -> Self {
        Self {
            header_digest: true,
            data_digest: true,
            receive_segment_bytes_max: 256 * 1024,
            burst_bytes_max: 1024 * 1024,
            first_burst_bytes_max: 256 * 1024,
            initial_r2t: false,
            immediate_data: true,
            outstanding_r2t_max: limits::OUTSTANDING_R2T_MAX,
        }
    }
}
