//! Completed commands on their way out: Data-In, status, residuals (RFC 7143 §11.4, §11.7). Sense data comes with the
//! response, unasked for (§4.6.1.2, §10.2, §11.4.7; RFC 7144 §5.2.2).

use super::Connection;
use super::full_feature::sense_segment;
use super::task::{Task, TaskState};
use crate::event::ScsiResponse;
use crate::names::{LogicalUnitNumber, TargetTransferTag, TaskId};
use crate::payload::Cutter;
use crate::wire::{DataIn, Residual, ScsiResponsePdu, Sequence};

const GOOD: u8 = 0;

impl Connection {
    /// Ends a task: its slot is free, and unless it was aborted the initiator hears how it ended.
    pub(super) fn finish_task(&mut self, id: TaskId, response: &ScsiResponse) {
        let Some(task) = self.tasks.remove(id) else { return };
        self.release_data(&task);
        if task.state == TaskState::Aborted || self.is_closed() {
            return self.note_aborted_task_end(id);
        }
        self.open_window();
        self.respond(&task, response);
    }

    fn respond(&mut self, task: &Task, response: &ScsiResponse) {
        let expected_read = task.expected_read_bytes();
        // §11.4.5.3: against what the SCSI layer gave, after its own cut to an allocation length.
        let read_residual = Residual::of(expected_read, response.transfer_bytes);
        let send_bytes = response.data_in.len_bytes().min(expected_read as usize);
        // §11.7.3: neither an error nor a bidirectional command has its status in a Data-In. COMPAT P8: status rides on the last Data-In only when there is nothing else to say.
        let is_plain = response.status == GOOD && response.sense.is_empty() && !task.writes;
        let collapses = is_plain && send_bytes > 0 && read_residual == Residual::Exact;
        let data_in_count = self.send_data_in(task, response, send_bytes, collapses);
        if !collapses {
            self.send_response(task, response, read_residual, data_in_count);
        }
    }

    /// Cuts the data into PDUs of the peer's limit and sequences of MaxBurstLength (§11.7.1), numbered from zero
    /// (§4.2.2.4); gives their number.
    fn send_data_in(
        &mut self,
        task: &Task,
        response: &ScsiResponse,
        send_bytes: usize,
        collapses: bool,
    ) -> u32 {
        let mut cutter = Cutter::new(&response.data_in);
        let segment_max = self.segment_bytes_max();
        let burst_max = self.parameters.burst_bytes_max as usize;
        // §11.7.5: the R2Ts of a bidirectional command and its Data-In share their numbers.
        let (mut offset, mut data_sn, mut burst_left) = (0, task.r2t_sn, burst_max);
        while offset < send_bytes {
            let length = segment_max.min(burst_left).min(send_bytes - offset);
            burst_left -= length;
            let is_last = offset + length == send_bytes;
            let carries_status = is_last && collapses;
            let data_in = DataIn {
                is_final: is_last || burst_left == 0,
                status: carries_status.then_some(GOOD),
                lun: LogicalUnitNumber::ZERO,
                initiator_task_tag: task.initiator_task_tag,
                target_transfer_tag: TargetTransferTag::RESERVED,
                sequence: self.data_in_sequence(carries_status),
                data_sn,
                buffer_offset: u32::try_from(offset).unwrap_or(u32::MAX),
                residual: Residual::Exact,
            };
            self.transmit.push_cut(data_in.emit(), &mut cutter, length);
            offset += length;
            data_sn += 1;
            if burst_left == 0 {
                burst_left = burst_max;
            }
        }
        data_sn - task.r2t_sn
    }

    /// StatSN is reserved, hence zero, where there is no status (§11.7.4).
    fn data_in_sequence(&mut self, carries_status: bool) -> Sequence {
        if carries_status {
            return self.next_sequence();
        }
        Sequence { stat_sn: crate::serial::SerialNumber(0), ..self.sequence() }
    }

    /// All but the last PDU of a sequence are multiples of four (§11.7).
    fn segment_bytes_max(&self) -> usize {
        (self.parameters.transmit_segment_bytes_max as usize & !3).max(4)
    }

    fn send_response(
        &mut self,
        task: &Task,
        response: &ScsiResponse,
        read_residual: Residual,
        data_in_count: u32,
    ) {
        let is_bidirectional = task.reads && task.writes;
        let residual = if task.reads && !is_bidirectional {
            read_residual
        } else {
            Residual::of(task.expected_bytes, response.transfer_bytes)
        };
        let pdu = ScsiResponsePdu {
            // §11.4.1: always "completed at target".
            response: 0,
            status: response.status,
            initiator_task_tag: task.initiator_task_tag,
            sequence: self.next_sequence(),
            // §11.4.8: Data-In PDUs alone count.
            exp_data_sn: data_in_count,
            bidirectional_read_residual: if is_bidirectional { read_residual } else { Residual::Exact },
            residual,
        };
        if response.sense.is_empty() {
            self.transmit.push(pdu.emit());
        } else {
            self.transmit.push_with(pdu.emit(), sense_segment(&response.sense));
        }
    }
}
