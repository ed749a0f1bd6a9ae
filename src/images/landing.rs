//! Where the bytes of a file go once they are known: a raw disk into the import itself, any other file beside it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use api::{Code, ImageFormat, Refusal};
use cow::Import;

use super::inspect::vhd;
use super::sniff::{self, DiskFormat, Kind, Packing, SNIFF_BYTES, sniff};
use crate::control::refusals;

/// Pieces of zeros that are at least this long are not written: they stay holes.
const HOLE_BYTES: usize = 64 << 10;

/// What has landed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Landed {
    /// The import's own file is the disk.
    Raw(ImageFormat),
    /// A file of a disk format lies beside it.
    Disk(DiskFormat, Aside),
    /// A packed file lies beside it.
    Packed(Packing, Aside),
}

/// A file beside the import's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Aside {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

/// Where the file comes from, and so what it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The client, who says that it is this.
    Client(ImageFormat),
    /// The inside of a packed file.
    Inside(Packing),
}

enum Sink {
    /// Not enough has come to tell what it is.
    Undecided {
        first: Vec<u8>,
    },
    Raw,
    Aside(Kind, File),
}

/// Takes a file in pieces of ascending offsets. Blocking.
pub(super) struct Landing {
    origin: Origin,
    sink: Sink,
    /// End of the file so far; its size once the end has come.
    end: u64,
    size_max: u64,
}

impl Landing {
    pub(super) fn new(origin: Origin, size_max: u64) -> Self {
        Self { origin, sink: Sink::Undecided { first: Vec::new() }, end: 0, size_max }
    }

    /// End of what has come.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The file goes up to here at least.
    pub(super) fn reach(&mut self, end: u64) -> Result<(), Refusal> {
        if end > self.size_max {
            return Err(too_large(self.size_max));
        }
        self.end = self.end.max(end);
        Ok(())
    }

    pub(super) fn data(&mut self, import: &Import, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.reach(offset.saturating_add(bytes.len() as u64))?;
        let Sink::Undecided { first } = &mut self.sink else { return self.write(import, offset, bytes) };
        // The file's first bytes may come in pieces; zeros that were not sent are part of them.
        if offset < SNIFF_BYTES as u64 {
            let offset = usize::try_from(offset).unwrap_or(SNIFF_BYTES);
            let held = bytes.len().min(SNIFF_BYTES - offset);
            first.resize(offset, 0);
            first.extend_from_slice(&bytes[..held]);
            if first.len() < SNIFF_BYTES {
                return Ok(());
            }
            self.decide(import)?;
            return self.write(import, (offset + held) as u64, &bytes[held..]);
        }
        self.decide(import)?;
        self.write(import, offset, bytes)
    }

    /// The file has ended.
    pub(super) fn finish(mut self, import: &Import) -> Result<Landed, Refusal> {
        self.decide(import)?;
        let (kind, file) = match &self.sink {
            Sink::Undecided { .. } | Sink::Raw => return self.finish_raw(import).map(Landed::Raw),
            Sink::Aside(kind, file) => (*kind, file),
        };
        file.set_len(self.end).map_err(|error| refusals::of_io("write the upload", &error))?;
        let aside = Aside { path: self.path(import), bytes: self.end };
        match kind {
            Kind::Disk(format) => Ok(Landed::Disk(format, aside)),
            Kind::Packed(packing) => Ok(Landed::Packed(packing, aside)),
            Kind::Raw | Kind::Other(..) => Err(sniff::is_not(ImageFormat::Raw)),
        }
    }

    /// A fixed VHD is a raw disk with a footer behind it, which is cut off.
    fn finish_raw(&self, import: &Import) -> Result<ImageFormat, Refusal> {
        let set_len = |bytes| import.set_len(bytes).map_err(|error| refusals::of_store(&error));
        set_len(self.end)?;
        if self.origin == Origin::Client(ImageFormat::Raw) {
            return Ok(ImageFormat::Raw);
        }
        let read = |error| refusals::of_io("read the staged upload", &error);
        let file = File::open(import.path()).map_err(read)?;
        match vhd::fixed_disk_bytes(&file, self.end).map_err(read)? {
            Some(disk_bytes) => set_len(disk_bytes).map(|()| ImageFormat::Vhd),
            None if self.origin == Origin::Client(ImageFormat::Vhd) => Err(sniff::is_not(ImageFormat::Vhd)
                .details(
                    "a fixed VHD ends with a footer; there is none, or it is damaged or of another size",
                )),
            None => Ok(ImageFormat::Raw),
        }
    }

    /// Settles what the file is and writes what was held back for that.
    fn decide(&mut self, import: &Import) -> Result<(), Refusal> {
        let Sink::Undecided { first } = &mut self.sink else { return Ok(()) };
        let first = std::mem::take(first);
        let kind = match self.origin {
            Origin::Client(requested) => sniff::settle(requested, sniff(&first))?,
            Origin::Inside(packing) => sniff::settle_inside(packing, sniff(&first))?,
        };
        self.sink = match kind {
            Kind::Raw => Sink::Raw,
            Kind::Disk(_) | Kind::Packed(_) | Kind::Other(..) => {
                let file = File::options().write(true).create_new(true).open(self.path(import));
                Sink::Aside(kind, file.map_err(|error| refusals::of_io("create the staged upload", &error))?)
            }
        };
        self.write(import, 0, &first)
    }

    fn path(&self, import: &Import) -> PathBuf {
        import.dir().join(match self.origin {
            Origin::Client(_) => "upload",
            Origin::Inside(_) => "unpacked",
        })
    }

    /// Writes all but long runs of zeros.
    fn write(&mut self, import: &Import, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        let mut at = 0;
        for run in bytes.chunks(HOLE_BYTES) {
            if run.len() < HOLE_BYTES || run.iter().any(|byte| *byte != 0) {
                self.write_run(import, offset + at, run)?;
            }
            at += run.len() as u64;
        }
        Ok(())
    }

    fn write_run(&self, import: &Import, offset: u64, run: &[u8]) -> Result<(), Refusal> {
        match &self.sink {
            Sink::Aside(_, file) => {
                import.take_room(run.len() as u64).map_err(|error| refusals::of_store(&error))?;
                file.write_all_at(run, offset).map_err(|error| refusals::of_io("write the upload", &error))
            }
            Sink::Raw | Sink::Undecided { .. } => {
                import.write_at(offset, run).map_err(|error| refusals::of_store(&error))
            }
        }
    }
}

/// The disk, or the file, is larger than the configuration allows.
pub(super) fn too_large(size_max: u64) -> Refusal {
    let size = config::Size::from_bytes(size_max);
    Refusal::new(Code::TooLarge, format!("the image is larger than {size}"))
        .action("raise images.size_max in osvold's configuration")
}

/// Reads from a file of any kind, up to its end; shorter than `bytes` means that the file is.
pub(crate) trait ReadAt {
    fn read_at(&self, offset: u64, bytes: usize) -> io::Result<Vec<u8>>;
}

impl ReadAt for File {
    fn read_at(&self, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let mut out = vec![0; bytes];
        let mut filled = 0;
        while filled < out.len() {
            let Some(at) = offset.checked_add(filled as u64).filter(|at| i64::try_from(*at).is_ok()) else {
                break;
            };
            match FileExt::read_at(self, &mut out[filled..], at) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        out.truncate(filled);
        Ok(out)
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        Ok(self[start..start.saturating_add(bytes).min(self.len())].to_vec())
    }
}

/// Opens a staged file for reading.
pub(super) fn open(path: &Path) -> Result<File, Refusal> {
    File::open(path).map_err(|error| refusals::of_io("read the staged upload", &error))
}
