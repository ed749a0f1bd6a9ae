//! On which terms a target is exported: who may log in, and where logins are sent on to.

use std::net::{IpAddr, SocketAddr};

use config::AddressRange;
use iscsi::IscsiName;
use iscsi::auth::AuthenticationPolicy;

/// Who may log in to a target, and how they prove who they are.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Initiators that may log in; empty lets every name in.
    pub initiators: Vec<IscsiName>,
    /// Where they may come from; empty is everywhere.
    pub addresses: Vec<AddressRange>,
    /// What a login must prove.
    pub authentication: AuthenticationPolicy,
}

impl Access {
    /// May this initiator log in from this address? What it may not log in to, it does not discover.
    #[must_use]
    pub fn permits(&self, initiator: &IscsiName, from: IpAddr) -> bool {
        let named = self.initiators.is_empty() || self.initiators.contains(initiator);
        named && (self.addresses.is_empty() || self.addresses.iter().any(|range| range.contains(from)))
    }
}

/// Where logins to a target are sent on to (RFC 7143 §11.13.5: "Target moved …").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The address that the target is reached at.
    pub to: SocketAddr,
    /// The initiator is to remember it.
    pub permanent: bool,
}

impl Redirect {
    /// Is a login that came in on this address of ours sent on? One that came to where it would be sent is not: it would
    /// go round for ever.
    #[must_use]
    pub fn concerns(&self, local: SocketAddr) -> bool {
        (local.ip().to_canonical(), local.port()) != (self.to.ip().to_canonical(), self.to.port())
    }
}

/// On which terms a target is exported.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Who may log in.
    pub access: Access,
    /// Where logins are sent on to, if they are.
    pub redirect: Option<Redirect>,
    /// While an initiator has a session, no other one gets any.
    pub exclusive: bool,
}

impl From<Access> for Terms {
    fn from(access: Access) -> Self {
        Self { access, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Directory;
    use super::*;

    fn name(text: &str) -> IscsiName {
        IscsiName::parse(text).unwrap()
    }

    /// Initiators × addresses, empty and not, in every form of an address (COMPAT L22).
    #[test]
    fn who_is_permitted() {
        const A: &str = "iqn.2026-01.x:a";
        const B: &str = "iqn.2026-01.x:b";
        type Names = &'static [&'static str];
        // Lists of initiators and of addresses; who asks, from where; what comes of it.
        const TABLE: &[(Names, Names, &str, &str, bool)] = &[
            (&[], &[], A, "10.0.0.1", true),
            (&[], &[], B, "fd00::1", true),
            (&[A], &[], A, "10.0.0.1", true),
            (&[A], &[], "IQN.2026-01.X:A", "10.0.0.1", true),
            (&[A], &[], B, "10.0.0.1", false),
            (&[A, B], &[], B, "fd00::1", true),
            (&[], &["10.0.0.0/8"], A, "10.0.0.1", true),
            (&[], &["10.0.0.0/8"], A, "11.0.0.1", false),
            (&[], &["10.0.0.0/8"], A, "::ffff:10.0.0.1", true),
            (&[], &["10.0.0.0/8"], A, "::ffff:11.0.0.1", false),
            (&[], &["10.0.0.0/8"], A, "fd00::1", false),
            (&[], &["::ffff:10.0.0.0/104"], A, "10.0.0.1", true),
            (&[], &["::/0"], A, "10.0.0.1", false),
            (&[], &["fd00::/8", "10.0.0.1"], A, "10.0.0.1", true),
            (&[], &["fd00::/8", "10.0.0.1"], A, "10.0.0.2", false),
            (&[A], &["10.0.0.0/8"], A, "10.0.0.1", true),
            (&[A], &["10.0.0.0/8"], A, "11.0.0.1", false),
            (&[A], &["10.0.0.0/8"], B, "10.0.0.1", false),
            (&[A], &["10.0.0.0/8"], B, "11.0.0.1", false),
        ];
        for (initiators, addresses, who, from, permitted) in TABLE {
            let access = Access {
                initiators: initiators.iter().map(|text| name(text)).collect(),
                addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
                authentication: AuthenticationPolicy::None,
            };
            let from: IpAddr = from.parse().unwrap();
            assert_eq!(access.permits(&name(who), from), *permitted, "{who} from {from}: {access:?}");
            // What it may not log in to, it does not discover.
            let directory = Directory::new();
            let target = name("iqn.2026-01.x:disk");
            directory.add(target.clone(), access, Box::new(|| anyhow::bail!("never opened")));
            let seen = directory.visible_to(&name(who), from);
            assert_eq!(seen, if *permitted { vec![target] } else { vec![] }, "{who} from {from}");
        }
    }

    #[test]
    fn whoever_came_to_where_it_would_be_sent_is_not_sent_on() {
        let concerns = |to: &str, local: &str| {
            Redirect { to: to.parse().unwrap(), permanent: false }.concerns(local.parse().unwrap())
        };
        assert!(concerns("10.0.0.2:3260", "10.0.0.1:3260"));
        assert!(concerns("10.0.0.2:3260", "10.0.0.2:3261"));
        assert!(concerns("10.0.0.2:3260", "[fd00::2]:3260"));
        assert!(!concerns("10.0.0.2:3260", "10.0.0.2:3260"));
        assert!(!concerns("10.0.0.2:3260", "[::ffff:10.0.0.2]:3260"));
        assert!(!concerns("[fd00::2]:3260", "[fd00::2%3]:3260"));
    }
}
