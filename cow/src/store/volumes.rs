//! Volumes of a store.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{Catalogue, Store, VolumeEntry, check_name, images::no_image, manifests, release::Released};
use crate::{
    error::{Error, Kind, Result},
    format::{
        frame::{FrameKind, Location},
        manifest::VolumeManifest,
    },
    ids::{ImageId, LayerId, VolumeId},
    image::import::remove_tree,
    layer::Layer,
    limits::{SECTOR_BYTES, VOLUME_BYTES_MAX},
    volume::{Stack, Volume},
};

/// What to make a volume of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVolume {
    /// Its unique name.
    pub name: String,
    /// The golden image it is a clone of; without one it is empty.
    pub image: Option<ImageId>,
    /// Its size; the image's when none is given. Never smaller than the image.
    pub size_bytes: Option<u64>,
}

/// Whether a volume can be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// As far as is known.
    Ok,
    /// Not: the words say why.
    Critical(String),
}

/// A volume, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeInfo {
    /// Its identifier.
    pub id: VolumeId,
    /// Its unique name.
    pub name: String,
    /// The golden image it lives on.
    pub image: Option<ImageId>,
    /// Its size.
    pub size_bytes: u64,
    /// Bytes that it takes on disk beside its image.
    pub allocated_bytes: u64,
    /// Bytes that count for its quota and its reserve: blocks of data that were written and not given back yet.
    pub used_bytes: u64,
    /// Most bytes that it may take on disk beside its image.
    pub quota_bytes: Option<u64>,
    /// Bytes that it is sure to get: what it does not use of them is withheld from all others.
    pub reserve_bytes: Option<u64>,
    /// Milliseconds since 1970.
    pub created_unix_ms: u64,
    /// Whether it can be trusted.
    pub health: Health,
    /// Whether it is open.
    pub open: bool,
}

impl Store {
    /// All volumes, by name.
    pub fn volumes(&self) -> Vec<VolumeInfo> {
        let ids: Vec<VolumeId> = self.catalogue.lock().volumes.keys().copied().collect();
        let mut infos: Vec<_> = ids.into_iter().filter_map(|id| self.volume_info(id).ok()).collect();
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        infos
    }

    /// One volume.
    pub fn volume_info(&self, id: VolumeId) -> Result<VolumeInfo> {
        let catalogue = self.catalogue.lock();
        let entry = catalogue.volumes.get(&id).ok_or_else(|| no_volume(id))?;
        let (manifest, fault, open) = (entry.manifest.clone(), entry.fault.clone(), entry.open.clone());
        drop(catalogue);
        let Ok(manifest) = manifest else { return Ok(unreadable(id, fault)) };
        let poisoned = open.as_ref().is_some_and(|volume| volume.is_poisoned());
        let fault = fault
            .or_else(|| poisoned.then(|| "an earlier write or sync failed; reopen the volume".to_owned()));
        let fault = fault.or_else(|| self.rot_of_volume(id, manifest.image));
        let allocated = match &open {
            Some(volume) => volume.allocated_bytes(),
            None => self.closed_bytes(&manifest.layers),
        };
        let (allocated_bytes, fault) = match allocated {
            Ok(bytes) => (bytes, fault),
            Err(error) => (0, fault.or(Some(error.to_string()))),
        };
        Ok(VolumeInfo {
            id,
            name: manifest.name,
            image: manifest.image,
            size_bytes: manifest.size_bytes,
            allocated_bytes,
            used_bytes: open.as_ref().map_or(allocated_bytes, |volume| volume.used_bytes()),
            quota_bytes: (manifest.quota_bytes > 0).then_some(manifest.quota_bytes),
            reserve_bytes: (manifest.reserve_bytes > 0).then_some(manifest.reserve_bytes),
            created_unix_ms: manifest.created_unix_ms,
            health: fault.map_or(Health::Ok, Health::Critical),
            open: open.is_some(),
        })
    }

    /// Creates a volume; the time it takes does not depend on its size. Durable when it returns.
    pub fn create_volume(&self, new: NewVolume) -> Result<VolumeInfo> {
        self.create_volume_as(self.new_volume_id()?, new)
    }

    /// An identifier for a volume to come, for whoever must write it down before the volume is there.
    pub fn new_volume_id(&self) -> Result<VolumeId> {
        self.context.random_id().map(VolumeId)
    }

    /// Makes a volume with an identifier of [`Store::new_volume_id`], which no other volume has or had.
    pub fn create_volume_as(&self, id: VolumeId, new: NewVolume) -> Result<VolumeInfo> {
        check_name(&new.name)?;
        let size_bytes = self.catalogue.lock().begin_volume(&new)?;
        let placed = self.context.random_id().and_then(|layer| {
            let manifest = VolumeManifest {
                name: new.name.clone(),
                size_bytes,
                created_unix_ms: self.context.disk.unix_ms(),
                image: new.image,
                layers: vec![LayerId(layer)],
                parent: None,
                quota_bytes: 0,
                reserve_bytes: 0,
                deleted: false,
            };
            self.place_volume(id, manifest)
        });
        if placed.is_err() {
            self.catalogue.lock().release_volume_name(&new.name);
        }
        self.volume_info(placed?)
    }

    /// Gives a new volume its place in the catalogue and its first manifest.
    pub(super) fn place_volume(&self, id: VolumeId, manifest: VolumeManifest) -> Result<VolumeId> {
        let context = &self.context;
        let bytes = manifest.pack(FrameKind::Volume, Location { owner: id.0, number: 1 });
        // From here on the catalogue knows that image and layers are in use; until here they may have gone.
        self.catalogue.lock().insert_volume(id, manifest)?;
        let placed = manifests::create(context, &context.volumes_dir(), &context.volume_dir(id), &bytes);
        let Err(failed) = placed else { return Ok(id) };
        let mut catalogue = self.catalogue.lock();
        match catalogue.volumes.get_mut(&id) {
            // It may be there after all: the layers below it stay.
            Some(entry) if failed.unsure => entry.doubt(id),
            _ => drop(catalogue.volumes.remove(&id)),
        }
        Err(failed.error)
    }

    /// Opens a volume, recovering it where that is needed. May take its time: call it where waiting is allowed.
    pub fn open_volume(&self, id: VolumeId) -> Result<Arc<Volume>> {
        let gate = self.gate(id)?;
        let _gate = gate.lock();
        self.open_behind_gate(id)
    }

    /// What is held while a volume is opened, closed or given another shape: one at a time.
    pub(super) fn gate(&self, id: VolumeId) -> Result<Arc<Mutex<()>>> {
        let catalogue = self.catalogue.lock();
        Ok(catalogue.volumes.get(&id).ok_or_else(|| no_volume(id))?.gate.clone())
    }

    pub(super) fn open_behind_gate(&self, id: VolumeId) -> Result<Arc<Volume>> {
        let manifest = {
            let catalogue = self.catalogue.lock();
            let entry = catalogue.volumes.get(&id).ok_or_else(|| no_volume(id))?;
            if let Some(volume) = &entry.open {
                return Ok(volume.clone());
            }
            entry.manifest.clone().map_err(|fault| Error::corrupt(0, fault))?
        };
        let opened = self.open_stack(&manifest);
        let mut catalogue = self.catalogue.lock();
        let entry = catalogue.volumes.get_mut(&id).ok_or_else(|| no_volume(id))?;
        match opened {
            Ok(stack) => {
                let volume = Arc::new(Volume::new(id, &manifest, stack));
                entry.open = Some(volume.clone());
                entry.fault = None;
                drop(catalogue);
                self.sizes.forget(&manifest.layers);
                self.watch_claim(&volume);
                Ok(volume)
            }
            Err(error) => {
                entry.fault = Some(error.to_string());
                Err(error)
            }
        }
    }

    fn open_stack(&self, manifest: &VolumeManifest) -> Result<Stack> {
        let image = manifest.image.map(|image| self.content(image)).transpose()?;
        let no_layers = || Error::new(Kind::Format, "a volume without layers");
        let (top, below) = manifest.layers.split_last().ok_or_else(no_layers)?;
        let below = below.iter().rev().map(|id| self.shared_layer(*id)).collect::<Result<Vec<_>>>()?;
        let (top, _) = Layer::open(&self.context, *top)?;
        Ok(Stack { top, below, image })
    }

    /// A frozen layer, open once however many volumes lie on it.
    pub(crate) fn shared_layer(&self, id: LayerId) -> Result<Arc<Layer>> {
        let _sharing = self.sharing.lock();
        let open = self.catalogue.lock().layers.get(&id).and_then(std::sync::Weak::upgrade);
        if let Some(layer) = open.filter(|layer| !layer.is_poisoned()) {
            return Ok(layer);
        }
        let (layer, _) = Layer::open(&self.context, id)?;
        self.catalogue.lock().layers.insert(id, Arc::downgrade(&layer));
        self.sizes.forget([&id]);
        Ok(layer)
    }

    /// Closes a volume that nobody uses: durable, its map written down. Opening it again reads it anew, which is
    /// also how a poisoned volume comes back.
    pub fn close_volume(&self, id: VolumeId) -> Result<()> {
        // Nobody opens it while it is being written down: a layer has one writer.
        let gate = self.gate(id)?;
        let _gate = gate.lock();
        let Some(volume) = self.take_unused(id)? else { return Ok(()) };
        let written_down = if volume.is_poisoned() { Ok(()) } else { volume.checkpoint() };
        drop(volume);
        if let Ok(manifest) = self.volume_manifest(id) {
            self.sizes.forget(&manifest.layers);
            self.recount_claim(id, &manifest);
        }
        written_down
    }

    /// Takes the open volume out of the catalogue, if it is open; refuses while somebody uses it.
    pub(super) fn take_unused(&self, id: VolumeId) -> Result<Option<Arc<Volume>>> {
        let mut catalogue = self.catalogue.lock();
        let entry = catalogue.volumes.get_mut(&id).ok_or_else(|| no_volume(id))?;
        let Some(volume) = entry.open.take() else { return Ok(None) };
        if Arc::strong_count(&volume) > 1 {
            entry.open = Some(volume);
            return Err(Error::new(Kind::InUse, format!("volume {id} is in use")));
        }
        Ok(Some(volume))
    }

    /// Removes a volume that nobody uses, however large. Its space comes back at once, or soon where it is much.
    pub fn remove_volume(&self, id: VolumeId) -> Result<()> {
        let gate = self.gate(id)?;
        let _gate = gate.lock();
        drop(self.take_unused(id)?);
        if self.is_unreadable(id)? {
            return self.remove_unreadable(id);
        }
        let manifest = self.volume_manifest(id)?;
        let (name, layers) = (manifest.name.clone(), manifest.layers.clone());
        self.replace_volume_manifest(id, VolumeManifest { deleted: true, ..manifest })?;
        let generation = self.generation(id)?;
        let unused = {
            let mut catalogue = self.catalogue.lock();
            catalogue.volumes.remove(&id);
            catalogue.volume_names.remove(&name);
            self.context.room.release(id);
            catalogue.unused(&layers)
        };
        // Where a manifest cannot be read, nobody knows what is in use: the next opening looks again.
        if let Some(layers) = unused {
            let dir = self.context.volume_dir(id);
            self.release(Released { dir, generation, deleted: true, layers });
        }
        Ok(())
    }

    pub(super) fn volume_manifest(&self, volume: VolumeId) -> Result<VolumeManifest> {
        let catalogue = self.catalogue.lock();
        let entry = catalogue.volumes.get(&volume).ok_or_else(|| no_volume(volume))?;
        entry.manifest.clone().map_err(|fault| Error::corrupt(0, fault))
    }

    /// Puts a volume's next manifest in its place. Its gate is held by the caller.
    pub(super) fn replace_volume_manifest(&self, volume: VolumeId, manifest: VolumeManifest) -> Result<()> {
        let old = self.volume_manifest(volume)?;
        let mut generation = self.generation(volume)?;
        let dir = self.context.volume_dir(volume);
        let at = |number| Location { owner: volume.0, number };
        let new = |number| manifest.pack(FrameKind::Volume, at(number));
        let old_bytes = |number| old.pack(FrameKind::Volume, at(number));
        let replaced = manifests::replace(&self.context, &dir, &mut generation, &new, &old_bytes);
        // One that names layers which go now stays until they are gone.
        let releases = manifest.deleted || old.layers.iter().any(|layer| !manifest.layers.contains(layer));
        if replaced.is_ok() && !releases {
            self.forget_older_manifests(&dir, generation);
        }
        let mut catalogue = self.catalogue.lock();
        let entry = catalogue.volumes.get_mut(&volume).ok_or_else(|| no_volume(volume))?;
        entry.generation = generation;
        match replaced {
            Ok(()) => {
                entry.manifest = Ok(manifest);
                Ok(())
            }
            Err(failed) => {
                if failed.unsure {
                    entry.doubt(volume);
                }
                Err(failed.error)
            }
        }
    }

    pub(super) fn generation(&self, volume: VolumeId) -> Result<u64> {
        let catalogue = self.catalogue.lock();
        Ok(catalogue.volumes.get(&volume).ok_or_else(|| no_volume(volume))?.generation)
    }
}

impl Store {
    fn is_unreadable(&self, id: VolumeId) -> Result<bool> {
        let catalogue = self.catalogue.lock();
        let entry = catalogue.volumes.get(&id).ok_or_else(|| no_volume(id))?;
        Ok(entry.manifest.is_err() && !entry.in_doubt)
    }

    /// Removes the manifest of a volume, of which nothing can be read: its layers are not known, and what they hold
    /// stays as an orphan. Its gate is held by the caller.
    fn remove_unreadable(&self, id: VolumeId) -> Result<()> {
        let (disk, dir) = (&self.context.disk, self.context.volume_dir(id));
        let aside = self.context.staging_path()?;
        disk.rename(&dir, &aside).map_err(|error| Error::io("remove", &dir, error))?;
        let parent = self.context.volumes_dir();
        let synced = disk.sync_dir(&parent);
        self.catalogue.lock().volumes.remove(&id);
        synced.map_err(|error| Error::io("sync", &parent, error))?;
        // What cannot be swept now is swept at the next opening.
        drop(remove_tree(&self.context, &aside));
        Ok(())
    }
}

impl VolumeEntry {
    /// Which manifest counts is not known any more: nothing is read or written until the store is opened anew.
    fn doubt(&mut self, id: VolumeId) {
        let fault = format!("volume {id}: its manifest is in doubt; open the store anew");
        if let Some(open) = &self.open {
            open.poison();
        }
        (self.manifest, self.fault, self.in_doubt) = (Err(fault.clone()), Some(fault), true);
    }
}

pub(super) fn no_volume(id: VolumeId) -> Error {
    Error::new(Kind::NotFound, format!("no volume {id}"))
}

fn unreadable(id: VolumeId, fault: Option<String>) -> VolumeInfo {
    VolumeInfo {
        id,
        name: format!("damaged-{id}"),
        image: None,
        size_bytes: 0,
        allocated_bytes: 0,
        used_bytes: 0,
        quota_bytes: None,
        reserve_bytes: None,
        created_unix_ms: 0,
        health: Health::Critical(fault.unwrap_or_default()),
        open: false,
    }
}

impl Catalogue {
    /// Checks everything and takes the name; gives the size.
    fn begin_volume(&mut self, new: &NewVolume) -> Result<u64> {
        let image_bytes = match new.image {
            Some(id) => self.images.get(&id).ok_or_else(|| no_image(id))?.manifest.size_bytes,
            None => 0,
        };
        let size_bytes = check_size(new.size_bytes.unwrap_or(image_bytes), image_bytes)?;
        self.take_volume_name(&new.name)?;
        Ok(size_bytes)
    }

    /// Puts a volume in, if what it is made of is still there.
    fn insert_volume(&mut self, id: VolumeId, manifest: VolumeManifest) -> Result<()> {
        if self.volumes.contains_key(&id) {
            return Err(Error::new(Kind::Exists, format!("volume {id} exists")));
        }
        if let Some(image) = manifest.image
            && !self.images.contains_key(&image)
        {
            return Err(no_image(image));
        }
        let shared = manifest.layers.split_last().map_or(&[][..], |(_, below)| below);
        if !shared.is_empty() {
            let used = self.layers_in_use();
            if !shared.iter().all(|layer| used.as_ref().is_none_or(|used| used.contains(layer))) {
                return Err(Error::new(Kind::NotFound, "the snapshot was removed meanwhile"));
            }
        }
        let manifest = Ok(manifest);
        let (gate, fault, in_doubt) = (Arc::default(), None, false);
        let entry = VolumeEntry { manifest, generation: 1, open: None, gate, fault, in_doubt };
        self.volumes.insert(id, entry);
        Ok(())
    }
}

pub(super) fn check_size(size_bytes: u64, image_bytes: u64) -> Result<u64> {
    let refuse = |message: String| Err(Error::new(Kind::Invalid, message));
    if size_bytes == 0 {
        return refuse("a volume without a golden image needs a size".to_owned());
    }
    if size_bytes < image_bytes {
        return refuse(format!("{size_bytes} bytes are fewer than the {image_bytes} of the golden image"));
    }
    if !size_bytes.is_multiple_of(SECTOR_BYTES) {
        return refuse(format!("a size of {size_bytes} bytes is no multiple of {SECTOR_BYTES}"));
    }
    if size_bytes > VOLUME_BYTES_MAX {
        return refuse(format!("{size_bytes} bytes are more than the largest volume, {VOLUME_BYTES_MAX}"));
    }
    Ok(size_bytes)
}
