//! Bytes on disk, and nothing but bytes: parsing and emitting stand side by side. FORMAT.md draws them.
//!
//! No function here panics on bytes that come from a disk; lengths are checked before anything is allocated.

pub(crate) mod checkpoint;
pub(crate) mod frame;
pub(crate) mod manifest;
pub(crate) mod record;
pub(crate) mod segment;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Damage {
    /// Fewer bytes than the structure needs.
    #[error("cut short")]
    Short,
    /// The kind's salt is not there.
    #[error("not of the expected kind")]
    Kind,
    /// The checksum does not match.
    #[error("checksum mismatch")]
    Checksum,
    /// The bytes are right, but belong somewhere else.
    #[error("belongs somewhere else")]
    Place,
    /// A format version this program does not know.
    #[error("of format version {0}, which this program does not know")]
    Version(u16),
    /// The checksum is right, but a field makes no sense.
    #[error("a field makes no sense")]
    Field,
}

/// The format version that is written. All versions up to it can be read.
pub(crate) const VERSION: u16 = 1;
