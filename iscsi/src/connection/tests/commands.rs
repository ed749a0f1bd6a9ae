//! Commands and their responses: Data-In, status, residuals, the command window.

use super::pair::{OPEN_ISCSI, Pair, pattern};
use crate::event::{Event, ScsiResponse};
use crate::names::{InitiatorTaskTag, LogicalUnitNumber, TargetTransferTag};
use crate::wire::*;
use bytes::Bytes;

#[test]
fn a_read_ends_in_one_pdu_with_data_and_status() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let tag = pair.send_read(4096);
    let command = pair.expect_command();
    assert!(command.reads && !command.writes && command.data_out.is_empty());
    assert_eq!(command.cdb.head()[0], 0x28);
    pair.complete_read(command.task, pattern(4096));
    let pdu = pair.receive().unwrap();
    let data_in = DataIn::parse(&pdu.bhs);
    assert_eq!(data_in.initiator_task_tag, tag);
    assert_eq!((data_in.status, data_in.is_final, data_in.residual), (Some(0), true, Residual::Exact));
    assert_eq!(pdu.data, pattern(4096));
    assert!(pair.receive().is_none());
    assert_eq!(pair.target.tasks_open(), 0);
}

/// COMPAT P10: longer than MaxBurstLength means several sequences, not a refusal.
#[test]
fn a_long_read_is_cut_into_pdus_and_sequences() {
    let keys = [("MaxRecvDataSegmentLength", "8192"), ("MaxBurstLength", "65536")];
    let mut pair = Pair::established(&keys);
    pair.send_read(1 << 20);
    let command = pair.expect_command();
    // In pieces that fit nothing.
    let data = pattern(1 << 20);
    let pieces = (0..1 << 20).step_by(10_000).map(|at| data.slice(at..(at + 10_000).min(1 << 20)));
    pair.complete_read(command.task, pieces.collect::<crate::Payload>());
    let pdus = pair.receive_all();
    assert_eq!(pdus.len(), 128);
    let mut joined = Vec::new();
    for (at, pdu) in pdus.iter().enumerate() {
        let data_in = DataIn::parse(&pdu.bhs);
        assert_eq!(data_in.buffer_offset as usize, joined.len());
        assert_eq!(data_in.data_sn as usize, at);
        assert_eq!(data_in.is_final, at % 8 == 7);
        assert_eq!(data_in.status.is_some(), at == 127);
        joined.extend_from_slice(&pdu.data);
    }
    assert_eq!(joined, data);
}

#[test]
fn short_data_comes_with_a_separate_status_and_underflow() {
    let mut pair = Pair::established(OPEN_ISCSI);
    pair.send_read(255);
    let command = pair.expect_command();
    pair.complete_read(command.task, pattern(37));
    let [data_in, response] = pair.receive_all().try_into().unwrap();
    assert_eq!(DataIn::parse(&data_in.bhs).status, None);
    assert!(DataIn::parse(&data_in.bhs).is_final);
    assert_eq!(data_in.data.len(), 37);
    let response = ScsiResponsePdu::parse(&response.bhs);
    assert_eq!((response.status, response.residual, response.exp_data_sn), (0, Residual::Underflow(218), 1));
}

#[test]
fn data_beyond_what_is_expected_is_cut_with_overflow() {
    let mut pair = Pair::established(OPEN_ISCSI);
    pair.send_read(512);
    let command = pair.expect_command();
    pair.complete_read(command.task, pattern(4096));
    let [data_in, response] = pair.receive_all().try_into().unwrap();
    assert_eq!(data_in.data, pattern(512));
    assert_eq!(ScsiResponsePdu::parse(&response.bhs).residual, Residual::Overflow(3584));
}

#[test]
fn sense_data_travels_with_its_length() {
    let mut pair = Pair::established(OPEN_ISCSI);
    pair.send_read(512);
    let command = pair.expect_command();
    let sense = pattern(18);
    let response = ScsiResponse { status: 2, sense: sense.clone(), ..ScsiResponse::default() };
    pair.target.complete_task(command.task, response);
    let [pdu] = pair.receive_all().try_into().unwrap();
    let response = ScsiResponsePdu::parse(&pdu.bhs);
    assert_eq!((response.status, response.residual), (2, Residual::Underflow(512)));
    assert_eq!(pdu.data[..2], [0, 18]);
    assert_eq!(pdu.data[2..], sense);
}

#[test]
fn a_command_without_data_gets_a_plain_response() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let command = pair.command(false, false, 0);
    pair.send(command.emit(), &[]);
    let command = pair.expect_command();
    pair.complete_good(command.task, 0);
    let [pdu] = pair.receive_all().try_into().unwrap();
    assert_eq!(ScsiResponsePdu::parse(&pdu.bhs).residual, Residual::Exact);
    assert!(pdu.data.is_empty());
}

#[test]
fn commands_out_of_the_window_are_ignored() {
    let mut pair = Pair::established(OPEN_ISCSI);
    for shift in [-1i32, 128, 1000, i32::MIN] {
        let mut command = pair.command(true, false, 512);
        pair.cmd_sn = command.cmd_sn;
        command.cmd_sn.0 = command.cmd_sn.0.wrapping_add_signed(shift);
        pair.send(command.emit(), &[]);
        pair.no_event();
        assert!(pair.receive().is_none());
    }
    pair.send_read(512);
    pair.expect_command();
}

#[test]
fn a_command_ahead_of_its_turn_waits_for_the_one_before_it() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let first = pair.command(true, false, 512);
    let second = pair.command(true, false, 1024);
    let third = pair.command(true, false, 2048);
    pair.send(third.emit(), &[]);
    pair.send(second.emit(), &[]);
    pair.send(second.emit(), &[]);
    pair.no_event();
    pair.send(first.emit(), &[]);
    let order: Vec<u32> = (0..3).map(|_| pair.expect_command().expected_data_transfer_bytes).collect();
    assert_eq!(order, [512, 1024, 2048]);
    pair.no_event();
}

#[test]
fn the_window_closes_when_it_is_full_and_opens_with_a_response() {
    let mut pair = Pair::established(OPEN_ISCSI);
    for _ in 0..128 {
        pair.send_read(512);
    }
    pair.send_read(512);
    let commands: Vec<_> = (0..128).map(|_| pair.expect_command()).collect();
    pair.no_event();
    pair.complete_read(commands[5].task, vec![0; 512]);
    pair.receive().unwrap();
    assert_eq!(pair.max_cmd_sn, pair.exp_cmd_sn, "room for one");
    for command in commands {
        pair.complete_read(command.task, vec![0; 512]);
    }
    assert_eq!(pair.receive_all().len(), 127);
    assert_eq!(pair.max_cmd_sn, pair.exp_cmd_sn.add(127));
}

#[test]
fn completions_may_come_in_any_order() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let tags: Vec<_> = (0..4).map(|_| pair.send_read(512)).collect();
    let commands: Vec<_> = (0..4).map(|_| pair.expect_command()).collect();
    for at in [2, 0, 3, 1] {
        pair.complete_read(commands[at].task, vec![0; 512]);
        assert_eq!(DataIn::parse(&pair.receive().unwrap().bhs).initiator_task_tag, tags[at]);
    }
}

#[test]
fn a_tag_in_use_is_rejected() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let tag = pair.send_read(512);
    let mut again = pair.command(true, false, 512);
    again.initiator_task_tag = tag;
    pair.send(again.emit(), &[]);
    let pdu = pair.receive().unwrap();
    assert_eq!(Reject::parse(&pdu.bhs).reason, RejectReason::TaskInProgress.code());
    assert_eq!(pdu.data[..], again.emit());
    pair.expect_command();
    pair.no_event();
}

#[test]
fn immediate_commands_go_past_the_window_up_to_their_own_limit() {
    let mut pair = Pair::established(OPEN_ISCSI);
    for _ in 0..=crate::limits::IMMEDIATE_TASKS_MAX {
        let mut command = pair.command(true, false, 512);
        pair.cmd_sn = command.cmd_sn;
        command.immediate = true;
        pair.send(command.emit(), &[]);
    }
    let [reject] = pair.receive_all().try_into().unwrap();
    assert_eq!(Reject::parse(&reject.bhs).reason, RejectReason::TooManyImmediateCommands.code());
}

#[test]
fn commands_wait_while_the_transmit_queue_is_full() {
    let mut pair = Pair::established(OPEN_ISCSI);
    for _ in 0..100 {
        pair.send_read(1 << 20);
    }
    let mut handed_out = 0;
    while let Some(Event::Command(command)) = pair.event() {
        handed_out += 1;
        pair.complete_read(command.task, vec![0; 1 << 20]);
    }
    assert_eq!(handed_out, 4);
    assert!(!pair.target.wants_read());
    assert!(pair.target.transmit_bytes() < 6 << 20);
    pair.receive_all();
    assert!(pair.target.wants_read());
    pair.expect_command();
}

#[test]
fn an_extended_cdb_is_handed_over_whole() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let command = pair.command(true, false, 512);
    let mut frame = command.emit().to_vec();
    frame[4] = 5;
    frame.extend([0, 17, 1, 0]);
    frame.extend(16..32);
    pair.deliver(&frame);
    let command = pair.expect_command();
    assert_eq!(command.cdb.bytes().len(), 32);
    assert_eq!(command.cdb.tail()[..], (16..32).collect::<Vec<u8>>());
}

#[test]
fn digests_on_every_pdu() {
    for (header, data) in [("CRC32C", "None"), ("None", "CRC32C"), ("CRC32C,None", "CRC32C,None")] {
        for step in [1, 13, usize::MAX] {
            let keys = [OPEN_ISCSI, &[]].concat();
            let keys: Vec<_> = keys
                .into_iter()
                .map(|(key, value)| match key {
                    "HeaderDigest" => (key, header),
                    "DataDigest" => (key, data),
                    _ => (key, value),
                })
                .collect();
            let mut pair = Pair::established(&keys);
            pair.step = step;
            assert_eq!(pair.header_digest, header != "None");
            let command = pair.command(false, true, 1001);
            pair.send(command.emit(), &pattern(1001));
            let command = pair.expect_command();
            assert_eq!(command.data_out.to_bytes(), pattern(1001));
            pair.complete_good(command.task, 1001);
            pair.receive().unwrap();
            pair.send_read(1001);
            let command = pair.expect_command();
            pair.complete_read(command.task, pattern(1001));
            assert_eq!(pair.receive().unwrap().data, pattern(1001));
        }
    }
}

#[test]
fn a_ping_is_answered_with_its_data_while_every_task_is_stalled() {
    let mut pair = Pair::established(OPEN_ISCSI);
    for _ in 0..128 {
        pair.send_read(512);
    }
    while pair.event().is_some() {}
    let ping = NopOut {
        immediate: true,
        lun: LogicalUnitNumber::ZERO,
        initiator_task_tag: InitiatorTaskTag(0x8000),
        target_transfer_tag: TargetTransferTag::RESERVED,
        cmd_sn: pair.cmd_sn,
        exp_stat_sn: pair.exp_stat_sn.unwrap(),
    };
    pair.send(ping.emit(), b"are you there?");
    let pdu = pair.receive().unwrap();
    assert_eq!(NopIn::parse(&pdu.bhs).initiator_task_tag, InitiatorTaskTag(0x8000));
    assert_eq!(pdu.data, Bytes::from_static(b"are you there?"));
}

#[test]
fn unknown_and_misplaced_opcodes_are_rejected() {
    for (code, reason) in [
        (0x10, RejectReason::SnackReject),
        (0x03, RejectReason::ProtocolError),
        (0x1f, RejectReason::CommandNotSupported),
        (0x25, RejectReason::CommandNotSupported),
    ] {
        let mut pair = Pair::established(OPEN_ISCSI);
        let mut bhs = [0; 48];
        bhs[0] = code;
        pair.send(bhs, &[]);
        let pdu = pair.receive().unwrap();
        assert_eq!(Opcode::of(&pdu.bhs), Opcode::Reject);
        assert_eq!(Reject::parse(&pdu.bhs).reason, reason.code());
        assert!(pair.target.is_full_feature());
    }
}
