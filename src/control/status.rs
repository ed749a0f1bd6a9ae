//! The daemon's own status, and the versions of the API.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::{Capacity, DaemonStatus, Health, VersionRange};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::answer::{Answer, json};
use super::state::Control;
use super::{refusals, resources};
use crate::service::Scrubber;

/// Versions that Image Streamer's clients ask for.
const VERSIONS: VersionRange = VersionRange { minimum_version: 300, current_version: 2020 };

/// Below this share of its file system the store asks for attention.
const FREE_PERCENT_MIN: u64 = 10;

/// What there is to worry about.
#[derive(Debug, Clone, Copy, Default)]
struct Worries {
    /// Golden images, volumes and snapshots that are not well.
    images: usize,
    volumes: usize,
    snapshots: usize,
    /// The store's disk is nearly full.
    low: bool,
}

impl Worries {
    /// The worst of it, and all of it in words.
    fn health(self) -> (Health, Option<String>) {
        let sick = |count: usize, what: &str| match count {
            0 => None,
            1 => Some(format!("1 {what} is not well")),
            _ => Some(format!("{count} {what}s are not well")),
        };
        let sick: Vec<String> = [
            sick(self.images, "golden image"),
            sick(self.volumes, "volume"),
            sick(self.snapshots, "snapshot"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let low = self.low.then(|| format!("less than {FREE_PERCENT_MIN} % of the store's disk are free"));
        let health = match (sick.is_empty(), self.low) {
            (false, _) => Health::Critical,
            (true, true) => Health::Warning,
            (true, false) => Health::OK,
        };
        let words: Vec<String> = sick.into_iter().chain(low).collect();
        (health, (!words.is_empty()).then(|| words.join("; ")))
    }
}

fn is_low(space: cow::disk::Space) -> bool {
    space.free_bytes < space.total_bytes / 100 * FREE_PERCENT_MIN
}

pub(super) async fn version() -> Response {
    json(StatusCode::OK, &VERSIONS)
}

pub(super) async fn status(State(control): State<Arc<Control>>) -> Answer {
    let (images, volumes, space) =
        control.blocking(|store| (store.images(), store.volumes(), store.space())).await?;
    let images = images.map_err(|error| refusals::of_store(&error))?;
    let space = space.map_err(|error| refusals::of_store(&error))?;
    let scrub = control.ask_scrub(Scrubber::status).await?;
    let damaged: BTreeSet<&String> = scrub
        .findings
        .iter()
        .filter(|finding| finding.category == api::Snapshot::CATEGORY)
        .map(|finding| &finding.id)
        .collect();
    let (health, reason) = Worries {
        images: images.iter().filter(|image| image.health != cow::Health::Ok).count(),
        volumes: volumes.iter().filter(|volume| volume.health != cow::Health::Ok).count(),
        snapshots: damaged.len(),
        low: is_low(space),
    }
    .health();
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
        scrub,
    };
    Ok(json(StatusCode::OK, &status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_counts_and_all_is_said() {
        assert_eq!(Worries::default().health(), (Health::OK, None));
        assert_eq!(Worries { low: true, ..Worries::default() }.health().0, Health::Warning);
        let (health, words) = Worries { volumes: 2, snapshots: 1, low: true, images: 0 }.health();
        assert_eq!(health, Health::Critical);
        let words = words.unwrap();
        assert!(words.starts_with("2 volumes are not well; 1 snapshot is not well; less than"), "{words}");
    }

    #[test]
    fn a_tenth_is_little() {
        let space = |free_bytes| cow::disk::Space { total_bytes: 1000, free_bytes };
        assert_eq!([is_low(space(100)), is_low(space(99))], [false, true]);
    }
}
