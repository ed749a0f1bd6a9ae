//! Task Management Function Request and Response (RFC 7143 §11.5, §11.6; RFC 7144 §4).

use super::bhs::*;
use crate::event::{TaskManagementFunction, TaskManagementResponse};
use crate::names::{InitiatorTaskTag, LogicalUnitNumber};
use crate::serial::SerialNumber;

const FUNCTION_MASK: u8 = 0x7f;
const REFERENCED_TASK_TAG: usize = 20;
const REF_CMD_SN: usize = 32;
const EXP_DATA_SN: usize = 36;
const RESPONSE: usize = 2;

/// A Task Management Function Request PDU's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskManagementRequestPdu {
    /// I bit.
    pub immediate: bool,
    /// Function: 8 is TASK REASSIGN, others may be unknown.
    pub function: u8,
    /// LUN.
    pub lun: LogicalUnitNumber,
    /// Initiator Task Tag.
    pub initiator_task_tag: InitiatorTaskTag,
    /// Referenced Task Tag.
    pub referenced_task_tag: InitiatorTaskTag,
    /// CmdSN.
    pub cmd_sn: SerialNumber,
    /// ExpStatSN.
    pub exp_stat_sn: SerialNumber,
    /// RefCmdSN.
    pub ref_cmd_sn: SerialNumber,
    /// ExpDataSN.
    pub exp_data_sn: u32,
}

impl TaskManagementRequestPdu {
    /// Reads a header.
    #[must_use]
    pub fn parse(bhs: &Bhs) -> Self {
        Self {
            immediate: is_immediate(bhs),
            function: bhs[FLAGS] & FUNCTION_MASK,
            lun: LogicalUnitNumber(field(bhs, LUN)),
            initiator_task_tag: InitiatorTaskTag(u32_at(bhs, INITIATOR_TASK_TAG)),
            referenced_task_tag: InitiatorTaskTag(u32_at(bhs, REFERENCED_TASK_TAG)),
            cmd_sn: serial(bhs, CMD_SN),
            exp_stat_sn: serial(bhs, EXP_STAT_SN),
            ref_cmd_sn: serial(bhs, REF_CMD_SN),
            exp_data_sn: u32_at(bhs, EXP_DATA_SN),
        }
    }

    /// Writes a header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = new(Opcode::TaskManagementRequest, FINAL | self.function & FUNCTION_MASK);
        bhs[OPCODE] |= if self.immediate { IMMEDIATE } else { 0 };
        put(&mut bhs, LUN, self.lun.0);
        put_u32(&mut bhs, INITIATOR_TASK_TAG, self.initiator_task_tag.0);
        put_u32(&mut bhs, REFERENCED_TASK_TAG, self.referenced_task_tag.0);
        put_u32(&mut bhs, CMD_SN, self.cmd_sn.0);
        put_u32(&mut bhs, EXP_STAT_SN, self.exp_stat_sn.0);
        put_u32(&mut bhs, REF_CMD_SN, self.ref_cmd_sn.0);
        put_u32(&mut bhs, EXP_DATA_SN, self.exp_data_sn);
        bhs
    }
}

impl TaskManagementFunction {
    /// The function of a code; TASK REASSIGN and unknown ones are none.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::AbortTask),
            2 => Some(Self::AbortTaskSet),
            3 => Some(Self::ClearAca),
            4 => Some(Self::ClearTaskSet),
            5 => Some(Self::LogicalUnitReset),
            6 => Some(Self::TargetWarmReset),
            7 => Some(Self::TargetColdReset),
            9 => Some(Self::QueryTask),
            10 => Some(Self::QueryTaskSet),
            11 => Some(Self::ITNexusReset),
            12 => Some(Self::QueryAsynchronousEvent),
            _ => None,
        }
    }

    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::AbortTask => 1,
            Self::AbortTaskSet => 2,
            Self::ClearAca => 3,
            Self::ClearTaskSet => 4,
            Self::LogicalUnitReset => 5,
            Self::TargetWarmReset => 6,
            Self::TargetColdReset => 7,
            Self::QueryTask => 9,
            Self::QueryTaskSet => 10,
            Self::ITNexusReset => 11,
            Self::QueryAsynchronousEvent => 12,
        }
    }
}

impl TaskManagementResponse {
    /// The byte on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::FunctionComplete => 0,
            Self::TaskDoesNotExist => 1,
            Self::LunDoesNotExist => 2,
            Self::TaskStillAllegiant => 3,
            Self::ReassignNotSupported => 4,
            Self::NotSupported => 5,
            Self::AuthorizationFailed => 6,
            Self::FunctionSucceeded => 7,
            Self::FunctionRejected => 255,
        }
    }
}

/// A Task Management Function Response PDU's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskManagementResponsePdu {
    /// Response.
    pub response: u8,
    /// Initiator Task Tag.
    pub initiator_task_tag: InitiatorTaskTag,
    /// StatSN, ExpCmdSN, MaxCmdSN.
    pub sequence: Sequence,
}

impl TaskManagementResponsePdu {
    /// Reads a header.
    #[must_use]
    pub fn parse(bhs: &Bhs) -> Self {
        Self {
            response: bhs[RESPONSE],
            initiator_task_tag: InitiatorTaskTag(u32_at(bhs, INITIATOR_TASK_TAG)),
            sequence: Sequence::parse(bhs),
        }
    }

    /// Writes a header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = new(Opcode::TaskManagementResponse, FINAL);
        bhs[RESPONSE] = self.response;
        put_u32(&mut bhs, INITIATOR_TASK_TAG, self.initiator_task_tag.0);
        self.sequence.emit(&mut bhs);
        bhs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_of_a_request() {
        let bytes = golden(
            "42 81 0000 00 000000 0001000000000000 00000078 00000077 00000006 00000009 00000005 00000000
             00000000 00000000",
        );
        let request = TaskManagementRequestPdu {
            immediate: true,
            function: TaskManagementFunction::AbortTask.code(),
            lun: LogicalUnitNumber::single_level(1),
            initiator_task_tag: InitiatorTaskTag(0x78),
            referenced_task_tag: InitiatorTaskTag(0x77),
            cmd_sn: SerialNumber(6),
            exp_stat_sn: SerialNumber(9),
            ref_cmd_sn: SerialNumber(5),
            exp_data_sn: 0,
        };
        assert_eq!(request.emit(), bytes);
        assert_eq!(TaskManagementRequestPdu::parse(&bytes), request);
    }

    #[test]
    fn golden_bytes_of_a_response() {
        let bytes = golden(
            "22 80 01 00 00 000000 0000000000000000 00000078 00000000 00000009 00000006 00000085 00000000
             00000000 00000000",
        );
        let response = TaskManagementResponsePdu {
            response: TaskManagementResponse::TaskDoesNotExist.code(),
            initiator_task_tag: InitiatorTaskTag(0x78),
            sequence: Sequence {
                stat_sn: SerialNumber(9),
                exp_cmd_sn: SerialNumber(6),
                max_cmd_sn: SerialNumber(0x85),
            },
        };
        assert_eq!(response.emit(), bytes);
        assert_eq!(TaskManagementResponsePdu::parse(&bytes), response);
    }

    #[test]
    fn every_function_survives_a_round_trip() {
        for code in 0..=FUNCTION_MASK {
            if let Some(function) = TaskManagementFunction::from_code(code) {
                assert_eq!(function.code(), code);
            }
        }
        assert_eq!(TaskManagementFunction::from_code(8), None);
    }
}
