//! What a volume is exported with: who may log in, several at a time or not, where logins are sent on to, what kind of disk
//! it is.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::Secret;

/// What a volume is exported with. Secrets are never shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportSettings {
    /// iSCSI names of the initiators that may log in; empty for all. A profile's volume is its server's instead.
    pub initiators: Vec<String>,
    /// Where they may come from, such as `10.0.0.0/8`; empty for everywhere.
    pub addresses: Vec<String>,
    /// Whom initiators prove to be by CHAP; `null`: they need not.
    pub chap: Option<ChapUser>,
    /// Whom osvold proves to be when they ask.
    pub mutual: Option<ChapUser>,
    /// Where logins are sent on to.
    pub redirect: Option<Redirect>,
    /// One initiator has it for itself while it is logged in; others are refused meanwhile.
    pub exclusive: bool,
    /// The disk has a write cache, which initiators flush.
    pub write_cache: bool,
    /// Length of its logical blocks: 512 or 4096.
    pub logical_block_bytes: u64,
}

/// The name of a CHAP user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChapUser {
    /// CHAP_N.
    pub user: String,
}

/// Where logins are sent on to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Redirect {
    /// `10.0.0.2:3260` or `[fd00::2]:3260`.
    pub to: String,
    /// Initiators are to remember it.
    #[serde(default)]
    pub permanent: bool,
}

/// What a volume is to be exported with. What is not named stays as it is, or is the default of a new one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportChange {
    /// iSCSI names of the initiators that may log in; empty or `null` for all.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "list")]
    pub initiators: Option<Vec<String>>,
    /// Where they may come from: ranges such as `10.0.0.0/8`, or addresses; empty or `null` for everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "list")]
    pub addresses: Option<Vec<String>>,
    /// Whom initiators must prove to be by CHAP; `null`: they need not.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    #[schemars(with = "Option<ChapCredential>")]
    pub chap: Option<Option<ChapCredential>>,
    /// Whom osvold proves to be when they ask; needs `chap`, and a secret of its own. `null`: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    #[schemars(with = "Option<ChapCredential>")]
    pub mutual: Option<Option<ChapCredential>>,
    /// Where logins are sent on to; `null`: they are not.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    #[schemars(with = "Option<Redirect>")]
    pub redirect: Option<Option<Redirect>>,
    /// Whether one initiator has it for itself while it is logged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclusive: Option<bool>,
    /// Whether the disk has a write cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_cache: Option<bool>,
    /// Length of its logical blocks, 512 or 4096; it is fixed when the volume is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logical_block_bytes: Option<u64>,
}

/// A CHAP user and its secret. What is not given of one that there is stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChapCredential {
    /// CHAP_N: 1 to 255 visible ASCII characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The secret: 12 to 255 visible ASCII characters. Never given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
}

/// A field that is there, be it `null`.
fn named<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A list that is there; `null` is the empty one.
fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    Ok(Some(Option::<Vec<String>>::deserialize(deserializer)?.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_null_is_taken_away_and_what_is_absent_stays() {
        let change: ExportChange =
            serde_json::from_str(r#"{"initiators": null, "chap": null, "redirect": {"to": "a"}}"#).unwrap();
        assert_eq!(change.initiators, Some(Vec::new()));
        assert_eq!((change.chap, change.mutual), (Some(None), None));
        assert_eq!(change.redirect, Some(Some(Redirect { to: "a".into(), permanent: false })));
        assert_eq!(serde_json::from_str::<ExportChange>("{}").unwrap(), ExportChange::default());
        assert_eq!(serde_json::to_string(&ExportChange::default()).unwrap(), "{}");
    }

    #[test]
    fn a_secret_is_not_printed() {
        let change = r#"{"chap": {"user": "alice", "secret": "alice-secret-12"}}"#;
        let change: ExportChange = serde_json::from_str(change).unwrap();
        assert!(!format!("{change:?}").contains("alice-secret-12"));
    }
}
