//! PERSISTENT RESERVE IN (SPC-4): what is registered, what is reserved, and what is supported.

use bytes::BufMut;

use super::registry::Registry;
use crate::emit::{set_length32, truncated};
use crate::response::Response;
use crate::sense::Sense;
use crate::task::Plan;
use crate::unit::{Decision, LogicalUnit};

const READ_KEYS: u8 = 0x00;
const READ_RESERVATION: u8 = 0x01;
const REPORT_CAPABILITIES: u8 = 0x02;
const READ_FULL_STATUS: u8 = 0x03;

impl LogicalUnit {
    pub(crate) fn persistent_reserve_in(&self, action: u8, allocation: usize) -> Decision {
        let registry = &self.reservations.registry;
        let data = match action {
            READ_KEYS => registry.keys(),
            READ_RESERVATION => registry.reservation_data(),
            REPORT_CAPABILITIES => capabilities(self.reservations.persist),
            READ_FULL_STATUS => registry.full_status(),
            _ => return Err(Sense::cdb_field(1, Some(4)).into()),
        };
        Ok(Plan::Done(Response::data(truncated(data, allocation))))
    }
}

impl Registry {
    fn header(&self) -> Vec<u8> {
        let mut data = vec![];
        data.put_u32(self.generation);
        data.put_u32(0);
        data
    }

    fn keys(&self) -> Vec<u8> {
        let mut data = self.header();
        self.registrations.iter().for_each(|r| data.put_u64(r.key));
        set_length32(&mut data, 4, 8);
        data
    }

    /// SPC-4: the key of an all registrants reservation is zero.
    fn reservation_data(&self) -> Vec<u8> {
        let mut data = self.header();
        if let Some(reservation) = &self.reservation {
            let holder =
                self.registration(&reservation.holder).filter(|_| !reservation.kind.all_registrants());
            data.put_u64(holder.map_or(0, |r| r.key));
            data.put_u32(0);
            data.put_u8(0);
            data.put_u8(reservation.kind as u8);
            data.put_u16(0);
        }
        set_length32(&mut data, 4, 8);
        data
    }

    fn full_status(&self) -> Vec<u8> {
        const R_HOLDER: u8 = 0x01;
        const ALL_TG_PT: u8 = 0x02;
        let mut data = self.header();
        for registration in &self.registrations {
            let kind = self.reservation.as_ref().filter(|_| self.holds(registration)).map(|r| r.kind as u8);
            let id = registration.holder.port.transport_id();
            data.put_u64(registration.key);
            data.put_u32(0);
            let all = if registration.all_target_ports { ALL_TG_PT } else { 0 };
            data.put_u8(all | if kind.is_some() { R_HOLDER } else { 0 });
            data.put_u8(kind.unwrap_or(0));
            data.put_u32(0);
            data.put_u16(registration.holder.target_port);
            data.put_u32(u32::try_from(id.len()).unwrap_or(u32::MAX));
            data.extend(id);
        }
        set_length32(&mut data, 4, 8);
        data
    }
}

/// REPORT CAPABILITIES.
fn capabilities(persist: bool) -> Vec<u8> {
    const SIP_C: u8 = 0x08;
    const ATP_C: u8 = 0x04;
    const PTPL_C: u8 = 0x01;
    const TMV: u8 = 0x80;
    const PTPL_A: u8 = 0x01;
    /// WR_EX_AR, EX_AC_RO, WR_EX_RO, EX_AC, WR_EX; then EX_AC_AR.
    const TYPES: [u8; 2] = [0xEA, 0x01];
    let active = if persist { PTPL_A } else { 0 };
    vec![0, 8, SIP_C | ATP_C | PTPL_C, TMV | active, TYPES[0], TYPES[1], 0, 0]
}
