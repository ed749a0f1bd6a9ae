//! `/rest/golden-images`: what there is, and what becomes of it. How images come in is `image_adding`.

use std::collections::HashMap;
use std::sync::Arc;

use api::{Code, GoldenImage, GoldenImageBody, Page, Refusal, page_of};
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use cow::{ImageId, ImageInfo, Store, Subject};
use uuid::Uuid;

use super::answer::{Answer, json, parse};
use super::artifacts::references;
use super::conventions::empty;
use super::endpoint::{Access, Endpoint, delete, get, put};
use super::placement::if_match;
use super::state::{Control, row_id};
use super::{refusals, resources};
use crate::catalog::{self, Kind, Use, golden_images as rows};
use crate::portal::ReadOnlyDisk;

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Access::{EditArtifacts, View};
    const ONE: &str = "/rest/golden-images/{id}";
    let zip = "The disk of a golden image, as the one file of a zip archive";
    vec![
        get(api::GOLDEN_IMAGES, View, "Golden images", list)
            .paged()
            .answers::<api::Collection<GoldenImage>>(),
        get(ONE, View, "A golden image", show).answers::<GoldenImage>(),
        put(ONE, EditArtifacts, "Changes name and description of a golden image", change)
            .takes::<GoldenImageBody>()
            .answers::<GoldenImage>(),
        delete(ONE, EditArtifacts, "Removes a golden image that nothing uses", remove)
            .query("force", "Taken and without effect: what is used is never removed"),
        get("/rest/golden-images/download/{id}", EditArtifacts, zip, download)
            .answers_media("application/octet-stream"),
        get("/rest/golden-images/archive/{id}", View, "The log of a golden image's capture", archive)
            .answers_media("text/plain; charset=utf-8"),
    ]
}

impl Control {
    /// All golden images. One that is on its way to the catalog is not there yet.
    pub(super) async fn images(&self) -> Result<Vec<ImageInfo>, Refusal> {
        let mut images = self.images_in_store().await?;
        images.retain(|image| self.known.size_of(image.id).is_some());
        Ok(images)
    }

    /// All that the store has.
    pub(super) async fn images_in_store(&self) -> Result<Vec<ImageInfo>, Refusal> {
        self.blocking(Store::images).await?.map_err(|error| refusals::of_store(&error))
    }

    /// A golden image by path, id or name, as it is now.
    pub(super) async fn find_image(&self, reference: &str) -> Result<ImageInfo, Refusal> {
        let known = self.known.find(reference)?;
        let found = self.images().await?.into_iter().find(|image| image.id == known.id);
        found.ok_or_else(|| {
            Refusal::new(Code::NotFound, format!("golden image {:?} has been removed", known.name))
        })
    }

    /// An image as a resource.
    pub(super) async fn image_resource(&self, info: ImageInfo) -> Result<GoldenImage, Refusal> {
        let id = row_id(info.id);
        let found = self.read(move |tx| match rows::get(tx, id) {
            Ok(row) => Ok((Some(row), references(rows::used_by(tx, id)?))),
            Err(catalog::Error::NotFound { .. }) => Ok((None, Vec::new())),
            Err(error) => Err(error),
        });
        let (row, users) = found.await?;
        Ok(resources::image(info, row, users))
    }
}

async fn list(State(control): State<Arc<Control>>, query: Result<Query<Page>, QueryRejection>) -> Answer {
    let Query(query) = query?;
    let images = control.images().await?;
    let all = control.read(move |tx| {
        let rows = rows::list(tx)?.into_iter().map(|row| (row.envelope.id, row));
        let mut rows: HashMap<Uuid, _> = rows.collect();
        let resource = |info: ImageInfo| {
            let id = row_id(info.id);
            let users = references(rows::used_by(tx, id)?);
            Ok(resources::image(info, rows.remove(&id), users))
        };
        images.into_iter().map(resource).collect::<catalog::Result<Vec<_>>>()
    });
    let kind = ("GoldenImageCollection", GoldenImage::CATEGORY, api::GOLDEN_IMAGES);
    let found = page_of(kind, &query, all.await?);
    let found = found.map_err(|error| Refusal::new(Code::MalformedRequest, error.to_string()))?;
    Ok(json(StatusCode::OK, &found))
}

async fn show(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    let info = control.find_image(&id).await?;
    Ok(json(StatusCode::OK, &control.image_resource(info).await?))
}

async fn change(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let mut new: GoldenImageBody = parse(body)?;
    let if_match = if_match(&headers, new.e_tag.take());
    let info = control.find_image(&id).await?;
    let id = row_id(info.id);
    let changed = control
        .write(move |tx| rows::update(tx, id, if_match.as_deref(), (new.name.as_str(), &new.description)));
    let name = changed.await?.envelope.name;
    control.known.rename(info.id, &name);
    tracing::info!(image = name, "golden image changed");
    Ok(json(StatusCode::OK, &control.image_resource(info).await?))
}

async fn remove(State(control): State<Arc<Control>>, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    let image = control.known.find(&id)?;
    let words = format!("golden image {:?}", image.name);
    let _not_served = control.not_served(ReadOnlyDisk::Image(image.id), (&words, "removed")).await?;
    let if_match = if_match(&headers, None);
    let (store, id, name) = (control.store.clone(), image.id, image.name.clone());
    // The store's part is the last of the transaction: when it refuses, nothing has happened.
    let removed = control.write(move |tx| {
        rows::remove(tx, row_id(id), if_match.as_deref())?;
        store.remove_image(id).map_err(|error| not_removed(&store, id, &name, &error))
    });
    removed.await?;
    control.known.remove(image.id);
    tracing::info!(image = image.name, "golden image removed");
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Why the store does not remove an image, with the names of what lives on it.
pub(super) fn not_removed(store: &Store, id: ImageId, name: &str, error: &cow::Error) -> catalog::Error {
    if error.kind() != cow::Kind::InUse {
        return catalog::Error::Io {
            what: format!("remove golden image {name:?}"),
            source: std::io::Error::other(error.to_string()),
        };
    }
    let volumes = store.volumes().into_iter().filter(|volume| volume.image == Some(id));
    let mut by: Vec<_> = volumes.map(|volume| Use { kind: Kind::OsVolume, name: volume.name }).collect();
    if by.is_empty() {
        by.push(Use { kind: Kind::Snapshot, name: "of a volume".to_owned() });
    }
    catalog::Error::InUse { kind: Kind::GoldenImage, name: name.to_owned(), by }
}

async fn download(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    let image = control.known.find(&id)?;
    let inside = format!("{}.img", image.id);
    let body = control.importer.zip(Subject::Image(image.id), inside).await?;
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if let Some(name) = attachment(&image.name, "zip") {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

/// A download's name for people: what is no plain character of a header becomes a dash.
pub(super) fn attachment(name: &str, extension: &str) -> Option<HeaderValue> {
    let plain = |c: char| if c.is_ascii_graphic() && !matches!(c, '"' | '\\') || c == ' ' { c } else { '-' };
    let name: String = name.chars().map(plain).collect();
    HeaderValue::from_str(&format!("attachment; filename=\"{name}.{extension}\"")).ok()
}

async fn archive(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    let known = control.known.find(&id)?;
    let row = control.read(move |tx| rows::get(tx, row_id(known.id))).await?;
    let log = match row.capture_log.as_str() {
        "" => format!("golden image {:?} was not captured here: it was added as a file\n", row.envelope.name),
        log => log.to_owned(),
    };
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], log).into_response())
}
