//! Reject (RFC 7143 §11.17). Its data segment is the header of the PDU rejected.

use super::bhs::*;
use crate::names::InitiatorTaskTag;

const REASON: usize = 2;

/// Why a PDU is rejected (RFC 7143 §11.17.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// 02h.
    DataDigestError,
    /// 03h.
    SnackReject,
    /// 04h.
    ProtocolError,
    /// 05h.
    CommandNotSupported,
    /// 06h.
    TooManyImmediateCommands,
    /// 07h.
    TaskInProgress,
    /// 09h.
    InvalidPduField,
    /// 0ah: a tag for a long operation cannot be given.
    LongOperationReject,
    /// 0ch.
    WaitingForLogout,
}

impl RejectReason {
    /// The byte on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::DataDigestError => 0x02,
            Self::SnackReject => 0x03,
            Self::ProtocolError => 0x04,
            Self::CommandNotSupported => 0x05,
            Self::TooManyImmediateCommands => 0x06,
            Self::TaskInProgress => 0x07,
            Self::InvalidPduField => 0x09,
            Self::LongOperationReject => 0x0a,
            Self::WaitingForLogout => 0x0c,
        }
    }
}

/// A Reject PDU's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Reason.
    pub reason: u8,
    /// StatSN, ExpCmdSN, MaxCmdSN.
    pub sequence: Sequence,
}

impl Reject {
    /// Reads a header.
    #[must_use]
    pub fn parse(bhs: &Bhs) -> Self {
        Self { reason: bhs[REASON], sequence: Sequence::parse(bhs) }
    }

    /// Writes a header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = new(Opcode::Reject, FINAL);
        bhs[REASON] = self.reason;
        put_u32(&mut bhs, INITIATOR_TASK_TAG, InitiatorTaskTag::RESERVED.0);
        self.sequence.emit(&mut bhs);
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
            "3f 80 05 00 00 000030 0000000000000000 ffffffff 00000000 00000009 00000006 00000085 00000000
             00000000 00000000",
        );
        let reject = Reject {
            reason: RejectReason::CommandNotSupported.code(),
            sequence: Sequence {
                stat_sn: SerialNumber(9),
                exp_cmd_sn: SerialNumber(6),
                max_cmd_sn: SerialNumber(0x85),
            },
        };
        assert_eq!(with_data_segment(reject.emit(), 48), bytes);
        assert_eq!(Reject::parse(&bytes), reject);
    }
}
