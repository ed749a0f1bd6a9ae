//! What a connection asks, answered: logins from the directory, commands by the logical unit.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use iscsi::auth::AuthenticationPolicy;
use iscsi::{
    CloseReason, Command, Event, IscsiName, LoginAuthorization, LoginRequested, LoginStatus, ScsiResponse,
    SendTargetsRequested, SendTargetsScope, SessionRequested, SessionType, TaskId,
};
use tokio::sync::watch;

use super::discovery::{self, PORTAL_GROUP};
use super::driver::{Driver, Round};
use super::limits::{SLOW_ROUND, SLOW_TIME};
use super::lines::{FAULTS, SESSIONS};
use super::mailbox::Letter;
use super::session::{self, Units};
use super::work::{self, Work};
use crate::exports::{Access, Redirect, SessionHandle, Terms};
use crate::lun::Execution;

impl Driver {
    /// Answers the events that there are, up to what one round may take. A command is the caller's to execute, who then
    /// comes back for the rest of the round.
    pub(super) fn answer_events(&mut self, round: &mut Round) -> Option<Work> {
        while round.events_left > 0 && round.bytes_left > 0 {
            // Commands that had to wait for a thread come before those that are new.
            let queued = self.jobs.next().map(Event::Command);
            let is_queued = queued.is_some();
            let Some(event) = queued.or_else(|| self.connection.poll_event()) else { break };
            round.moves = true;
            round.begin.get_or_insert_with(Instant::now);
            round.events_left -= 1;
            round.bytes_left = round.bytes_left.saturating_sub(data_bytes(&event));
            let work = match event {
                Event::Command(command) if is_queued => self.prepare(command),
                event => self.answer(event),
            };
            if work.is_some() {
                return work;
            }
        }
        if let Some(begin) = round.begin {
            let end = Instant::now();
            if end - begin > SLOW_ROUND {
                self.slow_until = Some(end + SLOW_TIME);
            }
        }
        None
    }

    fn answer(&mut self, event: Event) -> Option<Work> {
        match event {
            Event::Command(command) => {
                return self.jobs.admit(command).and_then(|command| self.prepare(command));
            }
            Event::LoginRequested(request) => self.answer_login(&request),
            Event::SessionRequested(request) => self.begin_session(request),
            Event::SessionEstablished(agreed) => self.shared.directory.note_agreed(agreed),
            Event::TaskManagement(request) => self.manage_tasks(request),
            Event::SendTargets(request) => self.send_targets(&request),
            Event::Logout(_) => {}
            Event::Closed(reason) => self.note_end(&reason),
        }
        None
    }

    pub(super) fn open_letter(&mut self, letter: Letter) {
        match letter {
            Letter::Completed(task, response) => {
                self.jobs.note_end();
                self.connection.complete_task(task, into_response(response));
            }
            Letter::SessionReady(result) => self.take_session(result),
            Letter::TaskManagementDone(id, response) => {
                self.connection.complete_task_management(id, response)
            }
            Letter::Abort { scope, tell_initiator, done } => {
                if tell_initiator && self.connection.tasks_open() > 0 {
                    self.tell_commands_cleared(scope);
                }
                self.connection.abort_tasks(scope);
                self.waiting.push((scope, done));
            }
            Letter::Notify(notice) => self.connection.notify(notice),
            Letter::Close => self.connection.close(CloseReason::Requested),
            Letter::End => self.drop_socket(),
        }
    }

    fn note_end(&self, reason: &CloseReason) {
        let peer = self.peer;
        if let Some(units) = self.units() {
            units.all().for_each(|unit| unit.lun.commands_aborted(Some(unit.nexus)));
        }
        match reason {
            CloseReason::Protocol(_) if self.session.is_some() => {
                if let Some(unsaid) = FAULTS.say() {
                    tracing::warn!(%peer, %reason, unsaid, "session ended");
                }
            }
            _ => tracing::debug!(%peer, %reason, "connection ended"),
        }
    }

    // ---- login ----------------------------------------------------------------------------------------------

    fn answer_login(&mut self, request: &LoginRequested) {
        let terms = match self.terms_of(request) {
            Ok(terms) => terms,
            Err(status) => return self.refuse(status, &request.initiator_name),
        };
        if !terms.access.permits(&request.initiator_name, self.peer.ip()) {
            return self.refuse(LoginStatus::AuthorizationFailure, &request.initiator_name);
        }
        if let Some(redirect) = terms.redirect.filter(|redirect| redirect.concerns(self.local)) {
            return self.redirect(redirect, request);
        }
        match self.authorization(&terms.access) {
            Ok(authorization) => {
                self.terms = Some(terms);
                self.connection.authorize_login(authorization);
            }
            Err(status) => self.refuse(status, &request.initiator_name),
        }
    }

    fn redirect(&mut self, redirect: Redirect, request: &LoginRequested) {
        let Redirect { to, permanent } = redirect;
        let (peer, initiator) = (self.peer, &request.initiator_name);
        let target = request.target_name.as_ref().map_or("", IscsiName::as_str);
        if let Some(unsaid) = SESSIONS.say() {
            tracing::info!(%peer, %initiator, target, %to, permanent, unsaid, "login redirected");
        }
        self.connection.redirect_login(&discovery::target_address(to), permanent);
    }

    fn refuse(&mut self, status: LoginStatus, initiator: &IscsiName) {
        if let Some(unsaid) = FAULTS.say() {
            tracing::info!(peer = %self.peer, %initiator, %status, unsaid, "login refused");
        }
        self.connection.refuse_login(status);
    }

    fn terms_of(&self, request: &LoginRequested) -> Result<Arc<Terms>, LoginStatus> {
        match (&request.target_name, request.session_type) {
            (Some(name), SessionType::Normal) => {
                Ok(self.shared.directory.find(name).ok_or(LoginStatus::NotFound)?.terms())
            }
            (_, SessionType::Discovery) => Ok(self.shared.discovery.clone()),
            (None, SessionType::Normal) => Err(LoginStatus::MissingParameter),
        }
    }

    fn authorization(&self, access: &Access) -> Result<LoginAuthorization, LoginStatus> {
        let (chap_identifier, chap_challenge) = fresh_challenge().ok_or(LoginStatus::TargetError)?;
        let mut authentication = access.authentication.clone();
        if let AuthenticationPolicy::Chap(policy) = &mut authentication
            && policy.algorithms.is_empty()
        {
            policy.algorithms.clone_from(&self.shared.config.chap_algorithms);
        }
        let portal_group_tag = PORTAL_GROUP;
        Ok(LoginAuthorization {
            authentication,
            chap_identifier,
            chap_challenge,
            portal_group_tag,
            target_alias: None,
        })
    }

    fn begin_session(&mut self, request: SessionRequested) {
        let (alive, ended) = watch::channel(());
        let handle = SessionHandle {
            address: self.peer,
            portal: self.local,
            agreed: Arc::default(),
            since: SystemTime::now(),
            connection_id: request.connection_id,
            mailbox: self.mailbox.clone(),
            ended,
        };
        self.begins_session = true;
        let directory = self.shared.directory.clone();
        let mailbox = self.mailbox.clone();
        let terms = self.terms.take();
        if request.session_type == SessionType::Normal {
            let target = request.target_name.as_ref().map_or("", IscsiName::as_str);
            if let Some(unsaid) = SESSIONS.say() {
                tracing::info!(peer = %self.peer, initiator = %request.initiator_name, isid = %request.isid, target, unsaid, "login");
            }
        }
        tokio::spawn(async move {
            let result = session::begin(directory, request, handle, terms, alive).await;
            // A connection that is gone drops the session with the letter.
            let _ = mailbox.send(Letter::SessionReady(result));
        });
    }

    fn take_session(&mut self, result: Result<Box<session::Session>, LoginStatus>) {
        self.begins_session = false;
        match result {
            // The login was given up meanwhile; dropping the session gives everything back.
            Ok(_) if self.connection.is_closed() => {}
            Ok(session) => {
                self.connection.establish_session(session.tsih);
                let level = self.connection.parameters().protocol_level;
                if let Some(units) = &session.units {
                    units.all().for_each(|unit| unit.lun.set_protocol_level(unit.nexus, level));
                }
                self.session = Some(session);
            }
            Err(status) => {
                if let Some(unsaid) = FAULTS.say() {
                    tracing::info!(peer = %self.peer, %status, unsaid, "login refused");
                }
                self.connection.refuse_login(status);
            }
        }
    }

    fn send_targets(&mut self, request: &SendTargetsRequested) {
        let shared = &self.shared;
        let mut names = shared.directory.visible_to(&request.initiator_name, self.peer.ip());
        if let SendTargetsScope::Target(wanted) = &request.scope {
            names.retain(|name| name == wanted);
        }
        let addresses = discovery::addresses(&shared.config.advertise, &shared.listening, self.local);
        self.connection.complete_send_targets(&discovery::records(names, &addresses));
    }

    // ---- commands -------------------------------------------------------------------------------------------

    pub(super) fn units(&self) -> Option<&Units> {
        self.session.as_ref()?.units.as_ref()
    }

    /// A command with its logical unit, unless it is executed elsewhere.
    fn prepare(&mut self, command: Command) -> Option<Work> {
        let Some(units) = self.units() else {
            self.connection.complete_task(command.task, ScsiResponse::default());
            return None;
        };
        let unit = units.answering(command.lun.0);
        let (lun, nexus, pool) = (unit.lun.clone(), unit.nexus, self.shared.pool.clone());
        let work = Work { command, lun, nexus, pool };
        if self.slow_until.is_some_and(|until| until > Instant::now()) {
            self.execute_elsewhere(work);
            return None;
        }
        Some(work)
    }

    /// What became of a command that was executed on the connection's own task.
    pub(super) fn executed(&mut self, task: TaskId, execution: Execution) {
        match execution {
            Execution::Done(response) => self.connection.complete_task(task, into_response(response)),
            Execution::Blocked(job) => self.jobs.start(task, &self.mailbox, move || job.run()),
        }
    }

    /// While the store is slow even commands that should not wait are done where waiting harms nobody.
    pub(super) fn execute_elsewhere(&mut self, mut work: Work) {
        work.detach();
        self.jobs.start(work.task(), &self.mailbox, move || work::wait(work.run()));
    }
}

/// Identifier and challenge from the system's generator, fresh for every login (COMPAT L7); none when it has none to give.
fn fresh_challenge() -> Option<(u8, [u8; 32])> {
    let mut random = [0; 33];
    getrandom::fill(&mut random).ok()?;
    let [identifier, challenge @ ..] = random;
    Some((identifier, challenge))
}

/// Data that the answer to an event will move, about.
fn data_bytes(event: &Event) -> usize {
    match event {
        Event::Command(command) => command.expected_data_transfer_bytes as usize,
        _ => 0,
    }
}

fn into_response(response: scsi::Response) -> ScsiResponse {
    ScsiResponse {
        status: response.status as u8,
        sense: response.sense,
        data_in: response.data_in.into(),
        transfer_bytes: response.transfer_bytes,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::fresh_challenge;

    /// COMPAT L7. Algorithms take the first 16, 20 or 32 bytes.
    #[test]
    fn no_challenge_comes_twice_in_a_hundred_thousand_logins() {
        let begins: HashSet<[u8; 16]> =
            (0..100_000).map(|_| fresh_challenge().unwrap().1.first_chunk().copied().unwrap()).collect();
        assert_eq!(begins.len(), 100_000);
    }
}
