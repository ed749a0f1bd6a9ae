//! A few bytes that are kept must not keep the whole receive buffer in memory: a peer that sends much that is dropped
//! between them would have us hold many times what is accounted for.

use super::pair::{OPEN_ISCSI, Pair};
use crate::config::ConnectionConfig;
use crate::names::{InitiatorTaskTag, LogicalUnitNumber, TargetTransferTag};
use crate::wire::*;
use bytes::BytesMut;
use std::io::IoSlice;

/// Delivers a PDU in a buffer of its own, and says where that lies.
fn deliver(pair: &mut Pair, bhs: Bhs, data: &[u8]) -> std::ops::Range<*const u8> {
    let mut received = BytesMut::from(&pair.frame(bhs, data)[..]);
    let range = received.as_ptr_range();
    pair.target.handle_bytes(pair.now, &mut received);
    assert!(received.is_empty());
    range
}

#[test]
fn the_answer_to_a_ping_does_not_keep_the_ping() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let ping = NopOut {
        immediate: true,
        lun: LogicalUnitNumber::ZERO,
        initiator_task_tag: InitiatorTaskTag(5),
        target_transfer_tag: TargetTransferTag::RESERVED,
        cmd_sn: pair.cmd_sn,
        exp_stat_sn: pair.exp_stat_sn.unwrap(),
    };
    let received = deliver(&mut pair, ping.emit(), &[7; 4096]);
    let mut slices = [IoSlice::new(&[]); 8];
    let count = pair.target.transmit_slices(&mut slices);
    assert!(slices[..count].iter().any(|slice| slice[..] == [7; 4096]), "the ping comes back");
    assert!(slices[..count].iter().all(|slice| !received.contains(&slice.as_ptr())), "as a copy");
}

#[test]
fn short_pieces_of_a_write_do_not_keep_what_came_between_them() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let mut command = pair.command(false, true, 64 * 1024);
    command.is_final = false;
    pair.send(command.emit(), &[]);
    let mut kept = Vec::new();
    for piece in 0..4 {
        let tag = command.initiator_task_tag;
        let bhs = pair.data_out(tag, TargetTransferTag::RESERVED, piece, piece * 16_384, piece == 3);
        kept.push(deliver(&mut pair, bhs, &[7; 16_384]));
    }
    let command = pair.expect_command();
    assert_eq!(command.data_out.len_bytes(), 64 * 1024);
    for part in command.data_out.pieces() {
        assert!(kept.iter().all(|range| !range.contains(&part.as_ptr())), "a slice of a receive buffer");
    }
}

/// §4.2.2.1 has an initiator send in order; one that does not, and sends much, is no initiator.
#[test]
fn commands_ahead_of_a_missing_one_are_copied_and_limited() {
    let config = ConnectionConfig { buffered_bytes_max: 256 * 1024, ..ConnectionConfig::default() };
    let mut pair = Pair::with_config(config);
    pair.establish(&[("FirstBurstLength", "512"), ("InitialR2T", "Yes")]);
    pair.cmd_sn = pair.cmd_sn.next();
    let mut held = 0;
    while !pair.target.is_closed() {
        let command = pair.command(false, true, 8192);
        assert!(held < 100, "held without a limit");
        pair.send(command.emit(), &[7; 8192]);
        held += 1;
    }
    assert_eq!(held, 33, "32 of 8 KiB fit");
}

/// What waits for a missing command counts like everything else that is kept: the budget of all connections sees it,
/// and the share that a connection has when memory is short holds for it.
#[test]
fn commands_ahead_of_a_missing_one_are_accounted_for() {
    let mut pair = Pair::established(&[("FirstBurstLength", "512")]);
    let missing = pair.command(false, false, 0);
    for held in 1..=4 {
        let command = pair.command(false, true, 8192);
        pair.send(command.emit(), &[7; 8192]);
        assert_eq!(pair.target.buffered_bytes(), held * 8192);
    }
    pair.target.limit_memory(5 * 8192, usize::MAX);
    for closed in [false, true] {
        let command = pair.command(false, true, 8192);
        pair.send(command.emit(), &[7; 8192]);
        assert_eq!(pair.target.is_closed(), closed);
    }
    assert_eq!(pair.target.buffered_bytes(), 0, "all of it is given up with the connection");
    pair.send(missing.emit(), &[]);
    assert!(matches!(pair.target.poll_event(), Some(crate::Event::Closed(_))));
}

/// Text that is continued without an end in sight, and answers that nobody fetches.
#[test]
fn text_is_accounted_for() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let request = TextRequest {
        immediate: true,
        is_final: false,
        continues: true,
        lun: LogicalUnitNumber::ZERO,
        initiator_task_tag: InitiatorTaskTag(5),
        target_transfer_tag: TargetTransferTag::RESERVED,
        cmd_sn: pair.cmd_sn,
        exp_stat_sn: pair.exp_stat_sn.unwrap(),
    };
    pair.send(request.emit(), &[b'A'; 4096]);
    assert_eq!(pair.target.buffered_bytes(), 4096);
}

/// A command may wait for its data for as long as its session lasts.
#[test]
fn an_extended_cdb_does_not_keep_what_it_came_in() {
    let mut pair = Pair::established(&[("InitialR2T", "Yes"), ("ImmediateData", "No")]);
    let mut bhs = pair.command(true, false, 512).emit();
    bhs[4] = 5;
    // AHSLength 17 = 32 - 15, type 1, reserved, sixteen bytes of CDB.
    let frame = [&bhs[..], &[0, 17, 1, 0], &[7; 16]].concat();
    let mut received = BytesMut::from(&frame[..]);
    let range = received.as_ptr_range();
    pair.target.handle_bytes(pair.now, &mut received);
    let cdb = pair.expect_command().cdb;
    assert_eq!(cdb.tail()[..], [7; 16]);
    assert!(!range.contains(&cdb.tail().as_ptr()), "a slice of a receive buffer");
}
