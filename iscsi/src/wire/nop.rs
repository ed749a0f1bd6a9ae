//! NOP-Out and NOP-In (RFC 7143 §11.18, §11.19).

use super::bhs::*;
use crate::names::{InitiatorTaskTag, LogicalUnitNumber, TargetTransferTag};
use crate::serial::SerialNumber;

/// A NOP-Out PDU's header: a ping of the initiator, or its answer to ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NopOut {
    /// I bit.
    pub immediate: bool,
    /// LUN; copied from our NOP-In in an answer.
    pub lun: LogicalUnitNumber,
    /// Initiator Task Tag; reserved when no answer is wanted.
    pub initiator_task_tag: InitiatorTaskTag,
    /// Target Transfer Tag of the NOP-In answered; else reserved.
    pub target_transfer_tag: TargetTransferTag,
    /// CmdSN.
    pub cmd_sn: SerialNumber,
    /// ExpStatSN.
    pub exp_stat_sn: SerialNumber,
}

impl NopOut {
    /// Reads a header.
    #[must_use]
    pub fn parse(bhs: &Bhs) -> Self {
        Self {
            immediate: is_immediate(bhs),
            lun: LogicalUnitNumber(field(bhs, LUN)),
            initiator_task_tag: InitiatorTaskTag(u32_at(bhs, INITIATOR_TASK_TAG)),
            target_transfer_tag: TargetTransferTag(u32_at(bhs, TARGET_TRANSFER_TAG)),
            cmd_sn: serial(bhs, CMD_SN),
            exp_stat_sn: serial(bhs, EXP_STAT_SN),
        }
    }

    /// Writes a header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = new(Opcode::NopOut, FINAL);
        bhs[OPCODE] |= if self.immediate { IMMEDIATE } else { 0 };
        put(&mut bhs, LUN, self.lun.0);
        put_u32(&mut bhs, INITIATOR_TASK_TAG, self.initiator_task_tag.0);
        put_u32(&mut bhs, TARGET_TRANSFER_TAG, self.target_transfer_tag.0);
        put_u32(&mut bhs, CMD_SN, self.cmd_sn.0);
        put_u32(&mut bhs, EXP_STAT_SN, self.exp_stat_sn.0);
        bhs
    }
}

/// A NOP-In PDU's header: our answer to a ping, a ping of ours, or news of the command window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NopIn {
    /// LUN; zero unless a Target Transfer Tag is valid.
    pub lun: LogicalUnitNumber,
    /// Initiator Task Tag of the ping answered; else reserved.
    pub initiator_task_tag: InitiatorTaskTag,
    /// Target Transfer Tag; reserved when no answer is wanted.
    pub target_transfer_tag: TargetTransferTag,
    /// StatSN, ExpCmdSN, MaxCmdSN. StatSN is used up only by an answer to a ping (§11.19.1).
    pub sequence: Sequence,
}

impl NopIn {
    /// Reads a header.
    #[must_use]
    pub fn parse(bhs: &Bhs) -> Self {
        Self {
            lun: LogicalUnitNumber(field(bhs, LUN)),
            initiator_task_tag: InitiatorTaskTag(u32_at(bhs, INITIATOR_TASK_TAG)),
            target_transfer_tag: TargetTransferTag(u32_at(bhs, TARGET_TRANSFER_TAG)),
            sequence: Sequence::parse(bhs),
        }
    }

    /// Writes a header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = new(Opcode::NopIn, FINAL);
        put(&mut bhs, LUN, self.lun.0);
        put_u32(&mut bhs, INITIATOR_TASK_TAG, self.initiator_task_tag.0);
        put_u32(&mut bhs, TARGET_TRANSFER_TAG, self.target_transfer_tag.0);
        self.sequence.emit(&mut bhs);
        bhs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_of_a_ping() {
        let bytes = golden(
            "40 80 0000 00 000000 0000000000000000 00000077 ffffffff 00000005 00000009 00000000 00000000
             00000000 00000000",
        );
        let ping = NopOut {
            immediate: true,
            lun: LogicalUnitNumber::ZERO,
            initiator_task_tag: InitiatorTaskTag(0x77),
            target_transfer_tag: TargetTransferTag::RESERVED,
            cmd_sn: SerialNumber(5),
            exp_stat_sn: SerialNumber(9),
        };
        assert_eq!(ping.emit(), bytes);
        assert_eq!(NopOut::parse(&bytes), ping);
    }

    #[test]
    fn golden_bytes_of_its_answer() {
        let bytes = golden(
            "20 80 0000 00 000000 0000000000000000 00000077 ffffffff 00000009 00000005 00000084 00000000
             00000000 00000000",
        );
        let answer = NopIn {
            lun: LogicalUnitNumber::ZERO,
            initiator_task_tag: InitiatorTaskTag(0x77),
            target_transfer_tag: TargetTransferTag::RESERVED,
            sequence: Sequence {
                stat_sn: SerialNumber(9),
                exp_cmd_sn: SerialNumber(5),
                max_cmd_sn: SerialNumber(0x84),
            },
        };
        assert_eq!(answer.emit(), bytes);
        assert_eq!(NopIn::parse(&bytes), answer);
    }
}
