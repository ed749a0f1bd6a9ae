//! The stored form of persistent reservations (APTPL). Whoever stores it keeps it whole; a form we cannot read is refused.
//!
//! ```text
//!  0   4   "OVPR"
//!  4   1   version, 1
//!  5   1   type of the reservation, 0 for none
//!  6   2   index of its holder among the registrations
//!  8   4   PRGENERATION
//! 12   2   number of registrations, each:
//!          8   reservation key
//!          1   ALL_TG_PT
//!          2   relative target port identifier
//!          2   length of the TransportID, then the TransportID
//! ```
//! All numbers are big-endian.

use bytes::{Buf, BufMut, Bytes};

use super::Holder;
use super::registry::{Kind, Registration, Registry, Reservation};
use crate::limits::{REGISTRATIONS_MAX, TRANSPORT_ID_BYTES_MAX};
use crate::nexus::InitiatorPort;

const MAGIC: [u8; 4] = *b"OVPR";
const VERSION: u8 = 1;

pub(super) fn encode(registry: &Registry) -> Bytes {
    let mut state = Vec::from(MAGIC);
    let holder = registry.reservation.as_ref().map(|r| &r.holder);
    let index = registry.registrations.iter().position(|r| Some(&r.holder) == holder).unwrap_or(0);
    state.put_u8(VERSION);
    state.put_u8(registry.reservation.as_ref().map_or(0, |r| r.kind as u8));
    state.put_u16(u16::try_from(index).unwrap_or(0));
    state.put_u32(registry.generation);
    state.put_u16(u16::try_from(registry.registrations.len()).unwrap_or(u16::MAX));
    for registration in &registry.registrations {
        let id = registration.holder.port.transport_id();
        state.put_u64(registration.key);
        state.put_u8(registration.all_target_ports.into());
        state.put_u16(registration.holder.target_port);
        state.put_u16(u16::try_from(id.len()).unwrap_or(u16::MAX));
        state.extend(id);
    }
    state.into()
}

pub(super) fn decode(mut state: &[u8]) -> Option<Registry> {
    if state.try_get_u32().ok()?.to_be_bytes() != MAGIC || state.try_get_u8().ok()? != VERSION {
        return None;
    }
    let kind = state.try_get_u8().ok()?;
    let holder = usize::from(state.try_get_u16().ok()?);
    let generation = state.try_get_u32().ok()?;
    let count = usize::from(state.try_get_u16().ok()?);
    if count > REGISTRATIONS_MAX {
        return None;
    }
    let mut registrations = Vec::with_capacity(count);
    for _ in 0..count {
        registrations.push(decode_registration(&mut state)?);
    }
    let reservation = match kind {
        0 => None,
        kind => {
            let holder = registrations.get(holder)?.holder.clone();
            Some(Reservation { holder, kind: Kind::parse(kind)? })
        }
    };
    state.is_empty().then_some(Registry { registrations, reservation, generation })
}

fn decode_registration(state: &mut &[u8]) -> Option<Registration> {
    let key = state.try_get_u64().ok()?;
    let all_target_ports = state.try_get_u8().ok()? != 0;
    let target_port = state.try_get_u16().ok()?;
    let len = usize::from(state.try_get_u16().ok()?);
    let id = state.get(..len).filter(|id| id.len() <= TRANSPORT_ID_BYTES_MAX)?;
    let port = InitiatorPort::from_transport_id(id);
    state.advance(len);
    Some(Registration { holder: Holder { port, target_port }, key, all_target_ports })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> Registry {
        let mut registry = Registry::default();
        for (index, key) in [(0, 11), (1, 22)] {
            let port = InitiatorPort::iscsi("iqn.2026-01.io.osvol:host", [0, 0, 0, 0, 0, index]);
            let holder = Holder { port, target_port: 1 };
            registry.register(&holder, Some(0), key, std::slice::from_ref(&holder), false).unwrap();
            if index == 1 {
                registry.reserve(&holder, key, Kind::WriteExclusiveRegistrantsOnly).unwrap();
            }
        }
        registry
    }

    #[test]
    fn the_stored_state_comes_back_as_it_was() {
        assert_eq!(decode(&encode(&registry())), Some(registry()));
        assert_eq!(decode(&encode(&Registry::default())), Some(Registry::default()));
    }

    #[test]
    fn a_damaged_state_is_refused_and_never_panics() {
        let whole = encode(&registry());
        for len in 0..whole.len() {
            assert_eq!(decode(&whole[..len]), None, "cut at {len}");
        }
        assert_eq!(decode(&[&whole[..], &[0]].concat()), None);
    }
}
