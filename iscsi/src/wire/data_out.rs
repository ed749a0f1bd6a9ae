//! SCSI Data-Out (RFC 7143 §11.7).

use super::bhs::*;
use crate::names::{InitiatorTaskTag, LogicalUnitNumber, TargetTransferTag};
use crate::serial::SerialNumber;

const DATA_SN: usize = 36;
const BUFFER_OFFSET: usize = 40;

/// A Data-Out PDU's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataOut {
    /// F bit: the last of a sequence.
    pub is_final: bool,
    /// LUN; meaningful only with a transfer tag.
    pub lun: LogicalUnitNumber,
    /// Initiator Task Tag.
    pub initiator_task_tag: InitiatorTaskTag,
    /// Target Transfer Tag of the R2T that this answers; reserved for unsolicited data.
    pub target_transfer_tag: TargetTransferTag,
    /// ExpStatSN. Old libiscsi writes nonsense here: it is not looked at.
    pub exp_stat_sn: SerialNumber,
    /// DataSN.
    pub data_sn: u32,
    /// Buffer Offset.
    pub buffer_offset: u32,
}

impl DataOut {
    /// Reads a header.
    #[must_use]
    pub fn parse(bhs: &Bhs) -> Self {
        Self {
            is_final: bhs[FLAGS] & FINAL != 0,
            lun: LogicalUnitNumber(field(bhs, LUN)),
            initiator_task_tag: InitiatorTaskTag(u32_at(bhs, INITIATOR_TASK_TAG)),
            target_transfer_tag: TargetTransferTag(u32_at(bhs, TARGET_TRANSFER_TAG)),
            exp_stat_sn: serial(bhs, EXP_STAT_SN),
            data_sn: u32_at(bhs, DATA_SN),
            buffer_offset: u32_at(bhs, BUFFER_OFFSET),
        }
    }

    /// Writes a header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = new(Opcode::DataOut, if self.is_final { FINAL } else { 0 });
        put(&mut bhs, LUN, self.lun.0);
        put_u32(&mut bhs, INITIATOR_TASK_TAG, self.initiator_task_tag.0);
        put_u32(&mut bhs, TARGET_TRANSFER_TAG, self.target_transfer_tag.0);
        put_u32(&mut bhs, EXP_STAT_SN, self.exp_stat_sn.0);
        put_u32(&mut bhs, DATA_SN, self.data_sn);
        put_u32(&mut bhs, BUFFER_OFFSET, self.buffer_offset);
        bhs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// iPXE's habit: 512 bytes a PDU.
    #[test]
    fn golden_bytes() {
        let bytes = golden(
            "05 80 0000 00 000200 0000000000000000 00000077 00000003 00000000 00000009 00000000 000001ff
             0003fe00 00000000",
        );
        let data_out = DataOut {
            is_final: true,
            lun: LogicalUnitNumber::ZERO,
            initiator_task_tag: InitiatorTaskTag(0x77),
            target_transfer_tag: TargetTransferTag(3),
            exp_stat_sn: SerialNumber(9),
            data_sn: 511,
            buffer_offset: 511 * 512,
        };
        assert_eq!(with_data_segment(data_out.emit(), 512), bytes);
        assert_eq!(DataOut::parse(&bytes), data_out);
    }
}
