//! VHD (Microsoft, "Virtual Hard Disk Image Format Specification", 2006): a fixed one is a raw disk with a footer
//! behind it; a dynamic one has a copy of its footer in front, then a header and a table of blocks. All numbers are
//! big-endian. A differencing one needs its parent.

use std::io;

use super::Unfit;
use super::fields::Fields;
use crate::images::landing::ReadAt;

const NAME: &str = "vhd";
const FOOTER_BYTES: usize = 512;
const HEADER_BYTES: usize = 1024;

/// Offsets in the footer ("Hard Disk Footer Format").
const COOKIE: &[u8] = b"conectix";
const VERSION_AT: usize = 12;
const DATA_OFFSET_AT: usize = 16;
const CURRENT_SIZE_AT: usize = 48;
const DISK_TYPE_AT: usize = 60;
const FOOTER_CHECKSUM_AT: usize = 64;

/// Offsets in the header ("Dynamic Disk Header Format").
const HEADER_COOKIE: &[u8] = b"cxsparse";
const HEADER_CHECKSUM_AT: usize = 36;
const PARENT_AT: usize = 40;
const PARENT_ID_BYTES: usize = 16;
const PARENT_NAME_AT: usize = 64;
const PARENT_NAME_AND_LOCATORS_BYTES: usize = 512 + 8 * 24;

const FIXED: u32 = 2;
const DYNAMIC: u32 = 3;
const DIFFERENCING: u32 = 4;

/// A footer whose cookie and checksum are right.
struct Footer {
    disk_type: u32,
    disk_bytes: u64,
    data_offset: u64,
}

impl Footer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let fields = Fields(bytes.get(..FOOTER_BYTES)?);
        if !bytes.starts_with(COOKIE) || !checksum_is_right(fields.0, FOOTER_CHECKSUM_AT) {
            return None;
        }
        // The major version; the minor one says nothing of the layout.
        if fields.be32(VERSION_AT)? >> 16 != 1 {
            return None;
        }
        Some(Self {
            disk_type: fields.be32(DISK_TYPE_AT)?,
            disk_bytes: fields.be64(CURRENT_SIZE_AT)?,
            data_offset: fields.be64(DATA_OFFSET_AT)?,
        })
    }
}

/// The one's complement of the sum of all bytes but the checksum's own.
fn checksum_is_right(bytes: &[u8], at: usize) -> bool {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let Some(own) = bytes.get(at..at + 4) else { return false };
    Fields(bytes).be32(at) == Some(!(sum(bytes) - sum(own)))
}

/// Size of the disk in front of the footer of a fixed VHD; `None` when the file is none.
pub(in crate::images) fn fixed_disk_bytes(
    file: &(impl ReadAt + ?Sized),
    file_bytes: u64,
) -> io::Result<Option<u64>> {
    let Some(disk_bytes) = file_bytes.checked_sub(FOOTER_BYTES as u64) else { return Ok(None) };
    let footer = Footer::parse(&file.read_at(disk_bytes, FOOTER_BYTES)?);
    let is_fixed = |footer: &Footer| footer.disk_type == FIXED && footer.disk_bytes == disk_bytes;
    Ok(footer.filter(is_fixed).map(|footer| footer.disk_bytes))
}

/// The size of a dynamic disk, when the file can be taken.
pub(super) fn inspect(file: &(impl ReadAt + ?Sized), file_bytes: u64) -> Result<u64, Unfit> {
    let first = file.read_at(0, FOOTER_BYTES)?;
    let footer = Footer::parse(&first).ok_or(Unfit::Damaged(NAME, "its header"))?;
    match footer.disk_type {
        DYNAMIC => {}
        DIFFERENCING => return Err(Unfit::NamesAnother(NAME, "is a differencing disk, which has a parent")),
        other => return Err(Unfit::Unknown(NAME, format!("disk type {other}; fixed and dynamic are known"))),
    }
    let header = file.read_at(footer.data_offset, HEADER_BYTES)?;
    if header.len() < HEADER_BYTES {
        return Err(Unfit::Truncated(NAME, "its header is cut off"));
    }
    if !header.starts_with(HEADER_COOKIE) || !checksum_is_right(&header, HEADER_CHECKSUM_AT) {
        return Err(Unfit::Damaged(NAME, "its dynamic header"));
    }
    let header = Fields(&header);
    let alone = header.is_zero(PARENT_AT, PARENT_ID_BYTES)
        && header.is_zero(PARENT_NAME_AT, PARENT_NAME_AND_LOCATORS_BYTES);
    if !alone {
        return Err(Unfit::NamesAnother(NAME, "names a parent"));
    }
    let end = file_bytes.saturating_sub(FOOTER_BYTES as u64);
    match file.read_at(end, FOOTER_BYTES)? == first {
        true => Ok(footer.disk_bytes),
        false => Err(Unfit::Truncated(NAME, "the footer at its end is missing")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn with_checksum(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
        bytes[at..at + 4].fill(0);
        let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
        bytes[at..at + 4].copy_from_slice(&(!sum).to_be_bytes());
        bytes
    }

    /// A footer of a disk of 8 MiB, field by field.
    fn footer(disk_type: u8, data_offset: u64) -> Vec<u8> {
        let mut bytes = [
            &b"conectix"[..],
            &[0, 0, 0, 2],                // features
            &[0, 1, 0, 0],                // file format version
            &data_offset.to_be_bytes(),   // data offset
            &[0x2e, 0, 0, 0],             // time stamp
            &b"osvt"[..],                 // creator application
            &[0, 1, 0, 0],                // creator version
            &b"Wi2k"[..],                 // creator host OS
            &[0, 0, 0, 0, 0, 0x80, 0, 0], // original size
            &[0, 0, 0, 0, 0, 0x80, 0, 0], // current size
            &[0, 0xf0, 4, 17],            // disk geometry
            &[0, 0, 0, disk_type],        // disk type
            &[0; 4],                      // checksum
            &[7; 16],                     // unique id
        ]
        .concat();
        bytes.resize(FOOTER_BYTES, 0);
        with_checksum(bytes, FOOTER_CHECKSUM_AT)
    }

    fn header() -> Vec<u8> {
        let mut bytes = [
            &b"cxsparse"[..],
            &[0xff; 8],                // data offset
            &[0, 0, 0, 0, 0, 0, 6, 0], // table offset
            &[0, 1, 0, 0],             // header version
            &[0, 0, 0, 4],             // entries of the table
            &[0, 0x20, 0, 0],          // block size
        ]
        .concat();
        bytes.resize(HEADER_BYTES, 0);
        with_checksum(bytes, HEADER_CHECKSUM_AT)
    }

    pub(in super::super) fn dynamic() -> Vec<u8> {
        [footer(3, 512), header(), vec![0xff; 512], footer(3, 512)].concat()
    }

    fn of(bytes: &[u8]) -> Result<u64, String> {
        inspect(bytes, bytes.len() as u64).map_err(|unfit| unfit.to_string())
    }

    #[test]
    fn a_fixed_disk_ends_with_its_footer() {
        let disk = [vec![1; 8 << 20], footer(2, u64::MAX)].concat();
        let bytes = disk.len() as u64;
        assert_eq!(fixed_disk_bytes(disk.as_slice(), bytes).unwrap(), Some(8 << 20));
        assert_eq!(fixed_disk_bytes(&disk[512..], bytes - 512).unwrap(), None, "of another size");
        assert_eq!(fixed_disk_bytes(&disk[..8 << 20], 8 << 20).unwrap(), None);
        assert_eq!(fixed_disk_bytes(&disk[..100], 100).unwrap(), None);
        for at in [0, 60, 67, 511] {
            let mut bad = disk.clone();
            bad[(8 << 20) + at] ^= 1;
            assert_eq!(fixed_disk_bytes(bad.as_slice(), bytes).unwrap(), None, "byte {at}");
        }
    }

    #[test]
    fn a_dynamic_disk_stands_alone() {
        assert_eq!(of(&dynamic()), Ok(8 << 20));
        let differencing = [footer(4, 512), header(), footer(4, 512)].concat();
        assert!(of(&differencing).unwrap_err().contains("differencing"));
        for at in [PARENT_AT, PARENT_NAME_AT + 1, PARENT_NAME_AT + 512 + 3] {
            let mut header = header();
            header[at] = 0x41;
            let named = [footer(3, 512), with_checksum(header, HEADER_CHECKSUM_AT), footer(3, 512)].concat();
            assert!(of(&named).unwrap_err().contains("names a parent"), "byte {at}");
        }
        assert!(of(&footer(2, 512)).unwrap_err().contains("disk type 2"));
    }

    #[test]
    fn what_is_cut_or_changed_is_refused() {
        let whole = dynamic();
        for cut in (0..whole.len()).step_by(64) {
            assert!(of(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for at in (0..FOOTER_BYTES + HEADER_BYTES).chain(whole.len() - FOOTER_BYTES..whole.len()) {
            let mut bad = whole.clone();
            bad[at] ^= 0x10;
            assert!(of(&bad).is_err(), "byte {at}");
        }
    }
}
