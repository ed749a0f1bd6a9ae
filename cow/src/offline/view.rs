//! A volume or snapshot as its reader sees it: layers on an image, whatever of them is sound.

use std::{ops::Range, rc::Rc};

use super::{golden::Golden, layer::LayerMap, ranges::Ranges};
use crate::{
    index::{Extent, Place},
    limits::{BLOCK_BYTES, VOLUME_BYTES_MAX},
};

/// Layers from the top down, and what lies below.
pub(crate) struct View {
    pub size_bytes: u64,
    pub layers: Vec<Rc<LayerMap>>,
    pub below: Below,
}

/// What is read where no layer has anything.
#[derive(Clone)]
pub(crate) enum Below {
    Zeros,
    Image(Rc<Golden>),
    /// An image that is not there, or not known.
    Lost,
}

/// Where a range of blocks is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source<'a> {
    /// From a segment of the layer with this index.
    Data(usize, Place, &'a [u32]),
    Zeros,
    /// From below all layers.
    Below,
    Lost,
}

/// Hears of each piece of a walk.
type Each<'a, E> = &'a mut dyn FnMut(Range<u64>, Source<'_>) -> Result<(), E>;

impl View {
    /// Blocks of it, the last one perhaps in part.
    pub(crate) fn blocks(&self) -> u64 {
        self.size_bytes.min(VOLUME_BYTES_MAX).div_ceil(BLOCK_BYTES)
    }

    /// What is at `lba`, and how many blocks that goes on, up to `end`.
    pub(crate) fn at(&self, lba: u64, end: u64) -> (Source<'_>, u64) {
        let mut blocks = end - lba;
        for (n, layer) in self.layers.iter().enumerate() {
            if let Some(lost) = layer.lost.within(lba..lba + blocks).iter().next() {
                if lost.start == lba {
                    return (Source::Lost, lost.end - lba);
                }
                blocks = lost.start - lba;
            }
            let Ok(first) = u32::try_from(lba) else { return (Source::Zeros, blocks) };
            match layer.lookup(first, blocks) {
                Extent::Data(place, crcs) => {
                    return (Source::Data(n, place, crcs), crcs.len() as u64);
                }
                Extent::Zero(zeros) => return (Source::Zeros, zeros),
                Extent::Hole(hole) => blocks = hole,
            }
        }
        (Source::Below, blocks)
    }

    /// Calls `each` with what lies in a range of blocks, in order.
    pub(crate) fn walk<E>(&self, range: Range<u64>, each: Each<'_, E>) -> Result<(), E> {
        let mut lba = range.start;
        while lba < range.end {
            let (source, blocks) = self.at(lba, range.end);
            each(lba..lba + blocks, source)?;
            lba += blocks;
        }
        Ok(())
    }

    /// The part of `blocks`, which lie in layer `n`, that is seen through the layers above it.
    pub(crate) fn seen(&self, blocks: &Ranges, n: usize) -> Ranges {
        let above = Self {
            size_bytes: self.size_bytes,
            layers: self.layers[..n.min(self.layers.len())].to_vec(),
            below: Below::Zeros,
        };
        let mut seen = Ranges::default();
        for range in blocks.within(0..self.blocks()).iter() {
            let result: Result<(), std::convert::Infallible> = above.walk(range, &mut |range, source| {
                if source == Source::Below {
                    seen.add(range);
                }
                Ok(())
            });
            let Ok(()) = result;
        }
        seen
    }

    /// Blocks as the bytes of the volume that they are.
    pub(crate) fn bytes(&self, blocks: &Ranges) -> Ranges {
        blocks.scaled(BLOCK_BYTES).within(0..self.size_bytes)
    }
}
