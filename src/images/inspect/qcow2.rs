//! The header of a qcow2 file (QEMU docs/interop/qcow2.txt, "Header"), read before any other program sees the file.
//!
//! Only what could make a reader leave the file, or make its content unreadable, is looked at. The rest is
//! `qemu-img check`'s. No function here panics on a file's bytes.

/// Bytes of a header that are looked at: version 2 has 72, version 3 at least 104.
pub(super) const HEADER_BYTES: usize = 104;

const MAGIC: [u8; 4] = *b"QFI\xfb";
const VERSION_AT: usize = 4;
const BACKING_FILE_OFFSET_AT: usize = 8;
const SIZE_AT: usize = 24;
const CRYPT_METHOD_AT: usize = 32;
const INCOMPATIBLE_FEATURES_AT: usize = 72;
const VERSION_2_BYTES: usize = 72;

/// Bits of `incompatible_features`.
const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA_FILE: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;
const KNOWN: u64 = DIRTY | CORRUPT | EXTERNAL_DATA_FILE | COMPRESSION_TYPE | EXTENDED_L2;

/// Why a qcow2 file is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeaderError {
    #[error("the file is not in qcow2 format")]
    NotQcow2,
    #[error("the qcow2 file is truncated: its header is cut off")]
    Truncated,
    #[error("the qcow2 file has version {0}; versions 2 and 3 are known")]
    Version(u32),
    #[error("the qcow2 file has a backing file; only images that stand alone are taken")]
    BackingFile,
    #[error("the qcow2 file keeps its data in another file; only images that stand alone are taken")]
    ExternalDataFile,
    #[error("the qcow2 file is encrypted")]
    Encrypted,
    #[error("the qcow2 file is marked corrupt")]
    MarkedCorrupt,
    #[error("the qcow2 file was not closed cleanly")]
    Dirty,
    #[error("the qcow2 file has unknown incompatible features {0:#x}")]
    UnknownFeatures(u64),
}

impl HeaderError {
    /// What an operator can do about it.
    pub(super) fn action(self) -> &'static str {
        match self {
            Self::BackingFile | Self::ExternalDataFile => {
                "flatten it where its other file is: qemu-img convert -O qcow2 FILE FLAT.qcow2"
            }
            Self::Encrypted => "decrypt it first with qemu-img convert",
            Self::MarkedCorrupt | Self::Dirty => {
                "repair it first with qemu-img check -r all, or shut down the machine that uses it"
            }
            Self::NotQcow2 => "leave --format out, or give --format raw",
            Self::Truncated => "get the file again; it was not copied whole",
            Self::Version(_) | Self::UnknownFeatures(_) => "convert it with qemu-img convert -O qcow2",
        }
    }
}

/// The size of the disk, when the file can be taken.
pub(super) fn inspect(header: &[u8]) -> Result<u64, HeaderError> {
    if !header.starts_with(&MAGIC) {
        return Err(HeaderError::NotQcow2);
    }
    let version = u32_at(header, VERSION_AT)?;
    if !matches!(version, 2 | 3) {
        return Err(HeaderError::Version(version));
    }
    if header.len() < VERSION_2_BYTES {
        return Err(HeaderError::Truncated);
    }
    if u64_at(header, BACKING_FILE_OFFSET_AT)? != 0 {
        return Err(HeaderError::BackingFile);
    }
    if u32_at(header, CRYPT_METHOD_AT)? != 0 {
        return Err(HeaderError::Encrypted);
    }
    if version == 3 {
        check_features(u64_at(header, INCOMPATIBLE_FEATURES_AT)?)?;
    }
    u64_at(header, SIZE_AT)
}

fn check_features(features: u64) -> Result<(), HeaderError> {
    match features {
        _ if features & EXTERNAL_DATA_FILE != 0 => Err(HeaderError::ExternalDataFile),
        _ if features & CORRUPT != 0 => Err(HeaderError::MarkedCorrupt),
        _ if features & DIRTY != 0 => Err(HeaderError::Dirty),
        _ if features & !KNOWN != 0 => Err(HeaderError::UnknownFeatures(features & !KNOWN)),
        _ => Ok(()),
    }
}

fn u32_at(header: &[u8], at: usize) -> Result<u32, HeaderError> {
    let field = header.get(at..).and_then(|rest| rest.first_chunk()).ok_or(HeaderError::Truncated)?;
    Ok(u32::from_be_bytes(*field))
}

fn u64_at(header: &[u8], at: usize) -> Result<u64, HeaderError> {
    let field = header.get(at..).and_then(|rest| rest.first_chunk()).ok_or(HeaderError::Truncated)?;
    Ok(u64::from_be_bytes(*field))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A version 3 header of a 1 GiB disk, field by field.
    fn header() -> Vec<u8> {
        [
            &b"QFI\xfb"[..],
            &[0, 0, 0, 3],                // version
            &[0; 8],                      // backing_file_offset
            &[0; 4],                      // backing_file_size
            &[0, 0, 0, 16],               // cluster_bits
            &[0, 0, 0, 0, 0x40, 0, 0, 0], // size
            &[0; 4],                      // crypt_method
            &[0, 0, 0, 2],                // l1_size
            &[0, 0, 0, 0, 0, 3, 0, 0],    // l1_table_offset
            &[0, 0, 0, 0, 0, 1, 0, 0],    // refcount_table_offset
            &[0, 0, 0, 1],                // refcount_table_clusters
            &[0; 4],                      // nb_snapshots
            &[0; 8],                      // snapshots_offset
            &[0; 8],                      // incompatible_features
            &[0; 8],                      // compatible_features
            &[0; 8],                      // autoclear_features
            &[0, 0, 0, 4],                // refcount_order
            &[0, 0, 0, 104],              // header_length
        ]
        .concat()
    }

    fn with(at: usize, byte: u8) -> Result<u64, HeaderError> {
        let mut header = header();
        header[at] = byte;
        inspect(&header)
    }

    #[test]
    fn a_plain_header_gives_the_size() {
        assert_eq!(header().len(), HEADER_BYTES);
        assert_eq!(inspect(&header()), Ok(1 << 30));
    }

    #[test]
    fn whatever_leaves_the_file_is_refused() {
        assert_eq!(with(15, 1), Err(HeaderError::BackingFile));
        assert_eq!(with(79, 0b100), Err(HeaderError::ExternalDataFile));
        assert_eq!(with(35, 2), Err(HeaderError::Encrypted));
        assert_eq!(with(79, 0b10), Err(HeaderError::MarkedCorrupt));
        assert_eq!(with(79, 0b1), Err(HeaderError::Dirty));
        assert_eq!(with(72, 0x80), Err(HeaderError::UnknownFeatures(1 << 63)));
        assert_eq!(with(7, 4), Err(HeaderError::Version(4)));
        assert_eq!(with(0, 0), Err(HeaderError::NotQcow2));
    }

    #[test]
    fn a_header_cut_anywhere_is_refused_or_plain() {
        for cut in 0..80 {
            assert!(inspect(&header()[..cut]).is_err(), "cut at {cut}");
        }
    }
}
