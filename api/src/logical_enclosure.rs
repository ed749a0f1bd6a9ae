//! Logical enclosures: deployment domains. A volume made in one cannot be reached from servers of another.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lenient::{self, Extra};
use crate::{GroupDeploymentSettings, Head, ResourceNames};

/// A logical enclosure (`/rest/logical-enclosures/{id}`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogicalEnclosure {
    #[serde(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub head: Head,
    /// Path of its enclosure group.
    pub enclosure_group_uri: String,
    /// Where its volumes come from: this daemon.
    pub deployment_manager_settings: DeploymentManagerSettings,
    /// Names behind these paths.
    #[serde(default)]
    pub resource_names: ResourceNames,
    #[serde(flatten)]
    #[allow(missing_docs, reason = "fields of clients, given back as they came")]
    pub extra: Extra,
}

impl LogicalEnclosure {
    /// The value of [`Head::kind`].
    pub const KIND: &'static str = "LogicalEnclosureV4";
    /// The value of [`Head::category`].
    pub const CATEGORY: &'static str = "logical-enclosures";
}

/// `deploymentManagerSettings` of a logical enclosure, filled by the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentManagerSettings {
    /// Path of the cluster, `null` here.
    pub deployment_cluster_uri: Option<String>,
    /// Its group's.
    pub os_deployment_settings: GroupDeploymentSettings,
}

/// What POST and PUT of `/rest/logical-enclosures` take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogicalEnclosureSpec {
    /// The name, unique among logical enclosures.
    pub name: String,
    /// For people.
    #[serde(default, deserialize_with = "lenient::text")]
    #[schemars(with = "Option<String>")]
    pub description: String,
    /// Its enclosure group by path, id or name. A change moves the enclosure, and its volumes stay.
    pub enclosure_group_uri: String,
    /// The eTag that was read, when a resource is changed.
    #[serde(default, rename = "eTag", skip_serializing_if = "Option::is_none")]
    pub e_tag: Option<String>,
    #[serde(flatten)]
    #[allow(missing_docs, reason = "fields of clients, kept and given back as they came")]
    pub extra: Extra,
}
