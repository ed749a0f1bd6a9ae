//! How large bundles may be.

/// Most members of an archive.
pub(super) const MEMBERS_MAX: u64 = 4096;
/// Longest name of a member in bytes.
pub(super) const NAME_BYTES_MAX: usize = 255;
/// Longest artifact in JSON.
pub(super) const JSON_BYTES_MAX: u64 = 8 << 20;
/// All artifacts in JSON together.
pub(super) const JSON_TOTAL_BYTES_MAX: u64 = 128 << 20;
/// Longest manifest, and longest list of sums.
pub(super) const TEXT_BYTES_MAX: u64 = 1 << 20;
/// How many images of the largest size there may be in one archive.
const IMAGES_MAX: u64 = 8;

/// Largest archive, where images have at most so many bytes.
pub(crate) fn archive_bytes_max(image_bytes_max: u64) -> u64 {
    image_bytes_max.saturating_mul(IMAGES_MAX)
}
