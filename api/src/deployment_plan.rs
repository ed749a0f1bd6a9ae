//! Deployment plans: a golden image, a build plan, and presets of its attributes. And the same as OneView sees it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ArtifactReference, CloudInit, CloudInitChange, CustomAttribute, Head, Title, lenient, truth};

/// Most former generations of a volume that a plan may ask to be kept.
pub const KEEP_GENERATIONS_MAX: u64 = 16;
/// How many are kept unless a plan says otherwise.
pub const KEEP_GENERATIONS_DEFAULT: u64 = 1;

/// A deployment plan (`/rest/deployment-plans/{id}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentPlan {
    /// What all artifacts have.
    #[serde(flatten)]
    pub head: Head,
    /// Path of the golden image; null: the volume begins empty.
    #[serde(rename = "goldenImageURI")]
    pub golden_image_uri: Option<String>,
    /// Path of the build plan.
    #[serde(rename = "oeBuildPlanURI")]
    pub oe_build_plan_uri: String,
    /// The build plan's attributes, with this plan's values.
    pub custom_attributes: Vec<CustomAttribute>,
    /// It cannot be edited.
    pub hp_provided: bool,
    /// Whether it came with a bundle.
    #[serde(default)]
    pub import_metadata: bool,
    /// The profiles that use it.
    #[serde(default)]
    pub dependent_artifacts: Vec<ArtifactReference>,
    /// How many former generations of a volume are kept when it is regenerated.
    pub keep_generations: u64,
    /// What cloud-init or Ignition finds beside the volume; null: nothing.
    #[serde(default)]
    pub cloud_init: Option<CloudInit>,
    /// Counts its edits.
    pub revision: u64,
    /// Path of what it was made to succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision_of: Option<String>,
}

impl DeploymentPlan {
    /// The value of its `type`, which depends on the version that the client speaks.
    #[must_use]
    pub fn kind(api_version: u32) -> &'static str {
        if api_version < 500 { "OEDeploymentPlan" } else { "OEDeploymentPlanV5" }
    }
}

/// The body of POST and PUT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentPlanBody {
    /// The name.
    pub name: Title,
    /// What it is for, in words.
    #[serde(default, deserialize_with = "lenient::text")]
    #[schemars(with = "Option<String>")]
    pub description: String,
    /// The golden image by path, id or name; null or empty: the volume begins empty.
    #[serde(
        rename = "goldenImageURI",
        alias = "goldenImageUri",
        default,
        deserialize_with = "lenient::maybe"
    )]
    pub golden_image_uri: Option<String>,
    /// The build plan by path, id or name.
    #[serde(rename = "oeBuildPlanURI", alias = "oeBuildPlanUri")]
    pub oe_build_plan_uri: String,
    /// This plan's values. Attributes of the build plan that are not named here keep their values.
    #[serde(default, deserialize_with = "lenient::list")]
    #[schemars(with = "Option<Vec<CustomAttribute>>")]
    pub custom_attributes: Vec<CustomAttribute>,
    /// Whether it can never be edited.
    #[serde(default, deserialize_with = "truth::flag")]
    #[schemars(with = "truth::Flag")]
    pub hp_provided: bool,
    /// How many former generations of a volume are kept when it is regenerated, 0 to 16; 1 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 16))]
    pub keep_generations: Option<u64>,
    /// What cloud-init or Ignition is to find beside the volume; null: nothing. Not given: as it was.
    #[serde(default, skip_serializing_if = "CloudInitChange::stays")]
    #[schemars(with = "Option<CloudInit>")]
    pub cloud_init: CloudInitChange,
    /// The eTag that the resource was read with, if it must not have changed since; `If-Match` goes before it.
    #[serde(
        rename = "eTag",
        default,
        deserialize_with = "lenient::maybe",
        skip_serializing_if = "Option::is_none"
    )]
    pub e_tag: Option<String>,
}

/// A deployment plan as OneView sees it (`/rest/os-deployment-plans/{id}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OsDeploymentPlan {
    /// What all artifacts have.
    #[serde(flatten)]
    pub head: Head,
    /// What profiles see of its attributes.
    pub additional_parameters: Vec<AdditionalParameter>,
    /// `I3S`.
    pub deployment_type: String,
    /// Path of the deployment plan itself.
    pub native_plan_uri: String,
    /// Address of the server that deploys.
    pub deployment_appliance_ipv4: Option<String>,
    /// Not known here.
    pub architecture: Option<String>,
    /// Not known here.
    pub os_type: Option<String>,
    /// Size of the golden image in bytes, as text.
    pub osdp_size: String,
}

impl OsDeploymentPlan {
    /// The value of its `type`.
    pub const KIND: &'static str = "Osdp";
    /// The value of its `category`.
    pub const CATEGORY: &'static str = "os-deployment-plans";
    /// The value of its `deploymentType`.
    pub const DEPLOYMENT_TYPE: &'static str = "I3S";
}

/// A custom attribute as OneView names its fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdditionalParameter {
    /// Its name.
    pub name: String,
    /// The plan's value; null for passwords.
    pub value: Option<String>,
    /// What it is for, in words.
    pub description: String,
    /// Its id in the plan.
    pub ca_id: String,
    /// What values it takes.
    pub ca_type: String,
    /// Limits of the value: a JSON object, written as a string.
    pub ca_constraints: String,
    /// Whether profiles may change it.
    pub ca_editable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_golden_image_is_null_or_empty_or_nothing() {
        for image in [r#","goldenImageURI":null"#, r#","goldenImageURI":"""#, ""] {
            let body = format!(
                r#"{{"type":"OEDeploymentPlan","name":"p","hpProvided":"false","oeBuildPlanURI":"b"{image}}}"#
            );
            let plan: DeploymentPlanBody = serde_json::from_str(&body).unwrap();
            assert_eq!(plan.golden_image_uri, None, "{image}");
        }
    }
}
