//! A file that appears whole or not at all: written under another name beside its place, durable, then renamed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cow::disk::{Disk, RealDisk};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::failure::Failure;

/// A file on its way. Dropped before it is in its place, it leaves nothing behind.
pub(crate) struct NewFile {
    path: PathBuf,
    staged: PathBuf,
    replace: bool,
    is_placed: bool,
}

impl NewFile {
    /// Reserves nothing yet: [`Self::create`] makes the file. With `replace` a file that is there goes, at the end.
    pub(crate) fn new(path: &Path, replace: bool) -> Result<Self, Failure> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.is_file() => {
                let what = "is there and is no plain file; give the name of a new file";
                return Err(Failure::NotAPlace { path: path.to_owned(), what });
            }
            Ok(_) if !replace => {
                return Err(Failure::NotAPlace { path: path.to_owned(), what: EXISTS });
            }
            _ => {}
        }
        let Some(name) = path.file_name() else {
            return Err(Failure::NotAPlace { path: path.to_owned(), what: "is no name of a file" });
        };
        let staged = format!(".{}.{}.part", name.to_string_lossy(), std::process::id());
        Ok(Self { path: path.to_owned(), staged: path.with_file_name(staged), replace, is_placed: false })
    }

    /// The name that it has until it is whole.
    pub(crate) fn staged(&self) -> &Path {
        &self.staged
    }

    /// Makes the file, empty, readable by its owner alone.
    pub(crate) fn create(&self) -> Result<Arc<dyn cow::disk::File>, Failure> {
        RealDisk.create(&self.staged).map_err(Failure::file("create", &self.path))
    }

    /// Gives the file, which is durable, its name, durably.
    pub(crate) fn place(mut self) -> Result<(), Failure> {
        let flags = if self.replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        match renameat_with(CWD, &self.staged, CWD, &self.path, flags) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(Failure::NotAPlace { path: self.path.clone(), what: EXISTS }),
            Err(error) => return Err(Failure::file("create", &self.path)(error.into())),
        }
        self.is_placed = true;
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let synced = File::open(parent.unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all());
        match synced {
            // Some file systems have no such thing.
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => {
                Err(Failure::file("sync the directory of", &self.path)(error))
            }
            _ => Ok(()),
        }
    }
}

const EXISTS: &str = "exists; --force replaces it";

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_placed {
            // It may never have been made; what failed is told by who failed.
            drop(fs::remove_file(&self.staged));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let names = fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn it_is_there_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk.raw");
        let new = NewFile::new(&path, false).unwrap();
        new.create().unwrap().write_at(0, &[b"whole"]).unwrap();
        assert!(!path.exists());
        drop(new);
        assert_eq!(names(directory.path()), Vec::<String>::new());
        let new = NewFile::new(&path, false).unwrap();
        new.create().unwrap().write_at(0, &[b"whole"]).unwrap();
        new.place().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(names(directory.path()), ["disk.raw"]);
    }

    #[test]
    fn nothing_is_overwritten_unless_that_is_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk.raw");
        let early = NewFile::new(&path, false).unwrap();
        early.create().unwrap();
        fs::write(&path, "old").unwrap();
        assert!(NewFile::new(&path, false).is_err());
        assert!(early.place().is_err(), "it came to be there meanwhile");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        let new = NewFile::new(&path, true).unwrap();
        new.create().unwrap().write_at(0, &[b"new"]).unwrap();
        new.place().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(NewFile::new(directory.path(), true).is_err());
        assert!(NewFile::new(Path::new("/dev/null"), true).is_err());
        assert_eq!(names(directory.path()), ["disk.raw"]);
    }
}
