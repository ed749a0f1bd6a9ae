//! A zip archive (PKWARE, APPNOTE.TXT) that holds one file, stored or deflated; zip64 where it is large. The central
//! directory at its end counts. All numbers are little-endian.

use std::io::{self, BufReader, Read, Seek, SeekFrom, Take};

use crc32fast::Hasher;
use flate2::bufread::DeflateDecoder;

use super::super::landing::ReadAt;

/// End of central directory (4.3.16), with the longest comment.
const END_BYTES: usize = 22;
const COMMENT_BYTES_MAX: usize = 0xffff;
const END: &[u8] = b"PK\x05\x06";
/// Zip64 end of central directory locator and record (4.3.15, 4.3.14).
const LOCATOR: &[u8] = b"PK\x06\x07";
const LOCATOR_BYTES: usize = 20;
const END64: &[u8] = b"PK\x06\x06";
const END64_BYTES: usize = 56;
/// Entry of the central directory (4.3.12).
const ENTRY: &[u8] = b"PK\x01\x02";
const ENTRY_BYTES: usize = 46;
/// Local file header (4.3.7).
const LOCAL: &[u8] = b"PK\x03\x04";
const LOCAL_BYTES: usize = 30;
/// Zip64 extended information (4.5.3).
const EXTRA_ZIP64: u16 = 1;

const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// Encrypted, one way or the other (4.4.4).
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;

/// Entries that are looked at.
const ENTRIES_MAX: u64 = 10_000;
/// Names that a refusal tells.
const NAMES_MAX: usize = 5;
const NAME_CHARS_MAX: usize = 60;

/// Why an archive is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ZipError {
    #[error("the zip archive is damaged or truncated: {0}")]
    Damaged(&'static str),
    #[error("the zip archive holds no file")]
    Empty,
    #[error("the zip archive holds {count} files and not one: {names}")]
    Several { count: u64, names: String },
    #[error("the zip archive has too many entries")]
    TooMany,
    #[error("the zip archive is encrypted")]
    Encrypted,
    #[error("the zip archive is packed by method {0}; 0 (stored) and 8 (deflated) are known")]
    Method(u16),
    #[error("the zip archive is one part of several")]
    Split,
    #[error("cannot read the staged upload")]
    Io(#[from] io::Error),
}

impl ZipError {
    /// What an operator can do about it.
    pub(crate) fn action(&self) -> &'static str {
        match self {
            Self::Damaged(_) => "get the file again, and compare its check sum",
            Self::Empty | Self::Several { .. } | Self::TooMany => {
                "unpack the disk image from it, and add that"
            }
            Self::Encrypted | Self::Method(_) | Self::Split => "unpack it first",
            Self::Io(_) => "see osvold's log (journalctl -u osvold)",
        }
    }
}

/// The file in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    name: String,
    method: u16,
    crc: u32,
    packed_bytes: u64,
    bytes: u64,
    local_offset: u64,
}

/// The one file of an archive. Directories, and what macOS puts beside a file, are none.
pub(super) fn only_entry(file: &(impl ReadAt + ?Sized), file_bytes: u64) -> Result<Entry, ZipError> {
    let directory = Directory::find(file, file_bytes)?;
    if directory.entries > ENTRIES_MAX {
        return Err(ZipError::TooMany);
    }
    let (mut found, mut names, mut count) = (None, Vec::new(), 0);
    let mut at = directory.offset;
    for _ in 0..directory.entries {
        let (entry, flags, bytes) = read_entry(file, at)?;
        at += bytes;
        if entry.name.ends_with('/') || entry.name.starts_with("__MACOSX/") {
            continue;
        }
        count += 1;
        if names.len() < NAMES_MAX {
            names.push(shown(&entry.name));
        }
        found = Some((entry, flags));
    }
    let (mut entry, flags) = found.ok_or(ZipError::Empty)?;
    if count > 1 {
        let more = if count > names.len() as u64 { ", …" } else { "" };
        return Err(ZipError::Several { count, names: names.join(", ") + more });
    }
    match entry.method {
        _ if flags & ENCRYPTED != 0 => return Err(ZipError::Encrypted),
        STORED | DEFLATED => {}
        other => return Err(ZipError::Method(other)),
    }
    entry.local_offset = data_offset(file, &entry)?;
    if entry.local_offset.checked_add(entry.packed_bytes).is_none_or(|end| end > directory.offset) {
        return Err(ZipError::Damaged("its file is cut off"));
    }
    Ok(entry)
}

/// All entries of an archive in the order of its directory, each with its data in its place before the directory.
pub(crate) fn entries(
    file: &(impl ReadAt + ?Sized),
    file_bytes: u64,
    entries_max: u64,
) -> Result<Vec<Entry>, ZipError> {
    let directory = Directory::find(file, file_bytes)?;
    if directory.entries > entries_max {
        return Err(ZipError::TooMany);
    }
    let (mut found, mut at) = (Vec::new(), directory.offset);
    for _ in 0..directory.entries {
        let (mut entry, flags, bytes) = read_entry(file, at)?;
        at += bytes;
        match entry.method {
            _ if flags & ENCRYPTED != 0 => return Err(ZipError::Encrypted),
            STORED | DEFLATED => {}
            other => return Err(ZipError::Method(other)),
        }
        entry.local_offset = data_offset(file, &entry)?;
        if entry.local_offset.checked_add(entry.packed_bytes).is_none_or(|end| end > directory.offset) {
            return Err(ZipError::Damaged("a file in it is cut off"));
        }
        found.push(entry);
    }
    Ok(found)
}

impl Entry {
    /// Its name, as it is there.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How many bytes it has, unpacked.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where its data is in the archive.
    pub(crate) fn place(&self) -> std::ops::Range<u64> {
        self.local_offset..self.local_offset.saturating_add(self.packed_bytes)
    }
}

fn shown(name: &str) -> String {
    name.chars().take(NAME_CHARS_MAX).flat_map(char::escape_debug).collect()
}

/// Where the central directory is.
struct Directory {
    offset: u64,
    entries: u64,
}

impl Directory {
    fn find(file: &(impl ReadAt + ?Sized), file_bytes: u64) -> Result<Self, ZipError> {
        let tail_bytes = (END_BYTES + COMMENT_BYTES_MAX + LOCATOR_BYTES) as u64;
        let tail_at = file_bytes.saturating_sub(tail_bytes);
        let tail = file.read_at(tail_at, usize::try_from(file_bytes - tail_at).unwrap_or(0))?;
        let is_end = |at: &usize| {
            let comment = u16_at(&tail, at + 20).map(usize::from);
            tail[*at..].starts_with(END) && comment == Some(tail.len() - at - END_BYTES)
        };
        let at = (0..(tail.len() + 1).saturating_sub(END_BYTES)).rev().find(is_end);
        let at = at.ok_or(ZipError::Damaged("it has no directory at its end"))?;
        let damaged = || ZipError::Damaged("its directory");
        let field = |offset| u16_at(&tail, at + offset).ok_or_else(damaged);
        let (disk, first_disk, here, all) = (field(4)?, field(6)?, field(8)?, field(10)?);
        let offset = u32_at(&tail, at + 16).ok_or_else(damaged)?;
        let locator = at.checked_sub(LOCATOR_BYTES).map(|at| &tail[at..]);
        if let Some(locator) = locator.filter(|locator| locator.starts_with(LOCATOR)) {
            return Self::zip64(file, u64_at(locator, 8).ok_or_else(damaged)?);
        }
        match (disk, first_disk) {
            (0, 0) if here == all => Ok(Self { offset: offset.into(), entries: all.into() }),
            _ => Err(ZipError::Split),
        }
    }

    fn zip64(file: &(impl ReadAt + ?Sized), at: u64) -> Result<Self, ZipError> {
        let end = file.read_at(at, END64_BYTES)?;
        let damaged = || ZipError::Damaged("its zip64 directory");
        if !end.starts_with(END64) {
            return Err(damaged());
        }
        let disks = (u32_at(&end, 16), u32_at(&end, 20));
        let (here, all) = (u64_at(&end, 24).ok_or_else(damaged)?, u64_at(&end, 32).ok_or_else(damaged)?);
        match disks {
            (Some(0), Some(0)) if here == all => {
                Ok(Self { offset: u64_at(&end, 48).ok_or_else(damaged)?, entries: all })
            }
            _ => Err(ZipError::Split),
        }
    }
}

/// An entry of the central directory, its flags, and how long it is.
fn read_entry(file: &(impl ReadAt + ?Sized), at: u64) -> Result<(Entry, u16, u64), ZipError> {
    let damaged = || ZipError::Damaged("an entry of its directory");
    let head = file.read_at(at, ENTRY_BYTES)?;
    if !head.starts_with(ENTRY) || head.len() < ENTRY_BYTES {
        return Err(damaged());
    }
    let u16_of = |offset| u16_at(&head, offset).ok_or_else(damaged);
    let u32_of = |offset| u32_at(&head, offset).ok_or_else(damaged);
    let (name_bytes, extra_bytes, comment_bytes) = (u16_of(28)?, u16_of(30)?, u16_of(32)?);
    let wanted = usize::from(name_bytes) + usize::from(extra_bytes);
    let rest = file.read_at(at.saturating_add(ENTRY_BYTES as u64), wanted)?;
    let (name, extra) = rest.split_at_checked(name_bytes.into()).ok_or_else(damaged)?;
    if extra.len() < usize::from(extra_bytes) {
        return Err(damaged());
    }
    let mut large = zip64_extra(extra);
    // Fields that are all ones are in the extra field instead, in this order.
    let mut wide = |narrow: u32| match narrow {
        u32::MAX => take_u64(&mut large).ok_or_else(damaged),
        narrow => Ok(u64::from(narrow)),
    };
    let bytes = wide(u32_of(24)?)?;
    let packed_bytes = wide(u32_of(20)?)?;
    let local_offset = wide(u32_of(42)?)?;
    let entry = Entry {
        name: String::from_utf8_lossy(name).into_owned(),
        method: u16_of(10)?,
        crc: u32_of(16)?,
        packed_bytes,
        bytes,
        local_offset,
    };
    let length = ENTRY_BYTES as u64 + wanted as u64 + u64::from(comment_bytes);
    Ok((entry, u16_of(8)?, length))
}

/// The zip64 part of an extra field; empty where there is none.
fn zip64_extra(mut extra: &[u8]) -> &[u8] {
    while let (Some(id), Some(length)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let Some((data, rest)) = extra.get(4..).and_then(|rest| rest.split_at_checked(length.into())) else {
            return &[];
        };
        if id == EXTRA_ZIP64 {
            return data;
        }
        extra = rest;
    }
    &[]
}

/// Where an entry's data begins, behind its local header, which must be of the same file.
fn data_offset(file: &(impl ReadAt + ?Sized), entry: &Entry) -> Result<u64, ZipError> {
    let damaged = || ZipError::Damaged("the header of its file");
    let head = file.read_at(entry.local_offset, LOCAL_BYTES)?;
    if !head.starts_with(LOCAL) || u16_at(&head, 8) != Some(entry.method) {
        return Err(damaged());
    }
    let (name, extra) = (u16_at(&head, 26).ok_or_else(damaged)?, u16_at(&head, 28).ok_or_else(damaged)?);
    let skip = LOCAL_BYTES as u64 + u64::from(name) + u64::from(extra);
    entry.local_offset.checked_add(skip).ok_or_else(damaged)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*first))
}

impl Entry {
    /// The file, unpacked and compared with its length and CRC-32.
    pub(crate) fn open<R: Read + Seek>(&self, mut source: R) -> io::Result<Checked<R>> {
        source.seek(SeekFrom::Start(self.local_offset))?;
        let packed = BufReader::with_capacity(super::READ_BYTES, source.take(self.packed_bytes));
        let content = match self.method {
            STORED => Content::Stored(packed),
            _ => Content::Deflated(DeflateDecoder::new(packed)),
        };
        Ok(Checked { content, left: self.bytes, crc: self.crc, hasher: Hasher::new() })
    }
}

enum Content<R> {
    Stored(BufReader<Take<R>>),
    Deflated(DeflateDecoder<BufReader<Take<R>>>),
}

/// A file's content, which ends well only when it is what the directory says.
pub(crate) struct Checked<R> {
    content: Content<R>,
    left: u64,
    crc: u32,
    hasher: Hasher,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.content {
            Content::Stored(content) => content.read(out)?,
            Content::Deflated(content) => content.read(out)?,
        };
        let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        self.hasher.update(&out[..read]);
        self.left = (self.left.checked_sub(read as u64)).ok_or_else(|| wrong("it is longer than it says"))?;
        match read {
            0 if out.is_empty() => Ok(0),
            0 if self.left > 0 => Err(wrong("it is shorter than it says")),
            0 if self.hasher.clone().finalize() != self.crc => Err(wrong("its CRC-32 is wrong")),
            read => Ok(read),
        }
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "tests count in small numbers")]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// What a file of an archive is made of.
    struct File<'a> {
        name: &'a str,
        flags: u16,
        method: u16,
        packed: &'a [u8],
        content: &'a [u8],
        is_large: bool,
    }

    fn stored<'a>(name: &'a str, content: &'a [u8]) -> File<'a> {
        File { name, flags: 0, method: STORED, packed: content, content, is_large: false }
    }

    /// An archive, field by field.
    fn archive(files: &[File<'_>], comment: &[u8]) -> Vec<u8> {
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        let narrow =
            |wide: usize, is_large: bool| if is_large { [0xff; 4] } else { (wide as u32).to_le_bytes() };
        for file in files {
            let offset = out.len();
            let crc = crc32fast::hash(file.content).to_le_bytes();
            let name = file.name.as_bytes();
            let sizes = [narrow(file.packed.len(), file.is_large), narrow(file.content.len(), file.is_large)]
                .concat();
            let wide = [file.content.len() as u64, file.packed.len() as u64, offset as u64];
            let extra = match file.is_large {
                true => [&[1, 0, 24, 0][..], &wide.map(u64::to_le_bytes).concat()].concat(),
                false => Vec::new(),
            };
            let common = [
                &[20, 0][..],                       // version needed
                &file.flags.to_le_bytes(),          // flags
                &file.method.to_le_bytes(),         // method
                &[0; 4],                            // time and date
                &crc,                               // CRC-32
                &sizes,                             // packed and unpacked size
                &(name.len() as u16).to_le_bytes(), // length of the name
            ]
            .concat();
            out.extend([LOCAL, &common, &[4, 0], name, &[9, 9, 0, 0], file.packed].concat());
            directory
                .extend([ENTRY, &[20, 0], &common, &(extra.len() as u16).to_le_bytes(), &[0; 2]].concat());
            directory.extend([0; 8]); // first disk, attributes
            directory.extend(narrow(offset, file.is_large));
            directory.extend([name, &extra].concat());
        }
        let (at, count) = (out.len() as u64, files.len() as u64);
        out.extend(&directory);
        let is_large = files.iter().any(|file| file.is_large);
        if is_large {
            let end64 = out.len() as u64;
            out.extend([END64, &44_u64.to_le_bytes(), &[45, 0, 45, 0], &[0; 8]].concat());
            out.extend([count, count, directory.len() as u64, at].map(u64::to_le_bytes).concat());
            out.extend([LOCATOR, &[0; 4], &end64.to_le_bytes(), &[1, 0, 0, 0]].concat());
        }
        let counts = if is_large { [0xff; 4] } else { [count as u8, 0, count as u8, 0] };
        out.extend(
            [END, &[0; 4], &counts, &narrow(directory.len(), is_large), &narrow(at as usize, is_large)]
                .concat(),
        );
        out.extend((comment.len() as u16).to_le_bytes());
        out.extend(comment);
        out
    }

    fn content(bytes: &[u8]) -> Result<Vec<u8>, String> {
        let entry = only_entry(bytes, bytes.len() as u64).map_err(|error| error.to_string())?;
        let mut out = Vec::new();
        let mut reader = entry.open(Cursor::new(bytes)).map_err(|error| error.to_string())?;
        reader.read_to_end(&mut out).map_err(|error| error.to_string())?;
        Ok(out)
    }

    fn deflated(content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        flate2::read::DeflateEncoder::new(content, flate2::Compression::fast())
            .read_to_end(&mut out)
            .unwrap();
        out
    }

    #[test]
    fn the_one_file_is_read_whatever_is_around_it() {
        let disk = b"a disk".repeat(1000);
        let packed = deflated(&disk);
        let file = || File { method: DEFLATED, packed: &packed, ..stored("disk.raw", &disk) };
        assert_eq!(content(&archive(&[file()], b"")).unwrap(), disk);
        assert_eq!(content(&archive(&[file()], &[b'c'; 0xffff])).unwrap(), disk, "with a comment");
        assert_eq!(content(&archive(&[File { is_large: true, ..file() }], b"")).unwrap(), disk, "zip64");
        let beside = [stored("images/", b""), file(), stored("__MACOSX/._disk.raw", b"x")];
        assert_eq!(content(&archive(&beside, b"")).unwrap(), disk, "with what is no file");
        assert_eq!(content(&archive(&[stored("disk.raw", &disk)], b"")).unwrap(), disk, "stored");
    }

    #[test]
    fn what_is_not_one_readable_file_is_refused() {
        let files = [stored("a.raw", b"a"), stored("b\n.raw", b"b")];
        assert_eq!(
            content(&archive(&files, b"")).unwrap_err(),
            r"the zip archive holds 2 files and not one: a.raw, b\n.raw"
        );
        assert!(content(&archive(&[stored("x/", b"")], b"")).unwrap_err().contains("holds no file"));
        assert!(content(&archive(&[], b"")).unwrap_err().contains("holds no file"));
        let encrypted = File { flags: 1, ..stored("a", b"a") };
        assert!(content(&archive(&[encrypted], b"")).unwrap_err().contains("encrypted"));
        let other = File { method: 9, ..stored("a", b"a") };
        assert!(content(&archive(&[other], b"")).unwrap_err().contains("method 9"));
    }

    #[test]
    fn what_is_cut_or_changed_is_refused_or_the_same() {
        let disk = b"0123456789abcdef".repeat(16);
        let packed = deflated(&disk);
        for file in [stored("d", &disk), File { method: DEFLATED, packed: &packed, ..stored("d", &disk) }] {
            let whole = archive(&[file], b"");
            for cut in 0..whole.len() {
                assert!(content(&whole[..cut]).is_err(), "cut at {cut}");
            }
            for at in 0..whole.len() {
                let mut bad = whole.clone();
                bad[at] ^= 0x41;
                assert!(content(&bad).is_ok_and(|got| got == disk) || content(&bad).is_err(), "byte {at}");
            }
        }
    }
}
