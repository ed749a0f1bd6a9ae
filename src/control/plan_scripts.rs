//! `/rest/plan-scripts`.

use std::sync::Arc;

use api::{BuildPlan, Code, Collection, Page, PlanScript, PlanScriptBody, Refusal, ScriptDifferences};
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};

use super::answer::{Answer, json, parse};
use super::artifacts::{SCRIPT_BODY_BYTES_MAX, api_version, head, references};
use super::build_plans;
use super::conventions::empty;
use super::endpoint::{Access, Endpoint, delete, get, post, put};
use super::placement::{created, head_field, if_match, listed};
use super::revisions::revision_of;
use super::state::Control;
use crate::catalog::{self, Kind, Tx, plan_scripts as rows};

const KIND: Kind = Kind::PlanScript;

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Access::{EditArtifacts, View};
    const ALL: &str = api::PLAN_SCRIPTS;
    const ONE: &str = "/rest/plan-scripts/{id}";
    let differences_at = "/rest/plan-scripts/differences/{id}";
    vec![
        get(ALL, View, "Plan scripts", list).paged().answers::<Collection<PlanScript>>(),
        post(ALL, EditArtifacts, "Makes a plan script", create)
            .body_bytes_max(SCRIPT_BODY_BYTES_MAX)
            .takes::<PlanScriptBody>()
            .creates::<PlanScript>(),
        get(ONE, View, "A plan script", show).answers::<PlanScript>(),
        put(ONE, EditArtifacts, "Changes a plan script that no profile uses", change)
            .body_bytes_max(SCRIPT_BODY_BYTES_MAX)
            .takes::<PlanScriptBody>()
            .answers::<PlanScript>(),
        delete(ONE, EditArtifacts, "Removes a plan script that no build plan uses", remove),
        post(differences_at, View, "What another content of a script would change", differences)
            .body_bytes_max(SCRIPT_BODY_BYTES_MAX)
            .takes::<String>()
            .answers::<ScriptDifferences>(),
        get("/rest/plan-scripts/{id}/usedby/readonly", View, "The build plans that use a script", used_by)
            .answers::<Vec<BuildPlan>>(),
    ]
}

fn resource(tx: &Tx<'_>, row: rows::PlanScript) -> catalog::Result<PlanScript> {
    let dependent_artifacts = references(rows::used_by(tx, row.envelope.id)?);
    Ok(PlanScript {
        head: head(KIND, PlanScript::KIND, &row.envelope),
        plan_type: row.plan_type,
        custom_attributes: attributes(&row),
        content: row.content,
        hp_provided: row.read_only,
        dependent_artifacts,
        revision_of: revision_of(tx, KIND, row.envelope.id)?,
    })
}

/// The attributes that a script uses: a list in JSON, as a text.
fn attributes(row: &rows::PlanScript) -> Option<String> {
    let told = |one: catalog::placeholders::Placeholder| {
        let attribute = one.attribute();
        serde_json::json!({ "name": attribute.name, "type": attribute.kind, "value": attribute.value })
    };
    let all: Vec<_> = row.placeholders().into_iter().map(told).collect();
    if all.is_empty() { None } else { serde_json::to_string(&all).ok() }
}

async fn list(State(control): State<Arc<Control>>, query: Result<Query<Page>, QueryRejection>) -> Answer {
    let Query(query) = query?;
    let found = control.read(move |tx| {
        let field = |row: &rows::PlanScript, field: &str| match field {
            "planType" => Some(row.plan_type.to_string()),
            "hpProvided" => Some(row.read_only.to_string()),
            _ => common_field(KIND, &row.envelope, field),
        };
        listed(("PlanScriptCollection", KIND), &query, rows::list(tx)?, field, |row| resource(tx, row))
    });
    Ok(json(StatusCode::OK, &found.await?))
}

/// What every list of artifacts can be filtered by.
pub(super) fn common_field(kind: Kind, envelope: &catalog::Envelope, field: &str) -> Option<String> {
    match field {
        "status" => Some("OK".to_owned()),
        "state" => Some("Normal".to_owned()),
        "eTag" => Some(envelope.e_tag()),
        _ => head_field(kind, envelope, field),
    }
}

async fn show(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    let found = control.read(move |tx| resource(tx, rows::find(tx, &id)?)).await?;
    Ok(json(StatusCode::OK, &found))
}

async fn create(State(control): State<Arc<Control>>, body: Result<Bytes, BytesRejection>) -> Answer {
    let new: PlanScriptBody = parse(body)?;
    let made = control.write(move |tx| resource(tx, rows::insert(tx, &new)?)).await?;
    tracing::info!(name = made.head.name, "plan script made");
    Ok(created(&made.head.uri, &made))
}

async fn change(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let mut new: PlanScriptBody = parse(body)?;
    let if_match = if_match(&headers, new.e_tag.take());
    let changed = control.write(move |tx| {
        let id = rows::find(tx, &id)?.envelope.id;
        resource(tx, rows::update(tx, id, if_match.as_deref(), &new)?)
    });
    let changed = changed.await?;
    tracing::info!(name = changed.head.name, "plan script changed");
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
    tracing::info!(name, "plan script removed");
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn differences(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let body = body?;
    // The SDK sends the content as a JSON string; others send it as it is.
    let content = match serde_json::from_slice::<String>(&body) {
        Ok(content) => content,
        Err(_) => String::from_utf8(body.to_vec()).map_err(|_| {
            Refusal::new(Code::MalformedRequest, "the body is not a script: it is not text in UTF-8")
        })?,
    };
    let script = control.read(move |tx| rows::find(tx, &id)).await?;
    Ok(json(StatusCode::OK, &rows::differences(&script, &content)))
}

async fn used_by(State(control): State<Arc<Control>>, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    let version = api_version(&headers);
    let found = control.read(move |tx| {
        let script = rows::find(tx, &id)?;
        let plans = rows::used_by(tx, script.envelope.id)?;
        let plan = |user: &catalog::chain::User| {
            build_plans::resource(tx, catalog::build_plans::find(tx, &user.id)?, version)
        };
        plans.iter().map(plan).collect::<catalog::Result<Vec<_>>>()
    });
    Ok(json(StatusCode::OK, &found.await?))
}
