//! Who is told that space runs out, and when: the log, initiators, and whoever asks for the level.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use config::Size;
use cow::{Level, Store, Usage, VolumeId, VolumeInfo};
use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;

/// How often the store's file system is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Every so many looks the volumes are looked at too.
const LOOKS_PER_VOLUMES: u32 = 5;

/// Who has to hear of a threshold (SBC-3, thin provisioning soft threshold).
pub trait Listeners: Send + Sync + 'static {
    /// Tells the initiators of a volume, or of all volumes, that a soft threshold was reached.
    fn threshold_reached(&self, volume: Option<VolumeId>, level: Level);
}

/// Levels as they were seen last: a level falls later than it rises.
#[derive(Debug, Default)]
pub struct SpaceLevels(Mutex<Levels>);

#[derive(Debug, Default)]
struct Levels {
    store: Level,
    usage: Option<Usage>,
    /// Those that are not normal.
    volumes: HashMap<VolumeId, Level>,
}

/// A level that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Crossing {
    from: Level,
    to: Level,
}

impl SpaceLevels {
    /// How full the store is.
    #[must_use]
    pub fn of_store(&self, usage: &Usage) -> Level {
        usage.level(self.0.lock().store)
    }

    /// How full a volume's quota is.
    #[must_use]
    pub fn of_volume(&self, info: &VolumeInfo) -> Level {
        info.level(self.0.lock().volumes.get(&info.id).copied().unwrap_or_default())
    }

    /// The store's space when it was looked at last.
    #[must_use]
    pub fn last_usage(&self) -> Option<Usage> {
        self.0.lock().usage
    }

    fn see_store(&self, usage: &Usage) -> Option<Crossing> {
        let mut levels = self.0.lock();
        levels.usage = Some(*usage);
        let (from, to) = (levels.store, usage.level(levels.store));
        levels.store = to;
        (from != to).then_some(Crossing { from, to })
    }

    fn see_volume(&self, info: &VolumeInfo) -> Option<Crossing> {
        let mut levels = self.0.lock();
        let from = levels.volumes.get(&info.id).copied().unwrap_or_default();
        let to = info.level(from);
        match to {
            Level::Normal => levels.volumes.remove(&info.id),
            _ => levels.volumes.insert(info.id, to),
        };
        (from != to).then_some(Crossing { from, to })
    }

    /// Forgets volumes that are gone.
    fn keep(&self, volumes: &[VolumeInfo]) {
        let mut levels = self.0.lock();
        if !levels.volumes.is_empty() {
            let there: std::collections::HashSet<_> = volumes.iter().map(|info| info.id).collect();
            levels.volumes.retain(|id, _| there.contains(id));
        }
    }
}

/// Looks now and then until it is dropped.
pub async fn watch_space(store: Arc<Store>, levels: Arc<SpaceLevels>, listeners: Arc<dyn Listeners>) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = 0_u32;
    loop {
        tick.tick().await;
        let with_volumes = looks.is_multiple_of(LOOKS_PER_VOLUMES);
        looks = looks.wrapping_add(1);
        let (store, levels, listeners) = (store.clone(), levels.clone(), listeners.clone());
        let look = move || look(&store, &levels, &*listeners, with_volumes);
        if let Err(error) = tokio::task::spawn_blocking(look).await {
            tracing::error!("the store's space was not looked at: {error}");
        }
    }
}

fn look(store: &Store, levels: &SpaceLevels, listeners: &dyn Listeners, with_volumes: bool) {
    match store.usage() {
        Ok(usage) => {
            if let Some(crossing) = levels.see_store(&usage) {
                tell_store(crossing, &usage, listeners);
            }
        }
        Err(error) => tracing::warn!("the store's space is not known: {error}"),
    }
    if !with_volumes {
        return;
    }
    let mut volumes = store.volumes();
    levels.keep(&volumes);
    volumes.retain(|info| info.quota_bytes.is_some());
    for info in &volumes {
        if let Some(crossing) = levels.see_volume(info) {
            tell_volume(crossing, info, listeners);
        }
    }
}

fn tell_store(Crossing { from, to }: Crossing, usage: &Usage, listeners: &dyn Listeners) {
    let left = Size::from_bytes(data_bytes_left(usage));
    match (to, to > from) {
        (Level::Full, true) => {
            tracing::error!("the store is full: writes that need room are refused; see osvol status");
        }
        (_, true) => tracing::warn!(level = ?to, "space runs out: {left} are left for data in the store"),
        (_, false) => {
            tracing::info!(level = ?to, "there is room again: {left} are left for data in the store")
        }
    }
    if is_threshold(from, to) {
        listeners.threshold_reached(None, to);
    }
}

fn tell_volume(Crossing { from, to }: Crossing, info: &VolumeInfo, listeners: &dyn Listeners) {
    let (used, quota) =
        (Size::from_bytes(info.used_bytes), Size::from_bytes(info.quota_bytes.unwrap_or_default()));
    let volume = &info.name;
    match to > from {
        true => tracing::warn!(volume, level = ?to, "the volume uses {used} of its quota of {quota}"),
        false => tracing::info!(volume, level = ?to, "the volume uses {used} of its quota of {quota}"),
    }
    if is_threshold(from, to) {
        listeners.threshold_reached(Some(info.id), to);
    }
}

/// 75 % or 90 % were reached. That writes are refused, each of them says itself.
fn is_threshold(from: Level, to: Level) -> bool {
    to > from && from < Level::High
}

/// What data may still take of the file system.
#[must_use]
pub fn data_bytes_left(usage: &Usage) -> u64 {
    usage.free_bytes.saturating_sub(usage.reserve_bytes + usage.withheld_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<(Option<VolumeId>, Level)>>);

    impl Listeners for Heard {
        fn threshold_reached(&self, volume: Option<VolumeId>, level: Level) {
            self.0.lock().push((volume, level));
        }
    }

    fn usage(used: u64) -> Usage {
        Usage {
            total_bytes: 1100,
            free_bytes: 1100 - used,
            reserve_bytes: 100,
            withheld_bytes: 0,
            images_bytes: 0,
            volumes_bytes: used,
            snapshots_bytes: 0,
        }
    }

    #[test]
    fn each_threshold_is_told_once_and_again_only_after_it_was_left() {
        let (levels, heard) = (SpaceLevels::default(), Heard::default());
        let told: Vec<usize> = [740, 750, 745, 760, 900, 890, 1000, 990, 700, 800]
            .into_iter()
            .map(|used| {
                if let Some(crossing) = levels.see_store(&usage(used)) {
                    tell_store(crossing, &usage(used), &heard);
                }
                heard.0.lock().len()
            })
            .collect();
        assert_eq!(told, [0, 1, 1, 1, 2, 2, 2, 2, 2, 3]);
        let heard = heard.0.into_inner();
        assert_eq!(heard, [Level::Soft, Level::High, Level::Soft].map(|level| (None, level)));
        assert_eq!(levels.of_store(&usage(749)), Level::Soft, "it falls later than it rises");
    }

    #[test]
    fn a_volume_is_told_against_its_quota_and_forgotten_when_it_goes() {
        let (levels, heard) = (SpaceLevels::default(), Heard::default());
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let new = cow::NewVolume { name: "web01".into(), image: None, size_bytes: Some(64 << 20) };
        let id = store.create_volume(new).unwrap().id;
        store.set_quota(id, Some(1 << 20)).unwrap();
        look(&store, &levels, &heard, true);
        let volume = store.open_volume(id).unwrap();
        volume.write(0, &[&vec![7; 800 << 10]], cow::Wait::Yes).unwrap();
        look(&store, &levels, &heard, false);
        let of_volume = |heard: &Heard| heard.0.lock().iter().filter(|told| told.0 == Some(id)).count();
        assert_eq!(of_volume(&heard), 0, "volumes are looked at less often");
        (0..3).for_each(|_| look(&store, &levels, &heard, true));
        assert_eq!(of_volume(&heard), 1);
        assert_eq!(levels.of_volume(&store.volume_info(id).unwrap()), Level::Soft);
        drop(volume);
        store.remove_volume(id).unwrap();
        look(&store, &levels, &heard, true);
        assert!(levels.0.lock().volumes.is_empty());
    }
}
