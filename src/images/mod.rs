//! Adding golden images: a stream of bytes in, a golden image in the store out, or nothing at all.
//!
//! ```text
//!   body ─► staging ─► landing ─┬─ raw disk, fixed VHD ──────────────────────────────────► seal ─► golden image
//!                         ▲     ├─ qcow2, vmdk, vhdx, vhd aside ─► inspect ─► check ─► convert ──┘
//!                         │     └─ gzip, xz, zstd, zip aside ─► unpack
//!                         └───────────────────────────────────────┘ once
//! ```
//!
//! The daemon never opens a path that a client names: the bytes come through the socket. A file is not trusted
//! either: its header is read here, and one that names any other file is refused before `qemu-img` sees it.
//! Whatever happens on the way, dropping the [`cow::Import`] removes all of it.
//!
//! `content` goes the other way: a disk, in use or not, as a stream of bytes.

mod add;
mod content;
mod inspect;
mod landing;
pub(crate) mod multipart;
mod qemu_img;
pub(crate) mod reading;
mod sniff;
mod staging;
pub(crate) mod unpack;
pub(crate) mod zipped;

pub(crate) use add::Step;
pub use add::{AddImage, Added, Importer};
pub use staging::BodyFraming;
