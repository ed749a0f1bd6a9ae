//! Golden images and copy-on-write overlays.
mod disk;
mod error;
mod format;
mod ids;
mod index;
pub mod limits;
