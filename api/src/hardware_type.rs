//! Server hardware types: models of servers. A volume was personalized for one of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Head;
use crate::lenient::{self, Extra};

/// A server hardware type (`/rest/server-hardware-types/{id}`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerHardwareType {
    #[serde(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub head: Head,
    /// The model, for people.
    pub model: String,
    #[serde(flatten)]
    #[allow(missing_docs, reason = "fields of clients, given back as they came")]
    pub extra: Extra,
}

impl ServerHardwareType {
    /// The value of [`Head::kind`].
    pub const KIND: &'static str = "server-hardware-type-12";
    /// The value of [`Head::category`].
    pub const CATEGORY: &'static str = "server-hardware-types";
}

/// What POST and PUT of `/rest/server-hardware-types` take.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerHardwareTypeSpec {
    /// The name, unique among hardware types.
    pub name: String,
    /// For people.
    #[serde(default, deserialize_with = "lenient::text")]
    #[schemars(with = "Option<String>")]
    pub description: String,
    /// The model, for people.
    #[serde(default, deserialize_with = "lenient::text")]
    #[schemars(with = "Option<String>")]
    pub model: String,
    /// The eTag that was read, when a resource is changed.
    #[serde(default, rename = "eTag", skip_serializing_if = "Option::is_none")]
    pub e_tag: Option<String>,
    #[serde(flatten)]
    #[allow(missing_docs, reason = "fields of clients, kept and given back as they came")]
    pub extra: Extra,
}
