//! The daemon's own status.

use serde::{Deserialize, Serialize};

use crate::{Health, Portal, Scrub};

/// `GET /rest/osvol/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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
    /// File system under the store, and who takes how much of it.
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
    /// What golden images, volumes and snapshots take in the store; what they share counts once.
    pub allocated_bytes: u64,
    /// Layers with data whose volume has lost its manifest.
    #[serde(default)]
    pub orphans: u64,
    /// What is wrong with the catalog; nothing is written to it while there is anything.
    #[serde(default)]
    pub catalog_damage: Vec<String>,
    /// How the scrub stands.
    pub scrub: Scrub,
}

/// The file system under the store, and who takes how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// Its size.
    pub total_bytes: u64,
    /// What data may still take of it.
    pub available_bytes: u64,
    /// What is free in it but kept back: flush, trim, removal and metadata find room there when all else is full.
    #[serde(default)]
    pub reserve_bytes: u64,
    /// What is kept free for volumes that have room guaranteed and do not use all of it.
    #[serde(default)]
    pub withheld_bytes: u64,
    /// Content of golden images.
    #[serde(default)]
    pub images_bytes: u64,
    /// Data of volumes.
    #[serde(default)]
    pub volumes_bytes: u64,
    /// Data that only snapshots hold: what comes back when all of them are removed.
    #[serde(default)]
    pub snapshots_bytes: u64,
    /// The catalog with its copy, and artifact bundles.
    #[serde(default)]
    pub catalog_bytes: u64,
    /// How full it is.
    #[serde(default)]
    pub level: SpaceLevel,
}

/// How full a store, or the quota of a volume, is.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum SpaceLevel {
    /// There is room.
    #[default]
    Normal,
    /// 75 % and more.
    Soft,
    /// 90 % and more.
    High,
    /// Writes that need room are refused.
    Full,
    /// A word of a newer daemon.
    #[serde(other)]
    Unknown,
}

impl std::fmt::Display for SpaceLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Normal => "Normal",
            Self::Soft => "Soft",
            Self::High => "High",
            Self::Full => "Full",
            Self::Unknown => "Unknown",
        })
    }
}

/// `GET /rest/version`: the range of API versions that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionRange {
    /// Oldest.
    pub minimum_version: u32,
    /// Newest.
    pub current_version: u32,
}
