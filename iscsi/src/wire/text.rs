//! Text Request and Text Response (RFC 7143 §11.10, §11.11).

use super::bhs::*;
use crate::names::{InitiatorTaskTag, LogicalUnitNumber, TargetTransferTag};
use crate::serial::SerialNumber;

const CONTINUE: u8 = 0x40;

/// A Text Request PDU's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextRequest {
    /// I bit.
    pub immediate: bool,
    /// F bit: the initiator has said everything.
    pub is_final: bool,
    /// C bit: the text goes on in the next PDU.
    pub continues: bool,
    /// LUN of the response that this continues.
    pub lun: LogicalUnitNumber,
    /// Initiator Task Tag.
    pub initiator_task_tag: InitiatorTaskTag,
    /// Target Transfer Tag of the response that this continues; else reserved.
    pub target_transfer_tag: TargetTransferTag,
    /// CmdSN.
    pub cmd_sn: SerialNumber,
    /// ExpStatSN.
    pub exp_stat_sn: SerialNumber,
}

impl TextRequest {
    /// Reads a header.
    #[must_use]
    pub fn parse(bhs: &Bhs) -> Self {
        Self {
            immediate: is_immediate(bhs),
            is_final: bhs[FLAGS] & FINAL != 0,
            continues: bhs[FLAGS] & CONTINUE != 0,
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
        let mut bhs = new(Opcode::TextRequest, flags(self.is_final, self.continues));
        bhs[OPCODE] |= if self.immediate { IMMEDIATE } else { 0 };
        put(&mut bhs, LUN, self.lun.0);
        put_u32(&mut bhs, INITIATOR_TASK_TAG, self.initiator_task_tag.0);
        put_u32(&mut bhs, TARGET_TRANSFER_TAG, self.target_transfer_tag.0);
        put_u32(&mut bhs, CMD_SN, self.cmd_sn.0);
        put_u32(&mut bhs, EXP_STAT_SN, self.exp_stat_sn.0);
        bhs
    }
}

/// A Text Response PDU's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextResponse {
    /// F bit: the target has said everything.
    pub is_final: bool,
    /// C bit: the text goes on in the next response.
    pub continues: bool,
    /// Initiator Task Tag.
    pub initiator_task_tag: InitiatorTaskTag,
    /// Target Transfer Tag to ask for the rest with; reserved when this was all.
    pub target_transfer_tag: TargetTransferTag,
    /// StatSN, ExpCmdSN, MaxCmdSN.
    pub sequence: Sequence,
}

impl TextResponse {
    /// Reads a header.
    #[must_use]
    pub fn parse(bhs: &Bhs) -> Self {
        Self {
            is_final: bhs[FLAGS] & FINAL != 0,
            continues: bhs[FLAGS] & CONTINUE != 0,
            initiator_task_tag: InitiatorTaskTag(u32_at(bhs, INITIATOR_TASK_TAG)),
            target_transfer_tag: TargetTransferTag(u32_at(bhs, TARGET_TRANSFER_TAG)),
            sequence: Sequence::parse(bhs),
        }
    }

    /// Writes a header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = new(Opcode::TextResponse, flags(self.is_final, self.continues));
        put_u32(&mut bhs, INITIATOR_TASK_TAG, self.initiator_task_tag.0);
        put_u32(&mut bhs, TARGET_TRANSFER_TAG, self.target_transfer_tag.0);
        self.sequence.emit(&mut bhs);
        bhs
    }
}

fn flags(is_final: bool, continues: bool) -> u8 {
    (if is_final { FINAL } else { 0 }) | if continues { CONTINUE } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_of_a_request() {
        let bytes = golden(
            "04 80 0000 00 000010 0000000000000000 00000002 ffffffff 00000005 00000009 00000000 00000000
             00000000 00000000",
        );
        let request = TextRequest {
            immediate: false,
            is_final: true,
            continues: false,
            lun: LogicalUnitNumber::ZERO,
            initiator_task_tag: InitiatorTaskTag(2),
            target_transfer_tag: TargetTransferTag::RESERVED,
            cmd_sn: SerialNumber(5),
            exp_stat_sn: SerialNumber(9),
        };
        assert_eq!(with_data_segment(request.emit(), 16), bytes);
        assert_eq!(TextRequest::parse(&bytes), request);
    }

    #[test]
    fn golden_bytes_of_a_response_that_goes_on() {
        let bytes = golden(
            "24 40 0000 00 008000 0000000000000000 00000002 00000001 00000009 00000006 00000085 00000000
             00000000 00000000",
        );
        let response = TextResponse {
            is_final: false,
            continues: true,
            initiator_task_tag: InitiatorTaskTag(2),
            target_transfer_tag: TargetTransferTag(1),
            sequence: Sequence {
                stat_sn: SerialNumber(9),
                exp_cmd_sn: SerialNumber(6),
                max_cmd_sn: SerialNumber(0x85),
            },
        };
        assert_eq!(with_data_segment(response.emit(), 0x8000), bytes);
        assert_eq!(TextResponse::parse(&bytes), response);
    }
}
