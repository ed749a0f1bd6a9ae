//! `/rest/deployment-plans`, and the same as OneView sees it: `/rest/os-deployment-plans`.

use std::sync::Arc;

use api::{
    AdditionalParameter, ArtifactReference, Collection, DeploymentPlan, DeploymentPlanBody, OsDeploymentPlan,
    Page,
};
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
use crate::catalog::build_plans::Origin;
use crate::catalog::{self, Kind, Tx, deployment_plans as rows};

const KIND: Kind = Kind::DeploymentPlan;

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Access::{EditArtifacts, View};
    const ALL: &str = api::DEPLOYMENT_PLANS;
    const ONE: &str = "/rest/deployment-plans/{id}";
    const TWINS: &str = api::OS_DEPLOYMENT_PLANS;
    vec![
        get(ALL, View, "Deployment plans", list).paged().answers::<Collection<DeploymentPlan>>(),
        post(ALL, EditArtifacts, "Makes a deployment plan", create)
            .takes::<DeploymentPlanBody>()
            .creates::<DeploymentPlan>(),
        get(ONE, View, "A deployment plan", show).answers::<DeploymentPlan>(),
        put(ONE, EditArtifacts, "Changes a deployment plan that no profile uses", change)
            .takes::<DeploymentPlanBody>()
            .answers::<DeploymentPlan>(),
        delete(ONE, EditArtifacts, "Removes a deployment plan that no profile uses", remove),
        get("/rest/deployment-plans/{id}/usedby", View, "The profiles that use a deployment plan", used_by)
            .answers::<Vec<ArtifactReference>>(),
        get("/rest/deployment-plans/{id}/osdp", View, "A deployment plan as OneView sees it", twin)
            .answers::<OsDeploymentPlan>(),
        get(TWINS, View, "Deployment plans as OneView sees them", twins)
            .also_at("/rest/os-deployment-plans/")
            .paged()
            .answers::<Collection<OsDeploymentPlan>>(),
        get("/rest/os-deployment-plans/{id}", View, "A deployment plan as OneView sees it", twin)
            .answers::<OsDeploymentPlan>(),
    ]
}

fn resource(tx: &Tx<'_>, row: rows::DeploymentPlan, version: u32) -> catalog::Result<DeploymentPlan> {
    Ok(DeploymentPlan {
        head: head(KIND, DeploymentPlan::kind(version), &row.envelope),
        golden_image_uri: row.golden_image.map(|image| Kind::GoldenImage.uri(image.simple())),
        oe_build_plan_uri: Kind::BuildPlan.uri(row.build_plan),
        custom_attributes: told(row.attributes),
        hp_provided: row.read_only,
        import_metadata: row.imported,
        dependent_artifacts: references(rows::used_by(tx, row.envelope.id)?),
        revision_of: revision_of(tx, KIND, row.envelope.id)?,
        keep_generations: row.keep_generations,
        cloud_init: row.cloud_init,
        revision: row.envelope.revision,
    })
}

/// OneView's side of a plan: what profiles see of it.
fn twin_of(control: &Control, row: rows::DeploymentPlan) -> OsDeploymentPlan {
    let mut head = head(KIND, OsDeploymentPlan::KIND, &row.envelope);
    OsDeploymentPlan::CATEGORY.clone_into(&mut head.category);
    head.uri = format!("{}/{}", api::OS_DEPLOYMENT_PLANS, row.envelope.id);
    let shown = told(row.attributes).into_iter().filter(|attribute| attribute.visible != Some(false));
    let parameter = |attribute: api::CustomAttribute| AdditionalParameter {
        name: attribute.name,
        value: attribute.value,
        description: attribute.description,
        ca_id: attribute.id.unwrap_or_default(),
        ca_type: attribute.kind.to_string(),
        ca_constraints: attribute.constraints,
        ca_editable: attribute.editable != Some(false),
    };
    let image = row.golden_image.and_then(|image| control.known.size_of(cow::ImageId(*image.as_bytes())));
    OsDeploymentPlan {
        head,
        additional_parameters: shown.map(parameter).collect(),
        deployment_type: OsDeploymentPlan::DEPLOYMENT_TYPE.to_owned(),
        native_plan_uri: KIND.uri(row.envelope.id),
        deployment_appliance_ipv4: control.exports.portals().first().map(|portal| portal.ip().to_string()),
        architecture: None,
        os_type: None,
        osdp_size: image.unwrap_or(0).to_string(),
    }
}

fn field(row: &rows::DeploymentPlan, field: &str) -> Option<String> {
    match field {
        "hpProvided" => Some(row.read_only.to_string()),
        "goldenImageURI" => row.golden_image.map(|image| Kind::GoldenImage.uri(image.simple())),
        "oeBuildPlanURI" => Some(Kind::BuildPlan.uri(row.build_plan)),
        "keepGenerations" => Some(row.keep_generations.to_string()),
        _ => common_field(KIND, &row.envelope, field),
    }
}

async fn list(
    State(control): State<Arc<Control>>,
    query: Result<Query<Page>, QueryRejection>,
    headers: HeaderMap,
) -> Answer {
    let Query(query) = query?;
    let version = api_version(&headers);
    let found = control.read(move |tx| {
        let resource = |row| resource(tx, row, version);
        listed(("OEDeploymentPlanCollection", KIND), &query, rows::list(tx)?, field, resource)
    });
    Ok(json(StatusCode::OK, &found.await?))
}

async fn twins(State(control): State<Arc<Control>>, query: Result<Query<Page>, QueryRejection>) -> Answer {
    let Query(query) = query?;
    let control = &control;
    let plans = control.read(rows::list).await?;
    let kind = ("OsDeploymentPlanCollection", OsDeploymentPlan::CATEGORY, api::OS_DEPLOYMENT_PLANS);
    let twin_field = |row: &rows::DeploymentPlan, name: &str| match name {
        "uri" => Some(format!("{}/{}", api::OS_DEPLOYMENT_PLANS, row.envelope.id)),
        "deploymentType" => Some(OsDeploymentPlan::DEPLOYMENT_TYPE.to_owned()),
        "nativePlanUri" => Some(KIND.uri(row.envelope.id)),
        _ => field(row, name),
    };
    let found = api::page(kind, &query, plans, twin_field);
    let found = found.map_err(|error| api::Refusal::new(api::Code::MalformedRequest, error.to_string()))?;
    Ok(json(StatusCode::OK, &found.map(|row| twin_of(control, row))))
}

async fn show(State(control): State<Arc<Control>>, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    let version = api_version(&headers);
    let found = control.read(move |tx| resource(tx, rows::find(tx, &id)?, version)).await?;
    Ok(json(StatusCode::OK, &found))
}

async fn twin(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    let found = control.read(move |tx| rows::find(tx, &id)).await?;
    Ok(json(StatusCode::OK, &twin_of(&control, found)))
}

async fn used_by(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    let found = control.read(move |tx| {
        let plan = rows::find(tx, &id)?;
        Ok(references(rows::used_by(tx, plan.envelope.id)?))
    });
    Ok(json(StatusCode::OK, &found.await?))
}

/// A reference in a body that means nothing is the body's fault: it names the field.
fn blamed<T>(found: catalog::Result<T>) -> catalog::Result<T> {
    match found {
        Err(error @ catalog::Error::NotFound { kind: Kind::BuildPlan, .. }) => {
            named("oeBuildPlanURI", Err(error))
        }
        Err(error @ catalog::Error::NotFound { kind: Kind::GoldenImage, .. }) => {
            named("goldenImageURI", Err(error))
        }
        found => found,
    }
}

async fn create(
    State(control): State<Arc<Control>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let new: DeploymentPlanBody = parse(body)?;
    let version = api_version(&headers);
    let made = control
        .write(move |tx| resource(tx, blamed(rows::insert(tx, &new, Origin::Written))?, version))
        .await?;
    tracing::info!(name = made.head.name, "deployment plan made");
    Ok(created(&made.head.uri, &made))
}

async fn change(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let mut new: DeploymentPlanBody = parse(body)?;
    let (version, if_match) = (api_version(&headers), if_match(&headers, new.e_tag.take()));
    let changed = control.write(move |tx| {
        let id = rows::find(tx, &id)?.envelope.id;
        resource(tx, blamed(rows::update(tx, id, if_match.as_deref(), &new))?, version)
    });
    let changed = changed.await?;
    tracing::info!(name = changed.head.name, "deployment plan changed");
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
    tracing::info!(name, "deployment plan removed");
    Ok(empty(StatusCode::NO_CONTENT))
}
