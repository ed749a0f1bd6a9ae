//! VHDX (\[MS-VHDX\]): file identifier, two headers, two region tables, then regions; the metadata region says how
//! large the disk is and whether it has a parent. All numbers are little-endian.

use super::Unfit;
use super::fields::Fields;
use crate::images::landing::ReadAt;

const NAME: &str = "vhdx";
const SIGNATURE: &[u8] = b"vhdxfile";

/// Headers (\[MS-VHDX\] 2.2.2).
const HEADERS_AT: [u64; 2] = [64 << 10, 128 << 10];
const HEADER_BYTES: usize = 4096;
const CHECKSUM_AT: usize = 4;
const SEQUENCE_AT: usize = 8;
const LOG_GUID_AT: usize = 48;
const VERSION_AT: usize = 66;

/// Region tables (2.2.3).
const REGION_TABLES_AT: [u64; 2] = [192 << 10, 256 << 10];
const REGION_TABLE_BYTES: usize = 64 << 10;
const REGION_COUNT_AT: usize = 8;
const REGIONS_AT: usize = 16;
const REGIONS_MAX: usize = 2047;

/// Metadata table (2.6.1).
const METADATA_TABLE_BYTES: usize = 64 << 10;
const METADATA_COUNT_AT: usize = 10;
const METADATA_AT: usize = 32;
const METADATA_MAX: usize = 2047;

/// An entry of either table: its GUID, and what follows.
const ENTRY_BYTES: usize = 32;
const GUID_BYTES: usize = 16;

/// 8B7CA206-4790-4B9A-B8FE-575F050F886E
const METADATA_REGION: [u8; GUID_BYTES] =
    [0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e];
/// CAA16737-FA36-4D43-B3B6-33F0AA44E76B
const FILE_PARAMETERS: [u8; GUID_BYTES] =
    [0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b];
/// 2FA54224-CD1B-4876-B211-5DBED83BF4B8
const VIRTUAL_DISK_SIZE: [u8; GUID_BYTES] =
    [0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8];
/// A8D35F2D-B30B-454D-ABF7-D3D84834AB0C
const PARENT_LOCATOR: [u8; GUID_BYTES] =
    [0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c];

/// In the flags of the file parameters (2.6.2.1).
const HAS_PARENT: u32 = 1 << 1;

/// The size of the disk, when the file can be taken.
pub(super) fn inspect(file: &(impl ReadAt + ?Sized)) -> Result<u64, Unfit> {
    if file.read_at(0, SIGNATURE.len())? != SIGNATURE {
        return Err(Unfit::Damaged(NAME, "its first bytes"));
    }
    check_header(file)?;
    let metadata = metadata_region(file)?;
    let table = file.read_at(metadata, METADATA_TABLE_BYTES)?;
    if !table.starts_with(b"metadata") {
        return Err(Unfit::Damaged(NAME, "its metadata"));
    }
    let count = Fields(&table).le16(METADATA_COUNT_AT).map_or(0, usize::from);
    let find = |guid| entry(&table, METADATA_AT, count.min(METADATA_MAX), guid);
    if find(&PARENT_LOCATOR).is_some() {
        return Err(Unfit::NamesAnother(NAME, "names a parent"));
    }
    let item = |guid, bytes| {
        let entry = find(guid).ok_or(Unfit::Damaged(NAME, "its metadata has no size or parameters"))?;
        let offset = entry.le32(GUID_BYTES).ok_or(Unfit::Damaged(NAME, "its metadata"))?;
        Ok::<_, Unfit>(file.read_at(metadata.saturating_add(offset.into()), bytes)?)
    };
    let parameters = item(&FILE_PARAMETERS, 8)?;
    match Fields(&parameters).le32(4) {
        Some(flags) if flags & HAS_PARENT != 0 => {
            return Err(Unfit::NamesAnother(NAME, "is a differencing disk, which has a parent"));
        }
        Some(_) => {}
        None => return Err(Unfit::Truncated(NAME, "its metadata is cut off")),
    }
    let size = item(&VIRTUAL_DISK_SIZE, 8)?;
    Fields(&size).le64(0).ok_or(Unfit::Truncated(NAME, "its metadata is cut off"))
}

/// The newer of the two headers that are whole says whether there is a log to be replayed.
fn check_header(file: &(impl ReadAt + ?Sized)) -> Result<(), Unfit> {
    let mut newest: Option<(u64, Vec<u8>)> = None;
    for at in HEADERS_AT {
        let header = file.read_at(at, HEADER_BYTES)?;
        if !is_whole(&header, b"head", HEADER_BYTES) {
            continue;
        }
        let sequence = Fields(&header).le64(SEQUENCE_AT).unwrap_or(0);
        if newest.as_ref().is_none_or(|(newest, _)| sequence >= *newest) {
            newest = Some((sequence, header));
        }
    }
    let (_, header) = newest.ok_or(Unfit::Damaged(NAME, "neither of its headers is whole"))?;
    let header = Fields(&header);
    match header.le16(VERSION_AT) {
        Some(1) => {}
        version => {
            let version = version.unwrap_or(0);
            return Err(Unfit::Unknown(NAME, format!("version {version}; version 1 is known")));
        }
    }
    match header.is_zero(LOG_GUID_AT, GUID_BYTES) {
        true => Ok(()),
        false => Err(Unfit::Dirty(NAME)),
    }
}

/// Where the metadata region is.
fn metadata_region(file: &(impl ReadAt + ?Sized)) -> Result<u64, Unfit> {
    for at in REGION_TABLES_AT {
        let table = file.read_at(at, REGION_TABLE_BYTES)?;
        if !is_whole(&table, b"regi", REGION_TABLE_BYTES) {
            continue;
        }
        let count = Fields(&table).le32(REGION_COUNT_AT).and_then(|count| usize::try_from(count).ok());
        let region = entry(&table, REGIONS_AT, count.unwrap_or(0).min(REGIONS_MAX), &METADATA_REGION);
        let offset = region.and_then(|region| region.le64(GUID_BYTES));
        return offset.ok_or(Unfit::Damaged(NAME, "it has no metadata"));
    }
    Err(Unfit::Damaged(NAME, "neither of its region tables is whole"))
}

/// The entry with this GUID.
fn entry<'a>(table: &'a [u8], at: usize, count: usize, guid: &[u8]) -> Option<Fields<'a>> {
    let entries = table.get(at..)?.chunks_exact(ENTRY_BYTES).take(count);
    entries.into_iter().find(|entry| entry.starts_with(guid)).map(Fields)
}

/// Whether a structure has its signature, its length and the CRC-32C of itself, its own field taken as zeros.
fn is_whole(bytes: &[u8], signature: &[u8], length: usize) -> bool {
    let (Some(before), Some(after)) = (bytes.get(..CHECKSUM_AT), bytes.get(CHECKSUM_AT + 4..)) else {
        return false;
    };
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(before), &[0; 4]), after);
    bytes.len() == length && before == signature && Fields(bytes).le32(CHECKSUM_AT) == Some(crc)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes[4..8].fill(0);
        let crc = crc32c::crc32c(&bytes);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn header(sequence: u64, log: u8, version: u8) -> Vec<u8> {
        let mut bytes = [
            &b"head"[..],
            &[0; 4],                      // checksum
            &sequence.to_le_bytes(),      // sequence number
            &[1; 16],                     // file write GUID
            &[2; 16],                     // data write GUID
            &[log; 16],                   // log GUID
            &[0, 0],                      // log version
            &[version, 0],                // version
            &[0, 0, 0x10, 0],             // log length
            &[0, 0, 0x10, 0, 0, 0, 0, 0], // log offset
        ]
        .concat();
        bytes.resize(HEADER_BYTES, 0);
        with_checksum(bytes)
    }

    fn regions() -> Vec<u8> {
        let mut bytes = [
            &b"regi"[..],
            &[0; 4],                   // checksum
            &[1, 0, 0, 0],             // entries
            &[0; 4],                   // reserved
            &METADATA_REGION,          // an entry: GUID
            &[0, 0, 5, 0, 0, 0, 0, 0], // file offset
            &[0, 0, 0x10, 0],          // length
            &[1, 0, 0, 0],             // required
        ]
        .concat();
        bytes.resize(REGION_TABLE_BYTES, 0);
        with_checksum(bytes)
    }

    fn item(guid: &[u8], offset: u32) -> Vec<u8> {
        let length = 8_u32;
        [guid, &offset.to_le_bytes(), &length.to_le_bytes(), &[4, 0, 0, 0], &[0; 4]].concat()
    }

    /// A file of a 1 GiB disk, as far as its metadata; its parts at their places.
    fn file_of(headers: [Vec<u8>; 2], flags: u8, more: &[u8]) -> Vec<u8> {
        let count = u8::try_from(2 + more.len() / ENTRY_BYTES).unwrap();
        let mut metadata = [
            &b"metadata"[..],
            &[0; 2],     // reserved
            &[count, 0], // entries
            &[0; 20],    // reserved
            &item(&FILE_PARAMETERS, 0x10000),
            &item(&VIRTUAL_DISK_SIZE, 0x10008),
            more,
        ]
        .concat();
        metadata.resize(METADATA_TABLE_BYTES, 0);
        metadata.extend([0, 0, 0x20, 0]); // block size
        metadata.extend([flags, 0, 0, 0]);
        metadata.extend([0, 0, 0, 0x40, 0, 0, 0, 0]); // size of the disk
        let mut file = vec![0; (0x50000) + metadata.len()];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"vhdxfileo\0s\0v\0o\0l\0");
        put(0x10000, &headers[0]);
        put(0x20000, &headers[1]);
        put(0x30000, &regions());
        put(0x40000, &regions());
        put(0x50000, &metadata);
        file
    }

    pub(in super::super) fn file() -> Vec<u8> {
        file_of([header(1, 0, 1), header(2, 0, 1)], 0, &[])
    }

    fn of(bytes: &[u8]) -> Result<u64, String> {
        inspect(bytes).map_err(|unfit| unfit.to_string())
    }

    #[test]
    fn a_plain_file_gives_the_size() {
        assert_eq!(of(&file()), Ok(1 << 30));
        let mut one_header = file();
        one_header[0x20000..0x20004].fill(0);
        assert_eq!(of(&one_header), Ok(1 << 30), "one header is enough");
    }

    #[test]
    fn whatever_needs_another_file_or_a_replay_is_refused() {
        let clean = || [header(1, 0, 1), header(2, 0, 1)];
        assert!(of(&file_of(clean(), 2, &[])).unwrap_err().contains("differencing"));
        assert!(of(&file_of(clean(), 0, &item(&PARENT_LOCATOR, 0))).unwrap_err().contains("names a parent"));
        let dirty = file_of([header(1, 0, 1), header(2, 9, 1)], 0, &[]);
        assert!(of(&dirty).unwrap_err().contains("not closed cleanly"));
        let was_dirty = file_of([header(1, 9, 1), header(2, 0, 1)], 0, &[]);
        assert_eq!(of(&was_dirty), Ok(1 << 30), "the newer header counts");
        assert!(of(&file_of([header(1, 0, 2), header(1, 0, 2)], 0, &[])).unwrap_err().contains("version 2"));
    }

    #[test]
    fn what_is_cut_or_changed_is_refused_or_still_the_same() {
        let whole = file();
        for cut in (0..whole.len()).step_by(16 << 10) {
            assert!(of(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let metadata = (0x50000..0x50080).chain(0x60000..whole.len());
        for at in metadata.chain((0..whole.len()).step_by(4099)) {
            let mut bad = whole.clone();
            bad[at] ^= 0xff;
            // Either copy of header and region table is enough; the metadata has no checksum.
            drop(of(&bad));
        }
        let mut bad = whole.clone();
        (bad[0x10010], bad[0x20010]) = (9, 9);
        assert!(of(&bad).unwrap_err().contains("neither of its headers"));
        let mut bad = whole;
        (bad[0x30010], bad[0x40010]) = (9, 9);
        assert!(of(&bad).unwrap_err().contains("neither of its region tables"));
    }
}
