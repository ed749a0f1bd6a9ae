//! SCSI Response (RFC 7143 §11.4). The status qualifier (RFC 7144 §5.2.1) is zero.

use super::bhs::*;
use crate::names::InitiatorTaskTag;

const RESPONSE: usize = 2;
const STATUS: usize = 3;
const EXP_DATA_SN: usize = 36;
const BIDIRECTIONAL_READ_RESIDUAL_COUNT: usize = 40;
const RESIDUAL_COUNT: usize = 44;

const BIDIRECTIONAL_OVERFLOW: u8 = 0x10;
const BIDIRECTIONAL_UNDERFLOW: u8 = 0x08;
pub(super) const OVERFLOW: u8 = 0x04;
pub(super) const UNDERFLOW: u8 = 0x02;

/// Difference between what the initiator expected to move and what the command wanted to (RFC 7143 §11.4.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Residual {
    /// None.
    #[default]
    Exact,
    /// O bit: so many bytes could not be moved because the expected length was too short.
    Overflow(u32),
    /// U bit: so many expected bytes were not moved.
    Underflow(u32),
}

impl Residual {
    /// The residual of a command that wanted to move `transfer_bytes` where `expected_bytes` were expected.
    #[must_use]
    pub fn of(expected_bytes: u32, transfer_bytes: u64) -> Self {
        let expected = u64::from(expected_bytes);
        let count = u32::try_from(expected.abs_diff(transfer_bytes)).unwrap_or(u32::MAX);
        match transfer_bytes.cmp(&expected) {
            std::cmp::Ordering::Equal => Self::Exact,
            std::cmp::Ordering::Greater => Self::Overflow(count),
            std::cmp::Ordering::Less => Self::Underflow(count),
        }
    }

    pub(super) fn parse(flags: u8, count: u32) -> Self {
        match (flags & OVERFLOW != 0, flags & UNDERFLOW != 0) {
            (true, _) => Self::Overflow(count),
            (false, true) => Self::Underflow(count),
            (false, false) => Self::Exact,
        }
    }

    pub(super) fn flags(self) -> u8 {
        match self {
            Self::Exact => 0,
            Self::Overflow(_) => OVERFLOW,
            Self::Underflow(_) => UNDERFLOW,
        }
    }

    pub(super) fn count(self) -> u32 {
        match self {
            Self::Exact => 0,
            Self::Overflow(count) | Self::Underflow(count) => count,
        }
    }
}

/// A SCSI Response PDU's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScsiResponsePdu {
    /// Response: 00h completed at target, 01h target failure.
    pub response: u8,
    /// SCSI status.
    pub status: u8,
    /// Initiator Task Tag.
    pub initiator_task_tag: InitiatorTaskTag,
    /// StatSN, ExpCmdSN, MaxCmdSN.
    pub sequence: Sequence,
    /// ExpDataSN: how many Data-In and R2T PDUs the command got.
    pub exp_data_sn: u32,
    /// Residual of the read of a bidirectional command.
    pub bidirectional_read_residual: Residual,
    /// Residual.
    pub residual: Residual,
}

impl ScsiResponsePdu {
    /// Reads a header.
    #[must_use]
    pub fn parse(bhs: &Bhs) -> Self {
        let flags = bhs[FLAGS];
        Self {
            response: bhs[RESPONSE],
            status: bhs[STATUS],
            initiator_task_tag: InitiatorTaskTag(u32_at(bhs, INITIATOR_TASK_TAG)),
            sequence: Sequence::parse(bhs),
            exp_data_sn: u32_at(bhs, EXP_DATA_SN),
            bidirectional_read_residual: Residual::parse(
                flags >> 2,
                u32_at(bhs, BIDIRECTIONAL_READ_RESIDUAL_COUNT),
            ),
            residual: Residual::parse(flags, u32_at(bhs, RESIDUAL_COUNT)),
        }
    }

    /// Writes a header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let flags = FINAL | self.residual.flags() | self.bidirectional_read_residual.flags() << 2;
        let mut bhs = new(Opcode::ScsiResponse, flags);
        bhs[RESPONSE] = self.response;
        bhs[STATUS] = self.status;
        put_u32(&mut bhs, INITIATOR_TASK_TAG, self.initiator_task_tag.0);
        self.sequence.emit(&mut bhs);
        put_u32(&mut bhs, EXP_DATA_SN, self.exp_data_sn);
        put_u32(&mut bhs, BIDIRECTIONAL_READ_RESIDUAL_COUNT, self.bidirectional_read_residual.count());
        put_u32(&mut bhs, RESIDUAL_COUNT, self.residual.count());
        bhs
    }
}

const _: () = assert!(BIDIRECTIONAL_OVERFLOW == OVERFLOW << 2 && BIDIRECTIONAL_UNDERFLOW == UNDERFLOW << 2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::SerialNumber;

    #[test]
    fn golden_bytes() {
        let bytes = golden(
            "21 82 00 02 00 000014 0000000000000000 00000077 00000000 00000009 00000006 00000085 00000000
             00000000 00001000",
        );
        let response = ScsiResponsePdu {
            response: 0,
            status: 2,
            initiator_task_tag: InitiatorTaskTag(0x77),
            sequence: Sequence {
                stat_sn: SerialNumber(9),
                exp_cmd_sn: SerialNumber(6),
                max_cmd_sn: SerialNumber(0x85),
            },
            exp_data_sn: 0,
            bidirectional_read_residual: Residual::Exact,
            residual: Residual::Underflow(4096),
        };
        assert_eq!(with_data_segment(response.emit(), 20), bytes);
        assert_eq!(ScsiResponsePdu::parse(&bytes), response);
    }

    #[test]
    fn residuals() {
        assert_eq!(Residual::of(512, 512), Residual::Exact);
        assert_eq!(Residual::of(512, 0), Residual::Underflow(512));
        assert_eq!(Residual::of(512, 4096), Residual::Overflow(3584));
        assert_eq!(Residual::of(0, 1 << 40), Residual::Overflow(u32::MAX));
    }

    #[test]
    fn bidirectional_bits_are_apart_from_the_others() {
        let mut response = ScsiResponsePdu::parse(&[0; 48]);
        response.bidirectional_read_residual = Residual::Overflow(7);
        response.residual = Residual::Underflow(9);
        let bhs = response.emit();
        assert_eq!(bhs[1], 0x80 | 0x10 | 0x02);
        assert_eq!(ScsiResponsePdu::parse(&bhs), response);
    }
}
