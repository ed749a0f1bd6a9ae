//! Golden images that are captured: which disk is meant.

use api::{Code, Name, NewGoldenImage, Refusal};
use axum::body::Body;
use cow::Subject;

use super::answer::{Refused, parse};
use super::state::Control;

/// Longest request.
const BODY_BYTES_MAX: usize = 64 << 10;

impl Control {
    /// What a request in JSON asks for.
    pub(super) async fn what_to_capture(&self, body: Body) -> Result<(Name, Subject), Refused> {
        let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await;
        let body = body.map_err(|error| {
            Refusal::new(Code::TooLarge, "the body cannot be read").details(error.to_string())
        })?;
        let new: NewGoldenImage = parse(Ok(body))?;
        if !new.image_capture {
            let message = "imageCapture is false: upload the file, or capture a volume";
            return Err(Refusal::new(Code::InvalidValue, message).source("imageCapture").into());
        }
        if new.build_plan_uri.is_some() {
            let message = "a capture by a build plan is not known; the volume is captured as it is";
            return Err(Refusal::new(Code::InvalidValue, message).source("buildPlanUri").into());
        }
        let subject = self.subject(new.os_volume_uri.as_deref(), new.snapshot_uri.as_deref()).await?;
        let name = Name::parse(new.name.as_str())
            .map_err(|error| Refusal::new(Code::InvalidValue, error.to_string()).source("name"))?;
        Ok((name, subject))
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

/// The last part of a path.
fn last(reference: &str) -> &str {
    reference.rsplit('/').next().unwrap_or(reference)
}
