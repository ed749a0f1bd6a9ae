//! The daemon's own status, and the versions of the API.

use std::sync::Arc;

use api::{Capacity, DaemonStatus, Health, VersionRange};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::answer::{Answer, json};
use super::state::Control;
use super::{refusals, resources};

/// Versions that Image Streamer's clients ask for.
const VERSIONS: VersionRange = VersionRange { minimum_version: 300, current_version: 2020 };

/// Below this share of its file system the store asks for attention.
const FREE_PERCENT_MIN: u64 = 10;

/// The worst of the volumes and the disk under them, and why.
fn health(sick: usize, space: cow::disk::Space) -> (Health, Option<String>) {
    let low = space.free_bytes < space.total_bytes / 100 * FREE_PERCENT_MIN;
    match (sick, low) {
        (0, false) => (Health::OK, None),
        (0, true) => {
            (Health::Warning, Some(format!("less than {FREE_PERCENT_MIN} % of the store's disk are free")))
        }
        (1, _) => (Health::Critical, Some("1 volume is not well; osvol volume list shows which".to_owned())),
        (_, _) => {
            (Health::Critical, Some(format!("{sick} volumes are not well; osvol volume list shows which")))
        }
    }
}

pub(super) async fn version() -> Response {
    json(StatusCode::OK, &VERSIONS)
}

pub(super) async fn status(State(control): State<Arc<Control>>) -> Answer {
    let (images, volumes, space) =
        control.blocking(|store| (store.images(), store.volumes(), store.space())).await?;
    let images = images.map_err(|error| refusals::of_store(&error))?;
    let space = space.map_err(|error| refusals::of_store(&error))?;
    let sick = volumes.iter().filter(|volume| volume.health != cow::Health::Ok).count();
    let (health, reason) = health(sick, space);
    let status = DaemonStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_seconds: control.since.elapsed().as_secs(),
        status: health,
        status_reason: reason,
        store: control.store.path().display().to_string(),
        capacity: Capacity { total_bytes: space.total_bytes, available_bytes: space.free_bytes },
        portals: resources::portals(control.exports.as_ref()),
        golden_images: images.len() as u64,
        os_volumes: volumes.len() as u64,
        sessions: control.exports.session_count() as u64,
        provisioned_bytes: volumes.iter().map(|volume| volume.size_bytes).sum(),
        allocated_bytes: volumes.iter().map(|volume| volume.allocated_bytes).sum::<u64>()
            + images.iter().map(|image| image.allocated_bytes).sum::<u64>(),
    };
    Ok(json(StatusCode::OK, &status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_counts() {
        let space = |free_bytes| cow::disk::Space { total_bytes: 1000, free_bytes };
        assert_eq!(health(0, space(100)), (Health::OK, None));
        assert_eq!(health(0, space(99)).0, Health::Warning);
        assert_eq!(health(2, space(0)).0, Health::Critical);
    }
}
