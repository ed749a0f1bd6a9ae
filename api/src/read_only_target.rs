//! A golden image or snapshot that is served as a write-protected disk, in Image Streamer's style.

use serde::{Deserialize, Serialize};

use crate::{ExportChange, ExportSettings, Health, Portal, SessionSummary};

/// A target (`/rest/read-only-targets/{id}`) whose disk is only read, by any number of initiators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadOnlyTarget {
    /// `ReadOnlyTarget`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `read-only-targets`.
    pub category: String,
    /// The id: that of the image or snapshot.
    pub id: String,
    /// Path of this resource.
    pub uri: String,
    /// Name of the golden image, or of the snapshot.
    pub name: String,
    /// Whether it can be read.
    pub status: Health,
    /// What is wrong.
    pub status_reason: Option<String>,
    /// Path of the golden image.
    pub golden_image_uri: Option<String>,
    /// Path of the snapshot.
    pub snapshot_uri: Option<String>,
    /// Name of the snapshot's volume.
    pub volume_name: Option<String>,
    /// Size in bytes.
    pub size: u64,
    /// Name of the target.
    pub iscsi_name: String,
    /// Number of its logical unit.
    pub lun: u64,
    /// Addresses at which it is reached.
    pub portals: Vec<Portal>,
    /// Who is logged in.
    pub sessions: Vec<SessionSummary>,
    /// What it is exported with; `null` when that cannot be read: then it is exported to nobody.
    pub export: Option<ExportSettings>,
}

impl ReadOnlyTarget {
    /// The value of [`ReadOnlyTarget::kind`].
    pub const KIND: &'static str = "ReadOnlyTarget";
    /// The value of [`ReadOnlyTarget::category`].
    pub const CATEGORY: &'static str = "read-only-targets";
}

/// What `POST /rest/read-only-targets` takes: an image or a snapshot, and who may read it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewReadOnlyTarget {
    /// Golden image by path, id or name.
    #[serde(default, rename = "goldenImageURI", skip_serializing_if = "Option::is_none")]
    pub golden_image_uri: Option<String>,
    /// Snapshot by path, or as `VOLUME/SNAPSHOT`.
    #[serde(default, rename = "snapshotURI", skip_serializing_if = "Option::is_none")]
    pub snapshot_uri: Option<String>,
    /// What it is exported with.
    #[serde(flatten)]
    pub export: ExportChange,
}

/// What `PATCH /rest/read-only-targets/{id}` takes; what is not named stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReadOnlyTargetChange {
    /// What it is exported with.
    #[serde(flatten)]
    pub export: ExportChange,
}
