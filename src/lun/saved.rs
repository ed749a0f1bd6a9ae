//! Persistent reservations on disk (APTPL): one small file a volume, with a checksum, replaced as a whole.
//!
//! `CRC32C of the rest, 4 bytes big-endian` then what `scsi` gave to keep.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use parking_lot::Mutex;

use super::OpenError;

/// Where one unit's reservations are.
pub(super) struct SavedReservations {
    /// Held from asking what to store until it is stored, so that an older state never replaces a newer one.
    path: Mutex<PathBuf>,
}

impl SavedReservations {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path: Mutex::new(path) }
    }

    /// What was stored last; nothing where nothing was.
    pub(super) fn load(&self) -> io::Result<Option<Bytes>> {
        let path = self.path.lock();
        match fs::read(&*path).and_then(checked) {
            Ok(state) => Ok(Some(state)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts a file that cannot be read out of the way, for people to look at; gives where it is.
    pub(super) fn set_aside(&self) -> Result<PathBuf, OpenError> {
        let path = self.path.lock();
        let aside = path.with_extension("damaged");
        match fs::rename(&*path, &aside) {
            Ok(()) => Ok(aside),
            Err(source) => Err(OpenError::Reservations { path: path.clone(), source }),
        }
    }

    /// Replaces what is stored by what `current` gives, durably. An empty state removes it.
    pub(super) fn store(&self, current: impl FnOnce() -> Bytes) -> io::Result<()> {
        let path = self.path.lock();
        let state = current();
        if state.is_empty() {
            match fs::remove_file(&*path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                removed => removed?,
            }
        } else {
            let new = path.with_extension("new");
            let mut file = File::create(&new)?;
            file.write_all(&crc32c::crc32c(&state).to_be_bytes())?;
            file.write_all(&state)?;
            file.sync_all()?;
            fs::rename(&new, &*path)?;
        }
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    }
}

fn checked(file: Vec<u8>) -> io::Result<Bytes> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the checksum does not match");
    let mut bytes = Bytes::from(file);
    if bytes.len() < 4 {
        return Err(damaged());
    }
    let state = bytes.split_off(4);
    if bytes[..] != crc32c::crc32c(&state).to_be_bytes() {
        return Err(damaged());
    }
    Ok(state)
}
