//! Logical unit numbers under which this target has nothing.

use scsi::{Address, Response};

use super::VOLUME_LUN;

/// Every target has one volume, and the REPORT LUNS well-known unit.
pub(super) fn answer(lun: [u8; 8], cdb: &[u8]) -> Response {
    scsi::absent_unit(Address::parse(lun), cdb, &[VOLUME_LUN])
}
