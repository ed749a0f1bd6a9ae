//! Paths and methods.

use std::sync::Arc;

use api::{Code, Refusal};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, Uri};
use axum::middleware;
use axum::routing::{get, post};

use super::answer::Refused;
use super::state::Control;
use super::{content, images, peer, scrub, snapshots, status, volumes};

/// Largest body that is read into memory. Uploads are streamed and have a limit of their own.
const BODY_BYTES_MAX: usize = 64 << 10;

/// All of the API.
pub fn router(control: Arc<Control>) -> Router {
    Router::new()
        .route(api::VERSION, get(status::version))
        .route(api::STATUS, get(status::status))
        .route(api::SCRUB, get(scrub::show))
        .route("/rest/osvol/scrub/start", post(scrub::start))
        .route("/rest/osvol/scrub/stop", post(scrub::stop))
        .route(api::GOLDEN_IMAGES, get(images::list).post(images::add))
        .route("/rest/golden-images/{id}", get(images::show).delete(images::remove))
        .route("/rest/golden-images/{id}/content", get(content::of_image))
        .route("/rest/golden-images/download/{id}", get(content::of_image))
        .route(api::OS_VOLUMES, get(volumes::list).post(volumes::create))
        .route("/rest/os-volumes/{id}", get(volumes::show).patch(volumes::change).delete(volumes::remove))
        .route("/rest/os-volumes/{id}/content", get(content::of_volume))
        .route("/rest/os-volumes/{id}/snapshots/{snapshot}/content", get(content::of_snapshot))
        .route("/rest/os-volumes/{id}/storage", get(volumes::storage))
        .route("/rest/os-volumes/{id}/snapshots", get(snapshots::list).post(snapshots::create))
        .route("/rest/os-volumes/{id}/snapshots/{snapshot}", get(snapshots::show).delete(snapshots::remove))
        .route("/rest/os-volumes/{id}/snapshots/{snapshot}/rollback", post(snapshots::roll_back))
        .route(api::SNAPSHOTS, get(snapshots::list_all))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(peer::authorize))
        .with_state(control)
}

async fn no_such_path(uri: Uri) -> Refused {
    Refused(Refusal::new(Code::NotFound, format!("there is no {}", uri.path())))
}

async fn no_such_method(method: Method, uri: Uri) -> Refused {
    Refused(Refusal::new(Code::MethodNotAllowed, format!("{} cannot be asked for {method}", uri.path())))
}
