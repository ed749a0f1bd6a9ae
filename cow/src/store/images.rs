//! Golden images of a store.

use std::sync::{Arc, Weak};

use super::{Catalogue, Health, ImageEntry, Store, check_name, manifests};
use crate::{
    error::{Error, Kind, Result},
    format::{frame::Location, manifest::ImageManifest},
    ids::ImageId,
    image::{
        Image, content_dir, hex,
        import::{Import, Progress, remove_tree},
    },
};

/// A golden image, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// Its identifier.
    pub id: ImageId,
    /// Its unique name.
    pub name: String,
    /// Size of the disk it is an image of.
    pub size_bytes: u64,
    /// Bytes that its content takes on disk; images of the same content share them.
    pub allocated_bytes: u64,
    /// SHA-256 over size and chunk digests, in hex.
    pub digest: String,
    /// What it was imported from, such as `qcow2`.
    pub source_format: String,
    /// Milliseconds since 1970.
    pub created_unix_ms: u64,
    /// Volumes and snapshots that live on it.
    pub volumes: usize,
    /// Whether its content can be trusted.
    pub health: Health,
}

impl Store {
    /// All golden images, by name.
    pub fn images(&self) -> Result<Vec<ImageInfo>> {
        let found: Vec<(ImageId, ImageManifest, usize)> = {
            let catalogue = self.catalogue.lock();
            let info = |(id, entry): (&ImageId, &ImageEntry)| {
                (*id, entry.manifest.clone(), catalogue.volumes_of(*id))
            };
            catalogue.images.iter().map(info).collect()
        };
        let info = |(id, manifest, volumes)| self.image_info(id, manifest, volumes);
        let mut infos: Vec<_> = found.into_iter().map(info).collect();
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(infos)
    }

    /// Begins to import an image under a name that nobody has.
    pub fn begin_import(&self, name: &str) -> Result<Import> {
        check_name(name)?;
        self.catalogue.lock().image_name_is_free(name)?;
        Import::begin(&self.context, name)
    }

    /// Hashes what was imported, makes it durable and gives it its place and name.
    pub fn finish_import(
        &self,
        import: Import,
        source_format: &str,
        progress: Progress<'_>,
    ) -> Result<ImageInfo> {
        let (size_bytes, digests) = import.digest(progress)?;
        self.catalogue.lock().take_image_name(&import.name)?;
        let result = self.place_import(&import, source_format, size_bytes, &digests);
        self.catalogue.lock().image_names.remove(&import.name);
        let (id, manifest) = result?;
        Ok(self.image_info(id, manifest, 0))
    }

    fn place_import(
        &self,
        import: &Import,
        source_format: &str,
        size_bytes: u64,
        digests: &crate::image::digests::Digests,
    ) -> Result<(ImageId, ImageManifest)> {
        let _placing = self.placing.lock();
        import.place(digests)?;
        let id = ImageId(self.context.random_id()?);
        let manifest = ImageManifest {
            name: import.name.clone(),
            size_bytes,
            created_unix_ms: self.context.disk.unix_ms(),
            digest: digests.root(),
            source_format: source_format.chars().take(32).collect(),
            deleted: false,
        };
        let bytes = manifest.pack(Location { owner: id.0, number: 1 });
        let placed =
            manifests::create(&self.context, &self.context.images_dir(), &self.context.image_dir(id), &bytes);
        let mut catalogue = self.catalogue.lock();
        if let Err(failed) = placed {
            if !failed.unsure {
                self.sweep_content(&catalogue, &manifest.digest);
            }
            return Err(failed.error);
        }
        let entry = ImageEntry { manifest: manifest.clone(), generation: 1, content: Weak::new() };
        catalogue.images.insert(id, entry);
        Ok((id, manifest))
    }

    /// Removes an image that no volume lives on.
    pub fn remove_image(&self, id: ImageId) -> Result<()> {
        let _placing = self.placing.lock();
        let mut catalogue = self.catalogue.lock();
        let users = catalogue.volumes_of(id);
        let entry = catalogue.images.get_mut(&id).ok_or_else(|| no_image(id))?;
        if users > 0 {
            let message = format!(
                "golden image `{}` is in use by {users} volume(s) or snapshot(s)",
                entry.manifest.name
            );
            return Err(Error::new(Kind::InUse, message));
        }
        let old = entry.manifest.clone();
        let manifest = ImageManifest { deleted: true, ..old.clone() };
        let dir = self.context.image_dir(id);
        let at = |number| Location { owner: id.0, number };
        let (new, old) = (|number| manifest.pack(at(number)), |number| old.pack(at(number)));
        let replaced = manifests::replace(&self.context, &dir, &mut entry.generation, &new, &old);
        let generation = entry.generation;
        if let Err(failed) = replaced {
            if failed.unsure {
                // Nobody may build on it until the next opening knows.
                catalogue.images.remove(&id);
            }
            return Err(failed.error);
        }
        catalogue.images.remove(&id);
        self.sweep_content(&catalogue, &manifest.digest);
        // It is removed; what cannot be swept now is swept at the next opening.
        drop(manifests::discard(&self.context, &dir, generation));
        Ok(())
    }

    /// The content of an image, open; shared by all its volumes.
    pub(crate) fn content(&self, id: ImageId) -> Result<Arc<Image>> {
        let mut catalogue = self.catalogue.lock();
        let entry = catalogue.images.get_mut(&id).ok_or_else(|| no_image(id))?;
        if let Some(image) = entry.content.upgrade() {
            return Ok(image);
        }
        let image =
            Arc::new(Image::open(&self.context, id, &entry.manifest.digest, entry.manifest.size_bytes)?);
        entry.content = Arc::downgrade(&image);
        Ok(image)
    }

    /// Removes content that no image has, if it can be removed; otherwise the next opening sweeps it.
    fn sweep_content(&self, catalogue: &Catalogue, digest: &[u8; 32]) {
        if !catalogue.images.values().any(|entry| entry.manifest.digest == *digest) {
            // Moved away first: the same content may come in again, and must not find a part of this.
            let dir = content_dir(&self.context, digest);
            let Ok(aside) = self.context.staging_path() else { return };
            if self.context.disk.rename(&dir, &aside).is_ok() {
                drop(remove_tree(&self.context, &aside));
            }
        }
    }

    /// One image whose content is not there, or cannot be looked at, says so and hides no other.
    fn image_info(&self, id: ImageId, manifest: ImageManifest, volumes: usize) -> ImageInfo {
        let allocated = self.content_bytes(&manifest.digest);
        let missing = allocated.as_ref().err().map(|error| format!("golden image: its content: {error}"));
        ImageInfo {
            id,
            name: manifest.name,
            size_bytes: manifest.size_bytes,
            allocated_bytes: allocated.unwrap_or(0),
            digest: hex(&manifest.digest),
            source_format: manifest.source_format,
            created_unix_ms: manifest.created_unix_ms,
            volumes,
            health: missing.or_else(|| self.rot_of_image(id)).map_or(Health::Ok, Health::Critical),
        }
    }

    /// Bytes that an image's content takes on disk.
    pub(super) fn content_bytes(&self, digest: &[u8; 32]) -> Result<u64> {
        let dir = content_dir(&self.context, digest);
        ["image.raw", "digests"].iter().try_fold(0, |sum, name| {
            let path = dir.join(name);
            let bytes = self.context.disk.open(&path, false).and_then(|file| file.allocated_bytes());
            Ok(sum + bytes.map_err(|error| Error::io("stat", &path, error))?)
        })
    }
}

pub(super) fn no_image(id: ImageId) -> Error {
    Error::new(Kind::NotFound, format!("no golden image {id}"))
}

impl Catalogue {
    pub(super) fn volumes_of(&self, id: ImageId) -> usize {
        let lives_on = |manifest: &crate::format::manifest::VolumeManifest| manifest.image == Some(id);
        let snapshots = self.snapshots.values().filter(|entry| lives_on(&entry.manifest)).count();
        snapshots + self.volumes.values().filter(|entry| entry.manifest.as_ref().is_ok_and(lives_on)).count()
    }

    fn image_name_is_free(&self, name: &str) -> Result<()> {
        let taken =
            self.images.values().any(|entry| entry.manifest.name == name) || self.image_names.contains(name);
        if taken { Err(Error::new(Kind::Exists, format!("a golden image `{name}` exists"))) } else { Ok(()) }
    }

    fn take_image_name(&mut self, name: &str) -> Result<()> {
        self.image_name_is_free(name)?;
        self.image_names.insert(name.to_owned());
        Ok(())
    }
}
