//! Enclosure groups: what logical enclosures have in common, and whether their servers get OS volumes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lenient::{self, Extra};
use crate::{Head, truth};

/// An enclosure group (`/rest/enclosure-groups/{id}`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnclosureGroup {
    #[serde(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub head: Head,
    /// How many enclosures a logical enclosure of this group has.
    pub enclosure_count: u32,
    /// Whether profiles of this group may name a deployment plan.
    pub os_deployment_settings: GroupDeploymentSettings,
    #[serde(flatten)]
    #[allow(missing_docs, reason = "fields of clients, given back as they came")]
    pub extra: Extra,
}

impl EnclosureGroup {
    /// The value of [`Head::kind`].
    pub const KIND: &'static str = "EnclosureGroupV8";
    /// The value of [`Head::category`].
    pub const CATEGORY: &'static str = "enclosure-groups";
}

/// `osDeploymentSettings` of an enclosure group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupDeploymentSettings {
    /// Whether profiles of this group may name a deployment plan.
    #[serde(default, rename = "manageOSDeployment", deserialize_with = "truth::flag")]
    #[schemars(with = "truth::Flag")]
    pub manage_os_deployment: bool,
    /// Over which network; kept and given back.
    #[serde(default)]
    pub deployment_mode_settings: Option<DeploymentModeSettings>,
}

/// `deploymentModeSettings` of an enclosure group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentModeSettings {
    /// `Internal`, `External` or `None`.
    #[serde(default)]
    pub deployment_mode: DeploymentMode,
    /// Path of the network.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub deployment_network_uri: Option<String>,
}

/// Where servers find the storage network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeploymentMode {
    /// Inside the enclosures.
    Internal,
    /// Outside of them.
    External,
    /// Nowhere.
    #[default]
    None,
}

/// What POST and PUT of `/rest/enclosure-groups` take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnclosureGroupSpec {
    /// The name, unique among enclosure groups.
    pub name: String,
    /// For people.
    #[serde(default, deserialize_with = "lenient::text")]
    #[schemars(with = "Option<String>")]
    pub description: String,
    /// How many enclosures a logical enclosure of this group has; 1 if not given.
    #[serde(default)]
    pub enclosure_count: Option<u32>,
    /// Absent or `null`: no OS deployment.
    #[serde(default)]
    pub os_deployment_settings: Option<GroupDeploymentSettings>,
    /// The eTag that was read, when a resource is changed.
    #[serde(default, rename = "eTag", skip_serializing_if = "Option::is_none")]
    pub e_tag: Option<String>,
    #[serde(flatten)]
    #[allow(missing_docs, reason = "fields of clients, kept and given back as they came")]
    pub extra: Extra,
}
