//! SANITIZE goes on whatever becomes of its command: an abort, a reset or the end of the session leaves it alone
//! (SBC-3, SANITIZE). So it has a thread of its own, and the command only waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use scsi::{Action, Failure, NexusId, Outcome, Sanitize, Task};

use super::{BufferPool, Lun, perform};
use crate::seldom::Seldom;

/// A small volume can be erased many times a second.
static ENDS: Seldom = Seldom::new(20, Duration::from_secs(1));

/// An overwrite lasts at least as long, so that a host that looks after it has begun finds it in progress: hosts take
/// overwriting for something slow, and so does libiscsi's Sanitize.Reset.
const OVERWRITE_TIME_MIN: Duration = Duration::from_secs(6);

/// Who waits for a SANITIZE, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Background {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Number of the last one that began.
    last: u64,
    /// The last one that ended, and how.
    ended: Option<(u64, Outcome)>,
    /// Whose command waits for the one at work, if it was not sent away.
    waiting: Option<NexusId>,
}

impl Background {
    /// Commands were aborted, of one nexus or of all: one that waits here waits no longer.
    pub(super) fn release(&self, whose: Option<NexusId>) {
        let mut state = self.state.lock();
        if whose.is_none() || state.waiting == whose {
            state.waiting = None;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Starts the work, and waits for it unless the command wants its answer at once. `None` when it was sent away.
    pub(super) fn run(&self, lun: &Arc<Lun>, nexus: NexusId, task: &Task) -> Option<Outcome> {
        let Action::Sanitize { method, immediate } = &task.action else {
            return Some(Outcome::Failed(Failure::Internal));
        };
        let number = {
            let mut state = self.state.lock();
            state.last += 1;
            state.waiting = (!immediate).then_some(nexus);
            state.last
        };
        let (worker, work, method) = (lun.clone(), task.clone(), method.clone());
        let name = "sanitize".to_owned();
        let thread =
            std::thread::Builder::new().name(name).spawn(move || worker.sanitize(number, &work, &method));
        if let Err(error) = thread {
            tracing::error!(%error, "no thread for SANITIZE");
            lun.unit.lock().settle(task, false);
            return Some(Outcome::Failed(Failure::Internal));
        }
        if *immediate { Some(Outcome::Done) } else { self.wait(number) }
    }

    fn wait(&self, number: u64) -> Option<Outcome> {
        let mut state = self.state.lock();
        loop {
            // The next one may begin before the end of this one is told here.
            if let Some((ended, outcome)) = &state.ended
                && *ended >= number
            {
                return Some(outcome.clone());
            }
            // Gone when it was sent away.
            state.waiting?;
            self.changed.wait(&mut state);
        }
    }

    fn end(&self, number: u64, outcome: Outcome) {
        self.state.lock().ended = Some((number, outcome));
        self.changed.notify_all();
    }
}

impl Lun {
    /// The thread's work.
    fn sanitize(&self, number: u64, task: &Task, method: &Sanitize) {
        let begin = Instant::now();
        let outcome = perform::waiting(&*self.store, &task.action, &[], &BufferPool::new(0));
        if matches!(method, Sanitize::Overwrite { .. }) {
            std::thread::sleep(OVERWRITE_TIME_MIN.saturating_sub(begin.elapsed()));
        }
        let success = !matches!(outcome, Outcome::Failed(_));
        if let Some(unsaid) = ENDS.say() {
            tracing::info!(success, unsaid, "SANITIZE ended");
        }
        self.unit.lock().settle(task, success);
        self.background.end(number, outcome);
    }
}
