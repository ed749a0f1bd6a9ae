//! Records: the summary of a segment, one after the other, each chained to the one before it.

use nom::{
    Parser,
    number::complete::{le_u16, le_u32, le_u64},
};

use super::Damage;
use crate::{
    ids::LayerId,
    limits::{RECORD_BLOCKS_MAX, SEGMENT_BLOCKS},
};

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    /// Blocks from `lba` on were written to the blocks of this segment from `block` on.
    Write { lba: u32, block: u32, crcs: Vec<u32> },
    /// `blocks` blocks from `lba` on read zeros from now on.
    Trim { lba: u32, blocks: u64 },
    /// Nothing but its `durable_seq`.
    Marker,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Its place in the order of all changes to the layer.
    pub seq: u64,
    /// Every record up to this one had been made durable when this one was written.
    pub durable_seq: u64,
    pub body: Body,
}

/// Where a record stands: checked by its checksum, so that a record that was found elsewhere is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    /// Of the layer and the segment, see [`segment_salt`].
    pub salt: u32,
    /// Bytes from the start of the segment file.
    pub offset: u32,
    /// The checksum of the record before it, or the segment header's.
    pub chain: u32,
}

const SALT: u32 = u32::from_le_bytes(*b"OVr1");
const KIND_WRITE: u16 = 1;
const KIND_TRIM: u16 = 2;
const KIND_MARKER: u16 = 3;
const CRC_COVERS: usize = 8;
/// Bytes of a record without checksums of blocks.
pub(crate) const FIXED_BYTES: usize = 56;
/// Every record begins at a multiple of this.
pub(crate) const ALIGN: usize = 8;

/// What makes records of one segment unlike those of any other.
pub(crate) fn segment_salt(layer: LayerId, number: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&layer.0), &number.to_le_bytes())
}

/// Bytes of a record that writes `blocks` blocks.
pub(crate) fn write_record_bytes(blocks: usize) -> usize {
    // The first checksum lies in the fixed part, in the place of a trim's count.
    (FIXED_BYTES - 8 + 4 * blocks).next_multiple_of(ALIGN).max(FIXED_BYTES)
}

/// Appends the bytes of a write's record to `out`, without building a [`Record`]; returns its checksum.
pub(crate) fn pack_write(
    out: &mut Vec<u8>,
    at: At,
    seqs: (u64, u64),
    place: (u32, u32),
    crcs: &[u32],
) -> u32 {
    let start = pack_head(out, at, KIND_WRITE, crcs.len(), seqs, place);
    crcs.iter().for_each(|crc| out.extend(crc.to_le_bytes()));
    seal(out, start, at)
}

/// Appends the bytes of a record to `out`; returns its checksum.
pub(crate) fn pack(out: &mut Vec<u8>, at: At, record: &Record) -> u32 {
    let seqs = (record.seq, record.durable_seq);
    match &record.body {
        Body::Write { lba, block, crcs } => pack_write(out, at, seqs, (*lba, *block), crcs),
        Body::Trim { lba, blocks } => {
            let start = pack_head(out, at, KIND_TRIM, 0, seqs, (*lba, 0));
            out.extend(blocks.to_le_bytes());
            seal(out, start, at)
        }
        Body::Marker => {
            let start = pack_head(out, at, KIND_MARKER, 0, seqs, (0, 0));
            seal(out, start, at)
        }
    }
}

fn pack_head(
    out: &mut Vec<u8>,
    at: At,
    kind: u16,
    count: usize,
    seqs: (u64, u64),
    place: (u32, u32),
) -> usize {
    debug_assert!(count <= RECORD_BLOCKS_MAX);
    let start = out.len();
    out.extend(SALT.to_le_bytes());
    out.extend([0; 4]); // the checksum, in `seal`
    out.extend(kind.to_le_bytes());
    out.extend(u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes());
    out.extend(at.offset.to_le_bytes());
    out.extend(seqs.0.to_le_bytes());
    out.extend(seqs.1.to_le_bytes());
    out.extend(at.chain.to_le_bytes());
    out.extend(place.1.to_le_bytes());
    out.extend(u64::from(place.0).to_le_bytes());
    start
}

fn seal(out: &mut Vec<u8>, start: usize, at: At) -> u32 {
    let bytes = (out.len() - start).max(FIXED_BYTES).next_multiple_of(ALIGN);
    out.resize(start + bytes, 0);
    let crc = crc32c::crc32c_append(at.salt, &out[start + CRC_COVERS..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    crc
}

/// A record that was found, with what the next one needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub record: Record,
    pub crc: u32,
    pub chain: u32,
    pub bytes: usize,
}

/// The record that begins at the first of `bytes`, whatever came before it: the caller compares `chain`.
pub(crate) fn unpack(bytes: &[u8], salt: u32, offset: u32) -> Result<Found, Damage> {
    let head = bytes.get(..FIXED_BYTES - 8).ok_or(Damage::Short)?;
    // A scan asks this of many places that hold none.
    if !head.starts_with(&SALT.to_le_bytes()) {
        return Err(Damage::Kind);
    }
    let (_, fields) = (
        le_u32::<_, nom::error::Error<&[u8]>>,
        le_u32,
        le_u16,
        le_u16,
        le_u32,
        le_u64,
        le_u64,
        le_u32,
        le_u32,
        le_u64,
    )
        .parse(head)
        .map_err(|_| Damage::Short)?;
    let (_, crc, kind, count, own_offset, seq, durable_seq, chain, block, lba) = fields;
    let count = usize::from(count);
    if count > RECORD_BLOCKS_MAX {
        return Err(Damage::Field);
    }
    let length = write_record_bytes(count);
    let whole = bytes.get(..length).ok_or(Damage::Short)?;
    if crc32c::crc32c_append(salt, &whole[CRC_COVERS..]) != crc {
        return Err(Damage::Checksum);
    }
    if own_offset != offset {
        return Err(Damage::Place);
    }
    let lba = u32::try_from(lba).map_err(|_| Damage::Field)?;
    let body = unpack_body(kind, count, lba, block, &whole[FIXED_BYTES - 8..])?;
    Ok(Found { record: Record { seq, durable_seq, body }, crc, chain, bytes: length })
}

/// What the head of a record says that may be damaged: nothing of it was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub seq: u64,
    pub offset: u32,
    pub chain: u32,
    /// Blocks of the volume that it changed.
    pub blocks: std::ops::Range<u64>,
    pub bytes: usize,
}

/// The head of a damaged record of a write, if it makes sense at all.
pub(crate) fn claim(bytes: &[u8]) -> Option<Claim> {
    let (rest, (magic, _, kind, count)) =
        (le_u32::<_, nom::error::Error<&[u8]>>, le_u32, le_u16, le_u16).parse(bytes).ok()?;
    let (_, (offset, seq, _, chain, _, lba)) =
        (le_u32::<_, nom::error::Error<&[u8]>>, le_u64, le_u64, le_u32, le_u32, le_u64).parse(rest).ok()?;
    let end = lba.checked_add(u64::from(count)).filter(|end| *end <= 1 << 32)?;
    let count = usize::from(count);
    let sane = magic == SALT && kind == KIND_WRITE && count <= RECORD_BLOCKS_MAX && end > lba;
    sane.then(|| Claim { seq, offset, chain, blocks: lba..end, bytes: write_record_bytes(count) })
}

fn unpack_body(kind: u16, count: usize, lba: u32, block: u32, rest: &[u8]) -> Result<Body, Damage> {
    match kind {
        KIND_WRITE => {
            let blocks = u32::try_from(count).map_err(|_| Damage::Field)?;
            let inside = block.checked_add(blocks).is_some_and(|end| end <= SEGMENT_BLOCKS);
            let reaches = u64::from(lba) + u64::from(blocks) <= 1 << 32;
            if count == 0 || !inside || !reaches {
                return Err(Damage::Field);
            }
            let crcs = rest.chunks_exact(4).take(count).filter_map(|four| four.try_into().ok());
            Ok(Body::Write { lba, block, crcs: crcs.map(u32::from_le_bytes).collect() })
        }
        KIND_TRIM => {
            let (_, blocks) = le_u64::<_, nom::error::Error<&[u8]>>.parse(rest).map_err(|_| Damage::Field)?;
            let reaches = blocks.checked_add(u64::from(lba)).is_some_and(|end| end <= 1 << 32);
            if blocks == 0 || !reaches { Err(Damage::Field) } else { Ok(Body::Trim { lba, blocks }) }
        }
        KIND_MARKER => Ok(Body::Marker),
        _ => Err(Damage::Field),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: At = At { salt: 0x1234_5678, offset: 4096, chain: 0xabcd };

    fn bodies() -> Vec<Body> {
        vec![
            Body::Write { lba: 5, block: 6, crcs: vec![1] },
            Body::Write { lba: u32::MAX, block: 0, crcs: vec![9] },
            Body::Write { lba: 5, block: 6, crcs: (0..256).collect() },
            Body::Trim { lba: 0, blocks: 1 << 32 },
            Body::Marker,
        ]
    }

    #[test]
    fn records_survive_their_bytes() {
        for body in bodies() {
            let record = Record { seq: 10, durable_seq: 8, body };
            let mut bytes = Vec::new();
            let crc = pack(&mut bytes, AT, &record);
            let found = unpack(&bytes, AT.salt, AT.offset).unwrap();
            assert_eq!(found, Found { record, crc, chain: AT.chain, bytes: bytes.len() });
            assert!(bytes.len() % ALIGN == 0);
        }
    }

    #[test]
    fn a_write_of_one_block_is_as_format_md_draws_it() {
        let mut bytes = Vec::new();
        let record = Record { seq: 2, durable_seq: 1, body: Body::Write { lba: 3, block: 4, crcs: vec![5] } };
        pack(&mut bytes, AT, &record);
        assert_eq!(bytes.len(), 56);
        assert_eq!(&bytes[..4], b"OVr1");
        assert_eq!(&bytes[8..16], [1, 0, 1, 0, 0, 16, 0, 0]);
        assert_eq!(&bytes[16..32], [2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&bytes[32..40], [0xcd, 0xab, 0, 0, 4, 0, 0, 0]);
        assert_eq!(&bytes[40..], [3, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        for body in bodies() {
            let mut good = Vec::new();
            pack(&mut good, AT, &Record { seq: 10, durable_seq: 8, body });
            for bit in 0..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(unpack(&bad, AT.salt, AT.offset).is_err(), "bit {bit}");
            }
            for end in 0..good.len() {
                assert!(unpack(&good[..end], AT.salt, AT.offset).is_err(), "cut at {end}");
            }
            assert_eq!(unpack(&good, AT.salt, AT.offset + 8), Err(Damage::Place));
            assert!(unpack(&good, AT.salt ^ 1, AT.offset).is_err());
        }
    }
}
