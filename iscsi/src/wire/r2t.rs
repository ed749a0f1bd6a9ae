//! Ready To Transfer (RFC 7143 §11.8).

use super::bhs::*;
use crate::names::{InitiatorTaskTag, LogicalUnitNumber, TargetTransferTag};

const R2T_SN: usize = 36;
const BUFFER_OFFSET: usize = 40;
const DESIRED_DATA_TRANSFER_LENGTH: usize = 44;

/// An R2T PDU's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadyToTransfer {
    /// LUN.
    pub lun: LogicalUnitNumber,
    /// Initiator Task Tag.
    pub initiator_task_tag: InitiatorTaskTag,
    /// Target Transfer Tag: never reserved.
    pub target_transfer_tag: TargetTransferTag,
    /// The next StatSN, which an R2T does not use up, with ExpCmdSN and MaxCmdSN.
    pub sequence: Sequence,
    /// R2TSN.
    pub r2t_sn: u32,
    /// Buffer Offset.
    pub buffer_offset: u32,
    /// Desired Data Transfer Length: never zero, at most MaxBurstLength.
    pub desired_bytes: u32,
}

impl ReadyToTransfer {
    /// Reads a header.
    #[must_use]
    pub fn parse(bhs: &Bhs) -> Self {
        Self {
            lun: LogicalUnitNumber(field(bhs, LUN)),
            initiator_task_tag: InitiatorTaskTag(u32_at(bhs, INITIATOR_TASK_TAG)),
            target_transfer_tag: TargetTransferTag(u32_at(bhs, TARGET_TRANSFER_TAG)),
            sequence: Sequence::parse(bhs),
            r2t_sn: u32_at(bhs, R2T_SN),
            buffer_offset: u32_at(bhs, BUFFER_OFFSET),
            desired_bytes: u32_at(bhs, DESIRED_DATA_TRANSFER_LENGTH),
        }
    }

    /// Writes a header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = new(Opcode::ReadyToTransfer, FINAL);
        put(&mut bhs, LUN, self.lun.0);
        put_u32(&mut bhs, INITIATOR_TASK_TAG, self.initiator_task_tag.0);
        put_u32(&mut bhs, TARGET_TRANSFER_TAG, self.target_transfer_tag.0);
        self.sequence.emit(&mut bhs);
        put_u32(&mut bhs, R2T_SN, self.r2t_sn);
        put_u32(&mut bhs, BUFFER_OFFSET, self.buffer_offset);
        put_u32(&mut bhs, DESIRED_DATA_TRANSFER_LENGTH, self.desired_bytes);
        bhs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::SerialNumber;

    #[test]
    fn golden_bytes() {
        let bytes = golden(
            "31 80 0000 00 000000 0001000000000000 00000077 00000003 0000000a 00000006 00000085 00000001
             00010000 00040000",
        );
        let r2t = ReadyToTransfer {
            lun: LogicalUnitNumber::single_level(1),
            initiator_task_tag: InitiatorTaskTag(0x77),
            target_transfer_tag: TargetTransferTag(3),
            sequence: Sequence {
                stat_sn: SerialNumber(10),
                exp_cmd_sn: SerialNumber(6),
                max_cmd_sn: SerialNumber(0x85),
            },
            r2t_sn: 1,
            buffer_offset: 0x10000,
            desired_bytes: 0x40000,
        };
        assert_eq!(r2t.emit(), bytes);
        assert_eq!(ReadyToTransfer::parse(&bytes), r2t);
    }
}
