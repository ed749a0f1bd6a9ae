//! The header of a segment file: its first block.

use nom::{
    Parser,
    bytes::complete::take,
    number::complete::{le_u32, le_u64},
};

use super::{
    Damage,
    frame::{self, FrameKind, Location},
};
use crate::{
    geometry::Geometry,
    ids::{BootId, LayerId, StoreId},
    limits::BLOCK_LEN,
};

/// What a segment says of itself. It is written once, when the segment is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub store: StoreId,
    pub layer: LayerId,
    /// Which of its layer's segments, counted from 0 and never used again.
    pub number: u64,
    /// The boot in which all of its records were written: a segment is never continued by a later process.
    pub boot: BootId,
    /// The sequence number of its first record.
    pub first_seq: u64,
    /// Where its blocks begin in the file.
    pub data_offset: u32,
    /// How many blocks it has room for.
    pub blocks: u32,
}

impl SegmentHeader {
    /// Bytes of its frame.
    pub(crate) const FRAME_BYTES: usize = frame::HEAD_BYTES + 48;

    /// The header block, and its checksum, which begins the chain of records.
    pub(crate) fn pack(&self) -> (Vec<u8>, u32) {
        let mut payload = Vec::with_capacity(64);
        payload.extend(self.store.0);
        payload.extend(self.boot.0);
        payload.extend(self.first_seq.to_le_bytes());
        payload.extend(self.data_offset.to_le_bytes());
        payload.extend(self.blocks.to_le_bytes());
        let mut bytes = frame::pack(FrameKind::Segment, self.location(), &payload);
        let crc = crc32c::crc32c(&bytes);
        bytes.resize(BLOCK_LEN, 0);
        (bytes, crc)
    }

    /// The header that must be that of segment `number` of `layer`, and the start of its chain.
    pub(crate) fn unpack(bytes: &[u8], layer: LayerId, number: u64) -> Result<(Self, u32), Damage> {
        let location = Location { owner: layer.0, number };
        let (payload, _) = frame::unpack(FrameKind::Segment, location, bytes)?;
        let (_, (store, boot, first_seq, data_offset, blocks)) =
            (take::<_, _, nom::error::Error<&[u8]>>(16_usize), take(16_usize), le_u64, le_u32, le_u32)
                .parse(payload)
                .map_err(|_| Damage::Field)?;
        if !Geometry::fits(data_offset, blocks) {
            return Err(Damage::Field);
        }
        let framed = bytes.get(..frame::HEAD_BYTES + payload.len()).ok_or(Damage::Short)?;
        let header = Self {
            store: StoreId(store.try_into().map_err(|_| Damage::Field)?),
            layer,
            number,
            boot: BootId(boot.try_into().map_err(|_| Damage::Field)?),
            first_seq,
            data_offset,
            blocks,
        };
        Ok((header, crc32c::crc32c(framed)))
    }

    fn location(&self) -> Location {
        Location { owner: self.layer.0, number: self.number }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_its_bytes() {
        let header = SegmentHeader {
            store: StoreId([1; 16]),
            layer: LayerId([2; 16]),
            number: 9,
            boot: BootId([3; 16]),
            first_seq: 77,
            data_offset: 8192,
            blocks: 16,
        };
        let (bytes, chain) = header.pack();
        assert_eq!(bytes.len(), 4096);
        assert_eq!(frame::framed_bytes(&bytes), Some(SegmentHeader::FRAME_BYTES));
        assert_eq!(SegmentHeader::unpack(&bytes, header.layer, 9), Ok((header, chain)));
        assert_eq!(SegmentHeader::unpack(&bytes, header.layer, 8), Err(Damage::Place));
    }
}
