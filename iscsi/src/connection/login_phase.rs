//! The login on its connection: requests in, the steps of the login's own machine carried out, the driver's answers.

use super::login::{Answer, Step};
use super::window::CommandWindow;
use super::{Connection, Phase, SessionFacts};
use crate::error::{CloseReason, LoginStatus};
use crate::event::{Event, LoginAuthorization, SessionEstablished};
use crate::names::Tsih;
use crate::text::append_pair;
use crate::wire::{Deframer, LoginRequest, LoginResponse, Opcode, Pdu};
use std::sync::Arc;

impl Connection {
    // ---- answers to events ----------------------------------------------------------------------------------

    /// Answers [`Event::LoginRequested`]: go on, with these terms.
    pub fn authorize_login(&mut self, authorization: LoginAuthorization) {
        let config = Arc::clone(&self.config);
        if let Phase::Login(login) = &mut self.phase
            && let Some(step) = login.authorize(authorization, &config.negotiation)
        {
            self.take_login_step(step);
        }
    }

    /// Answers [`Event::LoginRequested`]: the target is at `address` (`a.b.c.d:port`). A portal group tag behind it
    /// is left out (§13.8: a redirection names an address alone).
    pub fn redirect_login(&mut self, address: &str, permanently: bool) {
        let status = if permanently {
            LoginStatus::TargetMovedPermanently
        } else {
            LoginStatus::TargetMovedTemporarily
        };
        let mut text = Vec::new();
        let address = address.split_once(',').map_or(address, |(address, _)| address);
        append_pair(&mut text, "TargetAddress", address);
        self.refuse_with(status, text);
    }

    /// Answers [`Event::LoginRequested`] or [`Event::SessionRequested`]: no.
    pub fn refuse_login(&mut self, status: LoginStatus) {
        self.refuse_with(status, Vec::new());
    }

    /// Answers [`Event::SessionRequested`]: the session it replaces, if any, has no more effect. The TSIH is told in the
    /// last response and not before (§6.3.2, §11.13.3).
    pub fn establish_session(&mut self, tsih: Tsih) {
        let Phase::Login(login) = &mut self.phase else { return };
        if !login.waits_for_driver() {
            return;
        }
        let answer = login.finish();
        let chap_name = login.chap_name();
        self.parameters = login.parameters().clone();
        self.session = SessionFacts {
            session_type: login.session_type(),
            initiator_name: login.identity().map(|identity| identity.initiator_name.clone()),
            target_name: login.identity().and_then(|identity| identity.target_name.clone()),
            connection_id: login.request().connection_id,
        };
        let request = *login.request();
        self.open_window();
        self.send_login_response(&request, answer, tsih, LoginStatus::Success);
        self.enter_full_feature();
        let session_type = self.session.session_type;
        self.events.push_back(Event::SessionEstablished(SessionEstablished {
            session_type,
            tsih,
            chap_name,
            header_digest: self.parameters.header_digest,
            data_digest: self.parameters.data_digest,
        }));
    }

    // ---- inside ---------------------------------------------------------------------------------------------

    pub(super) fn handle_login_pdu(&mut self, pdu: &Pdu) {
        let config = Arc::clone(&self.config);
        let Phase::Login(login) = &mut self.phase else { return };
        if Opcode::of(&pdu.bhs) != Opcode::LoginRequest {
            // §4.2.4: before the login begins the connection just ends, in the midst of it the login is refused.
            if login.is_new() {
                return self.fail("no login request");
            }
            return self.refuse_login(LoginStatus::InvalidDuringLogin);
        }
        let request = LoginRequest::parse(&pdu.bhs);
        if login.is_new() {
            self.stat_sn = request.exp_stat_sn;
        }
        // The login's CmdSN is the first to be expected (§11.12.8). Its requests are immediate: CmdSN does not move
        // (§4.2.2.1).
        self.window = CommandWindow::new(request.cmd_sn);
        self.window.open_for(1);
        let step = login.handle(request, &pdu.data, &config.negotiation);
        self.take_login_step(step);
    }

    fn take_login_step(&mut self, step: Step) {
        let Phase::Login(login) = &self.phase else { return };
        let request = *login.request();
        match step {
            Step::Respond(answer) => {
                self.send_login_response(&request, answer, request.tsih, LoginStatus::Success)
            }
            Step::AskAuthorization(identity) => self.events.push_back(Event::LoginRequested(identity)),
            Step::AskSession(session) => self.events.push_back(Event::SessionRequested(session)),
            Step::Refuse(status) => self.refuse_login(status),
        }
    }

    /// A status but success ends the connection (§11.13.5).
    fn refuse_with(&mut self, status: LoginStatus, text: Vec<u8>) {
        let Phase::Login(login) = &self.phase else { return };
        let request = *login.request();
        let answer = Answer { text, ..Answer::default() };
        self.send_login_response(&request, answer, request.tsih, status);
        self.close(CloseReason::LoginRefused(status));
    }

    fn send_login_response(
        &mut self,
        request: &LoginRequest,
        answer: Answer,
        tsih: Tsih,
        status: LoginStatus,
    ) {
        let response = LoginResponse {
            transit: answer.transit_to.is_some(),
            continues: answer.continues,
            current_stage: request.current_stage,
            next_stage: answer.transit_to.unwrap_or_default(),
            isid: request.isid,
            tsih,
            initiator_task_tag: request.initiator_task_tag,
            sequence: self.next_sequence(),
            status: status.class_and_detail(),
        };
        self.transmit.push_with(response.emit(), answer.text.into());
    }

    fn enter_full_feature(&mut self) {
        self.phase = Phase::FullFeature;
        self.login_deadline = None;
        self.deframer = Deframer {
            header_digest: self.parameters.header_digest,
            data_digest: self.parameters.data_digest,
            segment_bytes_max: self.parameters.receive_segment_bytes_max as usize,
        };
        self.transmit.header_digest = self.parameters.header_digest;
        self.transmit.data_digest = self.parameters.data_digest;
    }
}
