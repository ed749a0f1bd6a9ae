//! Logging in (RFC 7143 §6.3), as initiators in the field do it.

use super::pair::{INITIATOR, OPEN_ISCSI, Pair, TARGET, text};
use crate::auth::{AuthenticationPolicy, ChapAlgorithm, ChapCredential, ChapPolicy};
use crate::error::{CloseReason, LoginStatus};
use crate::event::{Event, LoginAuthorization};
use crate::limits::LOGIN_TIME;
use crate::names::{SessionType, Tsih};
use crate::text::{Pairs, binary_to_hex, decode_binary};
use crate::wire::{LoginRequest, Opcode, Stage};

const SECURITY: &[(&str, &str)] = &[
    ("InitiatorName", INITIATOR),
    ("TargetName", TARGET),
    ("SessionType", "Normal"),
    ("AuthMethod", "None"),
];

fn request(pair: &Pair, current: Stage, next: Option<Stage>) -> LoginRequest {
    LoginRequest {
        transit: next.is_some(),
        current_stage: current,
        next_stage: next.unwrap_or_default(),
        ..pair.login_request()
    }
}

fn send(pair: &mut Pair, current: Stage, next: Option<Stage>, keys: &[(&str, &str)]) {
    let request = request(pair, current, next);
    pair.send(request.emit(), &text(keys));
}

fn refused(pair: &mut Pair, status: LoginStatus) {
    let (response, _) = pair.login_response();
    assert_eq!(response.status, status.class_and_detail());
    assert!(!response.transit);
    assert!(matches!(pair.event(), Some(Event::Closed(CloseReason::LoginRefused(s))) if s == status));
    assert!(!pair.target.wants_read());
}

#[test]
fn open_iscsi_logs_in_with_all_keys() {
    let mut pair = Pair::new();
    let mut keys = vec![("InitiatorName", INITIATOR), ("TargetName", TARGET)];
    keys.extend_from_slice(OPEN_ISCSI);
    let (response, answer) = pair.log_in_once(&keys);
    assert_eq!(
        (response.transit, response.next_stage, response.tsih),
        (true, Stage::FullFeaturePhase, Tsih(7))
    );
    let pairs = Pairs::parse(answer.as_bytes()).unwrap();
    let expected = [
        ("TargetPortalGroupTag", "1"),
        ("HeaderDigest", "None"),
        ("DataDigest", "None"),
        ("DefaultTime2Wait", "2"),
        ("DefaultTime2Retain", "0"),
        ("IFMarker", "No"),
        ("OFMarker", "No"),
        ("ErrorRecoveryLevel", "0"),
        ("InitialR2T", "No"),
        ("ImmediateData", "Yes"),
        ("MaxBurstLength", "1048576"),
        ("FirstBurstLength", "262144"),
        ("MaxOutstandingR2T", "1"),
        ("MaxConnections", "1"),
        ("DataPDUInOrder", "Yes"),
        ("DataSequenceInOrder", "Yes"),
        ("MaxRecvDataSegmentLength", "262144"),
    ];
    assert_eq!(pairs.iter().collect::<Vec<_>>(), expected);
    assert_eq!(pair.target.parameters().transmit_segment_bytes_max, 262_144);
}

/// COMPAT L1: two stages, identification first, operational keys only in the second.
#[test]
fn ipxe_logs_in_in_two_round_trips() {
    let mut pair = Pair::new();
    send(&mut pair, Stage::SecurityNegotiation, Some(Stage::LoginOperationalNegotiation), SECURITY);
    pair.answer_login();
    let (response, answer) = pair.login_response();
    assert_eq!((response.transit, response.next_stage), (true, Stage::LoginOperationalNegotiation));
    assert_eq!(answer, "TargetPortalGroupTag=1\0AuthMethod=None\0");
    let keys = [
        ("HeaderDigest", "None"),
        ("DataDigest", "None"),
        ("MaxConnections", "1"),
        ("InitialR2T", "Yes"),
        ("ImmediateData", "No"),
        ("MaxRecvDataSegmentLength", "8192"),
        ("MaxBurstLength", "262144"),
        ("FirstBurstLength", "65536"),
        ("DefaultTime2Wait", "0"),
        ("DefaultTime2Retain", "0"),
        ("MaxOutstandingR2T", "1"),
        ("DataPDUInOrder", "Yes"),
        ("DataSequenceInOrder", "Yes"),
        ("ErrorRecoveryLevel", "0"),
    ];
    send(&mut pair, Stage::LoginOperationalNegotiation, Some(Stage::FullFeaturePhase), &keys);
    pair.answer_login();
    let (response, answer) = pair.login_response();
    assert_eq!((response.transit, response.next_stage), (true, Stage::FullFeaturePhase));
    assert!(!answer.contains("Reject") && !answer.contains("NotUnderstood"), "{answer}");
    assert!(pair.target.parameters().initial_r2t && !pair.target.parameters().immediate_data);
}

/// COMPAT L3: absent keys have the standard's defaults, and nothing is proposed that must be answered.
#[test]
fn a_login_without_operational_keys_gets_the_defaults() {
    let mut pair = Pair::new();
    send(&mut pair, Stage::SecurityNegotiation, Some(Stage::FullFeaturePhase), SECURITY);
    pair.answer_login();
    let (response, answer) = pair.login_response();
    assert_eq!((response.transit, response.next_stage), (true, Stage::FullFeaturePhase));
    assert_eq!(answer, "TargetPortalGroupTag=1\0AuthMethod=None\0");
    assert_eq!(*pair.target.parameters(), crate::text::Parameters::default());
}

#[test]
fn a_login_with_one_operational_key_gets_one_answer_and_our_limit() {
    let mut pair = Pair::new();
    let (_, answer) = pair.log_in_once(&[
        ("InitiatorName", INITIATOR),
        ("TargetName", TARGET),
        ("MaxRecvDataSegmentLength", "65536"),
    ]);
    assert_eq!(answer, "TargetPortalGroupTag=1\0MaxRecvDataSegmentLength=262144\0");
}

#[test]
fn a_login_survives_delivery_byte_by_byte() {
    let mut pair = Pair::new();
    pair.step = 1;
    pair.establish(OPEN_ISCSI);
    assert!(pair.target.is_full_feature());
}

/// COMPAT L17: the C bit may cut anywhere, in the middle of a key too.
#[test]
fn a_text_may_be_cut_anywhere() {
    let mut keys = vec![("InitiatorName", INITIATOR), ("TargetName", TARGET)];
    keys.extend_from_slice(OPEN_ISCSI);
    let whole = text(&keys);
    for cut in 0..=whole.len() {
        let mut pair = Pair::new();
        let mut first = request(&pair, Stage::LoginOperationalNegotiation, None);
        first.continues = true;
        pair.send(first.emit(), &whole[..cut]);
        let (response, answer) = pair.login_response();
        assert!(!response.transit && !response.continues && answer.is_empty());
        let second = request(&pair, Stage::LoginOperationalNegotiation, Some(Stage::FullFeaturePhase));
        pair.send(second.emit(), &whole[cut..]);
        pair.answer_login();
        let (response, answer) = pair.login_response();
        assert!(response.transit && answer.contains("MaxBurstLength=1048576"), "cut at {cut}");
    }
}

/// 200 unknown keys: their answers are longer than a response.
#[test]
fn a_long_answer_is_continued() {
    let mut pair = Pair::new();
    let names: Vec<String> = (0..200).map(|n| format!("X-com.example.a-long-name-of-a-key.{n}")).collect();
    let mut keys = vec![("InitiatorName", INITIATOR), ("TargetName", TARGET)];
    keys.extend(names.iter().map(|name| (name.as_str(), "1")));
    let whole = text(&keys);
    let mut first = request(&pair, Stage::LoginOperationalNegotiation, None);
    first.continues = true;
    pair.send(first.emit(), &whole[..8000]);
    pair.login_response();
    let next = request(&pair, Stage::LoginOperationalNegotiation, Some(Stage::FullFeaturePhase));
    pair.send(next.emit(), &whole[8000..]);
    pair.answer_login();
    let (response, mut answer) = pair.login_response();
    assert!(response.continues && !response.transit);
    pair.send(next.emit(), &[]);
    pair.answer_login();
    let (response, rest) = pair.login_response();
    assert!(!response.continues && response.transit);
    answer.push_str(&rest);
    assert_eq!(answer.matches("=NotUnderstood\0").count(), 200);
}

#[test]
fn what_is_missing_is_named_in_the_status() {
    let cases: [(&[(&str, &str)], LoginStatus); 6] = [
        (&[("TargetName", TARGET)], LoginStatus::MissingParameter),
        (&[("InitiatorName", INITIATOR)], LoginStatus::MissingParameter),
        (&[("InitiatorName", "nonsense"), ("TargetName", TARGET)], LoginStatus::InitiatorError),
        (&[("InitiatorName", INITIATOR), ("TargetName", "x")], LoginStatus::NotFound),
        (&[("InitiatorName", INITIATOR), ("SessionType", "Other")], LoginStatus::SessionTypeNotSupported),
        (&[], LoginStatus::MissingParameter),
    ];
    for (keys, status) in cases {
        let mut pair = Pair::new();
        send(&mut pair, Stage::LoginOperationalNegotiation, Some(Stage::FullFeaturePhase), keys);
        refused(&mut pair, status);
    }
}

#[test]
fn headers_that_contradict_are_refused() {
    let full = Some(Stage::FullFeaturePhase);
    type Change = fn(&mut LoginRequest);
    let cases: [(Change, LoginStatus); 5] = [
        (|request| request.version_min = 1, LoginStatus::UnsupportedVersion),
        (|request| request.current_stage = Stage::FullFeaturePhase, LoginStatus::InitiatorError),
        (|request| request.current_stage = Stage::Unknown(2), LoginStatus::InitiatorError),
        (|request| request.continues = true, LoginStatus::InitiatorError),
        (|request| request.next_stage = Stage::SecurityNegotiation, LoginStatus::InitiatorError),
    ];
    for (change, status) in cases {
        let mut pair = Pair::new();
        let mut request = request(&pair, Stage::LoginOperationalNegotiation, full);
        change(&mut request);
        pair.send(request.emit(), &text(SECURITY));
        pair.answer_login();
        refused(&mut pair, status);
    }
}

#[test]
fn another_isid_in_the_same_login_is_refused() {
    let mut pair = Pair::new();
    send(&mut pair, Stage::SecurityNegotiation, Some(Stage::LoginOperationalNegotiation), SECURITY);
    pair.answer_login();
    pair.login_response();
    let mut other = request(&pair, Stage::LoginOperationalNegotiation, Some(Stage::FullFeaturePhase));
    other.isid.0[5] ^= 1;
    pair.send(other.emit(), &[]);
    refused(&mut pair, LoginStatus::InvalidDuringLogin);
}

#[test]
fn a_key_negotiated_twice_is_refused() {
    let mut pair = Pair::new();
    let keys = [SECURITY, &[("MaxBurstLength", "512"), ("MaxBurstLength", "1024")]].concat();
    send(&mut pair, Stage::LoginOperationalNegotiation, Some(Stage::FullFeaturePhase), &keys);
    pair.answer_login();
    refused(&mut pair, LoginStatus::InitiatorError);
}

#[test]
fn anything_but_a_login_request_ends_the_connection() {
    let mut pair = Pair::new();
    let command = pair.command(true, false, 512);
    pair.send(command.emit(), &[]);
    assert!(matches!(pair.event(), Some(Event::Closed(CloseReason::Protocol(_)))));
    assert!(pair.receive().is_none());
}

#[test]
fn a_login_that_does_not_come_times_out() {
    let mut pair = Pair::new();
    assert_eq!(pair.target.poll_timeout(), Some(pair.now + LOGIN_TIME));
    pair.pass(LOGIN_TIME / 2);
    pair.no_event();
    pair.pass(LOGIN_TIME / 2);
    assert!(matches!(pair.event(), Some(Event::Closed(CloseReason::LoginTimeout))));
    assert_eq!(pair.target.poll_timeout(), None);
}

#[test]
fn the_driver_may_refuse_and_redirect() {
    let mut pair = Pair::new();
    send(&mut pair, Stage::SecurityNegotiation, Some(Stage::LoginOperationalNegotiation), SECURITY);
    assert!(matches!(pair.event(), Some(Event::LoginRequested(_))));
    pair.target.refuse_login(LoginStatus::NotFound);
    refused(&mut pair, LoginStatus::NotFound);

    let mut pair = Pair::new();
    send(&mut pair, Stage::SecurityNegotiation, Some(Stage::LoginOperationalNegotiation), SECURITY);
    assert!(matches!(pair.event(), Some(Event::LoginRequested(_))));
    pair.target.redirect_login("192.0.2.7:3260,1", false);
    let (response, answer) = pair.login_response();
    assert_eq!(response.status, [1, 1]);
    assert_eq!(answer, "TargetAddress=192.0.2.7:3260\0", "§13.8: without a portal group tag");
}

#[test]
fn nothing_is_read_while_the_driver_decides() {
    let mut pair = Pair::new();
    send(&mut pair, Stage::SecurityNegotiation, Some(Stage::LoginOperationalNegotiation), SECURITY);
    assert!(!pair.target.wants_read());
    send(&mut pair, Stage::LoginOperationalNegotiation, Some(Stage::FullFeaturePhase), &[]);
    assert!(pair.undelivered() > 0);
    pair.answer_login();
    pair.nudge();
    assert_eq!(pair.undelivered(), 0);
}

#[test]
fn a_discovery_session_needs_no_target_name() {
    let mut pair = Pair::new();
    let keys = [("InitiatorName", INITIATOR), ("SessionType", "Discovery"), ("AuthMethod", "None")];
    send(&mut pair, Stage::SecurityNegotiation, Some(Stage::FullFeaturePhase), &keys);
    let Some(Event::LoginRequested(identity)) = pair.event() else { panic!() };
    assert_eq!((identity.session_type, identity.target_name), (SessionType::Discovery, None));
    pair.target.authorize_login(LoginAuthorization::default());
    pair.answer_login();
    let (response, answer) = pair.login_response();
    assert!(response.transit);
    assert_eq!(answer, "AuthMethod=None\0", "no portal group tag where no target was named");
}

// ---- CHAP -----------------------------------------------------------------------------------------------------

fn chap_authorization(mutual: bool) -> LoginAuthorization {
    let credential = |name: &str, secret: &[u8]| ChapCredential { name: name.into(), secret: secret.into() };
    LoginAuthorization {
        authentication: AuthenticationPolicy::Chap(ChapPolicy {
            users: vec![credential("alice", b"alice-secret-1234")],
            mutual: mutual.then(|| credential("osvol", b"osvol-secret-5678")),
            algorithms: Vec::new(),
        }),
        chap_identifier: 42,
        chap_challenge: [0x5a; 32],
        ..LoginAuthorization::default()
    }
}

/// The three round trips of a CHAP login; the T bit is set from the first request on when `premature`.
fn log_in_with_chap(mutual: bool, premature: bool, secret: &[u8]) -> Pair {
    let mut pair = Pair::new();
    let transit = premature.then_some(Stage::LoginOperationalNegotiation);
    let keys = [("InitiatorName", INITIATOR), ("TargetName", TARGET), ("AuthMethod", "CHAP,None")];
    send(&mut pair, Stage::SecurityNegotiation, transit, &keys);
    pair.answer_login_with(&chap_authorization(mutual));
    let (response, answer) = pair.login_response();
    assert!(!response.transit && response.is_success());
    assert_eq!(answer, "TargetPortalGroupTag=1\0AuthMethod=CHAP\0");
    send(&mut pair, Stage::SecurityNegotiation, transit, &[("CHAP_A", "5")]);
    let (response, answer) = pair.login_response();
    assert!(!response.transit && response.is_success());
    let offer = Pairs::parse(answer.as_bytes()).unwrap();
    let challenge = decode_binary(offer.value("CHAP_C").unwrap()).unwrap();
    let answer = binary_to_hex(&ChapAlgorithm::Md5.answer(42, secret, &challenge));
    let mut keys = vec![("CHAP_N", "alice"), ("CHAP_R", answer.as_str())];
    if mutual {
        keys.extend([("CHAP_I", "17"), ("CHAP_C", "0x0102030405060708")]);
    }
    send(&mut pair, Stage::SecurityNegotiation, Some(Stage::LoginOperationalNegotiation), &keys);
    pair
}

#[test]
fn chap_with_the_right_secret() {
    for premature in [false, true] {
        let mut pair = log_in_with_chap(false, premature, b"alice-secret-1234");
        let (response, _) = pair.login_response();
        assert_eq!((response.transit, response.next_stage), (true, Stage::LoginOperationalNegotiation));
        send(&mut pair, Stage::LoginOperationalNegotiation, Some(Stage::FullFeaturePhase), &[]);
        pair.answer_login();
        assert!(pair.login_response().0.transit);
        let Some(Event::SessionEstablished(session)) = pair.event() else { panic!() };
        assert_eq!(session.chap_name.as_deref(), Some("alice"));
    }
}

/// COMPAT L4.
#[test]
fn mutual_chap_with_a_premature_transit_bit() {
    let mut pair = log_in_with_chap(true, true, b"alice-secret-1234");
    let (response, answer) = pair.login_response();
    assert!(response.transit && response.is_success());
    let proof = ChapAlgorithm::Md5.answer(17, b"osvol-secret-5678", &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(answer, format!("CHAP_N=osvol\0CHAP_R={}\0", binary_to_hex(&proof)));
}

#[test]
fn chap_with_a_wrong_secret() {
    let mut pair = log_in_with_chap(false, false, b"wrong");
    refused(&mut pair, LoginStatus::AuthenticationFailure);
}

#[test]
fn who_offers_no_chap_where_it_is_asked_for_is_refused() {
    for (stage, keys) in [
        (Stage::SecurityNegotiation, SECURITY),
        (Stage::SecurityNegotiation, &SECURITY[..3]),
        (Stage::LoginOperationalNegotiation, &SECURITY[..3]),
    ] {
        let mut pair = Pair::new();
        send(&mut pair, stage, Some(Stage::FullFeaturePhase), keys);
        pair.answer_login_with(&chap_authorization(false));
        refused(&mut pair, LoginStatus::AuthenticationFailure);
    }
}

#[test]
fn who_insists_on_chap_where_there_is_none_is_refused() {
    let mut pair = Pair::new();
    let keys = [("InitiatorName", INITIATOR), ("TargetName", TARGET), ("AuthMethod", "CHAP")];
    send(&mut pair, Stage::SecurityNegotiation, None, &keys);
    pair.answer_login();
    refused(&mut pair, LoginStatus::AuthenticationFailure);
}

/// What other targets got wrong: ISID and TSIH zeroed in responses, the T bit ignored after AuthMethod=None, a TSIH
/// before the last response.
#[test]
fn responses_repeat_the_names_of_the_login() {
    let mut pair = Pair::new();
    send(&mut pair, Stage::SecurityNegotiation, Some(Stage::LoginOperationalNegotiation), SECURITY);
    pair.answer_login();
    let isid = pair.login_request().isid;
    let (first, _) = pair.login_response();
    assert_eq!((first.isid, first.tsih, first.transit), (isid, Tsih(0), true));
    assert_eq!(first.initiator_task_tag, pair.login_request().initiator_task_tag);
    send(&mut pair, Stage::LoginOperationalNegotiation, Some(Stage::FullFeaturePhase), &[]);
    pair.answer_login();
    let (last, _) = pair.login_response();
    assert_eq!((last.isid, last.tsih, last.transit), (isid, Tsih(7), true));
    assert_eq!(last.sequence.stat_sn, first.sequence.stat_sn.next());
}

#[test]
fn a_peer_that_plays_for_time_is_refused() {
    let mut pair = Pair::new();
    send(&mut pair, Stage::SecurityNegotiation, None, SECURITY);
    pair.answer_login();
    for _ in 0..crate::limits::LOGIN_ROUNDS_MAX - 1 {
        assert!(pair.login_response().0.is_success());
        send(&mut pair, Stage::SecurityNegotiation, None, &[]);
    }
    pair.login_response();
    send(&mut pair, Stage::SecurityNegotiation, None, &[]);
    refused(&mut pair, LoginStatus::InitiatorError);
}

#[test]
fn the_session_is_numbered_from_the_login_on() {
    let mut pair = Pair::new();
    pair.cmd_sn = crate::serial::SerialNumber(0xffff_fffe);
    pair.exp_cmd_sn = pair.cmd_sn;
    pair.max_cmd_sn = pair.cmd_sn;
    pair.establish(OPEN_ISCSI);
    assert_eq!(pair.exp_cmd_sn.0, 0xffff_fffe);
    assert_eq!(pair.max_cmd_sn.0, 0xffff_fffeu32.wrapping_add(127));
    for _ in 0..5 {
        pair.send_read(512);
        let command = pair.expect_command();
        pair.complete_read(command.task, vec![0; 512]);
        assert_eq!(Opcode::of(&pair.receive().unwrap().bhs), Opcode::DataIn);
    }
    assert_eq!(pair.exp_cmd_sn.0, 3);
}
