//! Who is at work on a unit, so that one can wait until all who were have ended.
//!
//! A command on its connection's own task holds a passage, which costs an uncontended atomic operation. A job holds a
//! ticket, taken before its command's passage ends. Whoever quiesces lets the passages end and then waits for the tickets
//! that are out by then, not for later ones. A job that quiesces hands its own ticket in first: two that wait never wait
//! for each other.

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

    /// Waits for all commands that have begun, on whatever thread they are.
    pub(super) fn quiesce(&self) {
        // A command that was decided before this call has its ticket, if it needs one, once its passage has ended.
        drop(self.passages.write());
        let mut tickets = self.tickets.lock();
        let limit = tickets.next;
        while tickets.open.first().is_some_and(|&number| number < limit) {
            self.ended.wait(&mut tickets);
        }
    }
}

impl Ticket {
    /// Waits for all other commands that have begun. What the job does to the medium afterwards nobody waits for.
    pub(super) fn wait_for_others(&self) {
        self.hand_in();
        self.gate.quiesce();
    }

    fn hand_in(&self) {
        self.gate.tickets.lock().open.remove(&self.number);
        self.gate.ended.notify_all();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.hand_in();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn quiescing_waits_for_jobs_that_began_before_it() {
        let gate = Arc::new(Gate::default());
        let (first, own) = (gate.ticket(), gate.ticket());
        // Decided before the quiescing began, but a job only after it.
        let late = gate.ticket();
        let (told, heard) = mpsc::channel();
        let waiter = std::thread::spawn({
            let told = told.clone();
            move || {
                own.wait_for_others();
                told.send("quiet").unwrap();
            }
        });
        for (ticket, name) in [(first, "first"), (late, "late")] {
            told.send(name).unwrap();
            drop(ticket);
        }
        waiter.join().unwrap();
        assert_eq!([heard.recv(), heard.recv(), heard.recv()], [Ok("first"), Ok("late"), Ok("quiet")]);
    }

    #[test]
    fn two_that_quiesce_do_not_wait_for_each_other() {
        let gate = Arc::new(Gate::default());
        let tickets = [gate.ticket(), gate.ticket()];
        std::thread::scope(|scope| {
            for ticket in &tickets {
                scope.spawn(|| ticket.wait_for_others());
            }
        });
    }
}
