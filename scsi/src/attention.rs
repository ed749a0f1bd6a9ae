//! Unit attention conditions of one I_T nexus: ordered, coalesced, never more than a few (SAM-5).
//!
//! iPXE retries a command at most ten times, so a nexus is never told more than `UNIT_ATTENTIONS_MAX` things in a row.

use crate::limits::UNIT_ATTENTIONS_MAX;
use crate::sense::{Asc, Sense, SenseKey};
use crate::thresholds::Thresholds;

/// Why a unit attention is raised; in order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attention {
    /// The unit is new to this nexus.
    PowerOn,
    /// The target was reset.
    TargetReset,
    /// The logical unit was reset.
    UnitReset,
    /// The same initiator port was here before and went away.
    NexusLoss,
    /// REPORT LUNS answers something else now.
    LunsChanged,
    /// READ CAPACITY answers something else now.
    CapacityChanged,
    /// Another nexus preempted the reservation.
    ReservationsPreempted,
    /// Another nexus released the reservation.
    ReservationsReleased,
    /// Another nexus removed this nexus's registration.
    RegistrationsPreempted,
    /// REPORT TARGET PORT GROUPS answers something else now.
    AccessStateChanged,
    /// Another nexus changed mode parameters.
    ModeChanged,
    /// Another nexus aborted commands of this one.
    CommandsCleared,
    /// Space runs out: the first soft threshold.
    SoftThreshold,
    /// Space runs out: the second soft threshold.
    HighThreshold,
}

impl Attention {
    /// Its additional sense code.
    #[must_use]
    pub fn asc(self) -> Asc {
        match self {
            Self::PowerOn => Asc::POWER_ON_OCCURRED,
            Self::TargetReset => Asc::SCSI_BUS_RESET_OCCURRED,
            Self::UnitReset => Asc::BUS_DEVICE_RESET_OCCURRED,
            Self::NexusLoss => Asc::I_T_NEXUS_LOSS_OCCURRED,
            Self::LunsChanged => Asc::REPORTED_LUNS_DATA_HAS_CHANGED,
            Self::CapacityChanged => Asc::CAPACITY_DATA_HAS_CHANGED,
            Self::ReservationsPreempted => Asc::RESERVATIONS_PREEMPTED,
            Self::ReservationsReleased => Asc::RESERVATIONS_RELEASED,
            Self::RegistrationsPreempted => Asc::REGISTRATIONS_PREEMPTED,
            Self::AccessStateChanged => Asc::ASYMMETRIC_ACCESS_STATE_CHANGED,
            Self::ModeChanged => Asc::MODE_PARAMETERS_CHANGED,
            Self::CommandsCleared => Asc::COMMANDS_CLEARED_BY_ANOTHER_INITIATOR,
            Self::SoftThreshold | Self::HighThreshold => Asc::THIN_PROVISIONING_SOFT_THRESHOLD_REACHED,
        }
    }

    /// UNIT ATTENTION sense. That of a threshold says where in its mode page it is (SBC-3).
    #[must_use]
    pub fn sense(self) -> Sense {
        let sense = Sense::new(SenseKey::UnitAttention, self.asc());
        match self {
            Self::SoftThreshold => sense.with_information(Thresholds::offset(0)),
            Self::HighThreshold => sense.with_information(Thresholds::offset(1)),
            _ => sense,
        }
    }

    /// A reset tells an initiator to look at everything again, so it covers all that came before it.
    fn is_reset(self) -> bool {
        self <= Self::NexusLoss
    }
}

/// The queue of one nexus.
#[derive(Debug, Default)]
pub(crate) struct AttentionQueue {
    pending: [Option<Attention>; UNIT_ATTENTIONS_MAX],
}

impl AttentionQueue {
    /// Whether there is nothing to tell; the only thing most commands ask.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending[0].is_none()
    }

    /// Queues a condition: one of each kind, a reset in place of all else, the most important ones when full.
    pub(crate) fn push(&mut self, attention: Attention) {
        if attention.is_reset() {
            let first = self.pending[0].filter(|p| p.is_reset()).map_or(attention, |p| p.min(attention));
            self.pending = [None; UNIT_ATTENTIONS_MAX];
            self.pending[0] = Some(first);
            return;
        }
        if self.pending.contains(&Some(attention)) {
            return;
        }
        let mut carry = Some(attention);
        for slot in &mut self.pending {
            match (*slot, carry) {
                (Some(here), Some(new)) if new < here => carry = slot.replace(new),
                (None, _) => {
                    *slot = carry;
                    return;
                }
                (Some(_), _) => {}
            }
        }
    }

    /// Takes the most important condition.
    pub(crate) fn pop(&mut self) -> Option<Attention> {
        let first = self.pending[0].take();
        self.pending.rotate_left(1);
        first
    }

    /// Takes one condition out, wherever it is.
    pub(crate) fn remove(&mut self, attention: Attention) {
        if let Some(index) = self.pending.iter().position(|p| *p == Some(attention)) {
            self.pending[index] = None;
            self.pending[index..].rotate_left(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &mut AttentionQueue) -> Vec<Attention> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn conditions_come_out_in_order_of_precedence_and_once() {
        let mut queue = AttentionQueue::default();
        for attention in [Attention::ModeChanged, Attention::CapacityChanged, Attention::ModeChanged] {
            queue.push(attention);
        }
        assert_eq!(drain(&mut queue), [Attention::CapacityChanged, Attention::ModeChanged]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_reset_covers_what_came_before_it() {
        let mut queue = AttentionQueue::default();
        queue.push(Attention::ModeChanged);
        queue.push(Attention::UnitReset);
        queue.push(Attention::CapacityChanged);
        assert_eq!(drain(&mut queue), [Attention::UnitReset, Attention::CapacityChanged]);
    }

    #[test]
    fn never_more_than_the_limit_and_the_least_important_is_dropped() {
        let mut queue = AttentionQueue::default();
        for attention in [
            Attention::SoftThreshold,
            Attention::ModeChanged,
            Attention::LunsChanged,
            Attention::CapacityChanged,
            Attention::CommandsCleared,
        ] {
            queue.push(attention);
        }
        let told = drain(&mut queue);
        assert_eq!(told, [Attention::LunsChanged, Attention::CapacityChanged, Attention::ModeChanged]);
    }

    #[test]
    fn removing_from_the_middle_keeps_the_order() {
        let mut queue = AttentionQueue::default();
        for attention in [Attention::LunsChanged, Attention::CapacityChanged, Attention::ModeChanged] {
            queue.push(attention);
        }
        queue.remove(Attention::CapacityChanged);
        assert_eq!(drain(&mut queue), [Attention::LunsChanged, Attention::ModeChanged]);
    }
}
