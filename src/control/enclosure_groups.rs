//! `/rest/enclosure-groups`.

use std::sync::Arc;

use api::{Collection, EnclosureGroup, EnclosureGroupSpec, GroupDeploymentSettings, Health, Page};
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};

use super::answer::{Answer, json, parse};
use super::conventions::empty;
use super::endpoint::{Access, Endpoint, delete, get, post, put};
use super::placement::{created, extra_field, head, head_field, if_match, listed, without_filled};
use super::state::Control;
use crate::catalog::enclosure_groups::{self, GroupFacts};
use crate::catalog::{self, Kind};

const KIND: Kind = Kind::EnclosureGroup;

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Access::{EditProfiles, View};
    const ALL: &str = api::ENCLOSURE_GROUPS;
    const ONE: &str = "/rest/enclosure-groups/{id}";
    vec![
        get(ALL, View, "Enclosure groups", list).paged().answers::<Collection<EnclosureGroup>>(),
        post(ALL, EditProfiles, "Makes an enclosure group", create)
            .takes::<EnclosureGroupSpec>()
            .creates::<EnclosureGroup>(),
        get(ONE, View, "An enclosure group", show).answers::<EnclosureGroup>(),
        put(ONE, EditProfiles, "Changes an enclosure group", change)
            .takes::<EnclosureGroupSpec>()
            .answers::<EnclosureGroup>(),
        delete(ONE, EditProfiles, "Removes an enclosure group that nothing is of", remove),
    ]
}

/// `osDeploymentSettings` of a group.
pub(super) fn deployment_settings(facts: &GroupFacts) -> GroupDeploymentSettings {
    GroupDeploymentSettings {
        manage_os_deployment: facts.manages_os_deployment,
        deployment_mode_settings: facts.deployment_mode.clone(),
    }
}

fn resource(row: enclosure_groups::EnclosureGroup) -> EnclosureGroup {
    EnclosureGroup {
        head: head(KIND, EnclosureGroup::KIND, &row.envelope, (Health::OK, "Normal")),
        enclosure_count: row.facts.enclosure_count,
        os_deployment_settings: deployment_settings(&row.facts),
        extra: row.facts.extra,
    }
}

fn facts(spec: EnclosureGroupSpec) -> GroupFacts {
    let deployment = spec.os_deployment_settings.unwrap_or_default();
    GroupFacts {
        manages_os_deployment: deployment.manage_os_deployment,
        deployment_mode: deployment.deployment_mode_settings,
        enclosure_count: spec.enclosure_count.unwrap_or(1),
        extra: without_filled(spec.extra, &[]),
    }
}

async fn list(State(control): State<Arc<Control>>, query: Result<Query<Page>, QueryRejection>) -> Answer {
    let Query(query) = query?;
    let found = control.read(move |tx| {
        let rows = enclosure_groups::list(tx)?;
        let field = |row: &enclosure_groups::EnclosureGroup, field: &str| {
            head_field(KIND, &row.envelope, field).or_else(|| extra_field(&row.facts.extra, field))
        };
        listed(("EnclosureGroupList", KIND), &query, rows, field, |row| Ok(resource(row)))
    });
    Ok(json(StatusCode::OK, &found.await?))
}

async fn show(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    let found = control.read(move |tx| enclosure_groups::find(tx, &id)).await?;
    Ok(json(StatusCode::OK, &resource(found)))
}

async fn create(State(control): State<Arc<Control>>, body: Result<Bytes, BytesRejection>) -> Answer {
    let spec: EnclosureGroupSpec = parse(body)?;
    let made = control.write(move |tx| {
        let (name, description) = (spec.name.clone(), spec.description.clone());
        enclosure_groups::insert(tx, &name, &description, facts(spec))
    });
    let made = resource(made.await?);
    tracing::info!(name = made.head.name, "enclosure group made");
    Ok(created(&made.head.uri, &made))
}

async fn change(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let mut spec: EnclosureGroupSpec = parse(body)?;
    let if_match = if_match(&headers, spec.e_tag.take());
    let changed = control.write(move |tx| -> catalog::Result<_> {
        let id = enclosure_groups::find(tx, &id)?.envelope.id;
        let (name, description) = (spec.name.clone(), spec.description.clone());
        enclosure_groups::update(tx, id, if_match.as_deref(), (&name, &description), facts(spec))
    });
    Ok(json(StatusCode::OK, &resource(changed.await?)))
}

async fn remove(State(control): State<Arc<Control>>, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    let if_match = if_match(&headers, None);
    let removed = control.write(move |tx| {
        let row = enclosure_groups::find(tx, &id)?;
        enclosure_groups::remove(tx, row.envelope.id, if_match.as_deref())?;
        Ok(row.envelope.name)
    });
    let name = removed.await?;
    tracing::info!(name, "enclosure group removed");
    Ok(empty(StatusCode::NO_CONTENT))
}
