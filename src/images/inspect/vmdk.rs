//! VMDK (VMware, "Virtual Disk Format 5.0"): a sparse extent with its descriptor inside, which is what
//! monolithicSparse and streamOptimized are. The descriptor is a text that may name any file of the machine; what
//! it says is checked here line by line. All numbers are little-endian.

use super::Unfit;
use super::fields::Fields;
use crate::images::landing::ReadAt;

const NAME: &str = "vmdk";
const SECTOR: u64 = 512;

/// Offsets in the header ("Hosted Sparse Extent Header").
const MAGIC: &[u8] = b"KDMV";
const VERSION_AT: usize = 4;
const CAPACITY_AT: usize = 12;
const DESCRIPTOR_OFFSET_AT: usize = 28;
const DESCRIPTOR_SIZE_AT: usize = 36;
const GRAIN_DIRECTORY_AT: usize = 56;
const UNCLEAN_AT: usize = 72;
const LINE_ENDS_AT: usize = 73;
const LINE_ENDS: &[u8] = b"\n \r\n";
const HEADER_BYTES: usize = 512;
const VERSION_MAX: u32 = 3;

/// The grain directory comes with the footer, at the end of a stream.
const DIRECTORY_AT_END: u64 = u64::MAX;
/// Footer and end-of-stream marker, a sector each.
const FOOTER_FROM_END: u64 = 2 * SECTOR;

/// VMware writes 20 sectors.
const DESCRIPTOR_BYTES_MAX: u64 = 64 << 10;
/// Readers look for a parent here whatever the header says.
const PARENT_LOOKED_FOR_AT: u64 = 0x200;
const PARENT_LOOKED_FOR_BYTES: usize = 20 * 512;
const PARENT_HINT: &str = "parentFileNameHint";
const NO_PARENT: &str = "ffffffff";

/// The size of the disk, when the file can be taken.
pub(super) fn inspect(file: &(impl ReadAt + ?Sized), file_bytes: u64) -> Result<u64, Unfit> {
    let header = file.read_at(0, HEADER_BYTES)?;
    let header = Header::parse(&header)?;
    if header.grain_directory == DIRECTORY_AT_END {
        check_footer(file, file_bytes, &header)?;
    }
    let near = file.read_at(PARENT_LOOKED_FOR_AT, PARENT_LOOKED_FOR_BYTES)?;
    if find(&near, PARENT_HINT.as_bytes()) {
        return Err(Unfit::NamesAnother(NAME, "has a parent"));
    }
    check_descriptor(&descriptor(file, &header)?, header.capacity)?;
    header.capacity.checked_mul(SECTOR).ok_or(Unfit::Damaged(NAME, "its size"))
}

struct Header {
    capacity: u64,
    descriptor_offset: u64,
    descriptor_size: u64,
    grain_directory: u64,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, Unfit> {
        let fields = Fields(bytes);
        let cut = || Unfit::Truncated(NAME, "its header is cut off");
        if bytes.len() < HEADER_BYTES {
            return Err(cut());
        }
        if !bytes.starts_with(MAGIC) {
            return Err(Unfit::Damaged(NAME, "its first bytes"));
        }
        let version = fields.le32(VERSION_AT).ok_or_else(cut)?;
        if !(1..=VERSION_MAX).contains(&version) {
            return Err(Unfit::Unknown(
                NAME,
                format!("version {version}; versions 1 to {VERSION_MAX} are known"),
            ));
        }
        if fields.bytes(LINE_ENDS_AT, LINE_ENDS.len()) != Some(LINE_ENDS) {
            return Err(Unfit::Damaged(NAME, "it was copied as text"));
        }
        if fields.byte(UNCLEAN_AT) != Some(0) {
            return Err(Unfit::Dirty(NAME));
        }
        let capacity = fields.le64(CAPACITY_AT).ok_or_else(cut)?;
        if capacity == 0 {
            return Err(Unfit::NamesAnother(NAME, "is a descriptor that names other files"));
        }
        Ok(Self {
            capacity,
            descriptor_offset: fields.le64(DESCRIPTOR_OFFSET_AT).ok_or_else(cut)?,
            descriptor_size: fields.le64(DESCRIPTOR_SIZE_AT).ok_or_else(cut)?,
            grain_directory: fields.le64(GRAIN_DIRECTORY_AT).ok_or_else(cut)?,
        })
    }
}

/// A stream's footer is a header once more, with the grain directory's place; it counts instead of the first.
fn check_footer(file: &(impl ReadAt + ?Sized), file_bytes: u64, header: &Header) -> Result<(), Unfit> {
    let end = file_bytes - file_bytes % SECTOR;
    let missing = Unfit::Truncated(NAME, "the footer at its end is missing");
    let Some(at) = end.checked_sub(FOOTER_FROM_END) else { return Err(missing) };
    match Header::parse(&file.read_at(at, HEADER_BYTES)?) {
        Ok(footer) if footer.grain_directory == DIRECTORY_AT_END => Err(missing),
        Ok(footer) if footer.capacity != header.capacity => Err(Unfit::Damaged(NAME, "its footer")),
        Ok(_) => Ok(()),
        Err(_) => Err(missing),
    }
}

fn descriptor(file: &(impl ReadAt + ?Sized), header: &Header) -> Result<String, Unfit> {
    if header.descriptor_offset == 0 {
        return Err(one_of_several());
    }
    let (at, bytes) =
        (header.descriptor_offset.saturating_mul(SECTOR), header.descriptor_size.saturating_mul(SECTOR));
    if bytes > DESCRIPTOR_BYTES_MAX {
        return Err(Unfit::Damaged(NAME, "its descriptor is too long"));
    }
    let text = file.read_at(at, usize::try_from(bytes).unwrap_or(0))?;
    if (text.len() as u64) < bytes {
        return Err(Unfit::Truncated(NAME, "its descriptor is cut off"));
    }
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    if text[..end].trim_ascii().is_empty() {
        return Err(one_of_several());
    }
    Ok(String::from_utf8_lossy(&text[..end]).into_owned())
}

fn one_of_several() -> Unfit {
    Unfit::NamesAnother(NAME, "is one extent of several and has no descriptor")
}

fn check_descriptor(text: &str, capacity: u64) -> Result<(), Unfit> {
    let damaged = |what| Err(Unfit::Damaged(NAME, what));
    if text.contains(PARENT_HINT) {
        return Err(Unfit::NamesAnother(NAME, "has a parent"));
    }
    let mut extents = 0;
    let (mut kind, mut parent) = (None, None);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some((name, value)) = line.split_once('=').filter(|(name, _)| !name.contains('"')) {
            let value = value.trim().trim_matches('"');
            match name.trim() {
                "createType" if kind.is_none() => kind = Some(value),
                "parentCID" if parent.is_none() => parent = Some(value),
                "createType" | "parentCID" => return damaged("its descriptor says something twice"),
                _ => {}
            }
            continue;
        }
        extents += 1;
        check_extent(line, capacity)?;
    }
    match kind {
        Some("monolithicSparse" | "streamOptimized") => {}
        Some(kind) => {
            let kind: String = kind.chars().take(40).flat_map(char::escape_default).collect();
            let text = format!("type {kind}; monolithicSparse and streamOptimized are taken");
            return Err(Unfit::Unknown(NAME, text));
        }
        None => return damaged("its descriptor has no type"),
    }
    if parent.is_none_or(|parent| !parent.eq_ignore_ascii_case(NO_PARENT)) {
        return Err(Unfit::NamesAnother(NAME, "has a parent"));
    }
    match extents {
        1 => Ok(()),
        0 => damaged("its descriptor has no extent"),
        _ => Err(Unfit::NamesAnother(NAME, "has several extents")),
    }
}

/// `RW 204800 SPARSE "name.vmdk"`: the name is this file's own, at the time it was made.
fn check_extent(line: &str, capacity: u64) -> Result<(), Unfit> {
    let mut words = line.split_ascii_whitespace();
    let (access, sectors, kind) = (words.next(), words.next(), words.next());
    if !matches!(access, Some("RW" | "RDONLY")) {
        return Err(Unfit::Damaged(NAME, "its descriptor has a line that is not known"));
    }
    if kind != Some("SPARSE") {
        return Err(Unfit::NamesAnother(NAME, "has its data in another file"));
    }
    match sectors.and_then(|sectors| sectors.parse::<u64>().ok()) == Some(capacity) {
        true => Ok(()),
        false => Err(Unfit::Damaged(NAME, "its descriptor has another size than its header")),
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const TEXT: &str = "# Disk DescriptorFile\nversion=1\nCID=8e2be1b6\nparentCID=ffffffff\n\
        createType=\"monolithicSparse\"\n\n# Extent description\nRW 16384 SPARSE \"disk.vmdk\"\n\n\
        # The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\nddb.adapterType = \"ide\"\n";

    /// The header of a disk of 8 MiB, field by field.
    fn header(capacity: u64, grain_directory: u64) -> Vec<u8> {
        let mut bytes = [
            &b"KDMV"[..],
            &[1, 0, 0, 0],                  // version
            &[3, 0, 0, 0],                  // flags
            &capacity.to_le_bytes(),        // capacity, in sectors
            &[128, 0, 0, 0, 0, 0, 0, 0],    // grain size
            &[1, 0, 0, 0, 0, 0, 0, 0],      // descriptor offset
            &[20, 0, 0, 0, 0, 0, 0, 0],     // descriptor size
            &[0, 2, 0, 0],                  // entries of a grain table
            &[21, 0, 0, 0, 0, 0, 0, 0],     // redundant grain directory
            &grain_directory.to_le_bytes(), // grain directory
            &[128, 0, 0, 0, 0, 0, 0, 0],    // overhead
            &[0],                           // unclean shutdown
            &b"\n \r\n"[..],                // line ends
            &[0, 0],                        // compression
        ]
        .concat();
        bytes.resize(512, 0);
        bytes
    }

    fn with_text(text: &str) -> Vec<u8> {
        let mut file = [&header(16384, 26)[..], text.as_bytes()].concat();
        file.resize(128 * 512, 0);
        file
    }

    pub(in super::super) fn file() -> Vec<u8> {
        with_text(TEXT)
    }

    fn of(bytes: &[u8]) -> Result<u64, String> {
        inspect(bytes, bytes.len() as u64).map_err(|unfit| unfit.to_string())
    }

    #[test]
    fn a_file_that_stands_alone_gives_the_size() {
        assert_eq!(of(&file()), Ok(8 << 20));
        assert_eq!(of(&with_text(&TEXT.replace('\n', "\r\n"))), Ok(8 << 20));
        assert_eq!(of(&with_text(&TEXT.replace("monolithicSparse", "streamOptimized"))), Ok(8 << 20));
    }

    #[test]
    fn whatever_names_another_file_is_refused() {
        let text = |from: &str, to: &str| of(&with_text(&TEXT.replace(from, to))).unwrap_err();
        assert!(text("parentCID=ffffffff", "parentCID=8e2be1b6").contains("has a parent"));
        assert!(text("version=1", "parentFileNameHint=\"/etc/shadow\"").contains("has a parent"));
        let extent = "RW 16384 SPARSE \"disk.vmdk\"\n";
        assert!(text(extent, "RW 16384 FLAT \"/etc/shadow\" 0\n").contains("in another file"));
        assert!(text(extent, "RW 16384 VMFS \"/dev/sda\"\n").contains("in another file"));
        assert!(text(extent, &extent.repeat(2)).contains("several extents"));
        assert!(text("monolithicSparse", "twoGbMaxExtentSparse").contains("type twoGbMaxExtentSparse"));
        assert!(text("monolithicSparse", "monolithicFlat").contains("type monolithicFlat"));
        assert!(text(extent, "").contains("no extent"));
        assert!(text("16384", "16385").contains("another size"));
        assert!(text("#DDB", "!DDB").contains("not known"));
        // What a reader would look at whatever the header says.
        let mut hidden =
            [&header(16384, 26)[..], TEXT.as_bytes(), &[0; 40], b"parentFileNameHint=\"x\""].concat();
        hidden.resize(128 * 512, 0);
        assert!(of(&hidden).unwrap_err().contains("has a parent"));
    }

    #[test]
    fn a_descriptor_alone_and_an_extent_alone_are_refused() {
        let mut empty = file();
        empty[12..20].fill(0);
        assert!(of(&empty).unwrap_err().contains("names other files"));
        let mut extent = file();
        extent[28..44].fill(0);
        assert!(of(&extent).unwrap_err().contains("one extent of several"));
        assert!(of(&with_text("")).unwrap_err().contains("one extent of several"));
    }

    #[test]
    fn a_stream_has_its_footer() {
        let stream = |footer: Vec<u8>| {
            let mut file = with_text(&TEXT.replace("monolithicSparse", "streamOptimized"));
            file[56..64].fill(0xff);
            of(&[file, footer, vec![0; 512]].concat())
        };
        assert_eq!(stream(header(16384, 100)), Ok(8 << 20));
        assert!(stream(header(0, 100)).unwrap_err().contains("footer"));
        assert!(stream(header(16385, 100)).unwrap_err().contains("footer"));
        assert!(stream(header(16384, u64::MAX)).unwrap_err().contains("footer"));
        assert!(stream(vec![0; 512]).unwrap_err().contains("footer"));
    }

    #[test]
    fn what_is_cut_changed_or_unknown_is_refused() {
        let whole = file();
        for cut in (0..21 * 512).step_by(64) {
            assert!(of(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let with = |at: usize, byte: u8| {
            let mut file = file();
            file[at] = byte;
            of(&file).unwrap_err()
        };
        assert!(with(4, 4).contains("version 4"));
        assert!(with(72, 1).contains("not closed cleanly"));
        assert!(with(74, b'\n').contains("copied as text"));
        assert!(with(38, 1).contains("too long"));
        for at in (0..1024).chain((1024..whole.len()).step_by(997)) {
            let mut bad = whole.clone();
            bad[at] ^= 0x15;
            drop(of(&bad));
        }
    }
}
