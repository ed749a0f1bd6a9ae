//! Opening a store: lock, identity, all manifests; then sweep what was never finished or was removed.
//!
//! No log is read here: a volume is recovered when it is opened first. Layers are swept only where a manifest tells
//! why (see `release`), and only when every manifest could be read, for one that is damaged might name them.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    sync::{Arc, Weak, atomic::AtomicUsize},
};

use parking_lot::Mutex;

use super::{
    Catalogue, ImageEntry, SnapshotEntry, Store, VolumeEntry, manifests,
    release::{self, Released},
    space::LayerSizes,
};
use crate::{
    context::Context,
    disk::{Disk, Wait},
    error::{Error, Kind, Result},
    format::{
        frame::{self, FrameKind, Location},
        manifest::{ImageManifest, VolumeManifest},
    },
    geometry::Geometry,
    ids::{ImageId, LayerId, SnapshotId, StoreId, VolumeId},
    image::{hex, import::remove_tree},
    limits::{BLOCK_LEN, RELEASE_FILES_AT_ONCE},
    room::Room,
};

const STORE_LOCATION: Location = Location { owner: [0; 16], number: 0 };
const DIRECTORIES: [&str; 6] = ["images", "golden", "volumes", "snapshots", "layers", "staging"];

pub(super) fn open(disk: Arc<dyn Disk>, root: &Path, geometry: Geometry) -> Result<Store> {
    ensure_dir(&*disk, root)?;
    let lock_path = root.join("LOCK");
    let lock = disk.lock(&lock_path).map_err(|error| Error::io("lock", &lock_path, error))?;
    let lock = lock.ok_or_else(|| {
        Error::new(
            Kind::Locked,
            format!("{} is in use by another process: one osvold per store", root.display()),
        )
    })?;
    let store = identity(&*disk, root)?;
    let boot = disk.boot_id().map_err(|error| Error::io("read the boot id for", root, error))?;
    let context =
        Arc::new(Context { disk, root: root.to_owned(), store, boot, geometry, room: Room::default() });
    // The file that makes this a store must not be lost while directories stay that make it look like none.
    context.disk.sync_dir(root).map_err(|error| Error::io("sync", root, error))?;
    for name in DIRECTORIES {
        ensure_dir(&*context.disk, &root.join(name))?;
    }
    context.disk.sync_dir(root).map_err(|error| Error::io("sync", root, error))?;
    // What a killed process was making is believed from now on, so it must not go with a power cut.
    for dir in [context.images_dir(), context.golden_dir(), context.volumes_dir(), context.snapshots_dir()] {
        context.disk.sync_dir(&dir).map_err(|error| Error::io("sync", &dir, error))?;
    }
    let mut released = Vec::new();
    let catalogue = Catalogue {
        images: images(&context)?,
        volumes: volumes(&context, &mut released)?,
        snapshots: snapshots(&context, &mut released)?,
        layers: BTreeMap::new(),
        image_names: HashSet::new(),
        volume_names: HashSet::new(),
    };
    let mut store = Store {
        context,
        catalogue: Mutex::new(catalogue),
        placing: Mutex::new(()),
        sharing: Mutex::new(()),
        rot: Mutex::default(),
        sizes: LayerSizes::default(),
        rounds: AtomicUsize::new(0),
        released: Mutex::default(),
        sweeping: Mutex::new(()),
        orphans: Vec::new(),
        _lock: lock,
    };
    store.orphans = store.sweep(released)?;
    store.catalogue.lock().know_volume_names();
    store.restore_claims();
    store.remove_stills();
    Ok(store)
}

fn ensure_dir(disk: &dyn Disk, path: &Path) -> Result<()> {
    match disk.create_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Error::io("create", path, error))
        }
        _ => Ok(()),
    }
}

/// Reads the file `STORE`, writing it first where the directory is new.
fn identity(disk: &dyn Disk, root: &Path) -> Result<StoreId> {
    let path = root.join("STORE");
    let io = |error| Error::io("read", &path, error);
    match disk.open(&path, false) {
        Ok(file) => {
            let mut bytes = vec![0; BLOCK_LEN];
            let read = file.read_at(0, &mut bytes, Wait::Yes).map_err(io)?;
            let (payload, _) = frame::unpack(FrameKind::Store, STORE_LOCATION, &bytes[..read])
                .map_err(|damage| Error::new(Kind::Format, format!("{} is {damage}", path.display())))?;
            let id = payload.get(..16).and_then(|id| id.try_into().ok()).map(StoreId);
            id.ok_or_else(|| Error::new(Kind::Format, format!("{} is cut short", path.display())))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => new_identity(disk, root, &path),
        Err(error) => Err(io(error)),
    }
}

fn new_identity(disk: &dyn Disk, root: &Path, path: &Path) -> Result<StoreId> {
    let io = |error| Error::io("write", path, error);
    let names = disk.list(root).map_err(|error| Error::io("list", root, error))?;
    if let Some(other) =
        names.iter().find(|entry| !matches!(entry.name.as_str(), "LOCK" | "STORE.new" | "lost+found"))
    {
        let message = format!("{} is not a store, and not empty: it holds `{}`", root.display(), other.name);
        return Err(Error::new(Kind::Format, message));
    }
    sync_parent(disk, root)?;
    let staged = root.join("STORE.new");
    match disk.remove_file(&staged) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let mut id = [0; 16];
    disk.random(&mut id).map_err(io)?;
    let file = disk.create(&staged).map_err(io)?;
    file.write_at(0, &[&frame::pack(FrameKind::Store, STORE_LOCATION, &id)]).map_err(io)?;
    file.sync_data().map_err(io)?;
    disk.rename(&staged, path).map_err(io)?;
    disk.sync_dir(root).map_err(io)?;
    Ok(StoreId(id))
}

/// Makes the store's own name durable. Whoever made the directory in one that we may not read sees to that himself.
fn sync_parent(disk: &dyn Disk, root: &Path) -> Result<()> {
    let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) else { return Ok(()) };
    match disk.sync_dir(parent) {
        Err(error) if error.kind() != std::io::ErrorKind::PermissionDenied => {
            Err(Error::io("sync", parent, error))
        }
        _ => Ok(()),
    }
}

fn images(context: &Context) -> Result<BTreeMap<ImageId, ImageEntry>> {
    let dir = context.images_dir();
    let mut images = BTreeMap::new();
    for entry in context.disk.list(&dir).map_err(|error| Error::io("list", &dir, error))? {
        let Ok(id) = entry.name.parse::<ImageId>() else { continue };
        let Some(newest) = manifests::newest(context, &context.image_dir(id))? else { continue };
        let generation = newest.generation;
        let location = Location { owner: id.0, number: generation };
        let manifest = ImageManifest::unpack(location, &newest.bytes).map_err(|damage| {
            Error::new(
                Kind::Format,
                format!("the manifest of golden image {id} is {damage}; see `osvol store check`"),
            )
        })?;
        images.insert(id, ImageEntry { manifest, generation, content: Weak::new() });
    }
    Ok(images)
}

fn volumes(context: &Context, released: &mut Vec<Released>) -> Result<BTreeMap<VolumeId, VolumeEntry>> {
    let dir = context.volumes_dir();
    let mut volumes = BTreeMap::new();
    for entry in context.disk.list(&dir).map_err(|error| Error::io("list", &dir, error))? {
        let Ok(id) = entry.name.parse::<VolumeId>() else { continue };
        let dir = context.volume_dir(id);
        let Some(newest) = manifests::newest(context, &dir)? else { continue };
        let generation = newest.generation;
        let location = Location { owner: id.0, number: generation };
        let manifest = VolumeManifest::unpack(FrameKind::Volume, location, &newest.bytes)
            .map_err(|damage| format!("the manifest of volume {id} is {damage}; see `osvol store check`"));
        let whose = (FrameKind::Volume, id.0);
        released.extend(release::told_by(context, whose, dir, &newest, manifest.as_ref().ok()));
        let fault = manifest.as_ref().err().cloned();
        let (gate, in_doubt) = (Arc::default(), false);
        volumes.insert(id, VolumeEntry { manifest, generation, open: None, gate, fault, in_doubt });
    }
    Ok(volumes)
}

fn snapshots(context: &Context, released: &mut Vec<Released>) -> Result<BTreeMap<SnapshotId, SnapshotEntry>> {
    let dir = context.snapshots_dir();
    let mut snapshots = BTreeMap::new();
    for entry in context.disk.list(&dir).map_err(|error| Error::io("list", &dir, error))? {
        let Ok(id) = entry.name.parse::<SnapshotId>() else { continue };
        let dir = context.snapshot_dir(id);
        let Some(newest) = manifests::newest(context, &dir)? else { continue };
        let generation = newest.generation;
        let location = Location { owner: id.0, number: generation };
        let manifest = VolumeManifest::unpack(FrameKind::Snapshot, location, &newest.bytes);
        let manifest = manifest.map_err(|damage| {
            Error::new(
                Kind::Format,
                format!("the manifest of snapshot {id} is {damage}; see `osvol store check`"),
            )
        })?;
        let whose = (FrameKind::Snapshot, id.0);
        released.extend(release::told_by(context, whose, dir, &newest, Some(&manifest)));
        snapshots.insert(id, SnapshotEntry { manifest, generation, in_doubt: false });
    }
    Ok(snapshots)
}

impl Store {
    /// Removes what was never finished, and begins to remove the rest of what was released. Gives the layers that
    /// hold data and that nothing accounts for.
    fn sweep(&self, released: Vec<Released>) -> Result<Vec<LayerId>> {
        let context = &self.context;
        sweep_all(context, &context.staging_dir(), |_| true)?;
        let mut catalogue = self.catalogue.lock();
        // A directory without a manifest is one whose removal was cut short.
        let known: HashSet<String> = catalogue.volumes.keys().map(ToString::to_string).collect();
        sweep_all(context, &context.volumes_dir(), |name| !known.contains(name))?;
        let known: HashSet<String> = catalogue.snapshots.keys().map(ToString::to_string).collect();
        sweep_all(context, &context.snapshots_dir(), |name| !known.contains(name))?;
        sweep_images(context, &mut catalogue)?;
        catalogue.volumes.retain(|_, entry| !entry.is_deleted());
        catalogue.snapshots.retain(|_, entry| !entry.manifest.deleted);
        let Some(used) = catalogue.layers_in_use() else { return Ok(Vec::new()) };
        drop(catalogue);
        let mut accounted = used.clone();
        for mut released in released {
            released.layers.retain(|layer| !used.contains(layer));
            accounted.extend(&released.layers);
            self.released.lock().push_back(released);
        }
        // What cannot be swept now is swept by upkeep.
        drop(self.sweep_released(RELEASE_FILES_AT_ONCE));
        orphans(context, &accounted)
    }
}

/// Removes images that were removed, and content that no image names.
fn sweep_images(context: &Context, catalogue: &mut Catalogue) -> Result<()> {
    let gone: Vec<(ImageId, u64)> = catalogue
        .images
        .iter()
        .filter(|(_, entry)| entry.manifest.deleted)
        .map(|(id, entry)| (*id, entry.generation))
        .collect();
    for (id, generation) in gone {
        manifests::discard(context, &context.image_dir(id), generation)?;
        catalogue.images.remove(&id);
    }
    let known: HashSet<String> = catalogue.images.keys().map(ToString::to_string).collect();
    sweep_all(context, &context.images_dir(), |name| !known.contains(name))?;
    let used: HashSet<String> = catalogue.images.values().map(|entry| hex(&entry.manifest.digest)).collect();
    sweep_all(context, &context.golden_dir(), |name| !used.contains(name))
}

/// Layers that are in none of `accounted`. One without a file holds nothing, and is removed.
fn orphans(context: &Context, accounted: &HashSet<LayerId>) -> Result<Vec<LayerId>> {
    let dir = context.layers_dir();
    let mut orphans = Vec::new();
    for entry in context.disk.list(&dir).map_err(|error| Error::io("list", &dir, error))? {
        let Ok(id) = entry.name.parse::<LayerId>() else { continue };
        if accounted.contains(&id) {
            continue;
        }
        let path = context.layer_dir(id);
        let files = context.disk.list(&path).map_err(|error| Error::io("list", &path, error))?;
        match files.is_empty() {
            true => context.disk.remove_dir(&path).map_err(|error| Error::io("remove", &path, error))?,
            false => orphans.push(id),
        }
    }
    Ok(orphans)
}

impl VolumeEntry {
    pub(super) fn is_deleted(&self) -> bool {
        self.manifest.as_ref().is_ok_and(|manifest| manifest.deleted)
    }
}

impl Catalogue {
    fn know_volume_names(&mut self) {
        let manifests = self.volumes.values().filter_map(|entry| entry.manifest.as_ref().ok());
        self.volume_names = manifests.map(|manifest| manifest.name.clone()).collect();
    }

    /// Whether it is known of every volume and snapshot what it is made of, and that it is there.
    pub(super) fn is_certain(&self) -> bool {
        self.volumes.values().all(|entry| entry.manifest.is_ok())
            && !self.snapshots.values().any(|entry| entry.in_doubt)
    }

    /// Layers that some manifest names; `None` when a manifest cannot be read, or is in doubt.
    pub(super) fn layers_in_use(&self) -> Option<HashSet<LayerId>> {
        if !self.is_certain() {
            return None;
        }
        let mut used = HashSet::new();
        for entry in self.volumes.values() {
            used.extend(entry.manifest.as_ref().ok()?.layers.iter().copied());
        }
        used.extend(self.snapshots.values().flat_map(|entry| entry.manifest.layers.iter().copied()));
        Some(used)
    }
}

fn sweep_all(context: &Context, dir: &Path, goes: impl Fn(&str) -> bool) -> Result<()> {
    for entry in context.disk.list(dir).map_err(|error| Error::io("list", dir, error))? {
        if !goes(&entry.name) {
            continue;
        }
        let path = dir.join(&entry.name);
        if entry.is_dir {
            remove_tree(context, &path)?;
        } else {
            context.disk.remove_file(&path).map_err(|error| Error::io("remove", &path, error))?;
        }
    }
    Ok(())
}
