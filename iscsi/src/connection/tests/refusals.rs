//! What is rejected, with which reason, and what that leaves behind (RFC 7143 §7.3, §11, §11.17).

use super::pair::{INITIATOR, OPEN_ISCSI, Pair, text};
use crate::event::{Event, TaskAttribute};
use crate::names::{ConnectionId, InitiatorTaskTag, LogicalUnitNumber, TargetTransferTag};
use crate::wire::*;

fn expect_reject(pair: &mut Pair, reason: RejectReason, rejected: &Bhs) -> Reject {
    let pdu = pair.receive().expect("a reject");
    assert_eq!(Opcode::of(&pdu.bhs), Opcode::Reject);
    assert_eq!(pdu.bhs[16..20], [0xff; 4], "the tag is reserved");
    // §11.17: the header of what is rejected is its data.
    assert_eq!(pdu.data[..], rejected[..]);
    let reject = Reject::parse(&pdu.bhs);
    assert_eq!(reject.reason, reason.code());
    reject
}

fn numbered(pair: &mut Pair, opcode: u8) -> Bhs {
    let tag = pair.tag();
    let mut bhs = [0; 48];
    bhs[0] = opcode;
    bhs[1] = 0x80;
    bhs[16..20].copy_from_slice(&tag.0.to_be_bytes());
    bhs[20..24].fill(0xff);
    bhs[24..28].copy_from_slice(&pair.cmd_sn.0.to_be_bytes());
    bhs
}

/// A rejected command does not count as received: the next one takes its number (§7.3).
#[test]
fn a_rejected_command_leaves_its_number_free() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let tag = pair.send_read(512);
    let mut again = pair.command(true, false, 512);
    again.initiator_task_tag = tag;
    let behind = pair.command(true, false, 1024);
    pair.send(again.emit(), &[]);
    let reject = expect_reject(&mut pair, RejectReason::TaskInProgress, &again.emit());
    assert_eq!(reject.sequence.exp_cmd_sn, again.cmd_sn);
    assert_eq!(pair.expect_command().expected_data_transfer_bytes, 512);
    pair.send(behind.emit(), &[]);
    pair.no_event();
    again.initiator_task_tag = pair.tag();
    again.expected_data_transfer_bytes = 2048;
    pair.send(again.emit(), &[]);
    assert_eq!(pair.expect_command().expected_data_transfer_bytes, 2048);
    assert_eq!(pair.expect_command().expected_data_transfer_bytes, 1024);
}

/// One that was held is rejected when its turn comes, and those behind it wait on.
#[test]
fn a_held_command_that_is_rejected_leaves_its_number_free() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let first = pair.command(true, false, 512);
    let mut second = pair.command(true, false, 1024);
    let third = pair.command(true, false, 2048);
    second.attribute = TaskAttribute::Unknown(6);
    pair.send(third.emit(), &[]);
    pair.send(second.emit(), &[]);
    pair.send(first.emit(), &[]);
    assert_eq!(pair.expect_command().expected_data_transfer_bytes, 512);
    pair.no_event();
    let reject = expect_reject(&mut pair, RejectReason::ProtocolError, &second.emit());
    assert_eq!(reject.sequence.exp_cmd_sn, second.cmd_sn);
    second.attribute = TaskAttribute::Simple;
    pair.send(second.emit(), &[]);
    assert_eq!(pair.expect_command().expected_data_transfer_bytes, 1024);
    assert_eq!(pair.expect_command().expected_data_transfer_bytes, 2048);
}

/// §11: "reserved code values in defined fields".
#[test]
fn reserved_values_of_defined_fields_are_protocol_errors() {
    for code in 5..8 {
        let mut pair = Pair::established(OPEN_ISCSI);
        let mut command = pair.command(true, false, 512);
        command.attribute = TaskAttribute::Unknown(code);
        pair.send(command.emit(), &[]);
        expect_reject(&mut pair, RejectReason::ProtocolError, &command.emit());
        pair.no_event();
    }
    for reason in 3..0x80 {
        let mut pair = Pair::established(OPEN_ISCSI);
        let request = LogoutRequest {
            immediate: false,
            reason,
            initiator_task_tag: pair.tag(),
            connection_id: ConnectionId(0),
            cmd_sn: pair.cmd_sn,
            exp_stat_sn: pair.exp_stat_sn.unwrap(),
        };
        pair.send(request.emit(), &[]);
        expect_reject(&mut pair, RejectReason::ProtocolError, &request.emit());
        assert!(pair.target.is_full_feature());
    }
}

/// §11: reserved fields and bits are not looked at.
#[test]
fn reserved_fields_are_ignored() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let mut bhs = pair.command(true, false, 512).emit();
    bhs[1] |= 0x18;
    // RFC 7144 §5.1.1: so is the priority.
    bhs[2..4].fill(0xff);
    pair.send(bhs, &[]);
    assert!(pair.expect_command().reads);
    let mut ping = numbered(&mut pair, 0x40);
    ping[1] |= 0x7f;
    ping[2..4].fill(0xff);
    ping[32..48].fill(0xff);
    pair.send(ping, b"x");
    assert_eq!(Opcode::of(&pair.receive().unwrap().bhs), Opcode::NopIn);
    let mut query = numbered(&mut pair, 0x42);
    query[1] |= 10;
    query[2..4].fill(0xff);
    query[40..48].fill(0xff);
    pair.send(query, &[]);
    assert_eq!(Opcode::of(&pair.receive().unwrap().bhs), Opcode::TaskManagementResponse);
    let mut logout = numbered(&mut pair, 0x46);
    logout[2..4].fill(0xff);
    logout[8..16].fill(0xff);
    logout[32..48].fill(0xff);
    pair.send(logout, &[]);
    assert!(pair.target.tasks_open() == 1);
}

/// §11.2.1.8: the reserved tag is no task's.
#[test]
fn the_reserved_tag_is_nobodys() {
    for opcode in [0x01, 0x02, 0x04, 0x06] {
        for immediate in [0, 0x40] {
            let mut pair = Pair::established(OPEN_ISCSI);
            let mut bhs = numbered(&mut pair, opcode | immediate);
            bhs[16..20].fill(0xff);
            pair.send(bhs, &[]);
            expect_reject(&mut pair, RejectReason::InvalidPduField, &bhs);
            pair.no_event();
        }
    }
}

/// §11.5.1: a request that is under way is not aborted, nor the one that asks (RFC 7144 §6.3: nor asked after).
#[test]
fn a_task_management_request_is_not_aborted() {
    let mut pair = Pair::established(OPEN_ISCSI);
    pair.send_read(512);
    pair.expect_command();
    let mut reset = numbered(&mut pair, 0x42);
    reset[1] |= 5;
    pair.send(reset, &[]);
    assert!(matches!(pair.event(), Some(Event::TaskManagement(_))));
    for function in [1, 9] {
        for own in [false, true] {
            let mut request = numbered(&mut pair, 0x42);
            request[1] |= function;
            let referenced: [u8; 4] = if own { &request[16..20] } else { &reset[16..20] }.try_into().unwrap();
            request[20..24].copy_from_slice(&referenced);
            pair.send(request, &[]);
            let pdu = pair.receive().expect("a response");
            assert_eq!(TaskManagementResponsePdu::parse(&pdu.bhs).response, 255, "function {function}");
        }
    }
    pair.no_event();
}

/// §11.19: as much of a ping's data comes back as the initiator takes.
#[test]
fn a_long_ping_comes_back() {
    for (limit, sent, got) in
        [("512", 262_144, 512), ("262144", 262_144, 262_144), ("262144", 5, 5), ("8192", 0, 0)]
    {
        let mut pair = Pair::established(&[("MaxRecvDataSegmentLength", limit)]);
        let ping = NopOut {
            immediate: true,
            lun: LogicalUnitNumber::ZERO,
            initiator_task_tag: InitiatorTaskTag(1),
            target_transfer_tag: TargetTransferTag::RESERVED,
            cmd_sn: pair.cmd_sn,
            exp_stat_sn: pair.exp_stat_sn.unwrap(),
        };
        let data = super::pair::pattern(sent);
        pair.send(ping.emit(), &data);
        let pdu = pair.receive().unwrap();
        assert_eq!(pdu.data, data[..got]);
        assert_eq!(NopIn::parse(&pdu.bhs).target_transfer_tag, TargetTransferTag::RESERVED);
    }
}

/// §4.2.2.1: while as many immediate commands are open as may be, a task management request is still taken, and the
/// other way round.
#[test]
fn one_immediate_request_of_each_kind_is_always_taken() {
    let mut pair = Pair::established(OPEN_ISCSI);
    for _ in 0..crate::limits::IMMEDIATE_TASKS_MAX {
        let mut command = pair.command(true, false, 512);
        pair.cmd_sn = command.cmd_sn;
        command.immediate = true;
        pair.send(command.emit(), &[]);
        pair.expect_command();
    }
    for _ in 0..crate::limits::TASK_MANAGEMENT_MAX {
        let mut reset = numbered(&mut pair, 0x42);
        reset[1] |= 5;
        pair.send(reset, &[]);
        assert!(matches!(pair.event(), Some(Event::TaskManagement(_))));
    }
    let ping = numbered(&mut pair, 0x40);
    pair.send(ping, &[]);
    assert_eq!(Opcode::of(&pair.receive().unwrap().bhs), Opcode::NopIn);
    let wish = numbered(&mut pair, 0x44);
    pair.send(wish, &[]);
    assert_eq!(Opcode::of(&pair.receive().unwrap().bhs), Opcode::TextResponse);
}

/// §4.3: a discovery session rejects commands and task management; text and logout go on with the same numbers.
#[test]
fn a_discovery_session_goes_on_after_what_it_rejects() {
    let mut pair = Pair::new();
    pair.log_in_once(&[("InitiatorName", INITIATOR), ("SessionType", "Discovery")]);
    assert!(matches!(pair.event(), Some(Event::SessionEstablished(_))));
    for opcode in [0x01, 0x02] {
        let bhs = numbered(&mut pair, opcode);
        pair.send(bhs, &[]);
        expect_reject(&mut pair, RejectReason::ProtocolError, &bhs);
    }
    let ask = numbered(&mut pair, 0x04);
    pair.send(ask, &text(&[("SendTargets", "All")]));
    assert!(matches!(pair.event(), Some(Event::SendTargets(_))));
    pair.target.complete_send_targets(&[]);
    // Appendix C: no names where there is nothing to log in to.
    assert!(pair.receive().unwrap().data.is_empty());
    pair.cmd_sn = pair.cmd_sn.next();
    let logout = numbered(&mut pair, 0x06);
    pair.send(logout, &[]);
    assert_eq!(Opcode::of(&pair.receive().unwrap().bhs), Opcode::LogoutResponse);
    assert!(pair.target.is_closed());
}
