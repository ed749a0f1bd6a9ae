//! Adding golden images: a stream of bytes in, a golden image in the store out, or nothing at all.
//!
//! ```text
//!   body ──► staging (raw, or a qcow2 file aside) ──► inspect ──► check ──► convert ──► seal ──► golden image
//!                                                     └────── qcow2 only ───────┘
//! ```
//!
//! The daemon never opens a path that a client names: the bytes come through the socket. A qcow2 file is not trusted
//! either: its header is read here, and one that names any other file is refused before `qemu-img` sees it.
//! Whatever happens on the way, dropping the [`cow::Import`] removes all of it.

mod add;
mod qcow2;
mod qemu_img;
mod sniff;
mod staging;

pub(crate) use add::Step;
pub use add::{AddImage, Added, Importer};
pub use staging::{BodyFraming, RequestedFormat};
