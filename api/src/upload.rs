//! The framing of a disk on its way to the daemon, and from it.
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
//! record was cut off, which is how a client that went away is told from a file that ended. The daemon, when it
//! cannot go on, says why: a record of length 2^32 - 1, whose offset is the length of the refusal in JSON behind it.

use crate::{Code, Refusal};

/// Media type of such a body.
pub const MEDIA_TYPE: &str = "application/vnd.osvol.extents";
/// First bytes of such a body.
pub const MAGIC: [u8; 8] = *b"OSVOLEX1";
/// Bytes of an extent's head.
pub const HEAD_BYTES: usize = 12;
/// Most data in one extent.
pub const EXTENT_BYTES_MAX: u32 = 4 << 20;
/// In place of a length: a refusal follows.
const FAULT: u32 = u32::MAX;
/// Longest refusal in JSON.
pub const FAULT_BYTES_MAX: usize = 16 << 10;
/// Header of an answer with such a body: the size of the disk.
pub const SIZE_HEADER: &str = "osvol-disk-bytes";
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

/// The last record of a body that does not go on, with the reason.
#[must_use]
pub fn fault(refusal: &Refusal) -> Vec<u8> {
    let mut words = serde_json::to_vec(refusal).unwrap_or_default();
    words.truncate(FAULT_BYTES_MAX);
    [&extent_head(words.len() as u64, FAULT)[..], &words].concat()
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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
    /// Whoever sends cannot go on, for this reason.
    #[error("{0}")]
    Fault(Box<Refusal>),
    /// More bytes after the end record.
    #[error("the upload goes on after its end")]
    AfterEnd,
    /// The body stopped before the end record.
    #[error("it was cut off after byte {position}")]
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
    Fault { remaining: usize },
    Ended,
}

/// Takes the stream apart as it arrives, in pieces of any size. Holds at most one head.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    held: [u8; HEAD_BYTES],
    held_len: usize,
    position: u64,
    /// The front of a refusal that has not come whole.
    words: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { state: State::Magic, held: [0; HEAD_BYTES], held_len: 0, position: 0, words: Vec::new() }
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
                State::Fault { remaining } => {
                    let (now, later) = input.split_at(input.len().min(remaining));
                    self.words.extend_from_slice(now);
                    *input = later;
                    if now.len() < remaining {
                        self.state = State::Fault { remaining: remaining - now.len() };
                        return Ok(None);
                    }
                    return Err(FrameError::Fault(Box::new(self.refusal())));
                }
                State::Ended if input.is_empty() => return Ok(None),
                State::Ended => return Err(FrameError::AfterEnd),
            }
        }
    }

    /// To be asked when the body has ended.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.state {
            State::Ended => Ok(()),
            State::Magic | State::Head | State::Data { .. } | State::Fault { .. } => {
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
        if length == FAULT {
            let remaining = usize::try_from(offset).unwrap_or(usize::MAX);
            if remaining > FAULT_BYTES_MAX {
                return Err(FrameError::TooLong { offset, length });
            }
            self.state = State::Fault { remaining };
            return Ok(None);
        }
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

    fn refusal(&self) -> Refusal {
        serde_json::from_slice(&self.words).unwrap_or_else(|_| {
            Refusal::new(Code::Unknown, "the daemon cannot go on, and its reason is not readable")
        })
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
    fn a_fault_is_told_wherever_the_pieces_end() {
        let refusal = Refusal::new(Code::Corrupt, "a block is rotten");
        let body = [&MAGIC[..], &extent_head(5, 3), b"abc", &fault(&refusal)].concat();
        for step in 1..body.len() {
            assert_eq!(
                decode(&body, step),
                Err(FrameError::Fault(Box::new(refusal.clone()))),
                "in steps of {step}"
            );
        }
        for cut in 23..body.len() - 1 {
            assert!(matches!(decode(&body[..cut], 7), Err(FrameError::CutOff { .. })), "cut at {cut}");
        }
        let long = [&MAGIC[..], &extent_head(FAULT_BYTES_MAX as u64 + 1, FAULT)].concat();
        assert!(matches!(decode(&long, 7), Err(FrameError::TooLong { .. })));
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
