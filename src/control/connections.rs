//! Which connections there are, so that none of them can crowd out the others.
//!
//! At a limit, the connection that has been idle longest makes way for the new one: a thousand clients that hold
//! connections open and ask nothing keep nobody out. Only where all are busy is a new one refused.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    /// A machine: an IPv4 address, or an IPv6 network of 64 bits, which is what one machine can have.
    Network(u128),
    /// A user of this machine.
    User(u32),
}

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::Network(u128::from(address.to_bits())),
            IpAddr::V6(address) => Self::Network(address.to_bits() & !u128::from(u64::MAX)),
        }
    }
}

/// How many there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) total: usize,
    pub(super) of_one_origin: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { total: 2048, of_one_origin: 512 }
    }
}

/// All connections of a listener.
#[derive(Debug)]
pub(super) struct Connections {
    limits: Limits,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    by_id: HashMap<u64, Entry>,
    of_origin: HashMap<Origin, usize>,
}

#[derive(Debug)]
struct Entry {
    origin: Origin,
    /// `None` while it is busy.
    idle_since: Option<Instant>,
    leave: Arc<Notify>,
}

/// A connection's place among them. It is given up when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    id: u64,
    leave: Arc<Notify>,
    connections: Arc<Connections>,
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, open: Mutex::default() })
    }

    /// A place for a new connection; `None` when all are taken by connections that are busy.
    pub(super) fn admit(self: &Arc<Self>, origin: Origin, now: Instant) -> Option<Slot> {
        let mut open = self.open.lock();
        let of_origin = open.of_origin.get(&origin).copied().unwrap_or(0);
        if of_origin >= self.limits.of_one_origin {
            open.evict(|entry| entry.origin == origin)?;
        } else if open.by_id.len() >= self.limits.total {
            open.evict(|_| true)?;
        }
        let id = open.next;
        open.next += 1;
        let leave = Arc::new(Notify::new());
        open.by_id.insert(id, Entry { origin, idle_since: Some(now), leave: leave.clone() });
        *open.of_origin.entry(origin).or_default() += 1;
        Some(Slot { id, leave, connections: self.clone() })
    }
}

impl Open {
    /// Tells the longest idle of some connections to leave. It counts no more from now on.
    fn evict(&mut self, of: impl Fn(&Entry) -> bool) -> Option<()> {
        let idle = self.by_id.iter().filter(|(_, entry)| of(entry));
        let idle = idle.filter_map(|(id, entry)| Some((entry.idle_since?, *id)));
        let (_, id) = idle.min()?;
        if let Some(entry) = self.remove(id) {
            entry.leave.notify_one();
        }
        Some(())
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.by_id.remove(&id)?;
        if let Some(count) = self.of_origin.get_mut(&entry.origin) {
            *count -= 1;
            if *count == 0 {
                self.of_origin.remove(&entry.origin);
            }
        }
        Some(entry)
    }
}

impl Slot {
    /// Ends when another connection needs the place.
    pub(super) async fn evicted(&self) {
        self.leave.notified().await;
    }

    /// A request is being answered, until this is dropped.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        self.set_idle(None);
        Busy(self.clone())
    }

    fn set_idle(&self, since: Option<Instant>) {
        if let Some(entry) = self.connections.open.lock().by_id.get_mut(&self.id) {
            entry.idle_since = since;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.open.lock().remove(self.id);
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Busy(Arc<Slot>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.set_idle(Some(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn origin(last: u8) -> Origin {
        IpAddr::from([10, 0, 0, last]).into()
    }

    fn told_to_leave(slot: &Slot) -> bool {
        let waker = std::task::Waker::noop();
        let mut context = std::task::Context::from_waker(waker);
        std::pin::pin!(slot.evicted()).as_mut().poll(&mut context).is_ready()
    }

    #[test]
    fn the_longest_idle_makes_way_and_the_busy_stay() {
        let connections = Connections::new(Limits { total: 3, of_one_origin: 3 });
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let admit = |last, seconds| connections.admit(origin(last), at(seconds)).map(Arc::new);
        let (first, second, third) = (admit(1, 0).unwrap(), admit(2, 1).unwrap(), admit(3, 2).unwrap());
        let busy = first.busy();
        let fourth = admit(4, 3).unwrap();
        assert!(told_to_leave(&second), "the longest that does nothing");
        assert!(!told_to_leave(&first) && !told_to_leave(&third));
        let all_busy = [third.busy(), fourth.busy()];
        assert!(admit(5, 4).is_none(), "nobody is idle");
        drop((busy, all_busy));
        assert!(admit(5, 5).is_some());
    }

    #[test]
    fn one_machine_makes_way_for_itself_only() {
        let connections = Connections::new(Limits { total: 10, of_one_origin: 2 });
        let now = Instant::now();
        let admit = |last| Arc::new(connections.admit(origin(last), now).unwrap());
        let other = admit(2);
        let (first, _second, _third) = (admit(1), admit(1), admit(1));
        assert!(told_to_leave(&first) && !told_to_leave(&other));
    }

    #[test]
    fn places_are_given_up() {
        let connections = Connections::new(Limits { total: 1, of_one_origin: 1 });
        for _ in 0..3 {
            let slot = Arc::new(connections.admit(origin(1), Instant::now()).unwrap());
            let _busy = slot.busy();
        }
        let open = connections.open.lock();
        assert!(open.by_id.is_empty() && open.of_origin.is_empty());
    }

    #[test]
    fn a_machine_cannot_be_many_by_ipv6() {
        let of = |text: &str| Origin::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
