//! Logical unit numbers under which this target has nothing.

use scsi::{Address, Response};

/// Every target has one volume, sometimes a seed, and the REPORT LUNS well-known unit.
pub(super) fn answer(lun: [u8; 8], cdb: &[u8], units: &[u16]) -> Response {
    scsi::absent_unit(Address::parse(lun), cdb, units)
}
