//! Who asks. Every request has an [`Actor`] among its extensions: `Extension(actor): Extension<Actor>`.

use api::Role;

use super::endpoint::Access;

/// Whoever sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Actor {
    /// As it is written into logs and tasks.
    pub(crate) name: String,
    /// What it may do. Empty: only what is open to all.
    pub(crate) roles: Vec<Role>,
    /// How it came.
    pub(crate) via: Via,
}

/// How a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    /// By the Unix socket, from a process of this user.
    Socket {
        /// The user's id, as the kernel says.
        uid: u32,
    },
    /// By TLS, with a session that was logged in.
    Login,
    /// By TLS, without one.
    Nobody,
}

impl Actor {
    /// Somebody at the Unix socket.
    pub(crate) fn at_socket(uid: u32, roles: Vec<Role>) -> Self {
        Self { name: format!("uid:{uid}"), roles, via: Via::Socket { uid } }
    }

    /// Somebody who is logged in.
    pub(crate) fn logged_in(name: String, roles: Vec<Role>) -> Self {
        Self { name, roles, via: Via::Login }
    }

    /// Somebody who has not said who it is.
    pub(crate) fn nobody() -> Self {
        Self { name: "nobody".to_owned(), roles: Vec::new(), via: Via::Nobody }
    }

    /// Whether one of its roles lets it.
    pub(crate) fn may(&self, access: Access) -> bool {
        access == Access::Open || self.roles.iter().any(|role| role_may(*role, access))
    }
}

/// IMAGE-STREAMER's roles: the infrastructure administrator does everything, two others edit their half, all look.
fn role_may(role: Role, access: Access) -> bool {
    match (access, role) {
        (Access::Open | Access::View, _) | (_, Role::InfrastructureAdministrator) => true,
        (Access::EditArtifacts, Role::SoftwareAdministrator) => true,
        (Access::EditProfiles, Role::ServerAdministrator) => true,
        (Access::EditArtifacts | Access::EditProfiles | Access::Administer, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(role: Role) -> [bool; 4] {
        let actor = Actor::logged_in("x".to_owned(), vec![role]);
        [Access::View, Access::EditArtifacts, Access::EditProfiles, Access::Administer]
            .map(|access| actor.may(access))
    }

    #[test]
    fn each_role_may_what_image_streamer_lets_it() {
        assert_eq!(may(Role::InfrastructureAdministrator), [true, true, true, true]);
        assert_eq!(may(Role::SoftwareAdministrator), [true, true, false, false]);
        assert_eq!(may(Role::ServerAdministrator), [true, false, true, false]);
        for role in [
            Role::BackupAdministrator,
            Role::NetworkAdministrator,
            Role::StorageAdministrator,
            Role::ReadOnly,
        ] {
            assert_eq!(may(role), [true, false, false, false], "{role}");
        }
    }

    #[test]
    fn nobody_may_only_what_is_open() {
        assert!(Actor::nobody().may(Access::Open));
        assert!(!Actor::nobody().may(Access::View));
        assert!(!Actor::at_socket(1000, Vec::new()).may(Access::View));
    }

    #[test]
    fn two_roles_add_up() {
        let roles = vec![Role::SoftwareAdministrator, Role::ServerAdministrator];
        let actor = Actor::logged_in("x".to_owned(), roles);
        assert!(actor.may(Access::EditArtifacts) && actor.may(Access::EditProfiles));
        assert!(!actor.may(Access::Administer));
    }
}
