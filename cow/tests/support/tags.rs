//! Every sector that is ever written gets a number of its own, and holds bytes that only this number has.

/// What a sector holds; 0 is zeros.
pub type Tag = u64;

pub const SECTOR: usize = 512;
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Fills a sector with what has this number.
pub fn fill(tag: Tag, sector: &mut [u8]) {
    let mut word = tag;
    for eight in sector.chunks_exact_mut(8) {
        eight.copy_from_slice(&word.to_le_bytes());
        word = if tag == 0 { 0 } else { word.wrapping_add(STEP) };
    }
}

/// The bytes of sectors with these numbers.
pub fn bytes(tags: &[Tag]) -> Vec<u8> {
    let mut out = vec![0; tags.len() * SECTOR];
    out.chunks_exact_mut(SECTOR).zip(tags).for_each(|(sector, tag)| fill(*tag, sector));
    out
}

/// The number of what a sector holds, if it is whole.
pub fn tag(sector: &[u8]) -> Option<Tag> {
    let word = |at: usize| {
        sector.get(at * 8..at * 8 + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes)
    };
    let first = word(0)?;
    let step = if first == 0 { 0 } else { STEP };
    let mut want = first;
    for eight in sector.chunks_exact(8) {
        if eight != want.to_le_bytes() {
            return None;
        }
        want = want.wrapping_add(step);
    }
    Some(first)
}

#[test]
fn a_tag_survives_its_sector_and_a_torn_sector_has_none() {
    let mut sector = bytes(&[77]);
    assert_eq!(tag(&sector), Some(77));
    sector[300] ^= 1;
    assert_eq!(tag(&sector), None);
    assert_eq!(tag(&[0; SECTOR]), Some(0));
}
