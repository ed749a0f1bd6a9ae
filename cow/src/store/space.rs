//! How much room there is, who takes how much of it, and when somebody should be told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{Catalogue, Store, VolumeInfo};
use crate::{
    error::{Error, Result},
    ids::LayerId,
    layer::Layer,
    limits::{HIGH_PERCENT, LEVEL_HYSTERESIS_PERCENT, SOFT_PERCENT},
    room::reserve_bytes,
};

/// The store's file system, and who takes how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Size of the file system.
    pub total_bytes: u64,
    /// What is free in it, the reserve included.
    pub free_bytes: u64,
    /// The part that data never takes: flush, trim, delete and metadata find room there when all else is full.
    pub reserve_bytes: u64,
    /// What is kept free for volumes that have room guaranteed and do not use all of it.
    pub withheld_bytes: u64,
    /// Content of golden images; the same content counts once.
    pub images_bytes: u64,
    /// Layers that some volume is made of; shared ones count once.
    pub volumes_bytes: u64,
    /// Layers that only snapshots are made of: what comes back when all snapshots are removed.
    pub snapshots_bytes: u64,
}

/// How full something is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// There is room.
    #[default]
    Normal,
    /// From [`SOFT_PERCENT`] on: somebody should know.
    Soft,
    /// From [`HIGH_PERCENT`] on: somebody should act.
    High,
    /// Writes that need room are refused.
    Full,
}

impl Level {
    /// The level of so many bytes used of so many, where it was `before`. It rises at once, and falls only
    /// [`LEVEL_HYSTERESIS_PERCENT`] below where it rose, so that nobody is told the same again and again.
    #[must_use]
    pub fn of(used_bytes: u64, all_bytes: u64, before: Self) -> Self {
        let reaches =
            |percent: u64| u128::from(used_bytes) * 100 >= u128::from(all_bytes) * u128::from(percent);
        let holds = |(level, percent): &(Self, u64)| {
            reaches(if *level <= before { percent - LEVEL_HYSTERESIS_PERCENT } else { *percent })
        };
        let steps = [(Self::Full, 100), (Self::High, HIGH_PERCENT), (Self::Soft, SOFT_PERCENT)];
        steps.iter().find(|step| holds(step)).map_or(Self::Normal, |(level, _)| *level)
    }
}

impl Usage {
    /// How full the store is for data, where it was `before`: what its reserve, guarantees and other users of the file
    /// system take is no room. [`Level::Full`] at once means that writes are refused.
    #[must_use]
    pub fn level(&self, before: Level) -> Level {
        let used = self.total_bytes.saturating_sub(self.free_bytes) + self.withheld_bytes;
        Level::of(used, self.total_bytes.saturating_sub(self.reserve_bytes), before)
    }
}

impl VolumeInfo {
    /// How full the volume's quota is, where it was `before`; [`Level::Normal`] without a quota.
    #[must_use]
    pub fn level(&self, before: Level) -> Level {
        self.quota_bytes.map_or(Level::Normal, |quota| Level::of(self.used_bytes, quota, before))
    }
}

/// Bytes of the files of layers that are not open: they change only by way of the store.
#[derive(Default)]
pub(super) struct LayerSizes(Mutex<BTreeMap<LayerId, u64>>);

impl LayerSizes {
    /// It was opened, or written down at closing: what was known of its size is old.
    pub(super) fn forget<'a>(&self, layers: impl IntoIterator<Item = &'a LayerId>) {
        let mut sizes = self.0.lock();
        for layer in layers {
            sizes.remove(layer);
        }
    }
}

impl Store {
    /// Room of the file system, and who takes how much of it, exactly. The first call looks at the files of every
    /// layer; later ones only at those of open volumes.
    pub fn usage(&self) -> Result<Usage> {
        let (volumes, snapshots, contents) = self.catalogue.lock().named();
        let images_bytes = contents.iter().map(|digest| self.content_bytes(digest).unwrap_or(0)).sum();
        let (volumes_bytes, snapshots_bytes) = (self.layers_bytes(&volumes)?, self.layers_bytes(&snapshots)?);
        let space = self.space()?;
        Ok(Usage {
            total_bytes: space.total_bytes,
            free_bytes: space.free_bytes,
            reserve_bytes: reserve_bytes(space.total_bytes),
            withheld_bytes: self.context.room.withheld_bytes(),
            images_bytes,
            volumes_bytes,
            snapshots_bytes,
        })
    }

    /// Bytes of the files of layers.
    pub(super) fn layers_bytes<'a>(&self, layers: impl IntoIterator<Item = &'a LayerId>) -> Result<u64> {
        // Held while sizes are measured: whoever opens or closes a layer meanwhile forgets its size afterwards.
        let mut sizes = self.sizes.0.lock();
        let open = self.catalogue.lock().open_layers();
        self.sum_layers(layers, &open, &mut sizes)
    }

    /// The same of a volume that is not open: none of its layers is, but for frozen ones that others have as well.
    /// This does not take longer the more volumes there are.
    pub(super) fn closed_bytes(&self, layers: &[LayerId]) -> Result<u64> {
        let mut sizes = self.sizes.0.lock();
        let open = {
            let catalogue = self.catalogue.lock();
            let shared = |id: &LayerId| Some((*id, catalogue.layers.get(id)?.upgrade()?));
            layers.iter().filter_map(shared).collect()
        };
        self.sum_layers(layers, &open, &mut sizes)
    }

    fn sum_layers<'a>(
        &self,
        layers: impl IntoIterator<Item = &'a LayerId>,
        open: &BTreeMap<LayerId, Arc<Layer>>,
        sizes: &mut BTreeMap<LayerId, u64>,
    ) -> Result<u64> {
        layers.into_iter().try_fold(0, |sum, id| {
            let bytes = match (open.get(id), sizes.get(id)) {
                (Some(layer), _) => layer.allocated_bytes()?,
                (None, Some(bytes)) => *bytes,
                (None, None) => *sizes.entry(*id).or_insert(self.measure_layer(*id)?),
            };
            Ok(sum + bytes)
        })
    }

    fn measure_layer(&self, id: LayerId) -> Result<u64> {
        let dir = self.context.layer_dir(id);
        let disk = &self.context.disk;
        let names = match disk.list(&dir) {
            Ok(names) => names,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(Error::io("list", &dir, error)),
        };
        names.iter().try_fold(0, |sum, entry| {
            let path = dir.join(&entry.name);
            let bytes = match disk.open(&path, false).and_then(|file| file.allocated_bytes()) {
                // It went while the others were looked at.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
                bytes => bytes.map_err(|error| Error::io("stat", &path, error))?,
            };
            Ok(sum + bytes)
        })
    }
}

impl Catalogue {
    /// Layers of volumes, layers of snapshots that no volume has, and contents of golden images.
    fn named(&self) -> (BTreeSet<LayerId>, BTreeSet<LayerId>, BTreeSet<[u8; 32]>) {
        let volumes = self.volumes.values().filter_map(|entry| entry.manifest.as_ref().ok());
        let volumes: BTreeSet<_> = volumes.flat_map(|manifest| manifest.layers.iter().copied()).collect();
        let snapshots = self.snapshots.values().flat_map(|entry| entry.manifest.layers.iter().copied());
        let snapshots = snapshots.filter(|layer| !volumes.contains(layer)).collect();
        let contents = self.images.values().map(|entry| entry.manifest.digest).collect();
        (volumes, snapshots, contents)
    }

    fn open_layers(&self) -> BTreeMap<LayerId, Arc<Layer>> {
        let shared = self.layers.iter().filter_map(|(id, layer)| Some((*id, layer.upgrade()?)));
        let open = self.volumes.values().filter_map(|entry| Some(entry.open.as_ref()?.stack().top.clone()));
        shared.chain(open.map(|top| (top.id, top))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_rises_at_once_and_falls_a_little_below() {
        let levels = |used: &[u64]| -> Vec<Level> {
            let mut level = Level::Normal;
            used.iter()
                .map(|used| {
                    level = Level::of(*used, 1000, level);
                    level
                })
                .collect()
        };
        use Level::{Full, High, Normal, Soft};
        assert_eq!(
            levels(&[0, 749, 750, 740, 731, 730, 729, 749]),
            [Normal, Normal, Soft, Soft, Soft, Soft, Normal, Normal]
        );
        assert_eq!(levels(&[899, 900, 880, 879, 899]), [Soft, High, High, Soft, Soft]);
        assert_eq!(levels(&[1000, 980, 979, 999, 1001, 0]), [Full, Full, High, High, Full, Normal]);
        assert_eq!(Level::of(0, 0, Normal), Full, "no room at all");
        assert_eq!(Level::of(u64::MAX, u64::MAX, Normal), Full);
    }
}
