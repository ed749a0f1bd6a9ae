//! How much there may be of what a client sends.

/// Most initiators of one volume.
pub(super) const INITIATORS_MAX: usize = 256;

/// Most ranges of addresses of one volume.
pub(super) const ADDRESSES_MAX: usize = 256;

/// Shortest secret: RFC 7143 §9.2.1 asks for 96 bits where there is no IPsec.
pub(super) const SECRET_BYTES_MIN: usize = 12;

/// Longest secret; initiators have 16 as their least common limit, and some take 255.
pub(super) const SECRET_BYTES_MAX: usize = 255;

/// Longest name of a CHAP user.
pub(super) const USER_BYTES_MAX: usize = 255;

/// Largest file of settings: all of the above, and room.
pub(super) const FILE_BYTES_MAX: u64 = 512 * 1024;
