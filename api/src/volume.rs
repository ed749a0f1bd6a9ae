//! The OS volume as a resource.

use serde::{Deserialize, Deserializer, Serialize};

use crate::{ExportChange, ExportSettings, Health, Name, SpaceLevel};

/// An OS volume (`/rest/os-volumes/{id}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OsVolume {
    /// `OeVolume`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `os-volumes`.
    pub category: String,
    /// The id, 32 hexadecimal digits.
    pub id: String,
    /// The same id under Image Streamer's name for it.
    pub oe_volume_id: String,
    /// Path of this resource.
    pub uri: String,
    /// The name, unique among OS volumes.
    pub name: String,
    /// Health.
    pub status: Health,
    /// What stands behind a health that is not OK.
    #[serde(default)]
    pub status_reason: Option<String>,
    /// `Ready`, or of a profile's volume `Attached` while the profile has a server; `InUse` while somebody is logged in;
    /// `Kept`: an earlier generation; `Creating`, `Deleting`, `Failed`; `Unclaimed`: a profile's once, nobody knows whose.
    pub state: String,
    /// When it was created.
    pub created: String,
    /// When it was last changed as a resource.
    pub modified: String,
    /// Changes whenever the resource does.
    #[serde(rename = "eTag")]
    pub e_tag: String,
    /// Size of the disk in bytes.
    pub size: u64,
    /// The same under a clearer name.
    pub provisioned_bytes: u64,
    /// Bytes that its own data takes in the store; the golden image's are not counted.
    pub allocated_bytes: u64,
    /// Most bytes that its own data may take; `null` for no limit.
    #[serde(default)]
    pub quota_bytes: Option<u64>,
    /// Bytes of the store that it is sure to get; `null` for none.
    #[serde(default)]
    pub reserve_bytes: Option<u64>,
    /// Bytes that count for its quota and its reserve: data that was written and not given back yet.
    #[serde(default)]
    pub used_bytes: u64,
    /// How full its quota is.
    #[serde(default)]
    pub space_level: SpaceLevel,
    /// Path of its golden image; `null` for an empty volume.
    pub golden_volume_uri: Option<String>,
    /// Name of its golden image.
    pub image_name: Option<String>,
    /// Name of the iSCSI target.
    pub iscsi_name: String,
    /// The same under Image Streamer's name for it.
    #[serde(rename = "oeVolumeIQN")]
    pub oe_volume_iqn: String,
    /// Address of the first portal.
    pub oe_volume_ip: Option<String>,
    /// Logical unit number.
    pub lun: u64,
    /// Where it can be reached.
    pub portals: Vec<Portal>,
    /// Who is logged in.
    pub sessions: Vec<SessionSummary>,
    /// Name of the profile whose volume it is; `null` for one made directly.
    #[serde(default)]
    pub profile_name: Option<String>,
    /// Which of the profile's volumes it is, counted from 1.
    #[serde(default)]
    pub generation: Option<u64>,
    /// The profile, and the initiator that may log in.
    #[serde(default)]
    pub dependent_artifacts: Vec<DependentServer>,
    /// Path of the profile as Image Streamer calls it.
    #[serde(default)]
    pub stateless_server_uri: Option<String>,
    /// Path of a cluster of appliances: there is none here.
    #[serde(default)]
    pub deployment_cluster_uri: Option<String>,
    /// What it is exported with; absent where that cannot be read.
    #[serde(flatten)]
    pub export: Option<ExportSettings>,
}

/// Who an OS volume is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DependentServer {
    /// Name of the profile.
    pub name: String,
    /// The name that its server logs in with.
    pub server_iqn: Option<String>,
    /// Path of the profile.
    pub uri: String,
}

/// A profile as Image Streamer calls it (`/rest/stateless-servers/{id}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatelessServer {
    /// `StatelessServer`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `stateless-servers`.
    pub category: String,
    /// The profile's id.
    pub id: String,
    /// Path of this resource.
    pub uri: String,
    /// Name of the profile.
    pub name: String,
    /// The same.
    pub server_profile_name: String,
    /// Path of the profile.
    pub server_profile_uri: String,
    /// Path of its volume.
    pub os_volume_uri: Option<String>,
}

impl StatelessServer {
    /// The value of [`StatelessServer::kind`].
    pub const KIND: &'static str = "StatelessServer";
    /// The value of [`StatelessServer::category`].
    pub const CATEGORY: &'static str = "stateless-servers";
}

impl OsVolume {
    /// The value of [`OsVolume::kind`].
    pub const KIND: &'static str = "OeVolume";
    /// The value of [`OsVolume::category`].
    pub const CATEGORY: &'static str = "os-volumes";
}

/// An address that initiators connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Portal {
    /// IPv4 or IPv6 address.
    pub address: String,
    /// TCP port.
    pub port: u16,
}

impl Portal {
    /// `10.0.0.1:3260` or `[fd00::1]:3260`, as iscsiadm and URLs want it.
    #[must_use]
    pub fn host_port(&self) -> String {
        match self.address.contains(':') {
            true => format!("[{}]:{}", self.address, self.port),
            false => format!("{}:{}", self.address, self.port),
        }
    }
}

/// One initiator that is logged in to a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionSummary {
    /// iSCSI name of the initiator.
    pub initiator_name: String,
    /// Where its first connection comes from.
    #[serde(default)]
    pub address: Option<String>,
}

/// What `POST /rest/os-volumes` takes: a volume made directly, outside any profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewOsVolume {
    /// Ignored; clients send `OeVolume`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The name, unique among OS volumes.
    pub name: Name,
    /// Golden image by path, id or name; absent for an empty volume.
    #[serde(
        default,
        rename = "goldenImageURI",
        alias = "goldenVolumeUri",
        skip_serializing_if = "Option::is_none"
    )]
    pub golden_image_uri: Option<String>,
    /// Snapshot to begin as, by path or as `VOLUME/SNAPSHOT`; image and size are then the snapshot's.
    #[serde(default, rename = "snapshotURI", skip_serializing_if = "Option::is_none")]
    pub snapshot_uri: Option<String>,
    /// Size in bytes; absent means the golden image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<SizeSpec>,
    /// What it is exported with.
    #[serde(flatten)]
    pub export: ExportChange,
}

/// What `PATCH /rest/os-volumes/{id}` takes (RFC 7396): what is not named stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OsVolumeChange {
    /// New size in bytes, at least the present one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<SizeSpec>,
    /// Most bytes that its own data may take; `null` for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    #[schemars(with = "Option<SizeSpec>")]
    pub quota_bytes: Option<Option<SizeSpec>>,
    /// Bytes of the store that it is sure to get; `null` for none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    #[schemars(with = "Option<SizeSpec>")]
    pub reserve_bytes: Option<Option<SizeSpec>>,
    /// What it is exported with.
    #[serde(flatten)]
    pub export: ExportChange,
}

/// A field that is there, be it `null`.
fn named<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A size in bytes, which clients send as a number or as a string of digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SizeSpec(pub u64);

impl<'de> Deserialize<'de> for SizeSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum NumberOrText {
            Number(u64),
            Text(String),
        }
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(bytes) => Ok(Self(bytes)),
            NumberOrText::Text(text) => text
                .parse()
                .map(Self)
                .map_err(|_| serde::de::Error::custom(format!("size {text:?} is not a number of bytes"))),
        }
    }
}

impl schemars::JsonSchema for SizeSpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SizeSpec".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A size in bytes, as a number or as a string of digits",
            "type": ["integer", "string"],
            "minimum": 0,
            "pattern": "^[0-9]+$"
        })
    }
}

/// `GET /rest/os-volumes/{id}/storage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeStorage {
    /// Name of the volume.
    pub name: String,
    /// Size of the disk in bytes.
    pub provisioned_bytes: u64,
    /// Bytes that its own data takes.
    pub allocated_bytes: u64,
    /// Path of its golden image.
    pub golden_volume_uri: Option<String>,
    /// Name of its golden image.
    pub image_name: Option<String>,
    /// Snapshots, oldest first.
    pub snapshots: Vec<crate::Snapshot>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_volume_is_read_from_what_clients_send() {
        let new: NewOsVolume = serde_json::from_str(
            r#"{"type":"OeVolume","name":"web01","goldenImageURI":"debian","size":"42949672960"}"#,
        )
        .unwrap();
        assert_eq!(new.size, Some(SizeSpec(40 << 30)));
        assert_eq!(new.golden_image_uri.as_deref(), Some("debian"));
    }

    #[test]
    fn a_new_volume_with_a_bad_name_or_an_unknown_field_is_refused() {
        let error = serde_json::from_str::<NewOsVolume>(r#"{"name":"a/b"}"#).unwrap_err();
        assert!(error.to_string().contains("'/'"), "{error}");
        assert!(serde_json::from_str::<NewOsVolume>(r#"{"name":"a","sise":1}"#).is_err());
        assert!(serde_json::from_str::<NewOsVolume>(r#"{"name":"a","size":-1}"#).is_err());
    }

    #[test]
    fn a_change_tells_null_from_nothing() {
        let change = |json: &str| serde_json::from_str::<OsVolumeChange>(json);
        assert_eq!(change("{}").unwrap(), OsVolumeChange::default());
        assert_eq!(change(r#"{"quotaBytes":null}"#).unwrap().quota_bytes, Some(None));
        assert_eq!(change(r#"{"quotaBytes":"4096"}"#).unwrap().quota_bytes, Some(Some(SizeSpec(4096))));
        assert!(change(r#"{"quota":1}"#).is_err());
        let cleared = OsVolumeChange { quota_bytes: Some(None), ..OsVolumeChange::default() };
        assert_eq!(serde_json::to_string(&cleared).unwrap(), r#"{"quotaBytes":null}"#);
    }

    #[test]
    fn an_ipv6_portal_has_brackets() {
        let portal = |address: &str| Portal { address: address.into(), port: 3260 }.host_port();
        assert_eq!(portal("10.0.0.1"), "10.0.0.1:3260");
        assert_eq!(portal("fd00::1"), "[fd00::1]:3260");
    }
}
