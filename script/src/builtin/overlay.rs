//! What the built-in engine sees of a disk: its blocks, with the changes over them, which nobody else sees yet.
//!
//! Nothing is written to the disk here. Whoever runs a session takes the changes at its end, or drops them: a script that
//! turns out to be none of ours has changed nothing.

use std::collections::BTreeMap;

use super::trouble::{Result, Trouble};

/// Blocks are read and changed as a whole, as the store keeps them.
pub const BLOCK_BYTES: usize = 4096;
const BLOCK: u64 = BLOCK_BYTES as u64;
/// Blocks that are kept in memory: 64 MiB of them.
const BLOCKS_MAX: usize = 16_384;
/// Bytes that a session may read of its disk.
const READ_BYTES_MAX: u64 = 1 << 30;
/// Accesses that a session may make, so that no disk keeps it busy for long.
const ACCESSES_MAX: u64 = 50_000_000;
/// Accesses between two looks at the clock.
const ACCESSES_UNWATCHED: u64 = 4096;

/// A disk that is read.
pub trait Disk {
    /// Its size.
    fn size_bytes(&self) -> u64;

    /// Reads; offset and length are multiples of 512, and within the disk.
    ///
    /// # Errors
    /// Those of the disk.
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()>;

    /// Whether there is no time left.
    fn is_late(&self) -> bool {
        false
    }
}

struct Block {
    bytes: Vec<u8>,
    changed: bool,
}

/// A disk with changes over it.
pub(super) struct Overlay<'d> {
    disk: &'d dyn Disk,
    blocks: BTreeMap<u64, Block>,
    read_bytes: u64,
    accesses: u64,
}

impl<'d> Overlay<'d> {
    pub(super) fn new(disk: &'d dyn Disk) -> Self {
        Self { disk, blocks: BTreeMap::new(), read_bytes: 0, accesses: 0 }
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.disk.size_bytes()
    }

    /// The changed blocks: their offsets and bytes.
    pub(super) fn into_changes(self) -> Vec<(u64, Vec<u8>)> {
        let changed = self.blocks.into_iter().filter(|(_, block)| block.changed);
        changed.map(|(index, block)| (index * BLOCK, block.bytes)).collect()
    }

    pub(super) fn read(&mut self, offset: u64, out: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < out.len() {
            let (block, at) = self.block(offset + done as u64)?;
            let piece = block.bytes.get(at..).filter(|piece| !piece.is_empty()).ok_or_else(beyond)?;
            let len = piece.len().min(out.len() - done);
            if let (Some(to), Some(from)) = (out.get_mut(done..done + len), piece.get(..len)) {
                to.copy_from_slice(from);
            }
            done += len;
        }
        Ok(())
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        let mut done = 0;
        while done < data.len() {
            let (block, at) = self.block(offset + done as u64)?;
            let piece = block.bytes.get_mut(at..).filter(|piece| !piece.is_empty()).ok_or_else(beyond)?;
            let len = piece.len().min(data.len() - done);
            if let (Some(to), Some(from)) = (piece.get_mut(..len), data.get(done..done + len)) {
                block.changed |= to != from;
                to.copy_from_slice(from);
            }
            done += len;
        }
        Ok(())
    }

    pub(super) fn array<const N: usize>(&mut self, offset: u64) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// The block that an offset is in, and where in it.
    fn block(&mut self, offset: u64) -> Result<(&mut Block, usize)> {
        self.account()?;
        let (index, at) = (offset / BLOCK, usize::try_from(offset % BLOCK).unwrap_or(0));
        if !self.blocks.contains_key(&index) {
            let block = self.fetch(index)?;
            self.blocks.insert(index, block);
        }
        self.blocks.get_mut(&index).map(|block| (block, at)).ok_or_else(beyond)
    }

    fn fetch(&mut self, index: u64) -> Result<Block> {
        let start = index * BLOCK;
        let len = self.size_bytes().checked_sub(start).filter(|&len| len > 0).ok_or_else(beyond)?.min(BLOCK);
        if self.blocks.len() >= BLOCKS_MAX {
            self.blocks.retain(|_, block| block.changed);
        }
        self.read_bytes += len;
        if self.blocks.len() >= BLOCKS_MAX || self.read_bytes > READ_BYTES_MAX {
            return Err(Trouble::doubt("it reads or changes very much"));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.disk.read(start, &mut bytes).map_err(Trouble::Disk)?;
        Ok(Block { bytes, changed: false })
    }

    fn account(&mut self) -> Result<()> {
        self.accesses += 1;
        if self.accesses.is_multiple_of(ACCESSES_UNWATCHED) && self.disk.is_late() {
            return Err(Trouble::Late);
        }
        if self.accesses > ACCESSES_MAX {
            return Err(Trouble::doubt("it takes very long"));
        }
        Ok(())
    }
}

fn beyond() -> Trouble {
    Trouble::doubt("something lies beyond the end of the disk")
}
