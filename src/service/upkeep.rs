//! The store's upkeep: now and then, in the background, on a thread that may wait for the disk.

use std::sync::Arc;
use std::time::Duration;

use cow::{Store, Upkeep};
use tokio::time::MissedTickBehavior;

/// How often the store is asked whether something is worth doing.
const UPKEEP_EVERY: Duration = Duration::from_secs(2);

/// Runs until it is dropped.
pub async fn upkeep(store: Arc<Store>) {
    let mut tick = tokio::time::interval(UPKEEP_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let store = store.clone();
        match tokio::task::spawn_blocking(move || store.maintain()).await {
            Ok(Ok(done)) if done != Upkeep::default() => {
                tracing::debug!(
                    reclaimed = done.reclaimed_bytes,
                    compacted = done.compacted_bytes,
                    checkpoints = done.checkpoints,
                    merged = done.merged_layers,
                    "upkeep"
                );
                if done.damaged_segments > 0 {
                    tracing::warn!(
                        "{} segment(s) hold damage and cannot be compacted",
                        done.damaged_segments
                    );
                }
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::error!("upkeep of the store failed: {error}"),
            Err(error) => tracing::error!("upkeep of the store failed: {error}"),
        }
    }
}
