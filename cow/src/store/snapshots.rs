//! Snapshots: the layers of a volume as they were, under a name of their own.
//!
//! Taking one costs the same whatever the volume holds, and the volume stays in use. The order is what makes it
//! safe: first the volume's manifest names a new, empty layer on top; then the writers move there; then the layer
//! below is made durable; then the snapshot's manifest names it. A crash at any point leaves the volume whole,
//! with one layer more than it needs at worst.

use std::sync::Arc;

use super::{
    Catalogue, SnapshotEntry, Store, VolumeEntry, check_name, manifests, release::Released,
    still::is_unlisted,
};
use crate::{
    error::{Error, Kind, Result},
    format::{
        frame::{FrameKind, Location},
        manifest::VolumeManifest,
    },
    ids::{LayerId, SnapshotId, VolumeId},
    layer::Layer,
    limits::LAYERS_MAX,
};

/// A snapshot, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its identifier.
    pub id: SnapshotId,
    /// Its name, unique among those of its volume.
    pub name: String,
    /// The volume it was taken of, which may be gone.
    pub volume: Option<VolumeId>,
    /// Size of the volume then.
    pub size_bytes: u64,
    /// Milliseconds since 1970.
    pub created_unix_ms: u64,
}

impl Store {
    /// All snapshots, by time, but for those that belong to a [`super::Still`].
    pub fn snapshots(&self) -> Vec<SnapshotInfo> {
        let catalogue = self.catalogue.lock();
        let mut infos: Vec<_> = listed(&catalogue).map(|(id, entry)| info(*id, &entry.manifest)).collect();
        infos.sort_by_key(|info| (info.created_unix_ms, info.id));
        infos
    }

    /// Takes a snapshot of a volume, in use or not. Everything acknowledged before the call is in it, and durable.
    pub fn snapshot(&self, volume: VolumeId, name: &str) -> Result<SnapshotInfo> {
        check_name(name)?;
        self.take_snapshot(volume, name)
    }

    /// The same under any name.
    pub(super) fn take_snapshot(&self, volume: VolumeId, name: &str) -> Result<SnapshotInfo> {
        let gate = self.gate(volume)?;
        let _gate = gate.lock();
        let open = self.open_behind_gate(volume)?;
        let manifest = self.volume_manifest(volume)?;
        let same =
            |entry: &SnapshotEntry| entry.manifest.parent == Some(volume) && entry.manifest.name == name;
        if self.catalogue.lock().snapshots.values().any(same) {
            return Err(Error::new(
                Kind::Exists,
                format!("volume `{}` has a snapshot `{name}`", manifest.name),
            ));
        }
        if manifest.layers.len() + 1 >= LAYERS_MAX {
            let message =
                format!("volume `{}` has {} layers; remove snapshots first", manifest.name, LAYERS_MAX);
            return Err(Error::new(Kind::Invalid, message));
        }
        let id = SnapshotId(self.context.random_id()?);
        let above = LayerId(self.context.random_id()?);
        let mut layers = manifest.layers.clone();
        let snapshot = VolumeManifest {
            name: name.to_owned(),
            created_unix_ms: self.context.disk.unix_ms(),
            parent: Some(volume),
            layers: layers.clone(),
            reserve_bytes: 0,
            ..manifest.clone()
        };
        layers.push(above);
        self.replace_volume_manifest(volume, VolumeManifest { layers, ..manifest })?;
        let (above, _) = Layer::open(&self.context, above)?;
        let frozen = open.put_on_top(above)?;
        self.catalogue.lock().layers.insert(frozen.id, Arc::downgrade(&frozen));
        // Not only the layer that was frozen now: an earlier snapshot may have been cut short before its flush.
        open.flush()?;
        self.place_snapshot(id, snapshot)
    }

    fn place_snapshot(&self, id: SnapshotId, manifest: VolumeManifest) -> Result<SnapshotInfo> {
        let context = &self.context;
        let bytes = manifest.pack(FrameKind::Snapshot, Location { owner: id.0, number: 1 });
        let placed = manifests::create(context, &context.snapshots_dir(), &context.snapshot_dir(id), &bytes);
        let told = info(id, &manifest);
        // Where it may be there after all, its layers stay.
        if placed.as_ref().err().is_none_or(|failed| failed.unsure) {
            let in_doubt = placed.is_err();
            self.catalogue.lock().snapshots.insert(id, SnapshotEntry { manifest, generation: 1, in_doubt });
        }
        placed?;
        Ok(told)
    }

    /// The layers of a snapshot, from the top down.
    pub(crate) fn snapshot_layers(&self, id: SnapshotId) -> Result<Vec<LayerId>> {
        let catalogue = self.catalogue.lock();
        let entry = catalogue.snapshots.get(&id).ok_or_else(|| no_snapshot(id))?;
        Ok(entry.manifest.layers.iter().rev().copied().collect())
    }

    /// Removes a snapshot. Volumes that were cloned from it keep what they need of it.
    pub fn remove_snapshot(&self, id: SnapshotId) -> Result<()> {
        let mut catalogue = self.catalogue.lock();
        let entry = catalogue.snapshots.get_mut(&id).ok_or_else(|| no_snapshot(id))?;
        let old = entry.manifest.clone();
        let manifest = VolumeManifest { deleted: true, ..old.clone() };
        let dir = self.context.snapshot_dir(id);
        let at = |number| Location { owner: id.0, number };
        let new = |number| manifest.pack(FrameKind::Snapshot, at(number));
        let old = |number| old.pack(FrameKind::Snapshot, at(number));
        let replaced = manifests::replace(&self.context, &dir, &mut entry.generation, &new, &old);
        if let Err(failed) = replaced {
            entry.in_doubt |= failed.unsure;
            return Err(failed.error);
        }
        let generation = entry.generation;
        catalogue.snapshots.remove(&id);
        let unused = catalogue.unused(&manifest.layers);
        drop(catalogue);
        // Where a manifest cannot be read, nobody knows what is in use: the next opening looks again.
        if let Some(layers) = unused {
            self.release(Released { dir, generation, deleted: true, layers });
        }
        Ok(())
    }

    /// Creates a volume that begins as a snapshot was. Durable when it returns.
    pub fn clone_snapshot(&self, id: SnapshotId, name: &str) -> Result<super::VolumeInfo> {
        self.clone_snapshot_as(self.new_volume_id()?, id, name)
    }

    /// The same, with an identifier of [`Store::new_volume_id`].
    pub fn clone_snapshot_as(
        &self,
        volume: VolumeId,
        id: SnapshotId,
        name: &str,
    ) -> Result<super::VolumeInfo> {
        check_name(name)?;
        let snapshot = {
            let mut catalogue = self.catalogue.lock();
            let entry = catalogue.snapshots.get(&id).ok_or_else(|| no_snapshot(id))?;
            let snapshot = entry.manifest.clone();
            catalogue.take_volume_name(name)?;
            snapshot
        };
        let placed = self.place_clone(volume, name, snapshot);
        if placed.is_err() {
            self.catalogue.lock().release_volume_name(name);
        }
        self.volume_info(placed?)
    }

    fn place_clone(&self, id: VolumeId, name: &str, snapshot: VolumeManifest) -> Result<VolumeId> {
        let mut layers = snapshot.layers;
        if layers.len() >= LAYERS_MAX {
            return Err(Error::new(Kind::Invalid, format!("the snapshot has {LAYERS_MAX} layers already")));
        }
        layers.push(LayerId(self.context.random_id()?));
        let created_unix_ms = self.context.disk.unix_ms();
        let name = name.to_owned();
        let manifest = VolumeManifest { name, created_unix_ms, layers, parent: None, ..snapshot };
        self.place_volume(id, manifest)
    }

    /// Merges layers of a volume that no snapshot and no other volume needs any more, in use or not; gives how many
    /// went. What it copies is what the layer below the top holds and the top does not hide.
    pub fn merge_layers(&self, volume: VolumeId) -> Result<usize> {
        let gate = self.gate(volume)?;
        let _gate = gate.lock();
        let mut merged = 0;
        loop {
            let manifest = self.volume_manifest(volume)?;
            let Some(below) = manifest.layers.iter().rev().nth(1).copied() else { return Ok(merged) };
            if self.catalogue.lock().users_of(below) != Some(1) {
                return Ok(merged);
            }
            let open = self.open_behind_gate(volume)?;
            if open.absorb_below()? != Some(below) {
                return Ok(merged);
            }
            let layers = manifest.layers.iter().copied().filter(|layer| *layer != below).collect();
            self.replace_volume_manifest(volume, VolumeManifest { layers, ..manifest })?;
            open.drop_below(below)?;
            self.release_of_volume(volume, vec![below])?;
            merged += 1;
        }
    }

    /// Takes a volume that nobody uses back to a snapshot. What was written since is lost; its size stays.
    pub fn roll_back(&self, volume: VolumeId, id: SnapshotId) -> Result<()> {
        let gate = self.gate(volume)?;
        let _gate = gate.lock();
        let manifest = self.volume_manifest(volume)?;
        let snapshot = {
            let catalogue = self.catalogue.lock();
            catalogue.snapshots.get(&id).ok_or_else(|| no_snapshot(id))?.manifest.clone()
        };
        if snapshot.parent != Some(volume) {
            let message = format!("snapshot `{}` is not one of volume `{}`", snapshot.name, manifest.name);
            return Err(Error::new(Kind::Invalid, message));
        }
        drop(self.take_unused(volume)?);
        let mut layers = snapshot.layers;
        layers.push(LayerId(self.context.random_id()?));
        let old = manifest.layers.clone();
        self.replace_volume_manifest(volume, VolumeManifest { layers, ..manifest })?;
        self.recount_claim(volume, &self.volume_manifest(volume)?);
        let unused = self.catalogue.lock().unused(&old);
        unused.map_or(Ok(()), |layers| self.release_of_volume(volume, layers))
    }

    /// Layers that the volume's newest manifest no longer names, and that nothing else does.
    fn release_of_volume(&self, volume: VolumeId, layers: Vec<LayerId>) -> Result<()> {
        let (dir, generation) = (self.context.volume_dir(volume), self.generation(volume)?);
        self.release(Released { dir, generation, deleted: false, layers });
        Ok(())
    }

    /// Makes a volume larger, in use or not. What is added reads zeros.
    pub fn grow_volume(&self, volume: VolumeId, size_bytes: u64) -> Result<()> {
        let gate = self.gate(volume)?;
        let _gate = gate.lock();
        let manifest = self.volume_manifest(volume)?;
        if size_bytes < manifest.size_bytes {
            let message =
                format!("volume `{}` has {} bytes and cannot shrink", manifest.name, manifest.size_bytes);
            return Err(Error::new(Kind::Invalid, message));
        }
        super::volumes::check_size(size_bytes, 0)?;
        self.replace_volume_manifest(volume, VolumeManifest { size_bytes, ..manifest })?;
        if let Some(open) = self.catalogue.lock().volumes.get(&volume).and_then(|entry| entry.open.clone()) {
            open.set_size(size_bytes);
        }
        Ok(())
    }
}

fn info(id: SnapshotId, manifest: &VolumeManifest) -> SnapshotInfo {
    SnapshotInfo {
        id,
        name: manifest.name.clone(),
        volume: manifest.parent,
        size_bytes: manifest.size_bytes,
        created_unix_ms: manifest.created_unix_ms,
    }
}

fn listed(catalogue: &Catalogue) -> impl Iterator<Item = (&SnapshotId, &SnapshotEntry)> {
    catalogue.snapshots.iter().filter(|(_, entry)| !is_unlisted(&entry.manifest))
}

pub(super) fn no_snapshot(id: SnapshotId) -> Error {
    Error::new(Kind::NotFound, format!("no snapshot {id}"))
}

impl Catalogue {
    /// Which of these layers no manifest names; `None` when a manifest cannot be read.
    pub(super) fn unused(&self, layers: &[LayerId]) -> Option<Vec<LayerId>> {
        let used = self.layers_in_use()?;
        Some(layers.iter().copied().filter(|layer| !used.contains(layer)).collect())
    }

    /// How many volumes and snapshots name a layer; `None` when a manifest cannot be read.
    fn users_of(&self, layer: LayerId) -> Option<usize> {
        let names = |manifest: &VolumeManifest| usize::from(manifest.layers.contains(&layer));
        let snapshots: usize = self.snapshots.values().map(|entry| names(&entry.manifest)).sum();
        let volumes = self.volumes.values().map(|entry| entry.manifest.as_ref().ok().map(names));
        Some(snapshots + volumes.sum::<Option<usize>>()?)
    }

    pub(super) fn take_volume_name(&mut self, name: &str) -> Result<()> {
        if self.volume_names.insert(name.to_owned()) {
            return Ok(());
        }
        Err(Error::new(Kind::Exists, format!("a volume `{name}` exists")))
    }

    /// Gives back a name whose volume did not come to be. While it is not known of some volume whether it did, or
    /// what its name is, the name stays taken.
    pub(super) fn release_volume_name(&mut self, name: &str) {
        let free = |entry: &VolumeEntry| entry.manifest.as_ref().is_ok_and(|manifest| manifest.name != name);
        if self.volumes.values().all(free) {
            self.volume_names.remove(name);
        }
    }
}
