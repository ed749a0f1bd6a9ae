//! Users, and what their roles let them do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a user may do, by OneView's names.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum Role {
    /// Everything.
    #[serde(rename = "Infrastructure administrator")]
    InfrastructureAdministrator,
    /// Artifacts: golden images, plan scripts, build plans, deployment plans, bundles.
    #[serde(rename = "Software administrator")]
    SoftwareAdministrator,
    /// Profiles, servers and their volumes.
    #[serde(rename = "Server administrator")]
    ServerAdministrator,
    /// Looks.
    #[serde(rename = "Backup administrator")]
    BackupAdministrator,
    /// Looks.
    #[serde(rename = "Network administrator")]
    NetworkAdministrator,
    /// Looks.
    #[serde(rename = "Storage administrator")]
    StorageAdministrator,
    /// Looks.
    #[serde(rename = "Read only")]
    ReadOnly,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::InfrastructureAdministrator,
        Self::SoftwareAdministrator,
        Self::ServerAdministrator,
        Self::BackupAdministrator,
        Self::NetworkAdministrator,
        Self::StorageAdministrator,
        Self::ReadOnly,
    ];

    /// OneView's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InfrastructureAdministrator => "Infrastructure administrator",
            Self::SoftwareAdministrator => "Software administrator",
            Self::ServerAdministrator => "Server administrator",
            Self::BackupAdministrator => "Backup administrator",
            Self::NetworkAdministrator => "Network administrator",
            Self::StorageAdministrator => "Storage administrator",
            Self::ReadOnly => "Read only",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the role {0:?} is not known; infrastructure, software, server, backup, network, storage and read-only are"
)]
pub struct BadRole(pub String);

impl FromStr for Role {
    type Err = BadRole;

    /// The whole name, or its first word, in any case.
    fn from_str(text: &str) -> Result<Self, BadRole> {
        let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_'], " ");
        let wanted = plain(text);
        let same = |role: &Role| {
            let name = plain(role.name());
            name == wanted || name.split(' ').next() == Some(&wanted)
        };
        Self::ALL.into_iter().find(same).ok_or_else(|| BadRole(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_known_by_its_name_and_by_its_first_word() {
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.name());
        }
        assert_eq!("Server".parse(), Ok(Role::ServerAdministrator));
        assert_eq!("read-only".parse(), Ok(Role::ReadOnly));
        assert!("administrator".parse::<Role>().is_err());
        assert!("".parse::<Role>().is_err());
    }
}
