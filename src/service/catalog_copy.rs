//! The catalog's copy: made anew at every start, and once a day.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::catalog::Catalog;

const COPY_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs until it is dropped.
pub async fn keep_catalog_copy(catalog: Arc<Catalog>) {
    let mut tick = tokio::time::interval(COPY_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let catalog = catalog.clone();
        match tokio::task::spawn_blocking(move || catalog.copy()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("the catalog's copy stays as it is: {error}"),
            Err(error) => tracing::warn!("the catalog's copy stays as it is: {error}"),
        }
    }
}
