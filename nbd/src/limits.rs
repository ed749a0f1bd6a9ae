//! Every limit of the protocol machine, in one place: what a peer can make us keep.
//!
//! A connection keeps at most about [`RECEIVED_BYTES_MAX`] of what came, and, of what is on its way,
//! [`BUSY_BYTES_MAX`] and one request more.

/// Bytes that one request may read or write: what the protocol asks of every server, and what we advertise.
pub const PAYLOAD_BYTES_MAX: u32 = 32 << 20;

/// Offsets and lengths are multiples of this; advertised, and held.
pub const BLOCK_BYTES_MIN: u32 = 512;

/// What a client does best to align to: the store's block.
pub const BLOCK_BYTES_PREFERRED: u32 = 4096;

/// Data of one option of the handshake. Names have at most 4096 bytes each.
pub const OPTION_BYTES_MAX: u32 = 32 << 10;

/// Options of one handshake: a client that asks for more plays for time.
pub const OPTIONS_MAX: usize = 64;

/// Requests that are begun and not answered.
pub const REQUESTS_MAX: usize = 64;

/// Bytes of requests that are begun, and of replies that are not sent yet, at which no further request is begun.
pub const BUSY_BYTES_MAX: usize = 16 << 20;

/// A receive has room for this much.
pub const RECEIVE_BYTES: usize = 64 << 10;

/// While a long payload comes, room is made in steps that double from here: an announcement alone takes no memory.
pub const RECEIVE_STEP_BYTES: usize = 256 << 10;

/// What is received and not yet a request: a whole write and what came with its end.
pub const RECEIVED_BYTES_MAX: usize = PAYLOAD_BYTES_MAX as usize + 2 * RECEIVE_STEP_BYTES;

/// A run of zeros in the answer to a read is sent as a hole in whole pieces of this.
pub const HOLE_BYTES: usize = 32 << 10;

/// Extents in one answer to a block status; the client asks again from where they end.
pub const EXTENTS_MAX: usize = 8192;

/// Message of an error that is sent along.
pub const MESSAGE_BYTES_MAX: usize = 512;

const _: () = assert!(PAYLOAD_BYTES_MAX.is_multiple_of(BLOCK_BYTES_PREFERRED));
const _: () = assert!(HOLE_BYTES.is_multiple_of(BLOCK_BYTES_PREFERRED as usize));
const _: () = assert!(MESSAGE_BYTES_MAX < u16::MAX as usize);
