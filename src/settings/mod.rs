//! What a volume is exported with: who may log in and how they prove it, several at a time or not, where logins are sent
//! on to, what kind of disk it is.
//!
//! ```text
//!   <store>/exports/<id>.json   one file for each that has settings of its own; without one, the defaults: everybody
//!   Shelf    all of them, read at start; a change is durable before it counts
//!   change   what a client asks for, over what there is, checked
//! ```
//! It fails closed. A file that cannot be read, or a secret that does not open, does not become the default: nobody may
//! log in until it is mended. The file of a volume is there before the volume is, and goes after it: no crash leaves a
//! volume without the settings that it was made with.
//!
//! A profile's volume takes who may log in from its profile, and the rest from here.

mod change;
mod configured;
mod file;
mod limits;
mod secret;
mod shelf;

use std::net::{IpAddr, SocketAddr};

use config::AddressRange;
use cow::{ImageId, SnapshotId, VolumeId};
use iscsi::IscsiName;
use iscsi::auth::{AuthenticationPolicy, ChapCredential, ChapPolicy};

pub use change::{apply, shown};
pub use configured::{algorithms, discovery};
pub use secret::{Credential, Secret, check_secret, check_user};
pub use shelf::Shelf;

use crate::exports::{Access, Redirect};

/// What one volume is exported with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportSettings {
    /// Initiators that may log in; empty lets every name in.
    pub initiators: Vec<IscsiName>,
    /// Where they may come from; empty is everywhere.
    pub addresses: Vec<AddressRange>,
    /// What an initiator proves itself with by CHAP; none asks for nothing.
    pub chap: Option<Credential>,
    /// What osvold proves itself with to an initiator that asks; only with `chap`.
    pub mutual: Option<Credential>,
    /// Where logins are sent on to.
    pub redirect: Option<Redirect>,
    /// One initiator has it for itself while it is logged in.
    pub exclusive: bool,
    /// The disk tells of a write cache, which initiators flush.
    pub write_cache: bool,
    /// Length of the disk's logical blocks, fixed when the volume is made.
    pub logical_block_bytes: BlockBytes,
}

/// Length of a logical block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BlockBytes {
    /// 512 bytes, on physical blocks of 4096.
    #[default]
    B512,
    /// 4096 bytes.
    B4096,
}

impl BlockBytes {
    /// As a number of bytes.
    #[must_use]
    pub fn bytes(self) -> u32 {
        match self {
            Self::B512 => 512,
            Self::B4096 => 4096,
        }
    }

    /// Of a number of bytes; nothing but 512 and 4096 is one.
    #[must_use]
    pub fn of(bytes: u64) -> Option<Self> {
        match bytes {
            512 => Some(Self::B512),
            4096 => Some(Self::B4096),
            _ => None,
        }
    }
}

impl From<BlockBytes> for scsi::BlockSize {
    fn from(bytes: BlockBytes) -> Self {
        match bytes {
            BlockBytes::B512 => Self::Emulated512,
            BlockBytes::B4096 => Self::Native4096,
        }
    }
}

impl Default for ExportSettings {
    fn default() -> Self {
        Self {
            initiators: Vec::new(),
            addresses: Vec::new(),
            chap: None,
            mutual: None,
            redirect: None,
            exclusive: false,
            write_cache: true,
            logical_block_bytes: BlockBytes::default(),
        }
    }
}

impl ExportSettings {
    /// Who may log in, for the directory of targets.
    ///
    /// # Errors
    /// When a secret cannot be opened.
    pub fn access(&self) -> Result<Access, Error> {
        let credential = |credential: &Credential| {
            let secret = credential.secret.open().ok_or(Error::Sealed)?;
            Ok(ChapCredential { name: credential.user.clone(), secret: secret.as_bytes().to_vec() })
        };
        let authentication = match &self.chap {
            None => AuthenticationPolicy::None,
            Some(chap) => AuthenticationPolicy::Chap(ChapPolicy {
                users: vec![credential(chap)?],
                mutual: self.mutual.as_ref().map(credential).transpose()?,
                algorithms: Vec::new(),
            }),
        };
        let (initiators, addresses) = (self.initiators.clone(), self.addresses.clone());
        Ok(Access { initiators, addresses, authentication })
    }
}

/// An address that logins can be sent to.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn redirect_address(text: &str) -> Result<SocketAddr, String> {
    let Ok(address) = text.parse::<SocketAddr>() else {
        return Err(format!("{text:?} is no address and port; write it as 10.0.0.2:3260 or [fd00::2]:3260"));
    };
    let ip = address.ip().to_canonical();
    let scoped = matches!(address, SocketAddr::V6(v6) if v6.scope_id() != 0);
    let nowhere = match ip {
        IpAddr::V4(ip) => ip.is_broadcast(),
        IpAddr::V6(_) => scoped,
    };
    if nowhere || ip.is_unspecified() || ip.is_multicast() || address.port() == 0 {
        return Err(format!("initiators cannot connect to {text}; give the address and port of a portal"));
    }
    Ok(SocketAddr::new(ip, address.port()))
}

/// What settings are kept under: the id of what is exported.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExportId(VolumeId);

impl From<VolumeId> for ExportId {
    fn from(id: VolumeId) -> Self {
        Self(id)
    }
}

impl From<ImageId> for ExportId {
    fn from(id: ImageId) -> Self {
        Self(VolumeId(id.0))
    }
}

impl From<SnapshotId> for ExportId {
    fn from(id: SnapshotId) -> Self {
        Self(VolumeId(id.0))
    }
}

impl std::fmt::Display for ExportId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Debug for ExportId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for ExportId {
    type Err = cow::BadId;

    fn from_str(text: &str) -> Result<Self, cow::BadId> {
        text.parse().map(Self)
    }
}

/// Why there are no settings, or no new ones.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The file is there and is not understood.
    #[error("the settings that it is exported with cannot be read, so it is exported to nobody: {0}")]
    Unreadable(String),
    /// The key that its secrets are sealed with is another one, or lost.
    #[error("its CHAP secrets do not open with the catalog's key, so it is exported to nobody")]
    Sealed,
    /// A value that cannot be.
    #[error("{message}")]
    Invalid {
        /// The JSON field.
        field: &'static str,
        /// What is wrong, and what would be right.
        message: String,
    },
    /// They cannot be kept.
    #[error("the settings of an export cannot be kept: {0}")]
    NotKept(String),
}

impl Error {
    fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { field, message: message.into() }
    }
}
