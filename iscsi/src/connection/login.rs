//! The login phase (RFC 7143 §6.3): identification, security stage, operational stage.
//!
//! ```text
//!   first request ──▶ ask the driver who may come in ──▶ process keys ─┬─ T=0 ──▶ respond, wait for more
//!                                                                      ├─ T=1 to stage 1 ──▶ respond
//!                                                                      └─ T=1 to stage 3 ──▶ ask for the session
//! ```
//! What it deliberately tolerates: a T bit while CHAP is under way (old iPXE), operational keys in the security
//! stage, identification keys sent again (libiscsi), and that no operational key comes at all.

use crate::auth::{AuthenticationPolicy, Chap, ChapError};
use crate::config::NegotiationPolicy;
use crate::error::LoginStatus;
use crate::event::{LoginAuthorization, LoginRequested, SessionRequested};
use crate::limits::{LOGIN_ROUNDS_MAX, LOGIN_SEGMENT_BYTES_MAX, TEXT_BYTES_MAX};
use crate::names::{IscsiName, PortalGroupTag, SessionType};
use crate::text::{KeyRow, Negotiation, Pairs, Parameters, append_pair};
use crate::wire::{LoginRequest, Stage};

/// What the connection is to do after a step of the login.
#[derive(Debug)]
pub(super) enum Step {
    /// Send a response.
    Respond(Answer),
    /// Ask the driver to authorize.
    AskAuthorization(LoginRequested),
    /// Ask the driver for a session.
    AskSession(SessionRequested),
    /// Refuse and close.
    Refuse(LoginStatus),
}

/// A login response to be.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) text: Vec<u8>,
    pub(super) continues: bool,
    /// NSG, when the stage ends.
    pub(super) transit_to: Option<Stage>,
}

/// The state of one login.
#[derive(Debug, Default)]
pub(super) struct Login {
    request: LoginRequest,
    stage: Stage,
    rounds: usize,
    gathered: Vec<u8>,
    /// Answer text that did not fit into a response yet.
    outgoing: Vec<u8>,
    identity: Option<LoginRequested>,
    /// Keys that wait for the driver's authorization.
    waiting_pairs: Option<Pairs>,
    waits_for_driver: bool,
    portal_group_tag: PortalGroupTag,
    security: Security,
    negotiation: Negotiation,
}

#[derive(Debug, Default)]
enum Security {
    /// The driver has not said yet.
    #[default]
    Unknown,
    NotNeeded,
    Chap {
        exchange: Chap,
        agreed: bool,
    },
}

impl Login {
    pub(super) const fn request(&self) -> &LoginRequest {
        &self.request
    }

    /// Has no request come yet?
    pub(super) const fn is_new(&self) -> bool {
        self.rounds == 0
    }

    /// The driver owes an answer; nothing of the peer's is looked at meanwhile.
    pub(super) const fn waits_for_driver(&self) -> bool {
        self.waits_for_driver
    }

    pub(super) fn parameters(&self) -> &Parameters {
        &self.negotiation.parameters
    }

    pub(super) fn chap_name(&self) -> Option<String> {
        match &self.security {
            Security::Chap { exchange, .. } => exchange.proved_name().map(str::to_owned),
            Security::Unknown | Security::NotNeeded => None,
        }
    }

    pub(super) fn session_type(&self) -> SessionType {
        self.identity.as_ref().map_or(SessionType::Normal, |identity| identity.session_type)
    }

    pub(super) fn identity(&self) -> Option<&LoginRequested> {
        self.identity.as_ref()
    }

    /// Takes a login request.
    pub(super) fn handle(&mut self, request: LoginRequest, text: &[u8], policy: &NegotiationPolicy) -> Step {
        if let Err(status) = self.accept_header(request) {
            return Step::Refuse(status);
        }
        if self.gathered.len() + text.len() > TEXT_BYTES_MAX {
            return Step::Refuse(LoginStatus::OutOfResources);
        }
        // Up to 64 KiB (§6.1 wants 8 KiB, and as much as this for long methods of authentication).
        self.gathered.extend_from_slice(text);
        if request.continues {
            // §6.2, §11.12.2: more text comes, so that the stage cannot end; the answer is empty.
            return if request.transit {
                Step::Refuse(LoginStatus::InitiatorError)
            } else {
                Step::Respond(Answer::default())
            };
        }
        let text = std::mem::take(&mut self.gathered);
        if !self.outgoing.is_empty() {
            // The rest of our answer is due; a peer with news of its own breaks §6.2.
            return if text.is_empty() { self.advance() } else { Step::Refuse(LoginStatus::InitiatorError) };
        }
        match Pairs::parse(&text) {
            Ok(pairs) => self.handle_pairs(pairs, policy),
            Err(_) => Step::Refuse(LoginStatus::InitiatorError),
        }
    }

    /// The driver lets the peer go on.
    pub(super) fn authorize(
        &mut self,
        authorization: LoginAuthorization,
        policy: &NegotiationPolicy,
    ) -> Option<Step> {
        let pairs = self.waiting_pairs.take()?;
        self.waits_for_driver = false;
        self.portal_group_tag = authorization.portal_group_tag;
        self.security = match authorization.authentication {
            AuthenticationPolicy::None => Security::NotNeeded,
            AuthenticationPolicy::Chap(chap) => {
                let exchange = Chap::new(chap, authorization.chap_identifier, authorization.chap_challenge);
                Security::Chap { exchange, agreed: false }
            }
        };
        // §6.3.1, §13.9: the tag is in the first response to a login that names a target.
        if self.identity.as_ref().is_some_and(|identity| identity.target_name.is_some()) {
            append_pair(&mut self.outgoing, "TargetPortalGroupTag", &self.portal_group_tag.0.to_string());
            if let Some(alias) =
                authorization.target_alias.filter(|alias| alias.len() <= 255 && !alias.contains('\0'))
            {
                append_pair(&mut self.outgoing, "TargetAlias", &alias);
            }
        }
        Some(self.process(&pairs, policy))
    }

    /// The last response of a login that succeeded.
    pub(super) fn finish(&mut self) -> Answer {
        self.waits_for_driver = false;
        Answer {
            text: std::mem::take(&mut self.outgoing),
            continues: false,
            transit_to: Some(Stage::FullFeaturePhase),
        }
    }

    /// Headers of one login agree with each other: ISID, TSIH and CID are the first request's (§11.12.5 to §11.12.7).
    fn accept_header(&mut self, request: LoginRequest) -> Result<(), LoginStatus> {
        self.rounds += 1;
        let is_first = self.rounds == 1;
        if is_first {
            self.stage = request.current_stage;
        }
        let previous = std::mem::replace(&mut self.request, request);
        // §11.12.4: 00h is the only version. The first request's counts (§11.12.4.1, §11.12.4.2).
        if is_first && request.version_min > 0 {
            return Err(LoginStatus::UnsupportedVersion);
        }
        let same_login = previous.isid == request.isid
            && previous.tsih == request.tsih
            && previous.connection_id == request.connection_id;
        let known_stage =
            matches!(request.current_stage, Stage::SecurityNegotiation | Stage::LoginOperationalNegotiation);
        // §6.3: the transitions that there are. NSG is reserved where T is not set.
        let known_transition = !request.transit
            || matches!(
                (request.current_stage, request.next_stage),
                (Stage::SecurityNegotiation, Stage::LoginOperationalNegotiation | Stage::FullFeaturePhase)
                    | (Stage::LoginOperationalNegotiation, Stage::FullFeaturePhase)
            );
        let known_stage = known_stage && known_transition;
        if self.rounds > LOGIN_ROUNDS_MAX || !known_stage || request.current_stage != self.stage {
            return Err(LoginStatus::InitiatorError);
        }
        if is_first || same_login { Ok(()) } else { Err(LoginStatus::InvalidDuringLogin) }
    }

    fn handle_pairs(&mut self, pairs: Pairs, policy: &NegotiationPolicy) -> Step {
        if self.identity.is_some() {
            return if self.is_redeclared(&pairs) {
                Step::Refuse(LoginStatus::InitiatorError)
            } else {
                self.process(&pairs, policy)
            };
        }
        match self.identify(&pairs) {
            Ok(identity) => {
                self.identity = Some(identity.clone());
                if self.is_redeclared(&pairs) {
                    return Step::Refuse(LoginStatus::InitiatorError);
                }
                self.waiting_pairs = Some(pairs);
                self.waits_for_driver = true;
                Step::AskAuthorization(identity)
            }
            Err(status) => Step::Refuse(status),
        }
    }

    /// InitiatorName always, TargetName in a normal session (§4.2.7.1, §6.3, §13.4, §13.5).
    fn identify(&self, pairs: &Pairs) -> Result<LoginRequested, LoginStatus> {
        let name = |key| match pairs.value(key) {
            Some(text) => IscsiName::parse(text).map(Some).map_err(|_| LoginStatus::InitiatorError),
            None => Ok(None),
        };
        let session_type = match pairs.value("SessionType") {
            None | Some("Normal") => SessionType::Normal,
            Some("Discovery") => SessionType::Discovery,
            Some(_) => return Err(LoginStatus::SessionTypeNotSupported),
        };
        let initiator_name = name("InitiatorName")?.ok_or(LoginStatus::MissingParameter)?;
        let target_name = match (name("TargetName"), session_type) {
            (Ok(None), SessionType::Normal) => return Err(LoginStatus::MissingParameter),
            // A malformed name is the name of no target.
            (Err(_), SessionType::Normal) => return Err(LoginStatus::NotFound),
            (Err(_), SessionType::Discovery) => None,
            (Ok(name), _) => name,
        };
        let initiator_alias = pairs.value("InitiatorAlias").map(|alias| alias.chars().take(255).collect());
        let (isid, tsih) = (self.request.isid, self.request.tsih);
        Ok(LoginRequested { initiator_name, initiator_alias, target_name, session_type, isid, tsih })
    }

    /// §6.3, §13.4, §13.5: who logs in, and where to, is declared once. Said again it must be the same (libiscsi says
    /// it in both stages).
    fn is_redeclared(&self, pairs: &Pairs) -> bool {
        let Some(identity) = &self.identity else { return false };
        let initiator_name = Some(&identity.initiator_name);
        let session_type = match identity.session_type {
            SessionType::Normal => "Normal",
            SessionType::Discovery => "Discovery",
        };
        pairs.iter().any(|(key, value)| match key {
            "InitiatorName" => IscsiName::parse(value).ok().as_ref() != initiator_name,
            "TargetName" => IscsiName::parse(value).ok() != identity.target_name,
            "SessionType" => value != session_type,
            _ => false,
        })
    }

    fn process(&mut self, pairs: &Pairs, policy: &NegotiationPolicy) -> Step {
        let result = self.secure(pairs).and_then(|()| self.negotiate(pairs, policy));
        match result {
            Ok(()) => self.advance(),
            Err(status) => Step::Refuse(status),
        }
    }

    /// Security keys (§12): the first method of the list that is allowed, or none and no login (§6.3.2, §12.1).
    fn secure(&mut self, pairs: &Pairs) -> Result<(), LoginStatus> {
        let offered = pairs.value("AuthMethod");
        let offers = |method| offered.is_some_and(|list| list.split(',').any(|item| item.trim() == method));
        if self.stage != Stage::SecurityNegotiation {
            return if self.is_secure() { Ok(()) } else { Err(LoginStatus::AuthenticationFailure) };
        }
        match &mut self.security {
            Security::Unknown => Err(LoginStatus::TargetError),
            Security::NotNeeded if offered.is_none() => Ok(()),
            Security::NotNeeded if offers("None") => {
                append_pair(&mut self.outgoing, "AuthMethod", "None");
                Ok(())
            }
            Security::NotNeeded => Err(LoginStatus::AuthenticationFailure),
            Security::Chap { exchange, agreed } => {
                if offers("CHAP") && !*agreed {
                    append_pair(&mut self.outgoing, "AuthMethod", "CHAP");
                    *agreed = true;
                }
                if !*agreed {
                    return Err(LoginStatus::AuthenticationFailure);
                }
                // §9.2: what is not according to the steps of the method is told apart from what is wrong in it.
                exchange.handle(pairs, &mut self.outgoing).map_err(|error| match error {
                    ChapError::Missing => LoginStatus::MissingParameter,
                    ChapError::Malformed => LoginStatus::InitiatorError,
                    _ => LoginStatus::AuthenticationFailure,
                })
            }
        }
    }

    fn is_secure(&self) -> bool {
        match &self.security {
            Security::Unknown => false,
            Security::NotNeeded => true,
            Security::Chap { exchange, .. } => exchange.is_done(),
        }
    }

    /// Operational keys (§13), each answered under its own name (§6.2.2, §11.13.8); our own limit is declared once the peer negotiates at all.
    fn negotiate(&mut self, pairs: &Pairs, policy: &NegotiationPolicy) -> Result<(), LoginStatus> {
        let mut negotiates = false;
        for (key, value) in pairs.iter() {
            let row = KeyRow::find(key);
            if row.is_some_and(|row| !row.is_allowed_in(self.stage)) {
                append_pair(&mut self.outgoing, key, "Reject");
                continue;
            }
            if is_identification_or_security(key) {
                continue;
            }
            let answer =
                self.negotiation.offer(key, value, policy).map_err(|_| LoginStatus::InitiatorError)?;
            // §7.12: without an agreement there is no login.
            if answer.as_deref() == Some("Reject") && row.is_some_and(|row| row.must_be_agreed()) {
                return Err(LoginStatus::InitiatorError);
            }
            negotiates |= row.is_some();
            if let Some(answer) = answer {
                append_pair(&mut self.outgoing, key, &answer);
            }
        }
        if negotiates && let Some(limit) = self.negotiation.declare_receive_segment(policy) {
            append_pair(&mut self.outgoing, "MaxRecvDataSegmentLength", &limit);
        }
        Ok(())
    }

    /// Sends what fits of the answer, more of it with the C bit and without T (§11.13.7). With the last of it the stage
    /// may end, if the initiator wants it to; nothing that we say has to be answered (§11.13.6).
    fn advance(&mut self) -> Step {
        if self.outgoing.len() > LOGIN_SEGMENT_BYTES_MAX {
            let rest = self.outgoing.split_off(LOGIN_SEGMENT_BYTES_MAX);
            let text = std::mem::replace(&mut self.outgoing, rest);
            return Step::Respond(Answer { text, continues: true, transit_to: None });
        }
        if !self.request.transit || !self.is_secure() {
            // CHAP is not through: the T bit came too early (COMPAT L4), the stage goes on.
            return Step::Respond(Answer { text: std::mem::take(&mut self.outgoing), ..Answer::default() });
        }
        match (self.stage, self.request.next_stage) {
            (Stage::SecurityNegotiation, Stage::LoginOperationalNegotiation) => {
                self.stage = Stage::LoginOperationalNegotiation;
                let text = std::mem::take(&mut self.outgoing);
                Step::Respond(Answer { text, continues: false, transit_to: Some(self.stage) })
            }
            (_, Stage::FullFeaturePhase) => self.ask_session(),
            _ => Step::Refuse(LoginStatus::InitiatorError),
        }
    }

    fn ask_session(&mut self) -> Step {
        let Some(identity) = &self.identity else { return Step::Refuse(LoginStatus::TargetError) };
        self.waits_for_driver = true;
        Step::AskSession(SessionRequested {
            initiator_name: identity.initiator_name.clone(),
            target_name: identity.target_name.clone(),
            session_type: identity.session_type,
            isid: identity.isid,
            tsih: identity.tsih,
            connection_id: self.request.connection_id,
            portal_group_tag: self.portal_group_tag,
        })
    }
}

fn is_identification_or_security(key: &str) -> bool {
    const KEYS: [&str; 10] = [
        "InitiatorName",
        "InitiatorAlias",
        "TargetName",
        "SessionType",
        "AuthMethod",
        "CHAP_A",
        "CHAP_I",
        "CHAP_C",
        "CHAP_N",
        "CHAP_R",
    ];
    KEYS.contains(&key)
}
