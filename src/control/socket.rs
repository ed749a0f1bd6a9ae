//! The Unix socket: made with the mode that its users need, and gone when the daemon is.

use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use axum::Router;
use rustix::fs::Mode;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connections::{Connections, Limits, Origin};
use super::peer::Admission;
use super::serve::{self, ACCEPT_PAUSE};

/// Connections of the socket: they are this machine's, and what they ask is answered at once.
const LIMITS: Limits = Limits { total: 2048, of_one_origin: 1024 };

/// The control socket, listening. The file goes with it.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    file: SocketFile,
    admission: Arc<Admission>,
}

#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Gone already, or its directory is: either way nothing is left.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl ControlSocket {
    /// Listens at a path. A socket that a dead daemon left is replaced; one that answers is not.
    ///
    /// # Errors
    /// When the path is taken, or the configured group is not there or not ours to give.
    pub fn bind(config: &config::Control) -> anyhow::Result<Self> {
        let path = &config.socket;
        let admission = Arc::new(Admission::new(config)?);
        make_way(path)?;
        // The file must never be open to others, not even between bind and chmod.
        let before = rustix::process::umask(Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(path);
        rustix::process::umask(before);
        let listener =
            bound.with_context(|| format!("cannot listen at the control socket {}", path.display()))?;
        let file = SocketFile(path.clone());
        if let Some(group) = admission.group() {
            std::os::unix::fs::chown(path, None, Some(group)).with_context(|| {
                format!(
                    "cannot give the control socket to group {:?}; is osvold's user a member of it?",
                    config.group
                )
            })?;
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(admission.mode()))?;
        Ok(Self { listener, file, admission })
    }

    /// Serves until told to stop, then lets requests that are being answered finish.
    ///
    /// # Errors
    /// None so far.
    pub async fn serve(
        self,
        router: Router,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let places = Connections::new(LIMITS);
        let (stopping, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = stop.as_mut() => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("cannot accept a connection at the control socket: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(peer) = stream.peer_cred() else { continue };
            let Some(slot) = places.admit(Origin::User(peer.uid()), Instant::now()) else { continue };
            let (admission, router, stopped) = (self.admission.clone(), router.clone(), stopped.clone());
            connections.spawn(async move {
                let caller = admission.of(peer.uid(), peer.gid()).await;
                serve::serve(stream, slot, router, caller, stopped).await;
            });
        }
        drop((self.listener, self.file));
        stopping.send_replace(true);
        serve::finish(connections).await;
        Ok(())
    }
}

/// Makes way for the socket. What is beside it, by its name, is a running daemon's as long as one answers there.
///
/// # Errors
/// When one does, or something else is in the way.
pub fn make_way(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot look at the control socket {shown}"));
        }
    };
    if !metadata.file_type().is_socket() {
        bail!(
            "{shown} is there and is not a socket; remove it or choose another path for the control socket"
        );
    }
    if UnixStream::connect(path).is_ok() {
        bail!("another process listens at the control socket {shown}; is osvold running already?");
    }
    std::fs::remove_file(path).with_context(|| format!("cannot replace the old control socket {shown}"))
}
