//! Task management and events from outside: what they change, and whom they are told to.

use crate::attention::Attention;
use crate::config::ConfigError;
use crate::nexus::NexusId;
use crate::task::{Action, Task};
use crate::unit::{LogicalUnit, MediumState};

impl LogicalUnit {
    /// LOGICAL UNIT RESET (SAM-5): RESERVE is released, mode pages go back to their saved values, every nexus
    /// is told, also the one that asked.
    pub fn logical_unit_reset(&mut self) {
        self.reset(Attention::UnitReset);
    }

    /// TARGET WARM RESET and TARGET COLD RESET, as far as this unit is concerned.
    pub fn target_reset(&mut self) {
        self.reset(Attention::TargetReset);
    }

    fn reset(&mut self, attention: Attention) {
        self.reservations.unit_reset();
        self.mode.reset();
        self.nexuses.announce(attention, None);
        self.refresh_access();
    }

    /// I_T NEXUS RESET (SAM-5 §6.3.5): what the loss of the nexus gives free is free, and the nexus, which stays, is
    /// told so.
    pub fn nexus_reset(&mut self, nexus: NexusId) {
        self.reservations.nexus_lost(nexus);
        if self.mode.nexus_lost(nexus) {
            self.nexuses.announce(Attention::ModeChanged, None);
        }
        if let Some(nexus) = self.nexuses.get_mut(nexus) {
            nexus.attentions.push(Attention::NexusLoss);
        }
        self.refresh_access();
    }

    /// Commands of this nexus were aborted by another one (CLEAR TASK SET, TAS=0): tell it (SAM-5).
    pub fn commands_cleared(&mut self, nexus: NexusId) {
        if let Some(nexus) = self.nexuses.get_mut(nexus) {
            nexus.attentions.push(Attention::CommandsCleared);
        }
    }

    /// The medium has grown.
    ///
    /// # Errors
    /// `ConfigError::Shrink` when it would get smaller.
    pub fn grow(&mut self, size_bytes: u64) -> Result<(), ConfigError> {
        let blocks = size_bytes >> self.config.block_size.shift();
        if blocks < self.blocks {
            return Err(ConfigError::Shrink);
        }
        if blocks > self.blocks {
            self.blocks = blocks;
            self.config.size_bytes = size_bytes;
            self.nexuses.announce(Attention::CapacityChanged, None);
        }
        Ok(())
    }

    /// The disk is to have a write cache, or none: every nexus is told. Without one, writes are durable from now on; what was
    /// acknowledged before is for `Action::Flush`.
    pub fn set_write_cache(&mut self, write_cache: bool) {
        if self.mode.set_write_cache(write_cache) {
            self.nexuses.announce(Attention::ModeChanged, None);
        }
    }

    /// Tells every nexus something that happened outside. Who can only read is not told that space runs out: it neither
    /// takes any, nor can it give any back.
    pub fn announce(&mut self, attention: Attention) {
        if self.config.read_only && matches!(attention, Attention::SoftThreshold | Attention::HighThreshold) {
            return;
        }
        self.nexuses.announce(attention, None);
    }

    /// Settles what a task left open in the unit, before its response is sent. Only for tasks of which
    /// `Task::needs_settling` says so.
    pub fn settle(&mut self, task: &Task, success: bool) {
        match task.action {
            Action::Sanitize { .. } if success => self.medium_state = MediumState::Ready,
            Action::Sanitize { .. } => self.medium_state = MediumState::SanitizeFailed,
            Action::Copy { .. } => {
                if let Some(copy) = &mut self.copy {
                    copy.ended(success);
                }
            }
            _ => {}
        }
    }
}
