//! What a repair writes in the place of what is lost, so that reading it is an error and a check can tell it from
//! fresh damage.

use crate::limits::BLOCK_LEN;

const WORDS: &[u8; 16] = b"osvol: lost data";

/// A digest that nothing known has: of a chunk that is lost.
pub(crate) const DIGEST: [u8; 32] = [0; 32];

/// A block that is lost.
pub(crate) fn block() -> Vec<u8> {
    WORDS.repeat(BLOCK_LEN / WORDS.len())
}

/// The checksum it is written under: never its own.
pub(crate) fn crc() -> u32 {
    !crc32c::crc32c(&block())
}

/// Whether a block that has not the checksum `crc` is one that a repair marked.
pub(crate) fn is_marked(data: &[u8], wanted: u32) -> bool {
    data.starts_with(WORDS) && wanted == crc() && data == block()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_block_never_has_its_checksum() {
        assert_eq!(block().len(), BLOCK_LEN);
        assert_ne!(crc32c::crc32c(&block()), crc());
        assert!(is_marked(&block(), crc()));
        assert!(!is_marked(&block(), crc32c::crc32c(&block())));
    }
}
