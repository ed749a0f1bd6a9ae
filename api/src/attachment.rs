//! The attachment of an OS volume as a resource: a door to its disk on this machine, in Image Streamer's style.

use serde::{Deserialize, Serialize};

/// An attachment (`/rest/os-volume-attachments/{id}`): a volume's disk over NBD, on a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// `OsVolumeAttachment`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `os-volume-attachments`.
    pub category: String,
    /// The id.
    pub id: String,
    /// Path of this resource.
    pub uri: String,
    /// Path of its volume.
    pub volume_uri: String,
    /// Name of its volume.
    pub volume_name: String,
    /// Path of the Unix socket, which osvold's own user and root can connect to.
    pub socket: String,
    /// What NBD clients take: `nbd+unix:///?socket=…`.
    pub nbd_uri: String,
    /// Clients can write.
    pub writable: bool,
    /// It is the volume as it was when it was attached; else as it is at each moment.
    pub snapshot: bool,
    /// Clients that are connected.
    pub clients: u64,
    /// Clients that were ever connected.
    pub connections: u64,
    /// Requests that changed something.
    pub writes: u64,
    /// Why it is not sure that all that clients wrote is durable; `null` while it is.
    pub doubt: Option<String>,
    /// When it was attached.
    pub created: String,
}

impl Attachment {
    /// The value of [`Attachment::kind`].
    pub const KIND: &'static str = "OsVolumeAttachment";
    /// The value of [`Attachment::category`].
    pub const CATEGORY: &'static str = "os-volume-attachments";
}

/// What `POST /rest/os-volumes/{id}/attachments` takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewAttachment {
    /// Clients may write: the volume is exported to nobody meanwhile. Refused while somebody is logged in.
    #[serde(default)]
    pub writable: bool,
    /// Show the volume as it is at this moment, however it changes.
    #[serde(default)]
    pub snapshot: bool,
    /// Absolute path of the socket; one beside the control socket if not given. Only for callers on this machine.
    #[serde(default)]
    pub socket: Option<String>,
}
