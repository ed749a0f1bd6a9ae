//! Which addresses initiators are told (COMPAT L9): those that they can reach from where they are.

use std::net::SocketAddr;

use iscsi::{IscsiName, PortalGroupTag, TargetRecord};

use super::socket::{canonical, is_link_local};

/// The portal group of all our portals.
pub(super) const PORTAL_GROUP: PortalGroupTag = PortalGroupTag(1);

/// The answer to SendTargets for targets that are visible to who asks (RFC 7143 Appendix C).
pub(super) fn records(names: Vec<IscsiName>, addresses: &[SocketAddr]) -> Vec<TargetRecord> {
    let addresses: Vec<String> = addresses.iter().map(|address| target_address(*address)).collect();
    names.into_iter().map(|name| TargetRecord { name, addresses: addresses.clone() }).collect()
}

/// Addresses to tell a peer that reached us at `local`. An address of another family or scope would cost it minutes of
/// timeouts. What is configured is told as it is, except where the peer cannot use the family.
pub(super) fn addresses(
    advertise: &[SocketAddr],
    listening: &[SocketAddr],
    local: SocketAddr,
) -> Vec<SocketAddr> {
    let local = canonical(local);
    let same_family = |address: &SocketAddr| address.is_ipv4() == local.is_ipv4();
    let advertised: Vec<_> = advertise.iter().copied().filter(same_family).collect();
    if !advertised.is_empty() {
        return advertised;
    }
    let mut addresses = vec![local];
    for portal in listening.iter().copied().filter(same_family) {
        let address =
            if portal.ip().is_unspecified() { SocketAddr::new(local.ip(), portal.port()) } else { portal };
        if is_reachable_from(address, local) && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

fn is_reachable_from(address: SocketAddr, local: SocketAddr) -> bool {
    let same_scope = address.ip().is_loopback() == local.ip().is_loopback();
    same_scope && (!is_link_local(address.ip()) || address.ip() == local.ip())
}

/// An address as TargetAddress tells it: `a.b.c.d:port,tag`, IPv6 in brackets (RFC 7143 §13.8).
pub(super) fn target_address(address: SocketAddr) -> String {
    format!("{},{}", text(address), PORTAL_GROUP.0)
}

/// Without a zone: it names an interface of this host.
fn text(address: SocketAddr) -> String {
    SocketAddr::new(address.ip(), address.port()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(advertise: &[&str], listening: &[&str], local: &str) -> Vec<String> {
        let parse =
            |list: &[&str]| -> Vec<SocketAddr> { list.iter().map(|text| text.parse().unwrap()).collect() };
        let addresses = addresses(&parse(advertise), &parse(listening), local.parse().unwrap());
        addresses.into_iter().map(text).collect()
    }

    #[test]
    fn the_address_that_was_reached_comes_first() {
        let portals = ["192.0.2.1:3260", "192.0.2.2:3260", "127.0.0.1:3260", "[2001:db8::1]:3260"];
        assert_eq!(told(&[], &portals, "192.0.2.2:3260"), ["192.0.2.2:3260", "192.0.2.1:3260"]);
        assert_eq!(told(&[], &portals, "127.0.0.1:3260"), ["127.0.0.1:3260"]);
        assert_eq!(told(&[], &portals, "[2001:db8::1]:3260"), ["[2001:db8::1]:3260"]);
    }

    #[test]
    fn a_wildcard_means_the_address_that_was_reached() {
        assert_eq!(
            told(&[], &["0.0.0.0:3260", "0.0.0.0:3261"], "192.0.2.7:3260"),
            ["192.0.2.7:3260", "192.0.2.7:3261"]
        );
        assert_eq!(told(&[], &["[::]:3260"], "[::ffff:192.0.2.7]:3260"), ["192.0.2.7:3260"]);
    }

    #[test]
    fn a_link_local_address_is_told_on_its_own_link_only_and_without_its_zone() {
        let portals = ["[fe80::1]:3260", "[2001:db8::1]:3260"];
        assert_eq!(told(&[], &portals, "[2001:db8::1]:3260"), ["[2001:db8::1]:3260"]);
        assert_eq!(told(&[], &["[fe80::1]:3260"], "[fe80::1%2]:3260"), ["[fe80::1]:3260"]);
    }

    #[test]
    fn what_is_configured_is_told_instead() {
        assert_eq!(told(&["198.51.100.1:3260"], &["10.0.0.1:3260"], "10.0.0.1:3260"), ["198.51.100.1:3260"]);
        assert_eq!(told(&["[2001:db8::1]:3260"], &["10.0.0.1:3260"], "10.0.0.1:3260"), ["10.0.0.1:3260"]);
    }
}
