//! Logout, discovery, text, pings, asynchronous messages, the end of a connection.

use super::pair::{INITIATOR, OPEN_ISCSI, Pair, TARGET, pattern, text};
use crate::config::ConnectionConfig;
use crate::error::CloseReason;
use crate::event::{AsyncNotice, Event, LogoutRequested, SendTargetsScope, TargetRecord};
use crate::names::{ConnectionId, InitiatorTaskTag, IscsiName, LogicalUnitNumber, TargetTransferTag};
use crate::wire::*;
use std::time::Duration;

fn log_out(pair: &mut Pair, reason: u8, cid: u16) {
    let request = LogoutRequest {
        immediate: false,
        reason,
        initiator_task_tag: pair.tag(),
        connection_id: ConnectionId(cid),
        cmd_sn: pair.cmd_sn,
        exp_stat_sn: pair.exp_stat_sn.unwrap(),
    };
    pair.cmd_sn = pair.cmd_sn.next();
    pair.send(request.emit(), &[]);
}

fn text_request(pair: &mut Pair, ttt: TargetTransferTag, tag: InitiatorTaskTag) -> TextRequest {
    let request = TextRequest {
        immediate: false,
        is_final: true,
        continues: false,
        lun: LogicalUnitNumber::ZERO,
        initiator_task_tag: tag,
        target_transfer_tag: ttt,
        cmd_sn: pair.cmd_sn,
        exp_stat_sn: pair.exp_stat_sn.unwrap(),
    };
    pair.cmd_sn = pair.cmd_sn.next();
    request
}

fn text_response(pair: &mut Pair) -> (TextResponse, String) {
    let pdu = pair.receive().expect("a text response");
    assert_eq!(Opcode::of(&pdu.bhs), Opcode::TextResponse);
    (TextResponse::parse(&pdu.bhs), String::from_utf8(pdu.data.to_vec()).unwrap())
}

fn discovery() -> Pair {
    let mut pair = Pair::new();
    let keys =
        [("InitiatorName", INITIATOR), ("SessionType", "Discovery"), ("MaxRecvDataSegmentLength", "32768")];
    let (response, _) = pair.log_in_once(&keys);
    assert!(response.transit);
    assert!(matches!(pair.event(), Some(Event::SessionEstablished(_))));
    pair
}

fn send_targets(pair: &mut Pair, value: &str) -> Option<SendTargetsScope> {
    let tag = pair.tag();
    let request = text_request(pair, TargetTransferTag::RESERVED, tag);
    pair.send(request.emit(), &text(&[("SendTargets", value)]));
    match pair.event() {
        Some(Event::SendTargets(request)) => Some(request.scope),
        None => None,
        Some(other) => panic!("unexpected {other:?}"),
    }
}

fn record(number: usize) -> TargetRecord {
    TargetRecord {
        name: IscsiName::parse(&format!("iqn.2026-01.test:volume-{number:04}")).unwrap(),
        addresses: vec!["192.0.2.1:3260,1".into(), "[2001:db8::1]:3260,1".into()],
    }
}

#[test]
fn logout_of_each_kind() {
    // COMPAT L11: Windows' bit 7 is part of every golden byte; see wire::logout.
    for (reason, kind) in [(0, LogoutRequested::Session), (1, LogoutRequested::Connection)] {
        let mut pair = Pair::established(OPEN_ISCSI);
        log_out(&mut pair, reason, 0);
        let pdu = pair.receive().unwrap();
        assert_eq!(LogoutResponse::parse(&pdu.bhs).response, 0);
        assert!(matches!(pair.event(), Some(Event::Logout(k)) if k == kind));
        assert!(matches!(pair.event(), Some(Event::Closed(CloseReason::Logout))));
        assert!(!pair.target.wants_read());
    }
    for (reason, cid, response) in [(1, 5, 1), (2, 0, 2)] {
        let mut pair = Pair::established(OPEN_ISCSI);
        log_out(&mut pair, reason, cid);
        assert_eq!(LogoutResponse::parse(&pair.receive().unwrap().bhs).response, response);
        assert!(pair.target.is_full_feature());
    }
}

#[test]
fn a_logout_waits_for_the_commands_before_it() {
    let mut pair = Pair::established(&[("InitialR2T", "Yes"), ("ImmediateData", "No")]);
    let gathering = pair.command(false, true, 4096);
    pair.send(gathering.emit(), &[]);
    pair.receive().unwrap();
    pair.send_read(512);
    log_out(&mut pair, 0, 0);
    assert!(pair.receive().is_none());
    let command = pair.expect_command();
    pair.no_event();
    pair.complete_read(command.task, pattern(512));
    assert_eq!(Opcode::of(&pair.receive().unwrap().bhs), Opcode::DataIn);
    assert_eq!(Opcode::of(&pair.receive().unwrap().bhs), Opcode::LogoutResponse);
}

#[test]
fn discovery_lists_targets_in_one_response() {
    let mut pair = discovery();
    assert_eq!(send_targets(&mut pair, "All"), Some(SendTargetsScope::All));
    pair.target.complete_send_targets(&[record(1), record(2)]);
    let (response, answer) = text_response(&mut pair);
    assert!(response.is_final && response.target_transfer_tag == TargetTransferTag::RESERVED);
    assert_eq!(
        answer,
        "TargetName=iqn.2026-01.test:volume-0001\0TargetAddress=192.0.2.1:3260,1\0\
         TargetAddress=[2001:db8::1]:3260,1\0TargetName=iqn.2026-01.test:volume-0002\0\
         TargetAddress=192.0.2.1:3260,1\0TargetAddress=[2001:db8::1]:3260,1\0"
    );
}

/// COMPAT L16.
#[test]
fn an_answer_longer_than_the_peers_limit_is_asked_for_in_parts() {
    let mut pair = discovery();
    send_targets(&mut pair, "All");
    let records: Vec<_> = (0..1000).map(record).collect();
    pair.target.complete_send_targets(&records);
    let (mut response, mut answer) = text_response(&mut pair);
    while !response.is_final {
        assert!(response.continues && response.target_transfer_tag != TargetTransferTag::RESERVED);
        let request = text_request(&mut pair, response.target_transfer_tag, response.initiator_task_tag);
        pair.send(request.emit(), &[]);
        let (next, part) = text_response(&mut pair);
        assert!(part.len() <= 32_768);
        answer.push_str(&part);
        response = next;
    }
    assert_eq!(answer.matches("TargetName=").count(), 1000);
    assert!(answer.contains("volume-0999\0TargetAddress="));
}

#[test]
fn send_targets_by_name_and_in_a_normal_session() {
    let mut pair = discovery();
    let name = IscsiName::parse(TARGET).unwrap();
    assert_eq!(send_targets(&mut pair, TARGET), Some(SendTargetsScope::Target(name.clone())));
    pair.target.complete_send_targets(&[]);
    assert_eq!(text_response(&mut pair).1, "");
    for wrong in ["", "nonsense"] {
        assert_eq!(send_targets(&mut pair, wrong), None);
        assert_eq!(text_response(&mut pair).1, "SendTargets=Reject\0");
    }
    let mut pair = Pair::established(OPEN_ISCSI);
    for own in ["", TARGET, "All"] {
        assert_eq!(send_targets(&mut pair, own), Some(SendTargetsScope::Target(name.clone())));
        pair.target.complete_send_targets(&[]);
        text_response(&mut pair);
    }
    for wrong in ["all", "Alle", "A", "iqn.2026-01.test:other"] {
        assert_eq!(send_targets(&mut pair, wrong), None);
        assert_eq!(text_response(&mut pair).1, "SendTargets=Reject\0");
    }
}

#[test]
fn text_in_full_feature_phase() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let tag = pair.tag();
    let request = text_request(&mut pair, TargetTransferTag::RESERVED, tag);
    let keys = [("MaxRecvDataSegmentLength", "4096"), ("X-com.example", "1"), ("InitialR2T", "Yes")];
    pair.send(request.emit(), &text(&keys));
    let (response, answer) = text_response(&mut pair);
    assert!(response.is_final);
    assert_eq!(answer, "X-com.example=NotUnderstood\0InitialR2T=Reject\0");
    assert_eq!(pair.target.parameters().transmit_segment_bytes_max, 4096);
    assert!(!pair.target.parameters().initial_r2t);
}

#[test]
fn a_text_with_continuations_and_one_with_a_wrong_tag() {
    let mut pair = discovery();
    let tag = pair.tag();
    let mut first = text_request(&mut pair, TargetTransferTag::RESERVED, tag);
    (first.is_final, first.continues) = (false, true);
    pair.send(first.emit(), b"SendTar");
    let (response, answer) = text_response(&mut pair);
    assert!(!response.is_final && answer.is_empty());
    let second = text_request(&mut pair, response.target_transfer_tag, tag);
    pair.send(second.emit(), b"gets=All\0");
    assert!(matches!(pair.event(), Some(Event::SendTargets(_))));
    pair.target.complete_send_targets(&[record(1)]);
    assert!(text_response(&mut pair).1.contains("volume-0001"));
    let wrong = text_request(&mut pair, TargetTransferTag(0x55), tag);
    pair.send(wrong.emit(), &[]);
    assert_eq!(Reject::parse(&pair.receive().unwrap().bhs).reason, RejectReason::ProtocolError.code());
}

#[test]
fn a_discovery_session_takes_no_commands() {
    let mut pair = discovery();
    pair.send_read(512);
    assert_eq!(Reject::parse(&pair.receive().unwrap().bhs).reason, RejectReason::ProtocolError.code());
    pair.no_event();
}

#[test]
fn asynchronous_messages() {
    let mut pair = Pair::established(OPEN_ISCSI);
    pair.target.notify(AsyncNotice::RequestLogout { seconds: 10 });
    let message = AsyncMessage::parse(&pair.receive().unwrap().bhs);
    assert_eq!((message.event, message.parameter3), (AsyncEvent::RequestLogout, 10));
    pair.target.notify(AsyncNotice::DroppingSession);
    assert_eq!(AsyncMessage::parse(&pair.receive().unwrap().bhs).event, AsyncEvent::DroppingSession);
    pair.target.notify(AsyncNotice::ScsiEvent { lun: LogicalUnitNumber::ZERO, sense: pattern(18) });
    let pdu = pair.receive().unwrap();
    assert_eq!(AsyncMessage::parse(&pdu.bhs).event, AsyncEvent::ScsiEvent);
    assert_eq!(pdu.data.len(), 20);
}

/// COMPAT P2: a peer that never answered a ping is not dropped for it; one that did is.
#[test]
fn an_unanswered_ping_is_fatal_only_to_who_answered_before() {
    let interval = Duration::from_secs(10);
    let config = ConnectionConfig { ping_interval: Some(interval), ..ConnectionConfig::default() };
    let mut pair = Pair::with_config(config);
    pair.establish(OPEN_ISCSI);
    for _ in 0..5 {
        pair.pass(interval);
        pair.no_event();
    }
    let pings = pair.receive_all();
    assert_eq!(pings.len(), 5);
    let ping = NopIn::parse(&pings[4].bhs);
    assert_ne!(ping.target_transfer_tag, TargetTransferTag::RESERVED);
    let answer = NopOut {
        immediate: true,
        lun: LogicalUnitNumber::ZERO,
        initiator_task_tag: InitiatorTaskTag::RESERVED,
        target_transfer_tag: ping.target_transfer_tag,
        cmd_sn: pair.cmd_sn,
        exp_stat_sn: pair.exp_stat_sn.unwrap(),
    };
    pair.send(answer.emit(), &[]);
    assert!(pair.receive().is_none());
    pair.pass(interval);
    pair.no_event();
    pair.pass(interval);
    assert!(matches!(pair.event(), Some(Event::Closed(CloseReason::PingTimeout))));
}

#[test]
fn after_the_end_completions_find_nothing() {
    let mut pair = Pair::established(OPEN_ISCSI);
    pair.send_read(512);
    pair.send_read(512);
    let command = pair.expect_command();
    pair.target.close(CloseReason::Requested);
    assert_eq!(pair.target.tasks_executing(), 1);
    assert!(matches!(pair.event(), Some(Event::Closed(CloseReason::Requested))));
    pair.no_event();
    pair.complete_read(command.task, pattern(512));
    assert_eq!(pair.target.tasks_executing(), 0);
    assert!(pair.receive().is_none());
    pair.complete_read(command.task, pattern(512));
}
