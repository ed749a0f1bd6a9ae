//! What a request would do to volumes, before it does it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What becomes of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ImpactOutcome {
    /// It stays as it is.
    Retain,
    /// One is made from the plan.
    Create,
    /// A new one is made from the plan, and takes its place.
    Regenerate,
    /// It goes.
    Delete,
    /// A word of a newer daemon.
    #[serde(other)]
    Unknown,
}

/// What a request would do. Nothing has been changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Impact {
    /// The weightiest of what becomes of the volumes.
    pub outcome: ImpactOutcome,
    /// Would anything that was written be lost?
    pub lossy: bool,
    /// One sentence, for people.
    pub summary: String,
    /// Each volume that is concerned.
    pub volumes: Vec<VolumeImpact>,
    /// Say proceed by sending the same request with this as the query parameter `confirmationToken`. It stands for
    /// the state that the impact was found in: when anything of that changes, it is refused. `null` when nothing
    /// needs to be confirmed.
    pub confirmation_token: Option<String>,
    /// When the token ends.
    pub expires: Option<String>,
}

/// What becomes of one volume, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeImpact {
    /// The profile whose volume it is.
    pub profile_name: String,
    /// Its name; `null` while there is none.
    pub volume_name: Option<String>,
    /// Its path.
    pub volume_uri: Option<String>,
    /// What becomes of it.
    pub outcome: ImpactOutcome,
    /// Row of the table of rules (docs/LIFECYCLE.md).
    pub rule: String,
    /// Why, in words.
    pub reason: String,
    /// Bytes written to it since it was deployed.
    pub bytes_written: u64,
    /// Its snapshots, which go with it.
    pub snapshots: u64,
    /// What is kept all the same, in words; `null` when nothing is.
    pub kept: Option<String>,
    /// Initiators that are logged in to it, or to a served snapshot that goes with it.
    pub sessions: Vec<String>,
    /// What the power of its server is recorded as: `On`, `Off` or `Unknown`; `null` without a server.
    pub power: Option<String>,
}
