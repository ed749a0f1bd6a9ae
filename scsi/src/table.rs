//! The one table of commands. Parsing, REPORT SUPPORTED OPERATION CODES, reservation conflicts and docs/SCSI.md all
//! come from it.

use crate::cdb::Cdb;
use crate::command::{Command, decode};
use crate::sense::Sense;

/// Under which reservations of somebody else a command is still allowed (SPC-4 §5.13.3, SBC-3 §4.17, SPC-2 §5.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Under every reservation.
    Always,
    /// Under every persistent reservation, but not under RESERVE.
    AnyPersistent,
    /// Under Write Exclusive persistent reservations only.
    Reads,
    /// Only for those whom the reservation does not exclude.
    HolderOnly,
}

/// One row: a command, or one service action of it.
#[derive(Debug)]
pub struct CommandInfo {
    /// The standard's name.
    pub name: &'static str,
    /// OPERATION CODE.
    pub opcode: u8,
    /// SERVICE ACTION, for operation codes that have them.
    pub service_action: Option<u8>,
    /// CDB usage: the operation code, then for each byte the bits that may be set. Others are refused.
    pub usage: &'static [u8],
    /// Reservations of others under which it is allowed.
    pub allowed: Allowed,
    /// It needs the medium (refused while SANITIZE runs).
    pub medium: bool,
    /// It changes the medium (refused when write protected).
    pub writes: bool,
    /// Recommended command timeout.
    pub timeout_seconds: u32,
    /// The standard that specifies it.
    pub standard: &'static str,
    pub(crate) decode: fn(&Cdb) -> Command,
}

/// Every command of the logical unit, by operation code and service action.
pub static COMMANDS: &[CommandInfo] = &[
    CommandInfo {
        name: "TEST UNIT READY",
        opcode: 0x00,
        service_action: None,
        usage: &[0x00, 0x00, 0x00, 0x00, 0x00, 0x00],
        allowed: Allowed::AnyPersistent,
        medium: true,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::test_unit_ready,
    },
    CommandInfo {
        name: "REQUEST SENSE",
        opcode: 0x03,
        service_action: None,
        usage: &[0x03, 0x01, 0x00, 0x00, 0xFF, 0x00],
        allowed: Allowed::Always,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::request_sense,
    },
    CommandInfo {
        name: "READ(6)",
        opcode: 0x08,
        service_action: None,
        usage: &[0x08, 0x1F, 0xFF, 0xFF, 0xFF, 0x00],
        allowed: Allowed::Reads,
        medium: true,
        writes: false,
        timeout_seconds: 30,
        standard: "SBC-3",
        decode: decode::read6,
    },
    CommandInfo {
        name: "WRITE(6)",
        opcode: 0x0A,
        service_action: None,
        usage: &[0x0A, 0x1F, 0xFF, 0xFF, 0xFF, 0x00],
        allowed: Allowed::HolderOnly,
        medium: true,
        writes: true,
        timeout_seconds: 30,
        standard: "SBC-3",
        decode: decode::write6,
    },
    CommandInfo {
        name: "INQUIRY",
        opcode: 0x12,
        service_action: None,
        usage: &[0x12, 0x01, 0xFF, 0xFF, 0xFF, 0x00],
        allowed: Allowed::Always,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::inquiry,
    },
    CommandInfo {
        name: "MODE SELECT(6)",
        opcode: 0x15,
        service_action: None,
        usage: &[0x15, 0x11, 0x00, 0x00, 0xFF, 0x00],
        allowed: Allowed::HolderOnly,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::mode_select6,
    },
    CommandInfo {
        name: "RESERVE(6)",
        opcode: 0x16,
        service_action: None,
        usage: &[0x16, 0x1F, 0xFF, 0xFF, 0xFF, 0x00],
        allowed: Allowed::Always,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-2",
        decode: decode::reserve,
    },
    CommandInfo {
        name: "RELEASE(6)",
        opcode: 0x17,
        service_action: None,
        usage: &[0x17, 0x1F, 0xFF, 0x00, 0x00, 0x00],
        allowed: Allowed::Always,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-2",
        decode: decode::release,
    },
    CommandInfo {
        name: "MODE SENSE(6)",
        opcode: 0x1A,
        service_action: None,
        usage: &[0x1A, 0x08, 0xFF, 0xFF, 0xFF, 0x00],
        allowed: Allowed::Reads,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::mode_sense6,
    },
    CommandInfo {
        name: "START STOP UNIT",
        opcode: 0x1B,
        service_action: None,
        usage: &[0x1B, 0x01, 0x00, 0x0F, 0xF7, 0x00],
        allowed: Allowed::HolderOnly,
        medium: true,
        writes: false,
        timeout_seconds: 60,
        standard: "SBC-3",
        decode: decode::start_stop_unit,
    },
    CommandInfo {
        name: "SEND DIAGNOSTIC",
        opcode: 0x1D,
        service_action: None,
        usage: &[0x1D, 0xF7, 0x00, 0xFF, 0xFF, 0x00],
        allowed: Allowed::HolderOnly,
        medium: false,
        writes: false,
        timeout_seconds: 60,
        standard: "SPC-4",
        decode: decode::send_diagnostic,
    },
    CommandInfo {
        name: "PREVENT ALLOW MEDIUM REMOVAL",
        opcode: 0x1E,
        service_action: None,
        usage: &[0x1E, 0x00, 0x00, 0x00, 0x03, 0x00],
        allowed: Allowed::Always,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SBC-3",
        decode: decode::prevent_allow,
    },
    CommandInfo {
        name: "READ CAPACITY(10)",
        opcode: 0x25,
        service_action: None,
        usage: &[0x25, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00, 0x01, 0x00],
        allowed: Allowed::Always,
        medium: true,
        writes: false,
        timeout_seconds: 10,
        standard: "SBC-3",
        decode: decode::read_capacity10,
    },
    CommandInfo {
        name: "READ(10)",
        opcode: 0x28,
        service_action: None,
        usage: &[0x28, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0xFF, 0xFF, 0x00],
        allowed: Allowed::Reads,
        medium: true,
        writes: false,
        timeout_seconds: 30,
        standard: "SBC-3",
        decode: decode::read10,
    },
    CommandInfo {
        name: "WRITE(10)",
        opcode: 0x2A,
        service_action: None,
        usage: &[0x2A, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0xFF, 0xFF, 0x00],
        allowed: Allowed::HolderOnly,
        medium: true,
        writes: true,
        timeout_seconds: 30,
        standard: "SBC-3",
        decode: decode::write10,
    },
    CommandInfo {
        name: "WRITE AND VERIFY(10)",
        opcode: 0x2E,
        service_action: None,
        usage: &[0x2E, 0x16, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0xFF, 0xFF, 0x00],
        allowed: Allowed::HolderOnly,
        medium: true,
        writes: true,
        timeout_seconds: 60,
        standard: "SBC-3",
        decode: decode::write_and_verify10,
    },
    CommandInfo {
        name: "VERIFY(10)",
        opcode: 0x2F,
        service_action: None,
        usage: &[0x2F, 0x16, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0xFF, 0xFF, 0x00],
        allowed: Allowed::Reads,
        medium: true,
        writes: false,
        timeout_seconds: 60,
        standard: "SBC-3",
        decode: decode::verify10,
    },
    CommandInfo {
        name: "PRE-FETCH(10)",
        opcode: 0x34,
        service_action: None,
        usage: &[0x34, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0xFF, 0xFF, 0x00],
        allowed: Allowed::Reads,
        medium: true,
        writes: false,
        timeout_seconds: 30,
        standard: "SBC-3",
        decode: decode::prefetch10,
    },
    CommandInfo {
        name: "SYNCHRONIZE CACHE(10)",
        opcode: 0x35,
        service_action: None,
        usage: &[0x35, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0xFF, 0xFF, 0x00],
        allowed: Allowed::HolderOnly,
        medium: true,
        writes: false,
        timeout_seconds: 60,
        standard: "SBC-3",
        decode: decode::synchronize_cache10,
    },
    CommandInfo {
        name: "READ DEFECT DATA(10)",
        opcode: 0x37,
        service_action: None,
        usage: &[0x37, 0x00, 0x1F, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0x00],
        allowed: Allowed::Reads,
        medium: true,
        writes: false,
        timeout_seconds: 10,
        standard: "SBC-3",
        decode: decode::read_defect_data10,
    },
    CommandInfo {
        name: "WRITE SAME(10)",
        opcode: 0x41,
        service_action: None,
        usage: &[0x41, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0xFF, 0xFF, 0x00],
        allowed: Allowed::HolderOnly,
        medium: true,
        writes: true,
        timeout_seconds: 60,
        standard: "SBC-3",
        decode: decode::write_same10,
    },
    CommandInfo {
        name: "UNMAP",
        opcode: 0x42,
        service_action: None,
        usage: &[0x42, 0x01, 0x00, 0x00, 0x00, 0x00, 0x1F, 0xFF, 0xFF, 0x00],
        allowed: Allowed::HolderOnly,
        medium: true,
        writes: true,
        timeout_seconds: 60,
        standard: "SBC-3",
        decode: decode::unmap,
    },
    CommandInfo {
        name: "SANITIZE: OVERWRITE",
        opcode: 0x48,
        service_action: Some(0x01),
        usage: &[0x48, 0xBF, 0x00, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0x00],
        allowed: Allowed::HolderOnly,
        medium: true,
        writes: true,
        timeout_seconds: 3600,
        standard: "SBC-3",
        decode: decode::sanitize,
    },
    CommandInfo {
        name: "SANITIZE: BLOCK ERASE",
        opcode: 0x48,
        service_action: Some(0x02),
        usage: &[0x48, 0xBF, 0x00, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0x00],
        allowed: Allowed::HolderOnly,
        medium: true,
        writes: true,
        timeout_seconds: 3600,
        standard: "SBC-3",
        decode: decode::sanitize,
    },
    CommandInfo {
        name: "SANITIZE: CRYPTOGRAPHIC ERASE",
        opcode: 0x48,
        service_action: Some(0x03),
        usage: &[0x48, 0xBF, 0x00, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0x00],
        allowed: Allowed::HolderOnly,
        medium: true,
        writes: true,
        timeout_seconds: 3600,
        standard: "SBC-3",
        decode: decode::sanitize,
    },
    CommandInfo {
        name: "SANITIZE: EXIT FAILURE MODE",
        opcode: 0x48,
        service_action: Some(0x1F),
        usage: &[0x48, 0xBF, 0x00, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0x00],
        allowed: Allowed::HolderOnly,
        medium: true,
        writes: true,
        timeout_seconds: 3600,
        standard: "SBC-3",
        decode: decode::sanitize,
    },
    CommandInfo {
        name: "LOG SENSE",
        opcode: 0x4D,
        service_action: None,
        usage: &[0x4D, 0x00, 0xFF, 0xFF, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00],
        allowed: Allowed::Always,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::log_sense,
    },
    CommandInfo {
        name: "MODE SELECT(10)",
        opcode: 0x55,
        service_action: None,
        usage: &[0x55, 0x11, 0x00, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0x00],
        allowed: Allowed::HolderOnly,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::mode_select10,
    },
    CommandInfo {
        name: "RESERVE(10)",
        opcode: 0x56,
        service_action: None,
        usage: &[0x56, 0x1F, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0x00],
        allowed: Allowed::Always,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-2",
        decode: decode::reserve,
    },
    CommandInfo {
        name: "RELEASE(10)",
        opcode: 0x57,
        service_action: None,
        usage: &[0x57, 0x1F, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0x00],
        allowed: Allowed::Always,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-2",
        decode: decode::release,
    },
    CommandInfo {
        name: "MODE SENSE(10)",
        opcode: 0x5A,
        service_action: None,
        usage: &[0x5A, 0x18, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0x00],
        allowed: Allowed::Reads,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::mode_sense10,
    },
    CommandInfo {
        name: "PERSISTENT RESERVE IN: READ KEYS",
        opcode: 0x5E,
        service_action: Some(0x00),
        usage: &[0x5E, 0x1F, 0x00, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0x00],
        allowed: Allowed::AnyPersistent,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::persistent_reserve_in,
    },
    CommandInfo {
        name: "PERSISTENT RESERVE IN: READ RESERVATION",
        opcode: 0x5E,
        service_action: Some(0x01),
        usage: &[0x5E, 0x1F, 0x00, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0x00],
        allowed: Allowed::AnyPersistent,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::persistent_reserve_in,
    },
    CommandInfo {
        name: "PERSISTENT RESERVE IN: REPORT CAPABILITIES",
        opcode: 0x5E,
        service_action: Some(0x02),
        usage: &[0x5E, 0x1F, 0x00, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0x00],
        allowed: Allowed::AnyPersistent,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::persistent_reserve_in,
    },
    CommandInfo {
        name: "PERSISTENT RESERVE IN: READ FULL STATUS",
        opcode: 0x5E,
        service_action: Some(0x03),
        usage: &[0x5E, 0x1F, 0x00, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0x00],
        allowed: Allowed::AnyPersistent,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::persistent_reserve_in,
    },
    CommandInfo {
        name: "PERSISTENT RESERVE OUT: REGISTER",
        opcode: 0x5F,
        service_action: Some(0x00),
        usage: &[0x5F, 0x1F, 0xFF, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00],
        allowed: Allowed::AnyPersistent,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::persistent_reserve_out,
    },
    CommandInfo {
        name: "PERSISTENT RESERVE OUT: RESERVE",
        opcode: 0x5F,
        service_action: Some(0x01),
        usage: &[0x5F, 0x1F, 0xFF, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00],
        allowed: Allowed::AnyPersistent,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::persistent_reserve_out,
    },
    CommandInfo {
        name: "PERSISTENT RESERVE OUT: RELEASE",
        opcode: 0x5F,
        service_action: Some(0x02),
        usage: &[0x5F, 0x1F, 0xFF, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00],
        allowed: Allowed::AnyPersistent,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::persistent_reserve_out,
    },
    CommandInfo {
        name: "PERSISTENT RESERVE OUT: CLEAR",
        opcode: 0x5F,
        service_action: Some(0x03),
        usage: &[0x5F, 0x1F, 0xFF, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00],
        allowed: Allowed::AnyPersistent,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::persistent_reserve_out,
    },
    CommandInfo {
        name: "PERSISTENT RESERVE OUT: PREEMPT",
        opcode: 0x5F,
        service_action: Some(0x04),
        usage: &[0x5F, 0x1F, 0xFF, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00],
        allowed: Allowed::AnyPersistent,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::persistent_reserve_out,
    },
    CommandInfo {
        name: "PERSISTENT RESERVE OUT: PREEMPT AND ABORT",
        opcode: 0x5F,
        service_action: Some(0x05),
        usage: &[0x5F, 0x1F, 0xFF, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00],
        allowed: Allowed::AnyPersistent,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::persistent_reserve_out,
    },
    CommandInfo {
        name: "PERSISTENT RESERVE OUT: REGISTER AND IGNORE EXISTING KEY",
        opcode: 0x5F,
        service_action: Some(0x06),
        usage: &[0x5F, 0x1F, 0xFF, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00],
        allowed: Allowed::AnyPersistent,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::persistent_reserve_out,
    },
    CommandInfo {
        name: "PERSISTENT RESERVE OUT: REGISTER AND MOVE",
        opcode: 0x5F,
        service_action: Some(0x07),
        usage: &[0x5F, 0x1F, 0xFF, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00],
        allowed: Allowed::AnyPersistent,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::persistent_reserve_out,
    },
    CommandInfo {
        name: "EXTENDED COPY(LID1)",
        opcode: 0x83,
        service_action: Some(0x00),
        usage: &[
            0x83, 0x1F, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00,
        ],
        allowed: Allowed::HolderOnly,
        medium: true,
        writes: true,
        timeout_seconds: 60,
        standard: "SPC-4",
        decode: decode::extended_copy,
    },
    CommandInfo {
        name: "RECEIVE COPY STATUS(LID1)",
        opcode: 0x84,
        service_action: Some(0x00),
        usage: &[
            0x84, 0x1F, 0xFF, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00,
        ],
        allowed: Allowed::Always,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::receive_copy_status,
    },
    CommandInfo {
        name: "RECEIVE COPY OPERATING PARAMETERS",
        opcode: 0x84,
        service_action: Some(0x03),
        usage: &[
            0x84, 0x1F, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00,
        ],
        allowed: Allowed::Always,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::receive_copy_parameters,
    },
    CommandInfo {
        name: "READ(16)",
        opcode: 0x88,
        service_action: None,
        usage: &[
            0x88, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0x00,
        ],
        allowed: Allowed::Reads,
        medium: true,
        writes: false,
        timeout_seconds: 30,
        standard: "SBC-3",
        decode: decode::read16,
    },
    CommandInfo {
        name: "COMPARE AND WRITE",
        opcode: 0x89,
        service_action: None,
        usage: &[
            0x89, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0xFF, 0x1F, 0x00,
        ],
        allowed: Allowed::HolderOnly,
        medium: true,
        writes: true,
        timeout_seconds: 30,
        standard: "SBC-3",
        decode: decode::compare_and_write,
    },
    CommandInfo {
        name: "WRITE(16)",
        opcode: 0x8A,
        service_action: None,
        usage: &[
            0x8A, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0x00,
        ],
        allowed: Allowed::HolderOnly,
        medium: true,
        writes: true,
        timeout_seconds: 30,
        standard: "SBC-3",
        decode: decode::write16,
    },
    CommandInfo {
        name: "ORWRITE(16)",
        opcode: 0x8B,
        service_action: None,
        usage: &[
            0x8B, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0x00,
        ],
        allowed: Allowed::HolderOnly,
        medium: true,
        writes: true,
        timeout_seconds: 30,
        standard: "SBC-3",
        decode: decode::orwrite16,
    },
    CommandInfo {
        name: "WRITE AND VERIFY(16)",
        opcode: 0x8E,
        service_action: None,
        usage: &[
            0x8E, 0x16, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0x00,
        ],
        allowed: Allowed::HolderOnly,
        medium: true,
        writes: true,
        timeout_seconds: 60,
        standard: "SBC-3",
        decode: decode::write_and_verify16,
    },
    CommandInfo {
        name: "VERIFY(16)",
        opcode: 0x8F,
        service_action: None,
        usage: &[
            0x8F, 0x16, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0x00,
        ],
        allowed: Allowed::Reads,
        medium: true,
        writes: false,
        timeout_seconds: 60,
        standard: "SBC-3",
        decode: decode::verify16,
    },
    CommandInfo {
        name: "PRE-FETCH(16)",
        opcode: 0x90,
        service_action: None,
        usage: &[
            0x90, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0x00,
        ],
        allowed: Allowed::Reads,
        medium: true,
        writes: false,
        timeout_seconds: 30,
        standard: "SBC-3",
        decode: decode::prefetch16,
    },
    CommandInfo {
        name: "SYNCHRONIZE CACHE(16)",
        opcode: 0x91,
        service_action: None,
        usage: &[
            0x91, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0x00,
        ],
        allowed: Allowed::HolderOnly,
        medium: true,
        writes: false,
        timeout_seconds: 60,
        standard: "SBC-3",
        decode: decode::synchronize_cache16,
    },
    CommandInfo {
        name: "WRITE SAME(16)",
        opcode: 0x93,
        service_action: None,
        usage: &[
            0x93, 0x19, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0x00,
        ],
        allowed: Allowed::HolderOnly,
        medium: true,
        writes: true,
        timeout_seconds: 60,
        standard: "SBC-3",
        decode: decode::write_same16,
    },
    CommandInfo {
        name: "WRITE ATOMIC(16)",
        opcode: 0x9C,
        service_action: None,
        usage: &[
            0x9C, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00, 0xFF, 0xFF, 0x1F, 0x00,
        ],
        allowed: Allowed::HolderOnly,
        medium: true,
        writes: true,
        timeout_seconds: 30,
        standard: "SBC-4",
        decode: decode::write_atomic16,
    },
    CommandInfo {
        name: "READ CAPACITY(16)",
        opcode: 0x9E,
        service_action: Some(0x10),
        usage: &[
            0x9E, 0x1F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01, 0x00,
        ],
        allowed: Allowed::Always,
        medium: true,
        writes: false,
        timeout_seconds: 10,
        standard: "SBC-3",
        decode: decode::read_capacity16,
    },
    CommandInfo {
        name: "GET LBA STATUS",
        opcode: 0x9E,
        service_action: Some(0x12),
        usage: &[
            0x9E, 0x1F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00,
        ],
        allowed: Allowed::Reads,
        medium: true,
        writes: false,
        timeout_seconds: 30,
        standard: "SBC-3",
        decode: decode::get_lba_status,
    },
    CommandInfo {
        name: "REPORT LUNS",
        opcode: 0xA0,
        service_action: None,
        usage: &[0xA0, 0x00, 0xFF, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00],
        allowed: Allowed::Always,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::report_luns,
    },
    CommandInfo {
        name: "REPORT TARGET PORT GROUPS",
        opcode: 0xA3,
        service_action: Some(0x0A),
        usage: &[0xA3, 0xFF, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00],
        allowed: Allowed::AnyPersistent,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::report_target_port_groups,
    },
    CommandInfo {
        name: "REPORT SUPPORTED OPERATION CODES",
        opcode: 0xA3,
        service_action: Some(0x0C),
        usage: &[0xA3, 0x1F, 0x87, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00],
        allowed: Allowed::Always,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::report_supported_opcodes,
    },
    CommandInfo {
        name: "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS",
        opcode: 0xA3,
        service_action: Some(0x0D),
        usage: &[0xA3, 0x1F, 0x80, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00],
        allowed: Allowed::Always,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::report_supported_task_management,
    },
    CommandInfo {
        name: "SET TARGET PORT GROUPS",
        opcode: 0xA4,
        service_action: Some(0x0A),
        usage: &[0xA4, 0x1F, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00],
        allowed: Allowed::HolderOnly,
        medium: false,
        writes: false,
        timeout_seconds: 10,
        standard: "SPC-4",
        decode: decode::set_target_port_groups,
    },
    CommandInfo {
        name: "READ(12)",
        opcode: 0xA8,
        service_action: None,
        usage: &[0xA8, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0x00],
        allowed: Allowed::Reads,
        medium: true,
        writes: false,
        timeout_seconds: 30,
        standard: "SBC-3",
        decode: decode::read12,
    },
    CommandInfo {
        name: "WRITE(12)",
        opcode: 0xAA,
        service_action: None,
        usage: &[0xAA, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0x00],
        allowed: Allowed::HolderOnly,
        medium: true,
        writes: true,
        timeout_seconds: 30,
        standard: "SBC-3",
        decode: decode::write12,
    },
    CommandInfo {
        name: "WRITE AND VERIFY(12)",
        opcode: 0xAE,
        service_action: None,
        usage: &[0xAE, 0x16, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0x00],
        allowed: Allowed::HolderOnly,
        medium: true,
        writes: true,
        timeout_seconds: 60,
        standard: "SBC-3",
        decode: decode::write_and_verify12,
    },
    CommandInfo {
        name: "VERIFY(12)",
        opcode: 0xAF,
        service_action: None,
        usage: &[0xAF, 0x16, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0x00],
        allowed: Allowed::Reads,
        medium: true,
        writes: false,
        timeout_seconds: 60,
        standard: "SBC-3",
        decode: decode::verify12,
    },
    CommandInfo {
        name: "READ DEFECT DATA(12)",
        opcode: 0xB7,
        service_action: None,
        usage: &[0xB7, 0x1F, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00],
        allowed: Allowed::Reads,
        medium: true,
        writes: false,
        timeout_seconds: 10,
        standard: "SBC-3",
        decode: decode::read_defect_data12,
    },
];

/// No row has this operation code.
const ABSENT: u8 = u8::MAX;

/// First row of each operation code.
static FIRST_ROW: [u8; 256] = first_rows();

const fn first_rows() -> [u8; 256] {
    let mut rows = [ABSENT; 256];
    let mut row = 0;
    while row < COMMANDS.len() {
        let opcode = COMMANDS[row].opcode as usize;
        if rows[opcode] == ABSENT {
            #[expect(clippy::cast_possible_truncation, reason = "the table is far shorter than 255 rows")]
            let first = row as u8;
            rows[opcode] = first;
        }
        row += 1;
    }
    rows
}

/// What looking a CDB up gave.
pub(crate) enum Lookup {
    Found(&'static CommandInfo),
    UnknownOpcode,
    UnknownServiceAction,
}

/// Finds the row of a CDB.
pub(crate) fn lookup(cdb: &Cdb) -> Lookup {
    let mut rows = rows(cdb.opcode()).iter();
    let Some(first) = rows.next() else { return Lookup::UnknownOpcode };
    let Some(action) = first.service_action else { return Lookup::Found(first) };
    if action == cdb.service_action() {
        return Lookup::Found(first);
    }
    match rows.find(|info| info.service_action == Some(cdb.service_action())) {
        Some(info) => Lookup::Found(info),
        None => Lookup::UnknownServiceAction,
    }
}

/// All rows of one operation code.
pub(crate) fn rows(opcode: u8) -> &'static [CommandInfo] {
    let first = usize::from(FIRST_ROW.get(usize::from(opcode)).copied().unwrap_or(ABSENT));
    let rest = COMMANDS.get(first..).unwrap_or_default();
    let len = rest.iter().position(|info| info.opcode != opcode).unwrap_or(rest.len());
    rest.get(..len).unwrap_or_default()
}

impl CommandInfo {
    /// The typed command, or the first bit that this command does not know (SPC-4 §4.5.2.4.2 field pointer).
    pub(crate) fn parse(&self, cdb: &Cdb) -> Result<Command, Sense> {
        for (at, (byte, usage)) in cdb.bytes().iter().zip(self.usage).enumerate().skip(1) {
            let unknown = byte & !usage;
            if unknown != 0 {
                let bit = u8::try_from(unknown.ilog2()).ok();
                return Err(Sense::cdb_field(u16::try_from(at).unwrap_or(u16::MAX), bit));
            }
        }
        Ok((self.decode)(cdb))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_ascending_and_shaped_like_their_group() {
        let keys: Vec<_> = COMMANDS.iter().map(|c| (c.opcode, c.service_action)).collect();
        assert!(keys.is_sorted_by(|a, b| a < b), "rows of one operation code must stand together, in order");
        for info in COMMANDS {
            let len = match info.opcode >> 5 {
                0 => 6,
                1 | 2 => 10,
                4 => 16,
                5 => 12,
                group => panic!("{}: group {group}", info.name),
            };
            assert_eq!((info.usage.len(), info.usage[0]), (len, info.opcode), "{}", info.name);
        }
    }

    #[test]
    fn every_row_is_found_by_its_own_cdb() {
        for info in COMMANDS {
            let mut cdb = vec![0; info.usage.len()];
            cdb[0] = info.opcode;
            cdb[1] = info.service_action.unwrap_or(0);
            match lookup(&Cdb::new(&cdb)) {
                Lookup::Found(found) => assert!(std::ptr::eq(found, info), "{}", info.name),
                _ => panic!("{} not found", info.name),
            }
        }
    }

    #[test]
    fn a_reserved_bit_is_refused_with_a_pointer_to_it() {
        let Lookup::Found(info) = lookup(&Cdb::new(&[0x28])) else { panic!("READ(10)") };
        let cdb = Cdb::new(&[0x28, 0x20, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(info.parse(&cdb), Err(Sense::cdb_field(1, Some(5))));
    }
}
