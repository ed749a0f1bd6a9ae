//! Typed commands: what a CDB asks for, its fields named as the standards name them.

use crate::log::LogSense;
use crate::mode::ModeSelect;

/// LBA and length of a medium access command, with its cache bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) lba: u64,
    pub(crate) blocks: u32,
    pub(crate) fua: bool,
}

/// Which values MODE SENSE and LOG SENSE want (PC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageControl {
    Current,
    Changeable,
    Default,
    Saved,
}

/// BYTCHK of VERIFY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByteCheck {
    MediumOnly,
    DataOut,
    Reserved,
    OneBlock,
}

/// A decoded command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    TestUnitReady,
    RequestSense {
        descriptor: bool,
        allocation: usize,
    },
    Inquiry {
        evpd: bool,
        page: u8,
        allocation: usize,
    },
    ReportLuns {
        select: u8,
        allocation: usize,
    },
    ReadCapacity10 {
        lba: u32,
        pmi: bool,
    },
    ReadCapacity16 {
        allocation: usize,
    },
    ModeSense {
        ten: bool,
        disable_descriptors: bool,
        long_lba: bool,
        control: PageControl,
        page: u8,
        subpage: u8,
        allocation: usize,
    },
    ModeSelect(ModeSelect),
    LogSense(LogSense),
    Read(Transfer),
    Write(Transfer),
    WriteAtomic(Transfer),
    OrWrite(Transfer),
    WriteAndVerify {
        transfer: Transfer,
        check: ByteCheck,
    },
    Verify {
        lba: u64,
        blocks: u32,
        check: ByteCheck,
    },
    CompareAndWrite(Transfer),
    WriteSame {
        lba: u64,
        blocks: u32,
        unmap: bool,
        anchor: bool,
        no_data: bool,
    },
    Unmap {
        anchor: bool,
        length: usize,
    },
    GetLbaStatus {
        lba: u64,
        allocation: usize,
    },
    SynchronizeCache {
        lba: u64,
        blocks: u32,
        immediate: bool,
    },
    Prefetch {
        lba: u64,
        blocks: u32,
        immediate: bool,
    },
    ReadDefectData10 {
        lists: u8,
        allocation: usize,
    },
    ReadDefectData12 {
        lists: u8,
        allocation: usize,
    },
    StartStopUnit {
        start: bool,
        load_eject: bool,
        power_condition: u8,
        immediate: bool,
    },
    PreventAllow {
        prevent: u8,
    },
    Reserve {
        third_party_or_extent: bool,
    },
    Release {
        third_party_or_extent: bool,
    },
    PersistentReserveIn {
        action: u8,
        allocation: usize,
    },
    PersistentReserveOut {
        action: u8,
        scope: u8,
        kind: u8,
        length: usize,
    },
    ReportTargetPortGroups {
        extended: bool,
        allocation: usize,
    },
    SetTargetPortGroups {
        length: usize,
    },
    ReportSupportedOpcodes {
        timeouts: bool,
        options: u8,
        opcode: u8,
        action: u16,
        allocation: usize,
    },
    ReportSupportedTaskManagement {
        extended: bool,
        allocation: usize,
    },
    Sanitize {
        action: u8,
        immediate: bool,
        length: usize,
    },
    ExtendedCopy {
        length: usize,
    },
    ReceiveCopyStatus {
        list: u8,
        allocation: usize,
    },
    ReceiveCopyParameters {
        allocation: usize,
    },
    SendDiagnostic {
        self_test: bool,
        code: u8,
        length: usize,
    },
}
