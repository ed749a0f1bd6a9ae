//! Soft thresholds of thin provisioning: the logical block provisioning mode page (SBC-3, 1Ch/02h).
//!
//! There are two, both on what is still available, and nobody can change them: they are those that the operator of the
//! store is told of as well.

use bytes::BufMut;

use crate::vpd::THRESHOLD_SHIFT;

/// Page and subpage code.
pub(crate) const PAGE: u8 = 0x1C;
/// See `PAGE`.
pub(crate) const SUBPAGE: u8 = 0x02;

/// Bytes before the threshold descriptors.
const HEADER_BYTES: usize = 16;
const DESCRIPTOR_BYTES: usize = 8;

/// Available threshold sets at which each threshold is reached, in the order of their descriptors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Thresholds([u32; 2]);

impl Thresholds {
    pub(crate) fn of_bytes(bytes: [u64; 2]) -> Self {
        Self(bytes.map(|bytes| u32::try_from(bytes >> THRESHOLD_SHIFT).unwrap_or(u32::MAX)))
    }

    /// The page; SITUA 0: every nexus is told.
    pub(crate) fn page(self) -> Vec<u8> {
        const SPF: u8 = 0x40;
        const ENABLED: u8 = 0x80; // THRESHOLD TYPE 000b: soft; THRESHOLD ARMING 000b: decreasing
        const AVAILABLE_RESOURCES: u8 = 0x01;
        let length = HEADER_BYTES + self.0.len() * DESCRIPTOR_BYTES - 4;
        let mut page = vec![SPF | PAGE, SUBPAGE, 0, u8::try_from(length).unwrap_or(0)];
        page.resize(HEADER_BYTES, 0);
        for count in self.0 {
            page.extend([ENABLED, AVAILABLE_RESOURCES, 0, 0]);
            page.put_u32(count);
        }
        page
    }

    /// Where in the page a threshold's descriptor begins: INFORMATION of its unit attention.
    pub(crate) const fn offset(index: u64) -> u64 {
        HEADER_BYTES as u64 + index * DESCRIPTOR_BYTES as u64
    }
}
