//! The scrub in the background: pass after pass over the store, on a thread of its own, at a pace that leaves the disk
//! to others.
//!
//! ```text
//!   Waiting ── time has come, or begin() ──► Running ── all read, stop(), or the store fails ──► Waiting
//! ```
//!
//! A restart cuts a pass short; it begins anew. What survives a restart is what must: the result of the last pass, and
//! the places that are known to be damaged, so that nobody takes a rotten volume for a sound one meanwhile.

mod record;
mod runner;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use api::{Finding, ScrubPass, ScrubState};
use cow::Store;
use parking_lot::{Condvar, Mutex};

use record::Record;

/// The first pass after a start waits so long: machines that lost their disk come back first.
const FIRST_PASS_AFTER: Duration = Duration::from_secs(600);

/// Findings that are kept and told; more than these are only counted.
const FINDINGS_MAX: usize = 100;

/// The scrub of one store, shared by its thread and whoever asks for it.
pub struct Scrubber {
    store: Arc<Store>,
    settings: config::Scrub,
    /// Where the record is kept.
    path: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    /// What somebody asked for and the thread has not taken up yet.
    wish: Option<Wish>,
    current: Option<ScrubPass>,
    record: Record,
    /// When the next pass begins by itself.
    due: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Begin,
    Stop,
    /// The daemon stops.
    End,
}

impl Scrubber {
    /// Takes up the record of the last pass, and starts the thread.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(store: Arc<Store>, settings: &config::Scrub) -> std::io::Result<Arc<Self>> {
        let path = record::path(&store);
        let record = Record::load(&path);
        runner::mark(&store, &record.findings);
        let due = settings.automatic.then(|| Instant::now() + first_pass_after(&record, settings));
        let scrubber = Arc::new(Self {
            store,
            settings: settings.clone(),
            path,
            state: Mutex::new(State { record, due, ..State::default() }),
            changed: Condvar::new(),
            thread: Mutex::default(),
        });
        let worker = scrubber.clone();
        let thread = std::thread::Builder::new().name("scrub".to_owned()).spawn(move || worker.work())?;
        *scrubber.thread.lock() = Some(thread);
        Ok(scrubber)
    }

    /// Begins a pass now; `false` when one runs.
    pub fn begin(&self) -> bool {
        let mut state = self.state.lock();
        if state.current.is_some() || state.wish == Some(Wish::End) {
            return false;
        }
        state.wish = Some(Wish::Begin);
        // Whoever asks is told of a pass that runs, before its thread has woken up.
        state.current = Some(runner::new_pass());
        self.changed.notify_all();
        true
    }

    /// Ends the pass that runs; `false` when none does. The next one begins after the usual interval.
    pub fn stop(&self) -> bool {
        let mut state = self.state.lock();
        if state.current.is_none() {
            return false;
        }
        if state.wish != Some(Wish::End) {
            state.wish = Some(Wish::Stop);
        }
        self.changed.notify_all();
        while state.current.is_some() {
            self.changed.wait(&mut state);
        }
        true
    }

    /// Ends the thread, and waits for it. A pass that runs is cut short.
    pub fn end(&self) {
        self.state.lock().wish = Some(Wish::End);
        self.changed.notify_all();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the scrub failed");
        }
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> api::Scrub {
        let (current, record, due) = {
            let state = self.state.lock();
            (state.current.clone(), state.record.clone(), state.due)
        };
        let Record { last, completed_unix_ms, findings, damaged } = record;
        // What was removed since is damaged no more.
        let known = findings.len();
        let findings: Vec<Finding> =
            findings.into_iter().filter(|finding| runner::is_there(&self.store, finding)).collect();
        let gone = (known - findings.len()) as u64;
        let next = due.filter(|_| current.is_none()).map(|due| {
            let wait = due.saturating_duration_since(Instant::now());
            api::iso8601(runner::unix_ms() + u64::try_from(wait.as_millis()).unwrap_or(u64::MAX / 2))
        });
        api::Scrub {
            state: match (&current, self.settings.automatic) {
                (Some(_), _) => ScrubState::Running,
                (None, true) => ScrubState::Waiting,
                (None, false) => ScrubState::Off,
            },
            automatic: self.settings.automatic,
            pace_bytes_per_second: self.settings.pace.bytes(),
            interval_seconds: self.settings.interval.as_std().as_secs(),
            next,
            current,
            last,
            completed: completed_unix_ms.map(api::iso8601),
            damaged: damaged.saturating_sub(gone),
            findings,
        }
    }

    /// What is known to be damaged of one resource, in words.
    #[must_use]
    pub fn damage_of(&self, category: &str, id: &str) -> Option<String> {
        let state = self.state.lock();
        let found = |finding: &&Finding| finding.category == category && finding.id == id;
        let finding = state.record.findings.iter().find(found)?;
        Some(format!("byte {}: {}", finding.offset, finding.reason))
    }
}

/// A pass that was never made, or was cut short, begins soon; another waits for the rest of its interval.
fn first_pass_after(record: &Record, settings: &config::Scrub) -> Duration {
    let interval = settings.interval.as_std();
    let Some(completed) = record.completed_unix_ms else { return FIRST_PASS_AFTER.min(interval) };
    let since = Duration::from_millis(runner::unix_ms().saturating_sub(completed));
    interval.saturating_sub(since).max(FIRST_PASS_AFTER.min(interval))
}
