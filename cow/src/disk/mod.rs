//! The only way to the world: files, directories, time and randomness behind one trait, so that a simulated
//! twin can lose, tear, reorder and refuse.
//!
//! Promises that the store relies on (and that the simulated twin keeps, and no more than these):
//! - a `write_at` that returned is seen by every later `read_at`, also after a kill of the process;
//! - what `sync_data` of a file acknowledged survives a power cut: its content and its length;
//! - a name survives a power cut once `sync_dir` of its directory returned; before that it may be there or not;
//! - a write that was not synced survives per sector of 512 bytes, in any order, or not at all;
//! - `rename` is atomic: after a power cut the old or the new name is there.

mod real;
#[cfg(any(test, feature = "sim"))]
pub mod sim;

use std::{io, path::Path, sync::Arc};

pub use real::RealDisk;

use crate::ids::BootId;

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The last part of the path.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Room of the file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total_bytes: u64,
    /// What is left for this process.
    pub free_bytes: u64,
}

/// A stretch of a file that holds data (as opposed to a hole).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataRange {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Whether a call may wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Fail with `WouldBlock` rather than wait.
    No,
    /// Wait as long as it takes.
    Yes,
}

/// Files and directories.
pub trait Disk: Send + Sync {
    /// Creates a file that must not exist, for reading and writing.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Opens an existing file.
    fn open(&self, path: &Path, writable: bool) -> io::Result<Arc<dyn File>>;
    /// Creates a directory that must not exist.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;
    /// Gives `from` the name `to`, which must not exist.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file's name.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Takes the lock file `path`, creating it; `None` when another process has it and keeps it. Held until dropped.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;
    /// Room of the file system that holds `path`.
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// Which boot of the kernel this is.
    fn boot_id(&self) -> io::Result<BootId>;
    /// Random bytes of cryptographic quality.
    fn random(&self, bytes: &mut [u8]) -> io::Result<()>;
    /// Milliseconds since 1970.
    fn unix_ms(&self) -> u64;
}

/// A held lock.
pub trait Lock: Send + Sync {}

/// An open file. Offsets and lengths are in bytes.
#[expect(clippy::len_without_is_empty, reason = "a length of a file, not of a collection")]
pub trait File: Send + Sync {
    /// Reads until `out` is full or the file ends; returns the bytes read.
    fn read_at(&self, offset: u64, out: &mut [u8], wait: Wait) -> io::Result<usize>;
    /// Writes all of `data`, one slice after the other.
    fn write_at(&self, offset: u64, data: &[&[u8]]) -> io::Result<()>;
    /// Makes content and length durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Cuts or extends (with a hole).
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Reserves room; the length stays, what is there stays.
    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()>;
    /// Gives room back; the range reads zeros, the length stays.
    fn punch(&self, offset: u64, bytes: u64) -> io::Result<()>;
    /// Bytes that the file system has allocated for it.
    fn allocated_bytes(&self) -> io::Result<u64>;
    /// The first stretch of data at or after `offset`.
    fn next_data(&self, offset: u64) -> io::Result<Option<DataRange>>;
}
