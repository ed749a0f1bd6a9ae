//! `POST /rest/golden-images`: an upload in one of three framings, or, asked for in JSON, a capture.
//!
//! `osvol` sends extents and reads progress. Image Streamer's clients send `multipart/form-data`, and follow a capture as
//! a task. Whatever the way, an image is there whole, with its row in the catalog, or not at all.

use std::sync::Arc;

use api::{Code, GoldenImage, ImageFormat, NDJSON, Name, Phase, Refusal, Title, upload};
use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use cow::ImageInfo;
use serde::Deserialize;
use tokio::sync::watch;

use super::actor::Actor;
use super::answer::{Answer, json};
use super::artifacts::{accepted, end_task};
use super::captures::{Capture, Scripts};
use super::endpoint::{Access, Content, Endpoint, post, schema_of};
use super::image_progress::add_with_progress;
use super::refusals;
use super::state::{Control, row_id};
use crate::catalog::golden_images::{self, NewGoldenImage};
use crate::catalog::tasks::Subject;
use crate::catalog::{Kind, Tx};
use crate::images::{AddImage, BodyFraming, Step, multipart};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let sentence = "Adds a golden image: uploads a file, or captures a volume";
    vec![
        post(api::GOLDEN_IMAGES, Access::EditArtifacts, sentence, add)
            .query("name", "Name of an image that is uploaded")
            .query("description", "What an image that is uploaded is for")
            .query("format", "Format of the file; by its content if not given")
            .takes::<api::NewGoldenImage>()
            .takes_media("multipart/form-data")
            .takes_media("application/octet-stream")
            .takes_media(upload::MEDIA_TYPE)
            .creates::<GoldenImage>()
            .answers_with(202, Content::Json(schema_of::<api::Task>)),
    ]
}

/// How often a task is told how far a capture has come at most.
const PERCENT_EVERY: std::time::Duration = std::time::Duration::from_millis(200);

/// Copying is most of a capture; sealing reads all of it once more.
fn percent((phase, done, total): Step) -> u8 {
    let share = u8::try_from((done.min(total) * 50).checked_div(total).unwrap_or(0)).unwrap_or(0);
    if phase == Phase::Sealing { 50 + share } else { share }
}

/// The query of an upload.
#[derive(Debug, Deserialize)]
struct UploadQuery {
    name: Option<String>,
    description: Option<String>,
    format: Option<String>,
}

async fn add(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    query: Result<Query<UploadQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let content_type = text(&headers, header::CONTENT_TYPE).to_owned();
    if content_type.starts_with("application/json") {
        let capture = control.what_to_capture(body).await?;
        return captured(control, &actor, &headers, capture).await;
    }
    let Query(query) = query?;
    let (steps, progress) = watch::channel((Phase::Uploading, 0, 0));
    let title = title(&query, &headers)?;
    let (framing, body) = framing(&content_type, body)?;
    let about = NewGoldenImage {
        name: title.to_string(),
        description: query.description.clone().unwrap_or_default(),
        ..NewGoldenImage::default()
    };
    let name = control.name_for_store(&title).await?;
    let request = AddImage { name, format: format(&query)?, framing, about };
    let reads_progress = reads_progress(&headers);
    let adding = async move {
        let added = control.importer.add(&request, body, &steps).await;
        control.told(&title, added).await
    };
    if reads_progress {
        return Ok(add_with_progress(adding, progress).await);
    }
    let image = adding.await?;
    Ok(([(header::LOCATION, image.uri.clone())], json(StatusCode::CREATED, &image)).into_response())
}

/// Image Streamer's clients follow a task; `osvol` reads progress.
async fn captured(control: Arc<Control>, actor: &Actor, headers: &HeaderMap, mut capture: Capture) -> Answer {
    if let Some(scripts) = capture.scripts.take() {
        return captured_with_scripts(control, actor, headers, capture, scripts).await;
    }
    let (steps, progress) = watch::channel((Phase::Copying, 0, 0));
    let title = capture.title.clone();
    let name = control.name_for_store(&title).await?;
    let importing = {
        let (control, title) = (control.clone(), title.clone());
        async move {
            let added = control.importer.capture(&name, capture.subject, capture.about, &steps).await;
            control.told(&title, added).await
        }
    };
    if reads_progress(headers) {
        return Ok(add_with_progress(importing, progress).await);
    }
    let subject = Subject { kind: Kind::GoldenImage, id: None, name: title.to_string() };
    let task = control.begin_task(&actor.name, "Create", subject).await?;
    task.log(format!("capturing golden image {:?}", title.as_str()));
    let answer = accepted(&task);
    tokio::spawn(async move {
        let mut importing = Box::pin(importing);
        let outcome = loop {
            tokio::select! {
                outcome = &mut importing => break outcome,
                () = tokio::time::sleep(PERCENT_EVERY) => task.percent(percent(*progress.borrow())),
            }
        };
        if let Ok(image) = &outcome {
            task.about(Subject::new(Kind::GoldenImage, &image.id, &image.name));
        }
        end_task(task, outcome.map(drop)).await;
    });
    Ok(answer)
}

/// A capture with scripts goes on whether anybody listens or not: the copy that they run on must go.
async fn captured_with_scripts(
    control: Arc<Control>,
    actor: &Actor,
    headers: &HeaderMap,
    capture: Capture,
    scripts: Scripts,
) -> Answer {
    let (steps, progress) = watch::channel((Phase::Copying, 0, 0));
    let name = control.name_for_store(&capture.title).await?;
    let scratch = control.begin_capture(&actor.name, &capture.title, &scripts).await?;
    let answer = accepted(scratch.task());
    let capturing =
        tokio::spawn(async move { control.capture_copy(scratch, name, capture, scripts, steps).await });
    if !reads_progress(headers) {
        return Ok(answer);
    }
    let captured =
        async move { capturing.await.map_err(|error| refusals::internal("capturing the image", &error))? };
    Ok(add_with_progress(captured, progress).await)
}

fn reads_progress(headers: &HeaderMap) -> bool {
    text(headers, header::ACCEPT).contains(NDJSON)
}

pub(super) fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The name: the query's, or else that of the file, which clients send as a header.
fn title(query: &UploadQuery, headers: &HeaderMap) -> Result<Title, Refusal> {
    let of_file = headers.get("uploadfilename").and_then(|value| value.to_str().ok());
    let of_file = of_file.map(|name| name.strip_suffix(".zip").unwrap_or(name));
    let name = query.name.as_deref().or(of_file).unwrap_or_default();
    Title::parse(name).map_err(|error| {
        Refusal::new(Code::InvalidValue, error.to_string())
            .source("name")
            .action("give it in the query: ?name=…")
    })
}

fn format(query: &UploadQuery) -> Result<ImageFormat, Refusal> {
    let format = query.format.as_deref().map_or(Ok(ImageFormat::Auto), str::parse);
    format
        .map_err(|error: api::BadFormat| Refusal::new(Code::InvalidValue, error.to_string()).source("format"))
}

/// How the body carries the file.
fn framing(content_type: &str, body: Body) -> Result<(BodyFraming, Body), Refusal> {
    if multipart::is_multipart(content_type) {
        return Ok((BodyFraming::Plain, multipart::file_of(body, content_type)?));
    }
    match content_type.split(';').next().unwrap_or_default().trim() {
        upload::MEDIA_TYPE => Ok((BodyFraming::Extents, body)),
        "application/octet-stream" => Ok((BodyFraming::Plain, body)),
        other => {
            let message = format!("a body of type {other:?} is not taken here");
            Err(Refusal::new(Code::MalformedRequest, message).action(format!(
                "send the file as multipart/form-data or application/octet-stream, or its extents as {}",
                upload::MEDIA_TYPE
            )))
        }
    }
}

impl Control {
    /// The name that an image of this title is given in the store, if its title is free.
    pub(super) async fn name_for_store(&self, title: &Title) -> Result<Name, Refusal> {
        let wanted = title.to_string();
        self.read(move |tx: &Tx<'_>| golden_images::check_name_free(tx, &wanted)).await.map_err(exists)?;
        let images = self.images_in_store().await?;
        let is_taken = |name: &str| images.iter().any(|image| image.name.eq_ignore_ascii_case(name));
        let name = golden_images::store_name(title.as_str(), is_taken);
        Name::parse(&name).map_err(|error| refusals::internal("naming the image", &error))
    }

    /// Logs what became of an image, and makes it a resource.
    pub(super) async fn told(
        &self,
        title: &Title,
        added: Result<ImageInfo, Refusal>,
    ) -> Result<GoldenImage, Refusal> {
        let image = title.as_str();
        match added {
            Ok(info) => {
                let (bytes, format, id) = (info.size_bytes, &info.source_format, row_id(info.id));
                tracing::info!(image, bytes, format, %id, "golden image added");
                self.image_resource(info).await
            }
            Err(refusal) => {
                tracing::warn!(image, "golden image not added: {refusal}");
                Err(refusal)
            }
        }
    }
}

fn exists(refusal: Refusal) -> Refusal {
    match refusal.error_code {
        Code::NameExists => refusal.action("a golden image never changes: a new content is a new image"),
        _ => refusal,
    }
}
