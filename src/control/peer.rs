//! Who is at the other end of the Unix socket: the credentials that the kernel attests (unix(7), SO_PEERCRED).
//!
//! Root, the daemon's own user and the members of a configured group are administrators. Others look, or may do
//! nothing at all, as configured. Whether somebody is a member is asked anew for each connection, of the system's own
//! databases (nsswitch.conf): who leaves the group is out with the next command.

use anyhow::Context;
use api::{Code, Refusal, Role};
use config::Others;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use super::actor::Actor;
use super::auth::Caller;

/// Who may do what over the socket.
#[derive(Debug, Clone)]
pub(super) struct Admission {
    own: u32,
    group: Option<(u32, String)>,
    others: Others,
}

impl Admission {
    /// As configured. The group is looked up once.
    pub(super) fn new(config: &config::Control) -> anyhow::Result<Self> {
        let group = match config.group.as_str() {
            "" => None,
            name => Some((group_id(name)?, name.to_owned())),
        };
        Ok(Self { own: rustix::process::geteuid().as_raw(), group, others: config.others })
    }

    pub(super) fn group(&self) -> Option<u32> {
        self.group.as_ref().map(|(id, _)| *id)
    }

    /// Mode of the socket's file: who can connect at all. What they may do is decided by [`Self::of`].
    pub(super) fn mode(&self) -> u32 {
        match (self.others, &self.group) {
            (Others::Read, _) => 0o666,
            (Others::None, Some(_)) => 0o660,
            (Others::None, None) => 0o600,
        }
    }

    /// What a process of this user and group may do. The databases may be far away, so they are asked on a thread of
    /// their own.
    pub(super) async fn of(&self, uid: u32, gid: u32) -> Caller {
        let Some((group, _)) = self.group.as_ref().filter(|_| uid != 0 && uid != self.own) else {
            return self.decide(uid, false);
        };
        let group = *group;
        let asked = tokio::task::spawn_blocking(move || is_member(uid, gid, group)).await;
        self.decide(uid, asked.unwrap_or(false))
    }

    fn decide(&self, uid: u32, member: bool) -> Caller {
        let administrator = || Caller::Known(Actor::at_socket(uid, vec![Role::InfrastructureAdministrator]));
        match self.others {
            _ if uid == 0 || uid == self.own || member => administrator(),
            Others::Read => Caller::Known(Actor::at_socket(uid, vec![Role::ReadOnly])),
            Others::None => Caller::Refused(self.refusal(uid)),
        }
    }

    fn refusal(&self, uid: u32) -> Refusal {
        let own = self.own;
        let message = format!("user id {uid} may not use osvold's control socket");
        let refusal = Refusal::new(Code::NotAuthorized, message);
        match &self.group {
            None => refusal
                .details(format!("root and user id {own}, which osvold runs as, may"))
                .action("run the command with sudo"),
            Some((_, group)) => refusal
                .details(format!("root, user id {own}, which osvold runs as, and members of {group:?} may"))
                .action(format!("run the command with sudo, or have your user added to group {group:?}")),
        }
    }
}

fn group_id(name: &str) -> anyhow::Result<u32> {
    let found = Group::from_name(name).with_context(|| format!("cannot look up the group {name:?}"))?;
    let group = found.with_context(|| {
        format!("control.group: there is no group {name:?}; make it (groupadd {name}) or name another")
    })?;
    Ok(group.gid.as_raw())
}

/// Whether a user is in a group: by the process's own primary group, or by the system's databases.
fn is_member(uid: u32, gid: u32, group: u32) -> bool {
    if gid == group {
        return true;
    }
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else { return false };
    let Ok(name) = std::ffi::CString::new(user.name) else { return false };
    getgrouplist(&name, user.gid).is_ok_and(|groups| groups.contains(&Gid::from_raw(group)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(group: Option<u32>, others: Others) -> Admission {
        Admission { own: 990, group: group.map(|id| (id, "osvol".to_owned())), others }
    }

    fn roles(caller: Caller) -> Option<Vec<Role>> {
        match caller {
            Caller::Known(actor) => Some(actor.roles),
            Caller::Refused(_) | Caller::At(_) => None,
        }
    }

    #[test]
    fn root_the_own_user_and_members_administer_and_others_as_configured() {
        let all = Some(vec![Role::InfrastructureAdministrator]);
        for others in [Others::None, Others::Read] {
            let admission = admission(Some(7), others);
            assert_eq!(roles(admission.decide(0, false)), all);
            assert_eq!(roles(admission.decide(990, false)), all);
            assert_eq!(roles(admission.decide(1000, true)), all);
        }
        assert_eq!(roles(admission(Some(7), Others::None).decide(1000, false)), None);
        assert_eq!(roles(admission(None, Others::Read).decide(1000, false)), Some(vec![Role::ReadOnly]));
    }

    #[test]
    fn the_file_is_as_open_as_it_must_be() {
        assert_eq!(admission(None, Others::None).mode(), 0o600);
        assert_eq!(admission(Some(7), Others::None).mode(), 0o660);
        assert_eq!(admission(Some(7), Others::Read).mode(), 0o666);
    }

    #[test]
    fn membership_is_the_systems_to_say() {
        assert!(is_member(1_999_999, 7, 7), "by the process's own group");
        assert!(is_member(0, 1, 0), "root's primary group is 0");
        assert!(!is_member(1_999_999, 1, 7), "nobody has this id");
        let missing = config::Control { group: "no-such-group".into(), ..config::Control::default() };
        let error = Admission::new(&missing).unwrap_err().to_string();
        assert!(error.contains("there is no group \"no-such-group\""), "{error}");
    }
}
