//! SCSI Command (RFC 7143 §11.3). The priority (RFC 7144 §5.1.1) is not looked at: all commands are equal.

use super::bhs::*;
use crate::event::TaskAttribute;
use crate::names::{InitiatorTaskTag, LogicalUnitNumber};
use crate::serial::SerialNumber;

const READ: u8 = 0x40;
const WRITE: u8 = 0x20;
const ATTRIBUTE_MASK: u8 = 0x07;
const EXPECTED_DATA_TRANSFER_LENGTH: usize = 20;
const CDB: usize = 32;

/// A SCSI Command PDU's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScsiCommand {
    /// I bit.
    pub immediate: bool,
    /// F bit: no unsolicited Data-Out follows.
    pub is_final: bool,
    /// R bit.
    pub reads: bool,
    /// W bit.
    pub writes: bool,
    /// ATTR.
    pub attribute: TaskAttribute,
    /// LUN.
    pub lun: LogicalUnitNumber,
    /// Initiator Task Tag.
    pub initiator_task_tag: InitiatorTaskTag,
    /// Expected Data Transfer Length.
    pub expected_data_transfer_bytes: u32,
    /// CmdSN.
    pub cmd_sn: SerialNumber,
    /// ExpStatSN.
    pub exp_stat_sn: SerialNumber,
    /// The CDB's first sixteen bytes.
    pub cdb: [u8; 16],
}

impl ScsiCommand {
    /// Reads a header.
    #[must_use]
    pub fn parse(bhs: &Bhs) -> Self {
        Self {
            immediate: is_immediate(bhs),
            is_final: bhs[FLAGS] & FINAL != 0,
            reads: bhs[FLAGS] & READ != 0,
            writes: bhs[FLAGS] & WRITE != 0,
            attribute: TaskAttribute::from_code(bhs[FLAGS] & ATTRIBUTE_MASK),
            lun: LogicalUnitNumber(field(bhs, LUN)),
            initiator_task_tag: InitiatorTaskTag(u32_at(bhs, INITIATOR_TASK_TAG)),
            expected_data_transfer_bytes: u32_at(bhs, EXPECTED_DATA_TRANSFER_LENGTH),
            cmd_sn: serial(bhs, CMD_SN),
            exp_stat_sn: serial(bhs, EXP_STAT_SN),
            cdb: field(bhs, CDB),
        }
    }

    /// Writes a header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let flag = |set, bit| if set { bit } else { 0 };
        let flags = flag(self.is_final, FINAL) | flag(self.reads, READ) | flag(self.writes, WRITE);
        let mut bhs = new(Opcode::ScsiCommand, flags | self.attribute.code());
        bhs[OPCODE] |= flag(self.immediate, IMMEDIATE);
        put(&mut bhs, LUN, self.lun.0);
        put_u32(&mut bhs, INITIATOR_TASK_TAG, self.initiator_task_tag.0);
        put_u32(&mut bhs, EXPECTED_DATA_TRANSFER_LENGTH, self.expected_data_transfer_bytes);
        put_u32(&mut bhs, CMD_SN, self.cmd_sn.0);
        put_u32(&mut bhs, EXP_STAT_SN, self.exp_stat_sn.0);
        put(&mut bhs, CDB, self.cdb);
        bhs
    }
}

impl TaskAttribute {
    fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Untagged,
            1 => Self::Simple,
            2 => Self::Ordered,
            3 => Self::HeadOfQueue,
            4 => Self::Aca,
            other => Self::Unknown(other),
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Untagged => 0,
            Self::Simple => 1,
            Self::Ordered => 2,
            Self::HeadOfQueue => 3,
            Self::Aca => 4,
            Self::Unknown(code) => code & ATTRIBUTE_MASK,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 4 KiB WRITE(10), simple, final, with immediate data.
    const GOLDEN: &str = "01 a1 0000 00 001000 0001000000000000 00000077 00001000 00000005 00000009
        2a 00 00000010 00 0008 00 000000000000";

    #[test]
    fn golden_bytes() {
        let command = ScsiCommand {
            immediate: false,
            is_final: true,
            reads: false,
            writes: true,
            attribute: TaskAttribute::Simple,
            lun: LogicalUnitNumber::single_level(1),
            initiator_task_tag: InitiatorTaskTag(0x77),
            expected_data_transfer_bytes: 4096,
            cmd_sn: SerialNumber(5),
            exp_stat_sn: SerialNumber(9),
            cdb: [0x2a, 0, 0, 0, 0, 0x10, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0],
        };
        assert_eq!(with_data_segment(command.emit(), 4096), golden(GOLDEN));
        assert_eq!(ScsiCommand::parse(&golden(GOLDEN)), command);
    }

    #[test]
    fn the_immediate_and_read_bits() {
        let mut bhs = golden(GOLDEN);
        bhs[0] |= 0x40;
        bhs[1] = 0x42;
        let command = ScsiCommand::parse(&bhs);
        assert!(command.immediate && command.reads && !command.writes && !command.is_final);
        assert_eq!(command.attribute, TaskAttribute::Ordered);
        assert_eq!(with_data_segment(command.emit(), 4096), bhs);
    }
}
