//! SCSI Data-In (RFC 7143 §11.7).

use super::bhs::*;
use super::scsi_response::Residual;
use crate::names::{InitiatorTaskTag, LogicalUnitNumber, TargetTransferTag};

const STATUS: usize = 3;
const DATA_SN: usize = 36;
const BUFFER_OFFSET: usize = 40;
const RESIDUAL_COUNT: usize = 44;
const HAS_STATUS: u8 = 0x01;

/// A Data-In PDU's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataIn {
    /// F bit: the last of a sequence.
    pub is_final: bool,
    /// S bit with status: phase collapse. StatSN means something only then.
    pub status: Option<u8>,
    /// LUN; meaningful only with a transfer tag.
    pub lun: LogicalUnitNumber,
    /// Initiator Task Tag.
    pub initiator_task_tag: InitiatorTaskTag,
    /// Target Transfer Tag: reserved, as no acknowledgement is asked for (ErrorRecoveryLevel 0).
    pub target_transfer_tag: TargetTransferTag,
    /// StatSN, ExpCmdSN, MaxCmdSN.
    pub sequence: Sequence,
    /// DataSN.
    pub data_sn: u32,
    /// Buffer Offset.
    pub buffer_offset: u32,
    /// Residual; sent with status only.
    pub residual: Residual,
}

impl DataIn {
    /// Reads a header.
    #[must_use]
    pub fn parse(bhs: &Bhs) -> Self {
        let flags = bhs[FLAGS];
        Self {
            is_final: flags & FINAL != 0,
            status: (flags & HAS_STATUS != 0).then_some(bhs[STATUS]),
            lun: LogicalUnitNumber(field(bhs, LUN)),
            initiator_task_tag: InitiatorTaskTag(u32_at(bhs, INITIATOR_TASK_TAG)),
            target_transfer_tag: TargetTransferTag(u32_at(bhs, TARGET_TRANSFER_TAG)),
            sequence: Sequence::parse(bhs),
            data_sn: u32_at(bhs, DATA_SN),
            buffer_offset: u32_at(bhs, BUFFER_OFFSET),
            residual: Residual::parse(flags, u32_at(bhs, RESIDUAL_COUNT)),
        }
    }

    /// Writes a header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut flags = if self.is_final { FINAL } else { 0 };
        if self.status.is_some() {
            flags |= HAS_STATUS | self.residual.flags();
        }
        let mut bhs = new(Opcode::DataIn, flags);
        bhs[STATUS] = self.status.unwrap_or(0);
        put(&mut bhs, LUN, self.lun.0);
        put_u32(&mut bhs, INITIATOR_TASK_TAG, self.initiator_task_tag.0);
        put_u32(&mut bhs, TARGET_TRANSFER_TAG, self.target_transfer_tag.0);
        self.sequence.emit(&mut bhs);
        put_u32(&mut bhs, DATA_SN, self.data_sn);
        put_u32(&mut bhs, BUFFER_OFFSET, self.buffer_offset);
        put_u32(&mut bhs, RESIDUAL_COUNT, self.residual.count());
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
            "25 81 00 00 00 001000 0000000000000000 00000077 ffffffff 00000009 00000006 00000085 00000001
             00002000 00000000",
        );
        let data_in = DataIn {
            is_final: true,
            status: Some(0),
            lun: LogicalUnitNumber::ZERO,
            initiator_task_tag: InitiatorTaskTag(0x77),
            target_transfer_tag: TargetTransferTag::RESERVED,
            sequence: Sequence {
                stat_sn: SerialNumber(9),
                exp_cmd_sn: SerialNumber(6),
                max_cmd_sn: SerialNumber(0x85),
            },
            data_sn: 1,
            buffer_offset: 0x2000,
            residual: Residual::Exact,
        };
        assert_eq!(with_data_segment(data_in.emit(), 4096), bytes);
        assert_eq!(DataIn::parse(&bytes), data_in);
    }

    #[test]
    fn residual_bits_go_with_status_only() {
        let mut data_in = DataIn::parse(&[0; 48]);
        data_in.residual = Residual::Underflow(5);
        assert_eq!(data_in.emit()[1], 0);
        data_in.status = Some(0);
        assert_eq!(data_in.emit()[1], 0x03);
    }
}
