//! A store: golden images, volumes, and the layers between them, in one directory of one file system.
//!
//! ```text
//!   STORE                      what this is: store id, format version
//!   LOCK                       one process at a time
//!   images/<id>/manifest-<n>   a golden image's name, size and digest
//!   golden/<digest>/           its content: image.raw, digests (same content, one copy)
//!   volumes/<id>/manifest-<n>  a volume's name, size, image and layers; the highest number counts
//!   snapshots/<id>/manifest-<n>   the same of a snapshot
//!   layers/<id>/               seg-<n>, ckpt-<n>
//!   staging/                   what is not finished; swept at opening
//! ```

mod capture;
mod images;
mod limits;
mod maintain;
mod manifests;
mod open;
mod release;
mod rename;
mod rot;
mod snapshots;
mod space;
mod still;
mod volumes;

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    path::Path,
    sync::{Arc, Weak, atomic::AtomicUsize},
};

pub use capture::CAPTURED;
pub use images::ImageInfo;
pub use maintain::Upkeep;
pub(crate) use manifests::{create as create_manifest, manifest_path};
use parking_lot::Mutex;
pub use snapshots::SnapshotInfo;
pub use space::{Level, Usage};
pub use still::{Still, Subject};
pub use volumes::{Health, NewVolume, VolumeInfo};

use crate::{
    context::Context,
    disk::{Disk, Lock, RealDisk, Space},
    error::{Error, Kind, Result},
    format::manifest::{ImageManifest, VolumeManifest},
    geometry::Geometry,
    ids::{ImageId, LayerId, SnapshotId, StoreId, VolumeId},
    image::Image,
    layer::Layer,
    limits::NAME_CHARS_MAX,
    volume::Volume,
};

/// An open store. One process has it at a time.
pub struct Store {
    context: Arc<Context>,
    catalogue: Mutex<Catalogue>,
    /// Held while content is placed or swept: the same content may be coming in and going out.
    placing: Mutex<()>,
    /// Held while a layer that several volumes may share is opened: each is opened once.
    sharing: Mutex<()>,
    /// What was found to be rotten.
    rot: Mutex<rot::Rot>,
    sizes: space::LayerSizes,
    /// Rounds of upkeep so far.
    rounds: AtomicUsize,
    /// Layers that nothing needs any more, to be unlinked.
    released: Mutex<VecDeque<release::Released>>,
    /// Held by who unlinks them.
    sweeping: Mutex<()>,
    /// Layers that nothing accounts for.
    orphans: Vec<LayerId>,
    _lock: Box<dyn Lock>,
}

/// What is known of everything in the store.
#[derive(Default)]
struct Catalogue {
    images: BTreeMap<ImageId, ImageEntry>,
    volumes: BTreeMap<VolumeId, VolumeEntry>,
    snapshots: BTreeMap<SnapshotId, SnapshotEntry>,
    /// Frozen layers that are open.
    layers: BTreeMap<LayerId, Weak<Layer>>,
    /// Names that are being given: taken already, not there yet.
    image_names: HashSet<String>,
    /// Names of volumes, those that are being given included.
    volume_names: HashSet<String>,
}

struct ImageEntry {
    manifest: ImageManifest,
    generation: u64,
    content: Weak<Image>,
}

struct SnapshotEntry {
    manifest: VolumeManifest,
    generation: u64,
    /// Whether it is there is not known until the store is opened anew.
    in_doubt: bool,
}

struct VolumeEntry {
    /// What its newest manifest says, or why it cannot be read.
    manifest: std::result::Result<VolumeManifest, String>,
    generation: u64,
    open: Option<Arc<Volume>>,
    /// Held while it is opened, closed or given another shape.
    gate: Arc<Mutex<()>>,
    /// Why it could not be opened, or must be opened anew.
    fault: Option<String>,
    /// Which of its manifests counts is not known until the store is opened anew.
    in_doubt: bool,
}

impl Store {
    /// Opens the store in a directory, creating both where they are not there yet.
    pub fn open(path: &Path) -> Result<Arc<Self>> {
        Self::open_on(Arc::new(RealDisk), path)
    }

    /// The same, on a given disk.
    pub fn open_on(disk: Arc<dyn Disk>, path: &Path) -> Result<Arc<Self>> {
        Self::open_with(disk, path, Geometry::default())
    }

    /// The same; new segments get the sizes of `geometry`.
    pub fn open_with(disk: Arc<dyn Disk>, path: &Path, geometry: Geometry) -> Result<Arc<Self>> {
        open::open(disk, path, geometry).map(Arc::new)
    }

    /// Identifier of this store.
    #[must_use]
    pub fn id(&self) -> StoreId {
        self.context.store
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.context.root
    }

    /// Room of its file system.
    pub fn space(&self) -> Result<Space> {
        let root = &self.context.root;
        self.context.disk.space(root).map_err(|error| Error::io("ask for the space of", root, error))
    }

    /// Takes room for bytes that are written beside the store, on its file system; an error when only the reserve is left.
    pub fn take_room(&self, bytes: u64) -> Result<()> {
        self.context.take_room(bytes.div_ceil(crate::limits::BLOCK_BYTES))
    }

    /// Makes every open volume durable and writes its map down. Call it once nothing uses them any more.
    pub fn close(&self) -> Result<()> {
        let open: Vec<_> =
            self.catalogue.lock().volumes.values().filter_map(|entry| entry.open.clone()).collect();
        let results: Vec<_> = open.iter().map(|volume| volume.checkpoint()).collect();
        results.into_iter().collect()
    }
}

/// A name is 1 to 64 of `A-Z a-z 0-9 . _ -`, and begins with a letter or a digit.
pub fn check_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && name.len() <= NAME_CHARS_MAX && name.chars().all(good) {
        return Ok(());
    }
    let shown: String = name.chars().take(NAME_CHARS_MAX + 1).flat_map(char::escape_default).collect();
    let message = format!(
        "the name `{shown}` is not valid: 1 to {NAME_CHARS_MAX} letters, digits, `.`, `_` and `-`, beginning with a letter or a digit"
    );
    Err(Error::new(Kind::Invalid, message))
}
