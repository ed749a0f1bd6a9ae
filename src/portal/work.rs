//! A command on its way to a logical unit, and those of a connection that wait for their store on the blocking pool.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use iscsi::{Command, TaskId};
use scsi::NexusId;

use super::limits::{JOBS_HIGH, JOBS_PER_CONNECTION_MAX, JOBS_SHARE_MIN};
use super::mailbox::{Letter, Mailbox};
use crate::lun::{BufferPool, Execution, Job, Lun};

/// A command with all that it takes to execute it, wherever that is.
pub(super) struct Work {
    pub(super) command: Command,
    pub(super) lun: Arc<Lun>,
    pub(super) nexus: NexusId,
    pub(super) pool: BufferPool,
}

impl Work {
    pub(super) fn task(&self) -> TaskId {
        self.command.task
    }

    /// To be called before it waits for anything: a peer that sends much between its short writes would have us keep all
    /// of that with them.
    pub(super) fn detach(&mut self) {
        self.command.data_out.detach();
    }

    /// Decides it, and does it where that needs no waiting.
    pub(super) fn run(self) -> Execution {
        let Self { command, lun, nexus, pool } = self;
        lun.execute(nexus, command.lun.0, &command.cdb.bytes(), command.data_out.pieces(), &pool)
    }
}

/// Threads of the blocking pool that all connections take.
#[derive(Clone, Default)]
pub(super) struct AllJobs(Arc<AtomicUsize>);

/// Those of one connection, and its commands for which there is no thread yet. None of these has been decided: a command
/// that waits for others to end never waits for one of them.
pub(super) struct Jobs {
    all: AllJobs,
    running: usize,
    queue: VecDeque<Command>,
}

/// A job that runs, as all connections count it.
struct Counted(AllJobs);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Jobs {
    pub(super) fn new(all: AllJobs) -> Self {
        Self { all, running: 0, queue: VecDeque::new() }
    }

    /// May another command of this connection wait on a thread? A store that stalls takes threads for as long as that
    /// lasts, and other volumes, logins and the control API need some as well.
    fn has_room(&self) -> bool {
        let is_high = self.all.0.load(Ordering::Relaxed) >= JOBS_HIGH;
        self.running < if is_high { JOBS_SHARE_MIN } else { JOBS_PER_CONNECTION_MAX }
    }

    /// The command, if it may go on; else it is queued.
    pub(super) fn admit(&mut self, mut command: Command) -> Option<Command> {
        if self.queue.is_empty() && self.has_room() {
            return Some(command);
        }
        command.data_out.detach();
        self.queue.push_back(command);
        None
    }

    /// A command of the queue that may go on.
    pub(super) fn next(&mut self) -> Option<Command> {
        if self.queue.is_empty() || !self.has_room() {
            return None;
        }
        self.queue.pop_front()
    }

    /// Commands of the queue, given up.
    pub(super) fn give_up(&mut self) -> VecDeque<Command> {
        std::mem::take(&mut self.queue)
    }

    /// Does something where it may wait; the response comes as a letter.
    pub(super) fn start(
        &mut self,
        task: TaskId,
        mailbox: &Mailbox,
        work: impl FnOnce() -> scsi::Response + Send + 'static,
    ) {
        self.note_begin();
        self.all.0.fetch_add(1, Ordering::Relaxed);
        let (counted, mailbox) = (Counted(self.all.clone()), mailbox.clone());
        tokio::task::spawn_blocking(move || {
            let response = work();
            drop(counted);
            mailbox.send(Letter::Completed(task, response))
        });
    }

    /// A command waits elsewhere: its letter will come.
    pub(super) fn note_begin(&mut self) {
        self.running += 1;
    }

    /// A letter has come.
    pub(super) fn note_end(&mut self) {
        self.running -= 1;
    }
}

/// The answer to a command, waited for on this thread.
pub(super) fn wait(execution: Execution) -> scsi::Response {
    match execution {
        Execution::Done(response) => response,
        Execution::Blocked(job) => job.run(),
    }
}

/// Lets a job end on the blocking pool, for a connection that counts it already.
pub(super) fn finish(task: TaskId, job: Job, mailbox: Mailbox) {
    tokio::task::spawn_blocking(move || mailbox.send(Letter::Completed(task, job.run())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_so_many_threads_and_few_when_all_have_many() {
        let all = AllJobs::default();
        let mut jobs = Jobs::new(all.clone());
        jobs.running = JOBS_PER_CONNECTION_MAX - 1;
        assert!(jobs.has_room());
        jobs.note_begin();
        assert!(!jobs.has_room());
        jobs.running = JOBS_SHARE_MIN;
        all.0.store(JOBS_HIGH, Ordering::Relaxed);
        assert!(!jobs.has_room());
        jobs.note_end();
        assert!(jobs.has_room(), "everybody may have a few");
    }
}
