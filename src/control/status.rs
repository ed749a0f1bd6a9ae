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

pub(super) async fn version() -> Response {
    json(StatusCode::OK, &VERSIONS)
}

pub(super) async fn status(State(control): State<Arc<Control>>) -> Answer {
    let (images, volumes, space) =
        control.blocking(|store| (store.images(), store.volumes(), store.space())).await?;
    let images = images.map_err(|error| refusals::of_store(&error))?;
    let space = space.map_err(|error| refusals::of_store(&error))?;
    let sick = volumes.iter().any(|volume| volume.health != cow::Health::Ok);
    let status = DaemonStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_seconds: control.since.elapsed().as_secs(),
        status: if sick { Health::Critical } else { Health::OK },
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
