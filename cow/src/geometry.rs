//! How large the parts of a layer's files are. Every segment says its own in its header, so that stores of
//! different geometry are all readable; the default is the right one, and a small one lets a test reach in a few
//! writes what otherwise takes gigabytes.

use crate::limits;

/// Sizes of the segments that a store writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Blocks of data in a segment, at most [`limits::SEGMENT_BLOCKS`].
    pub segment_blocks: u32,
    /// Where its data begins, at most [`limits::SEGMENT_DATA_OFFSET`]; header and summary lie before it.
    pub data_offset: u32,
    /// Most blocks of one record, at most [`limits::RECORD_BLOCKS_MAX`] and the blocks of a segment.
    pub record_blocks_max: usize,
    /// Bytes of the summary that are written with zeros ahead, at most [`limits::SUMMARY_AHEAD_BYTES`].
    pub summary_ahead_bytes: u32,
    /// Part of it that records of data leave to others.
    pub summary_reserve_bytes: u32,
    /// Blocks that are written with zeros ahead of a writer that syncs often.
    pub data_ahead_blocks: u32,
    /// A sync that found no more new blocks than this counts as one of many small ones.
    pub small_sync_blocks: u32,
    /// Most segments of one layer at a time, at most [`limits::SEGMENT_SLOTS_MAX`].
    pub segments_max: usize,
    /// Dead blocks of a layer, if it has no more live ones, from which on its writers wait.
    pub dead_blocks_allowed: u64,
}

impl Default for Geometry {
    fn default() -> Self {
        Self {
            segment_blocks: limits::SEGMENT_BLOCKS,
            data_offset: limits::SEGMENT_DATA_OFFSET,
            record_blocks_max: limits::RECORD_BLOCKS_MAX,
            summary_ahead_bytes: limits::SUMMARY_AHEAD_BYTES,
            summary_reserve_bytes: limits::SUMMARY_RESERVE_BYTES,
            data_ahead_blocks: limits::DATA_AHEAD_BLOCKS,
            small_sync_blocks: limits::SMALL_SYNC_BLOCKS,
            segments_max: limits::SEGMENT_SLOTS_MAX,
            dead_blocks_allowed: limits::DEAD_BYTES_ALLOWED / limits::BLOCK_BYTES,
        }
    }
}

impl Geometry {
    /// Whether a segment of these sizes can be: both fit the widths of the format, and hold something.
    pub(crate) fn fits(data_offset: u32, blocks: u32) -> bool {
        data_offset > limits::HEADER_BYTES
            && data_offset <= limits::SEGMENT_DATA_OFFSET
            && (1..=limits::SEGMENT_BLOCKS).contains(&blocks)
    }
}
