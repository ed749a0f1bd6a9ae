//! What the handlers of artifacts share.

use api::{ArtifactReference, AttributeType, CustomAttribute, Head, Health};
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::answer::json;
use super::placement;
use super::state::Control;
use super::tasks as task_room;
use crate::catalog::chain::User;
use crate::catalog::{Envelope, Kind};
use crate::lifecycle::tasks::TaskHandle;

/// Version of the API that is spoken to a client that asks for none.
const VERSION_DEFAULT: u32 = 2020;

/// Largest body with a script in it: every character of it may be escaped.
pub(super) const SCRIPT_BODY_BYTES_MAX: usize = 8 << 20;

/// The first fields of an artifact.
pub(super) fn head(kind: Kind, type_name: &str, envelope: &Envelope) -> Head {
    placement::head(kind, type_name, envelope, (Health::OK, "Normal"))
}

/// The version of the API that a client asks for: some types have their version in their name.
pub(super) fn api_version(headers: &HeaderMap) -> u32 {
    let header = headers.get("x-api-version").and_then(|value| value.to_str().ok());
    header.and_then(|text| text.trim().parse().ok()).unwrap_or(VERSION_DEFAULT)
}

/// Users as the API refers to them.
pub(super) fn references(users: Vec<User>) -> Vec<ArtifactReference> {
    users.iter().map(User::reference).collect()
}

/// Attributes as they are told: never with a password.
pub(super) fn told(attributes: Vec<CustomAttribute>) -> Vec<CustomAttribute> {
    let hide = |attribute: CustomAttribute| match attribute.kind {
        AttributeType::Password => CustomAttribute { value: None, ..attribute },
        _ => attribute,
    };
    attributes.into_iter().map(hide).collect()
}

/// 202 with a task: its path as `Location`, the task itself as the body.
pub(super) fn accepted(task: &TaskHandle) -> Response {
    let location = [(axum::http::header::LOCATION, task.uri())];
    match task.record() {
        Some(record) => (location, json(StatusCode::ACCEPTED, &task_room::resource(record))).into_response(),
        None => (StatusCode::ACCEPTED, location).into_response(),
    }
}

impl Control {
    /// Begins a task.
    pub(super) async fn begin_task(
        &self,
        owner: &str,
        name: &'static str,
        subject: crate::catalog::tasks::Subject,
    ) -> Result<TaskHandle, api::Refusal> {
        let (tasks, owner) = (self.lifecycle.tasks().clone(), owner.to_owned());
        let begun = tokio::task::spawn_blocking(move || tasks.begin(&owner, name, subject)).await;
        let begun = begun.map_err(|error| super::refusals::internal("the task", &error))?;
        begun.map_err(|error| super::refusals::of_catalog(&error))
    }
}

/// Ends a task as its work ended.
pub(super) async fn end_task(task: TaskHandle, outcome: Result<(), api::Refusal>) {
    let ending = tokio::task::spawn_blocking(move || match outcome {
        Ok(()) => task.done(),
        Err(refusal) => task.fail(&refusal),
    });
    match ending.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!("the end of a task is not written down: {error}"),
        Err(error) => tracing::error!("the end of a task is not written down: {error}"),
    }
}
