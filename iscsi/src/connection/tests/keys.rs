//! Every key of the table in every place that it may come in (RFC 7143 §6.2, §12, §13).

use super::pair::{INITIATOR, OPEN_ISCSI, Pair, TARGET, text};
use crate::event::LoginAuthorization;
use crate::names::{LogicalUnitNumber, TargetTransferTag};
use crate::text::{KEYS, KeyRow, Rule, Senders};
use crate::wire::{LoginRequest, Opcode, Reject, RejectReason, Stage, TextRequest, TextResponse};

/// Sends keys in one login request, and gives status and answers but the portal group tag and our segment limit.
fn log_in(stage: Stage, keys: &[(&str, &str)]) -> ([u8; 2], String) {
    let mut pair = Pair::new();
    let request = LoginRequest { current_stage: stage, ..pair.login_request() };
    pair.send(
        request.emit(),
        &text(&[&[("InitiatorName", INITIATOR), ("TargetName", TARGET)], keys].concat()),
    );
    pair.answer_login_with(&LoginAuthorization::default());
    let (response, answer) = pair.login_response();
    let answer =
        answer.replace("TargetPortalGroupTag=1\0", "").replace("MaxRecvDataSegmentLength=262144\0", "");
    (response.status, answer)
}

fn operational(key: &str, value: &str) -> ([u8; 2], String) {
    log_in(Stage::LoginOperationalNegotiation, &[(key, value)])
}

const REFUSED: [u8; 2] = [2, 0];

#[track_caller]
fn settles(key: &str, value: &str, result: &str) {
    assert_eq!(operational(key, value), ([0, 0], format!("{key}={result}\0")), "{key}={value}");
}

/// §6.1: decimal, hexadecimal in both cases; §6.2.2: the bounds.
#[test]
fn numbers_at_and_beyond_their_bounds() {
    for row in KEYS {
        let (low, high, is_declared) = match row.rule {
            Rule::Minimum(low, high) | Rule::Maximum(low, high) => (low, high, false),
            Rule::DeclaredNumber(low, high) => (low, high, true),
            _ => continue,
        };
        for legal in [low, low + 1, high - 1, high] {
            for value in
                [format!("{legal}"), format!("{legal:#x}"), format!("0X{legal:X}"), format!("0x0{legal:x}")]
            {
                let (status, answer) = operational(row.name, &value);
                assert_eq!(status, [0, 0], "{}={value}", row.name);
                assert_eq!(answer.is_empty(), is_declared, "{}={value}: {answer}", row.name);
                assert!(!answer.contains("Reject"), "{}={value}: {answer}", row.name);
            }
        }
        let beyond = [(high + 1).to_string(), format!("{:#x}", high + 1), low.wrapping_sub(1).to_string()];
        let nonsense = ["", "-1", "1.5", "Yes", "512,1024", "512~1024", " 512", "0x", "99999999999999999999"];
        for value in beyond.iter().map(String::as_str).chain(nonsense) {
            assert_eq!(operational(row.name, value).0, REFUSED, "{}={value}", row.name);
        }
    }
}

/// §6.2.2: the result of the rule, whoever decides it.
#[test]
fn numbers_are_settled_by_their_rule() {
    settles("MaxConnections", "1", "1");
    settles("MaxConnections", "65535", "1");
    settles("MaxBurstLength", "512", "512");
    settles("MaxBurstLength", "16777215", "1048576");
    settles("FirstBurstLength", "512", "512");
    settles("FirstBurstLength", "16777215", "262144");
    settles("DefaultTime2Wait", "0", "0");
    settles("DefaultTime2Wait", "3600", "3600");
    settles("DefaultTime2Retain", "3600", "0");
    settles("MaxOutstandingR2T", "1", "1");
    settles("MaxOutstandingR2T", "65535", "4");
    settles("ErrorRecoveryLevel", "0", "0");
    settles("ErrorRecoveryLevel", "2", "0");
    settles("iSCSIProtocolLevel", "1", "1");
    settles("iSCSIProtocolLevel", "2", "2");
    settles("iSCSIProtocolLevel", "31", "2");
}

/// §6.2.2: Yes and No, as they are written.
#[test]
fn booleans() {
    for (key, yes, no) in [
        ("InitialR2T", "Yes", "No"),
        ("ImmediateData", "Yes", "No"),
        ("DataPDUInOrder", "Yes", "Yes"),
        ("DataSequenceInOrder", "Yes", "Yes"),
        ("IFMarker", "No", "No"),
        ("OFMarker", "No", "No"),
    ] {
        settles(key, "Yes", yes);
        settles(key, "No", no);
    }
    for row in KEYS.iter().filter(|row| matches!(row.rule, Rule::And | Rule::Or)) {
        for value in ["yes", "NO", "", "1", "Yes,No", "True"] {
            assert_eq!(operational(row.name, value).0, REFUSED, "{}={value}", row.name);
        }
    }
}

/// §6.2.1: the first of the list that is supported; what is not understood is passed over.
#[test]
fn lists() {
    for key in ["HeaderDigest", "DataDigest"] {
        settles(key, "None", "None");
        settles(key, "CRC32C", "CRC32C");
        settles(key, "CRC32C,None", "CRC32C");
        settles(key, "None,CRC32C", "None");
        settles(key, "Y-com.example.sum,X,CRC32C,None", "CRC32C");
        for value in ["", "crc32c", "CRC32", "Y-com.example.sum"] {
            assert_eq!(operational(key, value).0, REFUSED, "{key}={value}");
        }
    }
    settles("TaskReporting", "FastAbort,ResponseFence,RFC3720", "RFC3720");
}

/// §13.25: never NotUnderstood, and no reason to fail.
#[test]
fn marker_keys_are_obsolete() {
    settles("IFMarkInt", "2048~8192", "Reject");
    settles("OFMarkInt", "1", "Reject");
}

/// §6.2: every key of the standard is understood, in either stage; another is not.
#[test]
fn every_key_is_understood() {
    for row in KEYS {
        for stage in [Stage::SecurityNegotiation, Stage::LoginOperationalNegotiation] {
            let (_, answer) = log_in(stage, &[(row.name, legal_value(row))]);
            assert!(!answer.contains("NotUnderstood"), "{}: {answer}", row.name);
        }
    }
    settles("X-com.example.key", "1", "NotUnderstood");
    settles("X#NodeArchitecture", "some", "NotUnderstood");
    settles("headerdigest", "None", "NotUnderstood");
}

fn legal_value(row: &KeyRow) -> &'static str {
    match row.rule {
        Rule::Choice(values) => values[values.len() - 1],
        Rule::And | Rule::Or => "Yes",
        Rule::Minimum(..) | Rule::Maximum(..) => "1024",
        _ => match row.name {
            "InitiatorName" => INITIATOR,
            "TargetName" => TARGET,
            "SessionType" => "Normal",
            "MaxRecvDataSegmentLength" => "8192",
            _ => "1",
        },
    }
}

/// §13: what only a target says is not an initiator's to send; §6.3: a key of another stage neither.
#[test]
fn keys_of_the_other_side_and_of_another_stage_are_rejected() {
    for row in KEYS.iter().filter(|row| row.senders == Senders::Target) {
        settles(row.name, "1", "Reject");
    }
    for key in ["AuthMethod", "CHAP_A", "CHAP_I", "CHAP_C", "CHAP_N", "CHAP_R", "SendTargets"] {
        settles(key, "None", "Reject");
    }
    let (status, answer) = log_in(Stage::SecurityNegotiation, &[("SendTargets", "All")]);
    assert_eq!((status, answer.as_str()), ([0, 0], "SendTargets=Reject\0"));
}

/// §6.3: nothing is negotiated or declared twice, neither in one text nor in two.
#[test]
fn no_key_is_negotiated_twice() {
    let is_single = |row: &&KeyRow| row.is_negotiated() || matches!(row.rule, Rule::DeclaredNumber(..));
    for row in KEYS.iter().filter(is_single).filter(|row| row.name != "AuthMethod") {
        let value = legal_value_in_bounds(row);
        let keys = [(row.name, value), (row.name, value)];
        assert_eq!(log_in(Stage::LoginOperationalNegotiation, &keys).0, REFUSED, "{}", row.name);
        let mut pair = Pair::new();
        let stage = Stage::LoginOperationalNegotiation;
        let request = LoginRequest { current_stage: stage, ..pair.login_request() };
        let names = [("InitiatorName", INITIATOR), ("TargetName", TARGET), (row.name, value)];
        pair.send(request.emit(), &text(&names));
        pair.answer_login();
        assert!(pair.login_response().0.is_success(), "{}", row.name);
        pair.send(request.emit(), &text(&[(row.name, value)]));
        assert_eq!(pair.login_response().0.status, REFUSED, "{}", row.name);
    }
}

fn legal_value_in_bounds(row: &KeyRow) -> &'static str {
    match row.name {
        "ErrorRecoveryLevel" | "iSCSIProtocolLevel" => "1",
        _ => legal_value(row),
    }
}

/// §6.2: whoever does not know a key of the standard, or has no use for its value, cannot log in or goes on without.
#[test]
fn constants_in_the_place_of_a_value() {
    assert_eq!(operational("MaxRecvDataSegmentLength", "NotUnderstood").0, REFUSED);
    for (key, value) in [
        ("MaxBurstLength", "Irrelevant"),
        ("MaxBurstLength", "Reject"),
        ("X-com.example.key", "NotUnderstood"),
        ("X-com.example.key", "Reject"),
    ] {
        assert_eq!(operational(key, value), ([0, 0], String::new()), "{key}={value}");
    }
}

// ---- full feature phase ---------------------------------------------------------------------------------------

fn text_request(pair: &mut Pair) -> TextRequest {
    let request = TextRequest {
        immediate: false,
        is_final: true,
        continues: false,
        lun: LogicalUnitNumber::ZERO,
        initiator_task_tag: pair.tag(),
        target_transfer_tag: TargetTransferTag::RESERVED,
        cmd_sn: pair.cmd_sn,
        exp_stat_sn: pair.exp_stat_sn.unwrap(),
    };
    pair.cmd_sn = pair.cmd_sn.next();
    request
}

fn answer(pair: &mut Pair) -> (TextResponse, String) {
    let pdu = pair.receive().unwrap();
    assert_eq!(Opcode::of(&pdu.bhs), Opcode::TextResponse);
    (TextResponse::parse(&pdu.bhs), String::from_utf8(pdu.data.to_vec()).unwrap())
}

/// §13 "Use": what may be said after the login, and what may not.
#[test]
fn every_key_in_full_feature_phase() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let before = pair.target.parameters().clone();
    for row in KEYS.iter().filter(|row| row.name != "SendTargets") {
        let request = text_request(&mut pair);
        pair.send(request.emit(), &text(&[(row.name, legal_value(row))]));
        let (response, answer) = answer(&mut pair);
        assert!(response.is_final && response.target_transfer_tag == TargetTransferTag::RESERVED);
        let is_rejected = !row.in_full_feature || row.senders == Senders::Target;
        let expected = if is_rejected { format!("{}=Reject\0", row.name) } else { String::new() };
        assert_eq!(answer, expected, "{}", row.name);
    }
    let expected = crate::text::Parameters { transmit_segment_bytes_max: 8192, ..before };
    assert_eq!(*pair.target.parameters(), expected);
}

/// §6.4: what is negotiated takes effect when the exchange is complete.
#[test]
fn an_exchange_takes_effect_at_its_end() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let mut request = text_request(&mut pair);
    request.is_final = false;
    pair.send(request.emit(), &text(&[("MaxRecvDataSegmentLength", "512")]));
    let (response, _) = answer(&mut pair);
    // §11.11.1: not final, hence with a tag.
    assert!(!response.is_final && response.target_transfer_tag != TargetTransferTag::RESERVED);
    assert_eq!(pair.target.parameters().transmit_segment_bytes_max, 262_144);
    let mut last = text_request(&mut pair);
    last.initiator_task_tag = request.initiator_task_tag;
    last.target_transfer_tag = response.target_transfer_tag;
    pair.send(last.emit(), &[]);
    assert!(answer(&mut pair).0.is_final);
    assert_eq!(pair.target.parameters().transmit_segment_bytes_max, 512);
}

/// §6.4, §7.12: an exchange that fails is rejected, and nothing of it takes effect; a new one can begin.
#[test]
fn an_exchange_that_fails_changes_nothing() {
    let cases: [&[(&str, &str)]; 3] = [
        &[("MaxRecvDataSegmentLength", "512"), ("MaxRecvDataSegmentLength", "1024")],
        &[("MaxRecvDataSegmentLength", "512"), ("MaxRecvDataSegmentLength", "NotUnderstood")],
        &[("MaxRecvDataSegmentLength", "512"), ("", "nonsense")],
    ];
    for keys in cases {
        let mut pair = Pair::established(OPEN_ISCSI);
        let request = text_request(&mut pair);
        pair.send(request.emit(), &text(keys));
        let pdu = pair.receive().unwrap();
        assert_eq!(Reject::parse(&pdu.bhs).reason, RejectReason::ProtocolError.code(), "{keys:?}");
        assert_eq!(pair.target.parameters().transmit_segment_bytes_max, 262_144);
        // §7.3: the number is free again.
        pair.cmd_sn = request.cmd_sn;
        let request = text_request(&mut pair);
        pair.send(request.emit(), &text(&[("MaxRecvDataSegmentLength", "1024")]));
        assert_eq!(answer(&mut pair).1, "");
        assert_eq!(pair.target.parameters().transmit_segment_bytes_max, 1024);
    }
}

/// §6.2: a text is cut with the C bit at any byte; each part is answered with nothing.
#[test]
fn a_text_in_full_feature_phase_may_be_cut_anywhere() {
    let whole = text(&[("X-com.example.key", "1"), ("MaxRecvDataSegmentLength", "1024")]);
    for cut in 0..=whole.len() {
        let mut pair = Pair::established(OPEN_ISCSI);
        let mut first = text_request(&mut pair);
        (first.is_final, first.continues) = (false, true);
        pair.send(first.emit(), &whole[..cut]);
        let (response, nothing) = answer(&mut pair);
        assert!(nothing.is_empty() && !response.is_final && !response.continues);
        let mut second = text_request(&mut pair);
        second.initiator_task_tag = first.initiator_task_tag;
        second.target_transfer_tag = response.target_transfer_tag;
        pair.send(second.emit(), &whole[cut..]);
        assert_eq!(answer(&mut pair).1, "X-com.example.key=NotUnderstood\0", "cut at {cut}");
        assert_eq!(pair.target.parameters().transmit_segment_bytes_max, 1024);
    }
}

/// §11.10.2: C and F exclude each other; §11.10.4: a tag that was not given, or of another task, continues nothing.
#[test]
fn texts_that_contradict_are_rejected() {
    type Change = fn(&mut TextRequest);
    let changes: [Change; 2] = [
        |request| request.continues = true,
        |request| request.target_transfer_tag = TargetTransferTag(0x1234),
    ];
    for change in changes {
        let mut pair = Pair::established(OPEN_ISCSI);
        let mut request = text_request(&mut pair);
        change(&mut request);
        pair.send(request.emit(), &[]);
        let pdu = pair.receive().unwrap();
        assert_eq!(Reject::parse(&pdu.bhs).reason, RejectReason::ProtocolError.code());
    }
}

/// §6.2, §11.10: one at a time. While the driver is asked for targets, another request is rejected, and the first is
/// answered all the same.
#[test]
fn a_second_text_request_is_rejected_while_one_is_open() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let first = text_request(&mut pair);
    pair.send(first.emit(), &text(&[("SendTargets", "")]));
    assert!(matches!(pair.event(), Some(crate::Event::SendTargets(_))));
    let second = text_request(&mut pair);
    pair.send(second.emit(), &text(&[("X-com.example.key", "1")]));
    assert_eq!(Reject::parse(&pair.receive().unwrap().bhs).reason, RejectReason::ProtocolError.code());
    pair.target.complete_send_targets(&[]);
    assert_eq!(answer(&mut pair).0.initiator_task_tag, first.initiator_task_tag);
}
