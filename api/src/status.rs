//! The daemon's own status.

use serde::{Deserialize, Serialize};

use crate::{Health, Portal, Scrub};

/// `GET /rest/osvol/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DaemonStatus {
    /// `osvold`'s version.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Seconds since it was ready.
    pub uptime_seconds: u64,
    /// The worst health of any volume, and of the store.
    pub status: Health,
    /// What stands behind a health that is not OK.
    #[serde(default)]
    pub status_reason: Option<String>,
    /// Directory of the store.
    pub store: String,
    /// File system under the store.
    pub capacity: Capacity,
    /// Where initiators connect to.
    pub portals: Vec<Portal>,
    /// Number of golden images.
    pub golden_images: u64,
    /// Number of OS volumes.
    pub os_volumes: u64,
    /// Number of sessions that are logged in.
    pub sessions: u64,
    /// Sum of the volumes' sizes.
    pub provisioned_bytes: u64,
    /// Sum of what volumes and images take in the store.
    pub allocated_bytes: u64,
    /// How the scrub stands.
    pub scrub: Scrub,
}

/// The file system under the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// Its size.
    pub total_bytes: u64,
    /// What the daemon may still use of it.
    pub available_bytes: u64,
}

/// `GET /rest/version`: the range of API versions that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionRange {
    /// Oldest.
    pub minimum_version: u32,
    /// Newest.
    pub current_version: u32,
}
