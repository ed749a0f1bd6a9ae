//! The upload on its way to disk: taken apart, recognised, and written where nothing else sees it yet.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use api::upload::{Decoder, FrameError, Piece};
use api::{Code, Refusal};
use cow::Import;

use super::sniff::{Kind, SNIFF_BYTES, sniff};
use crate::control::refusals;

/// Pieces of zeros that are at least this long are not written: they stay holes.
const HOLE_BYTES: usize = 64 << 10;

/// What the client says the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RequestedFormat {
    /// By its first bytes.
    #[default]
    Auto,
    /// Byte for byte the disk.
    Raw,
    /// QEMU's copy-on-write format.
    Qcow2,
}

/// How the body carries the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFraming {
    /// Extents of data ([`api::upload`]).
    Extents,
    /// The file's bytes as they are.
    Plain,
}

/// What has been staged.
pub(super) enum Staged {
    /// The import's own file is the disk.
    Raw(Import),
    /// A qcow2 file lies beside it.
    Qcow2 { import: Import, file: PathBuf, file_bytes: u64 },
}

enum Sink {
    /// Not enough has come to tell what it is.
    Undecided {
        first: Vec<u8>,
    },
    Raw,
    Qcow2(File),
}

/// Takes an upload. Blocking: lives on a thread of its own.
pub(super) struct Staging {
    import: Import,
    requested: RequestedFormat,
    framing: BodyFraming,
    decoder: Decoder,
    sink: Sink,
    /// End of the file so far; its size once the end has come.
    end: u64,
    size_max: u64,
}

impl Staging {
    pub(super) fn new(
        import: Import,
        requested: RequestedFormat,
        framing: BodyFraming,
        size_max: u64,
    ) -> Self {
        let sink = Sink::Undecided { first: Vec::new() };
        Self { import, requested, framing, decoder: Decoder::default(), sink, end: 0, size_max }
    }

    /// A part of the body, of any length.
    pub(super) fn take(&mut self, mut body: &[u8]) -> Result<(), Refusal> {
        if self.framing == BodyFraming::Plain {
            return self.data(self.end, body);
        }
        while let Some(piece) = self.decoder.next(&mut body).map_err(bad_frame)? {
            match piece {
                Piece::Data { offset, bytes } => self.data(offset, bytes)?,
                Piece::End { file_bytes } => self.reach(file_bytes)?,
            }
        }
        Ok(())
    }

    /// The body has ended, and was whole as far as HTTP can tell.
    pub(super) fn finish(mut self) -> Result<Staged, Refusal> {
        if self.framing == BodyFraming::Extents {
            self.decoder.finish().map_err(bad_frame)?;
        }
        self.decide()?;
        match self.sink {
            Sink::Undecided { .. } | Sink::Raw => {
                self.import.set_len(self.end).map_err(|error| refusals::of_store(&error))?;
                Ok(Staged::Raw(self.import))
            }
            Sink::Qcow2(ref file) => {
                file.set_len(self.end).map_err(|error| refusals::of_io("write the upload", &error))?;
                let file = upload_path(&self.import);
                Ok(Staged::Qcow2 { import: self.import, file, file_bytes: self.end })
            }
        }
    }

    fn reach(&mut self, end: u64) -> Result<(), Refusal> {
        if end > self.size_max {
            let size = config::Size::from_bytes(self.size_max);
            return Err(Refusal::new(Code::TooLarge, format!("the image is larger than {size}"))
                .action("raise images.size_max in osvold's configuration"));
        }
        self.end = self.end.max(end);
        Ok(())
    }

    fn data(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.reach(offset.saturating_add(bytes.len() as u64))?;
        let Sink::Undecided { first } = &mut self.sink else { return self.write(offset, bytes) };
        // The file's first bytes may come in pieces; zeros that were not sent are part of them.
        if offset < SNIFF_BYTES as u64 {
            let offset = usize::try_from(offset).unwrap_or(SNIFF_BYTES);
            let held = bytes.len().min(SNIFF_BYTES - offset);
            first.resize(offset, 0);
            first.extend_from_slice(&bytes[..held]);
            if first.len() < SNIFF_BYTES {
                return Ok(());
            }
            self.decide()?;
            return self.write((offset + held) as u64, &bytes[held..]);
        }
        self.decide()?;
        self.write(offset, bytes)
    }

    /// Settles what the file is and writes what was held back for that.
    fn decide(&mut self) -> Result<(), Refusal> {
        let Sink::Undecided { first } = &mut self.sink else { return Ok(()) };
        let first = std::mem::take(first);
        self.sink = match (self.requested, sniff(&first)) {
            (RequestedFormat::Raw, _) | (RequestedFormat::Auto, Kind::Raw) => Sink::Raw,
            (RequestedFormat::Auto | RequestedFormat::Qcow2, Kind::Qcow2) => {
                let path = upload_path(&self.import);
                let file = File::options().write(true).create_new(true).open(path);
                Sink::Qcow2(file.map_err(|error| refusals::of_io("create the staged upload", &error))?)
            }
            (RequestedFormat::Qcow2, Kind::Raw | Kind::Other(..)) => {
                return Err(Refusal::new(Code::BadImage, "the file is not in qcow2 format")
                    .action("leave --format out, or give --format raw"));
            }
            (RequestedFormat::Auto, Kind::Other(what, action)) => {
                return Err(Refusal::new(
                    Code::BadImage,
                    format!("the file is {what}, not a raw or qcow2 image"),
                )
                .action(action)
                .action("if it is a raw disk all the same, give --format raw"));
            }
        };
        self.write(0, &first)
    }

    /// Writes all but long runs of zeros.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        let mut at = 0;
        for run in bytes.chunks(HOLE_BYTES) {
            if run.len() < HOLE_BYTES || run.iter().any(|byte| *byte != 0) {
                self.write_run(offset + at, run)?;
            }
            at += run.len() as u64;
        }
        Ok(())
    }

    fn write_run(&mut self, offset: u64, run: &[u8]) -> Result<(), Refusal> {
        match &self.sink {
            Sink::Qcow2(file) => {
                file.write_all_at(run, offset).map_err(|error| refusals::of_io("write the upload", &error))
            }
            Sink::Raw | Sink::Undecided { .. } => {
                self.import.write_at(offset, run).map_err(|error| refusals::of_store(&error))
            }
        }
    }
}

fn upload_path(import: &Import) -> PathBuf {
    import.dir().join("upload.qcow2")
}

fn bad_frame(error: FrameError) -> Refusal {
    match error {
        FrameError::CutOff { .. } => cut_off(&error.to_string()),
        FrameError::Magic | FrameError::Order { .. } | FrameError::TooLong { .. } | FrameError::AfterEnd => {
            Refusal::new(Code::MalformedRequest, error.to_string())
        }
    }
}

/// The client went away before all had come.
pub(super) fn cut_off(why: &str) -> Refusal {
    Refusal::new(Code::BadImage, "the upload was cut off; nothing was added").details(why)
}

/// Reads the first bytes of a staged file.
pub(super) fn read_head(path: &std::path::Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut head = vec![0; bytes_max];
    let mut filled = 0;
    while filled < head.len() {
        match file.read_at(&mut head[filled..], filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    head.truncate(filled);
    Ok(head)
}
