//! The golden image as a resource.

use serde::{Deserialize, Serialize};

use crate::{ArtifactReference, Health, Title, lenient};

/// A golden image (`/rest/golden-images/{id}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GoldenImage {
    /// `GoldenImage`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `golden-images`.
    pub category: String,
    /// The id, 32 hexadecimal digits.
    pub id: String,
    /// Path of this resource.
    pub uri: String,
    /// The name, unique among golden images without regard to case.
    pub name: String,
    /// What it is for, in words.
    #[serde(default)]
    pub description: String,
    /// Health.
    pub status: Health,
    /// What stands behind a health that is not OK.
    #[serde(default)]
    pub status_reason: Option<String>,
    /// `Normal` once it can be used.
    pub state: String,
    /// When it was added.
    pub created: String,
    /// When its name or description was last edited. Its content never changes.
    pub modified: String,
    /// Changes whenever the resource does.
    #[serde(rename = "eTag")]
    pub e_tag: String,
    /// Size of the disk in bytes.
    pub size: u64,
    /// Bytes it takes in the store.
    pub allocated_bytes: u64,
    /// Digest of the disk's content.
    pub check_sum: String,
    /// Format of the file it was made from.
    pub source_format: String,
    /// Number of OS volumes that live on it.
    pub os_volumes: u64,
    /// It cannot be edited.
    pub read_only: bool,
    /// Whether it was captured from a volume.
    pub image_capture: bool,
    /// Name of the volume that it was captured from.
    #[serde(default)]
    pub os_volume_name: Option<String>,
    /// Path of that volume, which may be gone.
    #[serde(default, rename = "osVolumeURI")]
    pub os_volume_uri: Option<String>,
    /// `os-volumes` where it was captured.
    #[serde(default)]
    pub os_volume_category: Option<String>,
    /// Name of the build plan that it was captured by.
    #[serde(default)]
    pub build_plan_name: Option<String>,
    /// Path of that plan, which may be gone.
    #[serde(default)]
    pub build_plan_uri: Option<String>,
    /// `build-plans` where it was captured by one.
    #[serde(default)]
    pub build_plan_category: Option<String>,
    /// Whether it came in an artifact bundle.
    #[serde(default)]
    pub imported_from_bundle: bool,
    /// Name of that bundle.
    #[serde(default)]
    pub bundle_name: Option<String>,
    /// Path of that bundle, which may be gone.
    #[serde(default, rename = "bundleURI")]
    pub bundle_uri: Option<String>,
    /// `artifact-bundles` where it came in one.
    #[serde(default)]
    pub artifact_bundle_category: Option<String>,
    /// The deployment plans that use it.
    #[serde(default)]
    pub dependent_artifacts: Vec<ArtifactReference>,
}

impl GoldenImage {
    /// The value of [`GoldenImage::kind`].
    pub const KIND: &'static str = "GoldenImage";
    /// The value of [`GoldenImage::category`].
    pub const CATEGORY: &'static str = "golden-images";
}

/// What `POST /rest/golden-images` takes as JSON: a golden image captured from a volume, which may be in use, or from
/// one of its snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewGoldenImage {
    /// Ignored; clients send `GoldenImage`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The name, unique among golden images without regard to case.
    pub name: Title,
    /// What it is for, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Must not be false: what is not captured is uploaded. Clients send the text `true`.
    #[serde(default = "yes", deserialize_with = "crate::truth::flag")]
    pub image_capture: bool,
    /// The volume, by path, id or name.
    #[serde(
        default,
        rename = "osVolumeURI",
        alias = "osVolumeUri",
        deserialize_with = "lenient::maybe",
        skip_serializing_if = "Option::is_none"
    )]
    pub os_volume_uri: Option<String>,
    /// The snapshot, by path or as `VOLUME/SNAPSHOT`, instead of the volume as it is now.
    #[serde(
        default,
        rename = "snapshotURI",
        alias = "snapshotUri",
        deserialize_with = "lenient::maybe",
        skip_serializing_if = "Option::is_none"
    )]
    pub snapshot_uri: Option<String>,
    /// The capture build plan, by path, id or name. One that has steps is refused for now: they are not run yet.
    #[serde(
        default,
        alias = "buildPlanURI",
        deserialize_with = "lenient::maybe",
        skip_serializing_if = "Option::is_none"
    )]
    pub build_plan_uri: Option<String>,
}

/// The body of `PUT /rest/golden-images/{id}`: name and description can be edited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct GoldenImageBody {
    /// The name, unique among golden images without regard to case.
    pub name: Title,
    /// What it is for, in words.
    #[serde(default, deserialize_with = "lenient::text")]
    #[schemars(with = "Option<String>")]
    pub description: String,
    /// The eTag that the resource was read with, if it must not have changed since; `If-Match` goes before it.
    #[serde(
        rename = "eTag",
        default,
        deserialize_with = "lenient::maybe",
        skip_serializing_if = "Option::is_none"
    )]
    pub e_tag: Option<String>,
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_is_asked_for_as_image_streamers_clients_do() {
        let body = r#"{"type":"GoldenImage","name":"web","description":"","imageCapture":"true",
            "osVolumeURI":"/rest/os-volumes/1","buildPlanUri":null}"#;
        let new: NewGoldenImage = serde_json::from_str(body).unwrap();
        assert!(new.image_capture && new.build_plan_uri.is_none());
        assert_eq!(new.os_volume_uri.as_deref(), Some("/rest/os-volumes/1"));
        let short: NewGoldenImage = serde_json::from_str(r#"{"name":"web","snapshotURI":"v/s"}"#).unwrap();
        assert!(short.image_capture);
        let sent = serde_json::to_string(&short).unwrap();
        assert_eq!(sent, r#"{"name":"web","imageCapture":true,"snapshotURI":"v/s"}"#);
        assert!(serde_json::from_str::<NewGoldenImage>(r#"{"name":"web","imageCapture":"maybe"}"#).is_err());
    }
}
