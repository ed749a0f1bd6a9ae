//! Which addresses people are told, when a portal listens on all of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Addresses to tell: what is configured for that, or what is listened on with each wildcard replaced by the address
/// that this host uses towards the world.
#[must_use]
pub fn told_addresses(advertise: &[SocketAddr], listening: &[SocketAddr]) -> Vec<SocketAddr> {
    if !advertise.is_empty() {
        return advertise.to_vec();
    }
    let mut told: Vec<SocketAddr> = Vec::new();
    for portal in listening {
        let ip = if portal.ip().is_unspecified() { own_address(portal.is_ipv6()) } else { portal.ip() };
        let address = SocketAddr::new(ip, portal.port());
        if !told.contains(&address) {
            told.push(address);
        }
    }
    told
}

/// The source address of the default route, or loopback where there is none. Nothing is sent: a datagram socket that
/// is connected (connect(2)) only asks the routing table.
fn own_address(ipv6: bool) -> IpAddr {
    // Addresses of documentation (RFC 5737, RFC 3849): routed like any other, and nobody's.
    let (any, somewhere, loopback): (SocketAddr, SocketAddr, IpAddr) = match ipv6 {
        true => (
            (Ipv6Addr::UNSPECIFIED, 0).into(),
            (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9).into(),
            Ipv6Addr::LOCALHOST.into(),
        ),
        false => (
            (Ipv4Addr::UNSPECIFIED, 0).into(),
            (Ipv4Addr::new(192, 0, 2, 1), 9).into(),
            Ipv4Addr::LOCALHOST.into(),
        ),
    };
    let source = UdpSocket::bind(any).and_then(|socket| {
        socket.connect(somewhere)?;
        socket.local_addr()
    });
    source.map_or(loopback, |address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(advertise: &[&str], listening: &[&str]) -> Vec<SocketAddr> {
        let parse = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        told_addresses(&parse(advertise), &parse(listening))
    }

    #[test]
    fn a_wildcard_is_told_as_an_address_that_can_be_reached() {
        for address in told(&[], &["0.0.0.0:3260", "[::]:3260"]) {
            assert!(!address.ip().is_unspecified(), "{address}");
            assert_eq!(address.port(), 3260);
        }
    }

    #[test]
    fn what_is_configured_is_told_instead() {
        assert_eq!(told(&["198.51.100.1:1"], &["0.0.0.0:3260"]), ["198.51.100.1:1".parse().unwrap()]);
        assert_eq!(told(&[], &["127.0.0.1:1", "127.0.0.1:1"]), ["127.0.0.1:1".parse().unwrap()]);
    }
}
