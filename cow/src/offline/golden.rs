//! The content of a golden image as it is found: chunk by chunk what was imported, or not.

use std::{io, path::PathBuf, sync::Arc};

use sha2::{Digest, Sha256};

use super::{
    catalogue::{read_file, relative},
    layer::Fault,
    lost,
    ranges::Ranges,
    report::Problem,
};
use crate::{
    context::Context,
    disk::{File, Wait},
    error::Result,
    image::{content_dir, digests::Digests},
    limits::{CHUNK_BYTES, DIGEST_BYTES},
};

/// What a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// What was imported.
    Sound,
    /// Zeros, as imported.
    Zeros,
    /// Something else, or it cannot be read or proven.
    Lost,
}

/// Content of one golden image.
pub(crate) struct Golden {
    pub size_bytes: u64,
    file: Option<Arc<dyn File>>,
    file_bytes: u64,
    /// As far as they can be read.
    pub digests: Option<Digests>,
    /// They are the ones that were taken at import.
    trusted: bool,
    /// Digests of chunks lie in lost bytes; chunks of which it is known before any is read.
    pub faults: Vec<Fault>,
    image_path: PathBuf,
}

impl Golden {
    /// Opens the content with this digest, and looks at all that can be seen without reading it.
    pub(crate) fn open(context: &Context, digest: &[u8; 32], size_bytes: u64) -> Self {
        let dir = content_dir(context, digest);
        let (raw, sums) = (dir.join("image.raw"), dir.join("digests"));
        let mut golden = Self {
            size_bytes,
            file: None,
            file_bytes: 0,
            digests: None,
            trusted: false,
            faults: Vec::new(),
            image_path: relative(context, &raw),
        };
        match context.disk.open(&raw, false).and_then(|file| Ok((file.len()?, file))) {
            Ok((bytes, file)) => golden.opened(file, bytes),
            Err(error) => golden.fault(relative(context, &raw), no_content(&error), 0..size_bytes),
        }
        match read_file(context, &sums, digests_bytes_max(size_bytes)) {
            Ok(bytes) => golden.digests(relative(context, &sums), &bytes, digest),
            Err(error) => {
                let damage = format!("unreadable ({error})");
                golden.fault(relative(context, &sums), Problem::Digests { damage }, 0..size_bytes);
            }
        }
        golden
    }

    fn opened(&mut self, file: Arc<dyn File>, bytes: u64) {
        if bytes < self.size_bytes {
            let first = bytes - bytes % CHUNK_BYTES;
            self.fault(self.image_path.clone(), Problem::CutShort { bytes }, first..self.size_bytes);
        }
        (self.file, self.file_bytes) = (Some(file), bytes);
    }

    fn digests(&mut self, path: PathBuf, bytes: &[u8], want: &[u8; 32]) {
        self.trusted = <[u8; 32]>::from(Sha256::digest(bytes)) == *want;
        self.digests = Digests::parse(bytes);
        if !self.trusted {
            let damage = "not those of this image: what is in it cannot be verified without reading it";
            self.fault(path, Problem::Digests { damage: damage.to_owned() }, 0..self.size_bytes);
        }
    }

    fn fault(&mut self, path: PathBuf, problem: Problem, bytes: std::ops::Range<u64>) {
        let lost = Ranges::from(bytes);
        self.faults.push(Fault { path, problem, lost, unlocated: false });
    }

    /// Chunks that it has.
    pub(crate) fn chunks(&self) -> u64 {
        self.size_bytes.div_ceil(CHUNK_BYTES)
    }

    /// Chunks of which the file has at least a part.
    fn held_chunks(&self) -> u64 {
        self.file_bytes.div_ceil(CHUNK_BYTES).min(self.chunks())
    }

    /// Chunks with data that lie behind the end of the file: lost, however many they are said to be.
    pub(crate) fn missing_chunks(&self) -> Ranges {
        self.data_chunks().within(self.held_chunks()..self.chunks())
    }

    /// Chunks that hold data, or may, as ranges.
    pub(crate) fn data_chunks(&self) -> Ranges {
        match &self.digests {
            Some(digests) if self.trusted => digests.runs().collect(),
            _ => Ranges::from(0..self.chunks()),
        }
    }

    /// Reads a chunk and says what it is.
    pub(crate) fn read(&self, chunk: u64, out: &mut Vec<u8>) -> Chunk {
        let start = chunk * CHUNK_BYTES;
        let bytes = CHUNK_BYTES.min(self.size_bytes.saturating_sub(start));
        let Some(digests) = &self.digests else { return Chunk::Lost };
        let sum = digests.of(chunk);
        if sum.is_none() && self.trusted {
            return Chunk::Zeros;
        }
        // What a repair has marked need not be read.
        if sum == Some(&lost::DIGEST) {
            return Chunk::Lost;
        }
        out.clear();
        out.resize(usize::try_from(bytes).unwrap_or(0), 0);
        let read = self.file.as_ref().map(|file| file.read_at(start, out, Wait::Yes));
        let whole = matches!(read, Some(Ok(read)) if read as u64 == bytes);
        match sum {
            Some(sum) if whole && *sum == <[u8; 32]>::from(Sha256::digest(&*out)) => Chunk::Sound,
            None if whole && out.iter().all(|byte| *byte == 0) => Chunk::Zeros,
            _ => Chunk::Lost,
        }
    }

    /// Reads every chunk: what is lost is known for certain afterwards. `progress` hears of every chunk's bytes.
    pub(crate) fn verify(&mut self, progress: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
        self.rebuild_digests();
        let mut lost = Ranges::default();
        let mut chunks = Ranges::default();
        let mut buffer = Vec::new();
        for chunk in self.data_chunks().within(0..self.held_chunks()).iter().flatten() {
            if self.read(chunk, &mut buffer) == Chunk::Lost {
                chunks.add(chunk..chunk + 1);
                lost.add(chunk * CHUNK_BYTES..((chunk + 1) * CHUNK_BYTES).min(self.size_bytes));
            }
            progress(CHUNK_BYTES)?;
        }
        for missing in self.missing_chunks().iter() {
            lost.add(missing.start * CHUNK_BYTES..(missing.end * CHUNK_BYTES).min(self.size_bytes));
            progress((missing.end - missing.start) * CHUNK_BYTES)?;
            chunks.add(missing);
        }
        // What the files alone made doubtful is now known chunk by chunk.
        let mut told = Ranges::default();
        for fault in &mut self.faults {
            fault.lost = intersection(&fault.lost, &lost);
            told.add_all(&fault.lost);
        }
        let fresh = difference(&lost, &told);
        if !fresh.is_empty() {
            let touched = fresh.iter().map(|at| at.start / CHUNK_BYTES..at.end.div_ceil(CHUNK_BYTES));
            let problem = Problem::Chunks { chunks: intersection(&chunks, &touched.collect()) };
            self.faults.push(Fault { path: self.image_path.clone(), problem, lost: fresh, unlocated: false });
        }
        Ok(())
    }

    /// Where the digests are damaged, takes them anew from the content: if their digest is the image's, the content
    /// is what was imported.
    pub(crate) fn rebuild_digests(&mut self) {
        if self.trusted {
            return;
        }
        let Some(anew) = self.digests_of_content() else { return };
        if Some(anew.root()) == self.want() {
            (self.digests, self.trusted) = (Some(anew), true);
        }
    }

    /// The digest of the digests: the name of the directory.
    fn want(&self) -> Option<[u8; 32]> {
        let name = self.image_path.parent()?.file_name()?.to_str()?;
        let byte = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok();
        let bytes: Option<Vec<u8>> = name.as_bytes().chunks(2).map(byte).collect();
        bytes?.try_into().ok()
    }

    fn digests_of_content(&self) -> Option<Digests> {
        let file = self.file.as_ref()?;
        let mut digests = Digests::new(self.size_bytes);
        for chunk in 0..self.chunks() {
            let start = chunk * CHUNK_BYTES;
            let bytes = CHUNK_BYTES.min(self.size_bytes - start);
            let mut buffer = vec![0; usize::try_from(bytes).ok()?];
            if file.read_at(start, &mut buffer, Wait::Yes).ok()? as u64 != bytes {
                return None;
            }
            if buffer.iter().any(|byte| *byte != 0) {
                digests.push(chunk, Sha256::digest(&buffer).into());
            }
        }
        Some(digests)
    }

    /// The digest of a chunk, where the digests can be trusted.
    pub(crate) fn sum(&self, chunk: u64) -> Option<[u8; 32]> {
        self.digests.as_ref().filter(|_| self.trusted)?.of(chunk).copied()
    }
}

fn no_content(error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::NotFound => Problem::ContentMissing,
        _ => Problem::Unreadable { why: error.to_string() },
    }
}

/// The most bytes that the digests of an image can have.
fn digests_bytes_max(size_bytes: u64) -> usize {
    let chunks = size_bytes.div_ceil(CHUNK_BYTES);
    usize::try_from(24 + chunks * (16 + DIGEST_BYTES)).unwrap_or(usize::MAX)
}

fn intersection(a: &Ranges, b: &Ranges) -> Ranges {
    a.iter().flat_map(|range| b.within(range).iter().collect::<Vec<_>>()).collect()
}

fn difference(a: &Ranges, b: &Ranges) -> Ranges {
    let mut left = a.clone();
    b.iter().for_each(|range| left.remove(range));
    left
}
