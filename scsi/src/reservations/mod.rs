//! Reservations: RESERVE and RELEASE of SPC-2, and persistent reservations of SPC-4.
//!
//! `Registry` is the pure state machine of persistent reservations; `out` and `input` translate its parameter data;
//! `saved` is the form in which it survives a power loss (APTPL). Whom a reservation excludes is worked out once per
//! change, into each nexus's `Access`, so that a read or write only compares a number.

mod input;
mod out;
mod registry;
mod saved;

use crate::nexus::{Access, InitiatorPort, NexusId};
use crate::response::{Response, Status};
use crate::sense::Sense;
use crate::task::Plan;
use crate::unit::{Decision, LogicalUnit, Refusal};

pub(crate) use registry::Registry;

/// An I_T nexus as reservations know it: it outlives its sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) port: InitiatorPort,
    pub(crate) target_port: u16,
}

/// All reservations of one unit.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    /// RESERVE(6) and RESERVE(10): the nexus that has the unit to itself.
    reserved_by: Option<NexusId>,
    pub(crate) registry: Registry,
    /// APTPL of the last registration.
    pub(crate) persist: bool,
}

impl Reservations {
    /// From what `Action::SaveReservations` stored; `None` when it is damaged.
    pub(crate) fn restore(state: &[u8]) -> Option<Self> {
        if state.is_empty() {
            return Some(Self::default());
        }
        Some(Self { reserved_by: None, registry: saved::decode(state)?, persist: true })
    }

    /// What they leave to a nexus.
    pub(crate) fn access(&self, id: NexusId, port: &InitiatorPort, target_port: u16) -> Access {
        match self.reserved_by {
            Some(holder) if holder != id => Access::Reserved,
            _ => self.registry.access(port, target_port),
        }
    }

    /// I_T nexus loss ends RESERVE (SPC-2).
    pub(crate) fn nexus_lost(&mut self, nexus: NexusId) {
        if self.reserved_by == Some(nexus) {
            self.reserved_by = None;
        }
    }

    /// A reset ends RESERVE, and nothing of persistent reservations (SPC-4).
    pub(crate) fn unit_reset(&mut self) {
        self.reserved_by = None;
    }
}

impl LogicalUnit {
    /// RESERVE(6), RESERVE(10): the whole unit, for the nexus itself (SPC-2).
    pub(crate) fn reserve(&mut self, nexus: NexusId, third_party_or_extent: bool) -> Decision {
        if third_party_or_extent {
            return Err(Sense::cdb_field(1, Some(4)).into());
        }
        // SPC-4: no mixing with persistent reservations (CRH = 0).
        let taken = self.reservations.reserved_by.is_some_and(|holder| holder != nexus);
        if taken || !self.reservations.registry.is_empty() {
            return Err(Refusal::Status(Status::ReservationConflict));
        }
        self.reservations.reserved_by = Some(nexus);
        self.refresh_access();
        Ok(Plan::Done(Response::good()))
    }

    /// RELEASE(6), RELEASE(10): of no effect where the nexus has nothing to release.
    pub(crate) fn release(&mut self, nexus: NexusId, third_party_or_extent: bool) -> Decision {
        if third_party_or_extent {
            return Err(Sense::cdb_field(1, Some(4)).into());
        }
        if !self.reservations.registry.is_empty() {
            return Err(Refusal::Status(Status::ReservationConflict));
        }
        if self.reservations.reserved_by == Some(nexus) {
            self.reservations.reserved_by = None;
            self.refresh_access();
        }
        Ok(Plan::Done(Response::good()))
    }
}
