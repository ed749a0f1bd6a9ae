//! The golden image as a resource.

use serde::{Deserialize, Serialize};

use crate::Health;

/// A golden image (`/rest/golden-images/{id}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The name, unique among golden images.
    pub name: String,
    /// Health.
    pub status: Health,
    /// What stands behind a health that is not OK.
    #[serde(default)]
    pub status_reason: Option<String>,
    /// `Normal` once it can be used.
    pub state: String,
    /// When it was added.
    pub created: String,
    /// The same: a golden image never changes.
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
}

impl GoldenImage {
    /// The value of [`GoldenImage::kind`].
    pub const KIND: &'static str = "GoldenImage";
    /// The value of [`GoldenImage::category`].
    pub const CATEGORY: &'static str = "golden-images";
}
