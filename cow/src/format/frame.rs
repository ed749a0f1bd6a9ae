//! The frame around every metadata block: salt of its kind, checksum, version, owner and number (its own
//! location), then the payload.

use nom::{
    Parser,
    bytes::complete::take,
    number::complete::{le_u16, le_u32, le_u64},
};

use super::{Damage, VERSION};

/// What a frame holds; the value is its salt, four letters in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum FrameKind {
    Store = u32::from_le_bytes(*b"OVst"),
    Volume = u32::from_le_bytes(*b"OVvo"),
    Snapshot = u32::from_le_bytes(*b"OVsn"),
    Image = u32::from_le_bytes(*b"OVim"),
    Segment = u32::from_le_bytes(*b"OVsg"),
    CheckpointHead = u32::from_le_bytes(*b"OVch"),
    CheckpointPage = u32::from_le_bytes(*b"OVcp"),
}

/// Where a frame belongs: whose it is, and which in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    pub owner: [u8; 16],
    pub number: u64,
}

/// Bytes before the payload.
pub(crate) const HEAD_BYTES: usize = 40;
const CRC_COVERS: usize = 8;

/// Frames a payload.
pub(crate) fn pack(kind: FrameKind, location: Location, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + payload.len());
    bytes.extend((kind as u32).to_le_bytes());
    bytes.extend([0; 4]); // the checksum, below
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend([0; 2]); // reserved
    bytes.extend(u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(location.owner);
    bytes.extend(location.number.to_le_bytes());
    bytes.extend(payload);
    let crc = crc32c::crc32c(&bytes[CRC_COVERS..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The payload and the checksum of a frame that must be of this kind and belong here.
pub(crate) fn unpack(kind: FrameKind, location: Location, bytes: &[u8]) -> Result<(&[u8], u32), Damage> {
    let head = bytes.get(..HEAD_BYTES).ok_or(Damage::Short)?;
    let (_, (salt, crc, version, _, length, owner, number)) =
        (le_u32::<_, nom::error::Error<&[u8]>>, le_u32, le_u16, le_u16, le_u32, take(16_usize), le_u64)
            .parse(head)
            .map_err(|_| Damage::Short)?;
    if salt != kind as u32 {
        return Err(Damage::Kind);
    }
    let end = usize::try_from(length).ok().and_then(|n| n.checked_add(HEAD_BYTES)).ok_or(Damage::Field)?;
    let payload = bytes.get(HEAD_BYTES..end).ok_or(Damage::Short)?;
    if crc32c::crc32c(&bytes[CRC_COVERS..end]) != crc {
        return Err(Damage::Checksum);
    }
    if version == 0 || version > VERSION {
        return Err(Damage::Version(version));
    }
    if owner != location.owner || number != location.number {
        return Err(Damage::Place);
    }
    Ok((payload, crc))
}

/// Bytes that a frame says it has, payload included, or `None` when its head is not even there.
pub(crate) fn framed_bytes(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(12..16)?;
    let length = u32::from_le_bytes(length.try_into().ok()?);
    usize::try_from(length).ok()?.checked_add(HEAD_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Location = Location { owner: [7; 16], number: 3 };

    #[test]
    fn a_frame_is_as_format_md_draws_it() {
        let bytes = pack(FrameKind::Volume, HERE, b"xyz");
        assert_eq!(&bytes[0..4], b"OVvo");
        assert_eq!(&bytes[8..16], [1, 0, 0, 0, 3, 0, 0, 0]);
        assert_eq!(&bytes[16..32], [7; 16]);
        assert_eq!(&bytes[32..40], [3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&bytes[40..], b"xyz");
        assert_eq!(unpack(FrameKind::Volume, HERE, &bytes).map(|found| found.0), Ok(&b"xyz"[..]));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let good = pack(FrameKind::Image, HERE, b"payload");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(unpack(FrameKind::Image, HERE, &bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_from_elsewhere_is_refused() {
        let bytes = pack(FrameKind::Image, Location { number: 4, ..HERE }, b"payload");
        assert_eq!(unpack(FrameKind::Image, HERE, &bytes), Err(Damage::Place));
        assert_eq!(unpack(FrameKind::Volume, HERE, &bytes), Err(Damage::Kind));
        for end in 0..bytes.len() {
            assert_eq!(unpack(FrameKind::Image, HERE, &bytes[..end]), Err(Damage::Short));
        }
    }
}
