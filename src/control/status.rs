//! The daemon's own status, and the versions of the API.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::{Capacity, DaemonStatus, Health, VersionRange};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use cow::Level;
use cow::limits::{HIGH_PERCENT, SOFT_PERCENT};

use super::answer::{Answer, json};
use super::endpoint::{Access, Endpoint, get};
use super::state::Control;
use super::{refusals, resources};
use crate::service::{Scrubber, data_bytes_left};

/// Versions that Image Streamer's clients ask for.
pub(super) const VERSIONS: VersionRange = VersionRange { minimum_version: 120, current_version: 2020 };

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        get(api::VERSION, Access::Open, "Which versions of the API are spoken", version)
            .answers::<VersionRange>(),
        get(api::STATUS, Access::View, "How the daemon and its store are", status).answers::<DaemonStatus>(),
    ]
}

/// What there is to worry about.
#[derive(Debug, Clone, Copy, Default)]
struct Worries {
    /// Golden images, volumes and snapshots that are not well.
    images: usize,
    volumes: usize,
    snapshots: usize,
    /// Volumes that somebody should look at.
    warnings: usize,
    /// Layers of volumes that have lost their manifest.
    orphans: usize,
    store: Level,
    /// The catalog cannot be trusted.
    catalog: bool,
}

impl Worries {
    /// The worst of it, and all of it in words.
    fn health(self) -> (Health, Option<String>) {
        let count = |count: usize, what: &str, is: &str, are: &str| match count {
            0 => None,
            1 => Some(format!("1 {what} {is}")),
            _ => Some(format!("{count} {what}s {are}")),
        };
        let sick = |number, what| count(number, what, "is not well", "are not well");
        let sick = [
            sick(self.images, "golden image"),
            sick(self.volumes, "volume"),
            sick(self.snapshots, "snapshot"),
            (self.store == Level::Full).then(|| "the store is full: writes that need room fail".to_owned()),
            self.catalog.then(|| "the catalog is damaged, and is not written".to_owned()),
        ];
        let warnings = [
            count(self.warnings, "volume", "needs attention", "need attention"),
            count(self.orphans, "layer", "has lost its volume", "have lost their volume"),
            match self.store {
                Level::Normal | Level::Full => None,
                Level::Soft => Some(format!("the store is more than {SOFT_PERCENT} % full")),
                Level::High => Some(format!("the store is more than {HIGH_PERCENT} % full")),
            },
        ];
        let health = match (sick.iter().any(Option::is_some), warnings.iter().any(Option::is_some)) {
            (true, _) => Health::Critical,
            (false, true) => Health::Warning,
            (false, false) => Health::OK,
        };
        let words: Vec<String> = sick.into_iter().chain(warnings).flatten().collect();
        (health, (!words.is_empty()).then(|| words.join("; ")))
    }
}

pub(super) async fn version() -> Response {
    json(StatusCode::OK, &VERSIONS)
}

pub(super) async fn status(State(control): State<Arc<Control>>) -> Answer {
    let catalog = control.catalog.clone();
    let (images, volumes, usage, catalog_bytes) = control
        .blocking(move |store| (store.images(), store.volumes(), store.usage(), catalog.disk_bytes()))
        .await?;
    let images = images.map_err(|error| refusals::of_store(&error))?;
    let usage = usage.map_err(|error| refusals::of_store(&error))?;
    let scrub = control.ask_scrub(Scrubber::status).await?;
    let damaged: BTreeSet<&String> = scrub
        .findings
        .iter()
        .filter(|finding| finding.category == api::Snapshot::CATEGORY)
        .map(|finding| &finding.id)
        .collect();
    let level = control.levels.of_store(&usage);
    let catalog_damage = control.catalog.damage();
    let healths: Vec<Health> =
        volumes.iter().map(|info| resources::volume_health(info, &control).0).collect();
    let (health, reason) = Worries {
        images: images.iter().filter(|image| image.health != cow::Health::Ok).count(),
        volumes: healths.iter().filter(|health| **health == Health::Critical).count(),
        snapshots: damaged.len(),
        warnings: healths.iter().filter(|health| **health == Health::Warning).count(),
        orphans: control.store.orphans().len(),
        store: level,
        catalog: !catalog_damage.is_empty(),
    }
    .health();
    let status = DaemonStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_seconds: control.since.elapsed().as_secs(),
        status: health,
        status_reason: reason,
        store: control.store.path().display().to_string(),
        capacity: Capacity {
            total_bytes: usage.total_bytes,
            available_bytes: data_bytes_left(&usage),
            reserve_bytes: usage.reserve_bytes,
            withheld_bytes: usage.withheld_bytes,
            images_bytes: usage.images_bytes,
            volumes_bytes: usage.volumes_bytes,
            snapshots_bytes: usage.snapshots_bytes,
            catalog_bytes,
            level: resources::space_level(level),
        },
        portals: resources::portals(control.exports.as_ref()),
        golden_images: images.len() as u64,
        os_volumes: volumes.len() as u64,
        sessions: control.exports.session_count() as u64,
        provisioned_bytes: volumes.iter().map(|volume| volume.size_bytes).sum(),
        allocated_bytes: usage.images_bytes + usage.volumes_bytes + usage.snapshots_bytes,
        orphans: control.store.orphans().len() as u64,
        catalog_damage,
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
        assert_eq!(Worries { warnings: 1, ..Worries::default() }.health().0, Health::Warning);
        let lost = Worries { orphans: 2, ..Worries::default() }.health();
        assert_eq!(lost, (Health::Warning, Some("2 layers have lost their volume".to_owned())));
        assert_eq!(Worries { store: Level::Soft, ..Worries::default() }.health().0, Health::Warning);
        assert_eq!(Worries { store: Level::Full, ..Worries::default() }.health().0, Health::Critical);
        let catalog = Worries { catalog: true, ..Worries::default() }.health();
        let damaged = "the catalog is damaged, and is not written".to_owned();
        assert_eq!(catalog, (Health::Critical, Some(damaged)));
        let worries =
            Worries { volumes: 2, snapshots: 1, warnings: 3, store: Level::High, ..Worries::default() };
        let (health, words) = worries.health();
        assert_eq!(health, Health::Critical);
        let all = "2 volumes are not well; 1 snapshot is not well; 3 volumes need attention; the store is more than 90 % full";
        assert_eq!(words.unwrap(), all);
    }
}
