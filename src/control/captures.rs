//! Golden images that are captured: which disk is meant, and what is done to a copy of it before.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use api::{Code, GoldenImage, Name, PlanType, Refusal, Title, iso8601};
use axum::body::Body;
use cow::Subject;
use script::{Expanded, Values};
use tokio::sync::watch;
use uuid::Uuid;

use super::answer::{Refused, parse};
use super::placement::named;
use super::state::Control;
use super::trials::times;
use crate::catalog::golden_images::{NewGoldenImage, Source};
use crate::catalog::holds::Hold;
use crate::catalog::{Kind, build_plans, deployment_plans, tasks};
use crate::images::Step;
use crate::lifecycle::{Beginning, Scratch};

/// Longest request.
const BODY_BYTES_MAX: usize = 64 << 10;

/// A capture that was asked for.
pub(super) struct Capture {
    /// Name of the image to be.
    pub(super) title: Title,
    /// The disk.
    pub(super) subject: Subject,
    /// What the catalog is to know of the image.
    pub(super) about: NewGoldenImage,
    /// What is run on a copy of the disk before.
    pub(super) scripts: Option<Scripts>,
}

/// The scripts of a build plan that captures.
pub(super) struct Scripts {
    plan: Uuid,
    script: Arc<Expanded>,
}

/// A build plan that captures.
struct CapturePlan {
    id: Uuid,
    name: String,
    scripts: Option<Scripts>,
}

impl Control {
    /// What a request in JSON asks for.
    pub(super) async fn what_to_capture(&self, body: Body) -> Result<Capture, Refused> {
        let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await;
        let body = body.map_err(|error| {
            Refusal::new(Code::TooLarge, "the body cannot be read").details(error.to_string())
        })?;
        let new: api::NewGoldenImage = parse(Ok(body))?;
        if !new.image_capture {
            let message = "imageCapture is false: upload the file, or capture a volume";
            return Err(Refusal::new(Code::InvalidValue, message).source("imageCapture").into());
        }
        let build_plan = match &new.build_plan_uri {
            Some(plan) => Some(self.capture_plan(plan.clone()).await?),
            None => None,
        };
        let (build_plan, scripts) = match build_plan {
            Some(plan) => (Some((plan.id.to_string(), plan.name)), plan.scripts),
            None => (None, None),
        };
        if let Some(scripts) = &scripts {
            self.lifecycle.check_scripts(&scripts.script)?;
        }
        let subject = self.subject(new.os_volume_uri.as_deref(), new.snapshot_uri.as_deref()).await?;
        let os_volume = self.volume_of(subject).await?;
        let log = log_of(new.name.as_str(), os_volume.as_ref(), build_plan.as_ref(), scripts.is_some());
        let source = Source { os_volume, build_plan, bundle: None };
        let about = NewGoldenImage {
            name: new.name.to_string(),
            description: new.description.unwrap_or_default(),
            source,
            capture_log: log,
            ..NewGoldenImage::default()
        };
        Ok(Capture { title: new.name, subject, about, scripts })
    }

    /// A build plan that captures, and its scripts. They have no attributes.
    async fn capture_plan(&self, reference: String) -> Result<CapturePlan, Refusal> {
        let read = self.read(move |tx| {
            let found = named("buildPlanUri", build_plans::find(tx, &reference))?;
            let steps = deployment_plans::script_steps(tx, found.envelope.id)?;
            Ok((found, steps))
        });
        let (found, steps) = read.await?;
        let (id, name) = (found.envelope.id, found.envelope.name);
        let refuse = |message: String| Refusal::new(Code::InvalidValue, message).source("buildPlanUri");
        if found.plan_type != PlanType::Capture {
            return Err(refuse(format!("build plan {name:?} deploys; one that captures is needed")));
        }
        let script = script::expand(&steps, &Values::new()).map_err(|faults| {
            let all: Vec<String> = faults.iter().map(ToString::to_string).collect();
            refuse(format!("build plan {name:?} cannot be run: {}", all.join("; ")))
        })?;
        let scripts = (!steps.is_empty()).then(|| Scripts { plan: id, script: Arc::new(script) });
        Ok(CapturePlan { id, name, scripts })
    }

    /// Begins a capture whose scripts run on a copy of the disk: the task that the copy lives for.
    pub(super) async fn begin_capture(
        &self,
        actor: &str,
        title: &Title,
        scripts: &Scripts,
    ) -> Result<Scratch, Refusal> {
        let subject = tasks::Subject { kind: Kind::GoldenImage, id: None, name: title.to_string() };
        let holds = vec![Hold::shared(Kind::BuildPlan, scripts.plan)];
        let scratch = self.lifecycle.begin_scratch(actor, "Create", subject, holds).await?;
        scratch.task().log(format!("capturing golden image {:?}", title.as_str()));
        Ok(scratch)
    }

    /// Captures a copy of the disk on which the scripts have run. The disk itself is untouched, and may be in use.
    pub(super) async fn capture_copy(
        &self,
        mut scratch: Scratch,
        name: Name,
        capture: Capture,
        scripts: Scripts,
        steps: watch::Sender<Step>,
    ) -> Result<GoldenImage, Refusal> {
        let outcome = self.capture_in(&mut scratch, &name, capture, &scripts, &steps).await;
        if let Ok(image) = &outcome {
            scratch.task().about(tasks::Subject::new(Kind::GoldenImage, &image.id, &image.name));
        }
        let ended = match &outcome {
            Ok(_) => Ok(()),
            Err(refusal) => Err(refusal.clone()),
        };
        scratch.end(ended).await;
        outcome
    }

    async fn capture_in(
        &self,
        scratch: &mut Scratch,
        name: &Name,
        capture: Capture,
        scripts: &Scripts,
        steps: &watch::Sender<Step>,
    ) -> Result<GoldenImage, Refusal> {
        let Capture { title, subject, mut about, .. } = capture;
        let copy = scratch.make(Beginning::Copy(subject)).await?;
        let report = scratch.run(scripts.script.clone(), true).await?;
        for line in times(&report) {
            scratch.task().log(line.clone());
            about.capture_log += &format!("{} {line}\n", now());
        }
        about.capture_log += &report.log;
        scratch.task().log("copying the disk");
        let captured = self.importer.capture(name, Subject::Volume(copy.id), about, steps).await;
        self.told(&title, captured).await
    }

    /// Id and name of the volume that a disk is of.
    async fn volume_of(&self, subject: Subject) -> Result<Option<(String, String)>, Refusal> {
        self.blocking(move |store| {
            let id = match subject {
                Subject::Volume(id) => Some(id),
                Subject::Snapshot(snapshot) => {
                    store.snapshots().into_iter().find(|one| one.id == snapshot).and_then(|one| one.volume)
                }
                Subject::Image(_) => None,
            };
            id.and_then(|id| store.volume_info(id).ok()).map(|info| (info.id.to_string(), info.name))
        })
        .await
    }

    /// A volume as it is now, or one of its snapshots.
    async fn subject(&self, volume: Option<&str>, snapshot: Option<&str>) -> Result<Subject, Refusal> {
        match (volume, snapshot) {
            (Some(volume), None) => Ok(Subject::Volume(self.find_volume(volume).await?.id)),
            (_, Some(snapshot)) if snapshot.contains('/') => {
                Ok(Subject::Snapshot(self.find_snapshot_by_reference(snapshot).await?.id))
            }
            (Some(volume), Some(snapshot)) => {
                let reference = format!("{}/{snapshot}", last(volume));
                Ok(Subject::Snapshot(self.find_snapshot_by_reference(&reference).await?.id))
            }
            (None, Some(snapshot)) => {
                let message = format!("{snapshot:?} names no snapshot; write it as VOLUME/SNAPSHOT");
                Err(Refusal::new(Code::InvalidValue, message).source("snapshotURI"))
            }
            (None, None) => {
                let message = "name the volume, or the snapshot, that is to be captured";
                Err(Refusal::new(Code::InvalidValue, message).source("osVolumeURI"))
            }
        }
    }
}

/// What the image's log says.
fn log_of(
    name: &str,
    volume: Option<&(String, String)>,
    plan: Option<&(String, String)>,
    has_scripts: bool,
) -> String {
    let at = now();
    let volume = volume.map_or("a snapshot".to_owned(), |(id, name)| format!("OS volume {name:?} ({id})"));
    let steps = if has_scripts { "" } else { ", which has no steps" };
    let plan = plan.map_or("none".to_owned(), |(id, name)| format!("{name:?} ({id}){steps}"));
    let how = if has_scripts { "scripts are run on a copy of it" } else { "captured as is" };
    format!("{at} capturing golden image {name:?} from {volume}\n{at} build plan: {plan}\n{at} {how}\n")
}

fn now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    iso8601(u64::try_from(now).unwrap_or(0))
}

/// The last part of a path.
fn last(reference: &str) -> &str {
    reference.rsplit('/').next().unwrap_or(reference)
}
