//! SANITIZE goes on whatever becomes of its command: an abort, a reset or the end of the session leaves it alone
//! (SBC-3, SANITIZE). So it has a thread of its own, and the command only waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use scsi::{Action, Failure, Outcome, Sanitize, Task};

use super::{BufferPool, Lun, perform};

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
    /// How the last one ended; `None` while it runs.
    ended: Option<Outcome>,
    /// Counts the times that waiting commands were sent away.
    releases: u64,
}

impl Background {
    /// Commands were aborted: those that wait here wait no longer.
    pub(super) fn release(&self) {
        self.state.lock().releases += 1;
        self.changed.notify_all();
    }

    /// Starts the work, and waits for it unless the command wants its answer at once. `None` when it was sent away.
    pub(super) fn run(&self, lun: &Arc<Lun>, task: &Task) -> Option<Outcome> {
        let Action::Sanitize { method, immediate } = &task.action else {
            return Some(Outcome::Failed(Failure::Internal));
        };
        let releases = {
            let mut state = self.state.lock();
            state.ended = None;
            state.releases
        };
        let (worker, work, method) = (lun.clone(), task.clone(), method.clone());
        let name = "sanitize".to_owned();
        let thread = std::thread::Builder::new().name(name).spawn(move || worker.sanitize(&work, &method));
        if let Err(error) = thread {
            tracing::error!(%error, "no thread for SANITIZE");
            lun.unit.lock().settle(task, false);
            return Some(Outcome::Failed(Failure::Internal));
        }
        if *immediate { Some(Outcome::Done) } else { self.wait(releases) }
    }

    fn wait(&self, releases: u64) -> Option<Outcome> {
        let mut state = self.state.lock();
        loop {
            if let Some(outcome) = &state.ended {
                return Some(outcome.clone());
            }
            if state.releases != releases {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }

    fn end(&self, outcome: Outcome) {
        self.state.lock().ended = Some(outcome);
        self.changed.notify_all();
    }
}

impl Lun {
    /// The thread's work.
    fn sanitize(&self, task: &Task, method: &Sanitize) {
        let begin = Instant::now();
        let outcome = perform::waiting(&*self.store, &task.action, &[], &BufferPool::new(0));
        if matches!(method, Sanitize::Overwrite { .. }) {
            std::thread::sleep(OVERWRITE_TIME_MIN.saturating_sub(begin.elapsed()));
        }
        let success = !matches!(outcome, Outcome::Failed(_));
        tracing::info!(success, "SANITIZE ended");
        self.unit.lock().settle(task, success);
        self.background.end(outcome);
    }
}
