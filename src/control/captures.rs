//! Golden images that are captured: which disk is meant.

use std::time::{SystemTime, UNIX_EPOCH};

use api::{Code, PlanType, Refusal, Title, iso8601};
use axum::body::Body;
use cow::Subject;

use super::answer::{Refused, parse};
use super::placement::named;
use super::state::Control;
use crate::catalog::build_plans;
use crate::catalog::golden_images::{NewGoldenImage, Source};

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
        let subject = self.subject(new.os_volume_uri.as_deref(), new.snapshot_uri.as_deref()).await?;
        let os_volume = self.volume_of(subject).await?;
        let log = log_of(new.name.as_str(), os_volume.as_ref(), build_plan.as_ref());
        let source = Source { os_volume, build_plan, bundle: None };
        let about = NewGoldenImage {
            name: new.name.to_string(),
            description: new.description.unwrap_or_default(),
            source,
            capture_log: log,
            ..NewGoldenImage::default()
        };
        Ok(Capture { title: new.name, subject, about })
    }

    /// A build plan that captures, by id and name. Its steps are not run yet, so it must have none.
    async fn capture_plan(&self, reference: String) -> Result<(String, String), Refusal> {
        let found = self.read(move |tx| named("buildPlanUri", build_plans::find(tx, &reference))).await?;
        let refuse = |message: String| Err(Refusal::new(Code::InvalidValue, message).source("buildPlanUri"));
        let name = &found.envelope.name;
        if found.plan_type != PlanType::Capture {
            return refuse(format!("build plan {name:?} deploys; one that captures is needed"));
        }
        if !found.steps.is_empty() {
            return refuse(format!("build plan {name:?} has steps, and plan scripts are not run yet"))
                .map_err(|refusal: Refusal| {
                    refusal.action("capture as is: by a build plan without steps, or by none")
                });
        }
        Ok((found.envelope.id.to_string(), found.envelope.name))
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
fn log_of(name: &str, volume: Option<&(String, String)>, plan: Option<&(String, String)>) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let at = iso8601(u64::try_from(now).unwrap_or(0));
    let volume = volume.map_or("a snapshot".to_owned(), |(id, name)| format!("OS volume {name:?} ({id})"));
    let plan = plan.map_or("none".to_owned(), |(id, name)| format!("{name:?} ({id}), which has no steps"));
    format!(
        "{at} capturing golden image {name:?} from {volume}\n{at} build plan: {plan}\n{at} captured as is\n"
    )
}

/// The last part of a path.
fn last(reference: &str) -> &str {
    reference.rsplit('/').next().unwrap_or(reference)
}
