//! The Unix socket: made with mode 0600, and gone when the daemon is.

use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use axum::Router;
use rustix::fs::Mode;
use tokio::net::UnixListener;

use super::peer::{self, Peer};

/// The control socket, listening. The file goes with it.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    file: SocketFile,
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
    pub fn bind(path: &Path) -> anyhow::Result<Self> {
        clear(path)?;
        // The file must never be open to others, not even between bind and chmod.
        let before = rustix::process::umask(Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(path);
        rustix::process::umask(before);
        let listener =
            bound.with_context(|| format!("cannot listen at the control socket {}", path.display()))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, file: SocketFile(path.to_owned()) })
    }

    /// Serves until told to stop, then lets requests that are being answered finish.
    pub async fn serve(
        self,
        router: Router,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let router = router.layer(axum::middleware::from_fn(peer::identify));
        let service = router.into_make_service_with_connect_info::<Peer>();
        let file = self.file;
        let stop = async move {
            stop.await;
            drop(file);
        };
        axum::serve(self.listener, service).with_graceful_shutdown(stop).await
    }
}

/// Makes way for the socket.
fn clear(path: &Path) -> anyhow::Result<()> {
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
