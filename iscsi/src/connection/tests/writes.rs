//! Write data in every way that it may come (RFC 7143 §4.2.5).

use super::pair::{OPEN_ISCSI, Pair, pattern};
use crate::config::ConnectionConfig;
use crate::limits::WRITE_BYTES_MAX;
use crate::names::{InitiatorTaskTag, TargetTransferTag};
use crate::wire::*;
use bytes::Bytes;

fn expect_r2t(pair: &mut Pair) -> ReadyToTransfer {
    let pdu = pair.receive().expect("an R2T");
    assert_eq!(Opcode::of(&pdu.bhs), Opcode::ReadyToTransfer);
    ReadyToTransfer::parse(&pdu.bhs)
}

/// Answers an R2T with PDUs of `segment` bytes.
fn answer_r2t(pair: &mut Pair, r2t: &ReadyToTransfer, data: &Bytes, segment: usize) {
    let (begin, end) = (r2t.buffer_offset as usize, (r2t.buffer_offset + r2t.desired_bytes) as usize);
    for (sn, offset) in (0..).zip((begin..end).step_by(segment)) {
        let stop = (offset + segment).min(end);
        let offset_field = u32::try_from(offset).unwrap();
        let bhs =
            pair.data_out(r2t.initiator_task_tag, r2t.target_transfer_tag, sn, offset_field, stop == end);
        pair.send(bhs, &data[offset..stop]);
    }
}

fn sense_code(pdu: &Pdu) -> [u8; 3] {
    assert_eq!(Opcode::of(&pdu.bhs), Opcode::ScsiResponse);
    assert_eq!(ScsiResponsePdu::parse(&pdu.bhs).status, 2);
    [pdu.data[2 + 2], pdu.data[2 + 12], pdu.data[2 + 13]]
}

/// Writes `bytes` as an initiator would under what was agreed, and checks that the driver gets them.
fn write_as_agreed(pair: &mut Pair, bytes: usize, segment: usize) {
    let data = pattern(bytes);
    let agreed = pair.target.parameters().clone();
    let unsolicited = (agreed.unsolicited_bytes_max() as usize).min(bytes);
    let segment = segment.min(agreed.receive_segment_bytes_max as usize);
    let immediate = if agreed.immediate_data { unsolicited.min(segment) } else { 0 };
    let unsolicited = if agreed.initial_r2t { immediate } else { unsolicited };
    let mut command = pair.command(false, true, u32::try_from(bytes).unwrap());
    command.is_final = immediate == unsolicited;
    pair.send(command.emit(), &data[..immediate]);
    let tag = command.initiator_task_tag;
    for (sn, offset) in (0..).zip((immediate..unsolicited).step_by(segment)) {
        let stop = (offset + segment).min(unsolicited);
        let offset_field = u32::try_from(offset).unwrap();
        let bhs = pair.data_out(tag, TargetTransferTag::RESERVED, sn, offset_field, stop == unsolicited);
        pair.send(bhs, &data[offset..stop]);
    }
    let mut asked = unsolicited;
    let mut r2t_count = 0;
    while asked < bytes {
        // All that are outstanding come before any is answered.
        let r2ts: Vec<_> = pair.receive_all().iter().map(|pdu| ReadyToTransfer::parse(&pdu.bhs)).collect();
        assert!(!r2ts.is_empty() && r2ts.len() <= agreed.outstanding_r2t_max as usize);
        for r2t in &r2ts {
            assert_eq!(r2t.buffer_offset as usize, asked);
            assert_eq!(r2t.r2t_sn, r2t_count);
            assert!(r2t.desired_bytes > 0 && r2t.desired_bytes <= agreed.burst_bytes_max);
            asked += r2t.desired_bytes as usize;
            r2t_count += 1;
        }
        for r2t in &r2ts {
            answer_r2t(pair, r2t, &data, segment);
        }
    }
    let command = pair.expect_command();
    assert_eq!(command.data_out.to_bytes(), data);
    pair.complete_good(command.task, bytes as u64);
    let pdu = pair.receive().unwrap();
    let response = ScsiResponsePdu::parse(&pdu.bhs);
    // §11.4.8: Data-In PDUs are counted, and there were none.
    assert_eq!((response.status, response.residual, response.exp_data_sn), (0, Residual::Exact, 0));
    assert_eq!(pair.target.buffered_bytes(), 0);
    assert!(pair.receive().is_none());
}

#[test]
fn all_combinations_of_immediate_unsolicited_and_solicited_data() {
    for initial_r2t in ["Yes", "No"] {
        for immediate in ["Yes", "No"] {
            for (first, burst, r2ts) in [("512", "512", "1"), ("4096", "8192", "4"), ("65536", "262144", "2")]
            {
                for segment in [512, 1000, 8192, 262_144] {
                    let keys = [
                        ("InitialR2T", initial_r2t),
                        ("ImmediateData", immediate),
                        ("FirstBurstLength", first),
                        ("MaxBurstLength", burst),
                        ("MaxOutstandingR2T", r2ts),
                    ];
                    let mut pair = Pair::established(&keys);
                    for bytes in [0, 1, 511, 512, 4096, 5000, 70_000] {
                        write_as_agreed(&mut pair, bytes, segment);
                    }
                }
            }
        }
    }
}

/// COMPAT P1: iPXE answers an R2T of 256 KiB with 512 PDUs of 512 bytes.
#[test]
fn ipxe_writes_512_bytes_at_a_time() {
    let mut pair =
        Pair::established(&[("InitialR2T", "Yes"), ("ImmediateData", "No"), ("MaxBurstLength", "262144")]);
    write_as_agreed(&mut pair, 256 * 1024, 512);
}

#[test]
fn short_pieces_are_joined() {
    let mut pair = Pair::established(&[("InitialR2T", "Yes"), ("ImmediateData", "No")]);
    let command = pair.command(false, true, 65_536);
    pair.send(command.emit(), &[]);
    let r2t = expect_r2t(&mut pair);
    answer_r2t(&mut pair, &r2t, &pattern(65_536), 512);
    assert_eq!(pair.expect_command().data_out.pieces().len(), 1);
}

#[test]
fn immediate_data_is_not_copied() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let command = pair.command(false, true, 4096);
    pair.send(command.emit(), &pattern(4096));
    assert_eq!(pair.expect_command().data_out.pieces(), [pattern(4096)]);
}

#[test]
fn writes_of_128_tasks_at_once() {
    let mut pair =
        Pair::established(&[("InitialR2T", "Yes"), ("ImmediateData", "No"), ("MaxBurstLength", "4096")]);
    for _ in 0..128 {
        let command = pair.command(false, true, 8192);
        pair.send(command.emit(), &[]);
    }
    let data = pattern(8192);
    let mut answered = 0;
    while answered < 256 {
        for pdu in pair.receive_all() {
            answer_r2t(&mut pair, &ReadyToTransfer::parse(&pdu.bhs), &data, 4096);
            answered += 1;
        }
    }
    for _ in 0..128 {
        let command = pair.expect_command();
        assert_eq!(command.data_out.to_bytes(), data);
        pair.complete_good(command.task, 8192);
    }
}

#[test]
fn of_a_write_above_the_cap_no_more_than_that_is_solicited() {
    let mut pair = Pair::established(&[("InitialR2T", "Yes"), ("ImmediateData", "Yes")]);
    let data = pattern(17 << 20);
    let command = pair.command(false, true, 17 << 20);
    pair.send(command.emit(), &data[..512]);
    while let Some(pdu) = pair.receive() {
        answer_r2t(&mut pair, &ReadyToTransfer::parse(&pdu.bhs), &data, 65_536);
    }
    let command = pair.expect_command();
    assert_eq!(command.expected_data_transfer_bytes, 17 << 20);
    assert!(command.data_out.to_bytes() == data[..WRITE_BYTES_MAX], "all that a command may take is there");
    pair.complete_good(command.task, 512);
    let response = ScsiResponsePdu::parse(&pair.receive().unwrap().bhs);
    assert_eq!(response.residual, Residual::Underflow((17 << 20) - 512));
}

/// COMPAT P5: many large writes at once are solicited in turn, and all get done.
#[test]
fn memory_for_write_data_is_bounded() {
    let config = ConnectionConfig { buffered_bytes_max: 1 << 20, ..ConnectionConfig::default() };
    let mut pair = Pair::with_config(config);
    pair.establish(&[("InitialR2T", "Yes"), ("ImmediateData", "No"), ("MaxBurstLength", "262144")]);
    for _ in 0..64 {
        let command = pair.command(false, true, 1 << 20);
        pair.send(command.emit(), &[]);
    }
    let data = pattern(1 << 20);
    let mut done = 0;
    while done < 64 {
        assert!(pair.target.buffered_bytes() <= 1 << 20, "{}", pair.target.buffered_bytes());
        let pdus = pair.receive_all();
        assert!(!pdus.is_empty());
        for pdu in pdus.iter().filter(|pdu| Opcode::of(&pdu.bhs) == Opcode::ReadyToTransfer) {
            answer_r2t(&mut pair, &ReadyToTransfer::parse(&pdu.bhs), &data, 65_536);
        }
        while let Some(crate::Event::Command(command)) = pair.event() {
            assert_eq!(command.data_out.to_bytes(), data);
            pair.complete_good(command.task, 1 << 20);
            done += 1;
        }
    }
    assert_eq!(pair.target.buffered_bytes(), 0);
}

#[test]
fn unsolicited_writes_close_the_window_before_they_fill_memory() {
    let config = ConnectionConfig { buffered_bytes_max: 1 << 20, ..ConnectionConfig::default() };
    let mut pair = Pair::with_config(config);
    pair.establish(&[("InitialR2T", "No"), ("ImmediateData", "Yes"), ("FirstBurstLength", "262144")]);
    assert_eq!(pair.max_cmd_sn, pair.exp_cmd_sn.add(3), "four first bursts fit");
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let command = pair.command(false, true, 262_144);
        pair.send(command.emit(), &pattern(262_144));
        tasks.push(pair.expect_command().task);
    }
    let beyond = pair.command(false, true, 262_144);
    pair.send(beyond.emit(), &pattern(262_144));
    pair.no_event();
    for task in tasks {
        pair.complete_good(task, 262_144);
    }
    pair.receive_all();
    assert_eq!(pair.max_cmd_sn, pair.exp_cmd_sn.add(3));
}

#[test]
fn a_narrowed_limit_closes_the_window_and_a_widened_one_opens_it() {
    let mut pair =
        Pair::established(&[("InitialR2T", "No"), ("ImmediateData", "Yes"), ("FirstBurstLength", "262144")]);
    pair.target.limit_memory(1 << 20, usize::MAX);
    for _ in 0..200 {
        if pair.cmd_sn.is_after(pair.max_cmd_sn) {
            break;
        }
        let command = pair.command(false, true, 512);
        pair.send(command.emit(), &pattern(512));
        let task = pair.expect_command().task;
        pair.complete_good(task, 512);
        pair.receive_all();
    }
    assert_eq!(pair.max_cmd_sn, pair.exp_cmd_sn.add(3));
    pair.target.limit_memory(usize::MAX, usize::MAX);
    pair.send_read(512);
    let task = pair.expect_command().task;
    pair.complete_read(task, pattern(512));
    pair.receive_all();
    assert_eq!(pair.max_cmd_sn, pair.exp_cmd_sn.add(127));
}

#[test]
fn while_there_is_no_memory_one_write_is_taken_at_a_time() {
    let mut pair =
        Pair::established(&[("InitialR2T", "No"), ("ImmediateData", "Yes"), ("FirstBurstLength", "262144")]);
    pair.target.shed_writes(true);
    let first = pair.command(false, true, 4096);
    pair.send(first.emit(), &pattern(4096));
    let task = pair.expect_command().task;
    let second = pair.command(false, true, 4096);
    pair.send(second.emit(), &pattern(4096));
    pair.no_event();
    assert_eq!(ScsiResponsePdu::parse(&pair.receive().unwrap().bhs).status, 0x28);
    assert_eq!(pair.target.buffered_bytes(), 4096);
    pair.complete_good(task, 4096);
    pair.receive_all();
    let third = pair.command(false, true, 4096);
    pair.send(third.emit(), &pattern(4096));
    let task = pair.expect_command().task;
    pair.target.shed_writes(false);
    let fourth = pair.command(false, true, 4096);
    pair.send(fourth.emit(), &pattern(4096));
    let other = pair.expect_command().task;
    pair.complete_good(task, 4096);
    pair.complete_good(other, 4096);
}

// ---- what is wrong is never written ---------------------------------------------------------------------------

fn begin_solicited(pair: &mut Pair) -> ReadyToTransfer {
    let command = pair.command(false, true, 4096);
    pair.send(command.emit(), &[]);
    expect_r2t(pair)
}

/// COMPAT P12.
#[test]
fn data_out_that_contradicts_its_r2t_fails_the_command() {
    type Case = (u32, u32, usize, bool, [u8; 3]);
    let cases: [Case; 5] = [
        (1, 0, 512, false, [0x0b, 0x47, 0x05]),
        (0, 512, 512, false, [0x0b, 0x0c, 0x0d]),
        (0, 0, 4097, true, [0x0b, 0x0c, 0x0d]),
        (0, 0, 512, true, [0x0b, 0x0c, 0x0d]),
        (0, u32::MAX, 512, true, [0x0b, 0x0c, 0x0d]),
    ];
    for (sn, offset, bytes, last, sense) in cases {
        let mut pair = Pair::established(&[("InitialR2T", "Yes"), ("ImmediateData", "No")]);
        let r2t = begin_solicited(&mut pair);
        let bhs = pair.data_out(r2t.initiator_task_tag, r2t.target_transfer_tag, sn, offset, last);
        pair.send(bhs, &pattern(bytes));
        assert_eq!(pair.target.buffered_bytes(), 0, "its memory is free at once");
        if !last {
            // §7.8: the answer waits for the end of the transfer.
            assert!(pair.receive().is_none());
            answer_r2t(&mut pair, &r2t, &pattern(4096), 512);
        }
        assert_eq!(sense_code(&pair.receive().unwrap()), sense);
        pair.no_event();
        // What still comes of the transfer is dropped.
        answer_r2t(&mut pair, &r2t, &pattern(4096), 512);
        pair.no_event();
        assert!(pair.receive().is_none());
        assert_eq!((pair.target.buffered_bytes(), pair.target.tasks_open()), (0, 0));
        write_as_agreed(&mut pair, 4096, 512);
    }
}

#[test]
fn an_unknown_transfer_tag_touches_nothing() {
    let mut pair = Pair::established(&[("InitialR2T", "Yes"), ("ImmediateData", "No")]);
    let r2t = begin_solicited(&mut pair);
    let stranger = pair.data_out(InitiatorTaskTag(0x999), r2t.target_transfer_tag, 0, 0, true);
    pair.send(stranger, &pattern(512));
    let elsewhere = pair.data_out(r2t.initiator_task_tag, TargetTransferTag(0x7777_7777), 0, 0, true);
    pair.send(elsewhere, &pattern(512));
    assert!(pair.receive().is_none());
    answer_r2t(&mut pair, &r2t, &pattern(4096), 4096);
    assert_eq!(pair.expect_command().data_out.to_bytes(), pattern(4096));
}

#[test]
fn unsolicited_data_that_was_not_agreed_fails_the_command() {
    let mut pair = Pair::established(&[("InitialR2T", "Yes"), ("ImmediateData", "No")]);
    let command = pair.command(false, true, 4096);
    pair.send(command.emit(), &pattern(512));
    assert_eq!(sense_code(&pair.receive().unwrap()), [0x0b, 0x0c, 0x0c]);
    let mut command = pair.command(false, true, 4096);
    command.is_final = false;
    pair.send(command.emit(), &[]);
    assert!(pair.receive().is_none(), "§11.4.2: more is on its way");
    let bhs = pair.data_out(command.initiator_task_tag, TargetTransferTag::RESERVED, 0, 0, true);
    pair.send(bhs, &pattern(512));
    assert_eq!(sense_code(&pair.receive().unwrap()), [0x0b, 0x0c, 0x0c]);
    let r2t = begin_solicited(&mut pair);
    let bhs = pair.data_out(r2t.initiator_task_tag, TargetTransferTag::RESERVED, 0, 0, true);
    pair.send(bhs, &pattern(512));
    assert!(pair.receive().is_none(), "what was solicited is on its way");
    answer_r2t(&mut pair, &r2t, &pattern(4096), 512);
    assert_eq!(sense_code(&pair.receive().unwrap()), [0x0b, 0x0c, 0x0c]);
    pair.no_event();
    assert_eq!((pair.target.buffered_bytes(), pair.target.tasks_open()), (0, 0));
}

#[test]
fn immediate_data_beyond_the_first_burst_or_the_expected_length_fails_the_command() {
    let mut pair = Pair::established(&[("FirstBurstLength", "1024"), ("InitialR2T", "No")]);
    for (expected, immediate) in [(4096, 1028), (512, 516), (0, 4)] {
        let command = pair.command(false, true, expected);
        pair.send(command.emit(), &pattern(immediate));
        assert_eq!(sense_code(&pair.receive().unwrap()), [0x0b, 0x0c, 0x0d]);
        pair.no_event();
    }
}

#[test]
fn a_broken_data_digest_fails_the_command_and_only_it() {
    let mut pair =
        Pair::established(&[("DataDigest", "CRC32C"), ("InitialR2T", "Yes"), ("ImmediateData", "No")]);
    let r2t = begin_solicited(&mut pair);
    let bhs = pair.data_out(r2t.initiator_task_tag, r2t.target_transfer_tag, 0, 0, true);
    let mut frame = pair.frame(bhs, &pattern(4096));
    frame[100] ^= 1;
    pair.deliver(&frame);
    let reject = pair.receive().unwrap();
    assert_eq!(Reject::parse(&reject.bhs).reason, RejectReason::DataDigestError.code());
    assert_eq!(sense_code(&pair.receive().unwrap()), [0x0b, 0x47, 0x05]);
    write_as_agreed(&mut pair, 4096, 4096);
}

/// COMPAT P15.
#[test]
fn empty_data_where_data_is_expected() {
    let mut pair = Pair::established(&[("InitialR2T", "Yes"), ("ImmediateData", "No")]);
    let r2t = begin_solicited(&mut pair);
    let bhs = pair.data_out(r2t.initiator_task_tag, r2t.target_transfer_tag, 0, 0, true);
    pair.send(bhs, &[]);
    assert_eq!(sense_code(&pair.receive().unwrap()), [0x0b, 0x0c, 0x0d]);
}

/// §7.8, §11.4.2: a write of several sequences fails when the last of those that were asked for has ended, with what
/// went wrong first.
#[test]
fn the_answer_to_a_failed_write_waits_for_all_that_is_outstanding() {
    let mut pair = Pair::established(&[
        ("InitialR2T", "Yes"),
        ("ImmediateData", "No"),
        ("MaxBurstLength", "1024"),
        ("MaxOutstandingR2T", "4"),
    ]);
    let command = pair.command(false, true, 4096);
    pair.send(command.emit(), &[]);
    let r2ts: Vec<_> = (0..4).map(|_| expect_r2t(&mut pair)).collect();
    let wrong = pair.data_out(command.initiator_task_tag, r2ts[0].target_transfer_tag, 7, 0, true);
    pair.send(wrong, &pattern(1024));
    for r2t in &r2ts[1..] {
        assert!(pair.receive().is_none());
        pair.no_event();
        answer_r2t(&mut pair, r2t, &pattern(4096), 512);
    }
    assert_eq!(sense_code(&pair.receive().unwrap()), [0x0b, 0x47, 0x05]);
    assert!(pair.receive().is_none());
    write_as_agreed(&mut pair, 4096, 512);
}

/// A failed write that waits can be aborted, and the session ends without it.
#[test]
fn a_failed_write_that_waits_keeps_nobody() {
    let mut pair = Pair::established(&[("InitialR2T", "Yes"), ("ImmediateData", "No")]);
    let r2t = begin_solicited(&mut pair);
    let wrong = pair.data_out(r2t.initiator_task_tag, r2t.target_transfer_tag, 7, 0, false);
    pair.send(wrong, &pattern(512));
    assert_eq!((pair.target.tasks_open(), pair.target.tasks_executing()), (1, 0));
    pair.target.abort_tasks(crate::TaskScope::All);
    assert_eq!((pair.target.tasks_open(), pair.target.buffered_bytes()), (0, 0));
    write_as_agreed(&mut pair, 4096, 512);
}

/// §11.7.7: a PDU without data is not the end of anything.
#[test]
fn data_out_without_data_is_taken() {
    let mut pair = Pair::established(&[("InitialR2T", "Yes"), ("ImmediateData", "No")]);
    let r2t = begin_solicited(&mut pair);
    let (tag, ttt) = (r2t.initiator_task_tag, r2t.target_transfer_tag);
    for (sn, offset, bytes, last) in [(0, 0, 0, false), (1, 0, 4096, false), (2, 4096, 0, true)] {
        let bhs = pair.data_out(tag, ttt, sn, offset, last);
        pair.send(bhs, &pattern(4096)[..bytes]);
    }
    assert_eq!(pair.expect_command().data_out.to_bytes(), pattern(4096));
}

/// §4.2.5.3: solicited data names the unit of its command. It is rejected, and the command goes on.
#[test]
fn data_for_another_unit_is_rejected() {
    let mut pair = Pair::established(&[("InitialR2T", "Yes"), ("ImmediateData", "No")]);
    let r2t = begin_solicited(&mut pair);
    let mut other =
        DataOut::parse(&pair.data_out(r2t.initiator_task_tag, r2t.target_transfer_tag, 0, 0, true));
    other.lun = crate::LogicalUnitNumber::single_level(9);
    pair.send(other.emit(), &pattern(4096));
    let reject = Reject::parse(&pair.receive().unwrap().bhs);
    assert_eq!(reject.reason, RejectReason::InvalidPduField.code());
    pair.no_event();
    answer_r2t(&mut pair, &r2t, &pattern(4096), 512);
    assert_eq!(pair.expect_command().data_out.to_bytes(), pattern(4096));
}

/// §11.8.5.
#[test]
fn no_transfer_tag_is_the_reserved_one() {
    let mut pair = Pair::established(OPEN_ISCSI);
    for _ in 0..200_000 {
        assert_ne!(pair.target.next_transfer_tag(u16::MAX), TargetTransferTag::RESERVED);
    }
}
