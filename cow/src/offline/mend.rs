//! A record with one wrong byte can be put right, for its checksum and its place say what it must be; of a worse
//! one, its head may still tell which blocks it changed.

use std::ops::Range;

use super::segment::{ChainStart, FoundRecord};
use crate::{
    format::{
        frame::framed_bytes,
        record::{self, Found},
    },
    limits::RECORD_BLOCKS_MAX,
};

/// A manifest, or the header of a segment, has at most so many bytes.
const FRAME_BYTES_MAX: usize = 2048;

/// Where a record must stand that cannot be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gap {
    pub start: ChainStart,
    /// Where the next readable record begins, if there is one.
    pub end: Option<u32>,
    /// Its sequence number.
    pub seq: u64,
}

/// What could be learnt of it.
#[derive(Debug)]
pub(crate) enum Mended {
    /// All: one byte was wrong.
    Whole(FoundRecord),
    /// Which blocks it changed, and its length in bytes.
    Blocks(Range<u64>, u32),
    Nothing,
}

/// Looks at the bytes of a record that is damaged.
pub(crate) fn mend(summary: &[u8], salt: u32, gap: Gap) -> Mended {
    let Some(bytes) = usize::try_from(gap.start.offset).ok().and_then(|at| summary.get(at..)) else {
        return Mended::Nothing;
    };
    if let Some(found) = one_byte(bytes, salt, gap) {
        return Mended::Whole(FoundRecord { offset: gap.start.offset, found });
    }
    head(bytes, gap).map_or(Mended::Nothing, |(blocks, bytes)| Mended::Blocks(blocks, bytes))
}

/// The record, if changing one byte makes its checksum, its number, its place and its chain right.
fn one_byte(bytes: &[u8], salt: u32, gap: Gap) -> Option<Found> {
    let longest = record::write_record_bytes(RECORD_BLOCKS_MAX).min(bytes.len());
    let most = gap.end.map_or(longest, |end| longest.min((end.saturating_sub(gap.start.offset)) as usize));
    let bytes = bytes.get(..most)?;
    let count = u16::from_le_bytes(bytes.get(10..12)?.try_into().ok()?);
    let length = record::write_record_bytes(usize::from(count));
    with_one_byte(bytes, salt, length, |trial| {
        let found = record::unpack(trial, salt, gap.start.offset).ok()?;
        let fits = found.record.seq == gap.seq && gap.start.chain.is_none_or(|chain| found.chain == chain);
        fits.then_some(found)
    })
}

/// The head of a record whose checksums are damaged: believed when number, place, chain and length all fit.
fn head(bytes: &[u8], gap: Gap) -> Option<(Range<u64>, u32)> {
    let claim = record::claim(bytes)?;
    let length = u32::try_from(claim.bytes).ok()?;
    let ends = gap.end.is_none_or(|end| gap.start.offset + length == end);
    let fits =
        claim.seq == gap.seq && claim.offset == gap.start.offset && Some(claim.chain) == gap.start.chain;
    (fits && ends).then_some((claim.blocks, length))
}

/// A manifest, or the header of a segment, if changing one byte makes it right.
pub(crate) fn frame<T>(bytes: &[u8], unpack: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    let bytes = bytes.get(..bytes.len().min(FRAME_BYTES_MAX))?;
    with_one_byte(bytes, 0, framed_bytes(bytes)?, unpack)
}

/// What `unpack` makes of the bytes when one of them is changed. The checksum lies in bytes 4 to 7 and covers those
/// from 8 on to `length`; what decides on length and checksum is tried, for the rest the checksum says which byte
/// it is.
fn with_one_byte<T>(
    bytes: &[u8],
    salt: u32,
    length: usize,
    unpack: impl Fn(&[u8]) -> Option<T>,
) -> Option<T> {
    let mut trial = bytes.to_vec();
    for at in 0..trial.len().min(TRIED_BYTES) {
        for flip in 1..=u8::MAX {
            trial[at] = bytes[at] ^ flip;
            if let Some(found) = unpack(&trial) {
                return Some(found);
            }
        }
        trial[at] = bytes[at];
    }
    let covered = bytes.get(CRC_COVERS..length)?;
    let wanted = u32::from_le_bytes(bytes.get(4..CRC_COVERS)?.try_into().ok()?);
    let (at, flip) = wrong_byte(covered.len(), crc32c::crc32c_append(salt, covered) ^ wanted)?;
    trial[CRC_COVERS + at] ^= flip;
    unpack(&trial)
}

/// Where the checksum begins to cover.
const CRC_COVERS: usize = 8;
/// Salt, checksum, kind and length of a frame or a record.
const TRIED_BYTES: usize = 16;

/// Which of so many bytes must be changed, and how, to change their CRC32C by `difference`. The checksum of a
/// difference does not depend on what it is a difference of, so that each byte has 255 of them.
fn wrong_byte(length: usize, difference: u32) -> Option<(usize, u8)> {
    let table: [u32; 256] = std::array::from_fn(|n| {
        let n = u32::try_from(n).unwrap_or(0);
        (0..8).fold(n, |crc, _| (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 })
    });
    let mut differences = table;
    for at in (0..length).rev() {
        if let Some(flip) = differences[1..].iter().position(|found| *found == difference) {
            return Some((at, u8::try_from(flip + 1).ok()?));
        }
        for found in &mut differences {
            *found = (*found >> 8) ^ table[(*found & 0xff) as usize];
        }
    }
    None
}

/// Of CRC32C, RFC 3720 appendix B.4, with its bits in reverse.
const POLYNOMIAL: u32 = 0x82f6_3b78;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::{At, Body, Record};

    #[test]
    fn the_checksum_says_which_byte_is_wrong() {
        let good: Vec<u8> = (0..300_u32).map(|n| (n * 7) as u8).collect();
        for at in [0, 1, 150, 299] {
            for flip in [1, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= flip;
                let difference = crc32c::crc32c_append(5, &good) ^ crc32c::crc32c_append(5, &bad);
                assert_eq!(wrong_byte(300, difference), Some((at, flip)));
            }
        }
        assert_eq!(wrong_byte(300, 0), None);
    }

    #[test]
    fn a_record_with_any_one_wrong_byte_is_put_right_and_one_with_more_tells_its_blocks() {
        let body = Body::Write { lba: 77, block: 6, crcs: (0..9).collect() };
        let (at, record) = (At { salt: 3, offset: 4096, chain: 5 }, Record { seq: 10, durable_seq: 8, body });
        let mut good = vec![0; 4096];
        record::pack(&mut good, at, &record);
        let start = ChainStart { offset: 4096, chain: Some(5) };
        let gap = Gap { start, end: u32::try_from(good.len()).ok(), seq: 10 };
        for byte in 4096..good.len() {
            let mut bad = good.clone();
            bad[byte] ^= 0xa5;
            let Mended::Whole(found) = mend(&bad, 3, gap) else { panic!("byte {byte}") };
            assert_eq!(found.found.record, record);
            let other = Gap { seq: 11, ..gap };
            assert!(matches!(mend(&bad, 3, other), Mended::Nothing), "byte {byte}");
        }
        let mut bad = good.clone();
        bad[4096 + 60..4096 + 70].fill(0xee);
        assert!(matches!(mend(&bad, 3, gap), Mended::Blocks(blocks, 88) if blocks == (77..86)));
        bad[4096..].fill(0);
        assert!(matches!(mend(&bad, 3, gap), Mended::Nothing));
    }
}
