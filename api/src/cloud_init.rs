//! Cloud images: what a deployment plan tells cloud-init or Ignition instead of running scripts, or beside them.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::lenient;

/// Most bytes of one text.
pub const CLOUD_TEXT_BYTES_MAX: usize = 128 << 10;
/// Where the seed is put on an EFI system partition, unless a plan says otherwise.
pub const ESP_PATH_DEFAULT: &str = "/EFI/osvol/nocloud/";

/// Who reads a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Datasource {
    /// cloud-init: files `meta-data`, `user-data`, `network-config`, `vendor-data` on a file system labelled CIDATA.
    #[default]
    NoCloud,
    /// Ignition: a file `config.ign` on a file system labelled `ignition`.
    Ignition,
}

/// Where a seed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Attach {
    /// LUN 1 of the volume's target, which is only read.
    #[default]
    Lun,
    /// Files on the volume's EFI system partition, written when it is deployed.
    Esp,
}

/// A seed of a deployment plan. The texts are templates: they have placeholders, as plan scripts do. What is not given
/// is made from the attributes' types and names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CloudInit {
    /// Who reads it: NoCloud (cloud-init) or Ignition.
    #[serde(default)]
    pub datasource: Datasource,
    /// Where it is: a second LUN, or files on the EFI system partition.
    #[serde(default)]
    pub attach: Attach,
    /// cloud-init's user-data; for Ignition, its configuration in JSON.
    #[serde(default, deserialize_with = "lenient::maybe", skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// cloud-init's meta-data, in YAML.
    #[serde(default, deserialize_with = "lenient::maybe", skip_serializing_if = "Option::is_none")]
    pub meta_data: Option<String>,
    /// cloud-init's network configuration, in YAML.
    #[serde(default, deserialize_with = "lenient::maybe", skip_serializing_if = "Option::is_none")]
    pub network_config: Option<String>,
    /// cloud-init's vendor-data.
    #[serde(default, deserialize_with = "lenient::maybe", skip_serializing_if = "Option::is_none")]
    pub vendor_data: Option<String>,
    /// The directory on the EFI system partition; `/EFI/osvol/nocloud/` unless given.
    #[serde(default, deserialize_with = "lenient::maybe", skip_serializing_if = "Option::is_none")]
    pub esp_path: Option<String>,
}

impl CloudInit {
    /// The templates that are given, each with the name of its field.
    pub fn templates(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("userData", &self.user_data),
            ("metaData", &self.meta_data),
            ("networkConfig", &self.network_config),
            ("vendorData", &self.vendor_data),
        ];
        all.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?)))
    }
}

/// What a body says of a seed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CloudInitChange {
    /// Nothing: it stays as it is.
    #[default]
    Stays,
    /// There is none.
    None,
    /// This one.
    Some(Box<CloudInit>),
}

impl CloudInitChange {
    /// The seed, where one is said.
    #[must_use]
    pub fn seed(&self) -> Option<&CloudInit> {
        match self {
            Self::Some(seed) => Some(seed),
            Self::Stays | Self::None => None,
        }
    }

    /// Whether nothing is said.
    #[must_use]
    pub fn stays(&self) -> bool {
        *self == Self::Stays
    }
}

impl Serialize for CloudInitChange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Stays | Self::None => serializer.serialize_none(),
            Self::Some(seed) => seed.serialize(serializer),
        }
    }
}

/// `null`, and one whose datasource is `null`, are none.
impl<'de> Deserialize<'de> for CloudInitChange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let off = value.is_null() || value.get("datasource").is_some_and(serde_json::Value::is_null);
        if off {
            return Ok(Self::None);
        }
        let seed = CloudInit::deserialize(value).map_err(serde::de::Error::custom)?;
        Ok(Self::Some(Box::new(seed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_and_no_datasource_are_told_apart() {
        let read = |text: &str| serde_json::from_str::<CloudInitChange>(text).unwrap();
        assert_eq!(read("null"), CloudInitChange::None);
        assert_eq!(read(r#"{"datasource": null}"#), CloudInitChange::None);
        assert_eq!(read("{}"), CloudInitChange::Some(Box::default()));
        let seed = read(r#"{"datasource": "Ignition", "attach": "esp", "userData": ""}"#);
        let wanted =
            CloudInit { datasource: Datasource::Ignition, attach: Attach::Esp, ..CloudInit::default() };
        assert_eq!(seed, CloudInitChange::Some(Box::new(wanted)));
        assert!(serde_json::from_str::<CloudInitChange>(r#"{"userdata": "x"}"#).is_err());
    }
}
