//! `/rest/server-profiles`. The lifecycle service does what is asked here, and knows what becomes of volumes.

use std::sync::Arc;

use api::{Collection, Generation, Health, Page, Refusal, ServerProfile, ServerProfileSpec};
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};

use super::actor::Actor;
use super::answer::{Answer, Refused, json, parse};
use super::asking::{AskQuery, forced_by};
use super::conventions::empty;
use super::endpoint::{Access, Content, Endpoint, delete, get, patch, post, put, schema_of};
use super::placement::{Operation, body_of, head_field, if_match, listed, patched};
use super::state::Control;
use super::{profile_resource, profile_spec};
use crate::catalog::{Envelope, Kind, Tx, os_volumes, profiles};
use crate::lifecycle::Request;

const KIND: Kind = Kind::ServerProfile;

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Access::{EditProfiles, View};
    const ALL: &str = api::SERVER_PROFILES;
    const ONE: &str = "/rest/server-profiles/{id}";
    let task = || Content::Json(schema_of::<api::Task>);
    let asks =
        |endpoint: Endpoint| AskQuery::describe(endpoint).answers::<api::Impact>().answers_with(202, task());
    vec![
        get(ALL, View, "Server profiles", list).paged().answers::<Collection<ServerProfile>>(),
        asks(
            post(ALL, EditProfiles, "Makes a server profile, and its OS volume if it is assigned", create)
                .takes::<ServerProfileSpec>(),
        ),
        delete(
            ALL,
            EditProfiles,
            "Removes the server profiles that a filter finds, and their OS volumes",
            remove_all,
        )
        .query("filter", "For instance \"name='web01'\"; without one nothing is removed")
        .query("force", "True: proceed, although data is lost")
        .query("whileInUse", "true: also while initiators are logged in or servers run"),
        get(ONE, View, "A server profile", show).answers::<ServerProfile>(),
        asks(
            put(ONE, EditProfiles, "Changes a server profile: edits, assigns, moves, unassigns it", change)
                .takes::<ServerProfileSpec>(),
        ),
        asks(
            patch(ONE, EditProfiles, "Changes fields of a server profile", change_fields)
                .takes::<Vec<Operation>>(),
        ),
        asks(delete(ONE, EditProfiles, "Removes a server profile and its OS volume", remove)),
        asks(post(
            "/rest/server-profiles/{id}/redeploy",
            EditProfiles,
            "Makes a profile's OS volume anew from its plan, with the same values",
            redeploy,
        )),
        get(
            "/rest/server-profiles/{id}/generations",
            View,
            "OS volumes that a profile has and had",
            generations,
        )
        .answers::<Vec<Generation>>(),
        asks(post(
            "/rest/server-profiles/{id}/generations/{generation}/rollback",
            EditProfiles,
            "Takes a profile back to an OS volume that it had before",
            roll_back,
        )),
    ]
}

async fn list(State(control): State<Arc<Control>>, query: Result<Query<Page>, QueryRejection>) -> Answer {
    let Query(query) = query?;
    let names = control.clone();
    let found = control.read(move |tx| {
        let full =
            |row: Envelope| Ok(names.with_missing(profile_resource::of(tx, profiles::by_id(tx, row.id)?)?));
        listed(("ServerProfileListV12", KIND), &query, profiles::envelopes(tx)?, field(tx), full)
    });
    Ok(json(StatusCode::OK, &found.await?))
}

/// What a list can be filtered and sorted by. Most lists need the names alone.
fn field(tx: &Tx<'_>) -> impl Fn(&Envelope, &str) -> Option<String> {
    move |row, field| {
        let more = || profile_resource::field(tx, &profiles::by_id(tx, row.id).ok()?, field);
        head_field(KIND, row, field).or_else(more)
    }
}

async fn find(control: &Control, reference: String) -> Result<ServerProfile, Refusal> {
    let found = control.read(move |tx| profile_resource::of(tx, profiles::find(tx, &reference)?)).await?;
    Ok(control.with_missing(found))
}

impl Control {
    /// A volume that the catalog has and the store has not is told.
    fn with_missing(&self, mut profile: ServerProfile) -> ServerProfile {
        if let Some(name) =
            profile.resource_names.os_volume.as_ref().filter(|name| self.names.find(name).is_none())
        {
            let reason = format!(
                "its volume {name} is not in the store; a redeployment or a rollback gives it another"
            );
            profile.status_reason = Some(reason);
            profile.head.status = Health::Critical;
        }
        profile
    }
}

async fn show(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    Ok(json(StatusCode::OK, &find(&control, id).await?))
}

async fn create(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    query: Result<Query<AskQuery>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let Query(query) = query?;
    let mut spec: ServerProfileSpec = parse(body)?;
    // A new one has no state that could have changed.
    spec.e_tag = None;
    let forced = is_forced(&spec);
    let spec = control.read(move |tx| profile_spec::resolve(tx, spec, true)).await?;
    control.begin(Request::CreateProfile(spec), forced_by(query.ask(&actor, None)?, forced)).await
}

async fn change(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
    query: Result<Query<AskQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let Query(query) = query?;
    put_spec(&control, &actor, id, query, &headers, parse(body)?).await
}

async fn change_fields(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
    query: Result<Query<AskQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let Query(query) = query?;
    let operations: Vec<Operation> = parse(body)?;
    let spec = body_of(patched(&find(&control, id.clone()).await?, &operations)?)?;
    put_spec(&control, &actor, id, query, &headers, spec).await
}

async fn put_spec(
    control: &Arc<Control>,
    actor: &Actor,
    id: String,
    query: AskQuery,
    headers: &HeaderMap,
    mut spec: ServerProfileSpec,
) -> Answer {
    let ask = forced_by(query.ask(actor, if_match(headers, spec.e_tag.take()))?, is_forced(&spec));
    let request = control.read(move |tx| {
        let id = profiles::find(tx, &id)?.envelope.id.to_string();
        Ok(Request::ChangeProfile(id, profile_spec::resolve(tx, spec, false)?))
    });
    control.begin(request.await?, ask).await
}

/// OneView's way to say proceed.
fn is_forced(spec: &ServerProfileSpec) -> bool {
    spec.os_deployment_settings.as_ref().is_some_and(|settings| settings.force_os_deployment)
}

async fn remove(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
    query: Result<Query<AskQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Answer {
    let Query(query) = query?;
    let ask = query.ask(&actor, if_match(&headers, None))?;
    control.begin(Request::DeleteProfile(id), ask).await
}

/// One after the other; the first that is refused ends it.
async fn remove_all(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    page: Result<Query<Page>, QueryRejection>,
    query: Result<Query<AskQuery>, QueryRejection>,
) -> Answer {
    let (Query(page), Query(query)) = (page?, query?);
    if page.filter.is_empty() {
        let refusal = Refusal::new(api::Code::InvalidValue, "all server profiles are not removed at once");
        return Err(Refused(refusal.source("filter").action("give a filter, such as name='web01'")));
    }
    let found = control.read(move |tx| {
        listed(("ServerProfileListV12", KIND), &page, profiles::envelopes(tx)?, field(tx), |row| Ok(row.id))
    });
    for id in found.await?.members {
        control.carry_out(Request::DeleteProfile(id.to_string()), query.clone().ask(&actor, None)?).await?;
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn redeploy(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
    query: Result<Query<AskQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Answer {
    let Query(query) = query?;
    let ask = query.ask(&actor, if_match(&headers, None))?;
    control.begin(Request::RedeployProfile(id), ask).await
}

async fn generations(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    let found = control.read(move |tx| {
        let profile = profiles::find(tx, &id)?;
        os_volumes::generations(tx, profile.envelope.id)
    });
    let found = found.await?;
    let all = control.blocking(move |store| {
        let allocated = |id| store.volume_info(id).ok().map(|info| info.allocated_bytes);
        found.into_iter().map(|row| generation(allocated(row.id), row)).collect::<Vec<_>>()
    });
    Ok(json(StatusCode::OK, &all.await?))
}

fn generation(allocated_bytes: Option<u64>, row: os_volumes::OsVolume) -> Generation {
    Generation {
        generation: row.generation,
        current: row.state == os_volumes::VolumeState::Current,
        volume_uri: Kind::OsVolume.uri(row.id),
        volume_name: row.name,
        created: api::iso8601(row.created_ms),
        deployment_plan_uri: Some(Kind::DeploymentPlan.uri(row.origin.plan)),
        golden_image_uri: row.origin.image.map(|image| Kind::GoldenImage.uri(image)),
        allocated_bytes,
    }
}

async fn roll_back(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    Path((id, generation)): Path<(String, u64)>,
    query: Result<Query<AskQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Answer {
    let Query(query) = query?;
    let ask = query.ask(&actor, if_match(&headers, None))?;
    control.begin(Request::RollBackProfile(id, generation), ask).await
}
