//! What the store knows, as resources of the API.

use api::{GoldenImage, Health, OsVolume, Portal, SessionSummary, iso8601};
use cow::{ImageId, ImageInfo, VolumeInfo};

use super::exports::Exports;
use super::known::KnownImages;

/// LUN of every OS volume.
const LUN: u64 = 0;

pub(super) fn image_uri(id: ImageId) -> String {
    format!("{}/{id}", api::GOLDEN_IMAGES)
}

pub(super) fn image(info: ImageInfo) -> GoldenImage {
    let created = iso8601(info.created_unix_ms);
    let (status, status_reason) = health(info.health);
    GoldenImage {
        kind: GoldenImage::KIND.to_owned(),
        category: GoldenImage::CATEGORY.to_owned(),
        id: info.id.to_string(),
        uri: image_uri(info.id),
        name: info.name,
        status,
        status_reason,
        state: "Normal".to_owned(),
        modified: created.clone(),
        created,
        e_tag: e_tag(info.created_unix_ms),
        size: info.size_bytes,
        allocated_bytes: info.allocated_bytes,
        check_sum: format!("sha256:{}", info.digest),
        source_format: info.source_format,
        os_volumes: info.volumes as u64,
        read_only: false,
        image_capture: false,
    }
}

pub(super) fn volume(info: VolumeInfo, images: &KnownImages, exports: &dyn Exports) -> OsVolume {
    let id = info.id.to_string();
    let created = iso8601(info.created_unix_ms);
    let portals = portals(exports);
    let sessions = exports.sessions(info.id);
    let iscsi_name = exports.target_name(info.id, &info.name);
    let (status, status_reason) = health(info.health);
    OsVolume {
        kind: OsVolume::KIND.to_owned(),
        category: OsVolume::CATEGORY.to_owned(),
        uri: format!("{}/{id}", api::OS_VOLUMES),
        oe_volume_id: id.clone(),
        id,
        name: info.name,
        status,
        status_reason,
        state: state(status, &sessions).to_owned(),
        modified: created.clone(),
        created,
        e_tag: e_tag(info.created_unix_ms),
        size: info.size_bytes,
        provisioned_bytes: info.size_bytes,
        allocated_bytes: info.allocated_bytes,
        golden_volume_uri: info.image.map(image_uri),
        image_name: info.image.and_then(|image| images.name_of(image)),
        oe_volume_iqn: iscsi_name.clone(),
        iscsi_name,
        oe_volume_ip: portals.first().map(|portal| portal.address.clone()),
        lun: LUN,
        portals,
        sessions,
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

pub(super) fn state(status: Health, sessions: &[SessionSummary]) -> &'static str {
    match (status, sessions) {
        (Health::Critical, _) => "Failed",
        (_, []) => "Ready",
        (_, _) => "InUse",
    }
}

/// Image Streamer's form: a time and a revision. Neither changes while nothing can be edited.
fn e_tag(created_unix_ms: u64) -> String {
    format!("{created_unix_ms}/1")
}
