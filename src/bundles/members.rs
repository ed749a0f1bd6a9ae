//! The artifacts of a bundle as JSON: HPE's fields, in both directions.

use api::{BuildPlanBody, DeploymentPlanBody, PlanScriptBody, Title};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::catalog::Kind;
use crate::catalog::build_plans::BuildPlan;
use crate::catalog::bundles::{Contents, Item};
use crate::catalog::deployment_plans::DeploymentPlan;
use crate::catalog::golden_images::GoldenImage;
use crate::catalog::plan_scripts::PlanScript;

/// What ends the names of members that are artifacts.
pub(super) const SCRIPT: &str = "_planscript.json";
pub(super) const BUILD_PLAN: &str = "_buildplan.json";
pub(super) const DEPLOYMENT_PLAN: &str = "_deploymentplan.json";
pub(super) const GOLDEN_IMAGE: &str = "_goldenimage.json";

/// An artifact with the id that it has in the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Bundled<T> {
    #[serde(default, alias = "buildPlanid")]
    pub(super) id: Option<String>,
    #[serde(flatten)]
    pub(super) body: T,
}

/// A golden image; its disk is a member of its own, of this name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImageBody {
    pub(super) name: Title,
    #[serde(default)]
    pub(super) description: Option<String>,
    #[serde(default, deserialize_with = "api::truth::flag")]
    pub(super) read_only: bool,
    /// Digest of the disk; only our own bundles have it.
    #[serde(default)]
    pub(super) check_sum: Option<String>,
}

/// All artifacts of a bundle.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Members {
    pub(super) scripts: Vec<Bundled<PlanScriptBody>>,
    pub(super) build_plans: Vec<Bundled<BuildPlanBody>>,
    pub(super) plans: Vec<Bundled<DeploymentPlanBody>>,
    pub(super) images: Vec<Bundled<ImageBody>>,
}

impl Members {
    /// Names that are there twice among artifacts of one kind, compared as the catalog does.
    pub(super) fn twice(&self) -> Option<&str> {
        let lists: [Vec<&str>; 4] = [
            self.scripts.iter().map(|one| one.body.name.as_str()).collect(),
            self.build_plans.iter().map(|one| one.body.name.as_str()).collect(),
            self.plans.iter().map(|one| one.body.name.as_str()).collect(),
            self.images.iter().map(|one| one.body.name.as_str()).collect(),
        ];
        lists.into_iter().find_map(|names| {
            let mut seen = std::collections::HashSet::new();
            names.into_iter().find(|name| !seen.insert(name.to_ascii_lowercase()))
        })
    }

    /// In short, as the catalog keeps it.
    pub(super) fn contents(&self) -> Contents {
        let id = |id: &Option<String>| id.clone().unwrap_or_default();
        let scripts = self.scripts.iter().map(|one| Item {
            id: id(&one.id),
            name: one.body.name.to_string(),
            description: one.body.description.clone(),
            read_only: one.body.hp_provided,
            needs: Vec::new(),
        });
        let build_plans = self.build_plans.iter().map(|one| Item {
            id: id(&one.id),
            name: one.body.name.to_string(),
            description: one.body.description.clone(),
            read_only: one.body.hp_provided,
            needs: one.body.build_step.iter().map(|step| step.plan_script_name.clone()).collect(),
        });
        let plans = self.plans.iter().map(|one| Item {
            id: id(&one.id),
            name: one.body.name.to_string(),
            description: one.body.description.clone(),
            read_only: one.body.hp_provided,
            needs: std::iter::once(one.body.oe_build_plan_uri.clone())
                .chain(one.body.golden_image_uri.clone())
                .collect(),
        });
        let images = self.images.iter().map(|one| Item {
            id: id(&one.id),
            name: one.body.name.to_string(),
            description: one.body.description.clone().unwrap_or_default(),
            read_only: one.body.read_only,
            needs: Vec::new(),
        });
        Contents {
            plan_scripts: scripts.collect(),
            build_plans: build_plans.collect(),
            deployment_plans: plans.collect(),
            golden_images: images.collect(),
        }
    }
}

pub(super) fn script(row: &PlanScript, read_only: bool) -> Value {
    json!({
        "type": "PlanScript", "dependentArtifacts": null, "hpProvided": read_only, "eTag": null, "created": null,
        "modified": null, "customAttributes": null, "planType": row.plan_type, "description": row.envelope.description,
        "category": null, "status": null, "uri": null, "name": row.envelope.name, "id": row.envelope.id, "state": null,
        "content": row.content,
    })
}

pub(super) fn build_plan(row: &BuildPlan, read_only: bool) -> Value {
    let steps: Vec<Value> = row
        .steps
        .iter()
        .enumerate()
        .map(|(index, step)| {
            json!({
                "planScriptName": step.script_name, "planScriptUri": Kind::PlanScript.uri(step.script),
                "serialNumber": (index + 1).to_string(), "parameters": step.parameters,
            })
        })
        .collect();
    json!({
        "type": "OeBuildPlan", "dependentArtifacts": null, "customAttributes": without_passwords(&row.attributes),
        "buildStep": steps, "eTag": null, "created": null, "modified": null, "hpProvided": read_only,
        "buildPlanid": row.envelope.id, "oeBuildPlanType": row.plan_type, "description": row.envelope.description,
        "category": null, "status": null, "uri": null, "name": row.envelope.name,
    })
}

/// The two URIs are names here.
pub(super) fn deployment_plan(
    row: &DeploymentPlan,
    build_plan: &str,
    image: Option<&str>,
    read_only: bool,
) -> Value {
    let mut member = json!({
        "type": "OEDeploymentPlan", "hpProvided": read_only, "customAttributes": without_passwords(&row.attributes),
        "importMetadata": false, "eTag": null, "created": null, "modified": null, "goldenImageURI": image,
        "oeBuildPlanURI": build_plan, "description": row.envelope.description, "category": null, "status": null,
        "uri": null, "name": row.envelope.name, "id": row.envelope.id, "state": null,
        "keepGenerations": row.keep_generations,
    });
    // A field of ours; HPE's reader does not look at it.
    if let Some(option) = &row.cloud_init {
        member["cloudInit"] = json!(option);
    }
    member
}

pub(super) fn golden_image(
    row: &GoldenImage,
    bundle: &str,
    check_sum: &str,
    size: u64,
    read_only: bool,
) -> Value {
    json!({
        "type": "GoldenImage", "dependentArtifacts": null, "osVolumeName": null, "checkSum": check_sum,
        "importedFromBundle": true, "bundleName": bundle, "bundleURI": null,
        "artifactBundleCategory": Kind::ArtifactBundle.category(), "osVolumeCategory": null, "buildPlanName": null,
        "buildPlanCategory": null, "imageCapture": false, "osVolumeURI": null, "buildPlanUri": null,
        "readOnly": read_only, "created": null, "modified": null, "description": row.envelope.description,
        "category": null, "status": null, "uri": null, "name": row.envelope.name,
        "id": row.envelope.id, "state": null, "size": size, "eTag": null,
    })
}

/// A bundle leaves the house: it has no passwords.
fn without_passwords(attributes: &[api::CustomAttribute]) -> Vec<api::CustomAttribute> {
    let hide = |attribute: &api::CustomAttribute| match attribute.kind {
        api::AttributeType::Password => {
            api::CustomAttribute { value: Some(String::new()), ..attribute.clone() }
        }
        _ => attribute.clone(),
    };
    attributes.iter().map(hide).collect()
}
