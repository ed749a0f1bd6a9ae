//! The socket's file: made with its mode, replaced only where nobody listens, and removed only while it is ours.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen as begin_to_listen,
    socket_with,
};
use tokio::net::{UnixListener, UnixStream};

use super::limits::PATH_BYTES_MAX;

/// Connections that the system keeps until they are accepted.
const BACKLOG: i32 = 128;

/// A socket's file. It goes with this, if it is still the one that was made.
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode; none once it is removed.
    made: Option<(u64, u64)>,
}

/// Listens at a path.
pub(super) fn listen(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let path = check(path)?;
    clear(&path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Linux makes the file with the socket's own mode: it is never open to others, and no umask has to be changed.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(&path)?).map_err(|error| {
        let error = io::Error::from(error);
        io::Error::new(error.kind(), format!("cannot make the socket {}: {error}", path.display()))
    })?;
    let metadata = std::fs::symlink_metadata(&path)?;
    let file = SocketFile { made: Some((metadata.dev(), metadata.ino())), path };
    begin_to_listen(&socket, BACKLOG)?;
    Ok((UnixListener::from_std(socket.into())?, file))
}

/// A connection that waits to be accepted, whether or not the runtime has heard of it yet.
pub(super) fn accept_now(listener: &UnixListener) -> Option<UnixStream> {
    let stream = accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).ok()?;
    UnixStream::from_std(stream.into()).ok()
}

/// The path, if the system has room for it.
pub(super) fn check(path: &Path) -> io::Result<PathBuf> {
    let bytes = path.as_os_str().as_bytes().len();
    if bytes > PATH_BYTES_MAX {
        let message = format!(
            "the path {} has {bytes} bytes; a socket's path may have {PATH_BYTES_MAX}: choose a shorter directory",
            path.display()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(path.to_owned())
}

/// Makes way for the socket: only a socket that nobody listens at is removed.
fn clear(path: &Path) -> io::Result<()> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let taken = |what: &str| {
        let message = format!("{} {what}; remove it, or choose another path", path.display());
        Err(io::Error::new(io::ErrorKind::AlreadyExists, message))
    };
    if !metadata.file_type().is_socket() {
        return taken("is there and is not a socket");
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        _ => taken("is a socket that somebody listens at"),
    }
}

impl SocketFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, unless somebody has put another one in its place.
    pub(super) fn remove(&mut self) {
        let Some(made) = self.made.take() else { return };
        if std::fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == made) {
            // Gone meanwhile: that is as good.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}
