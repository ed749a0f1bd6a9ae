//! `…/content`: a disk as bytes, while it is in use.

use std::sync::Arc;

use api::upload;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use cow::Subject;

use super::answer::Answer;
use super::endpoint::{Access, Endpoint, get};
use super::image_adding::text;
use super::state::Control;
use crate::images::BodyFraming;

/// A disk has the secrets of the machine that ran from it: whoever only looks does not get it.
pub(super) fn endpoints() -> Vec<Endpoint> {
    use Access::{EditArtifacts, EditProfiles};
    let disk = |endpoint: Endpoint| {
        endpoint.answers_media("application/octet-stream").answers_media(upload::MEDIA_TYPE)
    };
    let image = "The disk of a golden image";
    let snapshot = "/rest/os-volumes/{id}/snapshots/{snapshot}/content";
    vec![
        disk(get("/rest/golden-images/{id}/content", EditArtifacts, image, of_image)),
        disk(get("/rest/os-volumes/{id}/content", EditProfiles, "The disk of an OS volume", of_volume)),
        disk(get(snapshot, EditProfiles, "The disk of a snapshot", of_snapshot)),
    ]
}

pub(super) async fn of_image(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let image = control.find_image(&id).await?;
    control.content(Subject::Image(image.id), &headers).await
}

pub(super) async fn of_volume(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let volume = control.find_volume(&id).await?;
    control.content(Subject::Volume(volume.id), &headers).await
}

pub(super) async fn of_snapshot(
    State(control): State<Arc<Control>>,
    Path((id, snapshot)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    let volume = control.find_volume(&id).await?;
    let snapshot = control.find_snapshot(&volume, &snapshot).await?;
    control.content(Subject::Snapshot(snapshot.id), &headers).await
}

impl Control {
    /// The disk's bytes as they are, or its extents for a client that reads those: then holes are not sent.
    async fn content(&self, subject: Subject, headers: &HeaderMap) -> Answer {
        let takes_extents = text(headers, header::ACCEPT).contains(upload::MEDIA_TYPE);
        let (framing, media_type) = match takes_extents {
            true => (BodyFraming::Extents, upload::MEDIA_TYPE),
            false => (BodyFraming::Plain, "application/octet-stream"),
        };
        let content = self.importer.content(subject, framing).await?;
        let size = content.size_bytes.to_string();
        let mut response = content.body.into_response();
        let mut set = |name: header::HeaderName, value: &str| {
            header::HeaderValue::from_str(value).map(|value| response.headers_mut().insert(name, value))
        };
        let named = set(header::CONTENT_TYPE, media_type)
            .and_then(|_| set(header::HeaderName::from_static(upload::SIZE_HEADER), &size))
            .and_then(|_| if takes_extents { Ok(None) } else { set(header::CONTENT_LENGTH, &size) });
        match named {
            Ok(_) => Ok(response),
            Err(error) => Err(super::refusals::internal("the answer's head", &error).into()),
        }
    }
}
