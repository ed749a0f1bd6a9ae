//! What an initiator may hear: every number, bit, offset and count of every PDU, by the standard.

use super::initiator::{Initiator, Open, Phase};
use super::shared::Shared;
use crate::event::ScsiResponse;
use crate::names::{InitiatorTaskTag, LogicalUnitNumber, TargetTransferTag};
use crate::wire::*;

impl Initiator {
    /// Takes all whole PDUs that have arrived.
    pub(super) fn listen(&mut self, shared: &mut Shared) {
        while let Some(pdu) = self.deframer.next(&mut self.incoming).expect("the target's framing is right") {
            assert!(pdu.data_is_intact, "the target's data digest is right");
            assert!(pdu.ahs.is_empty());
            assert!(self.phase != Phase::Over, "nothing comes after the end, but {:?} does", pdu.bhs[0]);
            self.hear(&pdu, shared);
        }
    }

    fn hear(&mut self, pdu: &Pdu, shared: &mut Shared) {
        let opcode = Opcode::of(&pdu.bhs);
        note!(shared, "{} hears {opcode:?} tag {:?} with {}", self.number, tag_of(&pdu.bhs), pdu.data.len());
        self.check_numbers(opcode, &pdu.bhs);
        if self.phase == Phase::Login {
            assert_eq!(opcode, Opcode::LoginResponse);
            self.hear_login(&LoginResponse::parse(&pdu.bhs), &pdu.data, shared);
            return;
        }
        assert!(pdu.data.len() <= self.segment_bytes_max as usize, "longer than our limit");
        match opcode {
            Opcode::ReadyToTransfer => self.hear_r2t(&ReadyToTransfer::parse(&pdu.bhs), shared),
            Opcode::DataIn => self.hear_data_in(&DataIn::parse(&pdu.bhs), &pdu.data, shared),
            Opcode::ScsiResponse => self.hear_response(&ScsiResponsePdu::parse(&pdu.bhs), &pdu.data, shared),
            Opcode::TaskManagementResponse => {
                self.hear_management(&TaskManagementResponsePdu::parse(&pdu.bhs), shared);
            }
            Opcode::NopIn => self.hear_nop(&NopIn::parse(&pdu.bhs), &pdu.data),
            Opcode::TextResponse => self.hear_text(&TextResponse::parse(&pdu.bhs), &pdu.data, shared),
            Opcode::LogoutResponse => self.hear_logout(&LogoutResponse::parse(&pdu.bhs), shared),
            Opcode::AsyncMessage => self.hear_message(&AsyncMessage::parse(&pdu.bhs)),
            other => panic!("unexpected {other:?}: {:02x?} {:02x?}", pdu.bhs, pdu.data),
        }
    }

    /// §4.2.2: StatSN without gaps, ExpCmdSN and MaxCmdSN never moving back, the window no wider than agreed.
    fn check_numbers(&mut self, opcode: Opcode, bhs: &Bhs) {
        let nop = NopIn::parse(bhs);
        let sequence = nop.sequence;
        let uses_stat_sn = match opcode {
            Opcode::DataIn => DataIn::parse(bhs).status.is_some(),
            Opcode::ReadyToTransfer => false,
            Opcode::NopIn => nop.initiator_task_tag != InitiatorTaskTag::RESERVED,
            _ => true,
        };
        if uses_stat_sn || opcode != Opcode::DataIn {
            assert_eq!(sequence.stat_sn, self.exp_stat_sn, "StatSN of {opcode:?}");
        }
        if uses_stat_sn {
            self.exp_stat_sn = sequence.stat_sn.next();
        }
        assert!(!sequence.exp_cmd_sn.is_before(self.exp_cmd_sn), "ExpCmdSN moves back in {opcode:?}");
        assert!(!sequence.exp_cmd_sn.is_after(self.cmd_sn), "ExpCmdSN runs ahead in {opcode:?}");
        assert!(!sequence.max_cmd_sn.is_before(self.max_cmd_sn), "MaxCmdSN moves back in {opcode:?}");
        let width = sequence.max_cmd_sn.next().since(sequence.exp_cmd_sn) as usize;
        assert!(width <= self.tasks_max, "a window of {width}");
        (self.exp_cmd_sn, self.max_cmd_sn) = (sequence.exp_cmd_sn, sequence.max_cmd_sn);
    }

    // ---- data -----------------------------------------------------------------------------------------------

    /// §11.8: in order, without gap or overlap, no longer than a burst, no more than agreed.
    fn hear_r2t(&mut self, r2t: &ReadyToTransfer, shared: &mut Shared) {
        let agreed = self.agreed.clone();
        let tag = r2t.initiator_task_tag.0;
        assert_ne!(r2t.target_transfer_tag, TargetTransferTag::RESERVED);
        let others = self.tasks.values().flat_map(|task| &task.r2ts);
        let is_used = others.into_iter().any(|other| other.target_transfer_tag == r2t.target_transfer_tag);
        assert!(!is_used, "a transfer tag names one transfer");
        let task = self.tasks.get_mut(&tag).expect("an R2T belongs to an open command");
        assert!(task.unsolicited.is_none(), "solicited before the unsolicited data came");
        assert_eq!(r2t.lun, LogicalUnitNumber::single_level(task.lun.into()));
        assert_eq!((r2t.buffer_offset as usize, r2t.r2t_sn), (task.asked, task.data_sn));
        assert!(r2t.desired_bytes > 0 && r2t.desired_bytes <= agreed.burst_bytes_max);
        task.asked += r2t.desired_bytes as usize;
        task.data_sn += 1;
        assert!(task.asked <= task.expected_out, "more than there is");
        assert!(task.r2ts.len() < agreed.outstanding_r2t_max as usize, "too many R2Ts");
        let is_full = r2t.desired_bytes == agreed.burst_bytes_max || task.asked == task.expected_out;
        assert!(is_full, "solicited in smaller pieces than agreed");
        shared.stats.r2ts_at_once = shared.stats.r2ts_at_once.max(task.r2ts.len() as u64 + 1);
        shared.stats.r2ts += 1;
        self.answer_r2t(r2t);
    }

    fn hear_data_in(&mut self, data_in: &DataIn, data: &[u8], shared: &mut Shared) {
        let agreed = &self.agreed;
        let tag = data_in.initiator_task_tag.0;
        let task = self.tasks.get_mut(&tag).expect("data belongs to an open command");
        assert!(!task.silenced, "data of a command that was aborted");
        assert_eq!((data_in.buffer_offset as usize, data_in.data_sn), (task.got.len(), task.data_sn));
        assert!(!data.is_empty() && task.got.len() + data.len() <= task.expected_in, "beyond the buffer");
        let outcome = shared.outcomes.get(&task.id).expect("data comes from the logical unit");
        let given = outcome.data_in.to_bytes();
        assert_eq!(data, &given[task.got.len()..task.got.len() + data.len()], "other data than the unit's");
        task.got.extend_from_slice(data);
        task.data_sn += 1;
        task.data_in_count += 1;
        task.burst += data.len();
        assert!(task.burst <= agreed.burst_bytes_max as usize, "a sequence is no longer than a burst");
        assert!(data_in.is_final || data.len().is_multiple_of(4), "§11.7: whole words but at the end");
        task.ended_sequence = data_in.is_final;
        let is_all = task.got.len() == given.len().min(task.expected_in);
        assert!(data_in.is_final || task.burst < agreed.burst_bytes_max as usize && !is_all, "F is missing");
        assert!(!data_in.is_final || task.burst == agreed.burst_bytes_max as usize || is_all, "F too early");
        if data_in.is_final {
            task.burst = 0;
        }
        if let Some(status) = data_in.status {
            assert!(data_in.is_final && is_all);
            let Some(task) = self.tasks.remove(&tag) else { return };
            self.check_outcome(&task, status, data_in.residual, Residual::Exact, &[], shared);
        }
    }

    fn hear_response(&mut self, response: &ScsiResponsePdu, data: &[u8], shared: &mut Shared) {
        let task = self.tasks.remove(&response.initiator_task_tag.0).expect("an open command is answered");
        assert_eq!(response.response, 0);
        assert!(task.ended_sequence, "the data has not ended");
        // §11.4.8: the number of Data-In PDUs; R2Ts have numbers of the same row (§11.7.5), and do not count.
        assert_eq!(response.exp_data_sn, task.data_in_count, "ExpDataSN");
        let read = response.bidirectional_read_residual;
        self.check_outcome(&task, response.status, response.residual, read, data, shared);
    }

    /// The end of a command is the one that the logical unit gave it.
    fn check_outcome(
        &self,
        task: &Open,
        status: u8,
        residual: Residual,
        read_residual: Residual,
        data: &[u8],
        shared: &mut Shared,
    ) {
        assert!(!task.silenced, "an aborted command is answered");
        let outcome = shared.outcomes.remove(&task.id).expect("the logical unit answers, nobody else");
        let ScsiResponse { status: given, sense, data_in, transfer_bytes } = &outcome;
        assert_eq!(status, *given, "status");
        let issued = &shared.issued[&task.id];
        assert_eq!(residual, expected_residual(issued.expected, *transfer_bytes));
        let bidirectional = issued.reads && issued.writes;
        let expected_read = u32::try_from(task.expected_in).unwrap();
        let expected =
            if bidirectional { expected_residual(expected_read, *transfer_bytes) } else { Residual::Exact };
        assert_eq!(read_residual, expected);
        assert_eq!(task.got.len(), data_in.len_bytes().min(task.expected_in), "all data came");
        if sense.is_empty() {
            assert!(data.is_empty());
        } else {
            assert_eq!(data[..2], u16::try_from(sense.len()).unwrap().to_be_bytes());
            assert_eq!(data[2..], sense[..]);
        }
        if *given == 0 {
            assert!(task.is_complete() && task.unsolicited.is_none() && task.r2ts.is_empty());
        }
        shared.stats.answered += 1;
    }

    // ---- everything else ------------------------------------------------------------------------------------

    fn hear_management(&mut self, response: &TaskManagementResponsePdu, shared: &mut Shared) {
        let tag = response.initiator_task_tag.0;
        let managing = self.managing.remove(&tag).expect("asked for");
        let is_open = |(tag, id): &&(u32, u32)| self.tasks.get(tag).is_some_and(|task| task.id == *id);
        let open: Vec<(u32, u32)> = managing.concerned.iter().filter(is_open).copied().collect();
        let has_gone = |tag: &u32| {
            let task = &self.tasks[tag];
            task.silenced || task.doomed > 0
        };
        let gone = |least| {
            let doomed = |tag: &u32| self.tasks[tag].doomed > least || self.tasks[tag].silenced;
            open.iter().all(|(tag, _)| doomed(tag))
        };
        match (managing.function, response.response) {
            // §11.6.1: complete, or no such task: it had its answer, or was aborted before.
            (1, 0) => {
                let was_aborted = managing.concerned.iter().all(|(_, id)| shared.buried.contains(id));
                assert!(open.len() == 1 || was_aborted, "a command that had its answer is aborted");
            }
            (1, 1) => assert!(gone(1), "an open command does not exist"),
            (2 | 4 | 5 | 6 | 7 | 11, 0) | (12, 0) | (3, 5) | (8, 4) | (77, 5) => {}
            (9 | 10, 0) => assert!(open.iter().all(|(tag, _)| has_gone(tag)), "an open command is not found"),
            (9 | 10, 7) => assert!(!open.is_empty(), "something is found that has gone"),
            (function, answer) => panic!("function {function} is answered with {answer}"),
        }
        if [1, 2, 4, 5, 6, 7, 11].contains(&managing.function) {
            for (tag, id) in &open {
                self.tasks.remove(tag);
                shared.bury(*id);
            }
            managing.others.iter().for_each(|id| shared.bury(*id));
        }
        if matches!(managing.function, 7 | 11) {
            // §11.5.1, RFC 7144 §6.3: a cold reset and a nexus reset end the session; the end is on its way.
            self.was_reset = true;
        }
        shared.stats.managed += 1;
    }

    fn hear_nop(&mut self, nop: &NopIn, data: &[u8]) {
        if nop.initiator_task_tag != InitiatorTaskTag::RESERVED {
            assert_eq!(nop.target_transfer_tag, TargetTransferTag::RESERVED);
            let sent = self.pings.remove(&nop.initiator_task_tag.0).expect("a ping is answered once");
            assert!(data.len() <= sent.len() && *data == sent[..data.len()], "the ping's data");
            // Cut to our limit; while that changes, to either.
            let limit = self.segment_bytes_max.min(self.agreed.transmit_segment_bytes_max) as usize;
            assert!(self.text.is_some() || data.len() == sent.len().min(limit), "all of the ping");
            return;
        }
        assert!(data.is_empty());
        if nop.target_transfer_tag != TargetTransferTag::RESERVED {
            self.answer_ping(nop.target_transfer_tag);
        }
    }

    fn hear_text(&mut self, response: &TextResponse, data: &[u8], shared: &mut Shared) {
        let Some(text) = &mut self.text else { panic!("nothing was asked") };
        assert_eq!(response.initiator_task_tag, text.tag);
        assert!(!(response.is_final && response.continues));
        assert_eq!(response.is_final, response.target_transfer_tag == TargetTransferTag::RESERVED);
        if !text.parts.is_empty() {
            assert!(data.is_empty() && !response.is_final, "an answer before the question");
            return self.continue_text(response.target_transfer_tag, shared);
        }
        text.answer.extend_from_slice(data);
        if !response.is_final {
            assert!(response.continues);
            return self.continue_text(response.target_transfer_tag, shared);
        }
        let Some(text) = self.text.take() else { return };
        let as_text = String::from_utf8_lossy;
        assert_eq!(as_text(&text.answer), as_text(&text.expected));
        self.segment_bytes_max = text.segment_bytes_max;
        self.agreed.transmit_segment_bytes_max = text.segment_bytes_max;
        shared.stats.texts += 1;
    }

    /// §11.14: what was complete before the logout has been answered.
    fn hear_logout(&mut self, response: &LogoutResponse, shared: &mut Shared) {
        let Some((tag, answer)) = self.logout.take() else { panic!("nobody logs out") };
        assert_eq!((response.initiator_task_tag.0, response.response), (tag, answer));
        assert_eq!(
            (response.time2wait, response.time2retain),
            (self.agreed.time2wait, self.agreed.time2retain)
        );
        if answer == 0 {
            let is_owed = |task: &&Open| task.is_complete() && !task.silenced && task.doomed == 0;
            assert_eq!(self.tasks.values().filter(is_owed).count(), 0, "answered after what came before");
            self.phase = Phase::Over;
            shared.stats.logouts += 1;
        }
    }

    fn hear_message(&mut self, message: &AsyncMessage) {
        let expected = self.messages.pop_front().expect("a message that somebody sent");
        let AsyncMessage { lun, event, parameter1, parameter2, parameter3, .. } = *message;
        let sequence = expected.sequence;
        assert_eq!(AsyncMessage { lun, sequence, event, parameter1, parameter2, parameter3 }, expected);
    }
}

fn tag_of(bhs: &Bhs) -> u32 {
    NopIn::parse(bhs).initiator_task_tag.0
}

/// §11.4.5.
fn expected_residual(expected: u32, transfer_bytes: u64) -> Residual {
    let expected = u64::from(expected);
    let count = u32::try_from(expected.abs_diff(transfer_bytes)).unwrap();
    match expected.cmp(&transfer_bytes) {
        std::cmp::Ordering::Equal => Residual::Exact,
        std::cmp::Ordering::Greater => Residual::Underflow(count),
        std::cmp::Ordering::Less => Residual::Overflow(count),
    }
}
