//! A command that waits: begun, and carried to where waiting is allowed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use scsi::{Action, Failure, NexusId, Outcome, Response, Task};

use super::gate::Ticket;
use super::{BufferPool, Lun, perform};
use crate::seldom::Seldom;

/// Clusters register again and again, also where that cannot be stored.
static UNSTORED: Seldom = Seldom::new(20, Duration::from_secs(1));

/// The rest of a command. Dropping it gives the command up before anything of it was done.
#[derive(Debug)]
#[must_use = "a job that is not run leaves its initiator waiting"]
pub struct Job {
    lun: Arc<Lun>,
    nexus: NexusId,
    task: Task,
    data_out: Vec<Bytes>,
    pool: BufferPool,
    ticket: Ticket,
    has_run: bool,
}

impl Job {
    pub(super) fn new(
        lun: Arc<Lun>,
        nexus: NexusId,
        task: Task,
        data_out: &[Bytes],
        pool: BufferPool,
        ticket: Ticket,
    ) -> Self {
        let data_out = data_out.iter().map(kept).collect();
        Self { lun, nexus, task, data_out, pool, ticket, has_run: false }
    }

    /// Does the work, waiting as long as it takes, and gives the answer.
    #[must_use]
    pub fn run(mut self) -> Response {
        self.has_run = true;
        let outcome = match &self.task.action {
            Action::Sanitize { .. } => {
                // A write that was decided before must not land on what has been erased.
                self.ticket.wait_for_others();
                return match self.lun.background.run(&self.lun, self.nexus, &self.task) {
                    Some(outcome) => self.task.finish(outcome),
                    None => self.task.refuse_for_now(),
                };
            }
            Action::SaveReservations => self.save_reservations(),
            Action::Quiesce { save_reservations } => {
                self.ticket.wait_for_others();
                if *save_reservations { self.save_reservations() } else { Outcome::Done }
            }
            action => perform::waiting(&*self.lun.store, action, &self.data_out, &self.pool),
        };
        if self.task.needs_settling() {
            let success = !matches!(outcome, Outcome::Failed(_));
            self.lun.unit.lock().settle(&self.task, success);
        }
        self.task.finish(outcome)
    }

    fn save_reservations(&self) -> Outcome {
        let saved = match &self.lun.saved {
            Some(saved) => saved.store(|| self.lun.unit.lock().reservations_to_save()),
            None => Err(std::io::ErrorKind::Unsupported.into()),
        };
        match saved {
            Ok(()) => Outcome::Done,
            Err(error) => {
                if let Some(unsaid) = UNSTORED.say() {
                    tracing::error!(%error, unsaid, "persistent reservations are in force but not stored");
                }
                Outcome::Failed(Failure::Internal)
            }
        }
    }
}

/// Short pieces are copied: each may lie in a buffer of up to a MiB that was received, and a job may wait for long.
fn kept(piece: &Bytes) -> Bytes {
    const COPIED_BYTES_MAX: usize = 64 * 1024;
    if piece.len() < COPIED_BYTES_MAX { Bytes::copy_from_slice(piece) } else { piece.clone() }
}

impl Drop for Job {
    fn drop(&mut self) {
        // A unit that waits for work that nobody will do has to know.
        if !self.has_run && self.task.needs_settling() {
            self.lun.unit.lock().settle(&self.task, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_keeps_no_more_than_its_data() {
        let buffer = Bytes::from(vec![7; 1 << 20]);
        let is_slice = |piece: &Bytes| buffer.as_ptr_range().contains(&piece.as_ptr());
        assert!(!is_slice(&kept(&buffer.slice(..512))));
        assert!(is_slice(&kept(&buffer.slice(..1 << 17))), "long pieces are not copied");
    }
}
