//! The upload on its way to disk: its framing taken off, and written where nothing else sees it yet.

use api::upload::{Decoder, FrameError, Piece};
use api::{Code, ImageFormat, Refusal};
use cow::Import;

use super::landing::{Landed, Landing, Origin};

/// How the body carries the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFraming {
    /// Extents of data ([`api::upload`]).
    Extents,
    /// The file's bytes as they are.
    Plain,
}

/// Takes an upload. Blocking: lives on a thread of its own.
pub(super) struct Staging {
    import: Import,
    framing: BodyFraming,
    decoder: Decoder,
    landing: Landing,
}

impl Staging {
    pub(super) fn new(import: Import, requested: ImageFormat, framing: BodyFraming, size_max: u64) -> Self {
        let landing = Landing::new(Origin::Client(requested), size_max);
        Self { import, framing, decoder: Decoder::default(), landing }
    }

    /// A part of the body, of any length.
    pub(super) fn take(&mut self, mut body: &[u8]) -> Result<(), Refusal> {
        if self.framing == BodyFraming::Plain {
            return self.landing.data(&self.import, self.landing.end(), body);
        }
        while let Some(piece) = self.decoder.next(&mut body).map_err(bad_frame)? {
            match piece {
                Piece::Data { offset, bytes } => self.landing.data(&self.import, offset, bytes)?,
                Piece::End { file_bytes } => self.landing.reach(file_bytes)?,
            }
        }
        Ok(())
    }

    /// The body has ended, and was whole as far as HTTP can tell.
    pub(super) fn finish(self) -> Result<(Import, Landed), Refusal> {
        if self.framing == BodyFraming::Extents {
            self.decoder.finish().map_err(bad_frame)?;
        }
        let landed = self.landing.finish(&self.import)?;
        Ok((self.import, landed))
    }
}

fn bad_frame(error: FrameError) -> Refusal {
    match error {
        FrameError::CutOff { .. } => cut_off(&error.to_string()),
        FrameError::Magic
        | FrameError::Order { .. }
        | FrameError::TooLong { .. }
        | FrameError::AfterEnd
        | FrameError::Fault(_) => Refusal::new(Code::MalformedRequest, error.to_string()),
    }
}

/// The client went away before all had come.
pub(super) fn cut_off(why: &str) -> Refusal {
    Refusal::new(Code::BadImage, "the upload was cut off; nothing was added").details(why)
}
