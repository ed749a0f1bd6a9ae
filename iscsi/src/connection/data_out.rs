//! Gathering write data: unsolicited Data-Out, R2T, solicited Data-Out (RFC 7143 §4.2.5, §11.7, §11.8).
//!
//! Data comes in order (§4.2.5.2, §13.19: DataPDUInOrder and DataSequenceInOrder are Yes), so one offset says how far a
//! task is; a PDU without data changes nothing (§11.7.7).
//! A Data-Out that fits no open task is dropped without a word (§10.7): it may be a late one of a task that was aborted or
//! refused. One that contradicts its task fails that task, and nothing of it is ever written; the answer is sent when
//! the F bit of all that is on its way has come (§7.8, §11.4.2, §11.17.1).

use super::Connection;
use super::command::{
    Failure, INCORRECT_AMOUNT_OF_DATA, PROTOCOL_SERVICE_CRC_ERROR, SenseCode, UNEXPECTED_UNSOLICITED_DATA,
    aborted_command,
};
use super::task::{OutstandingR2T, Task, TaskState};
use crate::event::ScsiResponse;
use crate::names::{TargetTransferTag, TaskId};
use crate::wire::{Bhs, DataOut, ReadyToTransfer, RejectReason};
use bytes::Bytes;

const CHECK_CONDITION: u8 = 2;
const TASK_SET_FULL: u8 = 0x28;

/// What a Data-Out did to its task.
enum Taken {
    /// There is more to come in its sequence.
    More,
    /// Its sequence is complete.
    SequenceEnd,
    /// It contradicts what was agreed.
    Wrong(SenseCode),
}

impl Connection {
    pub(super) fn handle_data_out(&mut self, pdu: &DataOut, bhs: &Bhs, data: Bytes) {
        let Some(id) = self.find_gathering(pdu) else { return };
        let Some(task) = self.tasks.get_mut(id) else { return };
        // §4.2.5.3: the fields of a task's PDUs agree with its command. Without a transfer tag the LUN is reserved.
        if pdu.target_transfer_tag != TargetTransferTag::RESERVED && pdu.lun != task.lun {
            return self.reject(RejectReason::InvalidPduField, bhs);
        }
        if let Some(failure) = task.failure {
            return self.fail_on(id, pdu, failure);
        }
        match take(task, pdu, data) {
            Taken::More => {}
            Taken::SequenceEnd => self.continue_gathering(id),
            Taken::Wrong(code) => self.fail_on(id, pdu, code.into()),
        }
    }

    /// A Data-Out that is not taken any more: its F bit ends a sequence all the same.
    fn fail_on(&mut self, id: TaskId, pdu: &DataOut, failure: Failure) {
        if pdu.is_final
            && let Some(task) = self.tasks.get_mut(id)
        {
            task.end_sequence(pdu.target_transfer_tag);
        }
        self.fail_gathering(id, failure);
    }

    /// A Data-Out whose data cannot be trusted.
    pub(super) fn fail_data_out(&mut self, pdu: &DataOut) {
        if let Some(id) = self.find_gathering(pdu) {
            self.fail_on(id, pdu, PROTOCOL_SERVICE_CRC_ERROR.into());
        }
    }

    fn find_gathering(&self, pdu: &DataOut) -> Option<TaskId> {
        let id = match pdu.target_transfer_tag {
            TargetTransferTag::RESERVED => self.tasks.find(pdu.initiator_task_tag)?,
            TargetTransferTag(tag) => self.tasks.at(transfer_index(tag))?,
        };
        let task = self.tasks.get(id)?;
        let is_its = task.initiator_task_tag == pdu.initiator_task_tag && task.state == TaskState::Gathering;
        is_its.then_some(id)
    }

    /// A step of gathering ended: hand over, solicit, or wait.
    pub(super) fn continue_gathering(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        if task.unsolicited_data_sn.is_some() {
            return;
        }
        if task.received_bytes >= task.goal_bytes {
            return self.make_ready(id);
        }
        if task.may_solicit { self.send_r2ts(id) } else { self.soliciting.push_back(id) }
    }

    /// Lets tasks solicit, oldest first, each when there is memory for all its data; one always may, so that all
    /// get done.
    pub(super) fn solicit(&mut self) {
        while let Some(&id) = self.soliciting.front() {
            if let Some(task) = self.tasks.get_mut(id).filter(|task| task.state == TaskState::Gathering) {
                let more_bytes = (task.goal_bytes - task.reserved_bytes.min(task.goal_bytes)) as usize;
                let fits = self.buffered_bytes + more_bytes <= self.buffered_bytes_max;
                if !fits && self.soliciting_now > 0 {
                    return;
                }
                task.may_solicit = true;
                task.reserved_bytes = task.reserved_bytes.max(task.goal_bytes);
                self.soliciting_now += 1;
                self.buffered_bytes += more_bytes;
                self.send_r2ts(id);
            }
            self.soliciting.pop_front();
        }
    }

    /// Sends the R2Ts that a task may have outstanding (§11.8: MaxOutstandingR2T), each for something and for no more
    /// than MaxBurstLength (§11.8.4).
    fn send_r2ts(&mut self, id: TaskId) {
        let outstanding_max = self.parameters.outstanding_r2t_max as usize;
        loop {
            let target_transfer_tag = self.next_transfer_tag(id.index);
            let sequence = self.sequence();
            let Some(task) = self.tasks.get_mut(id) else { return };
            let left_bytes = task.goal_bytes - task.solicited_bytes.min(task.goal_bytes);
            if left_bytes == 0 || task.r2ts.len() >= outstanding_max {
                return;
            }
            let desired_bytes = left_bytes.min(self.parameters.burst_bytes_max);
            let r2t = ReadyToTransfer {
                lun: task.lun,
                initiator_task_tag: task.initiator_task_tag,
                target_transfer_tag,
                sequence,
                r2t_sn: task.r2t_sn,
                buffer_offset: task.solicited_bytes,
                desired_bytes,
            };
            task.r2t_sn += 1;
            task.solicited_bytes += desired_bytes;
            task.r2ts.push_back(OutstandingR2T {
                target_transfer_tag,
                end: task.solicited_bytes,
                next_data_sn: 0,
            });
            self.transmit.push(r2t.emit());
        }
    }

    /// Gives up the memory that a task's data was accounted for.
    pub(super) fn release_data(&mut self, task: &Task) {
        self.buffered_bytes -= task.reserved_bytes as usize;
        self.soliciting_now -= usize::from(task.may_solicit);
    }

    /// Ends a task that cannot have its data any more: when the F bit of all that is on its way has come (§7.8,
    /// §11.4.2). Its memory is free at once. What went wrong first is what is told.
    pub(super) fn fail_gathering(&mut self, id: TaskId, failure: Failure) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        let failure = *task.failure.get_or_insert(failure);
        if task.expects_data() {
            task.drop_data();
            self.buffered_bytes -= std::mem::take(&mut task.reserved_bytes) as usize;
            self.soliciting_now -= usize::from(std::mem::take(&mut task.may_solicit));
            return;
        }
        let (status, sense) = match failure {
            Failure::Sense(code) => (CHECK_CONDITION, aborted_command(code)),
            Failure::TaskSetFull => (TASK_SET_FULL, Bytes::new()),
        };
        self.finish_task(id, &ScsiResponse { status, sense, ..ScsiResponse::default() });
    }

    /// A tag that carries its task's slot; never the reserved one (§11.8.5), and not used again for a long while.
    pub(super) fn next_transfer_tag(&mut self, index: u16) -> TargetTransferTag {
        self.transfer_count = self.transfer_count.wrapping_add(1);
        if self.transfer_count == u16::MAX {
            self.transfer_count = 0;
        }
        TargetTransferTag(u32::from(self.transfer_count) << 16 | u32::from(index))
    }
}

const fn transfer_index(tag: u32) -> u16 {
    let [_, _, high, low] = tag.to_be_bytes();
    u16::from_be_bytes([high, low])
}

fn take(task: &mut Task, pdu: &DataOut, data: Bytes) -> Taken {
    let solicited = pdu.target_transfer_tag != TargetTransferTag::RESERVED;
    let (end, data_sn) = match (task.r2ts.front(), task.unsolicited_data_sn) {
        (Some(r2t), _) if solicited && r2t.target_transfer_tag == pdu.target_transfer_tag => {
            (r2t.end, r2t.next_data_sn)
        }
        // Late data of a transfer that is over, or an answer out of turn (DataSequenceInOrder=Yes).
        _ if solicited => return Taken::Wrong(INCORRECT_AMOUNT_OF_DATA),
        (_, Some(data_sn)) => (task.solicited_bytes, data_sn),
        (_, None) => return Taken::Wrong(UNEXPECTED_UNSOLICITED_DATA),
    };
    // §11.7.5: DataSN counts from 0 in each sequence. A gap means that data is missing, and is
    // dealt with as a broken digest (§7.9).
    if pdu.data_sn != data_sn {
        return Taken::Wrong(PROTOCOL_SERVICE_CRC_ERROR);
    }
    let bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let fits = pdu.buffer_offset == task.received_bytes && bytes <= end - task.received_bytes;
    if !fits {
        return Taken::Wrong(INCORRECT_AMOUNT_OF_DATA);
    }
    task.take_data(data);
    task.received_bytes += bytes;
    if !pdu.is_final {
        return continue_sequence(task, solicited, data_sn + 1);
    }
    end_sequence(task, solicited, end)
}

fn continue_sequence(task: &mut Task, solicited: bool, next_data_sn: u32) -> Taken {
    if solicited {
        if let Some(r2t) = task.r2ts.front_mut() {
            r2t.next_data_sn = next_data_sn;
        }
    } else {
        task.unsolicited_data_sn = Some(next_data_sn);
    }
    Taken::More
}

/// A solicited sequence must be as long as was asked for; an unsolicited one may end early.
fn end_sequence(task: &mut Task, solicited: bool, end: u32) -> Taken {
    if !solicited {
        task.unsolicited_data_sn = None;
        task.solicited_bytes = task.received_bytes;
        return Taken::SequenceEnd;
    }
    task.r2ts.pop_front();
    if task.received_bytes == end { Taken::SequenceEnd } else { Taken::Wrong(INCORRECT_AMOUNT_OF_DATA) }
}
