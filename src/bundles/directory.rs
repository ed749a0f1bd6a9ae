//! Where the archives lie: `<store>/catalog/bundles/<id>.zip`.
//!
//! An archive is written under a temporary name, synced, and renamed before the catalog knows it. What the catalog does
//! not know, a crash has left: it goes at the next start.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::sums::Algorithm;

/// The directory of archives.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

/// An archive on its way: dropped before it is kept, it goes.
#[derive(Debug)]
pub(crate) struct Unkept {
    path: PathBuf,
    kept: bool,
}

/// An archive in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) bytes: u64,
    /// SHA-256 in hex.
    pub(crate) checksum: String,
}

impl Directory {
    /// Opens the directory, and sweeps what the catalog does not know.
    pub(crate) fn open(catalog: &Path, known: &[Uuid]) -> io::Result<Self> {
        let directory = Self(catalog.join("bundles"));
        DirBuilder::new().recursive(true).mode(0o700).create(&directory.0)?;
        for entry in fs::read_dir(&directory.0)? {
            let path = entry?.path();
            let id =
                path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| Uuid::try_parse(stem).ok());
            let is_archive = path.extension().is_some_and(|extension| extension == "zip");
            if is_archive && id.is_some_and(|id| known.contains(&id)) {
                continue;
            }
            tracing::warn!("{} is no bundle that the catalog knows: removed", path.display());
            fs::remove_file(&path)?;
        }
        Ok(directory)
    }

    /// Where an archive is.
    pub(crate) fn path(&self, id: Uuid) -> PathBuf {
        self.0.join(format!("{id}.zip"))
    }

    /// A place for a new archive.
    pub(crate) fn new_file(&self) -> io::Result<(Unkept, File)> {
        let path = self.0.join(format!("{}.new", Uuid::new_v4()));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok((Unkept { path, kept: false }, file))
    }

    /// Makes an archive durable in its place.
    pub(crate) fn keep(&self, mut unkept: Unkept, id: Uuid) -> io::Result<Kept> {
        let mut file = File::open(&unkept.path)?;
        let (checksum, bytes) = Algorithm::Sha256.digest(&mut file)?;
        file.sync_all()?;
        fs::rename(&unkept.path, self.path(id))?;
        unkept.kept = true;
        File::open(&self.0)?.sync_all()?;
        Ok(Kept { bytes, checksum })
    }

    /// Removes an archive that the catalog knows no more.
    pub(crate) fn remove(&self, id: Uuid) {
        if let Err(error) = fs::remove_file(self.path(id)) {
            tracing::error!(%id, "the archive of a bundle is left, and goes at the next start: {error}");
        }
    }
}

impl Unkept {
    /// Where it is now.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Unkept {
    fn drop(&mut self) {
        if !self.kept {
            // The next start sweeps what cannot go now.
            let _ = fs::remove_file(&self.path);
        }
    }
}
