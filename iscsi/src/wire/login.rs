//! Login Request and Login Response (RFC 7143 §11.12, §11.13).

use super::bhs::*;
use crate::error::LoginStatus;
use crate::names::{ConnectionId, InitiatorTaskTag, Isid, Tsih};
use crate::serial::SerialNumber;

const TRANSIT: u8 = 0x80;
const CONTINUE: u8 = 0x40;
const VERSION_MAX: usize = 2;
const VERSION_MIN: usize = 3;
const VERSION_ACTIVE: usize = 3;
const ISID: usize = 8;
const TSIH: usize = 14;
const CID: usize = 20;
const STATUS_CLASS: usize = 36;

/// Stage of a login (RFC 7143 §11.12.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// 0.
    #[default]
    SecurityNegotiation,
    /// 1.
    LoginOperationalNegotiation,
    /// 3.
    FullFeaturePhase,
    /// 2: reserved.
    Unknown(u8),
}

impl Stage {
    fn from_code(code: u8) -> Self {
        match code & 3 {
            0 => Self::SecurityNegotiation,
            1 => Self::LoginOperationalNegotiation,
            3 => Self::FullFeaturePhase,
            other => Self::Unknown(other),
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::SecurityNegotiation => 0,
            Self::LoginOperationalNegotiation => 1,
            Self::FullFeaturePhase => 3,
            Self::Unknown(code) => code & 3,
        }
    }
}

/// A Login Request PDU's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoginRequest {
    /// T bit.
    pub transit: bool,
    /// C bit.
    pub continues: bool,
    /// CSG.
    pub current_stage: Stage,
    /// NSG; without meaning unless T is set.
    pub next_stage: Stage,
    /// Version-max.
    pub version_max: u8,
    /// Version-min.
    pub version_min: u8,
    /// ISID.
    pub isid: Isid,
    /// TSIH.
    pub tsih: Tsih,
    /// Initiator Task Tag.
    pub initiator_task_tag: InitiatorTaskTag,
    /// CID.
    pub connection_id: ConnectionId,
    /// CmdSN.
    pub cmd_sn: SerialNumber,
    /// ExpStatSN.
    pub exp_stat_sn: SerialNumber,
}

impl LoginRequest {
    /// Reads a header.
    #[must_use]
    pub fn parse(bhs: &Bhs) -> Self {
        let flags = bhs[FLAGS];
        Self {
            transit: flags & TRANSIT != 0,
            continues: flags & CONTINUE != 0,
            current_stage: Stage::from_code(flags >> 2),
            next_stage: Stage::from_code(flags),
            version_max: bhs[VERSION_MAX],
            version_min: bhs[VERSION_MIN],
            isid: Isid(field(bhs, ISID)),
            tsih: Tsih(u16_at(bhs, TSIH)),
            initiator_task_tag: InitiatorTaskTag(u32_at(bhs, INITIATOR_TASK_TAG)),
            connection_id: ConnectionId(u16_at(bhs, CID)),
            cmd_sn: serial(bhs, CMD_SN),
            exp_stat_sn: serial(bhs, EXP_STAT_SN),
        }
    }

    /// Writes a header. The I bit is always set (§11.12: login requests are immediate).
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = new(
            Opcode::LoginRequest,
            flags(self.transit, self.continues, self.current_stage, self.next_stage),
        );
        bhs[OPCODE] |= IMMEDIATE;
        bhs[VERSION_MAX] = self.version_max;
        bhs[VERSION_MIN] = self.version_min;
        put(&mut bhs, ISID, self.isid.0);
        put_u16(&mut bhs, TSIH, self.tsih.0);
        put_u32(&mut bhs, INITIATOR_TASK_TAG, self.initiator_task_tag.0);
        put_u16(&mut bhs, CID, self.connection_id.0);
        put_u32(&mut bhs, CMD_SN, self.cmd_sn.0);
        put_u32(&mut bhs, EXP_STAT_SN, self.exp_stat_sn.0);
        bhs
    }
}

/// A Login Response PDU's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginResponse {
    /// T bit.
    pub transit: bool,
    /// C bit.
    pub continues: bool,
    /// CSG.
    pub current_stage: Stage,
    /// NSG.
    pub next_stage: Stage,
    /// ISID of the request.
    pub isid: Isid,
    /// TSIH: the request's until the last response of a login, which gives the session's.
    pub tsih: Tsih,
    /// Initiator Task Tag.
    pub initiator_task_tag: InitiatorTaskTag,
    /// StatSN, ExpCmdSN, MaxCmdSN.
    pub sequence: Sequence,
    /// Status-Class and Status-Detail.
    pub status: [u8; 2],
}

impl LoginResponse {
    /// Reads a header.
    #[must_use]
    pub fn parse(bhs: &Bhs) -> Self {
        let flags = bhs[FLAGS];
        Self {
            transit: flags & TRANSIT != 0,
            continues: flags & CONTINUE != 0,
            current_stage: Stage::from_code(flags >> 2),
            next_stage: Stage::from_code(flags),
            isid: Isid(field(bhs, ISID)),
            tsih: Tsih(u16_at(bhs, TSIH)),
            initiator_task_tag: InitiatorTaskTag(u32_at(bhs, INITIATOR_TASK_TAG)),
            sequence: Sequence::parse(bhs),
            status: field(bhs, STATUS_CLASS),
        }
    }

    /// Writes a header. Version-max and Version-active are zero: RFC 7143's version is 00h.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let mut bhs = new(
            Opcode::LoginResponse,
            flags(self.transit, self.continues, self.current_stage, self.next_stage),
        );
        bhs[VERSION_MAX] = 0;
        bhs[VERSION_ACTIVE] = 0;
        put(&mut bhs, ISID, self.isid.0);
        put_u16(&mut bhs, TSIH, self.tsih.0);
        put_u32(&mut bhs, INITIATOR_TASK_TAG, self.initiator_task_tag.0);
        self.sequence.emit(&mut bhs);
        put(&mut bhs, STATUS_CLASS, self.status);
        bhs
    }

    /// Did the login go well so far?
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.status == LoginStatus::Success.class_and_detail()
    }
}

/// NSG is reserved, hence zero, unless T is set.
fn flags(transit: bool, continues: bool, current: Stage, next: Stage) -> u8 {
    let stages = current.code() << 2 | if transit { TRANSIT | next.code() } else { 0 };
    stages | if continues { CONTINUE } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// iPXE's first login request: security stage, on to the operational one, TSIH and CID 0.
    #[test]
    fn golden_bytes_of_a_request() {
        let bytes = golden(
            "43 81 00 00 00 000078 400027 23abcd 0000 18ae0000 0000 0000 00000000 00000000
             00000000 00000000 00000000 00000000",
        );
        let request = LoginRequest {
            transit: true,
            continues: false,
            current_stage: Stage::SecurityNegotiation,
            next_stage: Stage::LoginOperationalNegotiation,
            version_max: 0,
            version_min: 0,
            isid: Isid([0x40, 0, 0x27, 0x23, 0xab, 0xcd]),
            tsih: Tsih(0),
            initiator_task_tag: InitiatorTaskTag(0x18ae_0000),
            connection_id: ConnectionId(0),
            cmd_sn: SerialNumber(0),
            exp_stat_sn: SerialNumber(0),
        };
        assert_eq!(with_data_segment(request.emit(), 0x78), bytes);
        assert_eq!(LoginRequest::parse(&bytes), request);
    }

    #[test]
    fn golden_bytes_of_a_refusal() {
        let bytes = golden(
            "23 04 00 00 00 000000 00023d000001 0000 00000001 00000000 00000007 00000001 00000001
             02 03 0000 00000000 00000000",
        );
        let response = LoginResponse {
            transit: false,
            continues: false,
            current_stage: Stage::LoginOperationalNegotiation,
            next_stage: Stage::SecurityNegotiation,
            isid: Isid([0, 2, 0x3d, 0, 0, 1]),
            tsih: Tsih(0),
            initiator_task_tag: InitiatorTaskTag(1),
            sequence: Sequence {
                stat_sn: SerialNumber(7),
                exp_cmd_sn: SerialNumber(1),
                max_cmd_sn: SerialNumber(1),
            },
            status: LoginStatus::NotFound.class_and_detail(),
        };
        assert_eq!(response.emit(), bytes);
        assert_eq!(LoginResponse::parse(&bytes), response);
        assert!(!response.is_success());
    }
}
