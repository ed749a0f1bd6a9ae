//! Every decoder of bytes that come from a disk, for fuzzers and for the tests that stand in for them. None may
//! panic, whatever the bytes are; and what one of them takes, it gives back.

mod archive;
mod store;

pub use archive::Archive;
pub use store::{MACHINE, layer_files, small, store_files};

use crate::{
    format::{
        frame::{self, FrameKind, Location},
        manifest::{ImageManifest, VolumeManifest},
        record,
        segment::SegmentHeader,
    },
    ids::LayerId,
    image::digests::Digests,
};

/// What a fuzzer calls.
pub type Target = fn(&[u8]);

/// Every target of the fuzzers in `fuzz/`, by the name that its corpus has.
pub const TARGETS: [(&str, Target); 8] = [
    ("frame", frames_sealed),
    ("manifest", manifests_sealed),
    ("segment", segment_sealed),
    ("record", records_sealed),
    ("checkpoint", checkpoint_sealed),
    ("digests", digests),
    ("layer", layer_files),
    ("store", store_files),
];

/// Decodes the bytes as everything they might be.
///
/// [`layer_files`] and [`store_files`] are not among them: they take archives.
pub fn decode_all(bytes: &[u8]) {
    frames(bytes);
    manifests(bytes);
    segment_header(bytes);
    checkpoint(bytes);
    records(bytes);
    digests(bytes);
}

/// The place that the bytes themselves claim, so that decoding gets beyond it.
fn claimed(bytes: &[u8]) -> Location {
    let owner = bytes.get(16..32).and_then(|owner| owner.try_into().ok()).unwrap_or_default();
    let number = bytes.get(32..40).and_then(|number| number.try_into().ok()).map_or(0, u64::from_le_bytes);
    Location { owner, number }
}

/// Calls a decoder with the bytes as they are, then with the checksums of their frames made right.
fn sealed(decode: fn(&[u8]), bytes: &[u8]) {
    decode(bytes);
    let mut bytes = bytes.to_vec();
    reseal_frames(&mut bytes);
    decode(&bytes);
}

fn frames_sealed(bytes: &[u8]) {
    sealed(frames, bytes);
}

fn manifests_sealed(bytes: &[u8]) {
    sealed(manifests, bytes);
}

fn segment_sealed(bytes: &[u8]) {
    sealed(segment_header, bytes);
}

fn checkpoint_sealed(bytes: &[u8]) {
    sealed(checkpoint, bytes);
}

fn records_sealed(bytes: &[u8]) {
    records(bytes);
    let mut bytes = bytes.to_vec();
    if reseal_record(&mut bytes, [0; 16], 1).is_some() {
        records(&bytes);
    }
}

/// Frames of every kind.
pub fn frames(bytes: &[u8]) {
    let at = claimed(bytes);
    for kind in [
        FrameKind::Store,
        FrameKind::Volume,
        FrameKind::Snapshot,
        FrameKind::Image,
        FrameKind::Segment,
        FrameKind::CheckpointHead,
        FrameKind::CheckpointPage,
    ] {
        if let Ok((payload, _)) = frame::unpack(kind, at, bytes) {
            let packed = frame::pack(kind, at, payload);
            assert_eq!(frame::framed_bytes(bytes), Some(packed.len()));
            assert_eq!(frame::unpack(kind, at, &packed).map(|again| again.0), Ok(payload));
        }
    }
}

/// Manifests of volumes, snapshots and images.
pub fn manifests(bytes: &[u8]) {
    let at = claimed(bytes);
    for kind in [FrameKind::Volume, FrameKind::Snapshot] {
        if let Ok(manifest) = VolumeManifest::unpack(kind, at, bytes) {
            let again = VolumeManifest::unpack(kind, at, &manifest.pack(kind, at));
            assert_eq!(again.as_ref(), Ok(&manifest));
        }
    }
    if let Ok(manifest) = ImageManifest::unpack(at, bytes) {
        assert_eq!(ImageManifest::unpack(at, &manifest.pack(at)).as_ref(), Ok(&manifest));
    }
}

/// The header of a segment.
pub fn segment_header(bytes: &[u8]) {
    let at = claimed(bytes);
    if let Ok((header, _)) = SegmentHeader::unpack(bytes, LayerId(at.owner), at.number) {
        let (packed, chain) = header.pack();
        assert_eq!(SegmentHeader::unpack(&packed, LayerId(at.owner), at.number), Ok((header, chain)));
    }
}

/// A checkpoint.
pub fn checkpoint(bytes: &[u8]) {
    let at = claimed(bytes);
    if let Ok((head, index)) = crate::format::checkpoint::unpack(bytes, LayerId(at.owner), at.number) {
        let packed = crate::format::checkpoint::pack(&head, &index);
        let again = crate::format::checkpoint::unpack(&packed, LayerId(at.owner), at.number);
        let Ok((head_again, index_again)) = again else {
            unreachable!("a checkpoint that was just packed does not unpack");
        };
        assert_eq!(head_again, head);
        // Runs that follow each other may have become one.
        let blocks = |index: &crate::index::Index| -> Vec<_> {
            let each = |run: crate::index::Run<'_>| -> Vec<_> {
                let block = |(n, crc): (u64, &u32)| {
                    (u64::from(run.lba) + n, run.place.slot, u64::from(run.place.block) + n, *crc)
                };
                (0..).zip(run.crcs).map(block).collect()
            };
            index.runs().flat_map(each).collect()
        };
        assert_eq!(blocks(&index_again), blocks(&index));
        assert!(index_again.zeros().ranges().eq(index.zeros().ranges()));
    }
}

/// A record, wherever it lies, in the segment 1 of the layer whose identifier is zeros.
pub fn records(bytes: &[u8]) {
    let salt = record::segment_salt(LayerId([0; 16]), 1);
    let offset = bytes.get(12..16).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes);
    if let Ok(found) = record::unpack(bytes, salt, offset) {
        let mut packed = Vec::new();
        let at = record::At { salt, offset, chain: found.chain };
        record::pack(&mut packed, at, &found.record);
        assert_eq!(record::unpack(&packed, salt, offset).map(|again| again.record), Ok(found.record));
    }
}

/// The digests of a golden image.
pub fn digests(bytes: &[u8]) {
    if let Some(digests) = Digests::parse(bytes) {
        for chunk in [0, 1, 7, u64::MAX] {
            let _ = (digests.run_at(chunk), digests.of(chunk));
        }
    }
}

/// Makes the checksums of frames right that lie one behind the other.
pub fn reseal_frames(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(end) = bytes.get_mut(at..).and_then(reseal_frame) {
        at += end;
    }
}

/// Makes the checksum of a frame right, so that a change of its fields gets past it. Gives the bytes of the frame.
pub fn reseal_frame(bytes: &mut [u8]) -> Option<usize> {
    let end = frame::framed_bytes(bytes).filter(|end| *end <= bytes.len())?;
    let crc = crc32c::crc32c(bytes.get(8..end)?);
    bytes.get_mut(4..8)?.copy_from_slice(&crc.to_le_bytes());
    Some(end)
}

/// Makes the checksum of a record right, for the segment `number` of `layer`. Gives the bytes of the record.
pub fn reseal_record(bytes: &mut [u8], layer: [u8; 16], number: u64) -> Option<usize> {
    let count = usize::from(u16::from_le_bytes(bytes.get(10..12)?.try_into().ok()?));
    let end = record::write_record_bytes(count);
    let crc = crc32c::crc32c_append(record::segment_salt(LayerId(layer), number), bytes.get(8..end)?);
    bytes.get_mut(4..8)?.copy_from_slice(&crc.to_le_bytes());
    Some(end)
}
