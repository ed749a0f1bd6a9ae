//! A checkpoint: a layer's whole map at one sequence number, so that recovery replays only what came after.
//!
//! A head frame, then the body cut into framed pages. The body is a plain sequence: segments, runs, trimmed
//! ranges. The file is written aside, synced and renamed: a checkpoint that has its name is whole, or rotten.

use nom::{
    IResult, Parser,
    number::complete::{le_u16, le_u32, le_u64},
};

use super::{
    Damage,
    frame::{self, FrameKind, HEAD_BYTES, Location},
};
use crate::{
    ids::{LayerId, StoreId},
    index::{Index, Place},
    limits::{RECORD_BLOCKS_MAX, SEGMENT_BLOCKS, SEGMENT_SLOTS_MAX},
};

/// A segment as the checkpoint knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CheckpointSegment {
    pub number: u64,
    /// Slot that the runs name.
    pub slot: u32,
    /// Where the next record would begin.
    pub end_offset: u32,
    /// The checksum of the last record.
    pub chain: u32,
}

/// What a checkpoint says, without its map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckpointHead {
    pub store: StoreId,
    pub layer: LayerId,
    /// Number of this checkpoint; a later one replaces it.
    pub number: u64,
    /// Every record up to this one is in the map.
    pub seq: u64,
    /// Segments from this number on came later.
    pub next_segment: u64,
    pub segments: Vec<CheckpointSegment>,
}

const PAGE_PAYLOAD: usize = 64 * 1024 - HEAD_BYTES;

/// The whole file.
pub(crate) fn pack(head: &CheckpointHead, index: &Index) -> Vec<u8> {
    let body = body(head, index);
    let pages = body.len().div_ceil(PAGE_PAYLOAD);
    let mut payload = Vec::with_capacity(64);
    payload.extend(head.store.0);
    payload.extend(head.seq.to_le_bytes());
    payload.extend(head.next_segment.to_le_bytes());
    payload.extend((body.len() as u64).to_le_bytes());
    let location = |number| Location { owner: head.layer.0, number };
    let mut out = frame::pack(FrameKind::CheckpointHead, location(head.number), &payload);
    out.reserve(body.len() + pages * HEAD_BYTES);
    for (page, payload) in body.chunks(PAGE_PAYLOAD).enumerate() {
        out.extend(frame::pack(FrameKind::CheckpointPage, location(page_number(head.number, page)), payload));
    }
    out
}

/// Head and map of the file that must be checkpoint `number` of `layer`.
pub(crate) fn unpack(bytes: &[u8], layer: LayerId, number: u64) -> Result<(CheckpointHead, Index), Damage> {
    let location = |number| Location { owner: layer.0, number };
    let (payload, _) = frame::unpack(FrameKind::CheckpointHead, location(number), bytes)?;
    let (_, (store, seq, next_segment, body_bytes)) =
        (nom::bytes::complete::take::<_, _, nom::error::Error<&[u8]>>(16_usize), le_u64, le_u64, le_u64)
            .parse(payload)
            .map_err(|_| Damage::Field)?;
    let mut rest = bytes.get(HEAD_BYTES + payload.len()..).ok_or(Damage::Short)?;
    if body_bytes > rest.len() as u64 {
        return Err(Damage::Short);
    }
    let mut body = Vec::with_capacity(rest.len());
    for page in 0.. {
        if body.len() as u64 >= body_bytes {
            break;
        }
        let (payload, _) =
            frame::unpack(FrameKind::CheckpointPage, location(page_number(number, page)), rest)?;
        body.extend(payload);
        rest = rest.get(HEAD_BYTES + payload.len()..).ok_or(Damage::Short)?;
    }
    let (_, (segments, index)) = parse_body(&body).map_err(|_| Damage::Field)?;
    let store = StoreId(store.try_into().map_err(|_| Damage::Field)?);
    Ok((CheckpointHead { store, layer, number, seq, next_segment, segments }, index))
}

fn page_number(checkpoint: u64, page: usize) -> u64 {
    checkpoint << 32 | page as u64
}

fn body(head: &CheckpointHead, index: &Index) -> Vec<u8> {
    let mut out =
        Vec::with_capacity(64 + head.segments.len() * 24 + usize::try_from(index.blocks()).unwrap_or(0) * 8);
    out.extend((head.segments.len() as u64).to_le_bytes());
    for segment in &head.segments {
        out.extend(segment.number.to_le_bytes());
        out.extend(segment.slot.to_le_bytes());
        out.extend(segment.end_offset.to_le_bytes());
        out.extend(segment.chain.to_le_bytes());
    }
    for run in index.runs() {
        out.extend(run.lba.to_le_bytes());
        out.extend(run.place.slot.to_le_bytes());
        out.extend(run.place.block.to_le_bytes());
        out.extend(u16::try_from(run.crcs.len()).unwrap_or(u16::MAX).to_le_bytes());
        run.crcs.iter().for_each(|crc| out.extend(crc.to_le_bytes()));
    }
    out.extend([0; 12]); // a run of no blocks ends the runs
    out.extend((index.zeros().ranges().len() as u64).to_le_bytes());
    for (start, end) in index.zeros().ranges() {
        out.extend(start.to_le_bytes());
        out.extend(end.to_le_bytes());
    }
    out
}

fn bad<T>(input: &[u8]) -> IResult<&[u8], T> {
    Err(nom::Err::Failure(nom::error::Error::new(input, nom::error::ErrorKind::Verify)))
}

fn parse_body(input: &[u8]) -> IResult<&[u8], (Vec<CheckpointSegment>, Index)> {
    let (mut input, count) = le_u64(input)?;
    let mut segments = Vec::new();
    for _ in 0..count {
        let (rest, (number, slot, end_offset, chain)) = (le_u64, le_u32, le_u32, le_u32).parse(input)?;
        if slot as usize >= SEGMENT_SLOTS_MAX {
            return bad(input);
        }
        segments.push(CheckpointSegment { number, slot, end_offset, chain });
        input = rest;
    }
    let mut index = Index::default();
    let mut crcs = Vec::with_capacity(RECORD_BLOCKS_MAX);
    loop {
        let (rest, (lba, slot, block, blocks)) = (le_u32, le_u32, le_u16, le_u16).parse(input)?;
        input = rest;
        if blocks == 0 {
            break;
        }
        let inside = u32::from(block) + u32::from(blocks) <= SEGMENT_BLOCKS;
        let reaches = u64::from(lba) + u64::from(blocks) <= 1 << 32;
        let slot_fits = (slot as usize) < SEGMENT_SLOTS_MAX;
        if !inside || !reaches || !slot_fits || usize::from(blocks) > RECORD_BLOCKS_MAX {
            return bad(input);
        }
        crcs.clear();
        for _ in 0..blocks {
            let (rest, crc) = le_u32(input)?;
            crcs.push(crc);
            input = rest;
        }
        index.write(lba, Place { slot, block }, &crcs, &mut |_, _| {});
    }
    let (mut input, count) = le_u64(input)?;
    for _ in 0..count {
        let (rest, (start, end)) = (le_u64, le_u64).parse(input)?;
        if start >= end || end > 1 << 32 {
            return bad(input);
        }
        index.restore_zeros(start, end);
        input = rest;
    }
    Ok((input, (segments, index)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (CheckpointHead, Index) {
        let mut index = Index::default();
        for n in 0..20_000_u32 {
            let place = Place { slot: 3, block: u16::try_from(n % 16_000).unwrap() };
            index.write(n * 7, place, &[n], &mut |_, _| {});
        }
        index.trim(1000, 1 << 20, &mut |_, _| {});
        let segments = vec![CheckpointSegment { number: 5, slot: 3, end_offset: 4152, chain: 77 }];
        let head = CheckpointHead {
            store: StoreId([1; 16]),
            layer: LayerId([2; 16]),
            number: 4,
            seq: 99,
            next_segment: 6,
            segments,
        };
        (head, index)
    }

    #[test]
    fn a_map_survives_its_bytes() {
        let (head, index) = sample();
        let bytes = pack(&head, &index);
        let (found, map) = unpack(&bytes, head.layer, 4).unwrap();
        assert_eq!(found, head);
        assert_eq!(map.runs().collect::<Vec<_>>(), index.runs().collect::<Vec<_>>());
        assert_eq!(map.zeros().ranges().collect::<Vec<_>>(), index.zeros().ranges().collect::<Vec<_>>());
        assert_eq!(unpack(&bytes, head.layer, 5).map(|_| ()), Err(Damage::Place));
    }

    #[test]
    fn a_flipped_bit_or_a_cut_anywhere_is_found() {
        let (head, index) = sample();
        let good = pack(&head, &index);
        for at in (0..good.len()).step_by(997) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(unpack(&bad, head.layer, 4).is_err(), "byte {at}");
            assert!(unpack(&good[..at], head.layer, 4).is_err(), "cut at {at}");
        }
    }
}
