//! The framing of a golden image on its way to the daemon.
//!
//! A sparse file of a tebibyte has a few extents of data; only those travel. The body of the request is
//!
//! ```text
//! +----------+  +-----------+-----------+======+        +-----------+-----------+
//! | MAGIC 8  |  | offset u64| length u32| data |  ...   | size   u64|     0  u32|
//! +----------+  +-----------+-----------+======+        +-----------+-----------+
//!                an extent, 1 to 4 MiB of data           the end: size of the file
//! ```
//!
//! All numbers are big-endian. Extents come in ascending order and do not overlap. A body that stops before its end
//! record was cut off, which is how a client that went away is told from a file that ended.

/// Media type of such a body.
pub const MEDIA_TYPE: &str = "application/vnd.osvol.extents";
/// First bytes of such a body.
pub const MAGIC: [u8; 8] = *b"OSVOLEX1";
/// Bytes of an extent's head.
pub const HEAD_BYTES: usize = 12;
/// Most data in one extent.
pub const EXTENT_BYTES_MAX: u32 = 4 << 20;
/// Largest file: what fits a signed file offset.
pub const FILE_BYTES_MAX: u64 = i64::MAX as u64;

/// Head of an extent of data.
#[must_use]
pub fn extent_head(offset: u64, length: u32) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    let (offset_field, length_field) = head.split_at_mut(8);
    offset_field.copy_from_slice(&offset.to_be_bytes());
    length_field.copy_from_slice(&length.to_be_bytes());
    head
}

/// The end record.
#[must_use]
pub fn end(file_bytes: u64) -> [u8; HEAD_BYTES] {
    extent_head(file_bytes, 0)
}

/// What the decoder found.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Data and where it belongs.
    Data {
        /// Offset in the file.
        offset: u64,
        /// The bytes; an extent may come in several pieces.
        bytes: &'a [u8],
    },
    /// The end: the file's size.
    End {
        /// Size of the file.
        file_bytes: u64,
    },
}

/// Why a body is not such a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It starts with something else.
    #[error("the upload does not start with its magic")]
    Magic,
    /// An extent begins before the end of the one before it.
    #[error("the upload has an extent at {offset}, before byte {position} that it has come to")]
    Order {
        /// Where the extent says it is.
        offset: u64,
        /// Where the one before it ended.
        position: u64,
    },
    /// An extent is longer than the limit, or goes past the largest file.
    #[error("the upload has an extent of {length} bytes at {offset}, beyond the limits")]
    TooLong {
        /// Where the extent says it is.
        offset: u64,
        /// How long it says it is.
        length: u32,
    },
    /// More bytes after the end record.
    #[error("the upload goes on after its end")]
    AfterEnd,
    /// The body stopped before the end record.
    #[error("the upload was cut off after byte {position} of the file")]
    CutOff {
        /// How far it came.
        position: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Magic,
    Head,
    Data { remaining: u32 },
    Ended,
}

/// Takes the stream apart as it arrives, in pieces of any size. Holds at most one head.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    held: [u8; HEAD_BYTES],
    held_len: usize,
    position: u64,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { state: State::Magic, held: [0; HEAD_BYTES], held_len: 0, position: 0 }
    }
}

impl Decoder {
    /// Consumes the front of `input` and gives the next piece, or `None` when it needs more input.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, FrameError> {
        loop {
            match self.state {
                State::Magic => {
                    let Some(held) = self.take(input, MAGIC.len()) else { return Ok(None) };
                    if held[..MAGIC.len()] != MAGIC {
                        return Err(FrameError::Magic);
                    }
                    self.state = State::Head;
                }
                State::Head => {
                    let Some(held) = self.take(input, HEAD_BYTES) else { return Ok(None) };
                    if let Some(end) = self.head(held)? {
                        return Ok(Some(end));
                    }
                }
                State::Data { .. } if input.is_empty() => return Ok(None),
                State::Data { remaining } => return Ok(Some(self.data(input, remaining))),
                State::Ended if input.is_empty() => return Ok(None),
                State::Ended => return Err(FrameError::AfterEnd),
            }
        }
    }

    /// To be asked when the body has ended.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.state {
            State::Ended => Ok(()),
            State::Magic | State::Head | State::Data { .. } => {
                Err(FrameError::CutOff { position: self.position })
            }
        }
    }

    /// Collects `wanted` bytes (at most a head) over several inputs.
    fn take(&mut self, input: &mut &[u8], wanted: usize) -> Option<[u8; HEAD_BYTES]> {
        let (now, later) = input.split_at(input.len().min(wanted - self.held_len));
        self.held[self.held_len..self.held_len + now.len()].copy_from_slice(now);
        self.held_len += now.len();
        *input = later;
        (self.held_len == wanted).then(|| {
            self.held_len = 0;
            self.held
        })
    }

    fn head(&mut self, held: [u8; HEAD_BYTES]) -> Result<Option<Piece<'static>>, FrameError> {
        let [o0, o1, o2, o3, o4, o5, o6, o7, l0, l1, l2, l3] = held;
        let offset = u64::from_be_bytes([o0, o1, o2, o3, o4, o5, o6, o7]);
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        if offset < self.position {
            return Err(FrameError::Order { offset, position: self.position });
        }
        if length > EXTENT_BYTES_MAX || offset > FILE_BYTES_MAX - u64::from(length) {
            return Err(FrameError::TooLong { offset, length });
        }
        self.position = offset;
        if length == 0 {
            self.state = State::Ended;
            return Ok(Some(Piece::End { file_bytes: offset }));
        }
        self.state = State::Data { remaining: length };
        Ok(None)
    }

    fn data<'a>(&mut self, input: &mut &'a [u8], remaining: u32) -> Piece<'a> {
        let (bytes, later) = input.split_at(input.len().min(remaining as usize));
        *input = later;
        let offset = self.position;
        self.position += bytes.len() as u64;
        let remaining = remaining - u32::try_from(bytes.len()).unwrap_or(remaining);
        self.state = if remaining == 0 { State::Head } else { State::Data { remaining } };
        Piece::Data { offset, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3 bytes at 5, then the end at 16 TiB.
    const GOLDEN: &[u8] =
        b"OSVOLEX1\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x03abc\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00";

    /// The bytes with their offsets, and the file's size.
    type Decoded = (Vec<(u64, u8)>, Option<u64>);

    fn decode(body: &[u8], step: usize) -> Result<Decoded, FrameError> {
        let (mut decoder, mut data, mut size) = (Decoder::default(), Vec::new(), None);
        for mut input in body.chunks(step) {
            while let Some(piece) = decoder.next(&mut input)? {
                match piece {
                    Piece::Data { offset, bytes } => data.extend((offset..).zip(bytes.iter().copied())),
                    Piece::End { file_bytes } => size = Some(file_bytes),
                }
            }
        }
        decoder.finish().map(|()| (data, size))
    }

    #[test]
    fn emitted_bytes_are_the_golden_ones() {
        let body = [&MAGIC[..], &extent_head(5, 3), b"abc", &end(16 << 40)].concat();
        assert_eq!(body, GOLDEN);
    }

    #[test]
    fn decodes_whatever_the_pieces() {
        for step in 1..=GOLDEN.len() {
            let (data, size) = decode(GOLDEN, step).unwrap();
            assert_eq!(data, [(5, b'a'), (6, b'b'), (7, b'c')], "in steps of {step}");
            assert_eq!(size, Some(16 << 40));
        }
    }

    #[test]
    fn a_cut_anywhere_is_noticed() {
        for cut in 0..GOLDEN.len() {
            assert!(matches!(decode(&GOLDEN[..cut], 7), Err(FrameError::CutOff { .. })), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_out_of_order_or_too_long_is_refused() {
        let stream = |parts: &[&[u8]]| decode(&[&MAGIC[..], &parts.concat()].concat(), 64).unwrap_err();
        assert_eq!(
            stream(&[&extent_head(5, 3), b"abc", &extent_head(7, 1), b"x"]),
            FrameError::Order { offset: 7, position: 8 }
        );
        assert_eq!(
            stream(&[&extent_head(0, EXTENT_BYTES_MAX + 1)]),
            FrameError::TooLong { offset: 0, length: EXTENT_BYTES_MAX + 1 }
        );
        assert_eq!(stream(&[&extent_head(u64::MAX, 1)]), FrameError::TooLong { offset: u64::MAX, length: 1 });
        assert_eq!(stream(&[&end(9), b"more"]), FrameError::AfterEnd);
        assert_eq!(decode(b"POST / HTTP/1.1", 64).unwrap_err(), FrameError::Magic);
    }
}
