//! SCSI commands on their way in: checks, immediate data, and the hand-over to the driver.

use super::Connection;
use super::task::Task;
use crate::event::{Cdb, Command, TaskAttribute};
use crate::limits::{IMMEDIATE_TASKS_MAX, WRITE_BYTES_MAX};
use crate::names::TaskId;
use crate::wire::{AdditionalHeaders, Pdu, RejectReason, ScsiCommand};
use bytes::Bytes;

impl Connection {
    pub(super) fn handle_scsi_command(&mut self, pdu: Pdu) {
        let command = ScsiCommand::parse(&pdu.bhs);
        let Ok(additional) = AdditionalHeaders::parse(&pdu.ahs) else {
            return self.refuse(RejectReason::InvalidPduField, &pdu.bhs);
        };
        // §11: a reserved value in a field that is defined is a protocol error.
        if matches!(command.attribute, TaskAttribute::Unknown(_)) {
            return self.refuse(RejectReason::ProtocolError, &pdu.bhs);
        }
        // §11.2.1.8: while a task exists, its tag names it alone.
        if self.tasks.find(command.initiator_task_tag).is_some() {
            return self.refuse(RejectReason::TaskInProgress, &pdu.bhs);
        }
        // §4.2.2.1: at least one immediate command is taken, and task management has a limit of its own.
        if command.immediate && self.tasks.immediate() >= IMMEDIATE_TASKS_MAX {
            return self.refuse(RejectReason::TooManyImmediateCommands, &pdu.bhs);
        }
        let cdb = Cdb::new(command.cdb, additional.extended_cdb);
        let mut task = Task::new(command.initiator_task_tag, command.lun, cdb);
        task.immediate = command.immediate;
        task.attribute = command.attribute;
        task.expected_bytes = command.expected_data_transfer_bytes;
        task.reads = command.reads;
        task.writes = command.writes;
        task.bidirectional_read_bytes = additional.bidirectional_read_bytes.unwrap_or(0);
        let id = self.tasks.insert(task);
        if command.writes { self.begin_gathering(id, &command, pdu.data) } else { self.make_ready(id) }
    }

    /// What unsolicited data may come, and what came with the command (§4.2.5.2, §11.3.4, §11.8, §13.11).
    fn begin_gathering(&mut self, id: TaskId, command: &ScsiCommand, immediate_data: Bytes) {
        let parameters = &self.parameters;
        let expected = command.expected_data_transfer_bytes;
        let immediate_bytes = u32::try_from(immediate_data.len()).unwrap_or(u32::MAX);
        let unsolicited_max = parameters.unsolicited_bytes_max().min(expected);
        let is_unexpected = immediate_bytes > 0 && !parameters.immediate_data
            || !command.is_final && parameters.initial_r2t && expected > 0;
        // Whatever is wrong, an F bit that is not set announces more, and the answer waits for the end of it.
        let announces = !command.is_final && expected > 0;
        let failure = if is_unexpected {
            Some(UNEXPECTED_UNSOLICITED_DATA.into())
        } else if immediate_bytes > unsolicited_max {
            Some(INCORRECT_AMOUNT_OF_DATA.into())
        } else {
            (self.sheds_writes && self.buffered_bytes > 0).then_some(Failure::TaskSetFull)
        };
        if let Some(failure) = failure {
            if let Some(task) = self.tasks.get_mut(id) {
                task.unsolicited_data_sn = announces.then_some(0);
            }
            return self.fail_gathering(id, failure);
        }
        // What no command takes is not asked for. What one may take is, however much more the initiator has: the SCSI
        // layer would take what is missing for what the initiator did not have, and answer GOOD.
        let goal_bytes = expected.min(u32::try_from(WRITE_BYTES_MAX).unwrap_or(u32::MAX));
        let more_comes = !command.is_final && immediate_bytes < unsolicited_max;
        let Some(task) = self.tasks.get_mut(id) else { return };
        task.goal_bytes = goal_bytes;
        task.unsolicited_data_sn = more_comes.then_some(0);
        // The usual case, all data immediate, is passed on as the slice that it is.
        if immediate_bytes == goal_bytes {
            task.data.push(immediate_data)
        } else {
            task.take_data(immediate_data)
        }
        task.received_bytes = immediate_bytes;
        task.solicited_bytes = if more_comes { unsolicited_max } else { immediate_bytes };
        task.reserved_bytes = task.solicited_bytes;
        self.buffered_bytes += task.reserved_bytes as usize;
        self.continue_gathering(id);
    }

    /// The next command for the driver.
    pub(super) fn next_command(&mut self) -> Option<Command> {
        loop {
            let id = self.ready.pop_front()?;
            // One that was aborted while it waited is gone from the table.
            let Some(task) = self.tasks.start(id) else { continue };
            return Some(Command {
                task: id,
                lun: task.lun,
                cdb: task.cdb.clone(),
                attribute: task.attribute,
                expected_data_transfer_bytes: task.expected_bytes,
                reads: task.reads,
                writes: task.writes,
                data_out: task.give_data(),
            });
        }
    }
}

/// Sense for what goes wrong between the initiator and us (RFC 7143 §11.4.7.2): ABORTED COMMAND with these codes.
pub(super) type SenseCode = [u8; 2];

/// Why a command does not get its data.
#[derive(Clone, Copy, Debug)]
pub(super) enum Failure {
    /// It contradicts what was agreed, or is damaged.
    Sense(SenseCode),
    /// There is no room for it now; initiators send the command again (SAM-5 §5.3.1).
    TaskSetFull,
}

impl From<SenseCode> for Failure {
    fn from(code: SenseCode) -> Self {
        Self::Sense(code)
    }
}
pub(super) const UNEXPECTED_UNSOLICITED_DATA: SenseCode = [0x0c, 0x0c];
pub(super) const INCORRECT_AMOUNT_OF_DATA: SenseCode = [0x0c, 0x0d];
pub(super) const PROTOCOL_SERVICE_CRC_ERROR: SenseCode = [0x47, 0x05];

/// Fixed-format sense data (SPC-4 §4.5.3): ABORTED COMMAND.
pub(super) fn aborted_command([code, qualifier]: SenseCode) -> Bytes {
    let mut sense = [0; 18];
    sense[0] = 0x70;
    sense[2] = 0x0b;
    sense[7] = 10;
    sense[12] = code;
    sense[13] = qualifier;
    Bytes::copy_from_slice(&sense)
}
