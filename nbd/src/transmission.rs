//! Requests: raw header to typed command, or to a refusal that is answered at once.

use bytes::{Buf, Bytes, BytesMut};

use crate::error::{ErrorCode, ProtocolError};
use crate::export::Export;
use crate::handshake::Agreed;
use crate::limits::{BLOCK_BYTES_MIN, PAYLOAD_BYTES_MAX, RECEIVE_STEP_BYTES};
use crate::wire::{Fields, REQUEST_BYTES, REQUEST_MAGIC, command, command_flags};

/// What a client wants done. Offsets and lengths are multiples of 512, within the export, and not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Bytes are wanted: complete it with [`crate::Outcome::Data`] of exactly this length.
    Read {
        /// First byte.
        offset: u64,
        /// At most `PAYLOAD_BYTES_MAX`.
        bytes: u32,
    },
    /// Bytes are to be written.
    Write {
        /// First byte.
        offset: u64,
        /// All of them.
        data: Bytes,
        /// Answer only when it is durable.
        fua: bool,
    },
    /// Everything that was answered before is to be durable.
    Flush,
    /// The bytes are not needed any more.
    Trim {
        /// First byte.
        offset: u64,
        /// Any length.
        bytes: u32,
        /// Answer only when it is durable.
        fua: bool,
    },
    /// The range is to read zeros.
    WriteZeroes {
        /// First byte.
        offset: u64,
        /// Any length.
        bytes: u32,
        /// Answer only when it is durable.
        fua: bool,
        /// The client would like the range to stay allocated.
        no_hole: bool,
    },
    /// Which parts are allocated: complete it with [`crate::Outcome::Extents`], which may end early.
    BlockStatus {
        /// First byte.
        offset: u64,
        /// Any length.
        bytes: u32,
        /// One extent is enough.
        one: bool,
    },
}

/// A command, and what its answer needs.
#[derive(Debug)]
pub struct Request {
    /// What is wanted.
    pub command: Command,
    /// Goes into [`crate::Connection::complete`].
    pub ticket: Ticket,
}

/// Stands for a request that has not been answered.
#[derive(Debug)]
#[must_use = "a request must be answered"]
pub struct Ticket {
    pub(crate) cookie: u64,
    pub(crate) command: u16,
    pub(crate) offset: u64,
    /// Bytes that it accounts for while it is under way.
    pub(crate) bytes: usize,
    pub(crate) one_chunk: bool,
}

/// A request that was answered with an error as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What was answered.
    pub code: ErrorCode,
    /// Why, in words.
    pub why: String,
}

/// A request as it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) flags: u16,
    pub(crate) command: u16,
    pub(crate) cookie: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: u32,
}

/// What the front of the input is.
pub(crate) enum Cut {
    /// Not yet a whole request; this many bytes are missing, as far as that is known.
    Missing(usize),
    /// The client wants to end.
    Disconnect,
    /// A request.
    Request(Header, Bytes),
}

impl Header {
    fn parse(input: &[u8]) -> Result<Option<Self>, ProtocolError> {
        let mut fields = Fields(input);
        let Some(magic) = fields.u32() else { return Ok(None) };
        if magic != REQUEST_MAGIC {
            return Err(ProtocolError::RequestMagic(magic));
        }
        let mut rest = || {
            let (flags, command) = (fields.u16()?, fields.u16()?);
            let (cookie, offset, bytes) = (fields.u64()?, fields.u64()?, fields.u32()?);
            Some(Self { flags, command, cookie, offset, bytes })
        };
        Ok(rest())
    }

    fn has(self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn name(self) -> &'static str {
        match self.command {
            command::READ => "read",
            command::WRITE => "write",
            command::DISC => "disconnect",
            command::FLUSH => "flush",
            command::TRIM => "trim",
            command::WRITE_ZEROES => "write of zeros",
            command::BLOCK_STATUS => "block status",
            _ => "unknown command",
        }
    }

    pub(crate) fn ticket(self) -> Ticket {
        let moves = matches!(self.command, command::READ | command::WRITE);
        Ticket {
            cookie: self.cookie,
            command: self.command,
            offset: self.offset,
            bytes: if moves { self.bytes as usize } else { 0 },
            one_chunk: self.has(command_flags::DF),
        }
    }
}

/// Takes one request with its payload off the input.
pub(crate) fn cut(input: &mut BytesMut) -> Result<Cut, ProtocolError> {
    let Some(header) = Header::parse(input)? else {
        return Ok(Cut::Missing(REQUEST_BYTES.saturating_sub(input.len())));
    };
    let payload = match header.command {
        command::WRITE if header.bytes > PAYLOAD_BYTES_MAX => {
            return Err(ProtocolError::PayloadTooLong { bytes: header.bytes });
        }
        command::WRITE => header.bytes as usize,
        _ => 0,
    };
    let missing = (REQUEST_BYTES + payload).saturating_sub(input.len());
    if missing > 0 {
        return Ok(Cut::Missing(missing));
    }
    input.advance(REQUEST_BYTES);
    let data = input.split_to(payload).freeze();
    if payload >= RECEIVE_STEP_BYTES {
        // What came with its end must not keep the whole of a long payload in memory.
        *input = BytesMut::from(&input[..]);
    }
    Ok(match header.command {
        command::DISC => Cut::Disconnect,
        _ => Cut::Request(header, data),
    })
}

/// What a request is, or why it is refused.
pub(crate) fn decide(
    header: Header,
    data: Bytes,
    export: &Export,
    agreed: Agreed,
) -> Result<Command, Refused> {
    let Header { offset, bytes, .. } = header;
    check_flags(header, agreed)?;
    let changes = matches!(header.command, command::WRITE | command::TRIM | command::WRITE_ZEROES);
    if changes && export.read_only {
        return refuse(ErrorCode::NotPermitted, format!("a {} on a read-only export", header.name()));
    }
    let fua = header.has(command_flags::FUA);
    match header.command {
        command::FLUSH if offset == 0 && bytes == 0 => Ok(Command::Flush),
        command::FLUSH => refuse(ErrorCode::Invalid, "a flush with an offset or a length".to_owned()),
        command::READ if bytes > PAYLOAD_BYTES_MAX => {
            refuse(ErrorCode::Invalid, format!("a read of {bytes} bytes, more than {PAYLOAD_BYTES_MAX}"))
        }
        command::READ => check_range(header, export).map(|()| Command::Read { offset, bytes }),
        command::WRITE => check_range(header, export).map(|()| Command::Write { offset, data, fua }),
        command::TRIM => check_range(header, export).map(|()| Command::Trim { offset, bytes, fua }),
        command::WRITE_ZEROES => {
            let no_hole = header.has(command_flags::NO_HOLE);
            check_range(header, export).map(|()| Command::WriteZeroes { offset, bytes, fua, no_hole })
        }
        command::BLOCK_STATUS if !agreed.allocation => {
            refuse(ErrorCode::Invalid, "a block status without a metadata context".to_owned())
        }
        command::BLOCK_STATUS => {
            let one = header.has(command_flags::REQ_ONE);
            check_range(header, export).map(|()| Command::BlockStatus { offset, bytes, one })
        }
        other => refuse(ErrorCode::Invalid, format!("command {other}, which is not known")),
    }
}

/// FUA is allowed on every command; the others where they mean something. FAST_ZERO is not offered, so it is refused.
fn check_flags(header: Header, agreed: Agreed) -> Result<(), Refused> {
    let allowed = match header.command {
        command::READ if agreed.structured => command_flags::DF,
        command::WRITE_ZEROES => command_flags::NO_HOLE,
        command::BLOCK_STATUS => command_flags::REQ_ONE,
        _ => 0,
    };
    match header.flags & !(allowed | command_flags::FUA) {
        0 => Ok(()),
        unknown => refuse(ErrorCode::Invalid, format!("a {} with flags {unknown:#x}", header.name())),
    }
}

fn check_range(header: Header, export: &Export) -> Result<(), Refused> {
    let Header { offset, bytes, .. } = header;
    let what = || format!("a {} of {bytes} bytes at {offset}", header.name());
    let aligned = |number: u64| number.is_multiple_of(u64::from(BLOCK_BYTES_MIN));
    if bytes == 0 {
        return refuse(ErrorCode::Invalid, format!("{}: nothing", what()));
    }
    if !aligned(offset) || !aligned(u64::from(bytes)) {
        return refuse(ErrorCode::Invalid, format!("{}: not in blocks of {BLOCK_BYTES_MIN}", what()));
    }
    match offset.checked_add(u64::from(bytes)) {
        Some(end) if end <= export.size_bytes => Ok(()),
        // ENOSPC is what the protocol suggests for writes; QEMU would stop its guest for ever upon it.
        _ => refuse(ErrorCode::Invalid, format!("{}: past the end, {}", what(), export.size_bytes)),
    }
}

fn refuse<T>(code: ErrorCode, why: String) -> Result<T, Refused> {
    Err(Refused { code, why })
}
