//! Logical unit numbers: REPORT LUNS, the well-known logical unit, and what answers where there is no unit.

use bytes::BufMut;

use crate::cdb::Cdb;
use crate::command::Command;
use crate::emit::{set_length32, truncated};
use crate::inquiry::{Peripheral, standard};
use crate::response::Response;
use crate::sense::{Asc, Sense, SenseFormat, SenseKey};
use crate::table::{self, Lookup};
use crate::task::Plan;
use crate::unit::Decision;

/// REPORT LUNS well-known logical unit (SPC-4).
const WELL_KNOWN_REPORT_LUNS: u64 = 0xC101_0000_0000_0000;

/// What an 8-byte LUN names (SAM-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// A logical unit by its number.
    Unit(u16),
    /// The REPORT LUNS well-known logical unit.
    ReportLuns,
    /// A form that this target has no units under.
    Unknown,
}

impl Address {
    /// Peripheral and flat space addressing of one level, and the well-known unit.
    #[must_use]
    pub fn parse(lun: [u8; 8]) -> Self {
        let value = u64::from_be_bytes(lun);
        if value == WELL_KNOWN_REPORT_LUNS {
            return Self::ReportLuns;
        }
        let [first, second, rest @ ..] = lun;
        match (first >> 6, rest) {
            (0, [0, 0, 0, 0, 0, 0]) if first == 0 => Self::Unit(second.into()),
            (1, [0, 0, 0, 0, 0, 0]) => Self::Unit(u16::from_be_bytes([first & 0x3F, second])),
            _ => Self::Unknown,
        }
    }
}

/// The 8 bytes of a logical unit number (SAM-5: peripheral addressing up to 255, flat space above).
fn encode(unit: u16) -> u64 {
    let flat = if unit < 256 { 0 } else { 0x4000 };
    u64::from(unit | flat) << 48
}

/// REPORT LUNS (SPC-4).
pub(crate) fn report(select: u8, allocation: usize, units: &[u16]) -> Decision {
    const NOT_WELL_KNOWN: u8 = 0x00;
    const WELL_KNOWN: u8 = 0x01;
    const ALL: u8 = 0x02;
    let mut data = vec![0; 8];
    if !matches!(select, NOT_WELL_KNOWN | WELL_KNOWN | ALL) {
        return Err(Sense::cdb_field(2, Some(7)).into());
    }
    if select != WELL_KNOWN {
        units.iter().for_each(|&unit| data.put_u64(encode(unit)));
    }
    if select != NOT_WELL_KNOWN {
        data.put_u64(WELL_KNOWN_REPORT_LUNS);
    }
    set_length32(&mut data, 0, 8);
    Ok(Plan::Done(Response::data(truncated(data, allocation))))
}

/// Answers a command to a logical unit number under which there is no disk (SAM-5, SPC-4).
/// `units` are the numbers under which there are some.
#[must_use]
pub fn absent_unit(address: Address, cdb: &[u8], units: &[u16]) -> Response {
    let cdb = Cdb::new(cdb);
    let well_known = address == Address::ReportLuns;
    let command = match table::lookup(&cdb) {
        Lookup::Found(info) => info.parse(&cdb),
        Lookup::UnknownOpcode | Lookup::UnknownServiceAction => {
            Err(Sense::illegal(Asc::INVALID_COMMAND_OPERATION_CODE))
        }
    };
    let no_unit = Sense::illegal(Asc::LOGICAL_UNIT_NOT_SUPPORTED);
    let answer = match command {
        Ok(Command::Inquiry { evpd: false, page: 0, allocation }) => {
            let peripheral = if well_known { Peripheral::WellKnown } else { Peripheral::Absent };
            Ok(Response::data(truncated(standard(peripheral), allocation)))
        }
        Ok(Command::ReportLuns { select, allocation }) => return report_or_refuse(select, allocation, units),
        Ok(Command::RequestSense { descriptor, allocation }) => {
            let nothing = Sense::new(SenseKey::NoSense, Asc::NONE);
            let sense = if well_known { nothing } else { no_unit };
            let format = if descriptor { SenseFormat::Descriptor } else { SenseFormat::Fixed };
            let mut data = sense.encode(format);
            data.truncate(allocation);
            Ok(Response::data(data))
        }
        Ok(Command::TestUnitReady) if well_known => Ok(Response::good()),
        Ok(Command::Inquiry { .. }) if well_known => Err(Sense::cdb_field(2, Some(7))),
        Err(sense) if well_known => Err(sense),
        Ok(_) if well_known => Err(Sense::illegal(Asc::INVALID_COMMAND_OPERATION_CODE)),
        Ok(_) | Err(_) => Err(no_unit),
    };
    answer.unwrap_or_else(|sense| Response::check(&sense, SenseFormat::Fixed))
}

fn report_or_refuse(select: u8, allocation: usize, units: &[u16]) -> Response {
    match report(select, allocation, units) {
        Ok(Plan::Done(response)) => response,
        _ => Response::check(&Sense::cdb_field(2, Some(7)), SenseFormat::Fixed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::Status;

    #[test]
    fn addresses_of_one_level_are_understood() {
        assert_eq!(Address::parse([0; 8]), Address::Unit(0));
        assert_eq!(Address::parse([0, 7, 0, 0, 0, 0, 0, 0]), Address::Unit(7));
        assert_eq!(Address::parse([0x41, 0, 0, 0, 0, 0, 0, 0]), Address::Unit(256));
        assert_eq!(Address::parse([0xC1, 1, 0, 0, 0, 0, 0, 0]), Address::ReportLuns);
        assert_eq!(Address::parse([0, 0, 0, 1, 0, 0, 0, 0]), Address::Unknown);
        assert_eq!(Address::parse([1, 0, 0, 0, 0, 0, 0, 0]), Address::Unknown);
    }

    #[test]
    fn inquiry_of_an_absent_unit_says_there_could_be_none() {
        let response = absent_unit(Address::Unit(3), &[0x12, 0, 0, 0, 5, 0], &[0]);
        assert_eq!((response.status, response.data_in[0]), (Status::Good, 0x7F));
        assert_eq!(response.data_in.len(), 5);
    }

    #[test]
    fn other_commands_to_an_absent_unit_are_refused() {
        let response = absent_unit(Address::Unit(3), &[0; 6], &[0]);
        assert_eq!(response.status, Status::CheckCondition);
        assert_eq!((response.sense[2], response.sense[12]), (0x05, 0x25));
    }

    #[test]
    fn report_luns_works_on_any_unit() {
        let cdb = [0xA0, 0, 2, 0, 0, 0, 0, 0, 0, 255, 0, 0];
        let golden = [&[0, 0, 0, 16, 0, 0, 0, 0][..], &[0; 8], &[0xC1, 1, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(absent_unit(Address::Unit(9), &cdb, &[0]).data_in, golden);
        assert_eq!(absent_unit(Address::ReportLuns, &cdb, &[0]).data_in, golden);
    }
}
