//! `POST /rest/deployment-plans/{id}/try`: a plan is run on a volume that nobody else has, and that goes afterwards.

use std::sync::Arc;

use api::{PlanTrial, Refusal};
use axum::Extension;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use cow::ImageId;
use script::Expanded;

use super::actor::Actor;
use super::answer::{Answer, parse};
use super::artifacts::accepted;
use super::endpoint::{Access, Content, Endpoint, post, schema_of};
use super::placement::named;
use super::state::Control;
use crate::catalog::deployment_plans::{self, Target};
use crate::catalog::holds::Hold;
use crate::catalog::profiles::Attribute;
use crate::catalog::tasks::Subject;
use crate::catalog::{self, Error, Kind, Tx, hardware};
use crate::deploy::Report;
use crate::lifecycle::{Beginning, Scratch};
use crate::seed::Source;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        post(
            "/rest/deployment-plans/{id}/try",
            Access::EditArtifacts,
            "Runs a deployment plan on a volume that goes afterwards, or is kept for a look into it",
            begin,
        )
        .takes::<PlanTrial>()
        .answers_with(202, Content::Json(schema_of::<api::Task>)),
    ]
}

/// A trial that can begin.
struct Trial {
    subject: Subject,
    holds: Vec<Hold>,
    beginning: Beginning,
    script: Arc<Expanded>,
}

async fn begin(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let said: PlanTrial = parse(body)?;
    let keep_as = said.keep_as.clone().map(|name| name.to_string());
    if let Some(name) = keep_as.as_deref() {
        control.check_keepable(name)?;
    }
    let trial = control.read(move |tx| prepare(tx, &id, said)).await?;
    control.lifecycle.check_scripts(&trial.script)?;
    let Trial { subject, holds, beginning, script } = trial;
    let scratch = control.lifecycle.begin_scratch(&actor.name, "Try", subject, holds).await?;
    let answer = accepted(scratch.task());
    tokio::spawn(run(scratch, beginning, script, keep_as));
    Ok(answer)
}

impl Control {
    fn check_keepable(&self, name: &str) -> Result<(), Refusal> {
        use crate::lifecycle::VolumeNames as _;
        let refuse = |code, message: String| Err(Refusal::new(code, message).source("keepAs"));
        match name {
            _ if catalog::os_volumes::number_of(name).is_some() => refuse(
                api::Code::InvalidValue,
                format!("{name:?} is a name that only volumes of profiles have; choose another"),
            ),
            _ if self.names.is_taken(name) => {
                refuse(api::Code::NameExists, format!("a volume named {name:?} exists"))
            }
            _ => Ok(()),
        }
    }
}

/// The scripts with the values that hold, before anything happens.
fn prepare(tx: &Tx<'_>, reference: &str, said: PlanTrial) -> catalog::Result<Trial> {
    let plan = deployment_plans::find(tx, reference)?;
    let id = plan.envelope.id;
    let server = said.server_hardware_uri.as_deref().map(|server| hardware::find(tx, server));
    let server = named("serverHardwareUri", server.transpose())?;
    let attribute = |given: api::ProfileAttribute| Attribute { name: given.name, value: given.value };
    let attributes: Vec<Attribute> = said.os_custom_attributes.into_iter().map(attribute).collect();
    let given = attributes.iter().map(|one| (one.name.as_str(), one.value.as_deref()));
    let effective = plan.effective(given)?;
    let extra = serde_json::Map::new();
    let hardware = server.map(|server| server.envelope.id);
    let values =
        deployment_plans::script_values(tx, id, Target { attributes: &attributes, hardware, extra: &extra })?;
    if let Some(option) = plan.cloud_init.clone() {
        Source::checked(option, &plan.attributes, values.clone(), &plan.envelope.name).map_err(|fault| {
            let field = fault.attribute.as_deref().unwrap_or("cloudInit");
            Error::invalid(field, format!("the seed cannot be made: {fault}"))
        })?;
    }
    let steps = deployment_plans::script_steps(tx, plan.build_plan)?;
    let script = script::expand(&steps, &values).map_err(|faults| {
        let all: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let field = faults.iter().find_map(|fault| fault.attribute.clone());
        Error::invalid(field.as_deref().unwrap_or("osCustomAttributes"), all.join("; "))
    })?;
    let mut holds =
        vec![Hold::shared(Kind::DeploymentPlan, id), Hold::shared(Kind::BuildPlan, plan.build_plan)];
    holds.extend(plan.golden_image.map(|image| Hold::shared(Kind::GoldenImage, image.simple())));
    Ok(Trial {
        subject: Subject::new(Kind::DeploymentPlan, id, plan.envelope.name),
        holds,
        beginning: Beginning::Image {
            image: plan.golden_image.map(|image| ImageId(*image.as_bytes())),
            size_bytes: effective.volume_size_bytes.filter(|_| plan.golden_image.is_none()),
        },
        script: Arc::new(script),
    })
}

async fn run(mut scratch: Scratch, beginning: Beginning, script: Arc<Expanded>, keep_as: Option<String>) {
    let outcome = try_out(&mut scratch, beginning, script).await;
    let kept = match (&keep_as, scratch.volume().is_some()) {
        (Some(name), true) => keep(&mut scratch, name).await,
        _ => Ok(()),
    };
    scratch.end(outcome.and(kept)).await;
}

async fn try_out(scratch: &mut Scratch, beginning: Beginning, script: Arc<Expanded>) -> Result<(), Refusal> {
    let volume = scratch.make(beginning).await?;
    scratch.task().log(format!("volume made: {} bytes", volume.size_bytes));
    if script.steps().len() == 0 {
        scratch.task().log("the plan has no steps: volumes are deployed as they are");
        return Ok(());
    }
    let report = scratch.run(script, false).await?;
    times(&report).into_iter().for_each(|line| scratch.task().log(line));
    Ok(())
}

/// How long each step took.
pub(super) fn times(report: &Report) -> Vec<String> {
    let line = |step: &crate::deploy::StepTime| {
        format!("step {} {:?} took {} ms", step.step + 1, step.name, step.took.as_millis())
    };
    report.steps.iter().map(line).collect()
}

async fn keep(scratch: &mut Scratch, name: &str) -> Result<(), Refusal> {
    let kept = scratch.keep(name).await?;
    scratch.task().log(format!("volume kept as {}", kept.name));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::build_plans::{self, Origin};
    use crate::catalog::{Catalog, golden_images};

    #[test]
    fn a_seed_that_could_not_be_made_is_told_before_anything_is_tried() {
        let directory = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&directory.path().join("catalog")).unwrap();
        let json = |text: &str| text.to_owned();
        catalog
            .write(|tx| {
                let new = golden_images::NewGoldenImage { name: "i".into(), ..Default::default() };
                golden_images::insert(tx, uuid::Uuid::from_u128(7), new)?;
                let build = json(r#"{"name": "as-is", "oeBuildPlanType": "deploy", "buildStep": []}"#);
                build_plans::insert(tx, &serde_json::from_str(&build).unwrap(), Origin::Written)?;
                let plan = json(
                    r##"{"name": "cloud", "oeBuildPlanURI": "as-is", "goldenImageURI": "i",
                        "cloudInit": {"userData": "#cloud-config\nmotto: @Motto@\n"}}"##,
                );
                deployment_plans::insert(tx, &serde_json::from_str(&plan).unwrap(), Origin::Written)
            })
            .unwrap();
        let tried = |value: &str| {
            let said = serde_json::json!({ "osCustomAttributes": [{ "name": "Motto", "value": value }] });
            catalog.read(|tx| prepare(tx, "cloud", serde_json::from_value(said).unwrap()).map(drop))
        };
        tried("fine").unwrap();
        assert!(matches!(tried("a: b"), Err(Error::Invalid { field, .. }) if field == "Motto"));
    }
}
