//! A record with one wrong byte can be put right, for its checksum and its place say what it must be; of a worse
//! one, its head may still tell which blocks it changed.

use std::ops::Range;

use super::segment::{ChainStart, FoundRecord};
use crate::{
    format::record::{self, Found},
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

/// The record with each byte in turn replaced by each value, until its checksum, its number, its place and its
/// chain are right.
fn one_byte(bytes: &[u8], salt: u32, gap: Gap) -> Option<Found> {
    let longest = record::write_record_bytes(RECORD_BLOCKS_MAX).min(bytes.len());
    let most = gap.end.map_or(longest, |end| longest.min((end.saturating_sub(gap.start.offset)) as usize));
    let mut trial = bytes.get(..most)?.to_vec();
    for at in 0..most {
        let was = trial[at];
        for flip in 1..=u8::MAX {
            trial[at] = was ^ flip;
            if let Ok(found) = record::unpack(&trial, salt, gap.start.offset)
                && found.record.seq == gap.seq
                && gap.start.chain.is_none_or(|chain| found.chain == chain)
                && gap.end.is_none_or(|end| gap.start.offset as usize + found.bytes <= end as usize)
            {
                return Some(found);
            }
        }
        trial[at] = was;
    }
    None
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

/// What `unpack` makes of the bytes when one of them is replaced: the checksum decides.
pub(crate) fn frame<T>(bytes: &[u8], unpack: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    let mut trial = bytes.get(..bytes.len().min(FRAME_BYTES_MAX))?.to_vec();
    for at in 0..trial.len() {
        let was = trial[at];
        for flip in 1..=u8::MAX {
            trial[at] = was ^ flip;
            if let Some(found) = unpack(&trial) {
                return Some(found);
            }
        }
        trial[at] = was;
    }
    None
}
