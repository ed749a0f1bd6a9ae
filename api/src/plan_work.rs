//! Work on plans: trying them out, looking them through, giving those in use successors.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ArtifactReference, Name, ProfileAttribute, lenient, truth};

/// What `POST /rest/deployment-plans/{id}/try` takes: what a profile would say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanTrial {
    /// Values of the plan's attributes.
    #[serde(default, deserialize_with = "lenient::list")]
    #[schemars(with = "Option<Vec<ProfileAttribute>>")]
    pub os_custom_attributes: Vec<ProfileAttribute>,
    /// The server whose addresses the scripts are given, by path, id or name.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub server_hardware_uri: Option<String>,
    /// The name under which the volume is kept, whether the scripts succeed or not; absent: it is thrown away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_as: Option<Name>,
}

/// Something that was found in a plan's scripts (`/rest/build-plans/{id}/findings`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanFinding {
    /// Number of the step, from 1; 0 if it is about the plan as a whole.
    pub step: usize,
    /// Name of its script; empty if it is about the plan as a whole.
    pub script: String,
    /// Line of the script, from 1; 0 if it is about no line.
    pub line: usize,
    /// `note`, `warning` or `error`.
    pub severity: String,
    /// What it is, and what to do.
    pub message: String,
}

/// What `POST …/{id}/revisions` takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionBody {
    /// Whether the plans that use it get successors too, which use the new one.
    #[serde(default, deserialize_with = "truth::flag")]
    #[schemars(with = "truth::Flag")]
    pub with_users: bool,
}

/// A successor that was made: it can be edited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// The new artifact.
    #[serde(flatten)]
    pub artifact: ArtifactReference,
    /// What it succeeds.
    pub revision_of: ArtifactReference,
}
