//! `/rest/artifact-bundles`, and the backup, which is a bundle of all artifacts.

use std::sync::Arc;

use api::{
    ArtifactBundle, ArtifactBundleBody, BackupBody, BundledBuildPlan, BundledDeploymentPlan,
    BundledGoldenImage, BundledPlanScript, Code, Collection, NewArtifactBundle, Page, Refusal, iso8601,
};
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::actor::Actor;
use super::answer::{Answer, json, parse};
use super::artifacts::{accepted, end_task, head};
use super::bundle_room::NewBundle;
use super::conventions::empty;
use super::endpoint::{Access, Content, Endpoint, delete, get, post, put, schema_of};
use super::image_adding::text;
use super::images::attachment;
use super::placement::{created, if_match, listed};
use super::plan_scripts::common_field;
use super::state::Control;
use super::{deployment_groups, refusals};
use crate::bundles::{Mode, choose, choose_all};
use crate::catalog::bundles::{self as rows, Bundle, Item};
use crate::catalog::holds::{self, Hold};
use crate::catalog::tasks::Subject;
use crate::catalog::{Kind, Tx};
use crate::images::{multipart, reading};

const KIND: Kind = Kind::ArtifactBundle;
/// Largest body of JSON.
const BODY_BYTES_MAX: usize = 1 << 20;

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Access::{EditArtifacts, View};
    const ALL: &str = api::ARTIFACT_BUNDLES;
    const ONE: &str = "/rest/artifact-bundles/{id}";
    const BACKUPS: &str = "/rest/artifact-bundles/backups";
    const BACKUP: &str = "/rest/artifact-bundles/backups/{id}";
    const ARCHIVES: &str = "/rest/artifact-bundles/backups/archive";
    let task = || (202, Content::Json(schema_of::<api::Task>));
    let with_task = |endpoint: Endpoint| endpoint.answers_with(task().0, task().1);
    vec![
        get(ALL, View, "Artifact bundles", list).paged().answers::<Collection<ArtifactBundle>>(),
        with_task(
            post(ALL, EditArtifacts, "Makes an artifact bundle, or uploads one", create)
                .takes::<NewArtifactBundle>()
                .takes_media("multipart/form-data")
                .takes_media("application/zip")
                .creates::<ArtifactBundle>(),
        ),
        get(ONE, View, "An artifact bundle", show).answers::<ArtifactBundle>(),
        with_task(
            put(ONE, EditArtifacts, "Renames an artifact bundle, or extracts it", change)
                .query("extract", "true: its artifacts are made")
                .query("forceImport", "true: artifacts whose names are taken get other names")
                .takes::<ArtifactBundleBody>()
                .answers::<ArtifactBundle>(),
        ),
        delete(ONE, EditArtifacts, "Removes an artifact bundle, not what was extracted of it", remove),
        get("/rest/artifact-bundles/download/{id}", EditArtifacts, "The archive of a bundle", download)
            .answers_media("application/octet-stream"),
        put(
            "/rest/artifact-bundles/{id}/stopArtifactCreate",
            EditArtifacts,
            "Stops a bundle being made",
            stop,
        ),
        get(BACKUPS, View, "The backup of all artifacts, if there is one", backups)
            .paged()
            .answers::<Collection<ArtifactBundle>>(),
        with_task(
            post(BACKUPS, EditArtifacts, "Makes a backup of all artifacts", back_up).takes::<BackupBody>(),
        ),
        get(BACKUP, View, "The backup", show).answers::<ArtifactBundle>(),
        with_task(
            put(BACKUP, EditArtifacts, "Restores a backup: all artifacts are replaced", restore)
                .takes::<BackupBody>(),
        ),
        post(ARCHIVES, EditArtifacts, "Uploads a backup", upload_backup)
            .query("deploymentGrpUri", "The deployment group; there is one")
            .takes_media("multipart/form-data")
            .creates::<ArtifactBundle>(),
        with_task(
            put(ARCHIVES, EditArtifacts, "Restores the backup that there is", restore_only)
                .takes::<BackupBody>(),
        ),
        get(
            "/rest/artifact-bundles/backups/archive/{id}",
            EditArtifacts,
            "The archive of a backup",
            download,
        )
        .answers_media("application/octet-stream"),
    ]
}

fn resource(bundle: Bundle) -> ArtifactBundle {
    let contents = bundle.contents;
    let count = contents.count() as u64;
    let build_plan = |item: Item| BundledBuildPlan {
        bp_id: item.id,
        build_plan_name: item.name,
        plan_script_name: item.needs.join(","),
        read_only: item.read_only,
        description: item.description,
    };
    let script = |item: Item| BundledPlanScript {
        ps_id: item.id,
        plan_script_name: item.name,
        read_only: item.read_only,
        description: item.description,
    };
    let plan = |item: Item| BundledDeploymentPlan {
        dp_id: item.id,
        deploymentplan_name: item.name,
        golden_image_name: item.needs.get(1).cloned(),
        oebp_name: item.needs.into_iter().next().unwrap_or_default(),
        read_only: item.read_only,
        description: item.description,
    };
    let image = |item: Item| BundledGoldenImage {
        gi_id: item.id,
        goldenimage_name: item.name,
        read_only: item.read_only,
        description: item.description,
    };
    ArtifactBundle {
        head: head(KIND, ArtifactBundle::KIND, &bundle.envelope),
        artifactsbundle_id: bundle.envelope.id.to_string(),
        artifacts_count: count,
        backup_service: bundle.backup,
        importbundle: bundle.uploaded,
        recover_bundle: bundle.backup && bundle.uploaded,
        read_only: bundle.read_only,
        size: bundle.size_bytes,
        checksum: bundle.checksum,
        download_uri: format!("{}/download/{}", api::ARTIFACT_BUNDLES, bundle.envelope.id),
        last_back_up_download_time: bundle.downloaded_ms.map(iso8601),
        build_plans: contents.build_plans.into_iter().map(build_plan).collect(),
        plan_scripts: contents.plan_scripts.into_iter().map(script).collect(),
        deployment_plans: contents.deployment_plans.into_iter().map(plan).collect(),
        goldenimage: contents.golden_images.into_iter().map(image).collect(),
    }
}

async fn page_of(control: &Control, query: Page, backups: bool) -> Answer {
    let found = control.read(move |tx| {
        let rows = rows::list(tx)?.into_iter().filter(|bundle| bundle.backup == backups).collect();
        let field = |row: &Bundle, field: &str| common_field(KIND, &row.envelope, field);
        listed(("ArtifactsBundleCollection", KIND), &query, rows, field, |row| Ok(resource(row)))
    });
    Ok(json(StatusCode::OK, &found.await?))
}

async fn list(State(control): State<Arc<Control>>, query: Result<Query<Page>, QueryRejection>) -> Answer {
    page_of(&control, query?.0, false).await
}

async fn backups(State(control): State<Arc<Control>>, query: Result<Query<Page>, QueryRejection>) -> Answer {
    page_of(&control, query?.0, true).await
}

impl Control {
    async fn find_bundle(&self, reference: String) -> Result<Bundle, Refusal> {
        self.read(move |tx| rows::find(tx, &reference)).await
    }
}

async fn show(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    Ok(json(StatusCode::OK, &resource(control.find_bundle(id).await?)))
}

/// In JSON it says what is to be in a bundle; anything else is the archive of one.
async fn create(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    if !text(&headers, header::CONTENT_TYPE).starts_with("application/json") {
        return uploaded(control, &headers, body, false).await;
    }
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await;
    let body = body.map_err(|error| {
        Refusal::new(Code::TooLarge, "the body cannot be read").details(error.to_string())
    })?;
    let new: NewArtifactBundle = parse(Ok(body))?;
    let chosen = control.read(move |tx: &Tx<'_>| {
        if rows::is_taken(tx, new.name.as_str())? {
            return Err(crate::catalog::Error::NameExists { kind: KIND, name: new.name.to_string() });
        }
        let chosen = choose(tx, &new)?;
        Ok(NewBundle { name: new.name.to_string(), description: new.description, backup: false, chosen })
    });
    let chosen = chosen.await?;
    made(control, &actor, chosen).await
}

/// Begins to make a bundle, as a task.
async fn made(control: Arc<Control>, actor: &Actor, new: NewBundle) -> Answer {
    let subject = Subject { kind: KIND, id: None, name: new.name.clone() };
    let task = control.begin_task(&actor.name, "Create", subject).await?;
    let answer = accepted(&task);
    tokio::spawn(async move {
        let name = new.name.clone();
        task.log(format!("writing artifact bundle {name:?}"));
        let outcome = control.make_bundle(new, &task).await;
        if let Ok(id) = &outcome {
            task.about(Subject::new(KIND, id, name));
        }
        end_task(task, outcome.map(drop)).await;
    });
    Ok(answer)
}

async fn uploaded(control: Arc<Control>, headers: &HeaderMap, body: Body, as_backup: bool) -> Answer {
    let content_type = text(headers, header::CONTENT_TYPE);
    let body = match multipart::is_multipart(content_type) {
        true => multipart::file_of(body, content_type)?,
        false => body,
    };
    let file_name = headers.get("uploadfilename").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let bundle = resource(control.upload_bundle(body, file_name, as_backup).await?);
    Ok(created(&bundle.head.uri, &bundle))
}

/// The query of a PUT.
#[derive(Debug, Deserialize)]
struct ChangeQuery {
    #[serde(default)]
    extract: Option<String>,
    #[serde(default, rename = "forceImport")]
    force_import: Option<String>,
}

fn is_true(value: Option<&String>) -> bool {
    value.is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// Extracting is asked for by the query; older clients say it by their content type alone.
async fn change(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
    query: Result<Query<ChangeQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let Query(query) = query?;
    let by_type = query.extract.is_none() && text(&headers, header::CONTENT_TYPE).starts_with("text/plain");
    if by_type || is_true(query.extract.as_ref()) {
        let mode = if is_true(query.force_import.as_ref()) { Mode::Rename } else { Mode::Careful };
        let bundle = control.find_bundle(id).await?;
        return extracted(control, &actor, bundle, mode).await;
    }
    let mut new: ArtifactBundleBody = parse(body)?;
    let if_match = if_match(&headers, new.e_tag.take());
    let changed = control.write(move |tx| {
        let id = rows::find(tx, &id)?.envelope.id;
        rows::rename(tx, id, if_match.as_deref(), new.name.as_str())
    });
    Ok(json(StatusCode::OK, &resource(changed.await?)))
}

/// Begins to extract a bundle, as a task.
async fn extracted(control: Arc<Control>, actor: &Actor, bundle: Bundle, mode: Mode) -> Answer {
    let subject = Subject::new(KIND, bundle.envelope.id, &bundle.envelope.name);
    let name = if mode == Mode::Replace { "Restore" } else { "Extract" };
    let task = control.begin_task(&actor.name, name, subject).await?;
    let (id, task_id) = (bundle.envelope.id, task.id().to_string());
    // Nobody removes it meanwhile; the hold goes with the task.
    let held = control.write(move |tx| {
        rows::get(tx, id)?;
        holds::take(tx, &task_id, &[Hold::shared(KIND, id)])
    });
    if let Err(refusal) = held.await {
        end_task(task, Err(refusal.clone())).await;
        return Err(refusal.into());
    }
    let answer = accepted(&task);
    tokio::spawn(async move {
        task.log(format!("extracting artifact bundle {:?}", bundle.envelope.name));
        let outcome = control.extract_bundle(&bundle, mode, &task).await;
        let outcome = outcome.map(|words| {
            tracing::info!(bundle = bundle.envelope.name, "{words}");
            task.log(words);
        });
        end_task(task, outcome).await;
    });
    Ok(answer)
}

async fn remove(State(control): State<Arc<Control>>, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    let if_match = if_match(&headers, None);
    let removed = control.write(move |tx| {
        let found = rows::find(tx, &id)?.envelope;
        rows::remove(tx, found.id, if_match.as_deref())?;
        Ok(found)
    });
    let removed = removed.await?;
    let (directory, id) = (control.bundles.directory.clone(), removed.id);
    let gone = tokio::task::spawn_blocking(move || directory.remove(id)).await;
    gone.map_err(|error| refusals::internal("removing the archive", &error))?;
    tracing::info!(bundle = removed.name, "artifact bundle removed");
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn download(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    let bundle = control.find_bundle(id).await?;
    let id = bundle.envelope.id;
    let path = control.bundles.directory.path(id);
    let opened = tokio::task::spawn_blocking(move || std::fs::File::open(path)).await;
    let opened = opened.map_err(|error| refusals::internal("reading the archive", &error))?;
    let file = opened.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => missing(&bundle.envelope.name),
        _ => refusals::of_io("read the bundle", &error),
    })?;
    // Somebody may need it most when the catalog is not written any more.
    if let Err(refusal) = control.write(move |tx| rows::downloaded(tx, id)).await {
        tracing::warn!(
            bundle = bundle.envelope.name,
            "the time of a download is not written down: {refusal}"
        );
    }
    let mut response: Response = reading::body_for_client(file).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bundle.size_bytes));
    if let Some(name) = attachment(&bundle.envelope.name, "zip") {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

/// Somebody has taken the archive away.
pub(super) fn missing(name: &str) -> Refusal {
    Refusal::new(Code::NotFound, format!("the archive of artifact bundle {name:?} is not in the store"))
        .action("put it back from a backup of the store, or remove the bundle and upload it again")
}

/// The body of a stop.
#[derive(Debug, Deserialize)]
struct Stop {
    #[serde(rename = "taskUri")]
    task_uri: String,
}

async fn stop(
    State(control): State<Arc<Control>>,
    Path(_): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let stop: Stop = parse(body)?;
    control.bundles.stop(&stop.task_uri)?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// The group that a backup is of: there is one.
fn check_group(body: Result<Bytes, BytesRejection>) -> Result<(), super::answer::Refused> {
    let body = body?;
    let backup: BackupBody = match body.iter().all(u8::is_ascii_whitespace) || *body == *b"null" {
        true => BackupBody::default(),
        false => parse(Ok(body))?,
    };
    Ok(deployment_groups::check(backup.deployment_group_uri.as_deref())?)
}

async fn back_up(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    check_group(body)?;
    let chosen = control.read(choose_all).await?;
    let name = format!("backup {}", iso8601(crate::catalog::now_ms()));
    let description = "All artifacts".to_owned();
    made(control, &actor, NewBundle { name, description, backup: true, chosen }).await
}

async fn restore(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    check_group(body)?;
    let bundle = control.find_bundle(id).await?;
    if !bundle.backup {
        let message = format!("artifact bundle {:?} is no backup: extract it", bundle.envelope.name);
        return Err(Refusal::new(Code::InvalidValue, message).into());
    }
    extracted(control, &actor, bundle, Mode::Replace).await
}

async fn restore_only(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    check_group(body)?;
    let backup = control.read(rows::backup).await?;
    let none = || Refusal::new(Code::NotFound, "there is no backup").action("make one, or upload one");
    extracted(control, &actor, backup.ok_or_else(none)?, Mode::Replace).await
}

async fn upload_backup(
    State(control): State<Arc<Control>>,
    query: Result<Query<GroupQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    deployment_groups::check(query?.0.deployment_grp_uri.as_deref())?;
    uploaded(control, &headers, body, true).await
}

/// The query of a backup's upload.
#[derive(Debug, Deserialize)]
struct GroupQuery {
    #[serde(default, rename = "deploymentGrpUri")]
    deployment_grp_uri: Option<String>,
}
