//! A run of bytes in pieces: data travels from the socket to the store and back without being joined.

use bytes::Bytes;

/// A slice keeps all of the receive buffer in memory that it lies in, up to a MiB, whatever else came in that and was
/// dropped: what is to wait is copied where it is shorter than this.
pub(crate) const SHORT_BYTES_MAX: usize = 64 * 1024;

/// Data of a command as a list of shared pieces. None and one piece, the common cases, need no list.
#[derive(Clone, Debug, Default)]
pub struct Payload(Pieces);

#[derive(Clone, Debug, Default)]
enum Pieces {
    #[default]
    None,
    One(Bytes),
    Many(Vec<Bytes>),
}

impl Payload {
    /// No data.
    #[must_use]
    pub const fn new() -> Self {
        Self(Pieces::None)
    }

    /// Appends a piece; an empty one is left out.
    #[inline]
    pub fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.0 = match std::mem::take(&mut self.0) {
            Pieces::None => Pieces::One(piece),
            Pieces::One(first) => Pieces::Many(vec![first, piece]),
            Pieces::Many(mut pieces) => {
                pieces.push(piece);
                Pieces::Many(pieces)
            }
        };
    }

    /// The pieces, in order.
    #[must_use]
    #[inline]
    pub fn pieces(&self) -> &[Bytes] {
        match &self.0 {
            Pieces::None => &[],
            Pieces::One(piece) => std::slice::from_ref(piece),
            Pieces::Many(pieces) => pieces,
        }
    }

    /// Bytes in all pieces together.
    #[must_use]
    #[inline]
    pub fn len_bytes(&self) -> usize {
        self.pieces().iter().map(Bytes::len).sum()
    }

    /// Is there no data?
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.pieces().is_empty()
    }

    /// Copies what is short, so that it keeps no more in memory than itself. For data that has to wait.
    pub fn detach(&mut self) {
        let detached = |piece: &mut Bytes| {
            if piece.len() < SHORT_BYTES_MAX {
                *piece = Bytes::copy_from_slice(piece);
            }
        };
        match &mut self.0 {
            Pieces::None => {}
            Pieces::One(piece) => detached(piece),
            Pieces::Many(pieces) => pieces.iter_mut().for_each(detached),
        }
    }

    /// One piece with everything: free for none or one, a copy for many. For short parameter lists.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match &self.0 {
            Pieces::None => Bytes::new(),
            Pieces::One(piece) => piece.clone(),
            Pieces::Many(pieces) => pieces.concat().into(),
        }
    }
}

impl From<Bytes> for Payload {
    fn from(piece: Bytes) -> Self {
        let mut payload = Self::new();
        payload.push(piece);
        payload
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(Bytes::from(bytes))
    }
}

impl FromIterator<Bytes> for Payload {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let mut payload = Self::new();
        pieces.into_iter().for_each(|piece| payload.push(piece));
        payload
    }
}

/// Walks a payload and hands out its bytes in shared slices of wanted lengths.
pub(crate) struct Cutter<'a> {
    pieces: &'a [Bytes],
    offset: usize,
}

impl<'a> Cutter<'a> {
    pub(crate) fn new(payload: &'a Payload) -> Self {
        Self { pieces: payload.pieces(), offset: 0 }
    }

    /// The next slice: at most `bytes_max` long, shorter at the end of a piece, `None` at the end of the data.
    pub(crate) fn next(&mut self, bytes_max: usize) -> Option<Bytes> {
        let (piece, rest) = self.pieces.split_first()?;
        let end = piece.len().min(self.offset + bytes_max);
        let slice = piece.slice(self.offset..end);
        self.offset = end;
        if end == piece.len() {
            self.pieces = rest;
            self.offset = 0;
        }
        Some(slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_keep_their_order_and_empty_ones_vanish() {
        let payload: Payload = [&b"ab"[..], b"", b"c", b"def"].into_iter().map(Bytes::from_static).collect();
        assert_eq!(payload.pieces().len(), 3);
        assert_eq!(payload.len_bytes(), 6);
        assert_eq!(&payload.to_bytes()[..], b"abcdef");
    }

    #[test]
    fn what_is_detached_keeps_nothing_else_in_memory() {
        let buffer = Bytes::from(vec![7; 2 * SHORT_BYTES_MAX]);
        let (short, long) = (buffer.slice(..100), buffer.slice(..SHORT_BYTES_MAX));
        let is_slice = |piece: &Bytes| buffer.as_ptr_range().contains(&piece.as_ptr());
        for (pieces, slices) in [(vec![short.clone()], 0), (vec![short, long], 1)] {
            let mut payload: Payload = pieces.iter().cloned().collect();
            payload.detach();
            assert_eq!(payload.pieces(), pieces);
            assert_eq!(payload.pieces().iter().filter(|piece| is_slice(piece)).count(), slices);
        }
    }

    #[test]
    fn a_cutter_hands_out_every_byte_once() {
        let payload: Payload = [&b"abcde"[..], b"f"].into_iter().map(Bytes::from_static).collect();
        let mut cutter = Cutter::new(&payload);
        let cuts: Vec<_> = std::iter::from_fn(|| cutter.next(2)).collect();
        assert_eq!(cuts, ["ab", "cd", "e", "f"]);
    }
}
