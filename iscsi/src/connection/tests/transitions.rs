//! Every login request that the stages allow, and every one that they do not (RFC 7143 §6.3): each combination of CSG,
//! NSG, T and C in each state, against the standard's table of transitions.

use super::pair::{INITIATOR, Pair, TARGET, text};
use crate::auth::{AuthenticationPolicy, ChapCredential, ChapPolicy};
use crate::error::LoginStatus;
use crate::event::{Event, LoginAuthorization};
use crate::names::{ConnectionId, Tsih};
use crate::wire::{LoginRequest, LoginResponse, Opcode, Stage};

const NAMES: &[(&str, &str)] = &[("InitiatorName", INITIATOR), ("TargetName", TARGET)];
const STAGES: [Stage; 4] = [
    Stage::SecurityNegotiation,
    Stage::LoginOperationalNegotiation,
    Stage::Unknown(2),
    Stage::FullFeaturePhase,
];

/// What the answer must be.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Refused,
    /// The stage goes on.
    Stays,
    /// The stage ends.
    Moves(Stage),
}

/// The standard's table, with nothing of the machine's.
fn expected(state: Option<Stage>, request: &LoginRequest) -> Expected {
    let (current, next) = (request.current_stage, request.next_stage);
    let is_stage = current == STAGES[0] || current == STAGES[1];
    if !is_stage || state.is_some_and(|state| state != current) || request.continues && request.transit {
        return Expected::Refused;
    }
    if !request.transit {
        return Expected::Stays;
    }
    let rows = [(STAGES[0], STAGES[1]), (STAGES[0], STAGES[3]), (STAGES[1], STAGES[3])];
    if rows.contains(&(current, next)) { Expected::Moves(next) } else { Expected::Refused }
}

fn all_requests(pair: &Pair) -> Vec<LoginRequest> {
    let mut requests = Vec::new();
    for current_stage in STAGES {
        for next_stage in STAGES {
            for (transit, continues) in [(false, false), (false, true), (true, false), (true, true)] {
                let base = pair.login_request();
                requests.push(LoginRequest { transit, continues, current_stage, next_stage, ..base });
            }
        }
    }
    requests
}

/// Writes the header with NSG as it is, also where T is not set and the field is reserved.
fn send(pair: &mut Pair, request: &LoginRequest, keys: &[(&str, &str)]) {
    let mut bhs = request.emit();
    let code = STAGES.iter().position(|stage| *stage == request.next_stage).unwrap();
    bhs[1] |= [0, 1, 2, 3][code];
    pair.send(bhs, &text(keys));
    pair.answer_login();
}

fn check(pair: &mut Pair, state: Option<Stage>, request: &LoginRequest) {
    let (response, _) = pair.login_response();
    let shown = format!("in {state:?}: {request:?} was answered with {response:?}");
    match expected(state, request) {
        Expected::Refused => {
            assert_eq!(response.status, LoginStatus::InitiatorError.class_and_detail(), "{shown}");
            assert!(!response.transit && pair.target.is_closed(), "{shown}");
        }
        Expected::Stays => {
            assert!(response.is_success() && !response.transit, "{shown}");
            assert_eq!(response.tsih, Tsih(0), "{shown}");
        }
        Expected::Moves(next) => {
            assert!(response.is_success() && response.transit && response.next_stage == next, "{shown}");
            let is_last = next == Stage::FullFeaturePhase;
            assert_eq!(pair.target.is_full_feature(), is_last, "{shown}");
            assert_eq!(response.tsih, if is_last { Tsih(7) } else { Tsih(0) }, "{shown}");
        }
    }
    // §11.13: what the response repeats.
    assert_eq!((response.isid, response.initiator_task_tag), (request.isid, request.initiator_task_tag));
    assert_eq!(response.current_stage, request.current_stage, "{shown}");
}

#[test]
fn every_first_request() {
    for request in all_requests(&Pair::new()) {
        let mut pair = Pair::new();
        send(&mut pair, &request, NAMES);
        check(&mut pair, None, &request);
    }
}

#[test]
fn every_later_request_in_each_stage() {
    let ways: [(Stage, Option<Stage>, Stage); 3] =
        [(STAGES[0], None, STAGES[0]), (STAGES[0], Some(STAGES[1]), STAGES[1]), (STAGES[1], None, STAGES[1])];
    for (first, next, state) in ways {
        for request in all_requests(&Pair::new()) {
            let mut pair = Pair::new();
            let begin = LoginRequest {
                transit: next.is_some(),
                current_stage: first,
                next_stage: next.unwrap_or_default(),
                ..pair.login_request()
            };
            send(&mut pair, &begin, NAMES);
            assert!(pair.login_response().0.is_success());
            send(&mut pair, &request, &[]);
            check(&mut pair, Some(state), &request);
        }
    }
}

/// After a request with the C bit the stage is that of the request, and its text goes on.
#[test]
fn every_request_that_continues_a_text() {
    for state in [STAGES[0], STAGES[1]] {
        for request in all_requests(&Pair::new()) {
            let mut pair = Pair::new();
            let begin = LoginRequest { continues: true, current_stage: state, ..pair.login_request() };
            send(&mut pair, &begin, &NAMES[..1]);
            let (response, answer) = pair.login_response();
            // §6.2: an empty answer.
            assert!(response.is_success() && answer.is_empty() && !response.transit && !response.continues);
            send(&mut pair, &request, &NAMES[1..]);
            check(&mut pair, Some(state), &request);
        }
    }
}

/// A T bit that comes too early is borne (COMPAT L4), but not on the way to a stage that there is not.
#[test]
fn an_early_transit_bit_still_names_a_stage() {
    let users = vec![ChapCredential { name: "alice".into(), secret: b"alice-secret-1234".into() }];
    let policy = ChapPolicy { users, ..ChapPolicy::default() };
    let authentication = AuthenticationPolicy::Chap(policy);
    let authorization = LoginAuthorization { authentication, ..LoginAuthorization::default() };
    for (next_stage, status) in STAGES.into_iter().zip([[2, 0], [0, 0], [2, 0], [0, 0]]) {
        let mut pair = Pair::new();
        let request = LoginRequest { transit: true, next_stage, ..pair.login_request() };
        pair.send(request.emit(), &text(&[NAMES, &[("AuthMethod", "CHAP")]].concat()));
        pair.answer_login_with(&authorization);
        let (response, _) = pair.login_response();
        assert_eq!((response.status, response.transit), (status, false), "{next_stage:?}");
    }
}

/// §4.2.4: in the midst of a login, every PDU but a login request refuses it.
#[test]
fn another_pdu_during_a_login_refuses_it() {
    for code in (0..0x40).filter(|code| *code != 0x03) {
        let mut pair = Pair::new();
        let begin = LoginRequest { current_stage: STAGES[0], ..pair.login_request() };
        send(&mut pair, &begin, NAMES);
        pair.login_response();
        let mut bhs = [0; 48];
        bhs[0] = code;
        pair.send(bhs, &[]);
        let pdu = pair.receive().expect("a login reject");
        assert_eq!(Opcode::of(&pdu.bhs), Opcode::LoginResponse);
        assert_eq!(LoginResponse::parse(&pdu.bhs).status, LoginStatus::InvalidDuringLogin.class_and_detail());
        assert!(pair.target.is_closed(), "opcode {code:02x}");
    }
}

/// §4.2.4: before it, the connection ends without a word.
#[test]
fn another_pdu_before_a_login_ends_the_connection() {
    for code in (0..0x40).filter(|code| *code != 0x03) {
        let mut pair = Pair::new();
        let mut bhs = [0; 48];
        bhs[0] = code;
        pair.send(bhs, &[]);
        assert!(pair.receive().is_none());
        assert!(matches!(pair.event(), Some(Event::Closed(_))), "opcode {code:02x}");
    }
}

/// §11.12.5 to §11.12.7: ISID, TSIH and CID stay what they were; the version of the first request counts (§11.12.4).
#[test]
fn what_a_login_is_about_does_not_change() {
    type Change = fn(&mut LoginRequest);
    let cases: [(Change, [u8; 2]); 6] = [
        (|_| {}, [0, 0]),
        (|request| request.isid.0[0] ^= 1, [2, 11]),
        (|request| request.tsih = Tsih(9), [2, 11]),
        (|request| request.connection_id = ConnectionId(9), [2, 11]),
        (|request| request.version_min = 1, [0, 0]),
        (|request| request.version_max = 5, [0, 0]),
    ];
    for (at, (change, status)) in cases.into_iter().enumerate() {
        let mut pair = Pair::new();
        let begin = LoginRequest { current_stage: STAGES[0], ..pair.login_request() };
        send(&mut pair, &begin, NAMES);
        pair.login_response();
        let mut request =
            LoginRequest { transit: true, next_stage: STAGES[3], current_stage: STAGES[0], ..begin };
        change(&mut request);
        send(&mut pair, &request, &[]);
        assert_eq!(pair.login_response().0.status, status, "case {at}");
        assert_eq!(pair.target.is_closed(), status != [0, 0]);
    }
}

/// §11.12.4, §11.13.1, §11.13.2: version 00h is the only one, and every response says so.
#[test]
fn versions() {
    for (version_min, version_max, is_ours) in [(0, 0, true), (0, 7, true), (1, 1, false), (255, 255, false)]
    {
        let mut pair = Pair::new();
        let base = pair.login_request();
        let request = LoginRequest { version_min, version_max, ..base };
        send(&mut pair, &request, NAMES);
        let pdu = pair.receive().unwrap();
        assert_eq!(pdu.bhs[2..4], [0, 0], "Version-max, Version-active");
        let status = LoginResponse::parse(&pdu.bhs).status;
        assert_eq!(status, if is_ours { [0, 0] } else { [2, 5] });
    }
}

/// §6.3, §13.4, §13.5: names are declared once. The same again does no harm.
#[test]
fn names_are_not_redeclared() {
    let cases = [
        ("InitiatorName", INITIATOR, true),
        ("TargetName", TARGET, true),
        ("SessionType", "Normal", true),
        ("InitiatorName", "iqn.2026-01.test:another", false),
        ("InitiatorName", "", false),
        ("TargetName", "iqn.2026-01.test:another", false),
        ("SessionType", "Discovery", false),
        ("SessionType", "", false),
    ];
    for (key, value, is_same) in cases {
        for in_first in [false, true] {
            let mut pair = Pair::new();
            let request = LoginRequest { current_stage: STAGES[0], ..pair.login_request() };
            if in_first {
                send(&mut pair, &request, &[NAMES, &[(key, value)]].concat());
            } else {
                send(&mut pair, &request, NAMES);
                assert!(pair.login_response().0.is_success());
                send(&mut pair, &request, &[(key, value)]);
            }
            // The first SessionType of a text is no second one.
            if in_first && key == "SessionType" {
                continue;
            }
            let expected = if is_same { [0, 0] } else { [2, 0] };
            assert_eq!(pair.login_response().0.status, expected, "{key}={value}, first: {in_first}");
        }
    }
}

/// §6.3.1, §13.9: the portal group tag is in the first response to a whole text that names a target, and nowhere else.
#[test]
fn the_portal_group_tag_comes_once() {
    let discovery = [("InitiatorName", INITIATOR), ("SessionType", "Discovery")];
    let named = [("InitiatorName", INITIATOR), ("SessionType", "Discovery"), ("TargetName", TARGET)];
    for (keys, is_given) in [(NAMES, true), (&discovery, false), (&named, true)] {
        let mut pair = Pair::new();
        let request = LoginRequest { current_stage: STAGES[0], ..pair.login_request() };
        send(&mut pair, &request, keys);
        assert_eq!(pair.login_response().1.contains("TargetPortalGroupTag=1\0"), is_given, "{keys:?}");
        send(&mut pair, &request, &[]);
        assert_eq!(pair.login_response().1, "");
    }
}

/// §11.13.5: every status as it stands on the wire; all but success end the connection, and only a redirection has text.
#[test]
fn every_status_class_and_detail() {
    use LoginStatus as S;
    let statuses = [
        (S::InitiatorError, [2, 0]),
        (S::AuthenticationFailure, [2, 1]),
        (S::AuthorizationFailure, [2, 2]),
        (S::NotFound, [2, 3]),
        (S::TargetRemoved, [2, 4]),
        (S::UnsupportedVersion, [2, 5]),
        (S::TooManyConnections, [2, 6]),
        (S::MissingParameter, [2, 7]),
        (S::CannotInclude, [2, 8]),
        (S::SessionTypeNotSupported, [2, 9]),
        (S::SessionDoesNotExist, [2, 10]),
        (S::InvalidDuringLogin, [2, 11]),
        (S::TargetError, [3, 0]),
        (S::ServiceUnavailable, [3, 1]),
        (S::OutOfResources, [3, 2]),
    ];
    for (status, bytes) in statuses {
        let mut pair = asked_for_authorization();
        pair.target.refuse_login(status);
        let pdu = pair.receive().unwrap();
        assert_eq!((&pdu.bhs[36..38], pdu.data.len()), (&bytes[..], 0), "{status:?}");
        assert!(pair.target.is_closed() && pdu.bhs[1] & 0x80 == 0, "{status:?}");
    }
    for (permanently, bytes) in [(false, [1, 1]), (true, [1, 2])] {
        for address in ["192.0.2.7:3260", "192.0.2.7:3260,1", "[2001:db8::7]:3260,1"] {
            let mut pair = asked_for_authorization();
            pair.target.redirect_login(address, permanently);
            let pdu = pair.receive().unwrap();
            assert_eq!(pdu.bhs[36..38], bytes);
            let told = address.trim_end_matches(",1");
            assert_eq!(pdu.data, text(&[("TargetAddress", told)]), "§13.8");
            assert!(pair.target.is_closed());
        }
    }
}

fn asked_for_authorization() -> Pair {
    let mut pair = Pair::new();
    let request = LoginRequest { current_stage: STAGES[0], ..pair.login_request() };
    pair.send(request.emit(), &text(NAMES));
    assert!(matches!(pair.event(), Some(Event::LoginRequested(_))));
    pair
}
