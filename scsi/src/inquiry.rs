//! Standard INQUIRY data (SPC-4) and READ CAPACITY (SBC-3).

use bytes::BufMut;

use crate::config::PRODUCT;
use crate::emit::{ascii, truncated};
use crate::response::Response;
use crate::sense::{Asc, Sense};
use crate::task::Plan;
use crate::unit::{Decision, LogicalUnit};

/// T10 VENDOR IDENTIFICATION.
pub(crate) const VENDOR: &str = "OSVOL";
/// PRODUCT REVISION LEVEL, from the version of the package.
const REVISION: &str = concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));

/// VERSION: SPC-4. Linux reads the block limits page only from SPC-3 on.
const VERSION_SPC4: u8 = 0x06;
/// SAM-5, iSCSI, SPC-4, SBC-3, without a claim to one revision but of iSCSI: RFC 7144 §4.2 has its descriptor be the
/// sum of the base value and of the level that the session has agreed on.
const fn version_descriptors(protocol_level: u8) -> [u16; 4] {
    [0x00A0, 0x0960 + protocol_level as u16, 0x0460, 0x04C0]
}
/// iSCSIProtocolLevel of a session that did not negotiate it.
pub(crate) const PROTOCOL_LEVEL_DEFAULT: u8 = 1;
const STANDARD_LEN: usize = 74;

/// Where INQUIRY was addressed to (PERIPHERAL QUALIFIER and DEVICE TYPE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peripheral {
    Disk,
    /// Well-known logical unit.
    WellKnown,
    /// The target could not have a unit here.
    Absent,
}

impl Peripheral {
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Disk => 0x00,
            Self::WellKnown => 0x1E,
            Self::Absent => 0x7F,
        }
    }
}

/// Standard INQUIRY data of whatever stands at the address.
pub(crate) fn standard(peripheral: Peripheral) -> Vec<u8> {
    described(peripheral, PRODUCT, PROTOCOL_LEVEL_DEFAULT)
}

fn described(peripheral: Peripheral, product: &str, protocol_level: u8) -> Vec<u8> {
    let mut data = vec![peripheral.byte(), 0x00, VERSION_SPC4, 0x12]; // HISUP, RESPONSE DATA FORMAT 2
    data.push(0); // additional length
    let disk = peripheral == Peripheral::Disk;
    data.push(if disk { 0x38 } else { 0 }); // TPGS 11b, 3PC
    data.push(if disk { 0x10 } else { 0 }); // MULTIP
    data.push(0x02); // CMDQUE
    data.extend(ascii::<8>(VENDOR));
    data.extend(ascii::<16>(product));
    data.extend(ascii::<4>(REVISION));
    data.resize(58, 0);
    for descriptor in version_descriptors(protocol_level) {
        data.put_u16(descriptor);
    }
    data.resize(STANDARD_LEN, 0);
    if let Some(additional) = data.get_mut(4) {
        *additional = 69; // STANDARD_LEN - 5
    }
    data
}

impl LogicalUnit {
    /// INQUIRY (SPC-4): without EVPD the PAGE CODE must be zero.
    pub(crate) fn inquiry(&self, nexus: crate::NexusId, evpd: bool, page: u8, allocation: usize) -> Decision {
        let data = match (evpd, page) {
            (false, 0) => described(Peripheral::Disk, self.config.product, self.protocol_level(nexus)),
            (false, _) => return Err(Sense::cdb_field(2, Some(7)).into()),
            (true, _) => {
                let port = self.nexuses.get(nexus).map_or(1, |n| n.target_port);
                self.vpd(page, port).ok_or(Sense::cdb_field(2, Some(7)))?
            }
        };
        Ok(Plan::Done(Response::data(truncated(data, allocation))))
    }

    /// READ CAPACITY(10): FFFFFFFFh where only READ CAPACITY(16) can tell.
    pub(crate) fn read_capacity10(&self, lba: u32, pmi: bool) -> Decision {
        if !pmi && lba != 0 {
            return Err(Sense::cdb_field(2, Some(7)).into());
        }
        if u64::from(lba) >= self.blocks {
            return Err(Sense::illegal(Asc::LBA_OUT_OF_RANGE).into());
        }
        let mut data = Vec::with_capacity(8);
        data.put_u32(u32::try_from(self.last_lba()).unwrap_or(u32::MAX));
        data.put_u32(self.config.block_size.bytes());
        Ok(Plan::Done(Response::data(data.into())))
    }

    pub(crate) fn read_capacity16(&self, allocation: usize) -> Plan {
        const LBPME: u8 = 0x80;
        const LBPRZ: u8 = 0x40;
        let mut data = Vec::with_capacity(32);
        data.put_u64(self.last_lba());
        data.put_u32(self.config.block_size.bytes());
        data.put_u8(0); // no protection information
        data.put_u8(self.config.block_size.physical_exponent());
        data.put_u8(LBPME | LBPRZ);
        data.resize(32, 0);
        Plan::Done(Response::data(truncated(data, allocation)))
    }

    fn last_lba(&self) -> u64 {
        self.blocks - 1
    }
}
