//! A connection with both its ends, and what its driver has under way.

use super::super::super::Connection;
use super::initiator::Initiator;
use crate::event::{TaskManagement, TaskScope};
use crate::names::{TaskId, Tsih};
use crate::serial::SerialNumber;
use bytes::BytesMut;
use std::io::IoSlice;
use std::time::Instant;

/// A command that the driver has.
pub(super) struct Job {
    pub(super) link: usize,
    pub(super) task: TaskId,
    pub(super) id: u32,
    pub(super) immediate: bool,
    pub(super) was_applied: bool,
}

/// A task management request that the driver has.
pub(super) struct Managed {
    pub(super) link: usize,
    pub(super) request: TaskManagement,
    pub(super) scope: Option<TaskScope>,
    pub(super) others: Vec<usize>,
    pub(super) cold: bool,
    pub(super) is_held: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Establishing {
    pub(super) tsih: Tsih,
    pub(super) replaced: Option<usize>,
}

/// One connection with both its ends.
pub(super) struct Link {
    pub(super) port: usize,
    pub(super) target: Connection,
    pub(super) received: BytesMut,
    pub(super) initiator: Initiator,
    /// Bytes are delivered in pieces of this size.
    pub(super) grain: usize,
    pub(super) tsih: Tsih,
    /// The initiator's end is gone.
    pub(super) is_cut: bool,
    pub(super) close_was_asked: bool,
    pub(super) logged_out: bool,
    pub(super) awaits_authorization: bool,
    pub(super) awaits_targets: bool,
    pub(super) establishing: Option<Establishing>,
    /// None of its commands can have an effect any more.
    pub(super) has_ended: bool,
    pub(super) last_handed_out: Option<SerialNumber>,
}

impl Link {
    /// Bytes of the initiator reach the target, in pieces; those that it does not want to read stay.
    pub(super) fn deliver(&mut self, most: usize, now: Instant) {
        let bytes = most.min(self.initiator.outgoing.len());
        let mut done = 0;
        self.target.handle_bytes(now, &mut self.received);
        while done < bytes && self.target.wants_read() {
            let stop = (done + self.grain).min(bytes);
            self.received.extend_from_slice(&self.initiator.outgoing[done..stop]);
            self.target.handle_bytes(now, &mut self.received);
            done = stop;
        }
        self.initiator.outgoing.drain(..done);
    }

    /// Bytes of the target reach the initiator.
    pub(super) fn pull(&mut self, most: usize) {
        let mut left = most;
        while left > 0 {
            let mut slices = [IoSlice::new(&[]); 5];
            let count = self.target.transmit_slices(&mut slices);
            let mut taken = 0;
            for slice in &slices[..count] {
                let bytes = slice.len().min(left.min(self.grain) - taken);
                self.initiator.incoming.extend_from_slice(&slice[..bytes]);
                taken += bytes;
            }
            if taken == 0 {
                return;
            }
            self.target.advance_transmit(taken);
            left -= taken;
        }
    }

    /// Stops tasks for another session; gives the ids of those that there were.
    pub(super) fn abort(&mut self, scope: TaskScope) -> Vec<u32> {
        let tasks = &self.target.tasks;
        let stopped: Vec<u32> = tasks
            .ids()
            .filter_map(|id| tasks.get(id))
            .filter(|task| task.is_in(scope))
            .map(|task| u32::from_be_bytes(task.cdb.head()[12..].try_into().unwrap()))
            .collect();
        for task in self.initiator.tasks.values_mut() {
            task.silenced |= stopped.contains(&task.id);
        }
        self.target.abort_tasks(scope);
        stopped
    }
}
