//! Users, and what their roles let them do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Secret;

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

/// A user (`/rest/users/{id}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// `UserAndPermissions`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `users`.
    pub category: String,
    /// The id, a UUID.
    pub id: String,
    /// Path of this resource.
    pub uri: String,
    /// The name to log in with.
    pub user_name: String,
    /// The same; collections are sorted by it.
    pub name: String,
    /// What people call them.
    pub full_name: String,
    /// For people.
    pub description: String,
    /// What they may do.
    pub roles: Vec<Role>,
    /// The same in OneView's form.
    pub permissions: Vec<Permission>,
    /// Whether they may log in.
    pub enabled: bool,
    /// When the user was made.
    pub created: String,
    /// When it was last changed.
    pub modified: String,
    /// Changes whenever the resource does.
    #[serde(rename = "eTag")]
    pub e_tag: String,
}

impl User {
    /// The value of [`User::kind`].
    pub const KIND: &'static str = "UserAndPermissions";
    /// The value of [`User::category`].
    pub const CATEGORY: &'static str = "users";
}

/// A role in OneView's form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Permission {
    /// The role.
    pub role_name: Role,
    /// Always null: a role is for everything.
    #[serde(default)]
    pub scope_uri: Option<String>,
}

/// What `POST /rest/users` and `PUT /rest/users/{id}` take. A PUT is the whole user; only a password that is not there
/// stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserSpec {
    /// The name to log in with.
    pub user_name: String,
    /// The password: at least 8 characters. A new user needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// What people call them.
    #[serde(default)]
    pub full_name: Option<String>,
    /// For people.
    #[serde(default)]
    pub description: Option<String>,
    /// What they may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<Role>>,
    /// The same in OneView's form; `roles` counts where both are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Vec<Permission>>,
    /// Whether they may log in; they may if it is not there.
    #[serde(default, deserialize_with = "crate::truth::maybe", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "crate::truth::Flag")]
    pub enabled: Option<bool>,
    /// What was read before: refused when it has changed since. The header If-Match counts before it.
    #[serde(default, rename = "eTag", skip_serializing_if = "Option::is_none")]
    pub e_tag: Option<String>,
}

/// What `PUT /rest/users/{id}/password` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PasswordChange {
    /// The new one.
    pub password: Secret,
    /// The old one; who administers need not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_password: Option<Secret>,
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
