//! Reading a store whose daemon is gone: check, dump, export, repair.
//!
//! Nothing here relies on the catalogue or on recovery: everything is read from the files themselves, whatever of
//! them is sound, and nothing in the store is ever changed. Repair builds another store beside it.
//!
//! ```text
//!   catalogue  manifests, sound or damaged        ┐
//!   segment    header and records of a segment    │  check   what is lost, and whose it is
//!   mend       records with a wrong byte          ├─ export  a volume as a file
//!   layer      the map of a layer, and its faults │  repair  a new store of all that is sound
//!   golden     chunks of a golden image           │  dump    what is there, in words
//!   view       a volume as its reader sees it     ┘
//! ```

mod catalogue;
mod check;
mod dump;
mod export;
mod golden;
mod layer;
mod lost;
mod mend;
mod ranges;
mod repair;
mod report;
mod segment;
mod view;

use std::{io, path::Path, sync::Arc};

pub use dump::{Field, Item, Selection, Tell};
pub use export::{Exported, OnDamage};
pub use ranges::Ranges;
pub use repair::Repaired;
pub use report::{Counts, Extent, Finding, Loss, ManifestRescue, Owner, Problem, Report};

pub use crate::export::ExportFormat;
use crate::{
    context::Context,
    disk::{Disk, Lock, RealDisk},
    error::{Error, Kind, Result},
    geometry::Geometry,
    ids::StoreId,
    room::Room,
};

/// A store that no daemon has open, for reading.
pub struct Offline {
    pub(crate) context: Arc<Context>,
    _lock: Option<Box<dyn Lock>>,
}

impl Offline {
    /// Takes the lock of the store in a directory. Nothing is read yet.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(Arc::new(RealDisk), path, Geometry::default())
    }

    /// The same, on a given disk. A segment whose header is lost is taken to have the sizes of `geometry`.
    pub fn open_with(disk: Arc<dyn Disk>, path: &Path, geometry: Geometry) -> Result<Self> {
        let names = disk.list(path).map_err(|error| Error::io("list", path, error))?;
        let has = |name: &str| names.iter().any(|entry| entry.name == name);
        let is_store = has("STORE") || has("layers") && has("volumes");
        if !is_store {
            return Err(Error::new(Kind::Format, format!("{} is not a store", path.display())));
        }
        // A store without a lock file was never opened by a daemon, or is a copy: the file is not made here.
        let lock = if has("LOCK") { lock(&*disk, path)? } else { None };
        let boot = disk.boot_id().map_err(|error| Error::io("read the boot id for", path, error))?;
        let (root, store) = (path.to_owned(), StoreId([0; 16]));
        let context = Arc::new(Context { disk, root, store, boot, geometry, room: Room::default() });
        Ok(Self { context, _lock: lock })
    }
}

fn lock(disk: &dyn Disk, root: &Path) -> Result<Option<Box<dyn Lock>>> {
    let path = root.join("LOCK");
    match disk.lock(&path) {
        Ok(Some(lock)) => Ok(Some(lock)),
        Ok(None) => {
            let message = format!(
                "{} is in use: stop the osvold that serves it first (systemctl stop osvold), or work on a copy or a file system snapshot of it",
                root.display()
            );
            Err(Error::new(Kind::Locked, message))
        }
        // Nobody can write where nothing can be written.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(None),
        Err(error) => Err(Error::io("lock", &path, error)),
    }
}
