//! The digest tree of a golden image: a SHA-256 of every chunk that holds anything but zeros, and one over all.
//!
//! ```text
//!   frame: runs u64, then per run: first chunk u64, chunks u64      (chunks in no run are zeros)
//!   then, for every chunk of every run in order: 32 bytes
//! ```
//! The root is SHA-256 over the image's size, the runs and the chunk digests: it names the content, and it is
//! compared whenever the file is opened, so that the digests themselves are trusted only as far as they match it.

use std::path::Path;

use nom::{Parser, number::complete::le_u64};
use sha2::{Digest, Sha256};

use crate::{
    disk::{File, Wait},
    error::{Error, Kind, Result},
    limits::DIGEST_BYTES,
};

/// Consecutive chunks that hold data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ChunkRun {
    first: u64,
    chunks: u64,
    /// Index of the first one's digest.
    digest: u64,
}

/// Whether chunks hold data, and up to which one (exclusive) that is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    pub has_data: bool,
    pub end_chunk: u64,
}

/// The digests of an image.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    size_bytes: u64,
    runs: Vec<ChunkRun>,
    sums: Vec<[u8; 32]>,
}

impl Digests {
    /// None yet, for an image of this size.
    pub(crate) fn new(size_bytes: u64) -> Self {
        Self { size_bytes, ..Self::default() }
    }

    /// Adds the digest of a chunk that comes after all that were added.
    pub(crate) fn push(&mut self, chunk: u64, sum: [u8; 32]) {
        let digest = self.sums.len() as u64;
        self.sums.push(sum);
        match self.runs.last_mut() {
            Some(run) if run.first + run.chunks == chunk => run.chunks += 1,
            _ => self.runs.push(ChunkRun { first: chunk, chunks: 1, digest }),
        }
    }

    /// The digest over everything.
    pub(crate) fn root(&self) -> [u8; 32] {
        Sha256::digest(self.bytes()).into()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.runs.len() * 16 + self.sums.len() * 32);
        out.extend(b"OVdigst1");
        out.extend(self.size_bytes.to_le_bytes());
        out.extend((self.runs.len() as u64).to_le_bytes());
        for run in &self.runs {
            out.extend(run.first.to_le_bytes());
            out.extend(run.chunks.to_le_bytes());
        }
        self.sums.iter().for_each(|sum| out.extend(sum));
        out
    }

    /// Reads the file, which must have the root `want`.
    pub(crate) fn open(file: &dyn File, path: &Path, want: &[u8; 32]) -> Result<Self> {
        let io = |error| Error::io("read", path, error);
        let mut bytes = vec![0; usize::try_from(file.len().map_err(io)?).unwrap_or(0)];
        file.read_at(0, &mut bytes, Wait::Yes).map_err(io)?;
        if <[u8; 32]>::from(Sha256::digest(&bytes)) != *want {
            return Err(Error::corrupt(0, format!("{}: not the digests of this image", path.display())));
        }
        Self::parse(&bytes)
            .ok_or_else(|| Error::new(Kind::Format, format!("{}: a field makes no sense", path.display())))
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (rest, (magic, size_bytes, count)) =
            (le_u64::<_, nom::error::Error<&[u8]>>, le_u64, le_u64).parse(bytes).ok()?;
        if magic != u64::from_le_bytes(*b"OVdigst1") || count > rest.len() as u64 / 16 {
            return None;
        }
        let mut digests = Self::new(size_bytes);
        let (mut rest, mut digest, mut end) = (rest, 0, 0);
        for _ in 0..count {
            let (after, (first, chunks)) =
                (le_u64::<_, nom::error::Error<&[u8]>>, le_u64).parse(rest).ok()?;
            if chunks == 0 || first < end {
                return None;
            }
            end = first.checked_add(chunks)?;
            digests.runs.push(ChunkRun { first, chunks, digest });
            digest = digest.checked_add(chunks)?;
            rest = after;
        }
        if digest.checked_mul(DIGEST_BYTES) != Some(rest.len() as u64) {
            return None;
        }
        digests.sums = rest.chunks_exact(32).filter_map(|sum| sum.try_into().ok()).collect();
        Some(digests)
    }

    /// Whether `chunk` holds data, and how far that goes.
    pub(crate) fn run_at(&self, chunk: u64) -> At {
        let after = self.runs.partition_point(|run| run.first <= chunk);
        if let Some(run) = after.checked_sub(1).map(|i| self.runs[i])
            && chunk < run.first + run.chunks
        {
            return At { has_data: true, end_chunk: run.first + run.chunks };
        }
        At { has_data: false, end_chunk: self.runs.get(after).map_or(u64::MAX, |run| run.first) }
    }

    /// The digest of a chunk that holds data.
    pub(crate) fn of(&self, chunk: u64) -> Option<&[u8; 32]> {
        self.sums.get(self.position(chunk)?)
    }

    /// Which digest in a row is that of a chunk.
    pub(crate) fn position(&self, chunk: u64) -> Option<usize> {
        let after = self.runs.partition_point(|run| run.first <= chunk);
        let run = self.runs.get(after.checked_sub(1)?)?;
        let within = chunk - run.first;
        if within < run.chunks { usize::try_from(run.digest + within).ok() } else { None }
    }

    /// How many chunks hold data.
    pub(crate) fn count(&self) -> usize {
        self.sums.len()
    }

    /// Chunks that hold data, as ranges.
    pub(crate) fn runs(&self) -> impl Iterator<Item = std::ops::Range<u64>> + '_ {
        self.runs.iter().map(|run| run.first..run.first + run.chunks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Digests {
        let mut digests = Digests::new(1 << 40);
        for chunk in [0, 1, 2, 9, 1 << 20] {
            digests.push(chunk, [u8::try_from(chunk % 251).unwrap(); 32]);
        }
        digests
    }

    #[test]
    fn digests_survive_their_bytes() {
        let digests = sample();
        let found = Digests::parse(&digests.bytes()).unwrap();
        assert_eq!((found.root(), &found.runs, &found.sums), (digests.root(), &digests.runs, &digests.sums));
        for end in 0..digests.bytes().len() {
            assert!(Digests::parse(&digests.bytes()[..end]).is_none(), "cut at {end}");
        }
    }

    #[test]
    fn a_chunk_in_no_run_is_zeros() {
        let digests = sample();
        assert_eq!(digests.run_at(1), At { has_data: true, end_chunk: 3 });
        assert_eq!(digests.run_at(3), At { has_data: false, end_chunk: 9 });
        assert_eq!(digests.run_at((1 << 20) + 1), At { has_data: false, end_chunk: u64::MAX });
        assert_eq!(digests.of(9), Some(&[9; 32]));
        assert_eq!(digests.of(8), None);
    }
}
