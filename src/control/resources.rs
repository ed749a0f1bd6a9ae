//! What the store knows, as resources of the API.

use api::{ArtifactReference, GoldenImage, Health, OsVolume, Portal, SessionSummary, SpaceLevel, iso8601};
use config::Size;
use cow::{ImageId, ImageInfo, Level, VolumeInfo};

use super::exports::Exports;
use super::state::Control;
use crate::catalog::{Envelope, Kind, golden_images};
use crate::settings;

/// LUN of every OS volume.
const LUN: u64 = 0;

pub(super) fn image_uri(id: ImageId) -> String {
    format!("{}/{id}", api::GOLDEN_IMAGES)
}

/// An image, as the store and the catalog know it. The catalog may not, where it is damaged.
pub(super) fn image(
    info: ImageInfo,
    row: Option<golden_images::GoldenImage>,
    dependent_artifacts: Vec<ArtifactReference>,
) -> GoldenImage {
    let created = iso8601(info.created_unix_ms);
    let (status, status_reason) = health(info.health);
    let envelope = row.as_ref().map(|row| row.envelope.clone());
    let read_only = row.as_ref().is_some_and(|row| row.read_only);
    let source = row.map(|row| row.source).unwrap_or_default();
    let (volume_uri, volume_name, volume_category) = named(source.os_volume, Kind::OsVolume);
    let (plan_uri, plan_name, plan_category) = named(source.build_plan, Kind::BuildPlan);
    let (bundle_uri, bundle_name, bundle_category) = named(source.bundle, Kind::ArtifactBundle);
    GoldenImage {
        kind: GoldenImage::KIND.to_owned(),
        category: GoldenImage::CATEGORY.to_owned(),
        id: info.id.to_string(),
        uri: image_uri(info.id),
        name: envelope.as_ref().map_or(info.name, |envelope| envelope.name.clone()),
        status,
        status_reason,
        state: "Normal".to_owned(),
        modified: envelope.as_ref().map_or(created.clone(), |envelope| iso8601(envelope.modified_ms)),
        e_tag: envelope.as_ref().map_or_else(|| e_tag(info.created_unix_ms), Envelope::e_tag),
        description: envelope.map(|envelope| envelope.description).unwrap_or_default(),
        created,
        size: info.size_bytes,
        allocated_bytes: info.allocated_bytes,
        check_sum: check_sum(&info.digest),
        image_capture: info.source_format == cow::CAPTURED,
        source_format: info.source_format,
        os_volumes: info.volumes as u64,
        read_only,
        os_volume_name: volume_name,
        os_volume_uri: volume_uri,
        os_volume_category: volume_category,
        build_plan_name: plan_name,
        build_plan_uri: plan_uri,
        build_plan_category: plan_category,
        imported_from_bundle: bundle_name.is_some(),
        bundle_name,
        bundle_uri,
        artifact_bundle_category: bundle_category,
        dependent_artifacts,
    }
}

/// A digest of a disk's content as the API has it.
pub(crate) fn check_sum(digest: &str) -> String {
    format!("sha256:{digest}")
}

/// Path, name and category of something that was there when it was noted.
fn named(of: Option<(String, String)>, kind: Kind) -> (Option<String>, Option<String>, Option<String>) {
    match of {
        Some((id, name)) => (Some(kind.uri(id)), Some(name), Some(kind.category().to_owned())),
        None => (None, None, None),
    }
}

/// A volume, with whoever is logged in to it.
pub(super) fn volume(info: VolumeInfo, sessions: Vec<SessionSummary>, control: &Control) -> OsVolume {
    let id = info.id.to_string();
    let created = iso8601(info.created_unix_ms);
    let exports = control.exports.as_ref();
    let portals = portals(exports);
    let iscsi_name = exports.target_name(info.id, &info.name);
    let (status, status_reason, space_level) = volume_health(&info, control);
    let export = exports.settings().get(info.id).ok().map(|settings| settings::shown(&settings));
    OsVolume {
        kind: OsVolume::KIND.to_owned(),
        category: OsVolume::CATEGORY.to_owned(),
        uri: format!("{}/{id}", api::OS_VOLUMES),
        oe_volume_id: id.clone(),
        id,
        name: info.name,
        status,
        status_reason,
        // Whose it is says more: see `claims`.
        state: String::new(),
        modified: created.clone(),
        created,
        e_tag: e_tag(info.created_unix_ms),
        size: info.size_bytes,
        provisioned_bytes: info.size_bytes,
        allocated_bytes: info.allocated_bytes,
        quota_bytes: info.quota_bytes,
        reserve_bytes: info.reserve_bytes,
        used_bytes: info.used_bytes,
        space_level,
        golden_volume_uri: info.image.map(image_uri),
        image_name: info.image.and_then(|image| control.known.name_of(image)),
        oe_volume_iqn: iscsi_name.clone(),
        iscsi_name,
        oe_volume_ip: portals.first().map(|portal| portal.address.clone()),
        lun: LUN,
        portals,
        sessions,
        profile_name: None,
        generation: None,
        dependent_artifacts: Vec::new(),
        stateless_server_uri: None,
        deployment_cluster_uri: None,
        export,
    }
}

/// What the store says of a volume, and what else there is to worry about: its quota, its reservations.
pub(super) fn volume_health(info: &VolumeInfo, control: &Control) -> (Health, Option<String>, SpaceLevel) {
    let level = control.levels.of_volume(info);
    let (status, reason) = health(info.health.clone());
    if status != Health::OK {
        return (status, reason, space_level(level));
    }
    if let Some(fault) = control.export_fault(info) {
        return (Health::Critical, Some(fault), space_level(level));
    }
    let quota = match (level, info.quota_bytes) {
        (Level::Normal, _) | (_, None) => None,
        (Level::Full, Some(quota)) => {
            Some(format!("its quota of {} is used up; writes that need room fail", Size::from_bytes(quota)))
        }
        (Level::Soft | Level::High, Some(quota)) => Some(format!(
            "it uses {} of its quota of {}",
            Size::from_bytes(info.used_bytes),
            Size::from_bytes(quota)
        )),
    };
    let worries: Vec<String> = quota.into_iter().chain(control.exports.warning(info.id)).collect();
    match worries.is_empty() {
        true => (Health::OK, None, space_level(level)),
        false => (Health::Warning, Some(worries.join("; ")), space_level(level)),
    }
}

pub(super) fn space_level(level: Level) -> SpaceLevel {
    match level {
        Level::Normal => SpaceLevel::Normal,
        Level::Soft => SpaceLevel::Soft,
        Level::High => SpaceLevel::High,
        Level::Full => SpaceLevel::Full,
    }
}

pub(super) fn portals(exports: &dyn Exports) -> Vec<Portal> {
    let portal = |at: std::net::SocketAddr| Portal { address: at.ip().to_string(), port: at.port() };
    exports.portals().into_iter().map(portal).collect()
}

pub(super) fn health(health: cow::Health) -> (Health, Option<String>) {
    match health {
        cow::Health::Ok => (Health::OK, None),
        cow::Health::Critical(reason) => (Health::Critical, Some(reason)),
    }
}

/// Image Streamer's form: a time and a revision. Neither changes while nothing can be edited.
fn e_tag(created_unix_ms: u64) -> String {
    format!("{created_unix_ms}/1")
}
