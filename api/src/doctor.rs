//! What the daemon needs of the machine that it runs on, and whether it is there.

use serde::{Deserialize, Serialize};

use crate::Health;

/// `GET /rest/osvol/doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Doctor {
    /// The worst of all checks.
    pub status: Health,
    /// Whether plan scripts that need guestfish can be run; those that the built-in engine knows always can.
    pub guestfish_ready: bool,
    /// All checks.
    pub checks: Vec<DoctorCheck>,
}

/// Something that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DoctorCheck {
    /// What was looked at.
    pub name: String,
    /// How it is. Critical is what does not work.
    pub status: Health,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
}

/// What `osvol appliance build` leaves beside the appliance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplianceStamp {
    /// Version of libguestfs that it was built with, and works with.
    pub libguestfs: String,
    /// When, RFC 3339.
    pub built: String,
}

impl ApplianceStamp {
    /// The name of its file.
    pub const FILE: &'static str = "osvol.json";
}
