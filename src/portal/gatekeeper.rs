//! How many connections there may be: in all, and in login; per address.
//!
//! One address never has all of them: what is left is for the others. A login that has not come to its end costs a descriptor and a little memory. When an address has as many as it may,
//! the oldest of them that has not said a word makes room; if all have, the newest is refused. When there are as many in
//! all as may be, the address that has most of them makes room for any other.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::limits::{CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, HALF_OPEN_MAX, HALF_OPEN_PER_ADDRESS_MAX};

/// Counts connections.
#[derive(Default)]
pub(super) struct Gatekeeper {
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    connections: usize,
    half_open: usize,
    /// Those that have a connection.
    hosts: HashMap<IpAddr, Host>,
}

/// The connections of one address.
#[derive(Default)]
struct Host {
    connections: usize,
    half_open: VecDeque<Arc<HalfOpen>>,
}

/// A connection in login.
#[derive(Default)]
pub(super) struct HalfOpen {
    spoke: AtomicBool,
    /// Tells the connection to make room.
    pub(super) leave: Notify,
}

/// A connection's place; dropping it gives the place back.
pub(super) struct Place {
    gatekeeper: Arc<Gatekeeper>,
    address: IpAddr,
    half_open: Option<Arc<HalfOpen>>,
}

impl Gatekeeper {
    /// A place for a connection that begins, if there is one.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let mut counts = self.counts.lock();
        if counts.connections >= CONNECTIONS_MAX {
            return None;
        }
        let (all, own) =
            counts.hosts.get(&address).map_or((0, 0), |host| (host.connections, host.half_open.len()));
        if all >= CONNECTIONS_PER_ADDRESS_MAX {
            return None;
        }
        if own >= HALF_OPEN_PER_ADDRESS_MAX {
            counts.make_room(address, Spoken::Stays)?;
        } else if counts.half_open >= HALF_OPEN_MAX {
            let (greediest, most) = counts.greediest()?;
            if most <= own {
                return None;
            }
            counts.make_room(greediest, Spoken::Leaves)?;
        }
        let half_open = Arc::new(HalfOpen::default());
        let host = counts.hosts.entry(address).or_default();
        host.half_open.push_back(half_open.clone());
        host.connections += 1;
        counts.connections += 1;
        counts.half_open += 1;
        Some(Place { gatekeeper: self.clone(), address, half_open: Some(half_open) })
    }
}

/// What becomes of a connection that has said something, when none is there that has not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spoken {
    Stays,
    Leaves,
}

impl Counts {
    /// The address with the most connections in login, and how many they are.
    fn greediest(&self) -> Option<(IpAddr, usize)> {
        let counts = self.hosts.iter().map(|(address, host)| (*address, host.half_open.len()));
        counts.max_by_key(|(_, count)| *count)
    }

    /// The oldest connection in login from an address goes, a silent one rather than another.
    fn make_room(&mut self, address: IpAddr, spoken: Spoken) -> Option<()> {
        let entries = &mut self.hosts.get_mut(&address)?.half_open;
        let silent = entries.iter().position(|entry| !entry.spoke.load(Ordering::Relaxed));
        let leaves = silent.or((spoken == Spoken::Leaves).then_some(0))?;
        let entry = entries.remove(leaves)?;
        entry.leave.notify_one();
        self.half_open -= 1;
        Some(())
    }
}

impl Place {
    /// What a connection in login may be told.
    pub(super) fn half_open(&self) -> Option<&Arc<HalfOpen>> {
        self.half_open.as_ref()
    }

    /// The peer said something.
    pub(super) fn note_speech(&self) {
        if let Some(half_open) = &self.half_open {
            half_open.spoke.store(true, Ordering::Relaxed);
        }
    }

    /// The login came to its end.
    pub(super) fn leave_login(&mut self) {
        let Some(half_open) = self.half_open.take() else { return };
        let mut counts = self.gatekeeper.counts.lock();
        let Some(Host { half_open: entries, .. }) = counts.hosts.get_mut(&self.address) else { return };
        let before = entries.len();
        entries.retain(|entry| !Arc::ptr_eq(entry, &half_open));
        let removed = before - entries.len();
        counts.half_open -= removed;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave_login();
        let mut counts = self.gatekeeper.counts.lock();
        counts.connections -= 1;
        let Some(host) = counts.hosts.get_mut(&self.address) else { return };
        host.connections -= 1;
        if host.connections == 0 {
            counts.hosts.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn the_oldest_that_said_nothing_makes_room() {
        let gatekeeper = Arc::new(Gatekeeper::default());
        let places: Vec<_> =
            (0..HALF_OPEN_PER_ADDRESS_MAX).map(|_| gatekeeper.admit(ADDRESS).unwrap()).collect();
        places[0].note_speech();
        let newest = gatekeeper.admit(ADDRESS).unwrap();
        assert_eq!(gatekeeper.counts.lock().half_open, HALF_OPEN_PER_ADDRESS_MAX);
        let remaining = gatekeeper.counts.lock().hosts[&ADDRESS].half_open.clone();
        assert!(remaining.iter().any(|entry| Arc::ptr_eq(entry, places[0].half_open().unwrap())));
        assert!(!remaining.iter().any(|entry| Arc::ptr_eq(entry, places[1].half_open().unwrap())));
        drop((places, newest));
        let counts = gatekeeper.counts.lock();
        assert_eq!((counts.connections, counts.half_open, counts.hosts.len()), (0, 0, 0));
    }

    #[test]
    fn the_newest_is_refused_when_all_have_spoken() {
        let gatekeeper = Arc::new(Gatekeeper::default());
        let places: Vec<_> =
            (0..HALF_OPEN_PER_ADDRESS_MAX).map(|_| gatekeeper.admit(ADDRESS).unwrap()).collect();
        places.iter().for_each(Place::note_speech);
        assert!(gatekeeper.admit(ADDRESS).is_none());
        assert!(gatekeeper.admit("192.0.2.1".parse().unwrap()).is_some(), "another address is not concerned");
    }

    fn address(number: usize) -> IpAddr {
        let [.., high, low] = number.to_be_bytes();
        IpAddr::from([198, 18, high, low])
    }

    #[test]
    fn who_has_most_half_open_connections_makes_room_for_others() {
        let gatekeeper = Arc::new(Gatekeeper::default());
        let admit = |count: usize, from: IpAddr| -> Vec<_> {
            (0..count).map(|_| gatekeeper.admit(from).unwrap()).collect()
        };
        let hosts = HALF_OPEN_MAX / HALF_OPEN_PER_ADDRESS_MAX;
        let places: Vec<_> =
            (0..hosts).flat_map(|host| admit(HALF_OPEN_PER_ADDRESS_MAX, address(host))).collect();
        places.iter().for_each(Place::note_speech);
        assert_eq!(gatekeeper.counts.lock().half_open, HALF_OPEN_MAX);
        let _one = gatekeeper.admit(ADDRESS).unwrap();
        assert_eq!(gatekeeper.counts.lock().half_open, HALF_OPEN_MAX, "one of the others has left");
        assert_eq!(gatekeeper.counts.lock().hosts[&ADDRESS].half_open.len(), 1);
    }

    #[test]
    fn connections_are_limited_in_all_and_the_newest_is_refused() {
        let gatekeeper = Arc::new(Gatekeeper::default());
        let mut places: Vec<_> = (0..CONNECTIONS_MAX)
            .map(|number| {
                let mut place = gatekeeper.admit(address(number)).unwrap();
                place.leave_login();
                place
            })
            .collect();
        assert!(gatekeeper.admit(ADDRESS).is_none());
        places.pop();
        assert!(gatekeeper.admit(ADDRESS).is_some());
    }

    #[test]
    fn one_address_never_has_all_connections() {
        let gatekeeper = Arc::new(Gatekeeper::default());
        let mut places: Vec<_> = (0..CONNECTIONS_PER_ADDRESS_MAX)
            .map(|_| {
                let mut place = gatekeeper.admit(ADDRESS).unwrap();
                place.leave_login();
                place
            })
            .collect();
        assert!(gatekeeper.admit(ADDRESS).is_none());
        assert!(gatekeeper.admit(address(1)).is_some(), "another address is not concerned");
        places.pop();
        assert!(gatekeeper.admit(ADDRESS).is_some());
    }

    #[test]
    fn a_login_that_ended_takes_no_place_among_the_half_open() {
        let gatekeeper = Arc::new(Gatekeeper::default());
        let mut place = gatekeeper.admit(ADDRESS).unwrap();
        place.leave_login();
        assert_eq!(gatekeeper.counts.lock().half_open, 0);
        assert_eq!(gatekeeper.counts.lock().connections, 1);
    }
}
