//! I_T nexuses: who talks to the unit, and what each has still to be told.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::attention::{Attention, AttentionQueue};
use crate::limits::{LOST_NEXUSES_MAX, NEXUSES_MAX, TRANSPORT_ID_BYTES_MAX};

/// An initiator port, by its TransportID (SPC-4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InitiatorPort(Bytes);

impl InitiatorPort {
    /// The port of an iSCSI initiator session: name and ISID (SPC-4, format 01b).
    #[must_use]
    pub fn iscsi(name: &str, isid: [u8; 6]) -> Self {
        let digits: String = isid.iter().map(|b| format!("{b:02x}")).collect();
        let text = format!("{name},i,0x{digits}");
        let mut text: Vec<u8> = text.bytes().take(TRANSPORT_ID_BYTES_MAX - 5).collect();
        text.push(0);
        text.resize(text.len().next_multiple_of(4).max(20), 0);
        let [high, low] = u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes();
        let mut id = vec![0x45, 0, high, low];
        id.extend(text);
        Self(id.into())
    }

    /// A TransportID as an initiator sent it (SPEC_I_PT, REGISTER AND MOVE).
    pub(crate) fn from_transport_id(id: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(id))
    }

    /// The TransportID.
    #[must_use]
    pub fn transport_id(&self) -> &[u8] {
        &self.0
    }

    /// The iSCSI name, when the TransportID is an iSCSI one; with no ISID it names every port of that initiator.
    pub(crate) fn iscsi_name(&self) -> Option<(&[u8], bool)> {
        let (header, text) = self.0.split_at_checked(4)?;
        let text = text.split(|&b| b == 0).next()?;
        match header.first()? {
            0x05 => Some((text, false)),
            0x45 => {
                let comma = text.windows(3).position(|w| w == b",i,")?;
                Some((text.get(..comma)?, true))
            }
            _ => None,
        }
    }

    /// Whether a registration under `self` (possibly without ISID) is this port's.
    pub(crate) fn covers(&self, port: &Self) -> bool {
        if self == port {
            return true;
        }
        match (self.iscsi_name(), port.iscsi_name()) {
            (Some((a, false)), Some((b, true))) => a.eq_ignore_ascii_case(b),
            _ => false,
        }
    }
}

/// Handle of an attached I_T nexus. A handle outlives its nexus harmlessly: commands on it are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NexusId {
    slot: usize,
    generation: u64,
}

/// One attached I_T nexus.
#[derive(Debug)]
pub(crate) struct Nexus {
    pub(crate) port: InitiatorPort,
    pub(crate) target_port: u16,
    /// What INQUIRY says of the transport.
    pub(crate) protocol_level: u8,
    pub(crate) attentions: AttentionQueue,
    /// What reservations leave to this nexus; recomputed whenever they change, read by every command.
    pub(crate) access: Access,
    generation: u64,
}

/// What an I_T nexus may do under the present reservations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everything.
    Full,
    /// What a Write Exclusive reservation of somebody else leaves.
    Reads,
    /// What an Exclusive Access reservation of somebody else leaves.
    Nothing,
    /// What somebody else's RESERVE leaves (SPC-2).
    Reserved,
}

/// The nexuses of one logical unit.
#[derive(Debug, Default)]
pub(crate) struct Nexuses {
    slots: Vec<Option<Nexus>>,
    lost: VecDeque<(InitiatorPort, u16)>,
    generation: u64,
}

impl Nexuses {
    /// Adds a nexus; `None` when the unit has as many as it may.
    pub(crate) fn attach(&mut self, port: InitiatorPort, target_port: u16) -> Option<NexusId> {
        let slot = match self.slots.iter().position(Option::is_none) {
            Some(slot) => slot,
            None if self.slots.len() < NEXUSES_MAX => {
                self.slots.push(None);
                self.slots.len() - 1
            }
            None => return None,
        };
        self.generation += 1;
        let mut attentions = AttentionQueue::default();
        attentions.push(self.greeting(&port, target_port));
        let nexus = Nexus {
            port,
            target_port,
            protocol_level: crate::inquiry::PROTOCOL_LEVEL_DEFAULT,
            attentions,
            access: Access::Full,
            generation: self.generation,
        };
        *self.slots.get_mut(slot)? = Some(nexus);
        Some(NexusId { slot, generation: self.generation })
    }

    /// A port that comes back has lost its nexus; a new one sees the unit powered on.
    fn greeting(&mut self, port: &InitiatorPort, target_port: u16) -> Attention {
        match self.lost.iter().position(|(p, t)| p == port && *t == target_port) {
            Some(index) => {
                self.lost.remove(index);
                Attention::NexusLoss
            }
            None => Attention::PowerOn,
        }
    }

    /// Removes a nexus and remembers its port.
    pub(crate) fn detach(&mut self, id: NexusId) -> Option<Nexus> {
        self.get(id)?;
        let nexus = self.slots.get_mut(id.slot)?.take()?;
        self.lost.push_back((nexus.port.clone(), nexus.target_port));
        if self.lost.len() > LOST_NEXUSES_MAX {
            self.lost.pop_front();
        }
        Some(nexus)
    }

    pub(crate) fn get(&self, id: NexusId) -> Option<&Nexus> {
        self.slots.get(id.slot)?.as_ref().filter(|n| n.generation == id.generation)
    }

    pub(crate) fn get_mut(&mut self, id: NexusId) -> Option<&mut Nexus> {
        self.slots.get_mut(id.slot)?.as_mut().filter(|n| n.generation == id.generation)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (NexusId, &mut Nexus)> {
        self.slots.iter_mut().enumerate().filter_map(|(slot, nexus)| {
            nexus.as_mut().map(|n| (NexusId { slot, generation: n.generation }, n))
        })
    }

    /// Tells every nexus but `except`.
    pub(crate) fn announce(&mut self, attention: Attention, except: Option<NexusId>) {
        for (id, nexus) in self.iter_mut() {
            if Some(id) != except {
                nexus.attentions.push(attention);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iscsi_transport_id_is_padded_and_terminated() {
        let port = InitiatorPort::iscsi("iqn.a:b", [0x80, 0, 0, 0, 0, 1]);
        let golden = [&[0x45, 0, 0, 28][..], b"iqn.a:b,i,0x800000000001", &[0, 0, 0, 0]].concat();
        assert_eq!(port.transport_id(), &golden);
    }

    #[test]
    fn a_returning_port_hears_of_nexus_loss_and_a_new_one_of_power_on() {
        let mut nexuses = Nexuses::default();
        let port = InitiatorPort::iscsi("iqn.a:b", [0; 6]);
        let first = nexuses.attach(port.clone(), 1).unwrap();
        assert_eq!(nexuses.get_mut(first).unwrap().attentions.pop(), Some(Attention::PowerOn));
        nexuses.detach(first);
        assert!(nexuses.get(first).is_none());
        let second = nexuses.attach(port, 1).unwrap();
        assert_eq!(nexuses.get_mut(second).unwrap().attentions.pop(), Some(Attention::NexusLoss));
        assert!(nexuses.get(first).is_none(), "an old handle must not reach the new nexus");
    }
}
