//! Repairing: a new store beside the damaged one, of all that is sound. What is lost reads as an error there,
//! never as something else.
//!
//! - A lost block of a layer becomes a block that says so, under a checksum that it does not have.
//! - A lost chunk of an image stays a hole, under the digest that its content had, or one that nothing has.
//! - A volume of which it is not known which blocks are an older state gets the name `doubtful-…`.
//! - A layer that no manifest names becomes a volume `recovered-…`, on an image of which everything is lost.
//!
//! The file `STORE` is written last: what a repair that was cut short leaves is no store.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    path::Path,
    sync::Arc,
};

use sha2::{Digest, Sha256};

use super::{
    Offline,
    catalogue::{self, Catalogue},
    check::Meter,
    golden::{Chunk, Golden},
    layer::{self, LayerMap},
    lost,
    ranges::Ranges,
    report::{Owner, Report},
};
use crate::{
    context::Context,
    error::{Error, Kind, Result},
    format::{
        frame::{self, FrameKind, Location},
        manifest::{ImageManifest, VolumeManifest},
    },
    ids::{ImageId, LayerId, StoreId, VolumeId},
    image::{
        digests::Digests,
        import::{Import, Progress},
    },
    layer::{Layer, WriteGuard},
    limits::{BLOCK_BYTES, BLOCK_LEN, CHUNK_BYTES, NAME_CHARS_MAX},
    room::Room,
    store::create_manifest,
};

/// Most chunks of an image of which everything is lost: 1 TiB.
const LOST_CHUNKS_MAX: u64 = 1 << 24;

/// What a repair made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// A check of the new store, data included: every finding is something that is lost.
    pub report: Report,
    /// What could not be settled, or could not be taken over: a line each.
    pub notes: Vec<String>,
}

/// A repair under way.
struct Repair<'a> {
    old: &'a Offline,
    new: Arc<Context>,
    catalogue: Catalogue,
    meter: Meter<'a>,
    notes: Vec<String>,
    /// Layers of which it is not known which blocks are an older state.
    doubtful: BTreeSet<LayerId>,
    /// Images of the new store, and their sizes.
    images: BTreeMap<ImageId, u64>,
    names: BTreeSet<String>,
}

impl Offline {
    /// Builds a new store in `to`, which must not be there yet, of all that is sound in this one.
    pub fn repair(&self, to: &Path, progress: Progress<'_>) -> Result<Repaired> {
        let catalogue = catalogue::read(&self.context)?;
        let total = 2 * self.data_bytes(&catalogue);
        let new = self.new_store(to, &catalogue)?;
        let _lock = new.disk.lock(&to.join("LOCK")).map_err(|error| Error::io("lock", to, error))?;
        let mut repair = Repair {
            old: self,
            new,
            catalogue,
            meter: Meter { done: 0, total, tell: progress },
            notes: Vec::new(),
            doubtful: BTreeSet::new(),
            images: BTreeMap::new(),
            names: BTreeSet::new(),
        };
        repair.images()?;
        repair.layers()?;
        repair.disks()?;
        repair.orphans()?;
        repair.finish()
    }

    /// The directories of a new store, without `STORE`.
    fn new_store(&self, to: &Path, catalogue: &Catalogue) -> Result<Arc<Context>> {
        let disk = &self.context.disk;
        if to.starts_with(&self.context.root) {
            let message = format!("{} lies inside the store that is to be repaired", to.display());
            return Err(Error::new(Kind::Invalid, message));
        }
        disk.create_dir(to).map_err(|error| Error::io("create", to, error))?;
        let store = match catalogue.store {
            Ok(id) => id,
            Err(_) => StoreId(self.context.random_id()?),
        };
        let context = Context {
            disk: disk.clone(),
            root: to.to_owned(),
            store,
            boot: self.context.boot,
            geometry: self.context.geometry,
            room: Room::default(),
        };
        for name in ["images", "golden", "volumes", "snapshots", "layers", "staging"] {
            let dir = to.join(name);
            disk.create_dir(&dir).map_err(|error| Error::io("create", &dir, error))?;
        }
        Ok(Arc::new(context))
    }
}

impl Repair<'_> {
    /// Golden images: those with a manifest, and in place of those that are gone ones that read as errors.
    fn images(&mut self) -> Result<()> {
        let live: Vec<_> =
            self.catalogue.live_images().map(|(id, manifest)| (id, manifest.clone())).collect();
        let mut copied: BTreeMap<[u8; 32], [u8; 32]> = BTreeMap::new();
        for (id, manifest) in live {
            let digest = match copied.get(&manifest.digest) {
                Some(digest) => *digest,
                None => match self.copy_content(&manifest)? {
                    Some(digest) => digest,
                    None => continue,
                },
            };
            copied.insert(manifest.digest, digest);
            self.image(id, ImageManifest { digest, ..manifest })?;
        }
        let mut gone: BTreeMap<ImageId, u64> = BTreeMap::new();
        for disk in self.catalogue.disks() {
            if let Some(id) = disk.manifest.image.filter(|id| !self.images.contains_key(id)) {
                let size = gone.entry(id).or_default();
                *size = disk.manifest.size_bytes.max(*size);
            }
        }
        gone.into_iter().try_for_each(|(id, size_bytes)| self.lost_image(id, size_bytes))
    }

    fn image(&mut self, id: ImageId, manifest: ImageManifest) -> Result<()> {
        let bytes = manifest.pack(Location { owner: id.0, number: 1 });
        create_manifest(&self.new, &self.new.images_dir(), &self.new.image_dir(id), &bytes)?;
        self.images.insert(id, manifest.size_bytes);
        Ok(())
    }

    /// Copies what is sound of an image's content; gives the digest of the copy. `None` where more is lost than can
    /// be marked chunk by chunk.
    fn copy_content(&mut self, manifest: &ImageManifest) -> Result<Option<[u8; 32]>> {
        let mut golden = Golden::open(&self.old.context, &manifest.digest, manifest.size_bytes);
        golden.rebuild_digests();
        if golden.missing_chunks().total() > LOST_CHUNKS_MAX {
            self.notes
                .push(format!("golden image `{}` is lost but for its beginning: left out", manifest.name));
            return Ok(None);
        }
        let import = Import::begin(&self.new, &manifest.name)?;
        import.set_len(manifest.size_bytes)?;
        let mut digests = Digests::new(manifest.size_bytes);
        let mut buffer = Vec::new();
        for chunk in golden.data_chunks().iter().flatten() {
            match golden.read(chunk, &mut buffer) {
                Chunk::Sound => {
                    import.write_at(chunk * CHUNK_BYTES, &buffer)?;
                    digests.push(chunk, Sha256::digest(&buffer).into());
                }
                Chunk::Zeros => {}
                Chunk::Lost => digests.push(chunk, golden.sum(chunk).unwrap_or(lost::DIGEST)),
            }
            self.meter.add(CHUNK_BYTES)?;
        }
        import.sync()?;
        import.place(&digests)?;
        Ok(Some(digests.root()))
    }

    /// An image of which everything is lost.
    fn lost_image(&mut self, id: ImageId, size_bytes: u64) -> Result<()> {
        let name = self.free_name(&format!("lost-{}", short(&id)));
        let chunks = size_bytes.div_ceil(CHUNK_BYTES);
        if chunks > LOST_CHUNKS_MAX {
            self.notes
                .push(format!("golden image {id} is gone; its volumes cannot be opened, only exported"));
            return Ok(());
        }
        let import = Import::begin(&self.new, &name)?;
        import.set_len(size_bytes)?;
        let mut digests = Digests::new(size_bytes);
        (0..chunks).for_each(|chunk| digests.push(chunk, lost::DIGEST));
        import.sync()?;
        import.place(&digests)?;
        self.notes.push(format!("golden image {id} is gone: `{name}` stands for it, and reads as errors"));
        let manifest = ImageManifest {
            name,
            size_bytes,
            created_unix_ms: self.new.disk.unix_ms(),
            digest: digests.root(),
            source_format: "lost".to_owned(),
            deleted: false,
        };
        self.image(id, manifest)
    }

    /// Every layer that a manifest names.
    fn layers(&mut self) -> Result<()> {
        let used: BTreeSet<LayerId> =
            self.catalogue.disks().into_iter().flat_map(|disk| disk.manifest.layers).collect();
        for id in used {
            let map = layer::read(&self.old.context, id)?;
            self.layer(&map)?;
        }
        Ok(())
    }

    fn layer(&mut self, map: &LayerMap) -> Result<()> {
        for fault in map.faults.iter().filter(|fault| fault.unlocated) {
            self.notes.push(format!(
                "{}: {}: some blocks show an older state, and which ones cannot be known",
                fault.path.display(),
                fault.problem
            ));
            self.doubtful.insert(map.id);
        }
        if map.index.is_empty() && map.lost.is_empty() {
            return Ok(());
        }
        let (layer, _) = Layer::open(&self.new, map.id)?;
        let guard = layer.write_guard()?;
        let mut guard = guard.ok_or_else(|| Error::new(Kind::Invalid, "a new layer is frozen"))?;
        for (start, end) in map.index.zeros().ranges() {
            guard.trim(u32::try_from(start).unwrap_or(u32::MAX), end - start)?;
        }
        let mut lost = map.lost.clone();
        self.runs(map, &mut guard, &mut lost)?;
        write_lost(&mut guard, &lost)?;
        drop(guard);
        layer.checkpoint()
    }

    /// Writes every run that is sound; what is not is added to `lost`.
    fn runs(&mut self, map: &LayerMap, guard: &mut WriteGuard<'_>, lost: &mut Ranges) -> Result<()> {
        let mut buffer = Vec::new();
        for run in map.index.runs() {
            let Some(scan) = map.segment(run.place.slot) else { continue };
            let (mut lba, mut block) = (run.lba, u32::from(run.place.block));
            for crcs in run.crcs.chunks(guard.blocks_max()) {
                let good = scan.verify(block, crcs, &mut buffer);
                let mut at = 0;
                for same in good.chunk_by(|a, b| a == b) {
                    let (first, blocks) = (lba + at, u32::try_from(same.len()).unwrap_or(0));
                    let here = at as usize..(at + blocks) as usize;
                    match same[0] {
                        true => {
                            let bytes = here.start * BLOCK_LEN..here.end * BLOCK_LEN;
                            guard.write(first, &[&buffer[bytes]], &crcs[here])?;
                        }
                        false => lost.add(u64::from(first)..u64::from(first) + u64::from(blocks)),
                    }
                    at += blocks;
                }
                lba = lba.wrapping_add(at);
                block += at;
                self.meter.add(u64::from(at) * BLOCK_BYTES)?;
            }
        }
        Ok(())
    }

    /// Volumes and snapshots, under their names and identifiers.
    fn disks(&mut self) -> Result<()> {
        for disk in self.catalogue.disks() {
            let mut manifest = disk.manifest;
            let older = self.catalogue.is_older(&disk.owner);
            let doubtful = manifest.layers.iter().any(|id| self.doubtful.contains(id));
            if older {
                self.notes.push(format!("{}: only an older manifest is sound", disk.owner));
            }
            if older || doubtful {
                manifest.name = self.free_name(&format!("doubtful-{}", manifest.name));
            }
            self.names.insert(manifest.name.clone());
            match disk.owner {
                Owner::Snapshot { id, .. } => {
                    let bytes = manifest.pack(FrameKind::Snapshot, Location { owner: id.0, number: 1 });
                    let (parent, dir) = (self.new.snapshots_dir(), self.new.snapshot_dir(id));
                    create_manifest(&self.new, &parent, &dir, &bytes)?;
                }
                Owner::Volume { id, .. } => self.volume(id, &manifest)?,
                Owner::Image { .. } | Owner::Layer { .. } => {}
            }
        }
        Ok(())
    }

    fn volume(&self, id: VolumeId, manifest: &VolumeManifest) -> Result<()> {
        let bytes = manifest.pack(FrameKind::Volume, Location { owner: id.0, number: 1 });
        create_manifest(&self.new, &self.new.volumes_dir(), &self.new.volume_dir(id), &bytes)?;
        Ok(())
    }

    /// Layers that no manifest names: a volume each, on an image of which everything is lost.
    fn orphans(&mut self) -> Result<()> {
        for id in self.catalogue.orphans() {
            let map = layer::read(&self.old.context, id)?;
            let size_bytes = map.end() * BLOCK_BYTES;
            if size_bytes == 0 {
                continue;
            }
            self.layer(&map)?;
            let image = ImageId(self.new.random_id()?);
            self.lost_image(image, size_bytes)?;
            let name = self.free_name(&format!("recovered-{}", short(&id)));
            self.notes.push(format!(
                "layer {id} belongs to no volume that is known: it is volume `{name}`; what it does not hold reads as errors, and its size is a guess"
            ));
            let manifest = VolumeManifest {
                name,
                size_bytes,
                created_unix_ms: self.new.disk.unix_ms(),
                image: Some(image),
                layers: vec![id],
                parent: None,
                quota_bytes: 0,
                reserve_bytes: 0,
                deleted: false,
            };
            self.volume(VolumeId(self.new.random_id()?), &manifest)?;
        }
        for path in self.catalogue.hopeless() {
            self.notes.push(format!("{}: nothing of this manifest can be read", path.display()));
        }
        Ok(())
    }

    /// Makes it a store, and checks it.
    fn finish(mut self) -> Result<Repaired> {
        let (disk, root) = (&self.new.disk, &self.new.root);
        let io = |error| Error::io("write", root, error);
        for name in ["images", "golden", "volumes", "snapshots", "layers"] {
            disk.sync_dir(&root.join(name)).map_err(io)?;
        }
        let location = Location { owner: [0; 16], number: 0 };
        let file = disk.create(&root.join("STORE")).map_err(io)?;
        file.write_at(0, &[&frame::pack(FrameKind::Store, location, &self.new.store.0)]).map_err(io)?;
        file.sync_data().map_err(io)?;
        disk.sync_dir(root).map_err(io)?;
        let made = Offline { context: self.new.clone(), _lock: None };
        let (base, total) = (self.meter.done, self.meter.total);
        let tell = &mut self.meter.tell;
        let mut onward = |done: u64, _: u64| -> ControlFlow<()> { tell(base + done, total.max(base + done)) };
        let report = made.check(true, &mut onward)?;
        Ok(Repaired { report, notes: self.notes })
    }

    /// The name, cut to what a name may be, or with a number where it is taken.
    fn free_name(&mut self, wanted: &str) -> String {
        let cut = |text: &str, chars: usize| text.chars().take(chars).collect::<String>();
        let taken: BTreeSet<String> =
            self.catalogue.disks().into_iter().map(|disk| disk.manifest.name).collect();
        let mut name = cut(wanted, NAME_CHARS_MAX);
        for n in 2.. {
            if !taken.contains(&name) && self.names.insert(name.clone()) {
                break;
            }
            name = format!("{}-{n}", cut(wanted, NAME_CHARS_MAX - 8));
        }
        name
    }
}

/// Puts blocks that can never be read in the place of what is lost.
fn write_lost(guard: &mut WriteGuard<'_>, lost: &Ranges) -> Result<()> {
    let (block, crc) = (lost::block(), lost::crc());
    for range in lost.iter() {
        let mut lba = range.start;
        while lba < range.end {
            let blocks = guard.blocks_max().min(usize::try_from(range.end - lba).unwrap_or(usize::MAX));
            let first = u32::try_from(lba).map_err(|_| Error::new(Kind::OutOfRange, "block past 2^32"))?;
            guard.write(first, &vec![&block[..]; blocks], &vec![crc; blocks])?;
            lba += blocks as u64;
        }
    }
    Ok(())
}

fn short(id: &impl std::fmt::Display) -> String {
    id.to_string().chars().take(8).collect()
}
