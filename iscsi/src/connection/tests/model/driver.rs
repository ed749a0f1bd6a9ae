//! The target's driver of the model: answers events late and in any order, and executes commands on a little disk.

use super::link::{Establishing, Job, Link, Managed};
use super::login::ChapTerms;
use super::random::Random;
use super::world::World;
use crate::error::{CloseReason, LoginStatus};
use crate::event::{
    AsyncNotice, Command, Event, LoginAuthorization, ScsiResponse, TargetRecord, TaskManagement,
    TaskManagementFunction, TaskScope,
};
use crate::names::{IscsiName, LogicalUnitNumber, TaskId, Tsih};
use crate::payload::Payload;
use crate::session::SessionKey;
use crate::text::{Parameters, append_pair};
use crate::wire::{AsyncEvent, AsyncMessage};
use bytes::Bytes;

impl World {
    /// Takes up to `most` events of a connection.
    pub(super) fn drive(&mut self, at: usize, most: usize) {
        for _ in 0..most {
            let Some(event) = self.links[at].target.poll_event() else { return };
            self.take_event(at, event);
        }
    }

    fn take_event(&mut self, at: usize, event: Event) {
        let link = &mut self.links[at];
        match event {
            Event::LoginRequested(_) => link.awaits_authorization = true,
            Event::SessionRequested(request) => {
                let (key, tsih) = (SessionKey::of(&request), request.tsih);
                // The same connection in the sense of §6.3.4: the CID of a port never changes here.
                let admission = match self.table.admit(key, tsih, true, at) {
                    Ok(admission) => admission,
                    Err(refusal) => {
                        // The session that it names has ended meanwhile.
                        assert!(tsih != Tsih(0) && self.table.find(tsih).is_none());
                        return self.links[at].target.refuse_login(refusal.0);
                    }
                };
                let replaced = admission.replaced.map(|(_, old)| old);
                note!(self.shared, "{at} is admitted as {:?} instead of {replaced:?}", admission.tsih);
                self.links[at].establishing = Some(Establishing { tsih: admission.tsih, replaced });
                if let Some(old) = replaced {
                    self.close(old);
                }
            }
            Event::SessionEstablished(established) => {
                assert_eq!(established.tsih, link.tsih);
                assert_eq!(established.chap_name.is_some(), link.initiator.login.chap.is_some());
            }
            Event::Command(command) => self.begin_job(at, &command),
            Event::TaskManagement(request) => self.begin_management(at, request),
            Event::SendTargets(_) => link.awaits_targets = true,
            Event::Logout(_) => {
                assert!(link.initiator.logs_out, "nobody logged out");
                link.logged_out = true;
            }
            Event::Closed(CloseReason::Logout) => assert!(link.logged_out),
            Event::Closed(CloseReason::Requested) => assert!(link.close_was_asked),
            Event::Closed(CloseReason::LoginRefused(LoginStatus::SessionDoesNotExist)) => {
                assert!(link.initiator.login.base.tsih != Tsih(0));
                link.close_was_asked = true;
            }
            Event::Closed(reason) => panic!("{at} is closed: {reason}"),
        }
    }

    /// What the machine waits for from its driver.
    pub(super) fn answer(&mut self, at: usize) {
        let link = &mut self.links[at];
        let random = &mut self.shared.random;
        if std::mem::take(&mut link.awaits_authorization) {
            let mut chap_challenge = [0; 32];
            chap_challenge.iter_mut().for_each(|byte| *byte = u8::try_from(random.below(256)).unwrap());
            link.target.authorize_login(LoginAuthorization {
                authentication: ChapTerms::policy(link.initiator.login.chap.as_ref()),
                chap_identifier: u8::try_from(random.below(256)).unwrap(),
                chap_challenge,
                ..LoginAuthorization::default()
            });
        }
        if std::mem::take(&mut link.awaits_targets) {
            let records: Vec<TargetRecord> = (0..random.pick(&[0, 1, 2, 40])).map(record).collect();
            if let Some(text) = &mut link.initiator.text {
                for record in &records {
                    append_pair(&mut text.expected, "TargetName", record.name.as_str());
                    record.addresses.iter().for_each(|address| {
                        append_pair(&mut text.expected, "TargetAddress", address);
                    });
                }
            }
            link.target.complete_send_targets(&records);
        }
        self.establish(at);
    }

    /// A session begins when the one that it replaces can have no effect any more.
    fn establish(&mut self, at: usize) {
        let Some(Establishing { tsih, replaced }) = self.links[at].establishing else { return };
        if replaced.is_some_and(|old| !self.links[old].has_ended) {
            return;
        }
        let link = &mut self.links[at];
        link.establishing = None;
        link.tsih = tsih;
        if !link.target.is_closed() {
            note!(self.shared, "{at} is established");
            link.target.establish_session(tsih);
            let agreed = link.target.parameters();
            // The answer with a first burst that was cut is only on its way.
            let heard = &link.initiator.login.agreed;
            let first_burst_bytes_max = agreed.first_burst_bytes_max;
            assert_eq!(agreed.unsolicited_bytes_max(), heard.unsolicited_bytes_max());
            assert_eq!(*agreed, Parameters { first_burst_bytes_max, ..heard.clone() }, "what was agreed");
        }
        self.note_end(at);
    }

    pub(super) fn close(&mut self, at: usize) {
        note!(self.shared, "{at} is closed by the driver");
        self.links[at].close_was_asked = true;
        self.links[at].target.close(CloseReason::Requested);
        self.drive(at, usize::MAX);
        self.note_end(at);
    }

    /// A closed connection without commands gives its session back.
    pub(super) fn note_end(&mut self, at: usize) {
        let link = &mut self.links[at];
        let is_over = link.target.is_closed() && link.target.tasks_executing() == 0;
        if is_over && link.establishing.is_none() && !link.has_ended {
            note!(self.shared, "{at} has ended");
            link.has_ended = true;
            self.table.remove(link.tsih);
            assert_eq!((link.target.tasks_open(), link.target.buffered_bytes()), (0, 0));
        }
    }

    // ---- commands -------------------------------------------------------------------------------------------

    fn begin_job(&mut self, at: usize, command: &Command) {
        let id = u32::from_be_bytes(command.cdb.head()[12..].try_into().unwrap());
        let link = &mut self.links[at];
        let shared = &mut self.shared;
        note!(shared, "{at} hands out {id}");
        assert!(!link.target.is_closed(), "a closed connection hands out nothing");
        assert!(!shared.buried.contains(&id), "an aborted command is handed out");
        let issued = shared.issued.get(&id).expect("a command that was sent");
        assert!(!issued.is_stray, "a command out of the window is handed out");
        assert_eq!(issued.link, at);
        assert!(shared.handed_out.insert(id), "handed out twice");
        assert_eq!(command.lun, LogicalUnitNumber::single_level(issued.lun.into()));
        assert_eq!(command.attribute, issued.attribute);
        assert_eq!(*command.cdb.tail(), issued.tail);
        assert_eq!((command.reads, command.writes), (issued.reads, issued.writes));
        assert_eq!(command.expected_data_transfer_bytes, issued.expected);
        assert_eq!(command.data_out.to_bytes(), issued.data, "all its data, in order");
        if let Some(cmd_sn) = issued.cmd_sn.filter(|_| !issued.writes) {
            let is_next = link.last_handed_out.is_none_or(|last| cmd_sn.is_after(last));
            assert!(is_next, "§4.2.2.1: commands are delivered in the order of their CmdSN");
            link.last_handed_out = Some(cmd_sn);
        }
        let immediate = issued.cmd_sn.is_none();
        self.jobs.push(Job { link: at, task: command.task, id, immediate, was_applied: false });
    }

    /// The write of some job lands on the disk; its end comes later.
    pub(super) fn apply_one(&mut self) {
        if !self.jobs.is_empty() {
            let at = self.shared.random.below(self.jobs.len());
            self.apply(at);
        }
    }

    fn apply(&mut self, at: usize) {
        let job = &mut self.jobs[at];
        let issued = &self.shared.issued[&job.id];
        assert!(!self.shared.buried.contains(&job.id), "a write lands late");
        let port = self.links[issued.link].port;
        assert!(issued.link >= self.shared.established[port], "a write of a replaced session lands");
        if issued.writes && !job.was_applied {
            self.disk[usize::from(issued.lun)][usize::from(issued.slot)] = issued.data.clone();
        }
        job.was_applied = true;
    }

    pub(super) fn complete_one(&mut self) {
        if self.jobs.is_empty() {
            return;
        }
        let at = self.shared.random.below(self.jobs.len());
        self.apply(at);
        let job = self.jobs.swap_remove(at);
        let response = self.outcome(job.id);
        let (status, bytes) = (response.status, response.data_in.len_bytes());
        note!(self.shared, "{} completes {}: status {status}, {bytes} bytes", job.link, job.id);
        self.shared.outcomes.insert(job.id, response.clone());
        self.complete(job.link, job.task, response);
    }

    fn complete(&mut self, at: usize, task: TaskId, response: ScsiResponse) {
        self.links[at].target.complete_task(task, response);
        self.settle_managed();
        self.note_end(at);
    }

    /// How a command ends: usually well, at times with sense, with less or more data than was expected.
    fn outcome(&mut self, id: u32) -> ScsiResponse {
        let issued = &self.shared.issued[&id];
        let random = &mut self.shared.random;
        let content = self.disk[usize::from(issued.lun)][usize::from(issued.slot)].clone();
        let mut data_in = if issued.reads { content } else { Bytes::new() };
        if issued.reads && random.chance(60) {
            // What was expected, as most commands do.
            let begin = issued.data.len() % 100;
            data_in = super::initiator::NOISE.slice(begin..begin + issued.expected_in);
        }
        let fails = random.chance(10);
        if fails {
            data_in.truncate(random.up_to(data_in.len()));
        }
        let mut transfer_bytes = data_in.len() as u64;
        if issued.writes && !issued.reads {
            let written = issued.data.len() as u64;
            transfer_bytes = if random.chance(80) { written } else { random.below(9000) as u64 };
        }
        let sense = if fails { super::initiator::NOISE.slice(..18) } else { Bytes::new() };
        let status = if fails { 2 } else { 0 };
        ScsiResponse { status, sense, data_in: in_pieces(random, &data_in), transfer_bytes }
    }

    // ---- task management ------------------------------------------------------------------------------------

    /// As the portal does it: other sessions stop their tasks, and the answer waits for them.
    fn begin_management(&mut self, at: usize, request: TaskManagement) {
        use TaskManagementFunction as Function;
        let scope = match request.function {
            Function::ClearTaskSet | Function::LogicalUnitReset => Some(TaskScope::LogicalUnit(request.lun)),
            Function::TargetWarmReset | Function::TargetColdReset => Some(TaskScope::All),
            _ => None,
        };
        let is_live = |link: &Link| link.target.is_full_feature() && !link.initiator.discovery;
        let others: Vec<usize> = match scope {
            Some(_) => {
                (0..self.links.len()).filter(|other| *other != at && is_live(&self.links[*other])).collect()
            }
            None => Vec::new(),
        };
        let mut aborted = Vec::new();
        if let Some(scope) = scope {
            for other in &others {
                aborted.extend(self.links[*other].abort(scope));
            }
        }
        note!(self.shared, "{at} manages {:?}, others {others:?} abort {aborted:?}", request.function);
        let tag = self.tag_of_management(at, &request).0;
        if let Some(managing) = self.links[at].initiator.managing.get_mut(&tag) {
            managing.others = aborted;
        }
        // Both end the session that asked, when it has its answer (§11.5.1, RFC 7144 §6.3).
        let cold = matches!(request.function, Function::TargetColdReset | Function::ITNexusReset);
        self.managed.push(Managed { link: at, request, scope, others, cold, is_held: true });
        if self.shared.random.chance(70) {
            self.release_managed();
        }
    }

    pub(super) fn release_managed(&mut self) {
        self.managed.iter_mut().for_each(|managed| managed.is_held = false);
        self.settle_managed();
    }

    fn settle_managed(&mut self) {
        let links = &self.links;
        let is_due = |managed: &Managed| {
            let waits = |other: &usize| {
                managed.scope.is_some_and(|scope| links[*other].target.has_aborted_tasks(scope))
            };
            !managed.is_held && !managed.others.iter().any(waits)
        };
        let Some(at) = self.managed.iter().position(is_due) else { return };
        let managed = self.managed.swap_remove(at);
        let target = &mut self.links[managed.link].target;
        target.complete_task_management(managed.request.id, managed.request.proposed);
        if managed.cold {
            self.cold.push(managed.link);
            managed.others.iter().for_each(|other| self.close(*other));
        }
        self.settle_managed();
    }

    /// The one that asked for a cold reset, or a reset of its nexus, is closed when it has its answer.
    pub(super) fn finish_cold_resets(&mut self) {
        for at in std::mem::take(&mut self.cold) {
            if !self.links[at].target.task_management.is_empty() {
                self.cold.push(at);
            } else {
                self.close(at);
            }
        }
    }

    pub(super) fn notify(&mut self, at: usize) {
        let link = &mut self.links[at];
        if !link.target.is_full_feature() {
            return;
        }
        let sense = super::initiator::NOISE.slice(..18);
        let lun = LogicalUnitNumber::single_level(1);
        let random = &mut self.shared.random;
        let seconds = u16::try_from(random.below(100)).unwrap();
        let sequence = crate::wire::NopIn::parse(&[0; 48]).sequence;
        let (notice, lun, event, parameter3) = if random.chance(50) {
            (AsyncNotice::ScsiEvent { lun, sense }, lun, AsyncEvent::ScsiEvent, 0)
        } else {
            let notice = AsyncNotice::RequestLogout { seconds };
            (notice, LogicalUnitNumber::ZERO, AsyncEvent::RequestLogout, seconds)
        };
        let message = AsyncMessage { lun, sequence, event, parameter1: 0, parameter2: 0, parameter3 };
        link.initiator.messages.push_back(message);
        link.target.notify(notice);
    }
}

fn record(number: usize) -> TargetRecord {
    TargetRecord {
        name: IscsiName::parse(&format!("iqn.2026-01.test:volume-{number}")).unwrap(),
        addresses: vec!["192.0.2.1:3260,1".into(), "[2001:db8::1]:3260,1".into()],
    }
}

fn in_pieces(random: &mut Random, data: &Bytes) -> Payload {
    let mut pieces = Payload::new();
    let mut at = 0;
    while at < data.len() {
        let stop = if random.chance(50) { data.len() } else { (at + 1 + random.below(3000)).min(data.len()) };
        pieces.push(data.slice(at..stop));
        at = stop;
    }
    pieces
}
