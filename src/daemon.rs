//! The daemon's life: open the store, export its volumes, listen, serve until told to stop, and leave everything
//! durable behind.
//!
//! ```text
//!   lock and open the store, the catalog ─► undo, carry on ─► publish volumes ─► portals ─► control socket ─► ready
//!        exit 0 ◄─ checkpoint ◄─ ask initiators to log out ◄─ stop listening ◄─ SIGTERM
//! ```

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use config::Config;
use cow::Store;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::catalog::{self, Catalog, os_volumes};
use crate::control::{self, Control, ControlSocket, Exports, HttpListener};
use crate::deploy::Deployer;
use crate::exports::Directory;
use crate::portal::{self, PortalConfig, Portals, SeedOf, VolumeExports};
use crate::service::{self, Notifier, Scrubber, SpaceLevels, StopSignals};
use crate::settings::{self, Shelf};

/// Longest wait for initiators to log out when asked to. They come back by themselves, and wait meanwhile.
const LOGOUT_TIME_MAX: Duration = Duration::from_secs(1);

/// Longest wait for requests and commands that are being answered.
const STOP_TIME_MAX: Duration = Duration::from_secs(5);

/// Threads that may wait for the disk. A thread that waits costs some tens of KiB.
const BLOCKING_THREADS_MAX: usize = 1024;

/// Longest wait for threads that wait for the disk, once everything is durable.
const THREADS_TIME_MAX: Duration = Duration::from_secs(1);

/// Runs until SIGTERM or SIGINT.
pub fn run(config: &Config) -> anyhow::Result<()> {
    service::init_logs(&config.log.level)?;
    raise_file_limit();
    // One more than commands are executed on (`portal::lookout`): a disk that stalls never takes the last one.
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors + 1)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .thread_name("osvold")
        .build()
        .context("cannot start threads")?;
    let outcome = runtime.block_on(serve(config));
    // Whatever still waits for the disk has been told to stop, and the next start sweeps what it leaves.
    runtime.shutdown_timeout(THREADS_TIME_MAX);
    outcome
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    let mut signals = StopSignals::listen()?;
    let notifier = Notifier::from_environment();
    let store = open_store(&config.store.path)?;
    for layer in store.orphans() {
        tracing::warn!(%layer, "data whose volume has lost its manifest; see osvol store check");
    }
    let portal_config = PortalConfig {
        advertise: config.iscsi.advertise.clone(),
        discovery: settings::discovery(&config.iscsi.discovery)
            .context("the configuration cannot be used")?,
        allowed_addresses: config.iscsi.allowed_addresses.clone(),
        chap_algorithms: settings::algorithms(&config.iscsi.chap_algorithms),
        ..PortalConfig::default()
    };
    let levels = Arc::new(SpaceLevels::default());
    let listeners = config.iscsi.portals.iter().map(|address| portal::bind(*address));
    let listeners = listeners.collect::<anyhow::Result<Vec<_>>>()?;
    let directory = Directory::new();
    let catalog = open_catalog(&config.store.path)?;
    let exports = exports(config, &store, &catalog, &directory, &listeners, levels.clone())?;
    let scrub = Scrubber::start(store.clone(), &config.scrub).context("cannot start the scrub")?;
    create_parent(&config.control.socket)?;
    control::make_way(&config.control.socket)?;
    let deployer = Deployer::new(store.clone(), &config.plans, &jobs_directory(config))?;
    let control = Control::new(
        store.clone(),
        catalog.clone(),
        exports.clone(),
        scrub.clone(),
        levels.clone(),
        &config.images,
        deployer,
    )?;
    control.attach_in(config.control.socket.with_file_name("nbd"));
    let lifecycle = control.lifecycle().clone();
    // Before anybody can log in: who finds no target is not told to try again.
    let recovered = lifecycle.clone();
    tokio::task::spawn_blocking(move || recovered.recover())
        .await?
        .context("cannot bring the catalog and the store together")?;
    exports.read_only().publish_all()?;
    let portals = Portals::serve(listeners, directory, portal_config).context("cannot listen")?;
    let socket = ControlSocket::bind(&config.control)?;
    let tls = HttpListener::tls(&config.control.tls, &config.store.path)?;
    let boot = HttpListener::plain(&config.boot)?;
    let (listening, booting) = (tls.addresses(), boot.addresses());
    let (stop, mut stopped) = watch::channel(false);
    let router = control::router(control.clone());
    let serving_tls = tokio::spawn(tls.serve(router.clone(), stopped.clone()));
    let serving_boot = tokio::spawn(boot.serve(control::boot_router(control.clone()), stopped.clone()));
    let serving = tokio::spawn(socket.serve(router, async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }));
    let upkeep = tokio::spawn(service::upkeep(store.clone()));
    let copying = tokio::spawn(service::keep_catalog_copy(catalog.clone()));
    let watch = tokio::spawn(service::watch_space(store.clone(), levels, exports));

    for address in listening {
        tracing::info!("the API over TLS listens on {address}");
    }
    for address in booting {
        tracing::info!("boot scripts are served on {address}");
    }
    let ready = ready_line(config, &store, portals.listening())?;
    tracing::info!("{ready}");
    notifier.ready(&ready);
    let signal = signals.next().await;
    tracing::info!("{signal}: stopping");
    notifier.stopping();

    stop.send_replace(true);
    control.stop();
    upkeep.abort();
    copying.abort();
    watch.abort();
    let stopping = async {
        let _ = tokio::time::timeout(STOP_TIME_MAX, portals.stop(LOGOUT_TIME_MAX)).await;
        let _ = tokio::time::timeout(STOP_TIME_MAX, serving).await;
        let _ = tokio::time::timeout(STOP_TIME_MAX, serving_tls).await;
        let _ = tokio::time::timeout(STOP_TIME_MAX, serving_boot).await;
        let _ = tokio::time::timeout(STOP_TIME_MAX, lifecycle.tasks().idle()).await;
        control.detach_all().await;
        let ended = tokio::task::spawn_blocking(move || scrub.end());
        let _ = tokio::time::timeout(STOP_TIME_MAX, ended).await;
        close(store).await
    };
    tokio::select! {
        closed = stopping => closed,
        signal = signals.next() => anyhow::bail!("{signal} again: ended before everything was written down"),
    }
}

/// Opens the store, and says plainly when another daemon has it.
fn open_store(path: &Path) -> anyhow::Result<Arc<Store>> {
    Store::open(path).map_err(|error| match error.kind() {
        cow::Kind::Locked => anyhow::anyhow!(
            "the store {} is in use by another process; is osvold running already?",
            path.display()
        ),
        _ => anyhow::Error::new(error).context(format!("cannot open the store {}", path.display())),
    })
}

/// Opens the catalog, which is in the store's directory. A damaged one stops nobody from booting.
fn open_catalog(store: &Path) -> anyhow::Result<Arc<Catalog>> {
    let directory = store.join("catalog");
    match Catalog::open(&directory) {
        Ok(catalog) => Ok(catalog),
        Err(error @ (catalog::Error::Newer { .. } | catalog::Error::Io { .. })) => {
            Err(error).context(format!("cannot open the catalog in {}", directory.display()))
        }
        Err(error) => {
            tracing::error!(error = format!("{:#}", anyhow::Error::new(error)), "the catalog cannot be read");
            Catalog::unreadable(&directory).context("cannot go on without a catalog")
        }
    }
}

/// Targets under their names; none is exported yet.
fn exports(
    config: &Config,
    store: &Arc<Store>,
    catalog: &Arc<Catalog>,
    directory: &Arc<Directory>,
    listeners: &[TcpListener],
    levels: Arc<SpaceLevels>,
) -> anyhow::Result<Arc<VolumeExports>> {
    let listening = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
    let told = service::told_addresses(&config.iscsi.advertise, &listening);
    let prefix = &config.iscsi.name_prefix;
    let catalog = catalog.clone();
    let shelf = Shelf::open(&config.store.path, catalog.clone())
        .context("cannot read which volumes have settings of their own; nothing is exported without them")?;
    let seeds: Arc<SeedOf> = Arc::new(move |volume| Ok(catalog.read(|tx| os_volumes::seed(tx, volume))?));
    Ok(VolumeExports::new(store.clone(), directory.clone(), told, prefix, levels, seeds, shelf))
}

/// Where the sockets of plan scripts' jobs are made: beside the control socket, in a directory that only osvold enters.
/// The socket's name is part of it, so that two daemons never share one.
fn jobs_directory(config: &Config) -> PathBuf {
    let mut directory = config.control.socket.clone().into_os_string();
    directory.push(".jobs");
    PathBuf::from(directory)
}

/// Makes the socket's own directory, as a service manager would have.
fn create_parent(socket: &Path) -> anyhow::Result<()> {
    match socket.parent() {
        Some(parent) if !parent.is_dir() => std::fs::create_dir(parent)
            .with_context(|| format!("cannot create the directory {}", parent.display())),
        _ => Ok(()),
    }
}

/// The line that tells people and programs that the daemon can be used.
fn ready_line(config: &Config, store: &Store, listening: &[SocketAddr]) -> anyhow::Result<String> {
    let portals: Vec<_> = listening.iter().map(ToString::to_string).collect();
    Ok(format!(
        "ready: iSCSI on {}, control socket {}, store {} with {} golden images and {} volumes",
        portals.join(", "),
        config.control.socket.display(),
        store.path().display(),
        store.images()?.len(),
        store.volumes().len(),
    ))
}

/// Makes everything durable.
async fn close(store: Arc<Store>) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(move || store.close()).await?.context("cannot close the store")?;
    tracing::info!("stopped");
    Ok(())
}

/// A thousand volumes have several files each: as many as the system allows may be open.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}
