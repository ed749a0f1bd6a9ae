//! The basic header segment: what all PDUs share (RFC 7143 §11.2.1).

use crate::limits::BHS_BYTES;
use crate::serial::SerialNumber;

/// A basic header segment.
pub type Bhs = [u8; BHS_BYTES];

pub(super) const OPCODE: usize = 0;
pub(super) const FLAGS: usize = 1;
pub(super) const TOTAL_AHS_LENGTH: usize = 4;
pub(super) const DATA_SEGMENT_LENGTH: usize = 5;
pub(super) const LUN: usize = 8;
pub(super) const INITIATOR_TASK_TAG: usize = 16;
pub(super) const TARGET_TRANSFER_TAG: usize = 20;
pub(super) const CMD_SN: usize = 24;
pub(super) const EXP_STAT_SN: usize = 28;
pub(super) const STAT_SN: usize = 24;
pub(super) const EXP_CMD_SN: usize = 28;
pub(super) const MAX_CMD_SN: usize = 32;

pub(super) const IMMEDIATE: u8 = 0x40;
pub(super) const FINAL: u8 = 0x80;
const OPCODE_MASK: u8 = 0x3f;

/// Operation code (RFC 7143 §11.2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// 00h.
    NopOut,
    /// 01h.
    ScsiCommand,
    /// 02h.
    TaskManagementRequest,
    /// 03h.
    LoginRequest,
    /// 04h.
    TextRequest,
    /// 05h.
    DataOut,
    /// 06h.
    LogoutRequest,
    /// 10h.
    Snack,
    /// 20h.
    NopIn,
    /// 21h.
    ScsiResponse,
    /// 22h.
    TaskManagementResponse,
    /// 23h.
    LoginResponse,
    /// 24h.
    TextResponse,
    /// 25h.
    DataIn,
    /// 26h.
    LogoutResponse,
    /// 31h.
    ReadyToTransfer,
    /// 32h.
    AsyncMessage,
    /// 3fh.
    Reject,
    /// Any other.
    Unknown(u8),
}

impl Opcode {
    /// The opcode of a header.
    #[must_use]
    #[inline]
    pub const fn of(bhs: &Bhs) -> Self {
        match bhs[OPCODE] & OPCODE_MASK {
            0x00 => Self::NopOut,
            0x01 => Self::ScsiCommand,
            0x02 => Self::TaskManagementRequest,
            0x03 => Self::LoginRequest,
            0x04 => Self::TextRequest,
            0x05 => Self::DataOut,
            0x06 => Self::LogoutRequest,
            0x10 => Self::Snack,
            0x20 => Self::NopIn,
            0x21 => Self::ScsiResponse,
            0x22 => Self::TaskManagementResponse,
            0x23 => Self::LoginResponse,
            0x24 => Self::TextResponse,
            0x25 => Self::DataIn,
            0x26 => Self::LogoutResponse,
            0x31 => Self::ReadyToTransfer,
            0x32 => Self::AsyncMessage,
            0x3f => Self::Reject,
            other => Self::Unknown(other),
        }
    }

    /// The six bits on the wire.
    #[must_use]
    #[inline]
    pub const fn code(self) -> u8 {
        match self {
            Self::NopOut => 0x00,
            Self::ScsiCommand => 0x01,
            Self::TaskManagementRequest => 0x02,
            Self::LoginRequest => 0x03,
            Self::TextRequest => 0x04,
            Self::DataOut => 0x05,
            Self::LogoutRequest => 0x06,
            Self::Snack => 0x10,
            Self::NopIn => 0x20,
            Self::ScsiResponse => 0x21,
            Self::TaskManagementResponse => 0x22,
            Self::LoginResponse => 0x23,
            Self::TextResponse => 0x24,
            Self::DataIn => 0x25,
            Self::LogoutResponse => 0x26,
            Self::ReadyToTransfer => 0x31,
            Self::AsyncMessage => 0x32,
            Self::Reject => 0x3f,
            Self::Unknown(code) => code & OPCODE_MASK,
        }
    }
}

/// The three numbers that every response of a target carries (RFC 7143 §11.4.8 to §11.4.10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    /// StatSN.
    pub stat_sn: SerialNumber,
    /// ExpCmdSN.
    pub exp_cmd_sn: SerialNumber,
    /// MaxCmdSN.
    pub max_cmd_sn: SerialNumber,
}

impl Sequence {
    pub(super) fn parse(bhs: &Bhs) -> Self {
        Self {
            stat_sn: serial(bhs, STAT_SN),
            exp_cmd_sn: serial(bhs, EXP_CMD_SN),
            max_cmd_sn: serial(bhs, MAX_CMD_SN),
        }
    }

    pub(super) fn emit(self, bhs: &mut Bhs) {
        put_u32(bhs, STAT_SN, self.stat_sn.0);
        put_u32(bhs, EXP_CMD_SN, self.exp_cmd_sn.0);
        put_u32(bhs, MAX_CMD_SN, self.max_cmd_sn.0);
    }
}

/// I bit (RFC 7143 §11.2.1.1).
#[must_use]
#[inline]
pub const fn is_immediate(bhs: &Bhs) -> bool {
    bhs[OPCODE] & IMMEDIATE != 0
}

/// DataSegmentLength, without padding (§11.2.1.6).
#[must_use]
#[inline]
pub const fn data_segment_bytes(bhs: &Bhs) -> usize {
    u32::from_be_bytes([
        0,
        bhs[DATA_SEGMENT_LENGTH],
        bhs[DATA_SEGMENT_LENGTH + 1],
        bhs[DATA_SEGMENT_LENGTH + 2],
    ]) as usize
}

/// The header with its DataSegmentLength set.
#[must_use]
pub const fn with_data_segment(mut bhs: Bhs, bytes: usize) -> Bhs {
    assert!(bytes < 1 << 24);
    #[expect(clippy::cast_possible_truncation, reason = "just asserted")]
    let [_, high, middle, low] = (bytes as u32).to_be_bytes();
    bhs[DATA_SEGMENT_LENGTH] = high;
    bhs[DATA_SEGMENT_LENGTH + 1] = middle;
    bhs[DATA_SEGMENT_LENGTH + 2] = low;
    bhs
}

/// Bytes that pad a segment to a multiple of four (RFC 7143 §11.1).
#[must_use]
#[inline]
pub const fn padding(bytes: usize) -> usize {
    bytes.wrapping_neg() & 3
}

#[inline]
pub(super) const fn total_ahs_bytes(bhs: &Bhs) -> usize {
    bhs[TOTAL_AHS_LENGTH] as usize * 4
}

#[inline]
/// A header without data and additional headers: both lengths are zero (§11.2.1.5, §11.2.1.6).
pub(super) fn new(opcode: Opcode, flags: u8) -> Bhs {
    let mut bhs = [0; BHS_BYTES];
    bhs[OPCODE] = opcode.code();
    bhs[FLAGS] = flags;
    bhs
}

/// Reads a field of fixed place and size; the compiler knows both, so no check can fail.
#[inline]
pub(super) fn field<const N: usize>(bhs: &Bhs, offset: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&bhs[offset..offset + N]);
    bytes
}

#[inline]
pub(super) fn put<const N: usize>(bhs: &mut Bhs, offset: usize, bytes: [u8; N]) {
    bhs[offset..offset + N].copy_from_slice(&bytes);
}

#[inline]
pub(super) fn u16_at(bhs: &Bhs, offset: usize) -> u16 {
    u16::from_be_bytes(field(bhs, offset))
}

#[inline]
pub(super) fn u32_at(bhs: &Bhs, offset: usize) -> u32 {
    u32::from_be_bytes(field(bhs, offset))
}

#[inline]
pub(super) fn serial(bhs: &Bhs, offset: usize) -> SerialNumber {
    SerialNumber(u32_at(bhs, offset))
}

#[inline]
pub(super) fn put_u16(bhs: &mut Bhs, offset: usize, value: u16) {
    put(bhs, offset, value.to_be_bytes());
}

#[inline]
pub(super) fn put_u32(bhs: &mut Bhs, offset: usize, value: u32) {
    put(bhs, offset, value.to_be_bytes());
}

/// Golden bytes in tests: hex digits split at the fields by blanks.
#[cfg(test)]
pub(crate) fn golden(hex: &str) -> Bhs {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    bytes.try_into().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_a_round_trip() {
        for code in 0..=0x3f {
            let mut bhs = [0; BHS_BYTES];
            bhs[OPCODE] = code | IMMEDIATE;
            assert_eq!(Opcode::of(&bhs).code(), code);
        }
    }

    #[test]
    fn padding_fills_to_four() {
        assert_eq!([0, 1, 2, 3, 4, 5].map(padding), [0, 3, 2, 1, 0, 3]);
    }

    #[test]
    fn data_segment_length_is_three_bytes() {
        let bhs = with_data_segment([0; BHS_BYTES], 0x01_02_03);
        assert_eq!(bhs[4..8], [0, 1, 2, 3]);
        assert_eq!(data_segment_bytes(&bhs), 0x01_02_03);
    }
}
