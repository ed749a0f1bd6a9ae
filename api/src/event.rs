//! Changes as they happen: the `data:` of the server-sent events.

use serde::{Deserialize, Serialize};

/// What happened to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum EventKind {
    /// It is new.
    Created,
    /// It is different.
    Updated,
    /// It is gone.
    Deleted,
    /// A word of a newer daemon.
    #[serde(other)]
    Unknown,
}

/// A change that is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// What happened.
    pub change_type: EventKind,
    /// The collection of what it happened to.
    pub resource_category: String,
    /// Its path.
    pub resource_uri: String,
    /// Its name.
    pub resource_name: String,
    /// When.
    pub timestamp: String,
}
