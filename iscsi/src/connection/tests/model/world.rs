//! Initiator ports, connections that are cut anywhere, and the choice of what happens next.

use super::super::super::Connection;
use super::initiator::{Initiator, Phase};
use super::link::{Job, Link, Managed};
use super::login::{Login, base_request};
use super::random::Random;
use super::shared::{Shared, Stats};
use crate::config::{ConnectionConfig, NegotiationPolicy};
use crate::event::TaskManagement;
use crate::names::{InitiatorTaskTag, Tsih};
use crate::serial::SerialNumber;
use crate::session::SessionTable;
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Write data that a connection may keep while it obeys its limit: one command may always go on.
const LARGEST_WRITE: usize = 70_000;

pub(super) struct World {
    pub(super) shared: Shared,
    pub(super) links: Vec<Link>,
    pub(super) table: SessionTable<usize>,
    pub(super) disk: Vec<Vec<Bytes>>,
    pub(super) jobs: Vec<Job>,
    pub(super) managed: Vec<Managed>,
    pub(super) cold: Vec<usize>,
    config: Arc<ConnectionConfig>,
    now: Instant,
    /// The present connection of each port.
    ports: Vec<Option<usize>>,
    discovers: Vec<bool>,
}

/// What may happen in a step, and how often.
pub(super) const STEPS: [(Step, usize); 21] = [
    (Step::Write, 16),
    (Step::Read, 12),
    (Step::Both, 2),
    (Step::Neither, 2),
    (Step::DataOut, 24),
    (Step::Release, 2),
    (Step::Deliver, 14),
    (Step::Pull, 14),
    (Step::Drive, 8),
    (Step::Answer, 6),
    (Step::Apply, 6),
    (Step::Complete, 22),
    (Step::Ping, 3),
    (Step::Text, 2),
    (Step::Manage, 4),
    (Step::Stray, 1),
    (Step::Notify, 1),
    (Step::LimitMemory, 1),
    (Step::Time, 2),
    (Step::LogOut, 1),
    (Step::Cut, 1),
];

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    Write,
    Read,
    Both,
    Neither,
    DataOut,
    Release,
    Deliver,
    Pull,
    Drive,
    Answer,
    Apply,
    Complete,
    Ping,
    Text,
    Manage,
    Stray,
    Notify,
    LimitMemory,
    Time,
    LogOut,
    Cut,
}

impl World {
    pub(super) fn new(seed: u64, traced: bool) -> Self {
        let mut random = Random::new(seed);
        let lengths = [512, 1024, 4096, 65_536, 262_144u32];
        let negotiation = NegotiationPolicy {
            header_digest: random.chance(90),
            data_digest: random.chance(90),
            receive_segment_bytes_max: random.pick(&[512, 1024, 8192, 262_144]),
            burst_bytes_max: random.pick(&[512, 1000, 4096, 65_536, 1 << 20]),
            first_burst_bytes_max: random.pick(&lengths),
            initial_r2t: random.chance(20),
            immediate_data: random.chance(80),
            outstanding_r2t_max: random.pick(&[1, 2, 4]),
        };
        let config = ConnectionConfig {
            negotiation,
            tasks_max: random.pick(&[1, 2, 3, 8, 128]),
            buffered_bytes_max: random.pick(&[1 << 20, 1 << 20, 32 << 20]),
            ping_interval: random.chance(40).then_some(Duration::from_secs(10)),
            ..ConnectionConfig::default()
        };
        let ports = 1 + random.below(3);
        let discovers = (0..ports).map(|port| port > 0 && random.chance(15)).collect();
        let shared = Shared {
            random,
            issued: BTreeMap::new(),
            handed_out: BTreeSet::new(),
            outcomes: BTreeMap::new(),
            buried: BTreeSet::new(),
            established: vec![0; ports],
            immediate_jobs: 0,
            trace: traced.then(Vec::new),
            stats: Stats::default(),
            last_id: 0,
        };
        Self {
            shared,
            links: Vec::new(),
            table: SessionTable::new(),
            disk: vec![vec![Bytes::new(); 8]; 2],
            jobs: Vec::new(),
            managed: Vec::new(),
            cold: Vec::new(),
            config: Arc::new(config),
            now: Instant::now(),
            ports: vec![None; ports],
            discovers,
        }
    }

    /// One thing happens. `allowed` says of each kind whether it may, for a shorter way to a failure.
    pub(super) fn step(&mut self, allowed: &[bool]) {
        let total = STEPS.iter().map(|(_, weight)| weight).sum();
        let mut left = self.shared.random.below(total);
        let chosen = STEPS.iter().position(|(_, weight)| {
            let is_it = left < *weight;
            left = left.saturating_sub(*weight);
            is_it
        });
        let chosen = chosen.unwrap();
        let port = self.shared.random.below(self.ports.len());
        let settles = self.shared.random.chance(50);
        let at = self.present(port);
        if allowed[chosen] {
            self.take(STEPS[chosen].0, at);
        }
        if settles {
            self.settle(at);
        }
        self.listen(at);
        self.check_bounds(at);
    }

    /// The port's connection; a new one when there is none.
    fn present(&mut self, port: usize) -> usize {
        match self.ports[port] {
            Some(at) if self.links[at].initiator.phase != Phase::Over && !self.links[at].is_cut => at,
            _ => self.connect(port),
        }
    }

    fn connect(&mut self, port: usize) -> usize {
        let number = self.links.len();
        let random = &mut self.shared.random;
        // §6.3.4: a session that still stands may also be named by its TSIH.
        let standing = self.ports[port]
            .map(|old| self.links[old].initiator.tsih)
            .filter(|tsih| self.table.find(*tsih).is_some() && !self.discovers[port] && random.chance(30));
        let isid = u8::try_from(port).unwrap();
        let mut base = base_request(isid, standing.unwrap_or(Tsih(0)));
        base.cmd_sn = SerialNumber(u32::MAX - u32::try_from(random.below(60)).unwrap());
        base.exp_stat_sn = SerialNumber(u32::MAX - u32::try_from(random.below(60)).unwrap());
        let discovery = self.discovers[port];
        let login = Login::new(random, &self.config.negotiation, base, discovery);
        let grain = random.pick(&[1, 7, 48, 53, 1000, usize::MAX, usize::MAX, usize::MAX]);
        let mut initiator = Initiator::new(number, discovery, login, self.config.tasks_max, random);
        initiator.port = port;
        note!(self.shared, "port {port} connects as {number}, naming {standing:?}, grain {grain}");
        initiator.send_login(&mut self.shared.random);
        let mut target = Connection::new(self.config.clone(), self.now);
        target.transfer_count = u16::MAX - 20;
        self.links.push(Link {
            port,
            target,
            received: BytesMut::new(),
            initiator,
            grain,
            tsih: Tsih(0),
            is_cut: false,
            close_was_asked: false,
            logged_out: false,
            awaits_authorization: false,
            awaits_targets: false,
            establishing: None,
            has_ended: false,
            last_handed_out: None,
        });
        self.ports[port] = Some(number);
        number
    }

    fn take(&mut self, step: Step, at: usize) {
        self.shared.immediate_jobs = self.jobs.iter().filter(|job| job.link == at && job.immediate).count();
        let link = &mut self.links[at];
        let initiator = &mut link.initiator;
        let shared = &mut self.shared;
        let may_ask = initiator.may_ask();
        let may_command = may_ask && !initiator.discovery;
        match step {
            Step::Write | Step::Read | Step::Both | Step::Neither if may_command => {
                let reads = matches!(step, Step::Read | Step::Both);
                initiator.command(reads, matches!(step, Step::Write | Step::Both), shared);
            }
            Step::DataOut => initiator.data_out(shared),
            Step::Release if may_ask => initiator.release(shared),
            Step::Stray if may_command => initiator.stray(shared),
            Step::Manage if may_command => initiator.manage(shared),
            Step::Ping if may_ask => initiator.ping(shared),
            Step::Text if may_ask => initiator.begin_text(shared),
            Step::LogOut if may_ask && shared.random.chance(40) => initiator.log_out(shared),
            Step::Deliver => {
                let most = shared.random.up_to(link.initiator.outgoing.len());
                link.deliver(most, self.now);
            }
            Step::Pull => {
                let most = shared.random.up_to(link.target.transmit_bytes());
                link.pull(most);
            }
            Step::LimitMemory => {
                let buffered = shared.random.pick(&[1 << 20, usize::MAX]);
                let transmit = shared.random.pick(&[1000, 100_000, usize::MAX]);
                link.target.limit_memory(buffered, transmit);
            }
            Step::Drive => {
                let most = 1 + shared.random.below(4);
                self.drive(at, most);
            }
            Step::Answer => {
                (0..self.links.len()).for_each(|at| self.answer(at));
                self.release_managed();
                self.notice_losses();
            }
            Step::Apply => self.apply_one(),
            Step::Complete => self.complete_one(),
            Step::Notify => self.notify(at),
            Step::Time => self.pass_time(),
            Step::Cut if shared.random.chance(40) => self.cut(at),
            _ => {}
        }
    }

    /// The connection is lost at any byte of either direction. The target may not notice for a while.
    fn cut(&mut self, at: usize) {
        let random = &mut self.shared.random;
        let link = &mut self.links[at];
        let most = random.up_to(link.initiator.outgoing.len());
        link.deliver(most, self.now);
        if random.chance(50) {
            self.drive(at, 3);
        }
        let link = &mut self.links[at];
        let most = self.shared.random.up_to(link.target.transmit_bytes());
        link.pull(most);
        self.listen(at);
        let link = &mut self.links[at];
        note!(self.shared, "{at} is cut, {} bytes do not arrive", link.initiator.outgoing.len());
        link.initiator.outgoing.clear();
        link.is_cut = true;
        self.shared.stats.cut += 1;
        if self.shared.random.chance(50) {
            self.close(at);
        }
    }

    /// Some of the lost connections are found out; those that a login names are left for it to replace.
    fn notice_losses(&mut self) {
        for at in 0..self.links.len() {
            let link = &self.links[at];
            let may_be_closed = link.is_cut && !link.target.is_closed() && !self.is_named(at);
            if may_be_closed && self.shared.random.chance(30) {
                self.close(at);
            }
        }
    }

    fn is_named(&self, at: usize) -> bool {
        let link = &self.links[at];
        let present = self.ports[link.port].map(|present| &self.links[present]);
        present.is_some_and(|present| {
            let named = present.initiator.login.base.tsih;
            named != Tsih(0) && named == link.tsih && !present.is_cut
        })
    }

    /// Seconds pass; whoever owes an answer to a ping has given it before.
    fn pass_time(&mut self) {
        if self.links.iter().any(|link| !link.has_ended && !link.target.is_full_feature()) {
            return;
        }
        for at in 0..self.links.len() {
            let link = &mut self.links[at];
            if link.has_ended {
                continue;
            }
            if !link.is_cut {
                (0..3).for_each(|_| self.exchange(at));
            }
        }
        self.now += Duration::from_secs(4);
        for at in 0..self.links.len() {
            let link = &mut self.links[at];
            // A peer that is gone and once answered pings would be found out; another part of the model does that.
            let is_due = link.target.poll_timeout().is_some_and(|deadline| deadline <= self.now);
            if is_due && !link.is_cut {
                link.target.handle_timeout(self.now);
            }
        }
    }

    fn exchange(&mut self, at: usize) {
        let link = &mut self.links[at];
        if !link.is_cut {
            link.deliver(usize::MAX, self.now);
            link.pull(usize::MAX);
            self.listen(at);
        }
    }

    /// Bytes, events and answers move as they would if nobody were slow.
    fn settle(&mut self, at: usize) {
        self.exchange(at);
        self.drive(at, usize::MAX);
        self.answer(at);
        self.finish_cold_resets();
        self.exchange(at);
    }

    fn listen(&mut self, at: usize) {
        let link = &mut self.links[at];
        if link.is_cut {
            return;
        }
        let before = link.initiator.phase;
        link.initiator.listen(&mut self.shared);
        if before == Phase::Login && link.initiator.phase == Phase::FullFeature {
            let port = link.port;
            let is_first = self.links.iter().all(|link| link.port != port || link.initiator.number == at);
            self.shared.stats.sessions += 1;
            self.shared.stats.reinstated += u64::from(!is_first);
            if !self.discovers[port] {
                // COMPAT L13: nothing of the sessions before it is under way any more.
                let is_old = |job: &&Job| self.links[job.link].port == port && job.link != at;
                assert_eq!(self.jobs.iter().filter(is_old).count(), 0, "the new session began too early");
                self.shared.established[port] = at;
            }
        }
        let link = &mut self.links[at];
        let is_over = link.target.is_closed() && link.target.transmit_bytes() == 0;
        if is_over && link.initiator.phase != Phase::Over {
            // The driver has closed it, and the last byte has arrived.
            assert!(link.close_was_asked);
            link.initiator.phase = Phase::Over;
        }
    }

    fn check_bounds(&self, at: usize) {
        let target = &self.links[at].target;
        assert!(target.buffered_bytes() <= self.config.buffered_bytes_max + LARGEST_WRITE);
        assert!(target.tasks_open() <= self.config.tasks_max + crate::limits::IMMEDIATE_TASKS_MAX);
        if target.is_closed() {
            assert!(!target.wants_read() && target.poll_timeout().is_none());
        }
    }

    /// Everything that is open comes to its end, and nothing is left.
    pub(super) fn finish(&mut self) {
        for _ in 0..4000 {
            let mut is_quiet = self.jobs.is_empty() && self.managed.is_empty() && self.cold.is_empty();
            for at in 0..self.links.len() {
                is_quiet &= self.finish_link(at);
            }
            self.release_managed();
            (0..20).for_each(|_| self.complete_one());
            if is_quiet {
                break;
            }
        }
        for at in 0..self.links.len() {
            self.check_end(at);
        }
    }

    fn finish_link(&mut self, at: usize) -> bool {
        let link = &mut self.links[at];
        if link.has_ended {
            self.exchange(at);
            return true;
        }
        if link.is_cut && link.establishing.is_none() && !link.target.is_closed() && !self.is_named(at) {
            self.close(at);
        }
        self.settle(at);
        self.note_end(at);
        let link = &mut self.links[at];
        link.target.limit_memory(usize::MAX, usize::MAX);
        let initiator = &mut link.initiator;
        initiator.release(&mut self.shared);
        (0..50).for_each(|_| initiator.data_out(&mut self.shared));
        self.settle(at);
        let link = &self.links[at];
        if link.is_cut || link.initiator.phase == Phase::Over {
            return link.has_ended;
        }
        let initiator = &link.initiator;
        initiator.phase == Phase::FullFeature
            && initiator.tasks.values().all(|task| task.silenced)
            && initiator.managing.is_empty()
            && initiator.pings.is_empty()
            && initiator.text.is_none()
            && initiator.logout.is_none()
            && initiator.messages.is_empty()
            && !initiator.was_reset
    }

    fn check_end(&mut self, at: usize) {
        let link = &self.links[at];
        let target = &link.target;
        let initiator = &link.initiator;
        if link.is_cut || initiator.phase == Phase::Over {
            assert!(link.has_ended, "{at} does not end");
            return;
        }
        let open: Vec<u32> =
            initiator.tasks.values().filter(|task| !task.silenced).map(|task| task.id).collect();
        assert_eq!(open, [0; 0], "commands without an answer on {at}");
        assert_eq!(initiator.managing.len(), 0, "task management without an answer on {at}");
        assert!(initiator.pings.is_empty() && initiator.text.is_none() && initiator.logout.is_none());
        assert!(initiator.messages.is_empty() && initiator.phase == Phase::FullFeature, "{at} hangs");
        assert_eq!((target.tasks_open(), target.buffered_bytes(), target.transmit_bytes()), (0, 0, 0));
        assert!(initiator.window_is_open(), "the window of {at} stays closed");
        let width = initiator.max_cmd_sn.next().since(initiator.cmd_sn);
        assert!(width > 0 && initiator.exp_cmd_sn == initiator.cmd_sn || initiator.outgoing.is_empty());
    }

    /// The tag of a request that the machine waits for an answer to.
    pub(super) fn tag_of_management(&self, at: usize, request: &TaskManagement) -> InitiatorTaskTag {
        let pending = self.links[at].target.task_management.iter().find(|pending| pending.id == request.id);
        pending.map_or(InitiatorTaskTag::RESERVED, |pending| pending.initiator_task_tag)
    }
}
