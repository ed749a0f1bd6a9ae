//! Server hardware: the machines that profiles are assigned to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lenient;
use crate::{Head, ResourceNames};

/// A server (`/rest/server-hardware/{id}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerHardware {
    #[serde(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub head: Head,
    /// The UUID that the machine's firmware gives.
    pub uuid: String,
    /// The serial number, if one was given.
    pub serial_number: Option<String>,
    /// The model of its hardware type.
    pub model: String,
    /// `On`, `Off` or `Unknown`, as it was last recorded.
    pub power_state: PowerState,
    /// Path of its hardware type.
    pub server_hardware_type_uri: String,
    /// Path of the profile that is assigned to it.
    pub server_profile_uri: Option<String>,
    /// Path of the enclosure group of its logical enclosure.
    pub server_group_uri: Option<String>,
    /// Path of its logical enclosure, as OneView calls it.
    pub location_uri: Option<String>,
    /// The same; `null` for a host outside any enclosure.
    pub logical_enclosure_uri: Option<String>,
    /// Its bay.
    pub position: Option<u32>,
    /// The iSCSI name that this server has and keeps; `null`: it uses its profile's.
    pub initiator_name: Option<String>,
    /// Addresses of its network cards, in lower case.
    pub mac_addresses: Vec<String>,
    /// Names behind these paths.
    #[serde(default)]
    pub resource_names: ResourceNames,
    /// The locator light, as it was last asked for.
    pub uid_state: Option<String>,
}

impl ServerHardware {
    /// The value of [`Head::kind`].
    pub const KIND: &'static str = "server-hardware-14";
    /// The value of [`Head::category`].
    pub const CATEGORY: &'static str = "server-hardware";
}

/// Whether a machine runs, as it was last recorded. osvold does not switch machines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PowerState {
    /// It runs.
    On,
    /// It does not.
    Off,
    /// Nobody has said.
    #[default]
    Unknown,
}

impl PowerState {
    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "On",
            Self::Off => "Off",
            Self::Unknown => "Unknown",
        }
    }

    /// From the word, in any case.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::On, Self::Off, Self::Unknown]
            .into_iter()
            .find(|state| state.as_str().eq_ignore_ascii_case(word))
    }
}

/// A server that a profile could be assigned to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AvailableTarget {
    /// Name of the server.
    pub server_hardware_name: String,
    /// Its path.
    pub server_hardware_uri: String,
    /// Path of its hardware type.
    pub server_hardware_type_uri: String,
    /// Name of its hardware type.
    pub server_hardware_type_name: Option<String>,
    /// Path of the enclosure group of its logical enclosure.
    pub enclosure_group_uri: Option<String>,
    /// Path of its logical enclosure.
    pub enclosure_uri: Option<String>,
    /// Name of its logical enclosure.
    pub enclosure_name: Option<String>,
    /// Its bay.
    pub enclosure_bay: Option<u32>,
    /// Whether it runs, as it was last recorded.
    pub power_state: PowerState,
}

/// `GET /rest/server-profiles/available-targets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AvailableTargets {
    /// `AvailableTargets`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The servers.
    pub targets: Vec<AvailableTarget>,
}

impl AvailableTargets {
    /// The value of [`AvailableTargets::kind`].
    pub const KIND: &'static str = "AvailableTargets";
}

/// What `PUT /rest/server-hardware/{id}/powerState` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PowerStateChange {
    /// What to record.
    pub power_state: PowerState,
    /// How OneView's clients want it switched: read, and without effect here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_control: Option<String>,
}

/// What POST and PUT of `/rest/server-hardware` take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerHardwareSpec {
    /// The name, unique among server hardware. OneView's clients call it `hostname` when they add a server.
    #[serde(alias = "hostname")]
    pub name: String,
    /// For people.
    #[serde(default, deserialize_with = "lenient::text")]
    #[schemars(with = "Option<String>")]
    pub description: String,
    /// Its hardware type by path, id or name.
    pub server_hardware_type_uri: String,
    /// Its logical enclosure by path, id or name; absent for a host outside any enclosure.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub logical_enclosure_uri: Option<String>,
    /// Its bay.
    #[serde(default)]
    pub position: Option<u32>,
    /// The UUID that its firmware gives; one is made up if it is absent.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub uuid: Option<String>,
    /// Its serial number.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub serial_number: Option<String>,
    /// Recorded when a server is added; later `PUT {uri}/powerState` is the way, and this is read over.
    #[serde(default)]
    pub power_state: Option<PowerState>,
    /// The iSCSI name that this server has and keeps.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub initiator_name: Option<String>,
    /// Addresses of its network cards.
    #[serde(default, deserialize_with = "lenient::list")]
    #[schemars(with = "Option<Vec<String>>")]
    pub mac_addresses: Vec<String>,
    /// The eTag that was read, when a resource is changed.
    #[serde(default, rename = "eTag", skip_serializing_if = "Option::is_none")]
    pub e_tag: Option<String>,
}
