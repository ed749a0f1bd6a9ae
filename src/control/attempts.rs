//! Failed logins, counted by where they come from: whoever guesses waits, and nobody else does.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::{Code, Refusal};
use parking_lot::Mutex;

use super::connections::Origin;

/// Failures of one origin in a [`WINDOW`] before it must wait.
const FAILURES_MAX: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Logins of one origin that are being looked at.
const AT_ONCE_MAX: u32 = 4;
/// Origins that are remembered.
const ORIGINS_MAX: usize = 4096;

/// Who failed of late.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<HashMap<Origin, Record>>);

#[derive(Debug)]
struct Record {
    failures: u32,
    since: Instant,
    under_way: u32,
}

/// A login that is being looked at.
#[derive(Debug)]
pub(super) struct Attempt {
    attempts: Arc<Attempts>,
    origin: Origin,
}

impl Attempts {
    /// Begins to look at a login, unless too many from there have failed.
    pub(super) fn begin(self: &Arc<Self>, origin: Origin, now: Instant) -> Result<Attempt, Refusal> {
        let mut records = self.0.lock();
        if records.len() >= ORIGINS_MAX && !records.contains_key(&origin) {
            make_room(&mut records, now);
        }
        let record = records.entry(origin).or_insert(Record { failures: 0, since: now, under_way: 0 });
        if now.saturating_duration_since(record.since) >= WINDOW {
            (record.failures, record.since) = (0, now);
        }
        if record.failures >= FAILURES_MAX {
            let left = WINDOW.saturating_sub(now.saturating_duration_since(record.since)).as_secs() + 1;
            return Err(too_many(&format!("{FAILURES_MAX} logins from there have failed"), left));
        }
        if record.under_way >= AT_ONCE_MAX {
            return Err(too_many(&format!("{AT_ONCE_MAX} logins from there are being looked at"), 1));
        }
        record.under_way += 1;
        Ok(Attempt { attempts: self.clone(), origin })
    }
}

fn too_many(why: &str, seconds: u64) -> Refusal {
    Refusal::new(Code::TooMany, format!("{why}; wait before the next"))
        .action(format!("try again in {seconds} s"))
}

/// Forgets those whose time is over, or else the oldest.
fn make_room(records: &mut HashMap<Origin, Record>, now: Instant) {
    let fresh = |record: &Record| now.saturating_duration_since(record.since) < WINDOW;
    records.retain(|_, record| record.under_way > 0 || fresh(record));
    if records.len() >= ORIGINS_MAX {
        let oldest = records.iter().filter(|(_, record)| record.under_way == 0);
        if let Some(origin) = oldest.min_by_key(|(_, record)| record.since).map(|(origin, _)| *origin) {
            records.remove(&origin);
        }
    }
}

impl Attempt {
    /// The password was wrong.
    pub(super) fn failed(&self) {
        if let Some(record) = self.attempts.0.lock().get_mut(&self.origin) {
            record.failures = record.failures.saturating_add(1);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(record) = self.attempts.0.lock().get_mut(&self.origin) {
            record.under_way = record.under_way.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_guesses_waits_and_others_do_not() {
        let attempts = Arc::new(Attempts::default());
        let (mallory, alice) = (Origin::Network(1), Origin::Network(2));
        let start = Instant::now();
        for _ in 0..FAILURES_MAX {
            attempts.begin(mallory, start).unwrap().failed();
        }
        let refusal = attempts.begin(mallory, start + Duration::from_secs(10)).unwrap_err();
        assert_eq!(refusal.error_code, Code::TooMany);
        assert_eq!(refusal.recommended_actions, ["try again in 51 s"]);
        attempts.begin(alice, start).unwrap();
        attempts.begin(mallory, start + WINDOW).unwrap();
    }

    #[test]
    fn one_origin_cannot_take_all_turns() {
        let attempts = Arc::new(Attempts::default());
        let now = Instant::now();
        let held: Vec<_> = (0..AT_ONCE_MAX).map(|_| attempts.begin(Origin::User(1), now).unwrap()).collect();
        assert!(attempts.begin(Origin::User(1), now).is_err());
        attempts.begin(Origin::User(2), now).unwrap();
        drop(held);
        attempts.begin(Origin::User(1), now).unwrap();
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let attempts = Arc::new(Attempts::default());
        let now = Instant::now();
        for origin in 0..10_000 {
            attempts.begin(Origin::Network(origin), now).unwrap().failed();
        }
        assert!(attempts.0.lock().len() <= ORIGINS_MAX);
    }
}
