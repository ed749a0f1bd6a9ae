//! What artifacts refer to each other by.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Another artifact, or whatever uses one, by its name and path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArtifactReference {
    /// Its name.
    pub name: String,
    /// Its path.
    pub uri: String,
}
