//! Successors of plans and scripts that are in use, and what is found in their scripts.

use std::collections::HashSet;
use std::sync::Arc;

use api::{PlanFinding, Revision, RevisionBody};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use script::{Severity, Step, Values, placeholder};

use super::answer::{Answer, json, parse};
use super::endpoint::{Access, Endpoint, get, post};
use super::placement::created;
use super::state::Control;
use crate::catalog::{self, Kind, Tx, build_plans, deployment_plans, plan_scripts, revisions};

/// What stands for a value that a profile will give.
const STAND_IN: &str = "value";

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Access::{EditArtifacts, View};
    let made = |endpoint: Endpoint| endpoint.takes::<RevisionBody>().creates::<Vec<Revision>>();
    vec![
        made(post(
            "/rest/plan-scripts/{id}/revisions",
            EditArtifacts,
            "Gives a plan script a successor that can be edited",
            |state: Room, path: Id, body: Body| revise(Kind::PlanScript, state, path, body),
        )),
        made(post(
            "/rest/build-plans/{id}/revisions",
            EditArtifacts,
            "Gives a build plan a successor that can be edited",
            |state: Room, path: Id, body: Body| revise(Kind::BuildPlan, state, path, body),
        )),
        made(post(
            "/rest/deployment-plans/{id}/revisions",
            EditArtifacts,
            "Gives a deployment plan a successor that can be edited",
            |state: Room, path: Id, body: Body| revise(Kind::DeploymentPlan, state, path, body),
        )),
        get(
            "/rest/build-plans/{id}/findings",
            View,
            "What is wrong with a build plan's scripts, or may be",
            findings_of_build_plan,
        )
        .answers::<Vec<PlanFinding>>(),
        get(
            "/rest/deployment-plans/{id}/findings",
            View,
            "What is wrong with a deployment plan's scripts, or may be",
            findings_of_plan,
        )
        .answers::<Vec<PlanFinding>>(),
    ]
}

type Room = State<Arc<Control>>;
type Id = Path<String>;
type Body = Result<Bytes, BytesRejection>;

async fn revise(kind: Kind, State(control): Room, Path(reference): Id, body: Body) -> Answer {
    let body = body?;
    let said: RevisionBody = if body.is_empty() { RevisionBody::default() } else { parse(Ok(body))? };
    let revised = control.write(move |tx| {
        let id = match kind {
            Kind::BuildPlan => build_plans::find(tx, &reference)?.envelope.id,
            Kind::DeploymentPlan => deployment_plans::find(tx, &reference)?.envelope.id,
            _ => plan_scripts::find(tx, &reference)?.envelope.id,
        };
        revisions::revise(tx, kind, id, said.with_users)
    });
    let told = |one: revisions::Revised| Revision {
        artifact: one.new.reference(),
        revision_of: one.old.reference(),
    };
    let revised: Vec<Revision> = revised.await?.into_iter().map(told).collect();
    for one in &revised {
        tracing::info!(name = one.artifact.name, of = one.revision_of.name, "successor made");
    }
    let first = revised.first().map(|one| one.artifact.uri.clone()).unwrap_or_default();
    Ok(created(&first, &revised))
}

/// Path of what an artifact was made to succeed.
pub(super) fn revision_of(tx: &Tx<'_>, kind: Kind, id: uuid::Uuid) -> catalog::Result<Option<String>> {
    Ok(revisions::predecessor(tx, kind, id)?.map(|id| kind.uri(id)))
}

async fn findings_of_build_plan(State(control): Room, Path(id): Id) -> Answer {
    let steps = control.read(move |tx| {
        let plan = build_plans::find(tx, &id)?;
        deployment_plans::script_steps(tx, plan.envelope.id)
    });
    Ok(json(StatusCode::OK, &findings(&steps.await?, None)))
}

async fn findings_of_plan(State(control): Room, Path(id): Id) -> Answer {
    let read = control.read(move |tx| {
        let plan = deployment_plans::find(tx, &id)?;
        let values = deployment_plans::plan_values(tx, plan.envelope.id)?;
        Ok((deployment_plans::script_steps(tx, plan.build_plan)?, values))
    });
    let (steps, values) = read.await?;
    Ok(json(StatusCode::OK, &findings(&steps, Some(values))))
}

/// What `script` finds. Values that a profile must give are named, and stand for some text.
fn findings(steps: &[Step], values: Option<Values>) -> Vec<PlanFinding> {
    let mut found = Vec::new();
    let values = values.map(|mut values| {
        for (step, line, name) in missing(steps, &values) {
            let message = format!("a profile must give {name:?} a value");
            found.push(finding(steps, step, line, Severity::Note, message));
            values.set(&name, STAND_IN, false);
        }
        values
    });
    let linted = script::lint(steps, values.as_ref());
    found.extend(linted.into_iter().map(|one| finding(steps, one.step, one.line, one.severity, one.message)));
    found
}

fn finding(steps: &[Step], step: usize, line: usize, severity: Severity, message: String) -> PlanFinding {
    let script = step.checked_sub(1).and_then(|index| steps.get(index));
    PlanFinding {
        step,
        script: script.map(|step| step.name.clone()).unwrap_or_default(),
        line,
        severity: severity.as_str().to_owned(),
        message,
    }
}

/// Step, line and name of what has no value and no default, once each.
fn missing(steps: &[Step], values: &Values) -> Vec<(usize, usize, String)> {
    let (mut seen, mut found) = (HashSet::new(), Vec::new());
    for (step, one) in (1..).zip(steps).filter(|(_, step)| step.has_attributes) {
        for (line, text) in (1..).zip(one.content.lines()) {
            for placeholder in placeholder::of_line(text) {
                let name = placeholder.full_name();
                let lacks = placeholder.default.is_none() && values.get(&name).is_none();
                if lacks && !text.trim_start().starts_with('#') && seen.insert(name.to_ascii_lowercase()) {
                    found.push((step, line, name));
                }
            }
        }
    }
    found
}
