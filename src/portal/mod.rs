//! Portals: listen, drive connections, stop.
//!
//! ```text
//!   listener ─ accept ─► gatekeeper (limits) ─► one task a connection
//!                                                 │ driver: bytes ⇄ iscsi::Connection
//!                                                 │ answers: events → directory, session, logical unit
//!                                                 │ task_management: what reaches other sessions
//!                                                 ├ mailbox: what others want of this connection
//!                                                 └ lookout: a command that does not come back
//! ```
//! A connection's task executes commands itself as long as nothing makes it wait; what would wait goes to the
//! blocking pool and comes back through the mailbox.

mod answers;
mod budget;
mod discovery;
mod driver;
mod gatekeeper;
mod limits;
mod lines;
mod lookout;
mod mailbox;
mod read_only;
mod session;
mod socket;
mod task_management;
#[cfg(test)]
mod tests;
mod volumes;
mod work;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use config::AddressRange;
use iscsi::ConnectionConfig;
use iscsi::auth::ChapAlgorithm;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::exports::{self, Access, Directory, Terms};
use crate::lun::BufferPool;
use budget::Budget;
use driver::Driver;
use gatekeeper::Gatekeeper;
use lookout::Lookout;
pub(crate) use mailbox::Mailbox;
pub use read_only::{ReadOnlyDisk, ReadOnlyTargets};
pub use socket::bind;
pub(crate) use socket::configure;
pub use volumes::{SeedOf, VolumeExports};
use work::AllJobs;

/// What portals are told.
#[derive(Clone, Debug, Default)]
pub struct PortalConfig {
    /// The protocol's part.
    pub connection: ConnectionConfig,
    /// Addresses to tell initiators instead of those listened on.
    pub advertise: Vec<SocketAddr>,
    /// Who may discover targets.
    pub discovery: Access,
    /// Where connections may come from; empty is everywhere.
    pub allowed_addresses: Vec<AddressRange>,
    /// Algorithms of CHAP that are allowed; empty is all.
    pub chap_algorithms: Vec<ChapAlgorithm>,
}

impl PortalConfig {
    fn accepts(&self, from: IpAddr) -> bool {
        let ranges = &self.allowed_addresses;
        ranges.is_empty() || ranges.iter().any(|range| range.contains(from))
    }
}

/// What all connections share.
pub(crate) struct Shared {
    config: PortalConfig,
    /// The terms of discovery sessions.
    discovery: Arc<Terms>,
    connection_config: Arc<ConnectionConfig>,
    directory: Arc<Directory>,
    pool: BufferPool,
    listening: Vec<SocketAddr>,
    gatekeeper: Arc<Gatekeeper>,
    budget: Budget,
    lookout: Lookout,
    jobs: AllJobs,
}

/// Listeners and the connections that came through them.
pub struct Portals {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    accepting: JoinSet<()>,
}

impl Portals {
    /// Serves the targets of a directory on listeners that are bound already, by [`bind`] or by a service manager.
    ///
    /// # Errors
    /// When a listener cannot tell its address, or there is no thread to be had.
    pub fn serve(
        listeners: Vec<TcpListener>,
        directory: Arc<Directory>,
        config: PortalConfig,
    ) -> std::io::Result<Self> {
        let listening = listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
        let connection_config = Arc::new(config.connection.clone());
        let gatekeeper = Arc::default();
        let pool = BufferPool::new(limits::IDLE_READ_BYTES_MAX);
        let budget = Budget::default();
        let discovery = Arc::new(Terms::from(config.discovery.clone()));
        let (lookout, jobs) = (Lookout::new(), AllJobs::default());
        let shared = Shared {
            config,
            discovery,
            connection_config,
            directory,
            pool,
            listening,
            gatekeeper,
            budget,
            lookout,
            jobs,
        };
        let shared = Arc::new(shared);
        lookout::keep(&shared)?;
        let (stop, stopped) = watch::channel(false);
        let mut accepting = JoinSet::new();
        for listener in listeners {
            accepting.spawn(accept(listener, shared.clone(), stopped.clone()));
        }
        Ok(Self { shared, stop, accepting })
    }

    /// The addresses listened on.
    #[must_use]
    pub fn listening(&self) -> &[SocketAddr] {
        &self.shared.listening
    }

    /// Stops listening, asks initiators to log out within `grace`, and ends what is left then. Returns when no command
    /// has an effect any more. An initiator whose session ends comes back by itself; being asked spares it the guess.
    pub async fn stop(mut self, grace: Duration) {
        self.stop.send_replace(true);
        while self.accepting.join_next().await.is_some() {}
        exports::end_all(self.shared.directory.all_sessions(), grace).await;
        // Logins that were under way.
        for session in self.shared.directory.all_sessions() {
            session.end().await;
        }
    }
}

/// Accepts connections until told to stop.
async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        match accepted {
            Ok((socket, peer)) => welcome(socket, peer, &shared, &stopped),
            Err(error) => {
                if let Some(unsaid) = lines::FAULTS.say() {
                    tracing::warn!(%error, unsaid, "cannot accept a connection");
                }
                tokio::time::sleep(limits::ACCEPT_REST).await;
            }
        }
    }
}

/// Gives a connection its task, if there is room.
fn welcome(socket: TcpStream, peer: SocketAddr, shared: &Arc<Shared>, stopped: &watch::Receiver<bool>) {
    if !shared.config.accepts(peer.ip()) {
        tracing::debug!(%peer, "refused: not an address that may connect");
        return;
    }
    let Some(admission) = shared.gatekeeper.admit(peer.ip()) else {
        tracing::debug!(%peer, "refused: too many connections");
        return;
    };
    let configured = socket::configure(&socket).and_then(|()| socket.local_addr());
    let local = match configured {
        Ok(local) => local,
        Err(error) => {
            tracing::debug!(%peer, %error, "the connection was gone before it began");
            return;
        }
    };
    let driver = Driver::new(socket, peer, local, shared.clone(), admission, stopped.clone());
    tokio::spawn(Box::new(driver).run());
}
