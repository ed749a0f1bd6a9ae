//! Plan scripts: the steps that personalize a fresh volume, or generalize a captured one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ArtifactReference, Head, Title, lenient, truth};

/// Longest script in bytes.
pub const SCRIPT_BYTES_MAX: usize = 1 << 20;

/// What a script, or a build plan, is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PlanType {
    /// Personalizing a fresh volume.
    Deploy,
    /// Generalizing the copy of a volume that becomes a golden image.
    Capture,
    /// Either; scripts only.
    General,
}

impl PlanType {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Capture => "capture",
            Self::General => "general",
        }
    }

    /// The type that a word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Deploy, Self::Capture, Self::General].into_iter().find(|kind| kind.as_str() == word)
    }
}

impl std::fmt::Display for PlanType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for PlanType {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::from_word(text).ok_or_else(|| format!("{text:?} is not deploy, capture or general"))
    }
}

/// A plan script (`/rest/plan-scripts/{id}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanScript {
    /// What all artifacts have.
    #[serde(flatten)]
    pub head: Head,
    /// What it is for.
    pub plan_type: PlanType,
    /// The script: guestfish commands.
    pub content: String,
    /// The attributes that it uses with their defaults: a JSON list, written as a string. Null where it has none.
    #[serde(default)]
    pub custom_attributes: Option<String>,
    /// It cannot be edited.
    pub hp_provided: bool,
    /// The build plans that use it.
    #[serde(default)]
    pub dependent_artifacts: Vec<ArtifactReference>,
    /// Path of what it was made to succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision_of: Option<String>,
}

impl PlanScript {
    /// The value of its `type`.
    pub const KIND: &'static str = "PlanScript";
}

/// The body of POST and PUT. What the daemon itself fills in is not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanScriptBody {
    /// The name.
    pub name: Title,
    /// What it is for, in words.
    #[serde(default, deserialize_with = "lenient::text")]
    #[schemars(with = "Option<String>")]
    pub description: String,
    /// What it is for.
    pub plan_type: PlanType,
    /// The script.
    #[serde(default, deserialize_with = "lenient::text")]
    #[schemars(with = "Option<String>")]
    pub content: String,
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

/// What a new content would change (`POST /rest/plan-scripts/differences/{id}`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScriptDifferences {
    /// Attributes that only the new content has.
    pub ca_added: Vec<String>,
    /// Attributes that only the old content has.
    pub ca_removed: Vec<String>,
    /// Whether the contents differ at all.
    pub content_changed: bool,
    /// Attributes whose default is another.
    pub default_value_changed: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_of_the_sdk_is_taken() {
        let body = r#"{"type":"PlanScript","name":"A - b","description":null,"planType":"deploy","content":"x",
            "hpProvided":"false","eTag":null,"dependentArtifacts":null}"#;
        let script: PlanScriptBody = serde_json::from_str(body).unwrap();
        assert_eq!(
            (script.name.as_str(), script.plan_type, script.hp_provided),
            ("A - b", PlanType::Deploy, false)
        );
        let bad = r#"{"name":"","planType":"deploy"}"#;
        assert!(serde_json::from_str::<PlanScriptBody>(bad).unwrap_err().to_string().contains("empty"));
    }
}
