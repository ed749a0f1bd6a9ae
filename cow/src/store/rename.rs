//! Another name for a volume.

use super::{Store, check_name};
use crate::{error::Result, format::manifest::VolumeManifest, ids::VolumeId};

impl Store {
    /// Gives a volume another name, in use or not. Durable when it returns; a crash leaves the one or the other.
    ///
    /// # Errors
    /// When the name cannot be one or is taken, the volume is not there, or the disk fails.
    pub fn rename_volume(&self, id: VolumeId, name: &str) -> Result<()> {
        check_name(name)?;
        let gate = self.gate(id)?;
        let _gate = gate.lock();
        let manifest = self.volume_manifest(id)?;
        let before = manifest.name.clone();
        if before == name {
            return Ok(());
        }
        self.catalogue.lock().take_volume_name(name)?;
        let renamed = self.replace_volume_manifest(id, VolumeManifest { name: name.to_owned(), ..manifest });
        // The one that no volume has is free again.
        let free = if renamed.is_ok() { before.as_str() } else { name };
        self.catalogue.lock().release_volume_name(free);
        renamed
    }
}
