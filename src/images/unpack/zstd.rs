//! Zstandard (RFC 8878): frames one after the other, skippable ones among them, each with its check sum compared.

use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{FrameDecoderError, FrameHeaderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Decoded at a time; no block is longer.
const STEP_BYTES: usize = 128 << 10;

/// What is in the frames of a stream.
pub(super) struct Frames<R> {
    source: R,
    decoder: FrameDecoder,
    in_frame: bool,
    /// Bytes of this frame that were given on.
    given: u64,
}

impl<R: BufRead> Frames<R> {
    /// No frame may ask for a larger window.
    pub(super) fn new(source: R, window_bytes_max: u64) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(window_bytes_max);
        Self { source, decoder, in_frame: false, given: 0 }
    }

    /// Begins the next frame; `false` at the end of the stream.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.source) {
                Ok(()) => {
                    (self.in_frame, self.given) = (true, 0);
                    return Ok(true);
                }
                Err(error) => match skipped(&error) {
                    Some(length) => self.skip(length)?,
                    None => return Err(invalid(&error)),
                },
            }
        }
        Ok(false)
    }

    fn skip(&mut self, length: u64) -> io::Result<()> {
        match io::copy(&mut (&mut self.source).take(length), &mut io::sink())? == length {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// The frame is over: all that it says of itself is compared.
    fn end(&mut self) -> io::Result<()> {
        self.in_frame = false;
        let expected = self.decoder.get_checksum_from_data();
        if expected.is_some() && expected != self.decoder.get_calculated_checksum() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame's check sum is wrong"));
        }
        match self.decoder.content_size() {
            0 => Ok(()),
            size if size == self.given => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a frame has another size than it says")),
        }
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.in_frame && !self.begin()? {
                return Ok(0);
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let step = BlockDecodingStrategy::UptoBytes(STEP_BYTES);
                self.decoder.decode_blocks(&mut self.source, step).map_err(|error| invalid(&error))?;
            }
            match self.decoder.read(out)? {
                0 if self.decoder.is_finished() => self.end()?,
                0 => {}
                read => {
                    self.given += read as u64;
                    return Ok(read);
                }
            }
        }
    }
}

fn skipped(error: &FrameDecoderError) -> Option<u64> {
    match error {
        FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. }) => {
            Some(u64::from(*length))
        }
        _ => None,
    }
}

fn invalid(error: &FrameDecoderError) -> io::Error {
    let kind = match error {
        FrameDecoderError::WindowSizeTooBig { .. }
        | FrameDecoderError::FrameHeaderError(FrameHeaderError::WindowTooBig { .. }) => {
            io::ErrorKind::OutOfMemory
        }
        _ => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames by hand (RFC 8878 §3.1.1): one raw block of `hello`, with its check sum.
    const HELLO: &[u8] = &[
        0x28, 0xb5, 0x2f, 0xfd, // magic
        0x24, 5, // single segment, with a check sum; content size
        0x29, 0, 0, b'h', b'e', b'l', b'l', b'o', // the last block, raw, 5 bytes
        0xa3, 0x6d, 0x9f, 0x88, // low half of its XXH64
    ];
    const SKIPPABLE: &[u8] = &[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];

    fn unpacked(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Frames::new(bytes, 1 << 20).read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn frames_follow_each_other_and_skippable_ones_are_skipped() {
        let stream = [HELLO, SKIPPABLE, HELLO, SKIPPABLE].concat();
        assert_eq!(unpacked(&stream).unwrap(), b"hellohello");
    }

    #[test]
    fn a_cut_a_wrong_sum_and_garbage_are_errors() {
        let stream = [HELLO, SKIPPABLE].concat();
        for cut in (1..stream.len()).filter(|cut| *cut != HELLO.len()) {
            assert!(unpacked(&stream[..cut]).is_err(), "cut at {cut}");
        }
        for at in 9..HELLO.len() {
            let mut bad = HELLO.to_vec();
            bad[at] ^= 1;
            assert!(unpacked(&bad).is_err(), "byte {at}");
        }
        assert!(unpacked(&[HELLO, b"garbage"].concat()).is_err());
    }

    #[test]
    fn a_window_beyond_the_limit_is_told_from_damage() {
        // No single segment, a window of 2 MiB (exponent 11), one empty last block.
        let wide = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 11 << 3, 1, 0, 0];
        assert_eq!(unpacked(&wide).unwrap_err().kind(), io::ErrorKind::OutOfMemory);
    }
}
