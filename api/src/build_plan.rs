//! OS build plans: plan scripts in order, and the attributes that they leave open.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{ArtifactReference, CustomAttribute, Head, PlanType, Title, lenient, truth};

/// Most steps of a build plan.
pub const STEPS_MAX: usize = 256;

/// An OS build plan (`/rest/build-plans/{id}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BuildPlan {
    /// What all artifacts have.
    #[serde(flatten)]
    pub head: Head,
    /// The id once more.
    #[serde(rename = "buildPlanid")]
    pub build_plan_id: String,
    /// `deploy` or `capture`; it never changes.
    pub oe_build_plan_type: PlanType,
    /// The scripts in order.
    pub build_step: Vec<BuildStep>,
    /// What the scripts leave open.
    pub custom_attributes: Vec<CustomAttribute>,
    /// It cannot be edited.
    pub hp_provided: bool,
    /// The deployment plans that use it.
    #[serde(default)]
    pub dependent_artifacts: Vec<ArtifactReference>,
    /// Path of what it was made to succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision_of: Option<String>,
}

impl BuildPlan {
    /// The value of its `type`, which depends on the version that the client speaks.
    #[must_use]
    pub fn kind(api_version: u32) -> &'static str {
        if api_version < 500 { "OeBuildPlan" } else { "OeBuildPlanV5" }
    }
}

/// A step: one script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BuildStep {
    /// `1` and so on.
    #[serde(default, deserialize_with = "number")]
    #[schemars(with = "String")]
    pub serial_number: String,
    /// Name of the script.
    #[serde(default, deserialize_with = "lenient::text")]
    #[schemars(with = "Option<String>")]
    pub plan_script_name: String,
    /// Path of the script; the name counts where there is none.
    #[serde(default, deserialize_with = "lenient::text")]
    #[schemars(with = "Option<String>")]
    pub plan_script_uri: String,
    /// Kept as it is.
    #[serde(default)]
    pub parameters: Option<String>,
}

/// Clients write a step's number as text or as a number.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Text(String),
        Number(u64),
    }
    Ok(match Option::<Number>::deserialize(deserializer)? {
        None => String::new(),
        Some(Number::Text(text)) => text,
        Some(Number::Number(number)) => number.to_string(),
    })
}

/// The body of POST and PUT. It need not have a `type`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BuildPlanBody {
    /// The name.
    pub name: Title,
    /// What it is for, in words.
    #[serde(default, deserialize_with = "lenient::text")]
    #[schemars(with = "Option<String>")]
    pub description: String,
    /// `deploy` or `capture`.
    pub oe_build_plan_type: PlanType,
    /// The scripts in order. None at all means that the image stays as it is.
    #[serde(default, deserialize_with = "lenient::list")]
    #[schemars(with = "Option<Vec<BuildStep>>")]
    pub build_step: Vec<BuildStep>,
    /// What the scripts leave open. Attributes of the scripts that are not named here are added as strings.
    #[serde(default, deserialize_with = "lenient::list")]
    #[schemars(with = "Option<Vec<CustomAttribute>>")]
    pub custom_attributes: Vec<CustomAttribute>,
    /// Whether it can never be edited.
    #[serde(default, deserialize_with = "truth::flag")]
    #[schemars(with = "truth::Flag")]
    pub hp_provided: bool,
    /// The eTag that the resource was read with, if it must not have changed since; `If-Match` goes before it.
    #[serde(
        rename = "eTag",
        default,
        deserialize_with = "lenient::maybe",
        skip_serializing_if = "Option::is_none"
    )]
    pub e_tag: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_without_a_type_and_with_a_numbered_step_is_taken() {
        let body = r#"{"name":"p","oeBuildPlanType":"deploy","customAttributes":null,
            "buildStep":[{"serialNumber":1,"planScriptUri":"/rest/plan-scripts/x","parameters":null},
                         {"serialNumber":"2","planScriptName":"y","planScriptUri":null}]}"#;
        let plan: BuildPlanBody = serde_json::from_str(body).unwrap();
        assert_eq!(plan.build_step[0].serial_number, "1");
        assert_eq!(plan.build_step[1].plan_script_name, "y");
        assert!(plan.custom_attributes.is_empty() && !plan.hp_provided);
    }

    #[test]
    fn the_type_follows_the_clients_version() {
        assert_eq!((BuildPlan::kind(300), BuildPlan::kind(500)), ("OeBuildPlan", "OeBuildPlanV5"));
    }
}
