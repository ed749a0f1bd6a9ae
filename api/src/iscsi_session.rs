//! An initiator that is logged in, as a resource in Image Streamer's style.

use serde::{Deserialize, Serialize};

/// An iSCSI session (`/rest/iscsi-sessions/{tsih}`; RFC 7143 §4.2.3). It is there while the initiator is logged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IscsiSession {
    /// `IscsiSession`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `iscsi-sessions`.
    pub category: String,
    /// Target session identifying handle: what the session is called here.
    pub tsih: u16,
    /// Path of this resource.
    pub uri: String,
    /// iSCSI name of the initiator.
    pub initiator_name: String,
    /// The initiator's part of the session's identifier, six bytes in hexadecimal.
    pub isid: String,
    /// Where the connection comes from, with its port.
    pub address: String,
    /// The portal that it came to, with its port.
    pub portal: String,
    /// iSCSI name of the target; `null` in a discovery session.
    pub target_name: Option<String>,
    /// Path of the volume; `null` in a discovery session.
    pub volume_uri: Option<String>,
    /// Name of the volume; `null` in a discovery session.
    pub volume_name: Option<String>,
    /// Name that the initiator proved by CHAP; `null` if it was not asked to.
    pub chap_name: Option<String>,
    /// CRC32C over headers was agreed.
    pub header_digest: bool,
    /// CRC32C over data was agreed.
    pub data_digest: bool,
    /// When it logged in.
    pub created: String,
}

impl IscsiSession {
    /// The value of [`IscsiSession::kind`].
    pub const KIND: &'static str = "IscsiSession";
    /// The value of [`IscsiSession::category`].
    pub const CATEGORY: &'static str = "iscsi-sessions";
}
