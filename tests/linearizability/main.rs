//! Several sessions use one unit at once: reads, writes, compare-and-write, reservations of both kinds, preemption, resets.
//! What each of them is answered must be what a disk that does one thing at a time could have answered.
//!
//! `HISTORIES=100000 cargo test --release --test linearizability` tries more of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]
#![allow(unreachable_pub, reason = "modules of a test")]

mod history;
mod stores;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

use bytes::Bytes;
use cow::{NewVolume, Store};
use history::{Answer, BLOCKS, Command, Event, History, NEXUSES, is_linearizable};
use osvold::lun::{BlockStore, BufferPool, Execution, Lun, LunConfig};
use scsi::{InitiatorPort, NexusId, Response, Status, UnitConfig};
use stores::{Fault, Restless};

const LUN: [u8; 8] = [0; 8];
const BLOCK: usize = 512;
const STEPS: usize = 7;
const HISTORIES: u64 = 400;
/// Histories in which a fault must have shown.
const HISTORIES_WITH_FAULT: u64 = 20_000;

/// Which kind of reservations a history is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Spc2,
    Persistent,
}

/// What a session leaves out, so that its unit seems to be a worse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Omission {
    Nothing,
    /// PREEMPT instead of PREEMPT AND ABORT: what was admitted is not waited for.
    Waiting,
    /// Writes are sent as if by somebody else, whom reservations of this session's rivals may not exclude.
    Reservations,
}

struct Session {
    omission: Omission,
    /// The session before this one.
    other: NexusId,
    lun: Arc<Lun>,
    nexus: NexusId,
    number: usize,
    pool: BufferPool,
}

/// The small generator of each session (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
}

impl Session {
    fn run(&self, cdb: &[u8], data_out: Vec<u8>) -> Response {
        let nexus = match cdb[0] {
            0x2A if self.omission == Omission::Reservations => self.other,
            _ => self.nexus,
        };
        match self.lun.execute(nexus, LUN, cdb, &[Bytes::from(data_out)], &self.pool) {
            Execution::Done(response) => response,
            Execution::Blocked(job) => job.run(),
        }
    }

    fn reserve_out(&self, action: u8, exclusive: bool, key: usize, action_key: usize) -> Response {
        let mut list = vec![0; 24];
        (list[7], list[15]) = (u8::try_from(key).unwrap(), u8::try_from(action_key).unwrap());
        self.run(&[0x5F, action, if exclusive { 3 } else { 1 }, 0, 0, 0, 0, 0, 24, 0], list)
    }

    fn perform(&self, command: Command) -> Answer {
        let block_number = |block: usize| u8::try_from(block * 9).unwrap();
        let own_key = self.number + 1;
        let response = match command {
            Command::Read { block } => self.run(&[0x28, 0, 0, 0, 0, block_number(block), 0, 0, 1, 0], vec![]),
            Command::Write { block, value } => {
                self.run(&[0x2A, 0, 0, 0, 0, block_number(block), 0, 0, 1, 0], vec![value; BLOCK])
            }
            Command::CompareAndWrite { block, expected, value } => {
                let both = [[expected; BLOCK], [value; BLOCK]].concat();
                self.run(&[0x89, 0, 0, 0, 0, 0, 0, 0, 0, block_number(block), 0, 0, 0, 1, 0, 0], both)
            }
            Command::Reserve => self.run(&[0x16, 0, 0, 0, 0, 0], vec![]),
            Command::Release => self.run(&[0x17, 0, 0, 0, 0, 0], vec![]),
            Command::Register => self.reserve_out(6, false, 0, own_key),
            Command::PersistentReserve { exclusive } => self.reserve_out(1, exclusive, own_key, 0),
            Command::PersistentRelease { exclusive } => self.reserve_out(2, exclusive, own_key, 0),
            Command::PreemptAndAbort { victim, exclusive } => {
                let action = if self.omission == Omission::Waiting { 4 } else { 5 };
                self.reserve_out(action, exclusive, own_key, victim + 1)
            }
            Command::Reset => {
                self.lun.quiesce();
                self.lun.logical_unit_reset();
                return Answer::Good;
            }
        };
        answer(command, &response)
    }

    /// A few commands, and what came of them. What it compares with is what it saw last, so that it often succeeds.
    fn live(&self, kind: Kind, clock: &AtomicU64, mut random: Random) -> Vec<Event> {
        let mut last_seen = [0; BLOCKS];
        let mut events = Vec::with_capacity(STEPS);
        for step in 0..STEPS {
            let value = u8::try_from(self.number * 50 + step + 1).unwrap();
            let command = choose(kind, self.number, value, &last_seen, &mut random);
            let invoked = clock.fetch_add(1, Ordering::SeqCst);
            let answer = self.perform(command);
            let answered = clock.fetch_add(1, Ordering::SeqCst);
            match (command, answer) {
                (Command::Read { block }, Answer::Value(value)) => last_seen[block] = value,
                (
                    Command::Write { block, value } | Command::CompareAndWrite { block, value, .. },
                    Answer::Good,
                ) => {
                    last_seen[block] = value;
                }
                _ => {}
            }
            events.push(Event { command, answer, invoked, answered });
        }
        events
    }
}

fn answer(command: Command, response: &Response) -> Answer {
    match (response.status, command) {
        (Status::Good, Command::Read { .. }) => {
            let value = response.data_in[0];
            assert!(response.data_in.iter().all(|byte| *byte == value), "a block is half one, half another");
            Answer::Value(value)
        }
        (Status::Good, _) => Answer::Good,
        (Status::ReservationConflict, _) => Answer::Conflict,
        (Status::CheckCondition, _) => match (response.sense[2] & 0x0F, response.sense[12]) {
            (0x6, _) => Answer::Attention,
            (0xE, 0x1D) => Answer::Miscompare,
            (0x5, 0x26) => Answer::InvalidRelease,
            sense => panic!("{command:?}: {sense:02x?}"),
        },
        (status, _) => panic!("{command:?}: {status:?}"),
    }
}

fn choose(kind: Kind, number: usize, value: u8, last_seen: &[u8; BLOCKS], random: &mut Random) -> Command {
    let block = usize::try_from(random.below(BLOCKS as u64)).unwrap();
    let exclusive = random.below(3) == 0;
    match (random.below(12), kind) {
        (0..=2, _) => Command::Read { block },
        (3..=4, _) => Command::Write { block, value },
        (5..=7, _) => Command::CompareAndWrite { block, expected: last_seen[block], value },
        (8, Kind::Spc2) => Command::Reserve,
        (9 | 10, Kind::Spc2) => Command::Release,
        (_, Kind::Spc2) => Command::Reset,
        (8, Kind::Persistent) => Command::PersistentReserve { exclusive },
        (9, Kind::Persistent) => Command::PersistentRelease { exclusive },
        (10, Kind::Persistent) => Command::Register,
        (_, Kind::Persistent) => {
            let victim = (number + 1 + usize::try_from(random.below(3)).unwrap()) % NEXUSES;
            Command::PreemptAndAbort { victim, exclusive }
        }
    }
}

/// One history on a fresh unit.
fn record(store: Arc<dyn BlockStore>, kind: Kind, omission: Omission, seed: u64) -> History {
    let unit = UnitConfig::volume([7; 16], "iqn.2026-01.io.osvol:disk", 0);
    let lun = Lun::open(LunConfig { unit, reservations: None, room: None }, store).unwrap();
    let attach = |number: usize| {
        let isid = [0, 0, 0, 0, 0, u8::try_from(number).unwrap()];
        lun.attach(InitiatorPort::iscsi("iqn.2026-01.io.osvol:host", isid), 1).unwrap()
    };
    let nexuses: Vec<_> = (0..NEXUSES).map(attach).collect();
    let session = |number: usize| {
        let other = nexuses[(number + NEXUSES - 1) % NEXUSES];
        let (lun, nexus, pool) = (lun.clone(), nexuses[number], BufferPool::default());
        Session { omission, other, lun, nexus, number, pool }
    };
    let sessions: Vec<_> = (0..NEXUSES).map(session).collect();
    for session in &sessions {
        assert_eq!(session.run(&[0; 6], vec![]).status, Status::CheckCondition, "power on");
    }
    if kind == Kind::Persistent {
        for session in &sessions {
            assert_eq!(session.perform(Command::Register), Answer::Good);
        }
    }
    let (clock, barrier) = (AtomicU64::new(0), Barrier::new(NEXUSES));
    let live = |session: &Session| {
        let random = Random((seed * 31 + session.number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        barrier.wait();
        session.live(kind, &clock, random)
    };
    let live = &live;
    std::thread::scope(|scope| {
        let threads: Vec<_> = sessions.iter().map(|session| scope.spawn(move || live(session))).collect();
        let events: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        events.try_into().unwrap()
    })
}

/// The first history that is none of a disk's, of so many.
fn first_impossible(
    kind: Kind,
    omission: Omission,
    histories: u64,
    store: impl Fn(u64) -> Arc<dyn BlockStore>,
) -> Option<(u64, History)> {
    (1..=histories).find_map(|seed| {
        let history = record(store(seed), kind, omission, seed);
        (!is_linearizable(&history, kind == Kind::Persistent)).then_some((seed, history))
    })
}

fn assert_possible(kind: Kind, histories: u64, store: impl Fn(u64) -> Arc<dyn BlockStore>) {
    let wanted = std::env::var("HISTORIES").ok().and_then(|count| count.parse().ok());
    let histories = wanted.unwrap_or(histories);
    if let Some((seed, history)) = first_impossible(kind, Omission::Nothing, histories, store) {
        panic!("no disk answers so (history {seed}): {history:#?}");
    }
}

#[test]
fn a_unit_in_memory_answers_as_if_one_command_came_at_a_time() {
    for kind in [Kind::Spc2, Kind::Persistent] {
        assert_possible(kind, HISTORIES, |seed| Arc::new(Restless::new(Fault::None, seed)));
    }
}

#[test]
fn a_unit_on_a_volume_answers_as_if_one_command_came_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    for kind in [Kind::Spc2, Kind::Persistent] {
        assert_possible(kind, HISTORIES / 10, |seed| {
            let new = NewVolume { name: format!("{kind:?}-{seed}"), image: None, size_bytes: Some(1 << 20) };
            store.open_volume(store.create_volume(new).unwrap().id).unwrap()
        });
    }
}

/// The test is worth something: units with these faults do not escape it.
#[test]
fn a_unit_that_does_two_things_at_once_is_found_out() {
    let faults = [
        (Kind::Spc2, Fault::OpenCompareAndWrite, Omission::Nothing),
        (Kind::Spc2, Fault::EarlyAnswer, Omission::Nothing),
        (Kind::Spc2, Fault::None, Omission::Reservations),
        (Kind::Persistent, Fault::None, Omission::Reservations),
        (Kind::Persistent, Fault::Lazy, Omission::Waiting),
    ];
    for (kind, fault, omission) in faults {
        let store = |seed| -> Arc<dyn BlockStore> { Arc::new(Restless::new(fault, seed)) };
        match first_impossible(kind, omission, HISTORIES_WITH_FAULT, store) {
            Some((seed, _)) => println!("{fault:?}, {omission:?}: seen in history {seed}"),
            None => panic!("{fault:?}, {omission:?}: not seen"),
        }
    }
}

// ---- the checker itself -------------------------------------------------------------------------------------

fn event(command: Command, answer: Answer, invoked: u64, answered: u64) -> Event {
    Event { command, answer, invoked, answered }
}

#[test]
fn two_that_both_win_a_compare_and_write_are_no_history_of_a_disk() {
    let win = |value, invoked, answered| {
        event(Command::CompareAndWrite { block: 0, expected: 0, value }, Answer::Good, invoked, answered)
    };
    let both = [vec![win(1, 0, 2)], vec![win(2, 1, 3)], vec![], vec![]];
    assert!(!is_linearizable(&both, false));
    let mut one = both;
    one[1][0].answer = Answer::Miscompare;
    assert!(is_linearizable(&one, false));
}

#[test]
fn a_write_that_is_answered_is_read() {
    let write = event(Command::Write { block: 0, value: 5 }, Answer::Good, 0, 1);
    let read = |value, invoked| event(Command::Read { block: 0 }, Answer::Value(value), invoked, 9);
    assert!(
        !is_linearizable(&[vec![write], vec![read(0, 2)], vec![], vec![]], false),
        "sent after the answer"
    );
    assert!(is_linearizable(&[vec![write], vec![read(0, 0)], vec![], vec![]], false), "sent before it");
    assert!(is_linearizable(&[vec![write], vec![read(5, 2)], vec![], vec![]], false));
}

#[test]
fn what_was_admitted_may_land_under_a_reservation_but_not_after_preempt_and_abort() {
    let write = event(Command::Write { block: 0, value: 5 }, Answer::Good, 0, 10);
    let read = |value, invoked| event(Command::Read { block: 0 }, Answer::Value(value), invoked, invoked + 1);
    let then = |command| vec![event(command, Answer::Good, 1, 2), read(0, 3), read(5, 6)];
    let reserve = then(Command::PersistentReserve { exclusive: true });
    assert!(is_linearizable(&[vec![write], reserve, vec![], vec![]], true));
    let preempt = then(Command::PreemptAndAbort { victim: 0, exclusive: true });
    let mut history = [vec![write], preempt, vec![], vec![]];
    // Session 0 holds the reservation that is preempted.
    history[0].insert(0, event(Command::PersistentReserve { exclusive: true }, Answer::Good, 0, 0));
    assert!(!is_linearizable(&history, true));
}
