//! Scripts on a volume of a task: what the task tells meanwhile, and the log that is kept.

use std::sync::Arc;

use api::Refusal;
use cow::VolumeInfo;
use script::Expanded;

use super::service::Lifecycle;
use super::tasks::TaskHandle;
use crate::catalog::deployment_logs;
use crate::deploy::{Event, Job, Report};

/// Share of a task that is done when its volume has been made, and when its scripts have run.
const MADE_PERCENT: usize = 20;
const RUN_PERCENT: usize = 75;

/// Runs scripts on a volume that nobody else uses. The log is kept, whatever comes of it.
pub(super) async fn run(
    lifecycle: &Lifecycle,
    task: &TaskHandle,
    volume: &VolumeInfo,
    script: Arc<Expanded>,
    squeeze: bool,
) -> Result<Report, Refusal> {
    let job = Job { id: task.id().to_string(), volume: volume.id, script: (*script).clone(), squeeze };
    let told = |event| tell(task, &event);
    let (log, outcome) = match lifecycle.scripts.run(job, &told).await {
        Ok(report) => (report.log.clone(), Ok(report)),
        Err(failure) => (failure.log, Err(failure.refusal)),
    };
    keep_log(lifecycle, task.id(), volume, log).await;
    if let Ok(report) = &outcome {
        task.log(format!("plan scripts ran in {} ms ({})", report.took.as_millis(), report.engine.as_str()));
    }
    outcome
}

/// Without it the volume is as good.
async fn keep_log(lifecycle: &Lifecycle, task: uuid::Uuid, volume: &VolumeInfo, log: String) {
    let (catalog, id, name) = (lifecycle.catalog.clone(), volume.id.to_string(), volume.name.clone());
    let kept =
        lifecycle.blocking(move |_| catalog.write(|tx| deployment_logs::append(tx, &id, &name, task, &log)));
    match kept.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the log of plan scripts is not kept"),
        Err(refusal) => tracing::error!(%refusal, "the log of plan scripts is not kept"),
    }
}

fn tell(task: &TaskHandle, event: &Event) {
    match event {
        Event::Queued => task.log("waiting for other plan scripts to end"),
        Event::Begins(engine) => task.log(format!("running plan scripts ({})", engine.as_str())),
        Event::Step(step, all, name) => {
            let done = MADE_PERCENT + (RUN_PERCENT - MADE_PERCENT) * step / (*all).max(1);
            task.percent(u8::try_from(done).unwrap_or(0));
            task.log(format!("step {} of {all}: {name}", step + 1));
        }
    }
}
