//! A byte stream cut into PDUs: the same PDUs, and the same end, however the bytes are delivered.

use super::Meter;
use crate::limits::{AHS_BYTES_MAX, BHS_BYTES};
use crate::wire::{Deframer, FrameError, Pdu, data_segment_bytes, padding};
use bytes::BytesMut;

/// The first byte says which framing is in force; the rest is the stream.
pub(super) fn run(input: &[u8], _: Meter) {
    let Some((&mode, stream)) = input.split_first() else { return };
    let deframer = Deframer {
        header_digest: mode & 1 != 0,
        data_digest: mode & 2 != 0,
        segment_bytes_max: [64, 512, 8192, 256 * 1024][usize::from(mode >> 2 & 3)],
    };
    let sealed = if mode & 0x10 != 0 { seal(&deframer, stream) } else { stream.to_vec() };
    let step = [1, 7, 48, 61][usize::from(mode >> 6)];
    let whole = all_at_once(&deframer, &sealed);
    let pieces = in_pieces(&deframer, &sealed, step);
    assert_eq!(whole, pieces, "the stream depends on how it is delivered");
}

type Cut = (Vec<Pdu>, Option<FrameError>, usize);

fn all_at_once(deframer: &Deframer, stream: &[u8]) -> Cut {
    let mut received = BytesMut::from(stream);
    let (mut pdus, mut end) = (Vec::new(), None);
    loop {
        let before = received.len();
        match deframer.next(&mut received) {
            Ok(Some(pdu)) => {
                check(deframer, &pdu, before - received.len());
                pdus.push(pdu);
            }
            Ok(None) => break,
            Err(error) => {
                end = Some(error);
                break;
            }
        }
    }
    if end.is_none() {
        let frame_bytes_max = BHS_BYTES + AHS_BYTES_MAX + deframer.segment_bytes_max + 3 + 8;
        let missing = deframer.bytes_missing(&received);
        assert!(missing + received.len() <= frame_bytes_max);
        assert!(missing > 0 || deframer.header_digest, "a PDU that is there is not given");
    }
    (pdus, end, received.len())
}

fn in_pieces(deframer: &Deframer, stream: &[u8], step: usize) -> Cut {
    let mut received = BytesMut::with_capacity(stream.len());
    let mut pdus = Vec::new();
    for piece in stream.chunks(step) {
        received.extend_from_slice(piece);
        loop {
            match deframer.next(&mut received) {
                Ok(Some(pdu)) => pdus.push(pdu),
                Ok(None) => break,
                Err(error) => {
                    // What is left when a stream ends in error is nobody's any more; count what was not looked at, too.
                    let taken: usize = pdus.iter().map(|pdu| frame_bytes(deframer, pdu)).sum();
                    return (pdus, Some(error), stream.len() - taken);
                }
            }
        }
    }
    (pdus, None, received.len())
}

fn frame_bytes(deframer: &Deframer, pdu: &Pdu) -> usize {
    let data = pdu.data.len();
    let digest = |on: bool| if on { 4 } else { 0 };
    let data_digest = digest(deframer.data_digest && data > 0);
    BHS_BYTES + pdu.ahs.len() + digest(deframer.header_digest) + data + padding(data) + data_digest
}

fn check(deframer: &Deframer, pdu: &Pdu, taken: usize) {
    assert_eq!(taken, frame_bytes(deframer, pdu));
    assert_eq!(pdu.data.len(), data_segment_bytes(&pdu.bhs));
    assert!(pdu.ahs.len() <= AHS_BYTES_MAX && pdu.data.len() <= deframer.segment_bytes_max);
    assert!(pdu.data_is_intact || deframer.data_digest);
}

/// Makes the digests of the stream's PDUs right, so that a fuzzer gets behind them.
fn seal(deframer: &Deframer, stream: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(stream.len() + 64);
    let mut rest = stream;
    while let Some(bhs) = rest.first_chunk::<BHS_BYTES>() {
        let header = BHS_BYTES + usize::from(bhs[4]) * 4;
        let data = data_segment_bytes(bhs);
        let segment = data + padding(data);
        if rest.len() < header + segment {
            break;
        }
        let (header, tail) = rest.split_at(header);
        let (segment, tail) = tail.split_at(segment);
        sealed.extend_from_slice(header);
        if deframer.header_digest {
            sealed.extend_from_slice(&crc32c::crc32c(header).to_le_bytes());
        }
        sealed.extend_from_slice(segment);
        if deframer.data_digest && !segment.is_empty() {
            sealed.extend_from_slice(&crc32c::crc32c(segment).to_le_bytes());
        }
        rest = tail;
    }
    sealed.extend_from_slice(rest);
    sealed
}
