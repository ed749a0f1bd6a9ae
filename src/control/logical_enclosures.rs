//! `/rest/logical-enclosures`. What becomes of volumes is the lifecycle service's to say.

use std::sync::Arc;

use api::{
    Collection, DeploymentManagerSettings, Health, LogicalEnclosure, LogicalEnclosureSpec, Page,
    ResourceNames,
};
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};

use super::actor::Actor;
use super::answer::{Answer, json, parse};
use super::asking::{AskQuery, Done};
use super::enclosure_groups::deployment_settings;
use super::endpoint::{Access, Content, Endpoint, delete, get, patch, post, put, schema_of};
use super::placement::{
    Operation, body_of, created, extra_field, head, head_field, if_match, listed, named, patched,
    without_filled,
};
use super::state::Control;
use crate::catalog::{self, Kind, Tx, enclosure_groups, logical_enclosures};
use crate::lifecycle::Request;

const KIND: Kind = Kind::LogicalEnclosure;
/// Fields of OneView's that this server fills in.
const FILLED: [&str; 2] = ["deploymentManagerSettings", "resourceNames"];

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Access::{EditProfiles, View};
    const ALL: &str = api::LOGICAL_ENCLOSURES;
    const ONE: &str = "/rest/logical-enclosures/{id}";
    let task = Content::Json(schema_of::<api::Task>);
    vec![
        get(ALL, View, "Logical enclosures", list).paged().answers::<Collection<LogicalEnclosure>>(),
        post(ALL, EditProfiles, "Makes a logical enclosure", create)
            .takes::<LogicalEnclosureSpec>()
            .creates::<LogicalEnclosure>(),
        get(ONE, View, "A logical enclosure", show).answers::<LogicalEnclosure>(),
        AskQuery::describe(
            put(
                ONE,
                EditProfiles,
                "Changes a logical enclosure, or moves it to another enclosure group",
                change,
            )
            .takes::<LogicalEnclosureSpec>(),
        )
        .answers::<LogicalEnclosure>(),
        AskQuery::describe(
            patch(ONE, EditProfiles, "Changes fields of a logical enclosure", change_fields)
                .takes::<Vec<Operation>>(),
        )
        .answers::<LogicalEnclosure>(),
        AskQuery::describe(delete(
            ONE,
            EditProfiles,
            "Removes a logical enclosure, and the volumes of unassigned profiles in it",
            remove,
        ))
        .answers::<api::Impact>()
        .answers_with(202, task),
        put(
            "/rest/logical-enclosures/{id}/updateFromGroup",
            EditProfiles,
            "Makes a logical enclosure consistent with its group, which it always is",
            refresh,
        )
        .answers::<LogicalEnclosure>(),
        put(
            "/rest/logical-enclosures/{id}/configuration",
            EditProfiles,
            "Applies the configuration again, of which there is none",
            refresh,
        )
        .answers::<LogicalEnclosure>(),
    ]
}

fn resource(tx: &Tx<'_>, row: logical_enclosures::LogicalEnclosure) -> catalog::Result<LogicalEnclosure> {
    let group = enclosure_groups::get(tx, row.enclosure_group)?;
    Ok(LogicalEnclosure {
        head: head(KIND, LogicalEnclosure::KIND, &row.envelope, (Health::OK, "Consistent")),
        enclosure_group_uri: Kind::EnclosureGroup.uri(row.enclosure_group),
        deployment_manager_settings: DeploymentManagerSettings {
            deployment_cluster_uri: None,
            os_deployment_settings: deployment_settings(&group.facts),
        },
        resource_names: ResourceNames {
            enclosure_group: Some(group.envelope.name),
            ..ResourceNames::default()
        },
        extra: row.extra,
    })
}

async fn list(State(control): State<Arc<Control>>, query: Result<Query<Page>, QueryRejection>) -> Answer {
    let Query(query) = query?;
    let found = control.read(move |tx| {
        let rows = logical_enclosures::list(tx)?;
        let field = |row: &logical_enclosures::LogicalEnclosure, field: &str| match field {
            "enclosureGroupUri" => Some(Kind::EnclosureGroup.uri(row.enclosure_group)),
            _ => head_field(KIND, &row.envelope, field).or_else(|| extra_field(&row.extra, field)),
        };
        listed(("LogicalEnclosureList", KIND), &query, rows, field, |row| resource(tx, row))
    });
    Ok(json(StatusCode::OK, &found.await?))
}

async fn find(control: &Control, reference: String) -> Result<LogicalEnclosure, api::Refusal> {
    control.read(move |tx| resource(tx, logical_enclosures::find(tx, &reference)?)).await
}

async fn show(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    Ok(json(StatusCode::OK, &find(&control, id).await?))
}

async fn refresh(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    Ok(json(StatusCode::OK, &find(&control, id).await?))
}

async fn create(State(control): State<Arc<Control>>, body: Result<Bytes, BytesRejection>) -> Answer {
    let spec: LogicalEnclosureSpec = parse(body)?;
    let made = control.write(move |tx| {
        let group = named("enclosureGroupUri", enclosure_groups::find(tx, &spec.enclosure_group_uri))?;
        let extra = without_filled(spec.extra, &FILLED);
        let row = logical_enclosures::insert(tx, (&spec.name, &spec.description), group.envelope.id, extra)?;
        resource(tx, row)
    });
    let made = made.await?;
    tracing::info!(name = made.head.name, "logical enclosure made");
    Ok(created(&made.head.uri, &made))
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

/// First the move, which may be refused; then what needs nobody's consent.
async fn put_spec(
    control: &Arc<Control>,
    actor: &Actor,
    id: String,
    query: AskQuery,
    headers: &HeaderMap,
    mut spec: LogicalEnclosureSpec,
) -> Answer {
    let if_match = if_match(headers, spec.e_tag.take());
    let tag = if_match.clone();
    let group_reference = spec.enclosure_group_uri.clone();
    let found = control.read(move |tx| {
        let row = logical_enclosures::find(tx, &id)?;
        row.envelope.check(KIND, tag.as_deref())?;
        let group = named("enclosureGroupUri", enclosure_groups::find(tx, &group_reference))?;
        Ok((row.envelope.id, row.enclosure_group, group.envelope.id))
    });
    let (id, from, to) = found.await?;
    let mut tag = if_match;
    if from != to || query.dry_run()? {
        let request = Request::MoveEnclosure(id.to_string(), to.to_string());
        let ask = query.ask(actor, tag.take())?;
        if let Done::Preview(impact) = control.carry_out(request, ask).await? {
            return Ok(json(StatusCode::OK, &impact));
        }
    }
    let changed = control.write(move |tx| {
        let extra = without_filled(spec.extra, &FILLED);
        let row = logical_enclosures::update(tx, id, tag.as_deref(), (&spec.name, &spec.description), extra)?;
        resource(tx, row)
    });
    Ok(json(StatusCode::OK, &changed.await?))
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
    control.begin(Request::DeleteEnclosure(id), ask).await
}
