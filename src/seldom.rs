//! Lines of the log that somebody outside can cause: so many at once, so many in a while, and how many were left out.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Says when a line may be logged. One for each kind of line, so that one kind does not silence another.
pub(crate) struct Seldom {
    at_once: u32,
    every: Duration,
    state: Mutex<State>,
}

struct State {
    /// Lines that may be logged now.
    left: u32,
    /// When `left` was last right. `None`: it is what may be logged at once.
    since: Option<Instant>,
    unsaid: u64,
}

impl Seldom {
    /// Up to `at_once` lines, and one more after each `every`.
    pub(crate) const fn new(at_once: u32, every: Duration) -> Self {
        Self { at_once, every, state: Mutex::new(State { left: at_once, since: None, unsaid: 0 }) }
    }

    /// Whether a line is to be logged now; then gives how many were not since the last.
    pub(crate) fn say(&self) -> Option<u64> {
        self.say_at(Instant::now())
    }

    fn say_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        let since = *state.since.get_or_insert(now);
        let gained = now.saturating_duration_since(since).as_nanos() / self.every.as_nanos().max(1);
        let gained = u32::try_from(gained).unwrap_or(u32::MAX);
        if gained > 0 {
            state.left = state.left.saturating_add(gained).min(self.at_once);
            // What was gained counts from the last whole step; a full measure counts from now.
            let full = state.left == self.at_once;
            state.since = Some(if full { now } else { since + self.every * gained });
        }
        if state.left == 0 {
            state.unsaid += 1;
            return None;
        }
        state.left -= 1;
        Some(std::mem::take(&mut state.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_flood_is_cut_down_and_counted() {
        let lines = Seldom::new(3, SECOND);
        let begin = Instant::now();
        let said = (0..1000).filter_map(|_| lines.say_at(begin)).count();
        assert_eq!(said, 3);
        assert_eq!(lines.say_at(begin + SECOND), Some(997));
        assert_eq!(lines.say_at(begin + SECOND * 3 / 2), None);
        assert_eq!(lines.say_at(begin + SECOND * 2), Some(1), "half a second is not lost");
    }

    #[test]
    fn after_a_rest_as_many_may_come_as_at_first() {
        let lines = Seldom::new(3, SECOND);
        let begin = Instant::now();
        assert_eq!((0..9).filter_map(|_| lines.say_at(begin)).count(), 3);
        assert_eq!((0..9).filter_map(|_| lines.say_at(begin + SECOND * 600)).count(), 3);
    }
}
