//! What a file is, by its first bytes.

use api::{Code, ImageFormat, Refusal};

/// First bytes that are enough to tell.
pub(super) const SNIFF_BYTES: usize = 512;

/// A disk in a format of its own, as one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiskFormat {
    /// QEMU's copy-on-write format, version 2 or 3.
    Qcow2,
    /// VMware's, monolithicSparse or streamOptimized.
    Vmdk,
    /// Hyper-V's.
    Vhdx,
    /// Virtual PC's; the dynamic one, for a fixed one is raw with a footer.
    Vhd,
}

/// A compression with one file in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Xz,
    Zstd,
    Zip,
}

/// What a file is recognised as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing known: a raw disk, or a fixed VHD, which has its mark at the end.
    Raw,
    Disk(DiskFormat),
    Packed(Packing),
    /// Something that surely is no raw disk and is not taken: its name, and what to do.
    Other(&'static str, &'static str),
}

impl DiskFormat {
    /// The name that users know.
    pub(super) fn name(self) -> &'static str {
        self.format().name()
    }

    pub(super) fn format(self) -> ImageFormat {
        match self {
            Self::Qcow2 => ImageFormat::Qcow2,
            Self::Vmdk => ImageFormat::Vmdk,
            Self::Vhdx => ImageFormat::Vhdx,
            Self::Vhd => ImageFormat::Vhd,
        }
    }
}

impl Packing {
    pub(super) fn name(self) -> &'static str {
        self.format().name()
    }

    fn format(self) -> ImageFormat {
        match self {
            Self::Gzip => ImageFormat::Gzip,
            Self::Xz => ImageFormat::Xz,
            Self::Zstd => ImageFormat::Zstd,
            Self::Zip => ImageFormat::Zip,
        }
    }
}

const DECOMPRESS: &str = "decompress the file first";
const CONVERT: &str = "convert the file first: qemu-img convert -O qcow2 FILE FILE.qcow2";
const UNPACK: &str = "unpack the disk image from it first";
const ONE_FILE: &str =
    "make it one file where all of its files are: qemu-img convert -O vmdk FILE.vmdk ONE.vmdk";

/// Recognises a file; shorter than [`SNIFF_BYTES`] means that the file is.
pub(super) fn sniff(first: &[u8]) -> Kind {
    const MAGICS: [(usize, &[u8], Kind); 19] = [
        (0, b"QFI\xfb", Kind::Disk(DiskFormat::Qcow2)),
        (0, b"KDMV", Kind::Disk(DiskFormat::Vmdk)),
        (0, b"vhdxfile", Kind::Disk(DiskFormat::Vhdx)),
        (0, b"conectix", Kind::Disk(DiskFormat::Vhd)),
        (0, b"\x1f\x8b\x08", Kind::Packed(Packing::Gzip)),
        (0, b"\xfd7zXZ\0", Kind::Packed(Packing::Xz)),
        (0, b"\x28\xb5\x2f\xfd", Kind::Packed(Packing::Zstd)),
        (0, b"PK\x03\x04", Kind::Packed(Packing::Zip)),
        (0, b"PK\x05\x06", Kind::Packed(Packing::Zip)),
        (0, b"# Disk DescriptorFile", Kind::Other("a VMDK descriptor, which names other files", ONE_FILE)),
        (0, b"COWD", Kind::Other("a VMDK image of an old ESX", CONVERT)),
        (0, b"\xbe\xba\xfe\xca\0\0\0\0", Kind::Other("a VMDK image in SESPARSE format", CONVERT)),
        (0, b"<<< ", Kind::Other("a VDI image", CONVERT)),
        (0, b"BZh", Kind::Other("compressed with bzip2", DECOMPRESS)),
        (0, b"\x04\x22\x4d\x18", Kind::Other("compressed with lz4", DECOMPRESS)),
        (0, b"LZIP", Kind::Other("compressed with lzip", DECOMPRESS)),
        (0, b"7z\xbc\xaf\x27\x1c", Kind::Other("a 7z archive", UNPACK)),
        (0, b"Rar!\x1a\x07", Kind::Other("a RAR archive", UNPACK)),
        (257, b"ustar", Kind::Other("a tar archive (an OVA is one)", UNPACK)),
    ];
    let is = |at: usize, magic: &[u8]| first.get(at..).is_some_and(|bytes| bytes.starts_with(magic));
    MAGICS.iter().find(|(at, magic, _)| is(*at, magic)).map_or(Kind::Raw, |(_, _, kind)| *kind)
}

/// What a file is taken as, when the client says `requested` and the content says `found`.
///
/// A fixed VHD is taken as raw here: only its end can tell.
pub(super) fn settle(requested: ImageFormat, found: Kind) -> Result<Kind, Refusal> {
    let format = match found {
        Kind::Raw => ImageFormat::Raw,
        Kind::Disk(disk) => disk.format(),
        Kind::Packed(packing) => packing.format(),
        Kind::Other(what, action) if requested == ImageFormat::Auto => return Err(other(what, action)),
        Kind::Other(..) => ImageFormat::Auto,
    };
    match requested {
        ImageFormat::Auto => Ok(found),
        ImageFormat::Raw => Ok(Kind::Raw),
        ImageFormat::Vhd if found == Kind::Raw => Ok(Kind::Raw),
        wanted if wanted == format => Ok(found),
        wanted => Err(is_not(wanted)),
    }
}

/// What is taken out of a packing: any disk, but no further packing.
pub(super) fn settle_inside(packing: Packing, found: Kind) -> Result<Kind, Refusal> {
    match found {
        Kind::Raw | Kind::Disk(_) => Ok(found),
        Kind::Packed(inner) => {
            let message = format!("what is packed with {} is packed with {}", packing.name(), inner.name());
            Err(Refusal::new(Code::BadImage, message)
                .action("unpack the outer one first; one packing around a disk is taken"))
        }
        Kind::Other(what, action) => {
            let message = format!("what is packed with {} is {what}, not a disk image", packing.name());
            Err(Refusal::new(Code::BadImage, message).action(action))
        }
    }
}

/// The file is not in the format that it is said to be in.
pub(super) fn is_not(wanted: ImageFormat) -> Refusal {
    Refusal::new(Code::BadImage, format!("the file is not in {wanted} format"))
        .action("leave --format out, or give --format raw")
}

fn other(what: &str, action: &str) -> Refusal {
    Refusal::new(Code::BadImage, format!("the file is {what}, not a disk image that is taken"))
        .action(action)
        .action("if it is a raw disk all the same, give --format raw")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_files_are_recognised_and_a_boot_sector_is_raw() {
        assert_eq!(sniff(b"QFI\xfb\x00\x00\x00\x03"), Kind::Disk(DiskFormat::Qcow2));
        assert_eq!(sniff(b"KDMV\x01\x00\x00\x00"), Kind::Disk(DiskFormat::Vmdk));
        assert_eq!(sniff(b"vhdxfileQ\0E\0M\0U\0"), Kind::Disk(DiskFormat::Vhdx));
        assert_eq!(sniff(b"\x1f\x8b\x08\x00"), Kind::Packed(Packing::Gzip));
        assert_eq!(sniff(b"\xfd7zXZ\0\0\x04"), Kind::Packed(Packing::Xz));
        assert_eq!(sniff(b"\x28\xb5\x2f\xfd\x24"), Kind::Packed(Packing::Zstd));
        assert_eq!(sniff(b"PK\x03\x04\x14"), Kind::Packed(Packing::Zip));
        let tar = [&[0; 257][..], b"ustar\0"].concat();
        assert!(matches!(sniff(&tar), Kind::Other("a tar archive (an OVA is one)", _)));
        assert_eq!(sniff(b"\xeb\x63\x90\x00\x00\x00\x00\x00"), Kind::Raw);
        assert_eq!(sniff(b"QF"), Kind::Raw);
        assert_eq!(sniff(b""), Kind::Raw);
    }

    #[test]
    fn what_is_asked_for_and_what_is_there_must_agree() {
        let qcow2 = Kind::Disk(DiskFormat::Qcow2);
        let gzip = Kind::Packed(Packing::Gzip);
        let other = Kind::Other("a 7z archive", UNPACK);
        assert_eq!(settle(ImageFormat::Auto, gzip), Ok(gzip));
        assert_eq!(settle(ImageFormat::Gzip, gzip), Ok(gzip));
        for found in [Kind::Raw, qcow2, gzip, other] {
            assert_eq!(settle(ImageFormat::Raw, found), Ok(Kind::Raw), "raw is taken at its word");
        }
        assert_eq!(settle(ImageFormat::Vhd, Kind::Raw), Ok(Kind::Raw));
        for (wanted, found) in
            [(ImageFormat::Gzip, qcow2), (ImageFormat::Qcow2, Kind::Raw), (ImageFormat::Zip, other)]
        {
            let message = settle(wanted, found).unwrap_err().message;
            assert_eq!(*message, format!("the file is not in {wanted} format"));
        }
        assert!(settle(ImageFormat::Auto, other).unwrap_err().message.contains("7z"));
        assert_eq!(settle_inside(Packing::Zip, qcow2), Ok(qcow2));
        let nested = settle_inside(Packing::Zip, gzip).unwrap_err();
        assert_eq!(&*nested.message, "what is packed with zip is packed with gzip");
    }
}
