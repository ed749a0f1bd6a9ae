//! Capture: a volume, in use or not, or a snapshot becomes a golden image of its own.

use std::{ops::ControlFlow, sync::Arc};

use super::{ImageInfo, Store, Subject};
use crate::{
    error::{Error, Kind, Result},
    image::import::{Import, Progress},
    limits::{BLOCK_LEN, CAPTURE_PART_BYTES},
};

impl Store {
    /// Fills an import with a disk as it is at this moment: whoever writes to it goes on, and is not in the image.
    /// Every checksum is compared on the way; zeros stay holes. [`Store::finish_import`] makes it an image.
    ///
    /// An import that is dropped, or a store that is killed, leaves nothing.
    pub fn capture(
        self: &Arc<Self>,
        subject: Subject,
        import: &Import,
        progress: Progress<'_>,
    ) -> Result<()> {
        let still = self.still(subject)?;
        let total = still.size_bytes();
        import.set_len(total)?;
        still.for_each_part(CAPTURE_PART_BYTES, &mut |offset, part| {
            write_nonzero(import, offset, part)?;
            match progress(offset + part.len() as u64, total) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(Error::new(Kind::Cancelled, "the capture was cancelled")),
            }
        })
    }

    /// The same, whole: captures a disk as a golden image.
    pub fn capture_image(
        self: &Arc<Self>,
        subject: Subject,
        name: &str,
        progress: Progress<'_>,
    ) -> Result<ImageInfo> {
        let import = self.begin_import(name)?;
        self.capture(subject, &import, progress)?;
        self.finish_import(import, CAPTURED, progress)
    }
}

/// What a captured image was made from.
pub const CAPTURED: &str = "capture";

/// Writes all but blocks of zeros.
fn write_nonzero(import: &Import, offset: u64, part: &[u8]) -> Result<()> {
    let is_zero = |block: &&[u8]| block.iter().all(|byte| *byte == 0);
    let blocks: Vec<&[u8]> = part.chunks(BLOCK_LEN).collect();
    let mut at = 0;
    for run in blocks.chunk_by(|a, b| is_zero(a) == is_zero(b)) {
        let bytes: usize = run.iter().map(|block| block.len()).sum();
        if !run.first().is_some_and(is_zero) {
            import.write_at(offset + at as u64, &part[at..at + bytes])?;
        }
        at += bytes;
    }
    Ok(())
}
