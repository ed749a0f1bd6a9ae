//! What the resources of OneView's side begin with.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Health;

/// The fields that every one of them has. All but name and description are the server's: in a body they are read over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// For instance `ServerProfileV12`.
    #[serde(rename = "type")]
    pub kind: String,
    /// For instance `server-profiles`.
    pub category: String,
    /// The id, a UUID.
    pub id: String,
    /// Path of this resource.
    pub uri: String,
    /// The name, unique among resources of this kind without regard to case.
    pub name: String,
    /// For people.
    pub description: String,
    /// Health.
    pub status: Health,
    /// What it is doing, or how it stands.
    pub state: String,
    /// When it was made.
    pub created: String,
    /// When it was last changed.
    pub modified: String,
    /// Changes whenever the resource does.
    #[serde(rename = "eTag")]
    pub e_tag: String,
}

/// Names behind a resource's paths, for people. The server fills them in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceNames {
    /// The server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_hardware: Option<String>,
    /// Its hardware type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_hardware_type: Option<String>,
    /// The enclosure group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enclosure_group: Option<String>,
    /// The logical enclosure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logical_enclosure: Option<String>,
    /// The profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_profile: Option<String>,
    /// The deployment plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_plan: Option<String>,
    /// The volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_volume: Option<String>,
}
