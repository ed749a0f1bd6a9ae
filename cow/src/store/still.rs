//! A disk as it was at one moment, to be read while the volume goes on: what capture and export read.
//!
//! Of a volume a snapshot is taken that no list shows. Its name is one that no other snapshot can have, so that a
//! snapshot that a crash left behind is known, and swept, when the store is opened next.

use std::{ops::Range, sync::Arc};

use super::{Catalogue, Store, snapshots::no_snapshot};
use crate::{
    disk::Wait,
    error::{Error, Result},
    format::manifest::VolumeManifest,
    ids::{ImageId, SnapshotId, VolumeId},
    image::Image,
    limits::{BLOCK_BYTES, STILL_WINDOW_BYTES},
    volume::{Allocation, Stack, Volume},
};

/// Beginning of the names of snapshots that nobody asked for by name: no name that is asked for begins like this.
const UNLISTED: &str = ".still-";

/// What there can be a still of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A golden image.
    Image(ImageId),
    /// A volume, in use or not, as it is now.
    Volume(VolumeId),
    /// A snapshot.
    Snapshot(SnapshotId),
}

/// A disk that does not change. It may be read by any number of threads; reading waits for the disk.
pub struct Still {
    store: Arc<Store>,
    disk: Source,
    size_bytes: u64,
    /// The snapshot that was taken for it, and goes with it.
    unlisted: Option<SnapshotId>,
    /// The volume that was opened for it.
    opened: Option<VolumeId>,
}

enum Source {
    Image(Arc<Image>),
    /// The layers of a snapshot; nobody writes to them.
    Layers(Volume),
}

impl Store {
    /// A still of a disk. It costs the same whatever the disk holds; a volume that is in use stays in use, and
    /// everything acknowledged before the call is in it.
    pub fn still(self: &Arc<Self>, subject: Subject) -> Result<Still> {
        match subject {
            Subject::Image(id) => {
                let image = self.content(id)?;
                let size_bytes = image.size_bytes();
                Ok(Still {
                    store: self.clone(),
                    disk: Source::Image(image),
                    size_bytes,
                    unlisted: None,
                    opened: None,
                })
            }
            Subject::Snapshot(id) => self.still_of_snapshot(id, None, None),
            Subject::Volume(id) => {
                let opened = (!self.volume_info(id)?.open).then_some(id);
                let name = format!("{UNLISTED}{}", SnapshotId(self.context.random_id()?));
                let snapshot = self.take_snapshot(id, &name)?;
                self.still_of_snapshot(snapshot.id, Some(snapshot.id), opened)
                    .inspect_err(|_| drop(self.remove_snapshot(snapshot.id)))
            }
        }
    }

    /// Removes the snapshots of stills that an earlier process had when it ended.
    pub(super) fn remove_stills(&self) {
        let left: Vec<SnapshotId> = {
            let catalogue = self.catalogue.lock();
            let unlisted = catalogue.snapshots.iter().filter(|(_, entry)| is_unlisted(&entry.manifest));
            unlisted.map(|(id, _)| *id).collect()
        };
        for id in left {
            // What cannot be removed now is removed at the next opening; nobody sees it until then.
            drop(self.remove_snapshot(id));
        }
    }

    fn still_of_snapshot(
        self: &Arc<Self>,
        id: SnapshotId,
        unlisted: Option<SnapshotId>,
        opened: Option<VolumeId>,
    ) -> Result<Still> {
        let manifest = self.catalogue.lock().snapshot_manifest(id)?;
        let mut layers = manifest.layers.iter().rev();
        let no_layers = || Error::corrupt(0, "a snapshot without layers");
        let top = self.shared_layer(*layers.next().ok_or_else(no_layers)?)?;
        let below = layers.map(|layer| self.shared_layer(*layer)).collect::<Result<_>>()?;
        let image = manifest.image.map(|image| self.content(image)).transpose()?;
        let volume = Volume::new(VolumeId(id.0), &manifest, Stack { top, below, image });
        let size_bytes = manifest.size_bytes;
        Ok(Still { store: self.clone(), disk: Source::Layers(volume), size_bytes, unlisted, opened })
    }
}

impl Still {
    /// Size of the disk.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Fills `out` with the bytes from `offset` on; both are whole sectors. Every checksum is compared.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.read_with(offset, out, Wait::Yes)
    }

    /// The same; with `Wait::No` it fails with `WouldBlock` where it would wait for the disk.
    pub fn read_with(&self, offset: u64, out: &mut [u8], wait: Wait) -> Result<()> {
        match &self.disk {
            Source::Image(image) => image.read(offset, out, wait),
            Source::Layers(volume) => volume.read(offset, out, wait),
        }
    }

    /// The first range at or after `offset` that may hold anything but zeros.
    pub fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>> {
        if offset >= self.size_bytes {
            return Ok(None);
        }
        // Whole blocks, so that what is read of it can be whole blocks too.
        let mut at = offset - offset % BLOCK_BYTES;
        let mut found: Option<Range<u64>> = None;
        while at < self.size_bytes {
            let window = STILL_WINDOW_BYTES.min(self.size_bytes - at);
            for (bytes, allocation) in self.block_status(at, window)? {
                let here = at..at + bytes;
                at = here.end;
                match (allocation, &mut found) {
                    (Allocation::Mapped, Some(found)) => found.end = here.end,
                    (Allocation::Mapped, None) => found = Some(here),
                    (Allocation::Deallocated, Some(_)) => return Ok(found),
                    (Allocation::Deallocated, None) => {}
                }
            }
            if found.is_some() {
                break;
            }
        }
        Ok(found)
    }

    /// Which parts of a range hold data, in order: `(bytes, allocation)`.
    pub fn block_status(&self, offset: u64, bytes: u64) -> Result<Vec<(u64, Allocation)>> {
        match &self.disk {
            Source::Layers(volume) => volume.block_status(offset, bytes),
            Source::Image(image) => {
                let mut status = Vec::new();
                image.status(offset, bytes, &mut |bytes, allocation| status.push((bytes, allocation)));
                Ok(status)
            }
        }
    }

    /// Bytes of data from `offset` on, read a part at a time: `take` is given each part, in order.
    pub fn for_each_part(
        &self,
        part_bytes: usize,
        take: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut buffer = vec![0; part_bytes];
        let mut at = 0;
        while let Some(range) = self.next_data(at)? {
            at = range.start;
            while at < range.end {
                let bytes = usize::try_from(range.end - at).unwrap_or(part_bytes).min(part_bytes);
                self.read(at, &mut buffer[..bytes])?;
                take(at, &buffer[..bytes])?;
                at += bytes as u64;
            }
        }
        Ok(())
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        if let Some(id) = self.unlisted {
            // What cannot be removed now is swept at the next opening.
            drop(self.store.remove_snapshot(id));
        }
        if let Some(id) = self.opened {
            // Somebody may use it by now: then it stays open.
            drop(self.store.close_volume(id));
        }
    }
}

/// Whether a snapshot was taken for a still: it is in no list, and does not outlive the process.
pub(super) fn is_unlisted(snapshot: &VolumeManifest) -> bool {
    snapshot.name.starts_with(UNLISTED)
}

impl Catalogue {
    fn snapshot_manifest(&self, id: SnapshotId) -> Result<VolumeManifest> {
        Ok(self.snapshots.get(&id).ok_or_else(|| no_snapshot(id))?.manifest.clone())
    }
}
