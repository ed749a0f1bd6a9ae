//! What waits to be sent: headers inline in the queue, payloads shared with their owners. A queue that has grown
//! once needs no allocation for a further PDU.

use crate::limits::{BHS_BYTES, TRANSMIT_BYTES_MAX, TRANSMIT_SEGMENTS_MAX};
use crate::payload::Cutter;
use crate::wire::{Bhs, padding, with_data_segment};
use bytes::Bytes;
use std::collections::VecDeque;
use std::io::IoSlice;

/// A header with its digest; or pad bytes with a data digest.
const INLINE_BYTES_MAX: usize = BHS_BYTES + 4;

#[derive(Debug)]
enum Segment {
    Inline { bytes: [u8; INLINE_BYTES_MAX], length: u8 },
    Shared(Bytes),
}

impl Segment {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline { bytes, length } => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Shared(bytes) => bytes,
        }
    }
}

/// The transmit queue of a connection.
#[derive(Debug)]
pub(super) struct Transmit {
    segments: VecDeque<Segment>,
    /// How much of the first segment went out already.
    head_sent: usize,
    bytes: usize,
    bytes_max: usize,
    pub(super) header_digest: bool,
    pub(super) data_digest: bool,
}

impl Default for Transmit {
    fn default() -> Self {
        Self {
            segments: VecDeque::new(),
            head_sent: 0,
            bytes: 0,
            bytes_max: TRANSMIT_BYTES_MAX,
            header_digest: false,
            data_digest: false,
        }
    }
}

impl Transmit {
    /// Sets how much may wait before the queue counts as full.
    pub(super) fn limit(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max.min(TRANSMIT_BYTES_MAX);
    }

    /// Bytes that wait.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Does so much wait that nothing more should be asked for?
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max || self.segments.len() >= TRANSMIT_SEGMENTS_MAX
    }

    /// Queues a PDU without data.
    pub(super) fn push(&mut self, bhs: Bhs) {
        self.push_header(bhs);
    }

    /// Queues a PDU with one piece of data.
    pub(super) fn push_with(&mut self, bhs: Bhs, data: Bytes) {
        self.push_header(with_data_segment(bhs, data.len()));
        if data.is_empty() {
            return;
        }
        let length = data.len();
        let digest = self.data_digest.then(|| crc32c::crc32c(&data));
        self.push_shared(data);
        self.push_trailer(length, digest);
    }

    /// Queues a PDU with the next `length` bytes of a payload.
    pub(super) fn push_cut(&mut self, bhs: Bhs, data: &mut Cutter<'_>, length: usize) {
        self.push_header(with_data_segment(bhs, length));
        let mut digest = self.data_digest.then_some(0);
        let mut left = length;
        while left > 0 {
            let Some(slice) = data.next(left) else { break };
            left -= slice.len();
            digest = digest.map(|crc| crc32c::crc32c_append(crc, &slice));
            self.push_shared(slice);
        }
        debug_assert_eq!(left, 0, "a PDU is cut from data that is there");
        self.push_trailer(length, digest);
    }

    /// Shows what is to be sent next; says how many slices were filled.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut skip = self.head_sent;
        let mut count = 0;
        for (slot, segment) in slices.iter_mut().zip(&self.segments) {
            *slot = IoSlice::new(segment.bytes().get(skip..).unwrap_or_default());
            skip = 0;
            count += 1;
        }
        count
    }

    /// Forgets what went out.
    pub(super) fn advance(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.bytes);
        self.bytes -= bytes.min(self.bytes);
        let mut sent = self.head_sent + bytes;
        while let Some(head) = self.segments.front() {
            let length = head.bytes().len();
            if sent < length {
                break;
            }
            sent -= length;
            self.segments.pop_front();
        }
        self.head_sent = sent;
        // A burst must not pin memory for the rest of an idle session.
        if self.segments.is_empty() && self.segments.capacity() > 1024 {
            self.segments.shrink_to(64);
        }
    }

    /// The header, with its digest where that was agreed on (§13.1).
    fn push_header(&mut self, bhs: Bhs) {
        let mut bytes = [0; INLINE_BYTES_MAX];
        bytes[..BHS_BYTES].copy_from_slice(&bhs);
        let length = if self.header_digest {
            bytes[BHS_BYTES..].copy_from_slice(&crc32c::crc32c(&bhs).to_le_bytes());
            INLINE_BYTES_MAX
        } else {
            BHS_BYTES
        };
        self.push_inline(bytes, length);
    }

    /// Padding to four bytes, then the digest of data and padding (RFC 7143 §11.1).
    fn push_trailer(&mut self, data_bytes: usize, digest: Option<u32>) {
        let pad = padding(data_bytes);
        let mut bytes = [0; INLINE_BYTES_MAX];
        let mut length = pad;
        if let Some(digest) = digest {
            let digest = crc32c::crc32c_append(digest, &[0; 3][..pad]);
            bytes[pad..pad + 4].copy_from_slice(&digest.to_le_bytes());
            length += 4;
        }
        if length > 0 {
            self.push_inline(bytes, length);
        }
    }

    fn push_inline(&mut self, bytes: [u8; INLINE_BYTES_MAX], length: usize) {
        self.bytes += length;
        self.segments.push_back(Segment::Inline { bytes, length: u8::try_from(length).unwrap_or(u8::MAX) });
    }

    fn push_shared(&mut self, bytes: Bytes) {
        self.bytes += bytes.len();
        self.segments.push_back(Segment::Shared(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Deframer;
    use bytes::BytesMut;

    fn drain(transmit: &mut Transmit, step: usize) -> BytesMut {
        let mut out = BytesMut::new();
        while transmit.bytes() > 0 {
            let mut slices = [IoSlice::new(&[]); 3];
            let count = transmit.slices(&mut slices);
            let shown: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            let sent = shown.len().min(step);
            out.extend_from_slice(&shown[..sent]);
            transmit.advance(sent);
        }
        out
    }

    #[test]
    fn what_is_sent_in_any_steps_is_what_was_queued() {
        for (digests, step) in [(false, 1), (true, 1), (true, 7), (false, 1000)] {
            let mut transmit =
                Transmit { header_digest: digests, data_digest: digests, ..Transmit::default() };
            transmit.push([1; 48].map(|_| 0));
            transmit.push_with([0; 48], Bytes::from_static(b"hello"));
            let payload = [&b"abc"[..], b"defg", b"h"].into_iter().map(Bytes::from_static).collect();
            let mut cutter = Cutter::new(&payload);
            transmit.push_cut([0; 48], &mut cutter, 6);
            transmit.push_cut([0; 48], &mut cutter, 2);
            let mut stream = drain(&mut transmit, step);
            let deframer = Deframer { header_digest: digests, data_digest: digests, segment_bytes_max: 100 };
            let mut data = Vec::new();
            while let Some(pdu) = deframer.next(&mut stream).unwrap() {
                assert!(pdu.data_is_intact);
                data.push(pdu.data);
            }
            assert_eq!(data, ["", "hello", "abcdef", "gh"]);
            assert!(stream.is_empty() && transmit.segments.is_empty());
        }
    }
}
