//! What a scrub, or a reader, found to be rotten: it makes a volume or an image critical until a later scrub of all
//! of it finds nothing. It never stops service: what is sound is still read.

use std::collections::BTreeMap;

use super::Store;
use crate::ids::{ImageId, VolumeId};

/// The first rotten place of each volume and image, in words.
#[derive(Default)]
pub(super) struct Rot {
    volumes: BTreeMap<VolumeId, String>,
    images: BTreeMap<ImageId, String>,
}

impl Store {
    /// Takes down that bytes of a volume at `offset` are not what was written; the first such place is kept.
    pub fn mark_volume_rotten(&self, id: VolumeId, offset: u64, why: &str) {
        self.rot.lock().volumes.entry(id).or_insert_with(|| format!("byte {offset}: {why}"));
    }

    /// The same of a golden image: every volume on it is critical.
    pub fn mark_image_rotten(&self, id: ImageId, offset: u64, why: &str) {
        self.rot.lock().images.entry(id).or_insert_with(|| format!("golden image, byte {offset}: {why}"));
    }

    pub(crate) fn forget_rot_of_volume(&self, id: VolumeId) {
        self.rot.lock().volumes.remove(&id);
    }

    pub(crate) fn forget_rot_of_image(&self, id: ImageId) {
        self.rot.lock().images.remove(&id);
    }

    pub(super) fn rot_of_volume(&self, id: VolumeId, image: Option<ImageId>) -> Option<String> {
        let rot = self.rot.lock();
        rot.volumes.get(&id).or_else(|| rot.images.get(&image?)).cloned()
    }

    pub(super) fn rot_of_image(&self, id: ImageId) -> Option<String> {
        self.rot.lock().images.get(&id).cloned()
    }
}
