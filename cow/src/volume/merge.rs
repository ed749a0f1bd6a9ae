//! Merging: what the layer below the top holds, and the top does not hide, is written to the top; then the layer
//! below is needed no more. It keeps stacks short when snapshots come and go. The volume stays in use: every step
//! holds the writer only for one change, and a crash in between leaves both layers, which read the same.

use std::sync::Arc;

use super::{Stack, Volume};
use crate::{
    disk::Wait,
    error::{Error, Kind, Result},
    ids::LayerId,
    layer::{Layer, Piece, WriteGuard},
    limits::{BLOCK_LEN, MERGE_BLOCKS},
};

impl Volume {
    /// Copies the layer below the top into the top, durably; gives that layer. `None` when there is none.
    pub(crate) fn absorb_below(&self) -> Result<Option<LayerId>> {
        let stack = self.stack();
        let Some(below) = stack.below.first() else { return Ok(None) };
        let blocks = self.size_bytes().div_ceil(BLOCK_LEN as u64);
        let mut at = 0;
        while at < blocks {
            let here = MERGE_BLOCKS.min(blocks - at);
            absorb(&stack, below, at, here)?;
            at += here;
        }
        self.flush()?;
        Ok(Some(below.id))
    }

    /// Takes the layer below the top out of the stack, once its content is in the top.
    pub(crate) fn drop_below(&self, id: LayerId) -> Result<()> {
        let old = self.stack();
        let below: Vec<_> = old.below.iter().filter(|layer| layer.id != id).cloned().collect();
        let guard = old.top.write_guard()?;
        if guard.is_none() {
            return Err(Error::new(Kind::InUse, "a snapshot was taken while layers were merged"));
        }
        *self.stack.write() = Arc::new(Stack { top: old.top.clone(), below, image: old.image.clone() });
        Ok(())
    }
}

fn absorb(stack: &Stack, below: &Layer, first: u64, blocks: u64) -> Result<()> {
    let (mut pieces, mut crcs) = (Vec::new(), Vec::new());
    below.resolve(lba(first)?, blocks, &mut crcs, &mut pieces)?;
    let mut at = first;
    for piece in pieces {
        let (Piece::Data { blocks, .. } | Piece::Zero { blocks } | Piece::Hole { blocks }) = piece;
        match piece {
            Piece::Hole { .. } => {}
            Piece::Zero { .. } => {
                each_hole(stack, at, blocks, &mut |guard, at, blocks| guard.trim(lba(at)?, blocks))?
            }
            Piece::Data { .. } => {
                each_hole(stack, at, blocks, &mut |guard, at, blocks| copy(below, guard, at, blocks))?;
            }
        }
        at += blocks;
    }
    Ok(())
}

/// Calls `fill` for every part of a range that the top says nothing of, at most one change each, with the right to
/// change the top.
fn each_hole(
    stack: &Stack,
    first: u64,
    blocks: u64,
    fill: &mut dyn FnMut(&mut WriteGuard<'_>, u64, u64) -> Result<()>,
) -> Result<()> {
    let (mut at, end) = (first, first + blocks);
    while at < end {
        let Some(mut guard) = stack.top.write_guard()? else {
            return Err(Error::new(Kind::InUse, "a snapshot was taken while layers were merged"));
        };
        let most = (end - at).min(guard.blocks_max() as u64);
        let (mut pieces, mut crcs) = (Vec::new(), Vec::new());
        stack.top.resolve(lba(at)?, most, &mut crcs, &mut pieces)?;
        for piece in pieces {
            let (Piece::Data { blocks, .. } | Piece::Zero { blocks } | Piece::Hole { blocks }) = piece;
            if matches!(piece, Piece::Hole { .. }) {
                fill(&mut guard, at, blocks)?;
            }
            at += blocks;
        }
    }
    Ok(())
}

fn copy(from: &Layer, guard: &mut WriteGuard<'_>, first: u64, blocks: u64) -> Result<()> {
    let (mut pieces, mut crcs) = (Vec::new(), Vec::new());
    from.resolve(lba(first)?, blocks, &mut crcs, &mut pieces)?;
    let mut data = vec![0; usize::try_from(blocks).unwrap_or(0) * BLOCK_LEN];
    let mut rest = &mut data[..];
    for piece in pieces {
        let Piece::Data { segment, block, blocks } = piece else {
            return Err(Error::new(Kind::Format, "a frozen layer changed while it was merged"));
        };
        let (here, after) = rest.split_at_mut(usize::try_from(blocks).unwrap_or(0) * BLOCK_LEN);
        segment.read(block, here, Wait::Yes)?;
        rest = after;
    }
    super::read::verify(first * BLOCK_LEN as u64, &data, &crcs)?;
    guard.write(lba(first)?, &[&data], &crcs)
}

fn lba(block: u64) -> Result<u32> {
    u32::try_from(block).map_err(|_| Error::new(Kind::OutOfRange, format!("block {block}")))
}
