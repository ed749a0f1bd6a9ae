//! Replies to requests: simple, or in structured chunks where that was agreed on.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::ErrorCode;
use crate::handshake::Agreed;
use crate::limits::{EXTENTS_MAX, HOLE_BYTES, MESSAGE_BYTES_MAX};
use crate::outbox::Outbox;
use crate::transmission::Ticket;
use crate::wire::{
    BASE_ALLOCATION_ID, SIMPLE_REPLY_MAGIC, STATE_HOLE, STATE_ZERO, STRUCTURED_REPLY_MAGIC, chunk, command,
};

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done,
    /// What was read, all of it.
    Data(Bytes),
    /// What the range consists of, from its beginning.
    Extents(Vec<Extent>),
    /// Nothing, or not all, was done; the message goes to clients that can take one.
    Failed(ErrorCode, String),
}

/// A part of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Its length.
    pub bytes: u32,
    /// Whether there is data. What is not allocated reads zeros.
    pub allocated: bool,
}

static ZEROES: [u8; HOLE_BYTES] = [0; HOLE_BYTES];

/// Answers a request.
pub(crate) fn answer(out: &mut Outbox, agreed: Agreed, ticket: &Ticket, outcome: Outcome) {
    match outcome {
        Outcome::Failed(code, message) if agreed.structured => error(out, ticket, code, &message),
        Outcome::Failed(code, _) => simple(out, ticket, code.number()),
        Outcome::Data(data) if !agreed.structured => {
            simple(out, ticket, 0);
            out.push(data);
        }
        Outcome::Data(data) if ticket.one_chunk => read(out, ticket, chunk::DONE, 0, Run::Data(data)),
        Outcome::Data(data) => chunks(out, ticket, &data),
        Outcome::Extents(extents) => block_status(out, ticket, &extents),
        Outcome::Done => simple(out, ticket, 0),
    }
}

fn simple(out: &mut Outbox, ticket: &Ticket, error: u32) {
    let mut reply = BytesMut::with_capacity(16);
    reply.put_u32(SIMPLE_REPLY_MAGIC);
    reply.put_u32(error);
    reply.put_u64(ticket.cookie);
    out.push(reply);
}

/// The head of a chunk, with room for the fixed fields of its payload.
fn head(ticket: &Ticket, flags: u16, kind: u16, payload: usize) -> BytesMut {
    let mut head = BytesMut::with_capacity(20 + 16);
    head.put_u32(STRUCTURED_REPLY_MAGIC);
    head.put_u16(flags);
    head.put_u16(kind);
    head.put_u64(ticket.cookie);
    head.put_u32(u32::try_from(payload).unwrap_or(u32::MAX));
    head
}

fn error(out: &mut Outbox, ticket: &Ticket, code: ErrorCode, message: &str) {
    let message = &message.as_bytes()[..message.floor_char_boundary(MESSAGE_BYTES_MAX)];
    let mut reply = head(ticket, chunk::DONE, chunk::ERROR, 6 + message.len());
    reply.put_u32(code.number());
    reply.put_u16(u16::try_from(message.len()).unwrap_or(0));
    reply.put_slice(message);
    out.push(reply);
}

/// A part of what was read.
enum Run {
    Data(Bytes),
    Zeros(usize),
}

fn read(out: &mut Outbox, ticket: &Ticket, flags: u16, at: usize, run: Run) {
    let offset = ticket.offset + at as u64;
    match run {
        Run::Data(data) => {
            let mut head = head(ticket, flags, chunk::OFFSET_DATA, 8 + data.len());
            head.put_u64(offset);
            out.push(head);
            out.push(data);
        }
        Run::Zeros(bytes) => {
            let mut head = head(ticket, flags, chunk::OFFSET_HOLE, 12);
            head.put_u64(offset);
            head.put_u32(u32::try_from(bytes).unwrap_or(u32::MAX));
            out.push(head);
        }
    }
}

/// Pieces of zeros as holes, the others as data, neighbours joined.
fn chunks(out: &mut Outbox, ticket: &Ticket, data: &Bytes) {
    let mut start = 0;
    while start < data.len() {
        let zeros = is_zero(data, start);
        let mut end = start;
        while end < data.len() && is_zero(data, end) == zeros {
            end = data.len().min(end + HOLE_BYTES);
        }
        let run = if zeros { Run::Zeros(end - start) } else { Run::Data(data.slice(start..end)) };
        let flags = if end == data.len() { chunk::DONE } else { 0 };
        read(out, ticket, flags, start, run);
        start = end;
    }
}

/// Whether the piece that begins here is all zeros.
fn is_zero(data: &[u8], start: usize) -> bool {
    let piece = data.get(start..data.len().min(start + HOLE_BYTES)).unwrap_or_default();
    ZEROES.get(..piece.len()) == Some(piece)
}

fn block_status(out: &mut Outbox, ticket: &Ticket, extents: &[Extent]) {
    debug_assert!(ticket.command == command::BLOCK_STATUS && !extents.is_empty());
    let extents = extents.get(..extents.len().min(EXTENTS_MAX)).unwrap_or_default();
    let mut reply = head(ticket, chunk::DONE, chunk::BLOCK_STATUS, 4 + 8 * extents.len());
    reply.reserve(4 + 8 * extents.len());
    reply.put_u32(BASE_ALLOCATION_ID);
    for extent in extents {
        reply.put_u32(extent.bytes);
        reply.put_u32(if extent.allocated { 0 } else { STATE_HOLE | STATE_ZERO });
    }
    out.push(reply);
}
