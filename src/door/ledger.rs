//! What a door has seen, kept in step with what it does.
//!
//! Changes are numbered as they end; a flush covers the changes that had ended when it began. A change that is under
//! way during a flush ends later and so is not covered. A flush is one of the whole volume, so that one which FUA asks
//! for covers earlier changes as well as its own.

use parking_lot::Mutex;

use super::limits::FAULTS_MAX;

/// What a door has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Errors that were answered, and connections that were lost; the first few, in words.
    pub faults: Vec<String>,
    /// Connections that got as far as transmission.
    pub connections: u64,
    /// Requests that changed something.
    pub writes: u64,
    /// Something was written after the last flush that succeeded.
    pub unflushed: bool,
    /// Connections that ended without a disconnect.
    pub lost: u64,
}

impl Verdict {
    /// Whether everything that a client wrote is known to be in the volume.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn sound(&self) -> Result<(), String> {
        if let Some(first) = self.faults.first() {
            return Err(match self.faults.len() {
                1 => first.clone(),
                more => format!("{first} (and {} more)", more - 1),
            });
        }
        if self.lost > 0 {
            return Err("a connection to the volume ended without a disconnect".to_owned());
        }
        match self.unflushed {
            true => Err("no flush followed the last write to the volume".to_owned()),
            false => Ok(()),
        }
    }
}

/// The account of one door.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Account>);

#[derive(Debug, Default)]
struct Account {
    verdict: Verdict,
    unsaid: u64,
    /// Changes that are under way.
    changing: u64,
    /// Number of the last change that ended, and of the last that a flush covers.
    changed: u64,
    flushed: u64,
}

/// The changes that had ended at some moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark(u64);

/// A change that is under way; it ends when this is dropped, with whatever result.
#[derive(Debug)]
pub(super) struct Change<'a>(&'a Ledger, bool);

impl Ledger {
    pub(super) fn verdict(&self) -> Verdict {
        let account = self.0.lock();
        let mut verdict = account.verdict.clone();
        verdict.unflushed = account.changing > 0 || account.flushed < account.changed;
        if account.unsaid > 0 {
            verdict.faults.push(format!("{} faults that are not listed", account.unsaid));
        }
        verdict
    }

    pub(super) fn connected(&self) {
        self.0.lock().verdict.connections += 1;
    }

    pub(super) fn lost(&self, why: &str) {
        self.0.lock().verdict.lost += 1;
        self.fault(format!("a connection to the volume was lost: {why}"));
    }

    pub(super) fn fault(&self, what: String) {
        let mut account = self.0.lock();
        // A client can make as many as it likes: what is not kept is not logged either.
        if account.verdict.faults.len() < FAULTS_MAX {
            tracing::warn!("NBD: {what}");
            account.verdict.faults.push(what);
        } else {
            account.unsaid += 1;
        }
    }

    /// A change begins.
    pub(super) fn change(&self) -> Change<'_> {
        self.0.lock().changing += 1;
        Change(self, true)
    }

    /// What a flush that begins now covers.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.0.lock().changed)
    }

    /// A flush has succeeded.
    pub(super) fn flushed(&self, mark: Mark) {
        let mut account = self.0.lock();
        account.flushed = account.flushed.max(mark.0);
    }
}

impl Change<'_> {
    /// Nothing was changed after all.
    pub(super) fn undone(mut self) {
        self.1 = false;
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let mut account = self.0.0.lock();
        account.changing -= 1;
        if self.1 {
            account.changed += 1;
            account.verdict.writes += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_covers_what_had_ended_when_it_began() {
        let ledger = Ledger::default();
        assert_eq!(ledger.verdict().sound(), Ok(()));
        drop(ledger.change());
        assert!(ledger.verdict().unflushed);
        let late = ledger.change();
        let mark = ledger.mark();
        drop(late);
        ledger.flushed(mark);
        assert!(ledger.verdict().unflushed, "one change ended after the flush had begun");
        ledger.flushed(ledger.mark());
        assert_eq!(ledger.verdict().sound(), Ok(()));
        ledger.flushed(mark);
        assert_eq!(ledger.verdict().sound(), Ok(()), "an older flush takes nothing back");
        assert_eq!(ledger.verdict().writes, 2);
    }

    #[test]
    fn a_change_under_way_is_not_flushed_and_one_undone_never_was() {
        let ledger = Ledger::default();
        let change = ledger.change();
        ledger.flushed(ledger.mark());
        assert!(ledger.verdict().sound().unwrap_err().contains("no flush"));
        change.undone();
        assert_eq!(ledger.verdict(), Verdict::default());
    }

    #[test]
    fn faults_are_kept_to_a_number() {
        let ledger = Ledger::default();
        (0..FAULTS_MAX + 5).for_each(|n| ledger.fault(format!("fault {n}")));
        let verdict = ledger.verdict();
        assert_eq!(verdict.faults.len(), FAULTS_MAX + 1);
        assert_eq!(verdict.sound(), Err("fault 0 (and 16 more)".to_owned()));
    }

    #[test]
    fn a_lost_connection_is_a_fault() {
        let ledger = Ledger::default();
        ledger.lost("the client is gone");
        assert_eq!(ledger.verdict().lost, 1);
        assert!(ledger.verdict().sound().unwrap_err().contains("the client is gone"));
    }
}
