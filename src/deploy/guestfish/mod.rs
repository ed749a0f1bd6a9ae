//! guestfish in a sandbox.

use std::path::Path;
use std::sync::Arc;

use api::{Code, Refusal};
use script::Expanded;

use super::job::{Ended, Stop, Told};

/// The engine.
pub struct Guestfish;

/// Whether it can run.
pub struct Readiness;

impl Readiness {
    /// Why not, with what to do.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        Some(Refusal::new(
            Code::MissingTool,
            "plan scripts need guestfish, which this osvold does not run yet",
        ))
    }
}

impl Guestfish {
    /// An engine that has not been tested yet.
    #[must_use]
    pub fn new(_settings: &config::Plans) -> Arc<Self> {
        Arc::new(Self)
    }

    /// What the last test found.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        Readiness
    }

    /// Runs scripts on the disk behind a socket.
    pub async fn run(&self, _script: &Expanded, _socket: &Path, _squeeze: bool, _told: &Told<'_>) -> Ended {
        Ended::stopped(Stop {
            step: None,
            line: None,
            message: "guestfish is not run yet".to_owned(),
            code: Code::MissingTool,
        })
    }
}
