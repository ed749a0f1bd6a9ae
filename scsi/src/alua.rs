//! Asymmetric logical unit access (SPC-4).
//!
//! Every path leads to the same volume at the same cost, so a group is active/optimized unless an initiator asked for
//! active/non-optimized; both serve every command.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes};

use crate::attention::Attention;
use crate::cdb::{be_u8, be_u16, data_len, gather};
use crate::emit::{set_length32, truncated};
use crate::limits::PARAMETER_LIST_BYTES_MAX;
use crate::nexus::NexusId;
use crate::response::Response;
use crate::sense::{Asc, Sense};
use crate::task::Plan;
use crate::unit::{Decision, LogicalUnit};

/// ASYMMETRIC ACCESS STATE of a target port group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum AccessState {
    #[default]
    Optimized = 0x0,
    NonOptimized = 0x1,
}

/// Groups whose state was set; the others are as by default.
#[derive(Debug, Default)]
pub(crate) struct GroupStates {
    set: BTreeMap<u16, AccessState>,
}

/// STATUS CODE: who changed the state last.
const NO_STATUS: u8 = 0x00;
const ALTERED_BY_SET: u8 = 0x01;

const HEADER_LEN: usize = 4;
const SET_DESCRIPTOR_LEN: usize = 4;

impl LogicalUnit {
    /// REPORT TARGET PORT GROUPS, in length-only or extended header format.
    pub(crate) fn report_target_port_groups(&self, extended: bool, allocation: usize) -> Plan {
        const SUPPORTED: u8 = 0x03; // active/optimized, active/non-optimized
        const EXTENDED_FORMAT: u8 = 0x10;
        let mut data = vec![0; HEADER_LEN];
        if extended {
            data.extend([EXTENDED_FORMAT, 0, 0, 0]);
        }
        for group in self.groups() {
            let ports = || self.config.target_ports.iter().filter(|port| port.group == group);
            let set = self.groups.set.get(&group);
            data.put_u8(set.copied().unwrap_or_default() as u8);
            data.put_u8(SUPPORTED);
            data.put_u16(group);
            data.put_u8(0);
            data.put_u8(if set.is_some() { ALTERED_BY_SET } else { NO_STATUS });
            data.put_u8(0);
            data.put_u8(u8::try_from(ports().count()).unwrap_or(u8::MAX));
            for port in ports() {
                data.put_u16(0);
                data.put_u16(port.relative_id);
            }
        }
        set_length32(&mut data, 0, HEADER_LEN);
        Plan::Done(Response::data(truncated(data, allocation)))
    }

    fn groups(&self) -> Vec<u16> {
        let mut groups: Vec<u16> = self.config.target_ports.iter().map(|port| port.group).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// SET TARGET PORT GROUPS: all descriptors are checked before any takes effect.
    pub(crate) fn set_target_port_groups(
        &mut self,
        nexus: NexusId,
        length: usize,
        data_out: &[Bytes],
    ) -> Decision {
        if length == 0 {
            return Ok(Plan::Done(Response::good()));
        }
        if !(HEADER_LEN..=PARAMETER_LIST_BYTES_MAX).contains(&length) || data_len(data_out) < length as u64 {
            return Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR).into());
        }
        let list = gather(data_out, length);
        let groups = self.groups();
        let descriptors = list.get(HEADER_LEN..).unwrap_or_default().chunks_exact(SET_DESCRIPTOR_LEN);
        let mut wanted = vec![];
        for (index, descriptor) in descriptors.enumerate() {
            let at = u16::try_from(HEADER_LEN + index * SET_DESCRIPTOR_LEN).unwrap_or(u16::MAX);
            let group = be_u16(descriptor, 2);
            let state = match be_u8(descriptor, 0) & 0x0F {
                0x0 => AccessState::Optimized,
                0x1 => AccessState::NonOptimized,
                _ => return Err(Sense::parameter_field(at).into()),
            };
            if !groups.contains(&group) {
                return Err(Sense::parameter_field(at.saturating_add(2)).into());
            }
            wanted.push((group, state));
        }
        let mut changed = false;
        for (group, state) in wanted {
            changed |= self.groups.set.insert(group, state).unwrap_or_default() != state;
        }
        if changed {
            self.nexuses.announce(Attention::AccessStateChanged, Some(nexus));
        }
        Ok(Plan::Done(Response::consumed(length as u64)))
    }
}
