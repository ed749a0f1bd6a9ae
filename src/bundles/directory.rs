//! Where the archives lie: `<store>/catalog/bundles/<id>.zip`.
//!
//! An archive is written under a temporary name, synced, and renamed before the catalog knows it. What has a temporary
//! name at the next start, a crash has left: it goes.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::sums::Algorithm;

/// What ends the name of an archive that is not in its place yet.
const UNKEPT: &str = "new";

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
    /// Opens the directory, and sweeps what was on its way when the daemon ended.
    pub(crate) fn open(catalog: &Path, known: &[Uuid]) -> io::Result<Self> {
        let directory = Self(catalog.join("bundles"));
        DirBuilder::new().recursive(true).mode(0o700).create(&directory.0)?;
        for entry in fs::read_dir(&directory.0)? {
            let path = entry?.path();
            let id =
                path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| Uuid::try_parse(stem).ok());
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(UNKEPT) => fs::remove_file(&path)?,
                Some("zip") if id.is_some_and(|id| known.contains(&id)) => {}
                // The catalog may be an older copy: what only it has forgotten is not thrown away.
                _ => tracing::warn!("{} is no bundle that the catalog knows: left as it is", path.display()),
            }
        }
        Ok(directory)
    }

    /// Where an archive is.
    pub(crate) fn path(&self, id: Uuid) -> PathBuf {
        self.0.join(format!("{id}.zip"))
    }

    /// A place for a new archive.
    pub(crate) fn new_file(&self) -> io::Result<(Unkept, File)> {
        let path = self.0.join(format!("{}.{UNKEPT}", Uuid::new_v4()));
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
            tracing::error!(%id, "the archive of a bundle that was removed is left: {error}");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_on_its_way_goes_and_archives_stay() {
        let catalog = tempfile::tempdir().unwrap();
        let directory = Directory::open(catalog.path(), &[]).unwrap();
        let (unkept, _) = directory.new_file().unwrap();
        let kept = Uuid::new_v4();
        directory.keep(unkept, kept).unwrap();
        let (left, _) = directory.new_file().unwrap();
        let left_at = left.path().to_owned();
        std::mem::forget(left);
        let (dropped, _) = directory.new_file().unwrap();
        let dropped_at = dropped.path().to_owned();
        drop(dropped);
        assert!(left_at.exists() && !dropped_at.exists());
        Directory::open(catalog.path(), &[]).unwrap();
        assert!(!left_at.exists() && directory.path(kept).exists());
    }
}
