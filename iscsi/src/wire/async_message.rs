//! Asynchronous Message (RFC 7143 §11.9).

use super::bhs::*;
use crate::names::{InitiatorTaskTag, LogicalUnitNumber};

const ASYNC_EVENT: usize = 36;
const PARAMETER1: usize = 38;
const PARAMETER2: usize = 40;
const PARAMETER3: usize = 42;

/// AsyncEvent (RFC 7143 §11.9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsyncEvent {
    /// 0: sense data in the data segment.
    ScsiEvent,
    /// 1: the target asks for a logout.
    RequestLogout,
    /// 2: the target will or did drop the connection of Parameter1.
    DroppingConnection,
    /// 3: the target will drop all connections of the session.
    DroppingSession,
    /// 4: the target asks to negotiate anew.
    RequestNegotiation,
    /// Any other.
    Unknown(u8),
}

impl AsyncEvent {
    fn from_code(code: u8) -> Self {
        match code {
            0 => Self::ScsiEvent,
            1 => Self::RequestLogout,
            2 => Self::DroppingConnection,
            3 => Self::DroppingSession,
            4 => Self::RequestNegotiation,
            other => Self::Unknown(other),
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::ScsiEvent => 0,
            Self::RequestLogout => 1,
            Self::DroppingConnection => 2,
            Self::DroppingSession => 3,
            Self::RequestNegotiation => 4,
            Self::Unknown(code) => code,
        }
    }
}

/// An Asynchronous Message PDU's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsyncMessage {
    /// LUN, for a SCSI event.
    pub lun: LogicalUnitNumber,
    /// StatSN, ExpCmdSN, MaxCmdSN.
    pub sequence: Sequence,
    /// AsyncEvent.
    pub event: AsyncEvent,
    /// Parameter1: the CID dropped.
    pub parameter1: u16,
    /// Parameter2: Time2Wait in seconds.
    pub parameter2: u16,
    /// Parameter3: Time2Retain, or seconds to log out in.
    pub parameter3: u16,
}

impl AsyncMessage {
    /// Reads a header.
    #[must_use]
    pub fn parse(bhs: &Bhs) -> Self {
        Self {
            lun: LogicalUnitNumber(field(bhs, LUN)),
            sequence: Sequence::parse(bhs),
            event: AsyncEvent::from_code(bhs[ASYNC_EVENT]),
            parameter1: u16_at(bhs, PARAMETER1),
            parameter2: u16_at(bhs, PARAMETER2),
            parameter3: u16_at(bhs, PARAMETER3),
        }
    }

    /// Writes a header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = new(Opcode::AsyncMessage, FINAL);
        put(&mut bhs, LUN, self.lun.0);
        put_u32(&mut bhs, INITIATOR_TASK_TAG, InitiatorTaskTag::RESERVED.0);
        self.sequence.emit(&mut bhs);
        bhs[ASYNC_EVENT] = self.event.code();
        put_u16(&mut bhs, PARAMETER1, self.parameter1);
        put_u16(&mut bhs, PARAMETER2, self.parameter2);
        put_u16(&mut bhs, PARAMETER3, self.parameter3);
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
            "32 80 0000 00 000000 0000000000000000 ffffffff 00000000 00000009 00000006 00000085
             01 00 0000 0000 000a 00000000",
        );
        let message = AsyncMessage {
            lun: LogicalUnitNumber::ZERO,
            sequence: Sequence {
                stat_sn: SerialNumber(9),
                exp_cmd_sn: SerialNumber(6),
                max_cmd_sn: SerialNumber(0x85),
            },
            event: AsyncEvent::RequestLogout,
            parameter1: 0,
            parameter2: 0,
            parameter3: 10,
        };
        assert_eq!(message.emit(), bytes);
        assert_eq!(AsyncMessage::parse(&bytes), message);
    }
}
