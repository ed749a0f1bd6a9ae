//! Whether a history is linearizable (Wing and Gong): is there an order of the commands' effects, each between its
//! invocation and its response, in which a disk that does one thing at a time would have answered the same?
//!
//! A command that uses the medium has two points: one at which it is admitted under the reservations of that moment, and
//! one at which it takes effect. SPC-4 checks reservations when a command is enabled, so that one that was admitted may
//! still take effect under a reservation that came after it. PREEMPT AND ABORT and a reset have two as well: one at which
//! they begin, and one at which they end, when nothing that was admitted before their beginning is still to take effect.

use std::collections::HashSet;

/// Registers of the medium, a block each.
pub const BLOCKS: usize = 2;
/// Sessions.
pub const NEXUSES: usize = 4;

/// What a session asks for. Values and keys are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Read {
        block: usize,
    },
    Write {
        block: usize,
        value: u8,
    },
    CompareAndWrite {
        block: usize,
        expected: u8,
        value: u8,
    },
    /// RESERVE(6) and RELEASE(6) of SPC-2.
    Reserve,
    Release,
    /// PERSISTENT RESERVE OUT. A nexus registers its own number plus one as its key.
    Register,
    PersistentReserve {
        exclusive: bool,
    },
    PersistentRelease {
        exclusive: bool,
    },
    PreemptAndAbort {
        victim: usize,
        exclusive: bool,
    },
    /// LOGICAL UNIT RESET, as the portal does it: quiet first, then the reset.
    Reset,
}

impl Command {
    fn uses_medium(self) -> bool {
        matches!(self, Self::Read { .. } | Self::Write { .. } | Self::CompareAndWrite { .. })
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Good,
    Value(u8),
    Miscompare,
    Conflict,
    /// ILLEGAL REQUEST: a release of another type than the reservation's.
    InvalidRelease,
    /// UNIT ATTENTION: nothing was done.
    Attention,
}

/// One command of a history, with when it was sent and answered on a clock that all sessions share.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub command: Command,
    pub answer: Answer,
    pub invoked: u64,
    pub answered: u64,
}

/// What each session did, in order.
pub type History = [Vec<Event>; NEXUSES];

/// A disk that does one thing at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Disk {
    blocks: [u8; BLOCKS],
    reserved: Option<usize>,
    registered: [bool; NEXUSES],
    /// Holder, and whether the type is Exclusive Access rather than Write Exclusive.
    persistent: Option<(usize, bool)>,
}

/// How far one session is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Progress {
    done: usize,
    /// Its present command has had its first point.
    begun: bool,
    /// Commands that must take effect before its present command ends: a bit for each session.
    waits_for: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    disk: Disk,
    progress: [Progress; NEXUSES],
}

/// Is there such an order? Every session is registered in the beginning when `registered` says so.
pub fn is_linearizable(history: &History, registered: bool) -> bool {
    let disk = Disk { registered: [registered; NEXUSES], ..Disk::default() };
    let mut seen = HashSet::new();
    let mut open = vec![State { disk, progress: [Progress::default(); NEXUSES] }];
    while let Some(state) = open.pop() {
        if (0..NEXUSES).all(|nexus| state.progress[nexus].done == history[nexus].len()) {
            return true;
        }
        if seen.insert(state) {
            open.extend((0..NEXUSES).filter_map(|nexus| state.next(history, nexus)));
        }
    }
    false
}

impl State {
    /// The state after the next point of this session, if it can come next.
    fn next(&self, history: &History, nexus: usize) -> Option<Self> {
        let current = |nexus: usize| history[nexus].get(self.progress[nexus].done);
        let event = current(nexus)?;
        // Whoever was answered before this was sent has had all its points.
        let first_answer = (0..NEXUSES).filter_map(current).map(|event| event.answered).min()?;
        if event.invoked > first_answer {
            return None;
        }
        let mut state = *self;
        let has_ended = if self.progress[nexus].begun {
            self.progress[nexus].waits_for == 0 && state.disk.effect(event)?
        } else {
            state.begin(history, event, nexus)?
        };
        if has_ended {
            state.progress[nexus] = Progress { done: self.progress[nexus].done + 1, ..Progress::default() };
            for other in &mut state.progress {
                other.waits_for &= !(1 << nexus);
            }
        } else if self.progress[nexus].begun {
            return None;
        }
        Some(state)
    }

    /// The first point. Gives whether it is the last as well; `None` when the disk would have answered otherwise.
    fn begin(&mut self, history: &History, event: &Event, nexus: usize) -> Option<bool> {
        if event.answer == Answer::Attention {
            return Some(true);
        }
        match event.command {
            command if command.uses_medium() => {
                let writes = !matches!(command, Command::Read { .. });
                if self.disk.excludes(nexus, writes) {
                    return (event.answer == Answer::Conflict).then_some(true);
                }
                self.progress[nexus].begun = true;
                (event.answer != Answer::Conflict).then_some(false)
            }
            Command::PreemptAndAbort { victim, exclusive } => {
                let answer = self.disk.preempt(nexus, victim, exclusive);
                if answer != event.answer {
                    return None;
                }
                Some(answer != Answer::Good || self.begin_to_wait(history, nexus))
            }
            Command::Reset => Some(self.begin_to_wait(history, nexus)),
            _ => (self.disk.reservation(event.command, nexus) == event.answer).then_some(true),
        }
    }

    /// Whatever of others is admitted and has not taken effect must do so before this ends.
    fn begin_to_wait(&mut self, history: &History, nexus: usize) -> bool {
        let is_admitted = |other: &usize| {
            let Progress { done, begun, .. } = self.progress[*other];
            begun && history[*other].get(done).is_some_and(|event| event.command.uses_medium())
        };
        let waits_for = (0..NEXUSES).filter(is_admitted).fold(0, |set, other| set | 1 << other);
        self.progress[nexus] = Progress { begun: true, waits_for, ..self.progress[nexus] };
        false
    }
}

impl Disk {
    fn excludes(&self, nexus: usize, writes: bool) -> bool {
        self.reserved.is_some_and(|holder| holder != nexus)
            || self.persistent.is_some_and(|(holder, exclusive)| holder != nexus && (writes || exclusive))
    }

    /// The second point.
    fn effect(&mut self, event: &Event) -> Option<bool> {
        let answer = match event.command {
            Command::Read { block } => Answer::Value(self.blocks[block]),
            Command::Write { block, value } => {
                self.blocks[block] = value;
                Answer::Good
            }
            Command::CompareAndWrite { block, expected, .. } if self.blocks[block] != expected => {
                Answer::Miscompare
            }
            Command::CompareAndWrite { block, value, .. } => {
                self.blocks[block] = value;
                Answer::Good
            }
            Command::Reset => {
                self.reserved = None;
                Answer::Good
            }
            _ => Answer::Good,
        };
        (answer == event.answer).then_some(true)
    }

    fn reservation(&mut self, command: Command, nexus: usize) -> Answer {
        let is_registered = self.registered[nexus];
        match command {
            Command::Reserve | Command::Release if self.registered.contains(&true) => Answer::Conflict,
            Command::Reserve if self.reserved.is_some_and(|holder| holder != nexus) => Answer::Conflict,
            Command::Reserve => {
                self.reserved = Some(nexus);
                Answer::Good
            }
            Command::Release => {
                self.reserved = self.reserved.filter(|holder| *holder != nexus);
                Answer::Good
            }
            Command::Register => {
                self.registered[nexus] = true;
                Answer::Good
            }
            _ if !is_registered => Answer::Conflict,
            Command::PersistentReserve { exclusive } => {
                let wanted = Some((nexus, exclusive));
                if self.persistent.is_some() && self.persistent != wanted {
                    return Answer::Conflict;
                }
                self.persistent = wanted;
                Answer::Good
            }
            Command::PersistentRelease { exclusive } => match self.persistent {
                Some((holder, other)) if holder == nexus && other != exclusive => Answer::InvalidRelease,
                Some((holder, _)) if holder == nexus => {
                    self.persistent = None;
                    Answer::Good
                }
                _ => Answer::Good,
            },
            _ => Answer::Good,
        }
    }

    fn preempt(&mut self, nexus: usize, victim: usize, exclusive: bool) -> Answer {
        if !self.registered[nexus] || !self.registered[victim] {
            return Answer::Conflict;
        }
        self.registered[victim] = false;
        if self.persistent.is_some_and(|(holder, _)| holder == victim) {
            self.persistent = Some((nexus, exclusive));
        }
        Answer::Good
    }
}
