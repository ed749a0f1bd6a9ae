//! Golden images: immutable raw files with a digest for every chunk.
//!
//! A chunk is compared with the SHA-256 that was taken at import before it is served first, and whenever it comes
//! from the disk again; where it was, the page cache is served as it is. A chunk that is not what was imported is an
//! error with its address, never data.

pub(crate) mod digests;
pub(crate) mod import;
mod proven;

use std::{path::Path, sync::Arc};

use digests::Digests;
use proven::Proven;
use sha2::{Digest, Sha256};

use crate::{
    context::Context,
    disk::{File, Wait},
    error::{Error, Result},
    ids::ImageId,
    limits::CHUNK_BYTES,
    volume::Allocation,
};

/// The content of a golden image, open for reading.
pub(crate) struct Image {
    pub(crate) id: ImageId,
    file: Arc<dyn File>,
    digests: Digests,
    proven: Proven,
    size_bytes: u64,
}

impl Image {
    /// Opens the content with this digest.
    pub(crate) fn open(context: &Context, id: ImageId, digest: &[u8; 32], size_bytes: u64) -> Result<Self> {
        let dir = content_dir(context, digest);
        let open =
            |path: &Path| context.disk.open(path, false).map_err(|error| Error::io("open", path, error));
        let file = open(&dir.join("image.raw"))?;
        let path = dir.join("digests");
        let digests = Digests::open(&*open(&path)?, &path, digest)?;
        let proven = Proven::new(digests.count());
        Ok(Self { id, file, digests, proven, size_bytes })
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Reads `out.len()` bytes from `offset` on; past the end there are zeros.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8], wait: Wait) -> Result<()> {
        let here =
            usize::try_from(self.size_bytes.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        let (inside, beyond) = out.split_at_mut(here);
        beyond.fill(0);
        let mut done = 0;
        while done < inside.len() {
            let at = offset + done as u64;
            let run = self.digests.run_at(at / CHUNK_BYTES);
            let bytes = usize::try_from(run.end_chunk.saturating_mul(CHUNK_BYTES) - at).unwrap_or(usize::MAX);
            let end = inside.len().min(done.saturating_add(bytes));
            match run.has_data {
                true => self.read_data(at, &mut inside[done..end], wait)?,
                false => inside[done..end].fill(0),
            }
            done = end;
        }
        Ok(())
    }

    fn read_data(&self, offset: u64, out: &mut [u8], wait: Wait) -> Result<()> {
        if !self.is_proven(offset, out.len() as u64) {
            return match wait {
                Wait::No => Err(Error::would_block()),
                Wait::Yes => self.read_verified(offset, out),
            };
        }
        match self.file.read_at(offset, out, Wait::No) {
            Ok(read) if read == out.len() => Ok(()),
            Ok(_) => Err(Error::corrupt(offset, "golden image: its file is cut short")),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => match wait {
                Wait::No => Err(Error::would_block()),
                Wait::Yes => self.read_verified(offset, out),
            },
            Err(error) => Err(Error::io("read golden image", Path::new(&self.id.to_string()), error)),
        }
    }

    /// Whether every chunk of the range was compared with its digest before.
    fn is_proven(&self, offset: u64, bytes: u64) -> bool {
        let mut chunks = offset / CHUNK_BYTES..(offset + bytes).div_ceil(CHUNK_BYTES);
        chunks.all(|chunk| self.digests.position(chunk).is_some_and(|digest| self.proven.is(digest)))
    }

    fn read_verified(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let mut buffer = Vec::new();
        let mut done = 0;
        while done < out.len() {
            let at = offset + done as u64;
            let chunk = at / CHUNK_BYTES;
            self.verify_chunk(chunk, &mut buffer)?;
            let skip = usize::try_from(at % CHUNK_BYTES).unwrap_or(0);
            let bytes = (buffer.len() - skip).min(out.len() - done);
            out[done..done + bytes].copy_from_slice(&buffer[skip..skip + bytes]);
            done += bytes;
        }
        Ok(())
    }

    /// Tells which parts of a range hold data.
    pub(crate) fn status(&self, offset: u64, bytes: u64, tell: &mut dyn FnMut(u64, Allocation)) {
        let end = offset + bytes;
        let mut at = offset;
        while at < end {
            let run = self.digests.run_at(at / CHUNK_BYTES);
            let until = run.end_chunk.saturating_mul(CHUNK_BYTES).min(end);
            tell(until - at, if run.has_data { Allocation::Mapped } else { Allocation::Deallocated });
            at = until;
        }
    }

    /// Reads a chunk and compares its digest.
    pub(crate) fn verify_chunk(&self, chunk: u64, buffer: &mut Vec<u8>) -> Result<()> {
        let start = chunk * CHUNK_BYTES;
        let bytes = CHUNK_BYTES.min(self.size_bytes.saturating_sub(start));
        buffer.resize(usize::try_from(bytes).unwrap_or(0), 0);
        let read = self.file.read_at(start, buffer, Wait::Yes);
        let read =
            read.map_err(|error| Error::io("read golden image", Path::new(&self.id.to_string()), error))?;
        let good = read as u64 == bytes
            && self.digests.of(chunk).is_none_or(|want| *want == <[u8; 32]>::from(Sha256::digest(&buffer)));
        if let Some(digest) = self.digests.position(chunk) {
            self.proven.set(digest, good);
        }
        if good {
            return Ok(());
        }
        Err(Error::corrupt(
            start,
            format!("golden image {}: chunk {chunk} is not what was imported", self.id),
        ))
    }

    /// The first chunk at or after `chunk` that holds data, for a scrub.
    pub(crate) fn next_data_chunk(&self, chunk: u64) -> Option<u64> {
        match self.digests.run_at(chunk) {
            digests::At { has_data: true, .. } => Some(chunk),
            digests::At { end_chunk: u64::MAX, .. } => None,
            digests::At { end_chunk, .. } => Some(end_chunk),
        }
    }
}

pub(crate) fn content_dir(context: &Context, digest: &[u8; 32]) -> std::path::PathBuf {
    context.golden_dir().join(hex(digest))
}

/// A digest as it is written.
pub(crate) fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
