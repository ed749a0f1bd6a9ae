//! The snapshot of an OS volume as a resource: ours, in Image Streamer's style.

use serde::{Deserialize, Serialize};

use crate::{Health, Name};

/// A snapshot (`/rest/os-volumes/{id}/snapshots/{id}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// `OsVolumeSnapshot`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `os-volume-snapshots`.
    pub category: String,
    /// The id, 32 hexadecimal digits.
    pub id: String,
    /// Path of this resource.
    pub uri: String,
    /// The name, unique among the snapshots of its volume.
    pub name: String,
    /// Health.
    pub status: Health,
    /// What stands behind a health that is not OK.
    #[serde(default)]
    pub status_reason: Option<String>,
    /// Path of its volume.
    pub volume_uri: String,
    /// Name of its volume.
    pub volume_name: String,
    /// Size of the volume when it was taken.
    pub size: u64,
    /// When it was taken.
    pub created: String,
}

impl Snapshot {
    /// The value of [`Snapshot::kind`].
    pub const KIND: &'static str = "OsVolumeSnapshot";
    /// The value of [`Snapshot::category`].
    pub const CATEGORY: &'static str = "os-volume-snapshots";
}

/// What `POST /rest/os-volumes/{id}/snapshots` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewSnapshot {
    /// The name, unique among the snapshots of the volume.
    pub name: Name,
}
