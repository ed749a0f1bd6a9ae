//! Reading: find the pieces under the locks, read them outside.

use smallvec::SmallVec;

use super::{Allocation, Stack, Volume};
use crate::{
    disk::Wait,
    error::{Error, Kind, Result},
    layer::{Piece, Segment},
    limits::{BLOCK_BYTES, BLOCK_LEN},
};

/// What a range is made of. The common read is one piece of a few blocks: it allocates nothing.
type Pieces = SmallVec<[Piece; 2]>;

/// The checksums that go with [`Pieces`].
type Sums = SmallVec<[u32; 16]>;

impl Volume {
    /// Fills `out` with the bytes from `offset` on. With [`Wait::No`] it fails with [`Kind::WouldBlock`] rather
    /// than wait for a disk; what `out` holds then is not defined.
    pub fn read(&self, offset: u64, out: &mut [u8], wait: Wait) -> Result<()> {
        self.check_range(offset, out.len() as u64)?;
        let stack = self.stack();
        if offset.is_multiple_of(BLOCK_BYTES) && out.len().is_multiple_of(BLOCK_LEN) {
            return stack.read_blocks(lba(offset)?, out, wait);
        }
        let first = offset - offset % BLOCK_BYTES;
        let end = (offset + out.len() as u64).next_multiple_of(BLOCK_BYTES);
        let mut whole =
            vec![0; usize::try_from(end - first).map_err(|_| Error::new(Kind::Invalid, "too long"))?];
        stack.read_blocks(lba(first)?, &mut whole, wait)?;
        let skip = usize::try_from(offset - first).unwrap_or(0);
        out.copy_from_slice(&whole[skip..skip + out.len()]);
        Ok(())
    }

    /// Which parts of a range hold data, in order: `(bytes, allocation)`.
    pub fn block_status(&self, offset: u64, bytes: u64) -> Result<Vec<(u64, Allocation)>> {
        self.check_range(offset, bytes)?;
        let stack = self.stack();
        let mut status: Vec<(u64, Allocation)> = Vec::new();
        let first = offset / BLOCK_BYTES;
        let end = (offset + bytes).div_ceil(BLOCK_BYTES);
        let (mut pieces, mut crcs) = (Pieces::new(), Sums::new());
        stack.resolve(lba(first * BLOCK_BYTES)?, end - first, &mut crcs, &mut pieces)?;
        let mut at = first * BLOCK_BYTES;
        for piece in pieces {
            let (blocks, allocation) = match piece {
                Piece::Data { blocks, .. } => (blocks, Allocation::Mapped),
                Piece::Zero { blocks } => (blocks, Allocation::Deallocated),
                Piece::Hole { blocks } => {
                    stack.image_status(at, blocks * BLOCK_BYTES, &mut |bytes, allocation| {
                        push(&mut status, bytes, allocation);
                    });
                    at += blocks * BLOCK_BYTES;
                    continue;
                }
            };
            push(&mut status, blocks * BLOCK_BYTES, allocation);
            at += blocks * BLOCK_BYTES;
        }
        clip(&mut status, offset - first * BLOCK_BYTES, bytes);
        Ok(status)
    }
}

/// The block that a byte offset begins.
pub(super) fn lba(offset: u64) -> Result<u32> {
    u32::try_from(offset / BLOCK_BYTES).map_err(|_| Error::new(Kind::OutOfRange, format!("byte {offset}")))
}

fn push(status: &mut Vec<(u64, Allocation)>, bytes: u64, allocation: Allocation) {
    match status.last_mut() {
        Some((have, last)) if *last == allocation => *have += bytes,
        _ => status.push((bytes, allocation)),
    }
}

/// Cuts `skip` bytes off the front and whatever is more than `bytes` off the end.
fn clip(status: &mut Vec<(u64, Allocation)>, skip: u64, bytes: u64) {
    let (mut skip, mut left) = (skip, bytes);
    status.retain_mut(|(have, _)| {
        let cut = skip.min(*have);
        skip -= cut;
        *have = (*have - cut).min(left);
        left -= *have;
        *have > 0
    });
}

impl Stack {
    /// Reads whole blocks. `out` holds a whole number of them.
    pub(super) fn read_blocks(&self, lba: u32, out: &mut [u8], wait: Wait) -> Result<()> {
        match self.try_read_blocks(lba, out, wait) {
            // The place may have been given back between looking it up and reading it: look once more.
            Err(error) if matches!(error.kind(), Kind::Corrupt { .. }) => {
                self.try_read_blocks(lba, out, wait)
            }
            result => result,
        }
    }

    fn try_read_blocks(&self, lba: u32, out: &mut [u8], wait: Wait) -> Result<()> {
        let (mut pieces, mut crcs) = (Pieces::new(), Sums::new());
        self.resolve(lba, (out.len() / BLOCK_LEN) as u64, &mut crcs, &mut pieces)?;
        let mut at = u64::from(lba) * BLOCK_BYTES;
        let (mut rest, mut sums) = (out, &crcs[..]);
        for piece in pieces {
            let (Piece::Data { blocks, .. } | Piece::Zero { blocks } | Piece::Hole { blocks }) = piece;
            let blocks = usize::try_from(blocks).unwrap_or(usize::MAX);
            let (here, after) = std::mem::take(&mut rest).split_at_mut(blocks * BLOCK_LEN);
            match &piece {
                Piece::Data { segment, block, .. } => {
                    segment.read(*block, here, wait)?;
                    verify(at, here, &sums[..blocks])?;
                    sums = &sums[blocks..];
                }
                Piece::Zero { .. } => here.fill(0),
                Piece::Hole { .. } => self.read_image(at, here, wait)?,
            }
            at += here.len() as u64;
            rest = after;
        }
        Ok(())
    }

    /// The pieces of a range from all layers, in order; a hole that is left is the image's.
    fn resolve(&self, lba: u32, blocks: u64, crcs: &mut Sums, out: &mut Pieces) -> Result<()> {
        self.top.resolve(lba, blocks, crcs, out)?;
        if self.below.is_empty() {
            return Ok(());
        }
        self.fill_holes(lba, crcs, out)
    }

    fn fill_holes(&self, lba: u32, crcs: &mut Sums, out: &mut Pieces) -> Result<()> {
        for layer in &self.below {
            if !out.iter().any(|piece| matches!(piece, Piece::Hole { .. })) {
                return Ok(());
            }
            let above = (std::mem::take(out), std::mem::take(crcs));
            let mut sums = above.1.as_slice();
            let mut at = u64::from(lba);
            for piece in above.0 {
                match piece {
                    Piece::Hole { blocks } => {
                        layer.resolve(self::lba(at * BLOCK_BYTES)?, blocks, crcs, out)?;
                        at += blocks;
                    }
                    Piece::Zero { blocks } => {
                        at += blocks;
                        out.push(piece);
                    }
                    Piece::Data { blocks, .. } => {
                        at += blocks;
                        let (here, after) = sums.split_at(usize::try_from(blocks).unwrap_or(0));
                        crcs.extend_from_slice(here);
                        sums = after;
                        out.push(piece);
                    }
                }
            }
        }
        Ok(())
    }

    fn read_image(&self, offset: u64, out: &mut [u8], wait: Wait) -> Result<()> {
        match &self.image {
            Some(image) => image.read(offset, out, wait),
            None => {
                out.fill(0);
                Ok(())
            }
        }
    }

    fn image_status(&self, offset: u64, bytes: u64, tell: &mut dyn FnMut(u64, Allocation)) {
        match &self.image {
            Some(image) => image.status(offset, bytes, tell),
            None => tell(bytes, Allocation::Deallocated),
        }
    }
}

pub(super) fn verify(offset: u64, data: &[u8], crcs: &[u32]) -> Result<()> {
    for ((block, want), at) in data.chunks_exact(BLOCK_LEN).zip(crcs).zip((offset..).step_by(BLOCK_LEN)) {
        if crc32c::crc32c(block) != *want {
            return Err(Error::corrupt(at, "an overlay block is not what was written"));
        }
    }
    Ok(())
}

impl Segment {
    pub(crate) fn read(&self, block: u16, out: &mut [u8], wait: Wait) -> Result<()> {
        let offset = self.block_offset(u32::from(block));
        match self.file.read_at(offset, out, wait) {
            Ok(read) => {
                // What the file no longer has fails its checksum.
                out[read..].fill(0);
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Err(Error::would_block()),
            Err(error) => {
                Err(Error::io("read", std::path::Path::new(&format!("segment {}", self.number)), error))
            }
        }
    }
}
