//! The scrub: everything in the store is read in turn and compared with its checksum.

use serde::{Deserialize, Serialize};

/// `GET /rest/osvol/scrub`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scrub {
    /// Whether a pass runs.
    pub state: ScrubState,
    /// Passes begin by themselves.
    pub automatic: bool,
    /// Most bytes that a pass reads in a second.
    pub pace_bytes_per_second: u64,
    /// Seconds from the end of a pass to the beginning of the next.
    pub interval_seconds: u64,
    /// When the next pass begins by itself; `null` while one runs, or when none does.
    #[serde(default)]
    pub next: Option<String>,
    /// The pass that runs.
    #[serde(default)]
    pub current: Option<ScrubPass>,
    /// The last pass that ended, also across restarts of the daemon.
    #[serde(default)]
    pub last: Option<ScrubPass>,
    /// When everything had been read last.
    #[serde(default)]
    pub completed: Option<String>,
    /// Number of places that are known to be damaged.
    pub damaged: u64,
    /// The first of them.
    pub findings: Vec<Finding>,
}

/// Whether a pass runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum ScrubState {
    /// It does.
    Running,
    /// The next one waits for its time.
    Waiting,
    /// None runs, and none begins by itself.
    Off,
    /// A word of a newer daemon.
    #[serde(other)]
    Unknown,
}

/// One pass over the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScrubPass {
    /// When it began.
    pub started: String,
    /// When it ended.
    #[serde(default)]
    pub ended: Option<String>,
    /// What became of it.
    pub result: ScrubResult,
    /// Images, volumes and snapshots that are done.
    pub done: u64,
    /// How many there were when it began.
    pub total: u64,
    /// Bytes that were read.
    pub done_bytes: u64,
    /// Damaged places that it found.
    pub damaged: u64,
}

/// What became of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum ScrubResult {
    /// It runs.
    Running,
    /// Everything was read.
    Completed,
    /// Somebody stopped it.
    Stopped,
    /// The store could not be read.
    Failed,
    /// A word of a newer daemon.
    #[serde(other)]
    Unknown,
}

/// A place whose bytes are not what was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Category of what is damaged: `golden-images`, `os-volumes` or `os-volume-snapshots`.
    pub category: String,
    /// Its id.
    pub id: String,
    /// Its name when it was found; a snapshot's is `VOLUME/SNAPSHOT`.
    pub name: String,
    /// First byte of the place.
    pub offset: u64,
    /// What is wrong there.
    pub reason: String,
    /// When it was found.
    pub found: String,
}

impl Finding {
    /// Whether both are the same place.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        (&self.category, &self.id, self.offset) == (&other.category, &other.id, other.offset)
    }
}
