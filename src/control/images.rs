//! `/rest/golden-images`.

use std::sync::Arc;
use std::time::Duration;

use api::{Code, GoldenImage, ImageFormat, NDJSON, Name, Page, Phase, Progress, Refusal, page, upload};
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cow::ImageInfo;
use http_body_util::channel::{Channel, Sender};
use serde::Deserialize;
use tokio::sync::watch;

use super::answer::{Answer, Refused, json};
use super::endpoint::{Access, Endpoint, delete, get, post};
use super::state::Control;
use super::{refusals, resources};
use crate::images::{AddImage, BodyFraming, Step};

/// How often a client hears of progress at most.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// So many silent intervals are followed by a line that only shows that the client is still there.
const SILENT_INTERVALS_MAX: u32 = 10;

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Access::{EditArtifacts, View};
    vec![
        get(api::GOLDEN_IMAGES, View, "Golden images", list)
            .paged()
            .answers::<api::Collection<GoldenImage>>(),
        post(
            api::GOLDEN_IMAGES,
            EditArtifacts,
            "Adds a golden image: uploads a file, or captures a volume",
            add,
        )
        .query("name", "Name of an image that is uploaded")
        .query("format", "Format of the file; by its content if not given")
        .takes::<api::NewGoldenImage>()
        .takes_media("application/octet-stream")
        .takes_media(upload::MEDIA_TYPE)
        .creates::<GoldenImage>(),
        get("/rest/golden-images/{id}", View, "A golden image", show).answers::<GoldenImage>(),
        delete("/rest/golden-images/{id}", EditArtifacts, "Removes a golden image that nothing uses", remove),
    ]
}

impl Control {
    async fn images(&self) -> Result<Vec<ImageInfo>, Refusal> {
        self.blocking(cow::Store::images).await?.map_err(|error| refusals::of_store(&error))
    }

    /// A golden image by path, id or name, as it is now.
    pub(super) async fn find_image(&self, reference: &str) -> Result<ImageInfo, Refusal> {
        let known = self.known.find(reference)?;
        let found = self.images().await?.into_iter().find(|image| image.id == known.id);
        found.ok_or_else(|| {
            Refusal::new(Code::NotFound, format!("golden image {:?} has been removed", known.name))
        })
    }
}

pub(super) async fn list(
    State(control): State<Arc<Control>>,
    query: Result<Query<Page>, QueryRejection>,
) -> Answer {
    let Query(query) = query?;
    let all = control.images().await?.into_iter().map(resources::image).collect();
    let kind = ("GoldenImageCollection", GoldenImage::CATEGORY, api::GOLDEN_IMAGES);
    let found = page(kind, &query, all, |image: &GoldenImage, field| match field {
        "name" => Some(image.name.clone()),
        "status" => Some(image.status.to_string()),
        "state" => Some(image.state.clone()),
        "id" => Some(image.id.clone()),
        "uri" => Some(image.uri.clone()),
        "created" => Some(image.created.clone()),
        "modified" => Some(image.modified.clone()),
        _ => None,
    });
    let found = found.map_err(|error| Refusal::new(Code::MalformedRequest, error.to_string()))?;
    Ok(json(StatusCode::OK, &found))
}

pub(super) async fn show(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    Ok(json(StatusCode::OK, &resources::image(control.find_image(&id).await?)))
}

pub(super) async fn remove(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    let image = control.find_image(&id).await?;
    let removed = control.blocking(move |store| store.remove_image(image.id)).await?;
    removed.map_err(|error| match error.kind() {
        cow::Kind::InUse => in_use(&image.name, image.volumes),
        _ => refusals::of_store(&error),
    })?;
    control.known.remove(image.id);
    tracing::info!(image = image.name, "golden image removed");
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn in_use(name: &str, volumes: usize) -> Refusal {
    let volumes =
        if volumes == 1 { "1 OS volume uses".to_owned() } else { format!("{volumes} OS volumes use") };
    Refusal::new(Code::InUse, format!("golden image {name:?} cannot be removed: {volumes} it"))
        .action("remove the volumes first (osvol volume list shows them)")
}

/// The query of an upload.
#[derive(Debug, Deserialize)]
pub(super) struct UploadQuery {
    name: String,
    format: Option<String>,
}

/// Adds a golden image: a file that is uploaded, or, asked for in JSON, a disk that is captured.
pub(super) async fn add(
    State(control): State<Arc<Control>>,
    query: Result<Query<UploadQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let (steps, progress) = watch::channel((Phase::Uploading, 0, 0));
    let content_type = text(&headers, header::CONTENT_TYPE);
    if content_type.starts_with("application/json") {
        let (name, subject) = control.what_to_capture(body).await?;
        control.name_is_free(&name)?;
        let adding =
            async move { control.told(&name, control.importer.capture(&name, subject, &steps).await) };
        return answer(&headers, adding, progress).await;
    }
    let Query(query) = query?;
    let request = request(&query, content_type)?;
    control.name_is_free(&request.name)?;
    let adding =
        async move { control.told(&request.name, control.importer.add(&request, body, &steps).await) };
    answer(&headers, adding, progress).await
}

/// A client that reads progress gets it; any other gets the image when it is there.
async fn answer(
    headers: &HeaderMap,
    adding: impl Future<Output = Result<GoldenImage, Refusal>> + Send + 'static,
    progress: watch::Receiver<Step>,
) -> Answer {
    if text(headers, header::ACCEPT).contains(NDJSON) {
        return Ok(add_with_progress(adding, progress).await);
    }
    let image = adding.await?;
    let location = [(header::LOCATION, image.uri.clone())];
    Ok((location, json(StatusCode::CREATED, &image)).into_response())
}

pub(super) fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn exists(name: &str) -> Refusal {
    Refusal::new(Code::NameExists, format!("a golden image named {name:?} exists"))
        .action("choose another name; a golden image never changes")
}

fn request(query: &UploadQuery, content_type: &str) -> Result<AddImage, Refusal> {
    let name = Name::parse(&query.name)
        .map_err(|error| Refusal::new(Code::InvalidValue, error.to_string()).source("name"))?;
    let format = query.format.as_deref().map_or(Ok(ImageFormat::Auto), str::parse);
    let format = format.map_err(|error: api::BadFormat| {
        Refusal::new(Code::InvalidValue, error.to_string()).source("format")
    })?;
    let framing = match content_type.split(';').next().unwrap_or_default().trim() {
        upload::MEDIA_TYPE => BodyFraming::Extents,
        "application/octet-stream" => BodyFraming::Plain,
        other => {
            let message = format!("a body of type {other:?} is not taken here");
            return Err(Refusal::new(Code::MalformedRequest, message).action(format!(
                "send the file as application/octet-stream, or its extents as {}",
                upload::MEDIA_TYPE
            )));
        }
    };
    Ok(AddImage { name, format, framing })
}

impl Control {
    fn name_is_free(&self, name: &Name) -> Result<(), Refusal> {
        match self.known.is_taken(name.as_str()) {
            true => Err(exists(name.as_str())),
            false => Ok(()),
        }
    }

    /// Logs what became of an image, and makes it a resource.
    fn told(&self, name: &Name, added: Result<ImageInfo, Refusal>) -> Result<GoldenImage, Refusal> {
        let image = name.as_str();
        match added {
            Ok(info) => {
                let (bytes, format) = (info.size_bytes, &info.source_format);
                tracing::info!(image, bytes, format, "golden image added");
                Ok(resources::image(info))
            }
            Err(refusal) => {
                tracing::warn!(image, "golden image not added: {refusal}");
                Err(refusal)
            }
        }
    }
}

/// Answers once the body has been taken, with lines of progress and the result as the last.
///
/// A refusal before that is an answer of its own, so that a client need not look into the lines for it.
async fn add_with_progress(
    adding: impl Future<Output = Result<GoldenImage, Refusal>> + Send + 'static,
    mut progress: watch::Receiver<Step>,
) -> Response {
    let mut adding = Box::pin(adding);
    tokio::select! {
        result = &mut adding => return match result {
            Ok(image) => json(StatusCode::CREATED, &Progress::GoldenImage(Box::new(image))).with_type(NDJSON),
            Err(refusal) => Refused(refusal).into_response(),
        },
        _ = progress.changed() => {}
    }
    let (sender, lines) = Channel::<Bytes>::new(1);
    tokio::spawn(tell(adding, progress, sender));
    (StatusCode::OK, [(header::CONTENT_TYPE, NDJSON)], Body::new(lines)).into_response()
}

trait WithType {
    fn with_type(self, media_type: &'static str) -> Self;
}

impl WithType for Response {
    fn with_type(mut self, media_type: &'static str) -> Self {
        self.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media_type));
        self
    }
}

/// Tells the client how it goes. When the client is gone, the import is dropped, and leaves nothing.
async fn tell(
    mut adding: impl Future<Output = Result<GoldenImage, Refusal>> + Unpin,
    progress: watch::Receiver<Step>,
    mut sender: Sender<Bytes>,
) {
    let mut silent = SILENT_INTERVALS_MAX;
    let mut told = None;
    loop {
        tokio::select! {
            result = &mut adding => {
                let last = result.map_or_else(Progress::Error, |image| Progress::GoldenImage(Box::new(image)));
                // Nobody left to hear it: the result stands all the same.
                let _ = sender.send_data(line(&last)).await;
                return;
            }
            () = tokio::time::sleep(PROGRESS_EVERY) => {}
        }
        let (phase, done_bytes, total_bytes) = *progress.borrow();
        silent += 1;
        if told == Some((phase, done_bytes)) && silent < SILENT_INTERVALS_MAX {
            continue;
        }
        silent = 0;
        told = Some((phase, done_bytes));
        if sender.send_data(line(&Progress::Step { phase, done_bytes, total_bytes })).await.is_err() {
            tracing::warn!("golden image not added: the client went away");
            return;
        }
    }
}

fn line(progress: &Progress) -> Bytes {
    let mut line = serde_json::to_vec(progress).unwrap_or_default();
    line.push(b'\n');
    line.into()
}
