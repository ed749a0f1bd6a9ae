//! Who is at work on a unit, so that one can wait until all who were have ended.
//!
//! A command on its connection's own task holds a passage, which costs an uncontended atomic operation. A job holds a
//! ticket with a number; whoever quiesces waits for all smaller numbers, never for later ones, so that two who wait do
//! not wait for each other.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, RwLock, RwLockReadGuard};

#[derive(Debug, Default)]
pub(super) struct Gate {
    passages: RwLock<()>,
    tickets: Mutex<Tickets>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Tickets {
    next: u64,
    open: BTreeSet<u64>,
}

/// A job that has begun and not ended; dropping it is its end.
#[derive(Debug)]
pub(super) struct Ticket {
    gate: Arc<Gate>,
    number: u64,
}

impl Gate {
    /// Begins a command on the connection's own task.
    pub(super) fn pass(&self) -> RwLockReadGuard<'_, ()> {
        self.passages.read()
    }

    /// Begins a job. To be taken before the command's passage ends, so that there is no moment between.
    pub(super) fn ticket(self: &Arc<Self>) -> Ticket {
        let mut tickets = self.tickets.lock();
        let number = tickets.next;
        tickets.next += 1;
        tickets.open.insert(number);
        Ticket { gate: self.clone(), number }
    }

    /// Waits for all jobs before `own` (or all that there are), and for all commands that are passing now.
    pub(super) fn quiesce(&self, own: Option<&Ticket>) {
        drop(self.passages.write());
        let mut tickets = self.tickets.lock();
        let limit = own.map_or(tickets.next, |ticket| ticket.number);
        while tickets.open.first().is_some_and(|&number| number < limit) {
            self.ended.wait(&mut tickets);
        }
    }
}

impl Ticket {
    /// Waits for all jobs and commands that began before this job.
    pub(super) fn wait_for_earlier(&self) {
        self.gate.quiesce(Some(self));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.gate.tickets.lock().open.remove(&self.number);
        self.gate.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn quiescing_waits_for_earlier_jobs_only() {
        let gate = Arc::new(Gate::default());
        let (first, second) = (gate.ticket(), gate.ticket());
        let (told, heard) = mpsc::channel();
        let waiter = std::thread::spawn({
            let told = told.clone();
            move || {
                second.wait_for_earlier();
                told.send("second").unwrap();
            }
        });
        let third = gate.ticket();
        told.send("first").unwrap();
        drop(first);
        waiter.join().unwrap();
        assert_eq!((heard.recv(), heard.recv()), (Ok("first"), Ok("second")));
        drop(third);
        gate.quiesce(None);
    }
}
