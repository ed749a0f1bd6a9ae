//! Manifests: small numbered files that say what an image, a volume or a snapshot is. A manifest never changes;
//! a later number replaces it.

use nom::{
    IResult, Parser,
    bytes::complete::take,
    multi::count,
    number::complete::{le_u16, le_u64, u8 as byte},
};

use super::{
    Damage,
    frame::{self, FrameKind, Location},
};
use crate::{
    ids::{ImageId, LayerId, VolumeId},
    limits::{LAYERS_MAX, NAME_CHARS_MAX, VOLUME_BYTES_MAX},
};

/// What a volume or a snapshot is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VolumeManifest {
    pub name: String,
    pub size_bytes: u64,
    pub created_unix_ms: u64,
    /// The golden image below all layers.
    pub image: Option<ImageId>,
    /// Layers from the bottom up. A volume writes to its last one.
    pub layers: Vec<LayerId>,
    /// The volume a snapshot was taken of.
    pub parent: Option<VolumeId>,
    /// Most bytes that it may take beside its image; 0 for no limit.
    pub quota_bytes: u64,
    /// Bytes that it is sure to get; 0 for none.
    pub reserve_bytes: u64,
    /// Removed: what is left of it may be swept away.
    pub deleted: bool,
}

/// What a golden image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageManifest {
    pub name: String,
    pub size_bytes: u64,
    pub created_unix_ms: u64,
    /// SHA-256 over size and chunk digests; also the name of its content's directory.
    pub digest: [u8; 32],
    /// What it was imported from, such as `qcow2`.
    pub source_format: String,
    pub deleted: bool,
}

const FLAG_DELETED: u8 = 1;
const FLAG_IMAGE: u8 = 2;
const FLAG_PARENT: u8 = 4;

impl VolumeManifest {
    pub(crate) fn pack(&self, kind: FrameKind, location: Location) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + 16 * self.layers.len());
        let flag = |set, flag| if set { flag } else { 0 };
        out.push(
            flag(self.deleted, FLAG_DELETED)
                | flag(self.image.is_some(), FLAG_IMAGE)
                | flag(self.parent.is_some(), FLAG_PARENT),
        );
        put_text(&mut out, &self.name);
        out.extend(self.size_bytes.to_le_bytes());
        out.extend(self.created_unix_ms.to_le_bytes());
        out.extend(self.image.map_or([0; 16], |id| id.0));
        out.extend(self.parent.map_or([0; 16], |id| id.0));
        out.extend(self.quota_bytes.to_le_bytes());
        out.extend(u16::try_from(self.layers.len()).unwrap_or(u16::MAX).to_le_bytes());
        self.layers.iter().for_each(|layer| out.extend(layer.0));
        if self.reserve_bytes > 0 {
            out.extend(self.reserve_bytes.to_le_bytes());
        }
        frame::pack(kind, location, &out)
    }

    pub(crate) fn unpack(kind: FrameKind, location: Location, bytes: &[u8]) -> Result<Self, Damage> {
        let (payload, _) = frame::unpack(kind, location, bytes)?;
        let (_, manifest) = volume(payload).map_err(|_| Damage::Field)?;
        let fits = (1..=LAYERS_MAX).contains(&manifest.layers.len());
        if !fits || manifest.size_bytes > VOLUME_BYTES_MAX {
            return Err(Damage::Field);
        }
        Ok(manifest)
    }
}

impl ImageManifest {
    pub(crate) fn pack(&self, location: Location) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        out.push(if self.deleted { FLAG_DELETED } else { 0 });
        put_text(&mut out, &self.name);
        out.extend(self.size_bytes.to_le_bytes());
        out.extend(self.created_unix_ms.to_le_bytes());
        out.extend(self.digest);
        put_text(&mut out, &self.source_format);
        frame::pack(FrameKind::Image, location, &out)
    }

    pub(crate) fn unpack(location: Location, bytes: &[u8]) -> Result<Self, Damage> {
        let (payload, _) = frame::unpack(FrameKind::Image, location, bytes)?;
        let (_, manifest) = image(payload).map_err(|_| Damage::Field)?;
        if manifest.size_bytes > VOLUME_BYTES_MAX { Err(Damage::Field) } else { Ok(manifest) }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() <= NAME_CHARS_MAX);
    out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    out.extend(text.as_bytes());
}

fn text(input: &[u8]) -> IResult<&[u8], String> {
    let (input, length) = byte(input)?;
    let (input, bytes) = take(length)(input)?;
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.len() <= NAME_CHARS_MAX => Ok((input, text.to_owned())),
        _ => Err(nom::Err::Failure(nom::error::Error::new(input, nom::error::ErrorKind::Char))),
    }
}

fn id(input: &[u8]) -> IResult<&[u8], [u8; 16]> {
    let (input, bytes) = take(16_usize)(input)?;
    let mut id = [0; 16];
    id.copy_from_slice(bytes);
    Ok((input, id))
}

fn volume(input: &[u8]) -> IResult<&[u8], VolumeManifest> {
    let (input, flags) = byte(input)?;
    let (input, (name, size_bytes, created_unix_ms, image, parent, quota_bytes)) =
        (text, le_u64, le_u64, id, id, le_u64).parse(input)?;
    let (input, layer_count) = le_u16(input)?;
    let (input, layers) = count(id, usize::from(layer_count)).parse(input)?;
    // Left out when there is none, as in stores that were written before it was thought of.
    let (input, reserve_bytes) = if input.is_empty() { (input, 0) } else { le_u64(input)? };
    let manifest = VolumeManifest {
        name,
        size_bytes,
        created_unix_ms,
        image: (flags & FLAG_IMAGE != 0).then_some(ImageId(image)),
        parent: (flags & FLAG_PARENT != 0).then_some(VolumeId(parent)),
        quota_bytes,
        reserve_bytes,
        layers: layers.into_iter().map(LayerId).collect(),
        deleted: flags & FLAG_DELETED != 0,
    };
    Ok((input, manifest))
}

fn image(input: &[u8]) -> IResult<&[u8], ImageManifest> {
    let (input, flags) = byte(input)?;
    let (input, (name, size_bytes, created_unix_ms)) = (text, le_u64, le_u64).parse(input)?;
    let (input, (digest, source_format)) = (take(32_usize), text).parse(input)?;
    let mut whole = [0; 32];
    whole.copy_from_slice(digest);
    let deleted = flags & FLAG_DELETED != 0;
    Ok((input, ImageManifest { name, size_bytes, created_unix_ms, digest: whole, source_format, deleted }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Location = Location { owner: [7; 16], number: 3 };

    #[test]
    fn a_volume_survives_its_bytes() {
        let manifest = VolumeManifest {
            name: "web01".into(),
            size_bytes: 1 << 40,
            created_unix_ms: 17,
            image: Some(ImageId([1; 16])),
            layers: vec![LayerId([2; 16]), LayerId([3; 16])],
            parent: None,
            quota_bytes: 1 << 33,
            reserve_bytes: 0,
            deleted: false,
        };
        let bytes = manifest.pack(FrameKind::Volume, HERE);
        assert_eq!(VolumeManifest::unpack(FrameKind::Volume, HERE, &bytes), Ok(manifest.clone()));
        let reserved = VolumeManifest { reserve_bytes: 1 << 32, ..manifest };
        let longer = reserved.pack(FrameKind::Volume, HERE);
        assert_eq!(longer.len(), bytes.len() + 8, "the field is left out when there is none");
        assert_eq!(VolumeManifest::unpack(FrameKind::Volume, HERE, &longer), Ok(reserved));
        assert_eq!(VolumeManifest::unpack(FrameKind::Snapshot, HERE, &bytes), Err(Damage::Kind));
    }

    #[test]
    fn an_image_survives_its_bytes() {
        let manifest = ImageManifest {
            name: "debian".into(),
            size_bytes: 5,
            created_unix_ms: 6,
            digest: [9; 32],
            source_format: "qcow2".into(),
            deleted: true,
        };
        assert_eq!(ImageManifest::unpack(HERE, &manifest.pack(HERE)), Ok(manifest));
    }

    #[test]
    fn a_size_that_no_disk_has_is_damage() {
        let image = ImageManifest {
            name: "debian".into(),
            size_bytes: VOLUME_BYTES_MAX,
            created_unix_ms: 6,
            digest: [9; 32],
            source_format: "raw".into(),
            deleted: false,
        };
        assert!(ImageManifest::unpack(HERE, &image.pack(HERE)).is_ok());
        let larger = ImageManifest { size_bytes: VOLUME_BYTES_MAX + 1, ..image };
        assert_eq!(ImageManifest::unpack(HERE, &larger.pack(HERE)), Err(Damage::Field));
    }

    #[test]
    fn a_payload_that_lies_about_its_lengths_is_damage() {
        let long_name = [&[0, 65][..], &[b'a'; 400]].concat();
        for payload in [&b""[..], &[0, 255], &[0, 1, 0xff], &[2; 60], &long_name] {
            let bytes = frame::pack(FrameKind::Volume, HERE, payload);
            assert_eq!(VolumeManifest::unpack(FrameKind::Volume, HERE, &bytes), Err(Damage::Field));
        }
    }
}
