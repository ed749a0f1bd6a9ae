//! Taking a disk out of gzip, xz, zstd or zip, as a stream: memory is bounded by a window, the outcome by
//! `images.size_max`, the time by `images.convert_time_max`, and every check sum and trailer is compared.
//!
//! The decoders are in Rust, without C code. One packing is taken off; what is inside is a disk, raw or in one of the
//! formats of `inspect`.

pub(crate) mod zip;
mod zstd;

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::rc::Rc;
use std::time::Instant;

use api::{Code, Refusal};
use cow::Import;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;

use super::landing::{self, Aside, Landed, Landing, Origin};
use super::sniff::Packing;
use crate::control::refusals;

/// Largest window (zstd) or dictionary (xz) that is taken: what `xz -9` and `zstd --ultra -22` need, and twice.
pub(super) const WINDOW_BYTES_MAX: u64 = 128 << 20;
/// Of the decoder beside its dictionary.
const XZ_OVERHEAD_KIB: u32 = 1 << 10;
/// Packed bytes that are read at a time.
const READ_BYTES: usize = 64 << 10;
/// Unpacked bytes that are written at a time.
const PART_BYTES: usize = 1 << 20;

/// Something to be unpacked.
pub(super) struct Unpack {
    pub(super) import: Import,
    pub(super) packing: Packing,
    pub(super) file: Aside,
    pub(super) size_max: u64,
    pub(super) deadline: Instant,
}

/// Why nothing more is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// The staged file cannot be read.
    Broken,
    Late,
    Cancelled,
}

impl Unpack {
    /// Does it. Blocking. `step` hears how many packed bytes are done, and says whether to go on.
    pub(super) fn run(self, step: impl FnMut(u64) -> bool + 'static) -> Result<(Import, Landed), Refusal> {
        let source = Source::new(landing::open(&self.file.path)?, self.deadline, Box::new(step));
        let stop = source.stop.clone();
        let refuse = |error: io::Error| match stop.get() {
            Some(Stop::Broken) => refusals::of_io("read the staged upload", &error),
            Some(Stop::Late) => late(),
            Some(Stop::Cancelled) => refusals::stopping(),
            None => damaged(self.packing, &error),
        };
        let mut reader = self.open(source, &refuse)?;
        let mut landing = Landing::new(Origin::Inside(self.packing), self.size_max);
        let mut part = vec![0; PART_BYTES];
        loop {
            let filled = fill(&mut *reader, &mut part).map_err(&refuse)?;
            landing.data(&self.import, landing.end(), &part[..filled])?;
            if filled < part.len() {
                break;
            }
            // Little that is read may become much that is written.
            if Instant::now() >= self.deadline {
                return Err(late());
            }
        }
        drop(reader);
        let landed = landing.finish(&self.import)?;
        // Its space is needed no more.
        std::fs::remove_file(&self.file.path)
            .map_err(|error| refusals::of_io("remove the staged upload", &error))?;
        Ok((self.import, landed))
    }

    fn open(&self, source: Source, refuse: &impl Fn(io::Error) -> Refusal) -> Result<Box<dyn Read>, Refusal> {
        let window_kib = u32::try_from(WINDOW_BYTES_MAX >> 10).unwrap_or(u32::MAX);
        Ok(match self.packing {
            Packing::Gzip => Box::new(MultiGzDecoder::new(BufReader::with_capacity(READ_BYTES, source))),
            Packing::Xz => {
                let limit = window_kib + XZ_OVERHEAD_KIB;
                Box::new(XzReader::new_mem_limit(BufReader::with_capacity(READ_BYTES, source), true, limit))
            }
            Packing::Zstd => {
                Box::new(zstd::Frames::new(BufReader::with_capacity(READ_BYTES, source), WINDOW_BYTES_MAX))
            }
            Packing::Zip => {
                let file = landing::open(&self.file.path)?;
                let entry = zip::only_entry(&file, self.file.bytes).map_err(|error| match error {
                    zip::ZipError::Io(error) => refuse(error),
                    error => Refusal::new(Code::BadImage, error.to_string()).action(error.action()),
                })?;
                Box::new(entry.open(source).map_err(refuse)?)
            }
        })
    }
}

/// Reads until the buffer is full or the end has come.
fn fill(reader: &mut dyn Read, out: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < out.len() {
        match reader.read(&mut out[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn damaged(packing: Packing, error: &io::Error) -> Refusal {
    let name = packing.name();
    if error.kind() == io::ErrorKind::OutOfMemory || error.to_string().contains("mem_limit") {
        let limit = config::Size::from_bytes(WINDOW_BYTES_MAX);
        let message = format!("the {name} file needs more memory to be unpacked than the {limit} allowed");
        return Refusal::new(Code::BadImage, message)
            .action("pack it with a smaller window or dictionary, or unpack it first");
    }
    Refusal::new(Code::BadImage, format!("the {name} file is damaged or truncated; nothing was added"))
        .details(error.to_string())
        .action("get the file again, and compare its check sum")
}

fn late() -> Refusal {
    Refusal::new(Code::TimedOut, "unpacking the image took too long")
        .action("raise images.convert_time_max in osvold's configuration, or unpack the image first")
}

/// The staged file. Whoever reads it is stopped here, for what is read may become nothing at all, for ever.
struct Source {
    file: File,
    position: u64,
    deadline: Instant,
    step: Box<dyn FnMut(u64) -> bool>,
    stop: Rc<Cell<Option<Stop>>>,
}

impl Source {
    fn new(file: File, deadline: Instant, step: Box<dyn FnMut(u64) -> bool>) -> Self {
        Self { file, position: 0, deadline, step, stop: Rc::default() }
    }

    fn stopped(&self, why: Stop) -> io::Error {
        self.stop.set(Some(why));
        io::Error::other("no more is read")
    }
}

impl Read for Source {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if !(self.step)(self.position) {
            return Err(self.stopped(Stop::Cancelled));
        }
        if Instant::now() >= self.deadline {
            return Err(self.stopped(Stop::Late));
        }
        let read = self.file.read(out).inspect_err(|_| self.stop.set(Some(Stop::Broken)))?;
        self.position += read as u64;
        Ok(read)
    }
}

impl io::Seek for Source {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.position = self.file.seek(to)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use cow::Store;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// `printf hello | xz`: stream header, block, index, footer.
    const HELLO_XZ: &[u8] = include_bytes!("hello.xz");

    struct Outcome {
        landed: Result<Landed, Refusal>,
        /// What the import holds, as far as it was written.
        bytes: u64,
    }

    fn unpack(packing: Packing, packed: &[u8], size_max: u64, time: Duration) -> Outcome {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let import = store.begin_import("x").unwrap();
        let path = import.dir().join("upload");
        std::fs::write(&path, packed).unwrap();
        let raw = import.path();
        let file = Aside { path, bytes: packed.len() as u64 };
        let unpack = Unpack { import, packing, file, size_max, deadline: Instant::now() + time };
        let landed = unpack.run(|_| true);
        let bytes = std::fs::metadata(&raw).map_or(0, |metadata| metadata.len());
        Outcome { landed: landed.map(|(_, landed)| landed), bytes }
    }

    const LONG: Duration = Duration::from_secs(60);

    fn words(packing: Packing, packed: &[u8]) -> String {
        unpack(packing, packed, 1 << 30, LONG).landed.unwrap_err().message.into_string()
    }

    #[test]
    fn members_and_streams_follow_each_other() {
        let gz = [gzip(&[1; 512]), gzip(&[2; 512])].concat();
        let done = unpack(Packing::Gzip, &gz, 1 << 30, LONG);
        assert_eq!((done.landed, done.bytes), (Ok(Landed::Raw(api::ImageFormat::Raw)), 1024));
        let xz = HELLO_XZ.repeat(3);
        let done = unpack(Packing::Xz, &xz, 1 << 30, LONG);
        assert_eq!((done.landed, done.bytes), (Ok(Landed::Raw(api::ImageFormat::Raw)), 15));
    }

    #[test]
    fn a_cut_or_a_wrong_byte_in_the_trailer_is_refused() {
        let gz = gzip(&[7; 5000]);
        for (packing, whole) in [(Packing::Gzip, gz.as_slice()), (Packing::Xz, HELLO_XZ)] {
            for cut in [1, whole.len() / 2, whole.len() - 5, whole.len() - 1] {
                let said = words(packing, &whole[..cut]);
                assert!(said.contains("damaged or truncated"), "{said}");
            }
            let mut bad = whole.to_vec();
            let at = bad.len() - 6;
            bad[at] ^= 1;
            assert!(words(packing, &bad).contains("damaged or truncated"));
            assert!(words(packing, &[whole, b"garbage!"].concat()).contains("damaged or truncated"));
        }
    }

    #[test]
    fn a_bomb_ends_at_the_limit_and_zeros_take_no_space() {
        let bomb = gzip(&vec![0; 64 << 20]);
        let done = unpack(Packing::Gzip, &bomb, 8 << 20, LONG);
        assert_eq!(done.landed.unwrap_err().error_code, Code::TooLarge);
        let late = unpack(Packing::Gzip, &bomb, 1 << 30, Duration::ZERO);
        assert_eq!(late.landed.unwrap_err().error_code, Code::TimedOut);
    }

    #[test]
    fn what_unpacks_to_nothing_does_not_go_on_for_ever() {
        let nothing = gzip(b"").repeat(20_000);
        let late = unpack(Packing::Gzip, &nothing, 1 << 30, Duration::ZERO);
        assert_eq!(late.landed.unwrap_err().error_code, Code::TimedOut);
        let whole = unpack(Packing::Gzip, &nothing, 1 << 30, LONG);
        assert_eq!((whole.landed, whole.bytes), (Ok(Landed::Raw(api::ImageFormat::Raw)), 0));
    }

    #[test]
    fn a_packing_in_a_packing_is_refused() {
        assert_eq!(
            words(Packing::Gzip, &gzip(&gzip(&[1; 512]))),
            "what is packed with gzip is packed with gzip"
        );
        assert_eq!(words(Packing::Gzip, &gzip(HELLO_XZ)), "what is packed with gzip is packed with xz");
    }

    #[test]
    fn an_xz_dictionary_beyond_the_limit_is_told_from_damage() {
        // `--lzma2=dict=1GiB` in the block's header (xz-file-format 3.1, 5.3.1), with its CRC-32.
        let mut big = HELLO_XZ.to_vec();
        assert_eq!(big[14..16], [0x21, 0x01], "the LZMA2 filter, one byte of properties");
        big[16] = 36;
        let crc = crc32fast::hash(&big[12..20]).to_le_bytes();
        big[20..24].copy_from_slice(&crc);
        assert!(words(Packing::Xz, &big).contains("more memory"));
    }
}
