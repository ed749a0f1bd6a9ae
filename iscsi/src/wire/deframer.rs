//! Cuts a byte stream into PDUs (RFC 7143 §11.1): header, additional headers, header digest, data, pad, data digest.
//!
//! Digests are CRC32C (§13.1). Nothing is copied: a data segment is split off the receive buffer. Lengths are checked as soon as the header is
//! there, before the buffer grows for them.

use super::bhs::{Bhs, data_segment_bytes, padding, total_ahs_bytes};
use crate::limits::{AHS_BYTES_MAX, BHS_BYTES};
use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

const DIGEST_BYTES: usize = 4;

/// One PDU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pdu {
    /// Basic header.
    pub bhs: Bhs,
    /// Additional headers.
    pub ahs: Bytes,
    /// Data segment, without padding.
    pub data: Bytes,
    /// False when the data digest does not match.
    pub data_is_intact: bool,
}

/// A stream that cannot be followed any further.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// The header cannot be trusted, hence neither its lengths.
    #[error("header digest does not match")]
    HeaderDigest,
    /// Longer than the limit that we declared.
    #[error("data segment is longer than MaxRecvDataSegmentLength")]
    SegmentTooLong,
    /// Longer than any that has a meaning.
    #[error("additional header segments are too long")]
    AhsTooLong,
}

/// The framing that is in force.
#[derive(Clone, Copy, Debug)]
pub struct Deframer {
    /// Headers carry a CRC32C.
    pub header_digest: bool,
    /// Data segments carry a CRC32C.
    pub data_digest: bool,
    /// Our MaxRecvDataSegmentLength.
    pub segment_bytes_max: usize,
}

impl Deframer {
    /// Takes the first PDU off `received` when it is there in full.
    ///
    /// # Errors
    /// When the stream cannot be followed any further.
    pub fn next(&self, received: &mut BytesMut) -> Result<Option<Pdu>, FrameError> {
        let Some(bhs) = received.first_chunk::<BHS_BYTES>().copied() else { return Ok(None) };
        let ahs_bytes = total_ahs_bytes(&bhs);
        if self.header_digest && !self.header_is_intact(received, ahs_bytes)? {
            return Ok(None);
        }
        let frame = self.measure(&bhs)?;
        if received.len() < frame.total_bytes {
            return Ok(None);
        }
        if frame.total_bytes == BHS_BYTES {
            received.advance(BHS_BYTES);
            return Ok(Some(Pdu { bhs, ahs: Bytes::new(), data: Bytes::new(), data_is_intact: true }));
        }
        received.advance(BHS_BYTES);
        let ahs = if ahs_bytes > 0 { received.split_to(ahs_bytes).freeze() } else { Bytes::new() };
        received.advance(frame.header_digest_bytes);
        if frame.data_bytes == 0 {
            return Ok(Some(Pdu { bhs, ahs, data: Bytes::new(), data_is_intact: true }));
        }
        let mut segment = received.split_to(frame.data_bytes + padding(frame.data_bytes));
        let data_is_intact = !self.data_digest || take_digest(received) == crc32c::crc32c(&segment);
        segment.truncate(frame.data_bytes);
        Ok(Some(Pdu { bhs, ahs, data: segment.freeze(), data_is_intact }))
    }

    /// How many bytes `received` lacks to the end of its first PDU, as far as that can be told.
    #[must_use]
    pub fn bytes_missing(&self, received: &[u8]) -> usize {
        let total = received
            .first_chunk()
            .and_then(|bhs| self.measure(bhs).ok())
            .map_or(BHS_BYTES, |f| f.total_bytes);
        total.saturating_sub(received.len())
    }

    fn measure(&self, bhs: &Bhs) -> Result<Frame, FrameError> {
        let ahs_bytes = total_ahs_bytes(bhs);
        if ahs_bytes > AHS_BYTES_MAX {
            return Err(FrameError::AhsTooLong);
        }
        let data_bytes = data_segment_bytes(bhs);
        // Without padding: old libiscsi sends segments of exactly our limit.
        if data_bytes > self.segment_bytes_max {
            return Err(FrameError::SegmentTooLong);
        }
        let header_digest_bytes = if self.header_digest { DIGEST_BYTES } else { 0 };
        let data_digest_bytes = if self.data_digest && data_bytes > 0 { DIGEST_BYTES } else { 0 };
        let segment_bytes = data_bytes + padding(data_bytes) + data_digest_bytes;
        let total_bytes = BHS_BYTES + ahs_bytes + header_digest_bytes + segment_bytes;
        Ok(Frame { data_bytes, header_digest_bytes, total_bytes })
    }

    /// `Ok(false)` when the digest is not there yet.
    fn header_is_intact(&self, received: &[u8], ahs_bytes: usize) -> Result<bool, FrameError> {
        if ahs_bytes > AHS_BYTES_MAX {
            return Err(FrameError::HeaderDigest);
        }
        let header_bytes = BHS_BYTES + ahs_bytes;
        let Some(header) = received.get(..header_bytes) else { return Ok(false) };
        let Some(digest) = received.get(header_bytes..).and_then(<[u8]>::first_chunk) else {
            return Ok(false);
        };
        if u32::from_le_bytes(*digest) == crc32c::crc32c(header) {
            Ok(true)
        } else {
            Err(FrameError::HeaderDigest)
        }
    }
}

struct Frame {
    data_bytes: usize,
    header_digest_bytes: usize,
    total_bytes: usize,
}

/// The digest of a whole frame is there: `next` looked at the length first.
fn take_digest(received: &mut BytesMut) -> u32 {
    received.get_u32_le()
}

#[cfg(test)]
mod tests {
    use super::super::bhs::with_data_segment;
    use super::*;

    const PLAIN: Deframer = Deframer { header_digest: false, data_digest: false, segment_bytes_max: 8192 };
    const DIGESTS: Deframer = Deframer { header_digest: true, data_digest: true, segment_bytes_max: 8192 };

    fn frame(data: &[u8]) -> BytesMut {
        let mut bytes = BytesMut::from(&with_data_segment([7; 48].map(|_| 0), data.len())[..]);
        let header_digest = crc32c::crc32c(&bytes).to_le_bytes();
        bytes.extend_from_slice(&header_digest);
        let mut segment = data.to_vec();
        segment.resize(data.len() + padding(data.len()), 0);
        bytes.extend_from_slice(&segment);
        bytes.extend_from_slice(&crc32c::crc32c(&segment).to_le_bytes());
        bytes
    }

    /// RFC 3720 §B.4 shows the CRC32C of 32 zero bytes as it stands on the wire: aa 36 91 8a.
    #[test]
    fn the_digest_has_the_standard_byte_order() {
        assert_eq!(crc32c::crc32c(&[0; 32]).to_le_bytes(), [0xaa, 0x36, 0x91, 0x8a]);
        assert_eq!(crc32c::crc32c(&[0xff; 32]).to_le_bytes(), [0x43, 0xab, 0xa8, 0x62]);
    }

    #[test]
    fn a_pdu_appears_only_with_its_last_byte() {
        let whole = frame(b"abcde");
        let mut received = BytesMut::new();
        for (at, byte) in whole.iter().enumerate() {
            assert_eq!(DIGESTS.next(&mut received).unwrap(), None, "at byte {at}");
            assert!(DIGESTS.bytes_missing(&received) > 0);
            received.extend_from_slice(&[*byte]);
        }
        let pdu = DIGESTS.next(&mut received).unwrap().unwrap();
        assert_eq!(&pdu.data[..], b"abcde");
        assert!(pdu.data_is_intact && received.is_empty());
    }

    #[test]
    fn a_flipped_header_bit_ends_the_stream() {
        for bit in 0..(48 + 4) * 8 {
            let mut bytes = frame(b"abcde");
            bytes[bit / 8] ^= 1 << (bit % 8);
            // A longer AHS length makes the header longer; what follows it is no digest.
            bytes.extend_from_slice(&[0; 2048]);
            assert_eq!(DIGESTS.next(&mut bytes), Err(FrameError::HeaderDigest), "bit {bit}");
        }
    }

    #[test]
    fn a_flipped_data_bit_is_told() {
        let mut bytes = frame(b"abcde");
        bytes[53] ^= 1;
        assert!(!DIGESTS.next(&mut bytes).unwrap().unwrap().data_is_intact);
    }

    #[test]
    fn a_segment_of_just_the_limit_passes_and_one_byte_more_does_not() {
        let mut bytes = BytesMut::from(&with_data_segment([0; 48], 8192)[..]);
        assert_eq!(PLAIN.next(&mut bytes), Ok(None));
        assert_eq!(PLAIN.bytes_missing(&bytes), 8192);
        let mut bytes = BytesMut::from(&with_data_segment([0; 48], 8193)[..]);
        assert_eq!(PLAIN.next(&mut bytes), Err(FrameError::SegmentTooLong));
    }

    #[test]
    fn additional_headers_stand_before_the_digest() {
        let mut bhs = with_data_segment([0; 48], 1);
        bhs[4] = 2;
        let mut bytes = BytesMut::from(&bhs[..]);
        bytes.extend_from_slice(b"12345678x\0\0\0rest");
        let pdu = PLAIN.next(&mut bytes).unwrap().unwrap();
        assert_eq!((&pdu.ahs[..], &pdu.data[..], &bytes[..]), (&b"12345678"[..], &b"x"[..], &b"rest"[..]));
    }
}
