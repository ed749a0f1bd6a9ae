//! What a file is, by its first bytes.

/// First bytes that are enough to tell.
pub(super) const SNIFF_BYTES: usize = 8;

/// A format that is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing known: a raw disk.
    Raw,
    /// QEMU's copy-on-write format, version 2 or 3.
    Qcow2,
    /// Something that surely is no raw disk and cannot be read yet: its name, and what to do.
    Other(&'static str, &'static str),
}

const DECOMPRESS: &str = "decompress the file first";
const CONVERT: &str = "convert the file first: qemu-img convert -O qcow2 FILE FILE.qcow2";
const UNPACK: &str = "unpack the disk image from it first";

/// Recognises a file; shorter than [`SNIFF_BYTES`] means that the file is.
pub(super) fn sniff(first: &[u8]) -> Kind {
    const MAGICS: [(&[u8], Kind); 11] = [
        (b"QFI\xfb", Kind::Qcow2),
        (b"KDMV", Kind::Other("a VMDK image", CONVERT)),
        (b"COWD", Kind::Other("a VMDK image", CONVERT)),
        (b"vhdxfile", Kind::Other("a VHDX image", CONVERT)),
        (b"conectix", Kind::Other("a VHD image", CONVERT)),
        (b"\x1f\x8b\x08", Kind::Other("compressed with gzip", DECOMPRESS)),
        (b"\xfd7zXZ\0", Kind::Other("compressed with xz", DECOMPRESS)),
        (b"\x28\xb5\x2f\xfd", Kind::Other("compressed with zstd", DECOMPRESS)),
        (b"BZh", Kind::Other("compressed with bzip2", DECOMPRESS)),
        (b"PK\x03\x04", Kind::Other("a zip archive", UNPACK)),
        (b"7z\xbc\xaf\x27\x1c", Kind::Other("a 7z archive", UNPACK)),
    ];
    MAGICS.iter().find(|(magic, _)| first.starts_with(magic)).map_or(Kind::Raw, |(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_files_are_recognised_and_a_boot_sector_is_raw() {
        assert_eq!(sniff(b"QFI\xfb\x00\x00\x00\x03"), Kind::Qcow2);
        assert!(matches!(sniff(b"\x1f\x8b\x08\x00"), Kind::Other("compressed with gzip", _)));
        assert_eq!(sniff(b"\xeb\x63\x90\x00\x00\x00\x00\x00"), Kind::Raw);
        assert_eq!(sniff(b"QF"), Kind::Raw);
        assert_eq!(sniff(b""), Kind::Raw);
    }
}
