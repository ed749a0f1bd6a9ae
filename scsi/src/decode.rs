//! From CDB to typed command: one function for each row of the table; each reads its own layout.

use crate::cdb::Cdb;
use crate::command::{ByteCheck, Command, PageControl, Transfer};
use crate::log::LogSense;
use crate::mode::ModeSelect;

fn page_control(bits: u8) -> PageControl {
    match bits & 3 {
        0 => PageControl::Current,
        1 => PageControl::Changeable,
        2 => PageControl::Default,
        _ => PageControl::Saved,
    }
}

fn byte_check(bits: u8) -> ByteCheck {
    match bits & 3 {
        0 => ByteCheck::MediumOnly,
        1 => ByteCheck::DataOut,
        2 => ByteCheck::Reserved,
        _ => ByteCheck::OneBlock,
    }
}

/// READ(6) and WRITE(6): 21 bits of LBA, and a length of zero means 256 (SBC-3).
fn transfer6(cdb: &Cdb) -> Transfer {
    let lba = u64::from(cdb.u32(0) & 0x001F_FFFF);
    let blocks = match cdb.u8(4) {
        0 => 256,
        n => u32::from(n),
    };
    Transfer { lba, blocks, fua: false }
}

fn transfer10(cdb: &Cdb) -> Transfer {
    Transfer { lba: u64::from(cdb.u32(2)), blocks: u32::from(cdb.u16(7)), fua: cdb.bit(1, 0x08) }
}

fn transfer12(cdb: &Cdb) -> Transfer {
    Transfer { lba: u64::from(cdb.u32(2)), blocks: cdb.u32(6), fua: cdb.bit(1, 0x08) }
}

fn transfer16(cdb: &Cdb) -> Transfer {
    Transfer { lba: cdb.u64(2), blocks: cdb.u32(10), fua: cdb.bit(1, 0x08) }
}

pub(crate) fn test_unit_ready(_: &Cdb) -> Command {
    Command::TestUnitReady
}
pub(crate) fn request_sense(cdb: &Cdb) -> Command {
    Command::RequestSense { descriptor: cdb.bit(1, 0x01), allocation: cdb.u8(4).into() }
}
pub(crate) fn inquiry(cdb: &Cdb) -> Command {
    Command::Inquiry { evpd: cdb.bit(1, 0x01), page: cdb.u8(2), allocation: cdb.u16(3).into() }
}
pub(crate) fn report_luns(cdb: &Cdb) -> Command {
    Command::ReportLuns { select: cdb.u8(2), allocation: cdb.len32(6) }
}
pub(crate) fn read_capacity10(cdb: &Cdb) -> Command {
    Command::ReadCapacity10 { lba: cdb.u32(2), pmi: cdb.bit(8, 0x01) }
}
pub(crate) fn read_capacity16(cdb: &Cdb) -> Command {
    Command::ReadCapacity16 { allocation: cdb.len32(10) }
}
pub(crate) fn mode_sense6(cdb: &Cdb) -> Command {
    mode_sense(cdb, false, cdb.u8(4).into())
}
pub(crate) fn mode_sense10(cdb: &Cdb) -> Command {
    mode_sense(cdb, true, cdb.u16(7).into())
}
fn mode_sense(cdb: &Cdb, ten: bool, allocation: usize) -> Command {
    Command::ModeSense {
        ten,
        disable_descriptors: cdb.bit(1, 0x08),
        long_lba: ten && cdb.bit(1, 0x10),
        control: page_control(cdb.u8(2) >> 6),
        page: cdb.u8(2) & 0x3F,
        subpage: cdb.u8(3),
        allocation,
    }
}
pub(crate) fn mode_select6(cdb: &Cdb) -> Command {
    mode_select(cdb, false, cdb.u8(4).into())
}
pub(crate) fn mode_select10(cdb: &Cdb) -> Command {
    mode_select(cdb, true, cdb.u16(7).into())
}
fn mode_select(cdb: &Cdb, ten: bool, length: usize) -> Command {
    Command::ModeSelect(ModeSelect { ten, page_format: cdb.bit(1, 0x10), save: cdb.bit(1, 0x01), length })
}
pub(crate) fn log_sense(cdb: &Cdb) -> Command {
    Command::LogSense(LogSense {
        page: cdb.u8(2) & 0x3F,
        subpage: cdb.u8(3),
        parameter: cdb.u16(5),
        allocation: cdb.u16(7).into(),
    })
}
pub(crate) fn read6(cdb: &Cdb) -> Command {
    Command::Read(transfer6(cdb))
}
pub(crate) fn read10(cdb: &Cdb) -> Command {
    Command::Read(transfer10(cdb))
}
pub(crate) fn read12(cdb: &Cdb) -> Command {
    Command::Read(transfer12(cdb))
}
pub(crate) fn read16(cdb: &Cdb) -> Command {
    Command::Read(transfer16(cdb))
}
pub(crate) fn write6(cdb: &Cdb) -> Command {
    Command::Write(transfer6(cdb))
}
pub(crate) fn write10(cdb: &Cdb) -> Command {
    Command::Write(transfer10(cdb))
}
pub(crate) fn write12(cdb: &Cdb) -> Command {
    Command::Write(transfer12(cdb))
}
pub(crate) fn write16(cdb: &Cdb) -> Command {
    Command::Write(transfer16(cdb))
}
pub(crate) fn write_atomic16(cdb: &Cdb) -> Command {
    Command::WriteAtomic(Transfer { blocks: cdb.u16(12).into(), ..transfer16(cdb) })
}
pub(crate) fn orwrite16(cdb: &Cdb) -> Command {
    Command::OrWrite(transfer16(cdb))
}
pub(crate) fn write_and_verify10(cdb: &Cdb) -> Command {
    write_and_verify(cdb, transfer10(cdb))
}
pub(crate) fn write_and_verify12(cdb: &Cdb) -> Command {
    write_and_verify(cdb, transfer12(cdb))
}
pub(crate) fn write_and_verify16(cdb: &Cdb) -> Command {
    write_and_verify(cdb, transfer16(cdb))
}
fn write_and_verify(cdb: &Cdb, transfer: Transfer) -> Command {
    Command::WriteAndVerify {
        transfer: Transfer { fua: true, ..transfer },
        check: byte_check(cdb.u8(1) >> 1),
    }
}
pub(crate) fn verify10(cdb: &Cdb) -> Command {
    verify(cdb, transfer10(cdb))
}
pub(crate) fn verify12(cdb: &Cdb) -> Command {
    verify(cdb, transfer12(cdb))
}
pub(crate) fn verify16(cdb: &Cdb) -> Command {
    verify(cdb, transfer16(cdb))
}
fn verify(cdb: &Cdb, Transfer { lba, blocks, .. }: Transfer) -> Command {
    Command::Verify { lba, blocks, check: byte_check(cdb.u8(1) >> 1) }
}
pub(crate) fn compare_and_write(cdb: &Cdb) -> Command {
    Command::CompareAndWrite(Transfer { blocks: cdb.u8(13).into(), ..transfer16(cdb) })
}
pub(crate) fn write_same10(cdb: &Cdb) -> Command {
    let Transfer { lba, blocks, .. } = transfer10(cdb);
    let (anchor, unmap) = (cdb.bit(1, 0x10), cdb.bit(1, 0x08));
    Command::WriteSame { lba, blocks, unmap, anchor, no_data: false }
}
pub(crate) fn write_same16(cdb: &Cdb) -> Command {
    let Transfer { lba, blocks, .. } = transfer16(cdb);
    let (anchor, unmap, no_data) = (cdb.bit(1, 0x10), cdb.bit(1, 0x08), cdb.bit(1, 0x01));
    Command::WriteSame { lba, blocks, unmap, anchor, no_data }
}
pub(crate) fn unmap(cdb: &Cdb) -> Command {
    Command::Unmap { anchor: cdb.bit(1, 0x01), length: cdb.u16(7).into() }
}
pub(crate) fn get_lba_status(cdb: &Cdb) -> Command {
    Command::GetLbaStatus { lba: cdb.u64(2), allocation: cdb.len32(10) }
}
pub(crate) fn synchronize_cache10(cdb: &Cdb) -> Command {
    let Transfer { lba, blocks, .. } = transfer10(cdb);
    Command::SynchronizeCache { lba, blocks, immediate: cdb.bit(1, 0x02) }
}
pub(crate) fn synchronize_cache16(cdb: &Cdb) -> Command {
    let Transfer { lba, blocks, .. } = transfer16(cdb);
    Command::SynchronizeCache { lba, blocks, immediate: cdb.bit(1, 0x02) }
}
pub(crate) fn prefetch10(cdb: &Cdb) -> Command {
    let Transfer { lba, blocks, .. } = transfer10(cdb);
    Command::Prefetch { lba, blocks, immediate: cdb.bit(1, 0x02) }
}
pub(crate) fn prefetch16(cdb: &Cdb) -> Command {
    let Transfer { lba, blocks, .. } = transfer16(cdb);
    Command::Prefetch { lba, blocks, immediate: cdb.bit(1, 0x02) }
}
pub(crate) fn read_defect_data10(cdb: &Cdb) -> Command {
    Command::ReadDefectData10 { lists: cdb.u8(2), allocation: cdb.u16(7).into() }
}
pub(crate) fn read_defect_data12(cdb: &Cdb) -> Command {
    Command::ReadDefectData12 { lists: cdb.u8(1), allocation: cdb.len32(6) }
}
pub(crate) fn start_stop_unit(cdb: &Cdb) -> Command {
    Command::StartStopUnit {
        start: cdb.bit(4, 0x01),
        load_eject: cdb.bit(4, 0x02),
        power_condition: cdb.u8(4) >> 4,
        immediate: cdb.bit(1, 0x01),
    }
}
pub(crate) fn prevent_allow(cdb: &Cdb) -> Command {
    Command::PreventAllow { prevent: cdb.u8(4) & 3 }
}
pub(crate) fn reserve(cdb: &Cdb) -> Command {
    Command::Reserve { third_party_or_extent: cdb.bit(1, 0x1F) }
}
pub(crate) fn release(cdb: &Cdb) -> Command {
    Command::Release { third_party_or_extent: cdb.bit(1, 0x1F) }
}
pub(crate) fn persistent_reserve_in(cdb: &Cdb) -> Command {
    Command::PersistentReserveIn { action: cdb.service_action(), allocation: cdb.u16(7).into() }
}
pub(crate) fn persistent_reserve_out(cdb: &Cdb) -> Command {
    Command::PersistentReserveOut {
        action: cdb.service_action(),
        scope: cdb.u8(2) >> 4,
        kind: cdb.u8(2) & 0x0F,
        length: cdb.len32(5),
    }
}
pub(crate) fn report_target_port_groups(cdb: &Cdb) -> Command {
    Command::ReportTargetPortGroups { extended: cdb.u8(1) >> 5 == 1, allocation: cdb.len32(6) }
}
pub(crate) fn set_target_port_groups(cdb: &Cdb) -> Command {
    Command::SetTargetPortGroups { length: cdb.len32(6) }
}
pub(crate) fn report_supported_opcodes(cdb: &Cdb) -> Command {
    Command::ReportSupportedOpcodes {
        timeouts: cdb.bit(2, 0x80),
        options: cdb.u8(2) & 7,
        opcode: cdb.u8(3),
        action: cdb.u16(4),
        allocation: cdb.len32(6),
    }
}
pub(crate) fn report_supported_task_management(cdb: &Cdb) -> Command {
    Command::ReportSupportedTaskManagement { extended: cdb.bit(2, 0x80), allocation: cdb.len32(6) }
}
pub(crate) fn sanitize(cdb: &Cdb) -> Command {
    Command::Sanitize { action: cdb.service_action(), immediate: cdb.bit(1, 0x80), length: cdb.u16(7).into() }
}
pub(crate) fn extended_copy(cdb: &Cdb) -> Command {
    Command::ExtendedCopy { length: cdb.len32(10) }
}
pub(crate) fn receive_copy_status(cdb: &Cdb) -> Command {
    Command::ReceiveCopyStatus { list: cdb.u8(2), allocation: cdb.len32(10) }
}
pub(crate) fn receive_copy_parameters(cdb: &Cdb) -> Command {
    Command::ReceiveCopyParameters { allocation: cdb.len32(10) }
}
pub(crate) fn send_diagnostic(cdb: &Cdb) -> Command {
    Command::SendDiagnostic { self_test: cdb.bit(1, 0x04), code: cdb.u8(1) >> 5, length: cdb.u16(3).into() }
}
