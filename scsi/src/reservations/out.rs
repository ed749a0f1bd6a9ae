//! PERSISTENT RESERVE OUT (SPC-4): parameter lists in, rulings out.

use bytes::Bytes;

use super::registry::{Kind, Notice, Violation};
use super::{Holder, saved};
use crate::attention::Attention;
use crate::cdb::{be_u8, be_u16, be_u32, be_u64, data_len, gather};
use crate::command::Command;
use crate::limits::{PARAMETER_LIST_BYTES_MAX, TRANSPORT_ID_BYTES_MAX};
use crate::nexus::{InitiatorPort, NexusId};
use crate::response::{Response, Status};
use crate::sense::{Asc, Sense, SenseKey};
use crate::task::{Action, Plan};
use crate::unit::{Decision, LogicalUnit, Refusal};

const REGISTER: u8 = 0x00;
const RESERVE: u8 = 0x01;
const RELEASE: u8 = 0x02;
const CLEAR: u8 = 0x03;
const PREEMPT: u8 = 0x04;
const PREEMPT_AND_ABORT: u8 = 0x05;
const REGISTER_AND_IGNORE: u8 = 0x06;
const REGISTER_AND_MOVE: u8 = 0x07;

const BASIC_LIST_LEN: usize = 24;
const LENGTH_ERROR: Sense = Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR);

/// The basic parameter list.
#[derive(Clone, Copy, Debug)]
struct Parameters {
    key: u64,
    action_key: u64,
    specify_initiators: bool,
    all_target_ports: bool,
    persist: bool,
}

impl Parameters {
    fn parse(list: &[u8]) -> Self {
        let flags = be_u8(list, 20);
        Self {
            key: be_u64(list, 0),
            action_key: be_u64(list, 8),
            specify_initiators: flags & 0x08 != 0,
            all_target_ports: flags & 0x04 != 0,
            persist: flags & 0x01 != 0,
        }
    }
}

impl LogicalUnit {
    pub(crate) fn persistent_reserve_out(
        &mut self,
        nexus: NexusId,
        command: Command,
        data_out: &[Bytes],
    ) -> Decision {
        let Command::PersistentReserveOut { action, scope, kind, length } = command else {
            return Err(Sense::new(SenseKey::HardwareError, Asc::INTERNAL_TARGET_FAILURE).into());
        };
        if !(BASIC_LIST_LEN..=PARAMETER_LIST_BYTES_MAX).contains(&length)
            || data_len(data_out) < length as u64
        {
            return Err(LENGTH_ERROR.into());
        }
        let list = gather(data_out, length);
        let who = self.holder(nexus)?;
        let was_persistent = self.reservations.persist;
        let notice = match action {
            REGISTER_AND_MOVE => self.register_and_move(&who, &list)?,
            REGISTER | REGISTER_AND_IGNORE => self.register(&who, action, &list)?,
            _ => self.rule(&who, action, scope, kind, &list)?,
        };
        self.tell(&notice, nexus);
        self.refresh_access();
        // Where APTPL no longer is set, what was stored has to go.
        let save_reservations = was_persistent || self.reservations.persist;
        match action {
            PREEMPT_AND_ABORT => Ok(self.perform(Action::Quiesce { save_reservations }, length as u64)),
            _ if save_reservations => Ok(self.perform(Action::SaveReservations, length as u64)),
            _ => Ok(Plan::Done(Response::consumed(length as u64))),
        }
    }

    /// What has to be found again after a power loss: nothing, unless APTPL is set. Whoever stores it asks for it with
    /// his store locked, so that an older state never comes after a newer one.
    #[must_use]
    pub fn reservations_to_save(&self) -> Bytes {
        if self.reservations.persist { saved::encode(&self.reservations.registry) } else { Bytes::new() }
    }

    fn holder(&self, nexus: NexusId) -> Result<Holder, Refusal> {
        let nexus = self.nexuses.get(nexus).ok_or(Refusal::Status(Status::TaskAborted))?;
        Ok(Holder { port: nexus.port.clone(), target_port: nexus.target_port })
    }

    /// REGISTER and REGISTER AND IGNORE EXISTING KEY.
    fn register(&mut self, who: &Holder, action: u8, list: &[u8]) -> Result<Notice, Refusal> {
        let parameters = Parameters::parse(list);
        let mut ports = vec![who.port.clone()];
        if parameters.specify_initiators {
            // SPC-4: only with REGISTER, and only by a nexus that is not registered yet.
            if action != REGISTER || self.reservations.registry.registration(who).is_some() {
                return Err(Sense::parameter_field(20).into());
            }
            ports.extend(transport_ids(list.get(BASIC_LIST_LEN..).unwrap_or_default())?);
        } else if list.len() != BASIC_LIST_LEN {
            return Err(LENGTH_ERROR.into());
        }
        let whom = self.nexuses_of(&ports, who, parameters.all_target_ports);
        let key = (action == REGISTER).then_some(parameters.key);
        let registry = &mut self.reservations.registry;
        let notice = registry
            .register(who, key, parameters.action_key, &whom, parameters.all_target_ports)
            .map_err(refusal)?;
        self.reservations.persist = parameters.persist;
        Ok(notice)
    }

    /// The I_T nexuses of these initiator ports with the port the command came through, or with all of them.
    fn nexuses_of(&self, ports: &[InitiatorPort], who: &Holder, all_target_ports: bool) -> Vec<Holder> {
        let mut whom: Vec<Holder> = vec![];
        for port in ports {
            for target_port in &self.config.target_ports {
                if all_target_ports || target_port.relative_id == who.target_port {
                    let holder = Holder { port: port.clone(), target_port: target_port.relative_id };
                    if !whom.contains(&holder) {
                        whom.push(holder);
                    }
                }
            }
        }
        whom
    }

    /// The service actions that neither add nor move registrations.
    fn rule(
        &mut self,
        who: &Holder,
        action: u8,
        scope: u8,
        kind: u8,
        list: &[u8],
    ) -> Result<Notice, Refusal> {
        const LU_SCOPE: u8 = 0;
        let Parameters { key, action_key, specify_initiators, .. } = Parameters::parse(list);
        if specify_initiators {
            return Err(Sense::parameter_field(20).into());
        }
        if list.len() != BASIC_LIST_LEN {
            return Err(LENGTH_ERROR.into());
        }
        let kind = Kind::parse(kind);
        let needs_type = matches!(action, RESERVE | RELEASE | PREEMPT | PREEMPT_AND_ABORT);
        if needs_type && scope != LU_SCOPE {
            return Err(Sense::cdb_field(2, Some(7)).into());
        }
        let registry = &mut self.reservations.registry;
        let ruling = match (action, kind) {
            (RESERVE, Some(kind)) => registry.reserve(who, key, kind),
            (RESERVE, None) => return Err(Sense::cdb_field(2, Some(3)).into()),
            (RELEASE, _) => registry.release(who, key, kind),
            (CLEAR, _) => registry.clear(who, key),
            (PREEMPT | PREEMPT_AND_ABORT, _) => registry.preempt(who, key, action_key, kind),
            _ => return Err(Sense::cdb_field(1, Some(4)).into()),
        };
        ruling.map_err(refusal)
    }

    /// REGISTER AND MOVE has a parameter list of its own.
    fn register_and_move(&mut self, who: &Holder, list: &[u8]) -> Result<Notice, Refusal> {
        let flags = be_u8(list, 17);
        let target_port = be_u16(list, 18);
        let len = usize::try_from(be_u32(list, 20)).unwrap_or(usize::MAX);
        let id = list.get(BASIC_LIST_LEN..).filter(|id| id.len() == len).ok_or(LENGTH_ERROR)?;
        let (port, rest) = transport_id(id)?;
        if !rest.is_empty() {
            return Err(LENGTH_ERROR.into());
        }
        if !self.config.target_ports.iter().any(|port| port.relative_id == target_port) {
            return Err(Sense::parameter_field(18).into());
        }
        let to = Holder { port, target_port };
        let registry = &mut self.reservations.registry;
        let notice = registry
            .register_and_move(who, be_u64(list, 0), be_u64(list, 8), &to, flags & 0x02 != 0)
            .map_err(refusal)?;
        self.reservations.persist = flags & 0x01 != 0;
        Ok(notice)
    }

    /// Unit attentions for the nexuses that are here to hear them.
    fn tell(&mut self, notice: &Notice, by: NexusId) {
        for (id, nexus) in self.nexuses.iter_mut().filter(|(id, _)| *id != by) {
            debug_assert!(id != by);
            let among = |holders: &[Holder]| {
                holders.iter().any(|h| h.target_port == nexus.target_port && h.port.covers(&nexus.port))
            };
            for (holders, attention) in [
                (&notice.cleared, Attention::ReservationsPreempted),
                (&notice.released, Attention::ReservationsReleased),
                (&notice.preempted, Attention::RegistrationsPreempted),
            ] {
                if among(holders) {
                    nexus.attentions.push(attention);
                }
            }
        }
    }
}

fn refusal(violation: Violation) -> Refusal {
    match violation {
        Violation::Conflict => Refusal::Status(Status::ReservationConflict),
        Violation::InvalidRelease => Sense::illegal(Asc::INVALID_RELEASE_OF_PERSISTENT_RESERVATION).into(),
        Violation::InvalidKey => Sense::parameter_field(8).into(),
        Violation::NoRoom => Sense::illegal(Asc::INSUFFICIENT_REGISTRATION_RESOURCES).into(),
    }
}

/// The additional parameter data of SPEC_I_PT: a length, then TransportIDs.
fn transport_ids(data: &[u8]) -> Result<Vec<InitiatorPort>, Sense> {
    let len = usize::try_from(be_u32(data, 0)).unwrap_or(usize::MAX);
    let mut rest = data.get(4..).filter(|ids| ids.len() == len).ok_or(LENGTH_ERROR)?;
    let mut ports = vec![];
    while !rest.is_empty() {
        let (port, after) = transport_id(rest)?;
        ports.push(port);
        rest = after;
    }
    Ok(ports)
}

/// The first TransportID of a list (SPC-4): iSCSI ones say their length, all others are 24 bytes.
fn transport_id(list: &[u8]) -> Result<(InitiatorPort, &[u8]), Sense> {
    const ISCSI: u8 = 0x05;
    const INVALID: Sense = Sense::illegal(Asc::INVALID_FIELD_IN_PARAMETER_LIST);
    if be_u8(list, 0) & 0x0F != ISCSI {
        return Err(INVALID);
    }
    let len = 4 + usize::from(be_u16(list, 2));
    if !(24..=TRANSPORT_ID_BYTES_MAX).contains(&len) || !len.is_multiple_of(4) {
        return Err(INVALID);
    }
    let (id, rest) = list.split_at_checked(len).ok_or(LENGTH_ERROR)?;
    Ok((InitiatorPort::from_transport_id(id), rest))
}
