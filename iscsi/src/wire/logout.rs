//! Logout Request and Logout Response (RFC 7143 §11.14, §11.15).

use super::bhs::*;
use crate::names::{ConnectionId, InitiatorTaskTag};
use crate::serial::SerialNumber;

const REASON_MASK: u8 = 0x7f;
const CID: usize = 20;
const RESPONSE: usize = 2;
const TIME2WAIT: usize = 40;
const TIME2RETAIN: usize = 42;

/// A Logout Request PDU's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogoutRequest {
    /// I bit.
    pub immediate: bool,
    /// Reason Code, seven bits: the bit above it is always set (Windows' 80h and 81h are 0 and 1).
    pub reason: u8,
    /// Initiator Task Tag.
    pub initiator_task_tag: InitiatorTaskTag,
    /// CID, for reasons 1 and 2.
    pub connection_id: ConnectionId,
    /// CmdSN.
    pub cmd_sn: SerialNumber,
    /// ExpStatSN.
    pub exp_stat_sn: SerialNumber,
}

impl LogoutRequest {
    /// Reads a header.
    #[must_use]
    pub fn parse(bhs: &Bhs) -> Self {
        Self {
            immediate: is_immediate(bhs),
            reason: bhs[FLAGS] & REASON_MASK,
            initiator_task_tag: InitiatorTaskTag(u32_at(bhs, INITIATOR_TASK_TAG)),
            connection_id: ConnectionId(u16_at(bhs, CID)),
            cmd_sn: serial(bhs, CMD_SN),
            exp_stat_sn: serial(bhs, EXP_STAT_SN),
        }
    }

    /// Writes a header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = new(Opcode::LogoutRequest, FINAL | self.reason & REASON_MASK);
        bhs[OPCODE] |= if self.immediate { IMMEDIATE } else { 0 };
        put_u32(&mut bhs, INITIATOR_TASK_TAG, self.initiator_task_tag.0);
        put_u16(&mut bhs, CID, self.connection_id.0);
        put_u32(&mut bhs, CMD_SN, self.cmd_sn.0);
        put_u32(&mut bhs, EXP_STAT_SN, self.exp_stat_sn.0);
        bhs
    }
}

/// A Logout Response PDU's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogoutResponse {
    /// 0 closed, 1 CID not found, 2 recovery not supported, 3 cleanup failed.
    pub response: u8,
    /// Initiator Task Tag.
    pub initiator_task_tag: InitiatorTaskTag,
    /// StatSN, ExpCmdSN, MaxCmdSN.
    pub sequence: Sequence,
    /// Time2Wait in seconds.
    pub time2wait: u16,
    /// Time2Retain in seconds.
    pub time2retain: u16,
}

impl LogoutResponse {
    /// Reads a header.
    #[must_use]
    pub fn parse(bhs: &Bhs) -> Self {
        Self {
            response: bhs[RESPONSE],
            initiator_task_tag: InitiatorTaskTag(u32_at(bhs, INITIATOR_TASK_TAG)),
            sequence: Sequence::parse(bhs),
            time2wait: u16_at(bhs, TIME2WAIT),
            time2retain: u16_at(bhs, TIME2RETAIN),
        }
    }

    /// Writes a header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = new(Opcode::LogoutResponse, FINAL);
        bhs[RESPONSE] = self.response;
        put_u32(&mut bhs, INITIATOR_TASK_TAG, self.initiator_task_tag.0);
        self.sequence.emit(&mut bhs);
        put_u16(&mut bhs, TIME2WAIT, self.time2wait);
        put_u16(&mut bhs, TIME2RETAIN, self.time2retain);
        bhs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_of_a_request() {
        let bytes = golden(
            "46 81 0000 00 000000 0000000000000000 00000002 0007 0000 00000005 00000009 00000000 00000000
             00000000 00000000",
        );
        let request = LogoutRequest {
            immediate: true,
            reason: 1,
            initiator_task_tag: InitiatorTaskTag(2),
            connection_id: ConnectionId(7),
            cmd_sn: SerialNumber(5),
            exp_stat_sn: SerialNumber(9),
        };
        assert_eq!(request.emit(), bytes);
        assert_eq!(LogoutRequest::parse(&bytes), request);
    }

    #[test]
    fn golden_bytes_of_a_response() {
        let bytes = golden(
            "26 80 00 00 00 000000 0000000000000000 00000002 00000000 00000009 00000006 00000085 00000000
             0002 0014 00000000",
        );
        let response = LogoutResponse {
            response: 0,
            initiator_task_tag: InitiatorTaskTag(2),
            sequence: Sequence {
                stat_sn: SerialNumber(9),
                exp_cmd_sn: SerialNumber(6),
                max_cmd_sn: SerialNumber(0x85),
            },
            time2wait: 2,
            time2retain: 20,
        };
        assert_eq!(response.emit(), bytes);
        assert_eq!(LogoutResponse::parse(&bytes), response);
    }
}
