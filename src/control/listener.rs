//! HTTP on TCP: the API over TLS, and the boot scripts in the clear.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::auth::Caller;
use super::connections::{Connections, Limits, Slot};
use super::serve::{self, ACCEPT_PAUSE};
use super::tls::TlsKeys;

/// Longest time that a TLS handshake may take.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// How often the files of certificate and key are looked at.
const KEYS_LOOKED_AT_EVERY: Duration = Duration::from_secs(5);

/// Addresses that are listened on, and what is spoken there.
#[derive(Debug)]
pub struct HttpListener {
    listeners: Vec<TcpListener>,
    keys: Option<Arc<TlsKeys>>,
}

impl HttpListener {
    /// The API over TLS.
    ///
    /// # Errors
    /// When an address cannot be listened on, or certificate and key cannot be used.
    pub fn tls(config: &config::Tls, store: &Path) -> anyhow::Result<Self> {
        let keys = match config.listen.is_empty() {
            true => None,
            false => Some(TlsKeys::open(config, store).context("the API over TLS has no certificate")?),
        };
        Ok(Self { listeners: bind(&config.listen)?, keys })
    }

    /// Boot scripts in the clear.
    ///
    /// # Errors
    /// When an address cannot be listened on.
    pub fn plain(config: &config::Boot) -> anyhow::Result<Self> {
        Ok(Self { listeners: bind(&config.listen)?, keys: None })
    }

    /// Where it really listens.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Serves until told to stop, then lets requests that are being answered finish.
    pub async fn serve(self, router: Router, stopped: watch::Receiver<bool>) {
        let places = Connections::new(Limits::default());
        let mut tasks = JoinSet::new();
        if let Some(keys) = self.keys.clone() {
            tasks.spawn(watch_keys(keys, stopped.clone()));
        }
        for listener in self.listeners {
            let spoken = Spoken {
                keys: self.keys.clone(),
                router: router.clone(),
                places: places.clone(),
                stopped: stopped.clone(),
            };
            tasks.spawn(accept(listener, spoken));
        }
        serve::finish(tasks).await;
    }
}

fn bind(addresses: &[SocketAddr]) -> anyhow::Result<Vec<TcpListener>> {
    addresses.iter().map(|address| crate::portal::bind(*address)).collect()
}

/// What every connection of a listener needs.
#[derive(Clone)]
struct Spoken {
    keys: Option<Arc<TlsKeys>>,
    router: Router,
    places: Arc<Connections>,
    stopped: watch::Receiver<bool>,
}

async fn accept(listener: TcpListener, spoken: Spoken) {
    let mut stopped = spoken.stopped.clone();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                if let Some(slot) = spoken.places.admit(from.ip().into(), Instant::now()) {
                    connections.spawn(connected(stream, from, slot, spoken.clone()));
                }
            }
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    serve::finish(connections).await;
}

async fn connected(stream: TcpStream, from: SocketAddr, slot: Slot, spoken: Spoken) {
    let Spoken { keys, router, mut stopped, .. } = spoken;
    let caller = Caller::At(from.ip());
    // Answers leave at once, and a client whose machine is gone is noticed.
    let _ = crate::portal::configure(&stream);
    let Some(keys) = keys else {
        return serve::serve(stream, slot, router, caller, stopped).await;
    };
    let handshake = TlsAcceptor::from(keys.config()).accept(stream);
    let stream = tokio::select! {
        shaken = tokio::time::timeout(HANDSHAKE_TIME_MAX, handshake) => match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%from, "no TLS: {error}"),
            Err(_) => return tracing::debug!(%from, "no TLS in time"),
        },
        () = slot.evicted() => return,
        _ = stopped.wait_for(|stopped| *stopped) => return,
    };
    serve::serve(stream, slot, router, caller, stopped).await;
}

async fn watch_keys(keys: Arc<TlsKeys>, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            () = tokio::time::sleep(KEYS_LOOKED_AT_EVERY) => {}
        }
        let keys = keys.clone();
        // A failure is the reader's own: it has told.
        let _ = tokio::task::spawn_blocking(move || keys.reload()).await;
    }
}
