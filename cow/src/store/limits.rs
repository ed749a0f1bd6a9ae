//! How much a volume may take, and how much it is sure to get.

use super::Store;
use crate::{
    error::{Error, Kind, Result},
    format::manifest::VolumeManifest,
    ids::VolumeId,
    room::Claim,
};

impl Store {
    /// Sets the most bytes that a volume may take beside its image, in use or not; `None` for no limit.
    pub fn set_quota(&self, volume: VolumeId, quota_bytes: Option<u64>) -> Result<()> {
        let gate = self.gate(volume)?;
        let _gate = gate.lock();
        let quota_bytes = quota_bytes.unwrap_or(0);
        let manifest = self.volume_manifest(volume)?;
        check_limits(quota_bytes, manifest.reserve_bytes)?;
        self.replace_volume_manifest(volume, VolumeManifest { quota_bytes, ..manifest })?;
        if let Some(open) = self.catalogue.lock().volumes.get(&volume).and_then(|entry| entry.open.clone()) {
            open.set_quota(quota_bytes);
        }
        Ok(())
    }

    /// Guarantees room to a volume, in use or not: what it does not use of so many bytes is withheld from all other
    /// writes. `None` guarantees nothing. Refused when the file system does not have it now.
    pub fn set_reserve(&self, volume: VolumeId, reserve_bytes: Option<u64>) -> Result<()> {
        let gate = self.gate(volume)?;
        let _gate = gate.lock();
        let reserve_bytes = reserve_bytes.unwrap_or(0);
        let manifest = self.volume_manifest(volume)?;
        check_limits(manifest.quota_bytes, reserve_bytes)?;
        // Before it is written down, so that nobody takes the room meanwhile.
        let before = self.context.claim(volume, self.claim_of(volume, &manifest, reserve_bytes)?)?;
        let replaced =
            self.replace_volume_manifest(volume, VolumeManifest { reserve_bytes, ..manifest.clone() });
        if replaced.is_err() {
            let claim = self.claim_of(volume, &manifest, before)?;
            self.context.restore_claim(volume, claim);
        }
        replaced
    }

    fn claim_of(&self, volume: VolumeId, manifest: &VolumeManifest, bytes: u64) -> Result<Claim> {
        let open = self.catalogue.lock().volumes.get(&volume).and_then(|entry| entry.open.clone());
        Ok(match open {
            Some(open) => Claim { bytes, open: open.shared_stack(), used_bytes: 0 },
            None => Claim { bytes, used_bytes: self.layers_bytes(&manifest.layers)?, ..Claim::default() },
        })
    }

    /// A volume is open from now on: what it uses is seen as it goes.
    pub(super) fn watch_claim(&self, volume: &crate::volume::Volume) {
        self.context.room.update(volume.id(), |claim| claim.open = volume.shared_stack());
    }

    /// A volume that is not open has other layers now, or was written down.
    pub(super) fn recount_claim(&self, volume: VolumeId, manifest: &VolumeManifest) {
        if manifest.reserve_bytes > 0 {
            // Where it cannot be counted, all of the claim is withheld.
            let used = self.layers_bytes(&manifest.layers).unwrap_or(0);
            self.context.room.update(volume, |claim| claim.used_bytes = used);
        }
    }

    /// Takes back what was guaranteed by earlier processes.
    pub(super) fn restore_claims(&self) {
        let reserved: Vec<(VolumeId, VolumeManifest)> = {
            let catalogue = self.catalogue.lock();
            let manifests =
                catalogue.volumes.iter().filter_map(|(id, entry)| Some((*id, entry.manifest.clone().ok()?)));
            manifests.filter(|(_, manifest)| manifest.reserve_bytes > 0).collect()
        };
        for (id, manifest) in reserved {
            let claim = Claim { bytes: manifest.reserve_bytes, ..Claim::default() };
            self.context.restore_claim(id, claim);
            self.recount_claim(id, &manifest);
        }
    }
}

fn check_limits(quota_bytes: u64, reserve_bytes: u64) -> Result<()> {
    if quota_bytes > 0 && reserve_bytes > quota_bytes {
        let message = format!("a reserve of {reserve_bytes} bytes is more than the quota of {quota_bytes}");
        return Err(Error::new(Kind::Invalid, message));
    }
    Ok(())
}
