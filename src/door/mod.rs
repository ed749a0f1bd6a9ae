//! Doors to volumes: NBD on a Unix socket, for a job of plan scripts and for people who look into a volume.
//!
//! ```text
//!  open ── accept ──► connection ── nbd::Connection ──► work ── Wait::No on the connection's own task ──► BlockStore
//!                         ▲                               └── would wait, is long, or a flush: the blocking pool
//!  close ─► no more are accepted, what was sent and begun ends (bounded) ─► the socket goes ─► Verdict
//! ```
//!
//! The door latches every error that it ever answered, every connection that was lost, and whether a flush followed
//! the last write: guestfish ends with 0 although its writes were refused, and although the server was gone.
//! No space is answered as EIO: upon ENOSPC QEMU stops its guest and waits for ever.

mod connection;
mod injected;
mod ledger;
pub mod limits;
mod socket;
mod still;
mod work;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::net::UnixListener;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::lun::BlockStore;
use connection::Driver;
use injected::Injected;
use ledger::Ledger;
pub use ledger::Verdict;
use socket::SocketFile;
pub use still::StillDisk;

/// What a door lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DoorSettings {
    /// Nothing can be written through it.
    pub read_only: bool,
    /// Clients at a time.
    pub clients_max: usize,
}

/// An open door. Dropping it closes it too, without waiting.
pub struct Door {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    serving: Option<JoinHandle<()>>,
    file: SocketFile,
}

/// What the connections of a door share.
struct Shared {
    disk: Arc<dyn BlockStore>,
    export: nbd::Export,
    ledger: Ledger,
    /// Places on the blocking pool.
    pool: Arc<Semaphore>,
    clients_max: usize,
    clients: AtomicUsize,
    /// Connections that are not in transmission yet, the oldest first, and how each is told to make way.
    handshakes: Mutex<BTreeMap<u64, Arc<Notify>>>,
    next: AtomicU64,
    injected: Injected,
}

impl Door {
    /// Opens a door to a volume on a new Unix socket, which only its owner's user can connect to. The socket of a
    /// process that has died is replaced. To be called within a tokio runtime.
    ///
    /// # Errors
    /// What is wrong with the path, or the system's.
    pub fn open(path: &Path, disk: Arc<dyn BlockStore>, settings: DoorSettings) -> io::Result<Self> {
        let (listener, file) = socket::listen(path)?;
        let export = nbd::Export {
            name: String::new(),
            description: "an OS volume of osvold".to_owned(),
            // A disk's last part of a sector could not be addressed.
            size_bytes: disk.size_bytes() / 512 * 512,
            read_only: settings.read_only,
            multi_conn: settings.clients_max > 1,
        };
        let shared = Arc::new(Shared {
            disk,
            export,
            ledger: Ledger::default(),
            pool: Arc::new(Semaphore::new(limits::POOL_JOBS_MAX)),
            clients_max: settings.clients_max,
            clients: AtomicUsize::new(0),
            handshakes: Mutex::default(),
            next: AtomicU64::new(0),
            injected: Injected::from_environment(),
        });
        let (stop, stopped) = watch::channel(false);
        let serving = Some(tokio::spawn(serve(listener, shared.clone(), stopped)));
        Ok(Self { shared, stop, serving, file })
    }

    /// Its socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// What it has seen so far.
    #[must_use]
    pub fn seen(&self) -> Verdict {
        self.shared.ledger.verdict()
    }

    /// Clients that it has now.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.shared.clients.load(Ordering::Acquire)
    }

    /// Ends every connection, after what has arrived was done and answered (bounded in time), removes the socket, and
    /// says what has happened.
    pub async fn close(mut self) -> Verdict {
        self.stop.send_replace(true);
        self.file.remove();
        if let Some(mut serving) = self.serving.take()
            && tokio::time::timeout(limits::CLOSE_TIME_MAX, &mut serving).await.is_err()
        {
            serving.abort();
            // Its connections end with it; what they wait for may go on, and its volume be held, until it ends.
            let _ = serving.await;
            self.shared.ledger.fault(format!(
                "requests had not ended {} seconds after the door was closed",
                limits::CLOSE_TIME_MAX.as_secs()
            ));
        }
        self.shared.injected.release();
        let (verdict, last) = (self.shared.ledger.verdict(), self.shared.clone());
        drop(self);
        // To let go of a disk may take the time of the disk's own disk: a still takes its snapshot away.
        let _ = tokio::task::spawn_blocking(move || drop(last)).await;
        verdict
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.shared.injected.release();
    }
}

/// Accepts connections until told to stop, then waits for them to end.
async fn serve(listener: UnixListener, shared: Arc<Shared>, stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let mut stop = stopped.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            // An error means that the door was dropped.
            _ = stop.wait_for(|stopped| *stopped) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(Driver::new(stream, shared.clone()).run(stopped.clone()));
            }
            Err(error) => {
                tracing::warn!("cannot accept an NBD connection: {error}");
                tokio::time::sleep(limits::ACCEPT_REST).await;
            }
        }
    }
    // Who has connected and was not accepted yet may have said something that counts.
    while let Some(stream) = socket::accept_now(&listener) {
        connections.spawn(Driver::new(stream, shared.clone()).run(stopped.clone()));
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

impl Shared {
    /// Enters a new connection among those in handshake; where there are too many, the oldest makes way.
    fn enter(&self) -> (u64, Arc<Notify>) {
        let (number, leave) = (self.next.fetch_add(1, Ordering::Relaxed), Arc::new(Notify::new()));
        let mut handshakes = self.handshakes.lock();
        if handshakes.len() >= limits::HANDSHAKES_MAX
            && let Some((_, oldest)) = handshakes.pop_first()
        {
            oldest.notify_one();
        }
        handshakes.insert(number, leave.clone());
        (number, leave)
    }

    fn leave(&self, number: u64) {
        self.handshakes.lock().remove(&number);
    }

    /// A place in transmission, unless all are taken.
    fn admit(&self) -> bool {
        let more = |clients| (clients < self.clients_max).then_some(clients + 1);
        self.clients.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }
}

/// Where a door's socket may be: the system has room for so many bytes.
///
/// # Errors
/// That the path is too long, in words.
pub fn check_path(path: &Path) -> io::Result<PathBuf> {
    socket::check(path)
}
