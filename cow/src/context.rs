//! What every part of one open store needs: the disk, whose store it is, which boot this is, where things lie.

use std::{path::PathBuf, sync::Arc};

use crate::{
    disk::Disk,
    error::{Error, Result},
    geometry::Geometry,
    ids::{BootId, ImageId, LayerId, SnapshotId, StoreId, VolumeId},
    room::Room,
};

/// Shared by everything in one open store.
pub(crate) struct Context {
    pub disk: Arc<dyn Disk>,
    pub root: PathBuf,
    pub store: StoreId,
    pub boot: BootId,
    pub geometry: Geometry,
    pub room: Room,
}

impl Context {
    /// Directory of all layers.
    pub(crate) fn layers_dir(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub(crate) fn layer_dir(&self, id: LayerId) -> PathBuf {
        self.layers_dir().join(id.to_string())
    }

    pub(crate) fn volumes_dir(&self) -> PathBuf {
        self.root.join("volumes")
    }

    pub(crate) fn volume_dir(&self, id: VolumeId) -> PathBuf {
        self.volumes_dir().join(id.to_string())
    }

    pub(crate) fn snapshots_dir(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    pub(crate) fn snapshot_dir(&self, id: SnapshotId) -> PathBuf {
        self.snapshots_dir().join(id.to_string())
    }

    pub(crate) fn images_dir(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(crate) fn image_dir(&self, id: ImageId) -> PathBuf {
        self.images_dir().join(id.to_string())
    }

    /// Directory of golden content, by digest.
    pub(crate) fn golden_dir(&self) -> PathBuf {
        self.root.join("golden")
    }

    /// Directory of what is not finished; swept when the store is opened.
    pub(crate) fn staging_dir(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// A name in [`Self::staging_dir`] that nobody has.
    pub(crate) fn staging_path(&self) -> Result<PathBuf> {
        let name: String = self.random_id()?.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(self.staging_dir().join(name))
    }

    pub(crate) fn random_id(&self) -> Result<[u8; 16]> {
        let mut id = [0; 16];
        self.disk.random(&mut id).map_err(|error| Error::io("take random bytes for", &self.root, error))?;
        Ok(id)
    }
}
