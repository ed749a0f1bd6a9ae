//! The open commands of a connection, in a slab: no allocation and no map on the way of a command.

use super::command::Failure;
use crate::event::{Cdb, TaskAttribute, TaskScope};
use crate::names::{InitiatorTaskTag, LogicalUnitNumber, TargetTransferTag, TaskId};
use crate::payload::{Payload, SHORT_BYTES_MAX};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// What is joined at a time.
const TAIL_BYTES_MAX: usize = 64 * 1024;

/// Where a command is.
///
/// ```text
///   Gathering ──▶ Ready ──▶ Executing ──▶ (freed, responded to)
///       │           │           └────────▶ Aborted ──▶ (freed, silently)
///       └───────────┴─ abort ─▶ (freed, silently)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TaskState {
    /// Its data is still coming.
    Gathering,
    /// It waits to be handed to the driver.
    Ready,
    /// The driver has it.
    Executing,
    /// The driver has it, and nobody wants to hear of it any more.
    Aborted,
}

/// An R2T that is being answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutstandingR2T {
    pub(super) target_transfer_tag: TargetTransferTag,
    /// Offset after its last byte.
    pub(super) end: u32,
    pub(super) next_data_sn: u32,
}

/// One command.
#[derive(Debug)]
pub(super) struct Task {
    generation: u64,
    pub(super) state: TaskState,
    pub(super) initiator_task_tag: InitiatorTaskTag,
    pub(super) immediate: bool,
    pub(super) lun: LogicalUnitNumber,
    pub(super) cdb: Cdb,
    pub(super) attribute: TaskAttribute,
    pub(super) expected_bytes: u32,
    pub(super) reads: bool,
    pub(super) writes: bool,
    /// Expected read of a bidirectional command.
    pub(super) bidirectional_read_bytes: u32,
    pub(super) data: Payload,
    /// Short pieces are joined here: iPXE sends 512 bytes at a time, and a piece must not cost more than its data.
    tail: BytesMut,
    /// Data that came; also the offset of what comes next, since data is in order.
    pub(super) received_bytes: u32,
    /// Data to gather before the command is handed over.
    pub(super) goal_bytes: u32,
    /// Data asked for so far, unsolicited data included.
    pub(super) solicited_bytes: u32,
    /// DataSN of the next unsolicited Data-Out, while some may come.
    pub(super) unsolicited_data_sn: Option<u32>,
    pub(super) r2ts: VecDeque<OutstandingR2T>,
    pub(super) r2t_sn: u32,
    /// Its turn to solicit has come.
    pub(super) may_solicit: bool,
    /// Memory that is accounted for it.
    pub(super) reserved_bytes: u32,
    /// What it will fail with once the last of its data has come.
    pub(super) failure: Option<Failure>,
}

impl Task {
    /// A command as it comes in.
    pub(super) fn new(initiator_task_tag: InitiatorTaskTag, lun: LogicalUnitNumber, cdb: Cdb) -> Self {
        Self {
            generation: 0,
            state: TaskState::Gathering,
            initiator_task_tag,
            immediate: false,
            lun,
            cdb,
            attribute: TaskAttribute::Simple,
            expected_bytes: 0,
            reads: false,
            writes: false,
            bidirectional_read_bytes: 0,
            data: Payload::new(),
            tail: BytesMut::new(),
            received_bytes: 0,
            goal_bytes: 0,
            solicited_bytes: 0,
            unsolicited_data_sn: None,
            r2ts: VecDeque::new(),
            r2t_sn: 0,
            may_solicit: false,
            reserved_bytes: 0,
            failure: None,
        }
    }

    /// Keeps data that came.
    pub(super) fn take_data(&mut self, data: Bytes) {
        if data.len() >= SHORT_BYTES_MAX {
            self.flush_tail();
            return self.data.push(data);
        }
        if self.tail.capacity() - self.tail.len() < data.len() {
            self.flush_tail();
            let left = self.goal_bytes.saturating_sub(self.received_bytes) as usize;
            self.tail.reserve(left.clamp(data.len(), TAIL_BYTES_MAX));
        }
        self.tail.extend_from_slice(&data);
    }

    /// All data, in order.
    pub(super) fn give_data(&mut self) -> Payload {
        self.flush_tail();
        std::mem::take(&mut self.data)
    }

    fn flush_tail(&mut self) {
        self.data.push(self.tail.split().freeze());
    }

    /// Is data on its way: announced by a command without F bit, or asked for?
    pub(super) fn expects_data(&self) -> bool {
        self.unsolicited_data_sn.is_some() || !self.r2ts.is_empty()
    }

    /// A sequence is over, however it went.
    pub(super) fn end_sequence(&mut self, target_transfer_tag: TargetTransferTag) {
        if target_transfer_tag == TargetTransferTag::RESERVED {
            self.unsolicited_data_sn = None;
        } else {
            self.r2ts.retain(|r2t| r2t.target_transfer_tag != target_transfer_tag);
        }
    }

    /// Forgets the data that came.
    pub(super) fn drop_data(&mut self) {
        self.data = Payload::new();
        self.tail = BytesMut::new();
    }

    /// What the initiator has room for.
    pub(super) const fn expected_read_bytes(&self) -> u32 {
        match (self.reads, self.writes) {
            (true, true) => self.bidirectional_read_bytes,
            (true, false) => self.expected_bytes,
            (false, _) => 0,
        }
    }

    pub(super) fn is_in(&self, scope: TaskScope) -> bool {
        scope.contains(self.lun)
    }
}

/// All open commands.
#[derive(Debug, Default)]
pub(super) struct TaskTable {
    slots: Vec<Option<Task>>,
    /// The tag of each slot side by side, so that a search touches few cache lines. Free slots hold a value that no
    /// search asks for.
    tags: Vec<u32>,
    free: Vec<u16>,
    generation: u64,
    numbered: usize,
    immediate: usize,
    executing: usize,
}

impl TaskTable {
    pub(super) fn insert(&mut self, mut task: Task) -> TaskId {
        self.generation += 1;
        task.generation = self.generation;
        *if task.immediate { &mut self.immediate } else { &mut self.numbered } += 1;
        let tag = task.initiator_task_tag.0;
        let index = if let Some(index) = self.free.pop() {
            let at = usize::from(index);
            self.slots[at] = Some(task);
            self.tags[at] = tag;
            index
        } else {
            self.slots.push(Some(task));
            self.tags.push(tag);
            u16::try_from(self.slots.len() - 1).unwrap_or(u16::MAX)
        };
        TaskId { index, generation: self.generation }
    }

    pub(super) fn get(&self, id: TaskId) -> Option<&Task> {
        self.slots.get(usize::from(id.index))?.as_ref().filter(|task| task.generation == id.generation)
    }

    pub(super) fn get_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        self.slots.get_mut(usize::from(id.index))?.as_mut().filter(|task| task.generation == id.generation)
    }

    /// The task in a slot, whichever it is: for the index that a target transfer tag carries.
    pub(super) fn at(&self, index: u16) -> Option<TaskId> {
        let task = self.slots.get(usize::from(index))?.as_ref()?;
        Some(TaskId { index, generation: task.generation })
    }

    pub(super) fn find(&self, tag: InitiatorTaskTag) -> Option<TaskId> {
        if tag == InitiatorTaskTag::RESERVED {
            return None;
        }
        let index = self.tags.iter().position(|other| *other == tag.0)?;
        self.at(u16::try_from(index).ok()?)
    }

    pub(super) fn remove(&mut self, id: TaskId) -> Option<Task> {
        self.get(id)?;
        let at = usize::from(id.index);
        let task = self.slots.get_mut(at)?.take()?;
        self.tags[at] = InitiatorTaskTag::RESERVED.0;
        self.free.push(id.index);
        *if task.immediate { &mut self.immediate } else { &mut self.numbered } -= 1;
        if matches!(task.state, TaskState::Executing | TaskState::Aborted) {
            self.executing -= 1;
        }
        Some(task)
    }

    /// Marks a task as handed to the driver.
    pub(super) fn start(&mut self, id: TaskId) -> Option<&mut Task> {
        self.get(id).filter(|task| task.state == TaskState::Ready)?;
        self.executing += 1;
        let task = self.get_mut(id)?;
        task.state = TaskState::Executing;
        Some(task)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = TaskId> {
        (0u16..).zip(&self.slots).filter_map(|(index, slot)| {
            slot.as_ref().map(|task| TaskId { index, generation: task.generation })
        })
    }

    /// Commands that take a place in the window.
    pub(super) const fn numbered(&self) -> usize {
        self.numbered
    }

    pub(super) const fn immediate(&self) -> usize {
        self.immediate
    }

    /// Commands that the driver has, aborted ones included.
    pub(super) const fn executing(&self) -> usize {
        self.executing
    }

    pub(super) const fn len(&self) -> usize {
        self.numbered + self.immediate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(tag: u32) -> Task {
        Task::new(InitiatorTaskTag(tag), LogicalUnitNumber::ZERO, Cdb::new([0; 16], Bytes::new()))
    }

    #[test]
    fn a_freed_slot_is_used_again_under_another_name() {
        let mut table = TaskTable::default();
        let first = table.insert(task(1));
        assert!(table.remove(first).is_some());
        let second = table.insert(task(2));
        assert_eq!(first.index, second.index);
        assert!(table.get(first).is_none() && table.remove(first).is_none());
        assert_eq!(table.find(InitiatorTaskTag(2)), Some(second));
        assert_eq!(table.find(InitiatorTaskTag(1)), None);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn the_reserved_tag_names_no_task() {
        let mut table = TaskTable::default();
        let id = table.insert(task(1));
        table.remove(id);
        assert_eq!(table.find(InitiatorTaskTag::RESERVED), None);
    }

    #[test]
    fn executing_is_counted_from_start_to_removal() {
        let mut table = TaskTable::default();
        let id = table.insert(task(1));
        assert!(table.start(id).is_none(), "not ready yet");
        table.get_mut(id).unwrap().state = TaskState::Ready;
        assert!(table.start(id).is_some());
        assert_eq!(table.executing(), 1);
        table.remove(id);
        assert_eq!(table.executing(), 0);
    }
}
