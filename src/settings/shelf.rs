//! All settings that there are: read once, kept in memory, a file each.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::limits::FILE_BYTES_MAX;
use super::{Error, ExportId, ExportSettings, file};
use crate::catalog::Catalog;

/// Directory of the store that holds the settings of exports, a file each.
const DIRECTORY: &str = "exports";

/// What files of settings end with, and what they are called while they are written.
const ENDING: &str = "json";
const UNFINISHED: &str = "new";

/// The settings of everything that is exported.
pub struct Shelf {
    directory: PathBuf,
    /// Secrets are sealed with its key.
    catalog: Arc<Catalog>,
    /// What each file says, or why it cannot be read. What is not here has no file.
    known: Mutex<BTreeMap<ExportId, Result<Arc<ExportSettings>, String>>>,
    /// Held from reading what there is to having kept what it becomes.
    changing: Mutex<()>,
}

impl Shelf {
    /// Reads all settings of a store. Files that cannot be read are remembered as such.
    ///
    /// # Errors
    /// When it cannot be known which files there are.
    pub fn open(store: &Path, catalog: Arc<Catalog>) -> io::Result<Arc<Self>> {
        let directory = store.join(DIRECTORY);
        let shelf = Self { directory, catalog, known: Mutex::default(), changing: Mutex::default() };
        let entries = match fs::read_dir(&shelf.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Arc::new(shelf)),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            match (path.file_stem().and_then(|id| id.to_str()?.parse().ok()), path.extension()) {
                (Some(id), Some(ending)) if ending == ENDING => {
                    shelf.read_again(id);
                }
                // Its writer was interrupted: it never counted.
                (Some(_), Some(ending)) if ending == UNFINISHED => fs::remove_file(&path)?,
                _ => {}
            }
        }
        Ok(Arc::new(shelf))
    }

    /// What something is exported with: the defaults where nothing else was ever said.
    ///
    /// # Errors
    /// [`Error::Unreadable`]: then it is exported to nobody.
    pub fn get(&self, id: impl Into<ExportId>) -> Result<Arc<ExportSettings>, Error> {
        match self.known.lock().get(&id.into()) {
            None => Ok(Arc::default()),
            Some(Ok(settings)) => Ok(settings.clone()),
            Some(Err(reason)) => Err(Error::Unreadable(reason.clone())),
        }
    }

    /// Everything that has settings of its own, readable or not.
    #[must_use]
    pub fn ids(&self) -> Vec<ExportId> {
        self.known.lock().keys().copied().collect()
    }

    /// Has it settings of its own, readable or not?
    #[must_use]
    pub fn has(&self, id: impl Into<ExportId>) -> bool {
        self.known.lock().contains_key(&id.into())
    }

    /// Keeps settings, in place of those that there are: durable when it returns. May wait for the disk.
    ///
    /// # Errors
    /// When they cannot be kept. What counts then is what the disk has.
    pub fn keep(&self, id: impl Into<ExportId>, settings: ExportSettings) -> Result<(), Error> {
        let _changing = self.changing.lock();
        self.write(id.into(), settings)
    }

    /// Changes settings: gives those before and those after. Nothing comes in between. May wait for the disk.
    ///
    /// # Errors
    /// Those of `change`, of [`Shelf::get`] and of [`Shelf::keep`].
    pub fn change(
        &self,
        id: impl Into<ExportId>,
        change: impl FnOnce(&ExportSettings) -> Result<ExportSettings, Error>,
    ) -> Result<[Arc<ExportSettings>; 2], Error> {
        let id = id.into();
        let _changing = self.changing.lock();
        let before = self.get(id)?;
        let after = change(&before)?;
        if after != *before {
            self.write(id, after)?;
        }
        Ok([before, self.get(id)?])
    }

    /// Forgets the settings of something that is gone. May wait for the disk.
    ///
    /// # Errors
    /// The disk's. A file that is left harms nobody: its id never comes again.
    pub fn remove(&self, id: impl Into<ExportId>) -> io::Result<()> {
        let id = id.into();
        let _changing = self.changing.lock();
        if !self.has(id) {
            return Ok(());
        }
        match fs::remove_file(self.path(id, ENDING)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.known.lock().remove(&id);
        File::open(&self.directory)?.sync_all()
    }

    fn path(&self, id: ExportId, ending: &str) -> PathBuf {
        self.directory.join(format!("{id}.{ending}"))
    }

    fn write(&self, id: ExportId, settings: ExportSettings) -> Result<(), Error> {
        let seal = |field: &str, text: &str| self.catalog.seal(&place(id, field), text);
        let written = file::write(&settings, seal)
            .map_err(|error| Error::NotKept(error.to_string()))
            .and_then(|bytes| self.replace(id, &bytes).map_err(|error| Error::NotKept(error.to_string())));
        match &written {
            Ok(()) => {
                self.known.lock().insert(id, Ok(Arc::new(settings)));
            }
            // Old or new: whichever is there.
            Err(_) => self.read_again(id),
        }
        written
    }

    fn replace(&self, id: ExportId, bytes: &[u8]) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => {
                made?;
                let store = self.directory.parent().unwrap_or(Path::new("."));
                File::open(store)?.sync_all()?;
            }
        }
        let (path, unfinished) = (self.path(id, ENDING), self.path(id, UNFINISHED));
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        File::open(&self.directory)?.sync_all()
    }

    /// Takes what the file says for what counts.
    fn read_again(&self, id: ExportId) {
        let path = self.path(id, ENDING);
        let open = |field: &str, sealed: &str| self.catalog.unseal(&place(id, field), sealed);
        let read = match read_bytes(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.known.lock().remove(&id);
                return;
            }
            Err(error) => Err(error.to_string()),
            Ok(bytes) => file::read(&bytes, open),
        };
        if let Err(reason) = &read {
            tracing::error!(reason, "the settings in {} cannot be read", path.display());
        }
        let read = read.map(Arc::new).map_err(|reason| format!("{}: {reason}", path.display()));
        self.known.lock().insert(id, read);
    }
}

/// Where a secret is sealed: elsewhere it does not open.
fn place(id: ExportId, field: &str) -> String {
    format!("{DIRECTORY}/{id}/{field}/secret")
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > FILE_BYTES_MAX {
        true => Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large")),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use cow::VolumeId;

    use super::*;
    use crate::settings::{Credential, Secret};

    const ID: VolumeId = VolumeId([7; 16]);

    fn shelf(store: &Path) -> Arc<Shelf> {
        Shelf::open(store, Catalog::open(&store.join("catalog")).unwrap()).unwrap()
    }

    fn settings() -> ExportSettings {
        let secret = Secret::Open("alice-secret-12".to_owned());
        let chap = Some(Credential { user: "alice".to_owned(), secret });
        ExportSettings { chap, write_cache: false, ..ExportSettings::default() }
    }

    #[test]
    fn settings_outlive_the_daemon_and_go_with_their_volume() {
        let store = tempfile::tempdir().unwrap();
        assert_eq!(*shelf(store.path()).get(ID).unwrap(), ExportSettings::default());
        shelf(store.path()).keep(ID, settings()).unwrap();
        let again = shelf(store.path());
        assert_eq!(*again.get(ID).unwrap(), settings());
        assert_eq!(again.ids(), [ID.into()]);
        again.remove(ID).unwrap();
        again.remove(ID).unwrap();
        assert_eq!(*again.get(ID).unwrap(), ExportSettings::default());
        assert!(!shelf(store.path()).has(ID));
    }

    #[test]
    fn the_file_is_private_and_has_no_secret_in_clear() {
        let store = tempfile::tempdir().unwrap();
        shelf(store.path()).keep(ID, settings()).unwrap();
        let directory = store.path().join(DIRECTORY);
        let path = directory.join(format!("{ID}.json"));
        assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!fs::read_to_string(&path).unwrap().contains("alice-secret-12"));
    }

    /// A secret opens in its own file alone.
    #[test]
    fn a_secret_that_was_copied_from_another_volume_does_not_open() {
        let store = tempfile::tempdir().unwrap();
        shelf(store.path()).keep(ID, settings()).unwrap();
        let directory = store.path().join(DIRECTORY);
        let other = VolumeId([8; 16]);
        fs::copy(directory.join(format!("{ID}.json")), directory.join(format!("{other}.json"))).unwrap();
        let shelf = shelf(store.path());
        assert!(shelf.get(ID).unwrap().access().is_ok());
        assert!(matches!(shelf.get(other).unwrap().access(), Err(Error::Sealed)));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_the_default_and_is_not_overwritten() {
        let store = tempfile::tempdir().unwrap();
        shelf(store.path()).keep(ID, settings()).unwrap();
        let path = store.path().join(DIRECTORY).join(format!("{ID}.json"));
        let whole = fs::read(&path).unwrap();
        for damaged in [&b""[..], &whole[..whole.len() / 2], &vec![b' '; 600 * 1024]] {
            fs::write(&path, damaged).unwrap();
            let shelf = shelf(store.path());
            let error = shelf.get(ID).unwrap_err().to_string();
            assert!(error.contains("exported to nobody") && error.contains(&ID.to_string()), "{error}");
            assert!(shelf.change(ID, |_| Ok(ExportSettings::default())).is_err());
            assert_eq!(fs::read(&path).unwrap(), damaged);
        }
        // A directory cannot be read as a file either.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(shelf(store.path()).get(ID).is_err());
        fs::remove_dir(&path).unwrap();
        fs::write(&path, whole).unwrap();
        assert_eq!(*shelf(store.path()).get(ID).unwrap(), settings());
    }

    #[test]
    fn with_another_key_nobody_logs_in_and_nothing_is_lost() {
        let store = tempfile::tempdir().unwrap();
        shelf(store.path()).keep(ID, settings()).unwrap();
        let key = store.path().join("catalog/secret.key");
        let kept = fs::read(&key).unwrap();
        fs::write(&key, [9; 32]).unwrap();
        let lost = shelf(store.path());
        assert!(matches!(lost.get(ID).unwrap().access(), Err(Error::Sealed)));
        // What is changed otherwise keeps the secret as it is sealed; a new secret is not taken.
        let changed = lost.change(ID, |before| Ok(ExportSettings { write_cache: true, ..before.clone() }));
        assert!(matches!(changed.unwrap()[1].access(), Err(Error::Sealed)));
        assert!(lost.keep(ID, settings()).is_err());
        fs::write(&key, kept).unwrap();
        let back = shelf(store.path()).get(ID).unwrap();
        assert_eq!(*back, ExportSettings { write_cache: true, ..settings() });
    }

    #[test]
    fn what_cannot_be_kept_leaves_what_there_was() {
        let store = tempfile::tempdir().unwrap();
        let shelf = shelf(store.path());
        shelf.keep(ID, settings()).unwrap();
        // The name of the unfinished file is taken by something that cannot be removed as a file.
        let blocked = store.path().join(DIRECTORY).join(format!("{ID}.new"));
        fs::create_dir(&blocked).unwrap();
        assert!(matches!(shelf.keep(ID, ExportSettings::default()), Err(Error::NotKept(_))));
        assert_eq!(*shelf.get(ID).unwrap(), settings());
        fs::remove_dir(&blocked).unwrap();
        shelf.keep(ID, ExportSettings::default()).unwrap();
    }

    #[test]
    fn an_unfinished_file_never_counts() {
        let store = tempfile::tempdir().unwrap();
        fs::create_dir(store.path().join(DIRECTORY)).unwrap();
        let unfinished = store.path().join(DIRECTORY).join(format!("{ID}.new"));
        fs::write(&unfinished, "{").unwrap();
        assert!(!shelf(store.path()).has(ID));
        assert!(!unfinished.exists());
    }
}
