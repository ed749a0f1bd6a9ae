//! Which engine runs a job, and whether it has succeeded.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::Refusal;
use cow::Store;
use script::Expanded;

use super::job::{Failure, Job, Report, Told};

/// Runs plan scripts.
pub struct Deployer {
    store: Arc<Store>,
    settings: config::Plans,
    /// Directory of the jobs' sockets.
    directory: PathBuf,
}

impl Deployer {
    /// Ready to run jobs, whose sockets are made in `directory`.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new(store: Arc<Store>, settings: &config::Plans, directory: &Path) -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self { store, settings: settings.clone(), directory: directory.to_owned() }))
    }

    /// Whether such scripts can be run here at all, as far as that can be said without a volume.
    ///
    /// # Errors
    /// What is missing, and how to get it.
    pub fn check(&self, script: &Expanded) -> Result<(), Refusal> {
        let _ = (script, &self.settings, &self.store, &self.directory);
        Ok(())
    }

    /// Runs a job.
    ///
    /// # Errors
    /// Step, script, line and message.
    pub async fn run(&self, job: Job, told: &Told) -> Result<Report, Failure> {
        let _ = (job, told);
        Err(Failure { refusal: Refusal::new(api::Code::MissingTool, "not there yet"), log: String::new() })
    }
}
