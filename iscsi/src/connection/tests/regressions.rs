//! Mistakes that other iSCSI targets in Rust make, a test each, under the name of the project that made it: what is
//! easy to get wrong once is easy to get wrong again.

use super::pair::{INITIATOR, OPEN_ISCSI, Pair, TARGET, pattern, text};
use crate::event::Event;
use crate::names::{ConnectionId, Isid, TargetTransferTag, Tsih};
use crate::serial::SerialNumber;
use crate::wire::*;

fn security(pair: &mut Pair) -> (LoginResponse, String) {
    let keys = [
        ("InitiatorName", INITIATOR),
        ("TargetName", TARGET),
        ("SessionType", "Normal"),
        ("AuthMethod", "None"),
    ];
    let request = LoginRequest {
        transit: true,
        current_stage: Stage::SecurityNegotiation,
        next_stage: Stage::LoginOperationalNegotiation,
        isid: Isid([0x80, 0x12, 0x34, 0x56, 0x78, 0x9a]),
        connection_id: ConnectionId(7),
        exp_stat_sn: SerialNumber(0xffff_fffe),
        ..pair.login_request()
    };
    pair.send(request.emit(), &text(&keys));
    pair.answer_login();
    pair.login_response()
}

fn operational(pair: &mut Pair) -> (LoginResponse, String) {
    let request = LoginRequest {
        transit: true,
        current_stage: Stage::LoginOperationalNegotiation,
        next_stage: Stage::FullFeaturePhase,
        isid: Isid([0x80, 0x12, 0x34, 0x56, 0x78, 0x9a]),
        connection_id: ConnectionId(7),
        exp_stat_sn: SerialNumber(0xffff_ffff),
        ..pair.login_request()
    };
    pair.send(request.emit(), &text(&[("MaxRecvDataSegmentLength", "8192")]));
    pair.answer_login();
    pair.login_response()
}

/// iscsi-crate: ISID and TSIH are zeros in every login response (§11.13.2, §11.13.3).
#[test]
fn the_isid_is_repeated_and_the_tsih_is_told_in_the_last_response() {
    let mut pair = Pair::new();
    let (first, _) = security(&mut pair);
    assert_eq!((first.isid, first.tsih), (Isid([0x80, 0x12, 0x34, 0x56, 0x78, 0x9a]), Tsih(0)));
    let (last, _) = operational(&mut pair);
    assert_eq!((last.isid, last.tsih), (Isid([0x80, 0x12, 0x34, 0x56, 0x78, 0x9a]), Tsih(7)));
}

/// iscsi-crate: after AuthMethod=None the T bit is not looked at, and the initiator waits for ever (§6.3.1).
#[test]
fn the_t_bit_counts_after_authmethod_none() {
    let mut pair = Pair::new();
    let (first, answer) = security(&mut pair);
    assert!(answer.contains("AuthMethod=None\0"));
    assert_eq!((first.transit, first.next_stage), (true, Stage::LoginOperationalNegotiation));
    let (last, _) = operational(&mut pair);
    assert_eq!((last.transit, last.next_stage), (true, Stage::FullFeaturePhase));
    assert!(pair.target.is_full_feature());
}

/// iscsi-crate: the first response after the login has the StatSN of the last one of the login (§4.2.2.2).
#[test]
fn status_numbers_go_on_after_the_login_across_the_wrap() {
    let mut pair = Pair::new();
    let (first, _) = security(&mut pair);
    assert_eq!(first.sequence.stat_sn, SerialNumber(0xffff_fffe), "as the initiator expects");
    let (last, _) = operational(&mut pair);
    assert_eq!(last.sequence.stat_sn, SerialNumber(0xffff_ffff));
    assert!(matches!(pair.event(), Some(Event::SessionEstablished(_))));
    pair.cmd_sn = last.sequence.exp_cmd_sn;
    for expected in [0, 1] {
        let command = pair.command(false, false, 0);
        pair.send(command.emit(), &[]);
        let task = pair.expect_command().task;
        pair.complete_good(task, 0);
        let response = ScsiResponsePdu::parse(&pair.receive().unwrap().bhs);
        assert_eq!(response.sequence.stat_sn, SerialNumber(expected));
    }
}

/// iscsi-crate: every Data-Out without F bit is answered with another R2T (§11.8).
#[test]
fn there_is_one_r2t_for_a_burst_however_many_pdus_it_comes_in() {
    let mut pair =
        Pair::established(&[("InitialR2T", "Yes"), ("ImmediateData", "No"), ("MaxBurstLength", "8192")]);
    let command = pair.command(false, true, 8192);
    pair.send(command.emit(), &[]);
    let [r2t] = pair.receive_all().try_into().unwrap();
    let r2t = ReadyToTransfer::parse(&r2t.bhs);
    assert_eq!((r2t.r2t_sn, r2t.buffer_offset, r2t.desired_bytes), (0, 0, 8192));
    let data = pattern(8192);
    for sn in 0..16 {
        let at = 512 * sn as usize;
        let bhs = pair.data_out(r2t.initiator_task_tag, r2t.target_transfer_tag, sn, 512 * sn, sn == 15);
        assert!(pair.receive().is_none(), "nothing is asked for while data comes");
        pair.send(bhs, &data[at..at + 512]);
    }
    assert!(pair.receive().is_none());
    assert_eq!(pair.expect_command().data_out.to_bytes(), data);
}

/// DLS: WRITE is answered with GOOD, and nothing is written. The machine answers nothing by itself: not before the
/// driver has had all of the data, and has said how it went.
#[test]
fn a_write_is_answered_when_the_driver_has_written_it() {
    for keys in [OPEN_ISCSI, &[("InitialR2T", "Yes"), ("ImmediateData", "No")]] {
        let mut pair = Pair::established(keys);
        let data = pattern(4096);
        let command = pair.command(false, true, 4096);
        let immediate = if pair.target.parameters().immediate_data { 4096 } else { 0 };
        pair.send(command.emit(), &data[..immediate]);
        if let Some(pdu) = pair.receive() {
            let r2t = ReadyToTransfer::parse(&pdu.bhs);
            let bhs = pair.data_out(r2t.initiator_task_tag, r2t.target_transfer_tag, 0, 0, true);
            pair.send(bhs, &data);
        }
        let command = pair.expect_command();
        assert_eq!(command.data_out.to_bytes(), data, "the driver has it all");
        assert!(pair.receive().is_none(), "and no answer is on its way");
        pair.complete_good(command.task, 4096);
        assert_eq!(ScsiResponsePdu::parse(&pair.receive().unwrap().bhs).status, 0);
    }
}

/// iscsi-crate: one lock around the device, so that a stalled command stalls pings (COMPAT P3). The machine holds
/// nothing while the driver works: pings, further commands and task management are answered.
#[test]
fn a_command_that_the_driver_has_delays_nothing_else() {
    let mut pair = Pair::established(OPEN_ISCSI);
    pair.send_read(4096);
    let stalled = pair.expect_command();
    let tag = pair.send_read(512);
    let next = pair.expect_command();
    pair.complete_read(next.task, pattern(512));
    assert_eq!(DataIn::parse(&pair.receive().unwrap().bhs).initiator_task_tag, tag);
    let ping = NopOut {
        immediate: true,
        lun: crate::names::LogicalUnitNumber::ZERO,
        initiator_task_tag: pair.tag(),
        target_transfer_tag: TargetTransferTag::RESERVED,
        cmd_sn: pair.cmd_sn,
        exp_stat_sn: pair.exp_stat_sn.unwrap(),
    };
    pair.send(ping.emit(), b"?");
    assert_eq!(Opcode::of(&pair.receive().unwrap().bhs), Opcode::NopIn);
    pair.complete_read(stalled.task, pattern(4096));
    assert_eq!(Opcode::of(&pair.receive().unwrap().bhs), Opcode::DataIn);
}

/// COMPAT P9, of tgt: R2Ts without ExpCmdSN and MaxCmdSN, and a Data-In with status whose offset is zero.
#[test]
fn every_pdu_has_the_numbers_and_the_offset_that_it_should() {
    let mut pair = Pair::established(&[("InitialR2T", "Yes"), ("ImmediateData", "No")]);
    let command = pair.command(false, true, 4096);
    pair.send(command.emit(), &[]);
    let sequence = ReadyToTransfer::parse(&pair.receive().unwrap().bhs).sequence;
    assert_eq!(sequence.exp_cmd_sn, command.cmd_sn.next());
    assert!(sequence.max_cmd_sn.is_after(command.cmd_sn));
    pair.send_read(8192 + 512);
    let read = pair.expect_command();
    pair.complete_read(read.task, pattern(8192 + 512));
    let last = DataIn::parse(&pair.receive_all().last().unwrap().bhs);
    assert_eq!((last.status, last.buffer_offset, last.is_final), (Some(0), 8192, true));
}

/// COMPAT P6, of SPDK: a large write with immediate data is told to have been short.
#[test]
fn a_write_with_immediate_data_has_no_residual() {
    let mut pair =
        Pair::established(&[("FirstBurstLength", "512"), ("InitialR2T", "Yes"), ("MaxBurstLength", "4096")]);
    let data = pattern(8192);
    let command = pair.command(false, true, 8192);
    pair.send(command.emit(), &data[..512]);
    while let Some(pdu) = pair.receive() {
        let r2t = ReadyToTransfer::parse(&pdu.bhs);
        let (begin, end) = (r2t.buffer_offset as usize, (r2t.buffer_offset + r2t.desired_bytes) as usize);
        let bhs = pair.data_out(r2t.initiator_task_tag, r2t.target_transfer_tag, 0, r2t.buffer_offset, true);
        pair.send(bhs, &data[begin..end]);
    }
    let command = pair.expect_command();
    assert_eq!(command.data_out.to_bytes(), data);
    pair.complete_good(command.task, 8192);
    assert_eq!(ScsiResponsePdu::parse(&pair.receive().unwrap().bhs).residual, Residual::Exact);
}

/// COMPAT L11, of SPDK: Windows ends its discovery sessions with a logout whose reason byte is 80h, bit 7 being the F bit
/// that is always set (§11.14.1); read as a reason of eight bits it was none that there is.
#[test]
fn windows_ends_a_discovery_session() {
    let mut pair = Pair::new();
    let keys = [("InitiatorName", INITIATOR), ("SessionType", "Discovery")];
    assert!(pair.log_in_once(&keys).0.transit);
    assert!(matches!(pair.event(), Some(Event::SessionEstablished(_))));
    let mut logout: Bhs = [0; 48];
    // Opcode with I bit; F bit and reason; tag; CID is reserved; CmdSN; ExpStatSN.
    logout[..2].copy_from_slice(&[0x46, 0x80]);
    logout[16..20].copy_from_slice(&[0, 0, 0, 0x42]);
    logout[24..28].copy_from_slice(&[0, 0, 0, 1]);
    logout[28..32].copy_from_slice(&[0, 0, 0, 1]);
    pair.send(logout, &[]);
    let pdu = pair.receive().unwrap();
    assert_eq!(Opcode::of(&pdu.bhs), Opcode::LogoutResponse);
    assert_eq!(LogoutResponse::parse(&pdu.bhs).response, 0);
    assert!(matches!(pair.event(), Some(Event::Logout(crate::LogoutRequested::Session))));
}

/// ESXi repeats ABORT TASK for a command that was answered meanwhile, each time under another tag: every one is told
/// that there is no such task, and the session goes on.
#[test]
fn esxi_aborts_what_is_over_again_and_again() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let referenced = pair.send_read(512);
    let read = pair.expect_command();
    pair.complete_read(read.task, pattern(512));
    assert!(pair.receive().is_some());
    for _ in 0..100 {
        let request = TaskManagementRequestPdu {
            immediate: true,
            function: 1,
            lun: crate::names::LogicalUnitNumber::ZERO,
            initiator_task_tag: pair.tag(),
            referenced_task_tag: referenced,
            cmd_sn: pair.cmd_sn,
            exp_stat_sn: pair.exp_stat_sn.unwrap(),
            ref_cmd_sn: pair.cmd_sn.sub(1),
            exp_data_sn: 0,
        };
        pair.send(request.emit(), &[]);
        let Some(Event::TaskManagement(asked)) = pair.event() else { panic!("no task management") };
        pair.target.complete_task_management(asked.id, asked.proposed);
        let response = TaskManagementResponsePdu::parse(&pair.receive().unwrap().bhs);
        assert_eq!((response.response, response.initiator_task_tag), (1, request.initiator_task_tag));
    }
    pair.send_read(512);
    pair.expect_command();
}
