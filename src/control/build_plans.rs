//! `/rest/build-plans`.

use std::sync::Arc;

use api::{BuildPlan, BuildPlanBody, BuildStep, Collection, Page};
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};

use super::answer::{Answer, json, parse};
use super::artifacts::{api_version, head, references, told};
use super::conventions::empty;
use super::endpoint::{Access, Endpoint, delete, get, post, put};
use super::placement::{created, if_match, listed, named};
use super::plan_scripts::common_field;
use super::revisions::revision_of;
use super::state::Control;
use crate::catalog::build_plans::{self as rows, Origin};
use crate::catalog::{self, Kind, Tx};

const KIND: Kind = Kind::BuildPlan;

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Access::{EditArtifacts, View};
    const ALL: &str = api::BUILD_PLANS;
    const ONE: &str = "/rest/build-plans/{id}";
    vec![
        get(ALL, View, "OS build plans", list).paged().answers::<Collection<BuildPlan>>(),
        post(ALL, EditArtifacts, "Makes an OS build plan", create)
            .takes::<BuildPlanBody>()
            .creates::<BuildPlan>(),
        get(ONE, View, "An OS build plan", show).answers::<BuildPlan>(),
        put(ONE, EditArtifacts, "Changes an OS build plan that no profile uses", change)
            .takes::<BuildPlanBody>()
            .answers::<BuildPlan>(),
        delete(ONE, EditArtifacts, "Removes an OS build plan that no deployment plan uses", remove),
    ]
}

pub(super) fn resource(tx: &Tx<'_>, row: rows::BuildPlan, version: u32) -> catalog::Result<BuildPlan> {
    let step = |(index, step): (usize, rows::Step)| BuildStep {
        serial_number: (index + 1).to_string(),
        plan_script_name: step.script_name,
        plan_script_uri: Kind::PlanScript.uri(step.script),
        parameters: step.parameters,
    };
    Ok(BuildPlan {
        head: head(KIND, BuildPlan::kind(version), &row.envelope),
        build_plan_id: row.envelope.id.to_string(),
        oe_build_plan_type: row.plan_type,
        build_step: row.steps.into_iter().enumerate().map(step).collect(),
        custom_attributes: told(row.attributes),
        hp_provided: row.read_only,
        dependent_artifacts: references(rows::used_by(tx, row.envelope.id)?),
        revision_of: revision_of(tx, KIND, row.envelope.id)?,
    })
}

async fn list(
    State(control): State<Arc<Control>>,
    query: Result<Query<Page>, QueryRejection>,
    headers: HeaderMap,
) -> Answer {
    let Query(query) = query?;
    let version = api_version(&headers);
    let found = control.read(move |tx| {
        let field = |row: &rows::BuildPlan, field: &str| match field {
            "oeBuildPlanType" => Some(row.plan_type.to_string()),
            "hpProvided" => Some(row.read_only.to_string()),
            "buildPlanid" => Some(row.envelope.id.to_string()),
            _ => common_field(KIND, &row.envelope, field),
        };
        let resource = |row| resource(tx, row, version);
        listed(("OEBuildPlanCollection", KIND), &query, rows::list(tx)?, field, resource)
    });
    Ok(json(StatusCode::OK, &found.await?))
}

async fn show(State(control): State<Arc<Control>>, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    let version = api_version(&headers);
    let found = control.read(move |tx| resource(tx, rows::find(tx, &id)?, version)).await?;
    Ok(json(StatusCode::OK, &found))
}

async fn create(
    State(control): State<Arc<Control>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let new: BuildPlanBody = parse(body)?;
    let version = api_version(&headers);
    let made = control.write(move |tx| {
        let row = named("buildStep", rows::insert(tx, &new, Origin::Written))?;
        resource(tx, row, version)
    });
    let made = made.await?;
    tracing::info!(name = made.head.name, "build plan made");
    Ok(created(&made.head.uri, &made))
}

async fn change(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let mut new: BuildPlanBody = parse(body)?;
    let (version, if_match) = (api_version(&headers), if_match(&headers, new.e_tag.take()));
    let changed = control.write(move |tx| {
        let id = rows::find(tx, &id)?.envelope.id;
        let row = named("buildStep", rows::update(tx, id, if_match.as_deref(), &new))?;
        resource(tx, row, version)
    });
    let changed = changed.await?;
    tracing::info!(name = changed.head.name, "build plan changed");
    Ok(json(StatusCode::OK, &changed))
}

async fn remove(State(control): State<Arc<Control>>, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    let if_match = if_match(&headers, None);
    let removed = control.write(move |tx| {
        let found = rows::find(tx, &id)?.envelope;
        rows::remove(tx, found.id, if_match.as_deref())?;
        Ok(found.name)
    });
    let name = removed.await?;
    tracing::info!(name, "build plan removed");
    Ok(empty(StatusCode::NO_CONTENT))
}
