//! A copy of the catalog beside it, for the day when the catalog itself cannot be read; and what all of it takes.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Catalog, Error, Result, open};

/// The copy's file.
pub(super) const FILE: &str = "catalog.copy.sqlite";
const UNFINISHED: &str = "catalog.copy.unfinished";

impl Catalog {
    /// Makes the copy anew: whole and durable, or the one that is there stays. Nobody waits for it. A damaged catalog is not
    /// copied over a sound copy.
    ///
    /// # Errors
    /// The database's and the disk's.
    pub fn copy(&self) -> Result<()> {
        if let Some(first) = self.damage().first() {
            return Err(Error::Damaged(first.clone()));
        }
        let unfinished = self.directory().join(UNFINISHED);
        remove_if_there(&unfinished)?;
        // Made beforehand: SQLite fills an empty file, and its mode stays the private one.
        open::make_private_file(&unfinished)?;
        let connection = open::connect(&self.directory().join(open::FILE))?;
        connection.execute("VACUUM INTO ?1", [unfinished.to_string_lossy()])?;
        drop(connection);
        let failed = |what: &'static str| move |source| Error::Io { what: what.to_owned(), source };
        File::open(&unfinished)
            .and_then(|file| file.sync_all())
            .map_err(failed("cannot sync the catalog's copy"))?;
        fs::rename(&unfinished, self.directory().join(FILE))
            .map_err(failed("cannot replace the catalog's copy"))?;
        File::open(self.directory())
            .and_then(|directory| directory.sync_all())
            .map_err(failed("cannot sync the catalog's directory"))
    }
}

impl Catalog {
    /// Bytes on disk of everything in its directory: the database, its log, its copies, artifact bundles.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        disk_bytes(self.directory())
    }
}

/// What comes and goes meanwhile counts or does not.
fn disk_bytes(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let bytes = entries.filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        match metadata.is_dir() {
            true => Some(disk_bytes(&entry.path())),
            false => Some(metadata.blocks() * 512),
        }
    });
    bytes.sum()
}

fn remove_if_there(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Io { what: format!("cannot remove {}", file.display()), source: error })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::catalog::os_volumes;

    #[test]
    fn the_copy_opens_in_the_catalogs_place() {
        let directory = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(directory.path()).unwrap();
        for _ in 0..3 {
            catalog.write(os_volumes::next_number).unwrap();
            catalog.copy().unwrap();
        }
        let copy = directory.path().join(FILE);
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        let other = tempfile::tempdir().unwrap();
        fs::copy(&copy, other.path().join("catalog.sqlite")).unwrap();
        fs::copy(directory.path().join("secret.key"), other.path().join("secret.key")).unwrap();
        let restored = Catalog::open(other.path()).unwrap();
        assert_eq!(restored.damage(), Vec::<String>::new());
        assert_eq!(restored.write(os_volumes::next_number).unwrap(), 4);
    }

    #[test]
    fn a_damaged_catalog_leaves_the_copy_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(directory.path()).unwrap();
        catalog.copy().unwrap();
        let before = fs::read(directory.path().join(FILE)).unwrap();
        catalog.mark_damaged("for a test");
        assert!(catalog.copy().is_err());
        assert_eq!(fs::read(directory.path().join(FILE)).unwrap(), before);
    }
}
