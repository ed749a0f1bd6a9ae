//! A segment file that is open.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32},
    },
};

use crate::{disk::File, limits::BLOCK_BYTES};

/// One segment of a layer.
pub(crate) struct Segment {
    pub number: u64,
    pub slot: u32,
    pub file: Arc<dyn File>,
    /// Where its blocks begin in the file.
    pub data_offset: u32,
    /// How many blocks it has room for.
    pub blocks: u32,
    /// Blocks that the map looks at.
    pub live_blocks: AtomicU32,
    /// Nothing is written to it any more.
    pub sealed: AtomicBool,
    /// It could not be emptied: something in it is damaged.
    pub left_alone: AtomicBool,
}

impl Segment {
    /// Where a block begins in the file.
    pub(crate) fn block_offset(&self, block: u32) -> u64 {
        u64::from(self.data_offset) + u64::from(block) * BLOCK_BYTES
    }
}

pub(crate) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("seg-{number:016x}"))
}

pub(crate) fn checkpoint_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("ckpt-{number:016x}"))
}

/// The number in a name such as `seg-000000000000001f`.
pub(crate) fn numbered(name: &str, prefix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?;
    if digits.len() == 16 { u64::from_str_radix(digits, 16).ok() } else { None }
}
