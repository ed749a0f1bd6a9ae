//! A random legal login, and what must come back of it: the rules of RFC 7143 §12 and §13 once more, written from the
//! standard and not from the table.

use super::super::pair::{INITIATOR, TARGET, text};
use super::random::Random;
use crate::auth::{AuthenticationPolicy, ChapAlgorithm, ChapCredential, ChapPolicy};
use crate::config::NegotiationPolicy;
use crate::limits::LOGIN_SEGMENT_BYTES_MAX;
use crate::names::{InitiatorTaskTag, Tsih};
use crate::text::{Pairs, Parameters, binary_to_hex, decode_binary};
use crate::wire::{LoginRequest, LoginResponse, Stage};
use std::collections::VecDeque;

const USER: &str = "alice";
const SECRET: &[u8] = b"alice-secret-1234";
const TARGET_USER: &str = "osvol";
const TARGET_SECRET: &[u8] = b"osvol-secret-5678";
const CHALLENGE: [u8; 16] = *b"whoever-are-you?";

type Keys = Vec<(String, String)>;

/// One text of the initiator, in as many requests as it is cut into.
struct Turn {
    stage: Stage,
    transit: Option<Stage>,
    keys: Keys,
    chap: ChapTurn,
    /// What must be answered, and nothing else but declarations.
    answers: Keys,
    /// Does the stage end with the answer?
    transits: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum ChapTurn {
    None,
    Algorithm,
    Proof,
}

/// The terms of a CHAP login.
#[derive(Clone)]
pub(super) struct ChapTerms {
    offered: Vec<ChapAlgorithm>,
    mutual: bool,
}

/// One login on its way.
pub(super) struct Login {
    pub(super) base: LoginRequest,
    turns: VecDeque<Turn>,
    /// What is left of the present turn's text.
    parts: VecDeque<Vec<u8>>,
    answer: Vec<u8>,
    last_answer: Vec<u8>,
    pub(super) chap: Option<ChapTerms>,
    discovery: bool,
    tag_was_told: bool,
    limit_was_told: bool,
    operational: bool,
    policy: NegotiationPolicy,
    /// What must have been agreed in the end.
    pub(super) agreed: Parameters,
}

/// Where the login is after a response.
#[derive(PartialEq)]
pub(super) enum After {
    More,
    Established(Tsih),
}

fn owned(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

impl Login {
    pub(super) fn new(
        random: &mut Random,
        policy: &NegotiationPolicy,
        base: LoginRequest,
        discovery: bool,
    ) -> Self {
        let mut login = Self {
            base,
            turns: VecDeque::new(),
            parts: VecDeque::new(),
            answer: Vec::new(),
            last_answer: Vec::new(),
            chap: random.chance(20).then(|| ChapTerms::random(random)),
            discovery,
            tag_was_told: false,
            limit_was_told: false,
            operational: false,
            policy: policy.clone(),
            agreed: Parameters::default(),
        };
        let session_type = if discovery { "Discovery" } else { "Normal" };
        let mut identity = vec![owned("InitiatorName", INITIATOR)];
        if !discovery {
            identity.push(owned("TargetName", TARGET));
        }
        if discovery || random.chance(80) {
            identity.push(owned("SessionType", session_type));
        }
        login.plan(random, identity);
        login
    }

    fn plan(&mut self, random: &mut Random, mut identity: Keys) {
        use Stage::{
            FullFeaturePhase, LoginOperationalNegotiation as Operational, SecurityNegotiation as Security,
        };
        let operational = self.chap.is_none() || random.chance(80);
        let next = if operational { Operational } else { FullFeaturePhase };
        let security = self.chap.is_some() || random.chance(60);
        if security {
            let method = if self.chap.is_some() { "CHAP" } else { "None" };
            let list = if self.chap.is_some() {
                random.pick(&["CHAP", "CHAP,None", "None,CHAP"])
            } else {
                random.pick(&["None", "CHAP,None", "None,KRB5"])
            };
            let mut answers = Keys::new();
            if self.chap.is_some() || random.chance(80) {
                identity.push(owned("AuthMethod", list));
                answers.push(owned("AuthMethod", method));
            }
            let premature = self.chap.is_some() && random.chance(30);
            let transits = self.chap.is_none();
            let transit = (transits || premature).then_some(next);
            self.turns.push_back(Turn {
                stage: Security,
                transit,
                keys: std::mem::take(&mut identity),
                chap: ChapTurn::None,
                answers,
                transits,
            });
            if self.chap.is_some() {
                for (chap, transits) in [(ChapTurn::Algorithm, false), (ChapTurn::Proof, true)] {
                    let transit = (transits || premature).then_some(next);
                    let (keys, answers) = (Keys::new(), Keys::new());
                    self.turns.push_back(Turn { stage: Security, transit, keys, chap, answers, transits });
                }
            }
        }
        if security && !operational {
            return;
        }
        let (mut keys, mut answers) = (identity, Keys::new());
        let offers = self.offers(random);
        let count = offers.len();
        for (at, (key, value, answer)) in offers.into_iter().enumerate() {
            if let Some(answer) = answer {
                answers.push((key.clone(), answer));
            }
            keys.push((key, value));
            if at + 1 < count && random.chance(8) {
                let (keys, answers) = (std::mem::take(&mut keys), std::mem::take(&mut answers));
                let (stage, chap) = (Operational, ChapTurn::None);
                self.turns.push_back(Turn { stage, transit: None, keys, chap, answers, transits: false });
            }
        }
        self.turns.push_back(Turn {
            stage: Operational,
            transit: Some(FullFeaturePhase),
            keys,
            chap: ChapTurn::None,
            answers,
            transits: true,
        });
    }

    /// Operational keys with legal values, and the answer that each must get.
    fn offers(&mut self, random: &mut Random) -> Vec<(String, String, Option<String>)> {
        let policy = self.policy.clone();
        let mut offers: Vec<(String, String, Option<String>)> = Vec::new();
        let mut add = |key: &str, value: String, answer: Option<String>| {
            offers.push((key.to_owned(), value, answer));
        };
        let lengths = [512, 513, 1024, 4095, 4096, 8192, 65_536, 262_144, 16_777_215u32];
        let number = |random: &mut Random, number: u32| {
            if random.chance(15) { format!("0x{number:x}") } else { number.to_string() }
        };
        for key in 0..20 {
            if !random.chance(60) {
                continue;
            }
            match key {
                0 => {
                    let (list, on) = digest(random, policy.header_digest);
                    self.agreed.header_digest = on;
                    add("HeaderDigest", list, Some(if on { "CRC32C" } else { "None" }.to_owned()));
                }
                1 => {
                    let (list, on) = digest(random, policy.data_digest);
                    self.agreed.data_digest = on;
                    add("DataDigest", list, Some(if on { "CRC32C" } else { "None" }.to_owned()));
                }
                2 => {
                    add("MaxConnections", random.pick(&["1", "2", "65535"]).to_owned(), Some("1".to_owned()))
                }
                3 => {
                    let (offer, ours) = (random.chance(40), policy.initial_r2t);
                    self.agreed.initial_r2t = offer || ours;
                    add("InitialR2T", yes(offer), Some(yes(offer || ours)));
                }
                4 => {
                    let (offer, ours) = (random.chance(70), policy.immediate_data);
                    self.agreed.immediate_data = offer && ours;
                    add("ImmediateData", yes(offer), Some(yes(offer && ours)));
                }
                5 => {
                    let offer = random.pick(&lengths);
                    self.agreed.transmit_segment_bytes_max = offer;
                    add("MaxRecvDataSegmentLength", number(random, offer), None);
                }
                6 => {
                    let offer = random.pick(&lengths);
                    self.agreed.burst_bytes_max = offer.min(policy.burst_bytes_max);
                    let answer = self.agreed.burst_bytes_max.to_string();
                    add("MaxBurstLength", number(random, offer), Some(answer));
                }
                7 => {
                    let offer = random.pick(&lengths);
                    self.agreed.first_burst_bytes_max = offer.min(policy.first_burst_bytes_max);
                    let answer = self.agreed.first_burst_bytes_max.to_string();
                    add("FirstBurstLength", number(random, offer), Some(answer));
                }
                8 => {
                    let offer = random.pick(&[0, 2, 20, 3600u16]);
                    self.agreed.time2wait = offer;
                    add("DefaultTime2Wait", number(random, offer.into()), Some(offer.to_string()));
                }
                9 => {
                    self.agreed.time2retain = 0;
                    let offer = random.pick(&["0", "20", "3600"]);
                    add("DefaultTime2Retain", offer.to_owned(), Some("0".to_owned()));
                }
                10 => {
                    let offer = random.pick(&[1, 2, 3, 8, 65_535u32]);
                    self.agreed.outstanding_r2t_max = offer.min(policy.outstanding_r2t_max);
                    let answer = self.agreed.outstanding_r2t_max.to_string();
                    add("MaxOutstandingR2T", number(random, offer), Some(answer));
                }
                11 => add("DataPDUInOrder", yes(random.chance(50)), Some(yes(true))),
                12 => add("DataSequenceInOrder", yes(random.chance(50)), Some(yes(true))),
                13 => {
                    add("ErrorRecoveryLevel", random.pick(&["0", "1", "2"]).to_owned(), Some("0".to_owned()));
                }
                14 => {
                    let list = random.pick(&["RFC3720", "RFC3720,ResponseFence", "FastAbort,RFC3720"]);
                    add("TaskReporting", list.to_owned(), Some("RFC3720".to_owned()));
                }
                15 => {
                    let offer = random.pick(&[0, 1, 2, 31u8]);
                    self.agreed.protocol_level = offer.min(2);
                    add("iSCSIProtocolLevel", offer.to_string(), Some(offer.min(2).to_string()));
                }
                16 => add("IFMarker", yes(random.chance(50)), Some(yes(false))),
                17 => add("OFMarker", yes(random.chance(50)), Some(yes(false))),
                18 => add("InitiatorAlias", "the model".to_owned(), None),
                _ => {
                    let key = format!("X-com.example.{}", random.below(1000));
                    add(&key, "1".to_owned(), Some("NotUnderstood".to_owned()));
                    continue;
                }
            }
            // An alias and an unknown key are no negotiation; any other key has our limit declared.
            self.operational |= key != 18;
        }
        random.shuffle(&mut offers);
        if self.operational {
            self.agreed.receive_segment_bytes_max = policy.receive_segment_bytes_max;
        }
        offers
    }

    /// The next request; there is one unless the last response established the session.
    pub(super) fn next_request(&mut self, random: &mut Random) -> (LoginRequest, Vec<u8>) {
        if self.parts.is_empty() {
            let text = self.text_of_turn();
            self.parts = random.cut(&text).into();
        }
        let part = self.parts.pop_front().unwrap();
        let turn = self.turns.front().unwrap();
        let continues = !self.parts.is_empty();
        let request = LoginRequest {
            transit: turn.transit.is_some() && !continues,
            continues,
            current_stage: turn.stage,
            next_stage: if continues { Stage::default() } else { turn.transit.unwrap_or_default() },
            ..self.base
        };
        (request, part)
    }

    fn text_of_turn(&mut self) -> Vec<u8> {
        let terms = self.chap.clone();
        let turn = self.turns.front_mut().unwrap();
        let Some(terms) = terms else { return to_text(&turn.keys) };
        match turn.chap {
            ChapTurn::None => {}
            ChapTurn::Algorithm => {
                let codes: Vec<_> = terms.offered.iter().map(|a| a.code().to_string()).collect();
                turn.keys = vec![owned("CHAP_A", &codes.join(","))];
            }
            ChapTurn::Proof => {
                let offer = Pairs::parse(&self.last_answer).unwrap();
                let identifier = offer.value("CHAP_I").unwrap().parse().unwrap();
                let challenge = decode_binary(offer.value("CHAP_C").unwrap()).unwrap();
                let algorithm = terms.chosen();
                let proof = binary_to_hex(&algorithm.answer(identifier, SECRET, &challenge));
                turn.keys = vec![owned("CHAP_N", USER), owned("CHAP_R", &proof)];
                if terms.mutual {
                    turn.keys.extend([owned("CHAP_I", "77"), owned("CHAP_C", &binary_to_hex(&CHALLENGE))]);
                    let ours = binary_to_hex(&algorithm.answer(77, TARGET_SECRET, &CHALLENGE));
                    turn.answers = vec![owned("CHAP_N", TARGET_USER), owned("CHAP_R", &ours)];
                }
            }
        }
        to_text(&turn.keys)
    }

    pub(super) fn hear(&mut self, response: &LoginResponse, data: &[u8]) -> After {
        assert_eq!(response.status, [0, 0], "a legal login is refused");
        assert_eq!(
            (response.isid, response.initiator_task_tag),
            (self.base.isid, self.base.initiator_task_tag)
        );
        assert!(data.len() <= LOGIN_SEGMENT_BYTES_MAX);
        let turn = self.turns.front().unwrap();
        assert_eq!(response.current_stage, turn.stage);
        if !self.parts.is_empty() {
            assert!(
                data.is_empty() && !response.transit && !response.continues,
                "an answer before the question"
            );
            return After::More;
        }
        self.answer.extend_from_slice(data);
        if response.continues {
            assert!(!response.transit);
            self.parts.push_back(Vec::new());
            return After::More;
        }
        assert_eq!(response.transit, turn.transits, "the end of a stage");
        let turn = self.turns.pop_front().unwrap();
        self.check_answer(&turn);
        self.last_answer = std::mem::take(&mut self.answer);
        let is_last = turn.transits && turn.transit == Some(Stage::FullFeaturePhase);
        if turn.transits {
            assert_eq!(Some(response.next_stage), turn.transit);
        }
        if !is_last {
            // §11.13.3: until the last response the target names no new session.
            assert_eq!(response.tsih, self.base.tsih);
            return After::More;
        }
        assert_ne!(response.tsih, Tsih(0));
        assert!(self.turns.is_empty());
        After::Established(response.tsih)
    }

    /// Each negotiated key is answered once, with the right value; unasked come declarations only (COMPAT L3).
    fn check_answer(&mut self, turn: &Turn) {
        let answer = Pairs::parse(&self.answer).unwrap();
        let mut owed = turn.answers.clone();
        for (key, value) in answer.iter() {
            match key {
                "TargetPortalGroupTag" => {
                    assert!(!self.tag_was_told && !self.discovery && value == "1");
                    self.tag_was_told = true;
                }
                "MaxRecvDataSegmentLength" => {
                    assert!(!self.limit_was_told && self.operational);
                    assert_eq!(value, self.policy.receive_segment_bytes_max.to_string());
                    self.limit_was_told = true;
                }
                "CHAP_A" if turn.chap == ChapTurn::Algorithm => {
                    assert_eq!(value, self.chap.as_ref().unwrap().chosen().code().to_string());
                }
                // §13.14: it may be cut to the burst that was settled before; it never counts for more.
                "FirstBurstLength" if value == self.agreed.unsolicited_bytes_max().to_string() => {
                    owed.retain(|(key, _)| key != "FirstBurstLength");
                    self.agreed.first_burst_bytes_max = self.agreed.unsolicited_bytes_max();
                }
                "CHAP_I" | "CHAP_C" if turn.chap == ChapTurn::Algorithm => {}
                _ => {
                    let at = owed.iter().position(|(k, v)| k == key && v == value);
                    let at = at.unwrap_or_else(|| panic!("{key}={value} is no answer to {:?}", turn.keys));
                    owed.remove(at);
                }
            }
        }
        assert!(owed.is_empty(), "no answer: {owed:?}");
        assert!(self.tag_was_told || self.discovery, "§13.9: the tag is in the first response");
        let said_all = self.turns.is_empty();
        assert!(!said_all || self.limit_was_told == self.operational, "our limit is declared");
    }
}

impl ChapTerms {
    fn random(random: &mut Random) -> Self {
        let mut offered = ChapAlgorithm::ALL.to_vec();
        random.shuffle(&mut offered);
        offered.truncate(1 + random.below(4));
        Self { offered, mutual: random.chance(50) }
    }

    /// §6.2.1: the first of the list that is allowed, and all are.
    fn chosen(&self) -> ChapAlgorithm {
        self.offered[0]
    }

    /// What the target asks for.
    pub(super) fn policy(terms: Option<&Self>) -> AuthenticationPolicy {
        let credential =
            |name: &str, secret: &[u8]| ChapCredential { name: name.into(), secret: secret.into() };
        let Some(terms) = terms else { return AuthenticationPolicy::None };
        AuthenticationPolicy::Chap(ChapPolicy {
            users: vec![credential(USER, SECRET)],
            mutual: terms.mutual.then(|| credential(TARGET_USER, TARGET_SECRET)),
            algorithms: Vec::new(),
        })
    }
}

fn digest(random: &mut Random, allowed: bool) -> (String, bool) {
    if !allowed {
        return (random.pick(&["None", "CRC32C,None", "None,CRC32C"]).to_owned(), false);
    }
    let (list, on) = random.pick(&[
        ("None", false),
        ("CRC32C", true),
        ("CRC32C,None", true),
        ("None,CRC32C", false),
        ("X-other,CRC32C,None", true),
    ]);
    (list.to_owned(), on)
}

fn yes(value: bool) -> String {
    if value { "Yes" } else { "No" }.to_owned()
}

fn to_text(keys: &Keys) -> Vec<u8> {
    let keys: Vec<_> = keys.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    text(&keys)
}

/// A first login request of this initiator.
pub(super) fn base_request(isid: u8, tsih: Tsih) -> LoginRequest {
    LoginRequest {
        isid: crate::names::Isid([0x80, 0, 0, 0, 0, isid]),
        tsih,
        initiator_task_tag: InitiatorTaskTag(0x1234_0000 | u32::from(isid)),
        connection_id: crate::names::ConnectionId(u16::from(isid)),
        ..LoginRequest::default()
    }
}
