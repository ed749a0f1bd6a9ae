//! Parameter data on its way to the initiator: lengths filled in last, cut at the allocation length.

use bytes::Bytes;

/// Cuts parameter data at the allocation length, which is no error (SPC-4).
pub(crate) fn truncated(mut data: Vec<u8>, allocation: usize) -> Bytes {
    data.truncate(allocation);
    data.into()
}

/// Writes at `at` the number of bytes that follow `after`, in four bytes.
pub(crate) fn set_length32(data: &mut [u8], at: usize, after: usize) {
    let len = u32::try_from(data.len().saturating_sub(after)).unwrap_or(u32::MAX);
    put(data, at, &len.to_be_bytes());
}

/// The same in two bytes.
pub(crate) fn set_length16(data: &mut [u8], at: usize, after: usize) {
    let len = u16::try_from(data.len().saturating_sub(after)).unwrap_or(u16::MAX);
    put(data, at, &len.to_be_bytes());
}

/// Copies `field` to `at`; our own layouts always have the room.
pub(crate) fn put(data: &mut [u8], at: usize, field: &[u8]) {
    if let Some(place) = data.get_mut(at..at + field.len()) {
        place.copy_from_slice(field);
    }
}

/// Text in a field of fixed width: ASCII, left-aligned, padded with spaces (SPC-4).
pub(crate) fn ascii<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    for (to, from) in field.iter_mut().zip(text.bytes()) {
        *to = if from.is_ascii_graphic() { from } else { b' ' };
    }
    field
}
