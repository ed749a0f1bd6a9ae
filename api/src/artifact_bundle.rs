//! Artifact bundles: archives that carry artifacts from one server to another.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Head, Title, lenient, truth};

/// An artifact bundle (`/rest/artifact-bundles/{id}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactBundle {
    /// What all artifacts have.
    #[serde(flatten)]
    pub head: Head,
    /// The id once more.
    #[serde(rename = "artifactsbundleID")]
    pub artifactsbundle_id: String,
    /// How many artifacts are in it.
    pub artifacts_count: u64,
    /// Whether it is a backup of all artifacts.
    pub backup_service: bool,
    /// Whether it was uploaded, and not made here.
    pub importbundle: bool,
    /// The same as `backupService` where it was uploaded.
    pub recover_bundle: bool,
    /// Whether it says so of itself.
    pub read_only: bool,
    /// Size of the archive in bytes.
    pub size: u64,
    /// Digest of the archive.
    pub checksum: String,
    /// Path that the archive is downloaded from.
    #[serde(rename = "downloadURI")]
    pub download_uri: String,
    /// When it was last downloaded.
    pub last_back_up_download_time: Option<String>,
    /// The build plans in it.
    pub build_plans: Vec<BundledBuildPlan>,
    /// The plan scripts in it.
    pub plan_scripts: Vec<BundledPlanScript>,
    /// The deployment plans in it.
    pub deployment_plans: Vec<BundledDeploymentPlan>,
    /// The golden images in it.
    pub goldenimage: Vec<BundledGoldenImage>,
}

impl ArtifactBundle {
    /// The value of its `type`.
    pub const KIND: &'static str = "ArtifactsBundle";
}

/// A build plan in a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BundledBuildPlan {
    /// Its id in the bundle.
    #[serde(rename = "bpID")]
    pub bp_id: String,
    /// Its name.
    pub build_plan_name: String,
    /// Names of its scripts, with commas between.
    pub plan_script_name: String,
    /// Whether it can never be edited.
    pub read_only: bool,
    /// What it is for, in words.
    pub description: String,
}

/// A plan script in a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BundledPlanScript {
    /// Its id in the bundle.
    #[serde(rename = "psID")]
    pub ps_id: String,
    /// Its name.
    pub plan_script_name: String,
    /// Whether it can never be edited.
    pub read_only: bool,
    /// What it is for, in words.
    pub description: String,
}

/// A deployment plan in a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BundledDeploymentPlan {
    /// Its id in the bundle.
    pub dp_id: String,
    /// Its name.
    #[serde(rename = "deploymentplanName")]
    pub deploymentplan_name: String,
    /// Name of its golden image; null: its volumes begin empty.
    pub golden_image_name: Option<String>,
    /// Name of its build plan.
    pub oebp_name: String,
    /// Whether it can never be edited.
    pub read_only: bool,
    /// What it is for, in words.
    pub description: String,
}

/// A golden image in a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BundledGoldenImage {
    /// Its id in the bundle.
    #[serde(rename = "giID")]
    pub gi_id: String,
    /// Its name.
    #[serde(rename = "goldenimageName")]
    pub goldenimage_name: String,
    /// Whether it can never be edited.
    pub read_only: bool,
    /// What it is for, in words.
    pub description: String,
}

/// The body of `POST /rest/artifact-bundles`. What the artifacts need is taken along without being named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewArtifactBundle {
    /// The name.
    pub name: Title,
    /// What it is for, in words.
    #[serde(default, deserialize_with = "lenient::text")]
    #[schemars(with = "Option<String>")]
    pub description: String,
    /// Deployment plans, with their golden images, build plans and scripts.
    #[serde(default, deserialize_with = "lenient::list")]
    #[schemars(with = "Option<Vec<BundleChoice>>")]
    pub deployment_plans: Vec<BundleChoice>,
    /// Build plans, with their scripts.
    #[serde(default, deserialize_with = "lenient::list")]
    #[schemars(with = "Option<Vec<BundleChoice>>")]
    pub build_plans: Vec<BundleChoice>,
    /// Plan scripts.
    #[serde(default, deserialize_with = "lenient::list")]
    #[schemars(with = "Option<Vec<BundleChoice>>")]
    pub plan_scripts: Vec<BundleChoice>,
    /// Golden images.
    #[serde(default, deserialize_with = "lenient::list")]
    #[schemars(with = "Option<Vec<BundleChoice>>")]
    pub golden_images: Vec<BundleChoice>,
}

/// An artifact that is to be in a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BundleChoice {
    /// The artifact, by path, id or name.
    pub resource_uri: String,
    /// Whether it can never be edited where it is extracted.
    #[serde(default, deserialize_with = "truth::flag")]
    #[schemars(with = "truth::Flag")]
    pub read_only: bool,
}

/// The body of `PUT /rest/artifact-bundles/{id}`: only the name can be edited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArtifactBundleBody {
    /// The name.
    pub name: Title,
    /// The eTag that the resource was read with, if it must not have changed since; `If-Match` goes before it.
    #[serde(
        rename = "eTag",
        default,
        deserialize_with = "lenient::maybe",
        skip_serializing_if = "Option::is_none"
    )]
    pub e_tag: Option<String>,
}

/// The body of what concerns a backup.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct BackupBody {
    /// The deployment group whose artifacts are meant; there is one.
    #[serde(rename = "deploymentGroupURI", alias = "deploymentGroupUri", default)]
    pub deployment_group_uri: Option<String>,
}

/// The one group of servers that deploy: this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentGroup {
    /// What all artifacts have.
    #[serde(flatten)]
    pub head: Head,
    /// Not known here.
    #[serde(rename = "managementNetworkname")]
    pub management_network_name: Option<String>,
    /// Not known here.
    #[serde(rename = "managementNetworkuri")]
    pub management_network_uri: Option<String>,
}

impl DeploymentGroup {
    /// The value of its `type`.
    pub const KIND: &'static str = "OEDeploymentGroup";
    /// The value of its `category`.
    pub const CATEGORY: &'static str = "deployment-groups";
    /// The name of the one that there is.
    pub const NAME: &'static str = "OSS";
    /// Its id; it never changes.
    pub const ID: &'static str = "00000000-0000-4000-8000-000000000055";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_of_the_sdk_is_taken() {
        let body = r#"{"name":"b","description":"d","buildPlans":[{"resourceUri":"/rest/build-plans/x","readOnly":"false"}]}"#;
        let bundle: NewArtifactBundle = serde_json::from_str(body).unwrap();
        assert_eq!(bundle.build_plans[0].resource_uri, "/rest/build-plans/x");
        assert!(bundle.golden_images.is_empty());
    }
}
