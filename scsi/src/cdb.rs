//! Raw command descriptor blocks and parameter lists: big-endian fields out of bytes a peer sent.
//!
//! Nothing here panics. A field past the end reads as zero; lengths are checked by whoever depends on them.

use bytes::Bytes;

/// A CDB, padded with zeros to the longest this unit knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cdb {
    bytes: [u8; Self::LEN],
}

impl Cdb {
    pub(crate) const LEN: usize = 16;

    /// Takes the first 16 bytes; a longer CDB (7Eh, 7Fh) has an operation code we do not implement.
    pub(crate) fn new(cdb: &[u8]) -> Self {
        Self { bytes: field(cdb, 0) }
    }

    pub(crate) fn opcode(&self) -> u8 {
        self.bytes[0]
    }

    /// SERVICE ACTION in byte 1, where every command of ours that has one keeps it.
    pub(crate) fn service_action(&self) -> u8 {
        self.bytes[1] & 0x1F
    }

    pub(crate) fn u8(&self, at: usize) -> u8 {
        be(&self.bytes, at)
    }

    pub(crate) fn bit(&self, at: usize, mask: u8) -> bool {
        self.u8(at) & mask != 0
    }

    pub(crate) fn u16(&self, at: usize) -> u16 {
        be_u16(&self.bytes, at)
    }

    pub(crate) fn u32(&self, at: usize) -> u32 {
        be_u32(&self.bytes, at)
    }

    pub(crate) fn u64(&self, at: usize) -> u64 {
        be_u64(&self.bytes, at)
    }

    /// All of it as one number, to be compared with a mask.
    pub(crate) fn as_u128(&self) -> u128 {
        u128::from_be_bytes(self.bytes)
    }

    /// An allocation or parameter list length of four bytes.
    pub(crate) fn len32(&self, at: usize) -> usize {
        usize::try_from(self.u32(at)).unwrap_or(usize::MAX)
    }
}

fn be(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// A byte of a parameter list.
pub(crate) fn be_u8(bytes: &[u8], at: usize) -> u8 {
    be(bytes, at)
}

/// The `N` bytes at `at`, with zeros for those past the end.
#[inline]
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    match bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(field) => *field,
        None => std::array::from_fn(|i| be(bytes, at + i)),
    }
}

/// Two bytes, big-endian.
#[inline]
pub(crate) fn be_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(field(bytes, at))
}

/// Four bytes, big-endian.
#[inline]
pub(crate) fn be_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(field(bytes, at))
}

/// Eight bytes, big-endian.
#[inline]
pub(crate) fn be_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(field(bytes, at))
}

/// Length of a data-out buffer that came in pieces.
pub(crate) fn data_len(data_out: &[Bytes]) -> u64 {
    data_out.iter().map(|piece| piece.len() as u64).sum()
}

/// The first `len` bytes of a data-out buffer in one piece (fewer when fewer came).
pub(crate) fn gather(data_out: &[Bytes], len: usize) -> Bytes {
    if let Some(first) = data_out.first().filter(|first| first.len() >= len) {
        return first.slice(..len);
    }
    let mut whole = Vec::with_capacity(len.min(crate::limits::PARAMETER_LIST_BYTES_MAX));
    for piece in data_out {
        let wanted = len.saturating_sub(whole.len()).min(piece.len());
        whole.extend_from_slice(piece.get(..wanted).unwrap_or_default());
    }
    whole.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_cdbs_read_as_zeros_past_their_end() {
        let cdb = Cdb::new(&[0x28, 0, 1, 2, 3, 4]);
        assert_eq!((cdb.u32(2), cdb.u16(7), cdb.u64(12)), (0x0102_0304, 0, 0));
    }

    #[test]
    fn gathering_joins_pieces_and_stops_at_the_length() {
        let pieces = [Bytes::from_static(b"ab"), Bytes::from_static(b"cdef")];
        assert_eq!(gather(&pieces, 5), "abcde");
        assert_eq!(gather(&pieces, 50), "abcdef");
        assert_eq!(gather(&pieces, 1), "a");
    }
}
