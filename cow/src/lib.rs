//! Golden images and copy-on-write overlays: the store of osvold.
//!
//! A [`Store`] is a directory. It holds golden images, which never change, and volumes, each a stack of layers of
//! written blocks on an image. FORMAT.md draws every byte of it, and says what survives what.
//!
//! All disk I/O goes through [`disk::Disk`]. Nothing here knows SCSI, a network, or an executor.

#![cfg_attr(test, allow(clippy::cast_possible_truncation, reason = "tests count in small numbers"))]

mod context;
pub mod disk;
mod error;
pub mod export;
mod format;
#[cfg(any(test, feature = "sim"))]
pub mod fuzz;
mod geometry;
mod ids;
mod image;
mod index;
mod layer;
pub mod limits;
pub mod offline;
mod room;
mod scrub;
mod store;
mod volume;

pub use disk::Wait;
pub use error::{Error, Kind, Result};
pub use geometry::Geometry;
pub use ids::{BadId, BootId, ImageId, LayerId, SnapshotId, StoreId, VolumeId};
pub use image::import::{Import, Progress};
pub use layer::Compacted;
pub use scrub::{Pace, Rotten, Scrub, ScrubProgress, Scrubbed};
pub use store::{
    CAPTURED, Health, ImageInfo, Level, NewVolume, SnapshotInfo, Still, Store, Subject, Upkeep, Usage,
    VolumeInfo, check_name,
};
pub use volume::{ATOMIC_BYTES_MAX, Allocation, Volume};
