//! A store that does not come back, and the threads it takes.
//!
//! ```text
//!  task ── takes its driver out of the post, polls it ── a command to execute?
//!             │ no: puts it back, waits                    │ yes
//!             │                                            ▼
//!             │                  lends the driver to the post, executes, takes it back ──► goes on
//!             │                                            │ the lookout found that it took too long and gave the
//!             ▼                                            ▼ driver a task of its own
//!                                                    sends the response there, and ends
//! ```
//! A write goes to the page cache, and does not wait. But where a disk is stalled, a file system frozen, or memory full
//! of dirty pages it does, for as long as that lasts, and nothing tells beforehand. So two things hold: commands are
//! executed on all threads of the runtime but one, and whoever finds those taken uses the blocking pool; and a connection
//! whose command does not come back goes on without it, so that its pings are answered (COMPAT P3).

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

use iscsi::TaskId;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::Shared;
use super::driver::{Driver, Turn};
use super::limits::{LOOKOUT_INTERVAL, LOOKOUT_TICKS, SLOW_TIME};
use super::mailbox::{Letter, Mailbox};
use super::work;
use crate::lun::Execution;

/// Looks after the connections of all portals.
pub(super) struct Lookout {
    /// Counts intervals, from 1.
    tick: AtomicU64,
    /// Threads that may execute commands at a time, and those that do.
    threads_max: usize,
    threads: AtomicUsize,
    posts: Mutex<Vec<Weak<Post>>>,
}

/// Where a connection's driver is while its own task does not use it.
pub(super) struct Post {
    slot: Mutex<Slot>,
    mailbox: Mailbox,
}

struct Slot {
    driver: Option<Box<Driver>>,
    /// The tick at which the command began that is being executed.
    since: Option<u64>,
}

/// A thread that executes a command; dropping it is the end of that.
struct Executing<'a>(&'a AtomicUsize);

impl Lookout {
    /// One for the runtime that it is made in.
    pub(super) fn new() -> Self {
        let threads = Handle::current().metrics().num_workers();
        Self {
            tick: AtomicU64::new(1),
            threads_max: threads - 1,
            threads: AtomicUsize::new(0),
            posts: Mutex::default(),
        }
    }

    fn look(&self, runtime: &Handle) {
        let now = self.tick.fetch_add(1, Ordering::Relaxed) + 1;
        let mut stuck = Vec::new();
        self.posts.lock().retain(|post| match post.upgrade() {
            Some(post) => {
                stuck.extend(post.take_stuck(now));
                true
            }
            None => false,
        });
        for mut driver in stuck {
            driver.slow_until = Some(Instant::now() + SLOW_TIME);
            driver.jobs.note_begin();
            runtime.spawn(serve(driver));
        }
    }

    fn post(&self, driver: Box<Driver>) -> Arc<Post> {
        let mailbox = driver.mailbox.clone();
        let post = Arc::new(Post { slot: Mutex::new(Slot { driver: Some(driver), since: None }), mailbox });
        self.posts.lock().push(Arc::downgrade(&post));
        post
    }

    /// The right to execute a command on this thread, unless all threads but one do that already.
    fn execute_here(&self) -> Option<Executing<'_>> {
        let right = Executing(&self.threads);
        let others = self.threads.fetch_add(1, Ordering::Relaxed);
        (others < self.threads_max).then_some(right)
    }
}

impl Drop for Executing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Looks after the connections until they and their portals are gone.
///
/// That takes a thread: a worker of the runtime that is stuck may be the one that waits for sockets and timers for all, and
/// another takes its place only when a task is spawned.
pub(super) fn keep(shared: &Arc<Shared>) -> std::io::Result<()> {
    let (shared, runtime) = (Arc::downgrade(shared), Handle::current());
    let look = move || {
        while let Some(shared) = shared.upgrade() {
            shared.lookout.look(&runtime);
            drop(shared);
            std::thread::sleep(LOOKOUT_INTERVAL);
        }
    };
    std::thread::Builder::new().name("lookout".to_owned()).spawn(look)?;
    Ok(())
}

/// Drives a connection in full feature phase to its end.
pub(super) async fn serve(driver: Box<Driver>) {
    let shared = driver.shared.clone();
    let post = shared.lookout.post(driver);
    if let Some(driver) = poll_fn(|context| post.poll(context, &shared.lookout)).await {
        driver.linger().await;
    }
}

impl Post {
    /// Ready when the connection is over, or when another task has it.
    fn poll(&self, context: &mut Context<'_>, lookout: &Lookout) -> Poll<Option<Box<Driver>>> {
        let Some(mut driver) = self.slot.lock().driver.take() else { return Poll::Ready(None) };
        loop {
            let work = match driver.poll(context) {
                Turn::Over => return Poll::Ready(Some(driver)),
                Turn::Waits => {
                    self.slot.lock().driver = Some(driver);
                    return Poll::Pending;
                }
                Turn::Executes(work) => work,
            };
            let Some(executing) = lookout.execute_here() else {
                driver.execute_elsewhere(work);
                continue;
            };
            let task = work.task();
            self.lend(driver, lookout.tick.load(Ordering::Relaxed));
            let execution = work.run();
            drop(executing);
            let Some(back) = self.take_back() else {
                self.deliver(task, execution);
                return Poll::Ready(None);
            };
            driver = back;
            driver.executed(task, execution);
        }
    }

    fn lend(&self, driver: Box<Driver>, tick: u64) {
        *self.slot.lock() = Slot { driver: Some(driver), since: Some(tick) };
    }

    fn take_back(&self) -> Option<Box<Driver>> {
        let mut slot = self.slot.lock();
        slot.since = None;
        slot.driver.take()
    }

    /// Sends what became of a command to the task that has the driver now.
    fn deliver(&self, task: TaskId, execution: Execution) {
        match execution {
            Execution::Done(response) => drop(self.mailbox.send(Letter::Completed(task, response))),
            Execution::Blocked(job) => work::finish(task, job, self.mailbox.clone()),
        }
    }

    /// The driver, if its command has been executing for too long.
    fn take_stuck(&self, now: u64) -> Option<Box<Driver>> {
        let mut slot = self.slot.lock();
        let is_stuck = slot.since.is_some_and(|since| now.saturating_sub(since) > LOOKOUT_TICKS);
        if is_stuck { slot.driver.take() } else { None }
    }
}
