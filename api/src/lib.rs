//! Types of the control API, shared by the daemon and the command line.
//!
//! Resources, field names and collections are those of Image Streamer's REST API (`/rest/golden-images`,
//! `/rest/os-volumes`), so that its clients can read them. Fields that it lacked stand beside them in the same style.
//! This crate does no I/O and reads no clock.

mod format;
mod image;
mod list;
mod name;
mod progress;
mod refusal;
mod scrub;
mod snapshot;
mod status;
mod time;
pub mod truth;
pub mod upload;
mod user;
mod volume;

pub use format::{BadFormat, ImageFormat};
pub use image::{GoldenImage, NewGoldenImage};
pub use list::{Collection, ListError, Page, page};
pub use name::{NAME_BYTES_MAX, Name, NameError, nearest};
pub use progress::{Phase, Progress};
pub use refusal::{Code, Refusal};
pub use scrub::{Finding, Scrub, ScrubPass, ScrubResult, ScrubState};
pub use snapshot::{NewSnapshot, Snapshot};
pub use status::{Capacity, DaemonStatus, SpaceLevel, VersionRange};
pub use time::iso8601;
pub use user::{BadRole, Role};
pub use volume::{NewOsVolume, OsVolume, OsVolumeChange, Portal, SessionSummary, SizeSpec, VolumeStorage};

/// Path of the collection of golden images.
pub const GOLDEN_IMAGES: &str = "/rest/golden-images";
/// Path of the collection of OS volumes.
pub const OS_VOLUMES: &str = "/rest/os-volumes";
/// Path of the collection of all snapshots of OS volumes.
pub const SNAPSHOTS: &str = "/rest/os-volume-snapshots";
/// Path of the daemon's own status.
pub const STATUS: &str = "/rest/osvol/status";
/// Path of the scrub; `/start` and `/stop` are below it.
pub const SCRUB: &str = "/rest/osvol/scrub";
/// Path that tells which API versions are spoken.
pub const VERSION: &str = "/rest/version";
/// Path of the login sessions.
pub const LOGIN_SESSIONS: &str = "/rest/login-sessions";
/// Path of the collection of users.
pub const USERS: &str = "/rest/users";
/// Path of the collection of tasks.
pub const TASKS: &str = "/rest/tasks";
/// Path of the changes, as they happen.
pub const EVENTS: &str = "/rest/osvol/events";
/// Path of the OpenAPI document.
pub const OPENAPI: &str = "/rest/osvol/openapi.json";
/// Media type of a stream of JSON values, one a line: progress, then the result.
pub const NDJSON: &str = "application/x-ndjson";

/// Health of a resource, as OneView words it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub enum Health {
    /// Works.
    OK,
    /// Works, and needs attention.
    Warning,
    /// Does not work, or has lost data.
    Critical,
    /// A word of a newer daemon.
    #[serde(other)]
    Unknown,
}

impl std::fmt::Display for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::OK => "OK",
            Self::Warning => "Warning",
            Self::Critical => "Critical",
            Self::Unknown => "Unknown",
        })
    }
}
