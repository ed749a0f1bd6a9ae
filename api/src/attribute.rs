//! Custom attributes: what a build plan leaves open, a deployment plan presets and a profile fills in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{lenient, truth};

/// What values an attribute takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AttributeType {
    /// Any text on one line.
    #[default]
    String,
    /// An integer or a decimal number.
    Number,
    /// One of a list.
    Option,
    /// A text that is never shown again.
    Password,
    /// A dotted name of a host.
    Fqdn,
    /// A name of a host without dots.
    Hostname,
    /// An IPv4 address.
    Ipv4,
    /// A network interface; its values are those of its members (`NIC1.ipaddress`).
    Nic,
}

impl AttributeType {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::String,
        Self::Number,
        Self::Option,
        Self::Password,
        Self::Fqdn,
        Self::Hostname,
        Self::Ipv4,
        Self::Nic,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Option => "option",
            Self::Password => "password",
            Self::Fqdn => "fqdn",
            Self::Hostname => "hostname",
            Self::Ipv4 => "ipv4",
            Self::Nic => "nic",
        }
    }

    /// The type that a word stands for, in any case.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(word))
    }
}

impl std::fmt::Display for AttributeType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A custom attribute of a build plan or of a deployment plan. Only the latter has `id`, `visible` and `editable`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomAttribute {
    /// Its name, as scripts have it between `@` and `@`.
    pub name: String,
    /// What values it takes.
    #[serde(rename = "type", default)]
    pub kind: AttributeType,
    /// The value that holds unless somebody further down gives another. Passwords are never told.
    #[serde(default)]
    pub value: Option<String>,
    /// What it is for, in words.
    #[serde(default, deserialize_with = "lenient::text")]
    #[schemars(with = "Option<String>")]
    pub description: String,
    /// Limits of the value: a JSON object, written as a string.
    #[serde(default, deserialize_with = "lenient::text")]
    #[schemars(with = "Option<String>")]
    pub constraints: String,
    /// Its id in the deployment plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Whether profiles see it.
    #[serde(default, deserialize_with = "truth::maybe", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "truth::Flag")]
    pub visible: Option<bool>,
    /// Whether profiles may change it.
    #[serde(default, deserialize_with = "truth::maybe", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "truth::Flag")]
    pub editable: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_of_hpes_bundles_is_read_and_written_as_it_is() {
        let json = r#"{"name":"VolumeSize","type":"number","value":"","description":"Size.","constraints":"{\"minimum\":\"1\",\"unit\":\"MiB\"}","id":"c9de9ede","visible":true,"editable":true}"#;
        let attribute: CustomAttribute = serde_json::from_str(json).unwrap();
        assert_eq!(attribute.constraints, r#"{"minimum":"1","unit":"MiB"}"#);
        assert_eq!(serde_json::to_string(&attribute).unwrap(), json);
        let nic = r#"{"constraints":"{}","description":null,"name":"NIC","value":null,"type":"nic"}"#;
        let nic: CustomAttribute = serde_json::from_str(nic).unwrap();
        assert_eq!((nic.kind, nic.value, nic.visible), (AttributeType::Nic, None, None));
    }
}
