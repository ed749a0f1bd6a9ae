//! What an initiator sends beside commands and data: pings, text, logouts, task management.

use super::initiator::{Initiator, Managing, NOISE, Open, TextExchange};
use super::shared::Shared;
use crate::event::TaskManagementFunction;
use crate::names::{ConnectionId, InitiatorTaskTag, LogicalUnitNumber, TargetTransferTag};
use crate::serial::SerialNumber;
use crate::wire::*;

const MANAGING_MAX: usize = 6;

impl Initiator {
    pub(super) fn ping(&mut self, shared: &mut Shared) {
        let random = &mut shared.random;
        let immediate = random.chance(70);
        let wants_answer = random.chance(80);
        if self.pings.len() > 8 {
            return;
        }
        let tag = if wants_answer { self.tag(random) } else { InitiatorTaskTag::RESERVED };
        // §11.18.1: one that wants no answer is immediate.
        let Some(cmd_sn) = self.number(immediate || !wants_answer) else { return };
        let bytes = random.pick(&[0, 1, 5, 500, 4096]).min(self.agreed.receive_segment_bytes_max as usize);
        let data = NOISE.slice(bytes..2 * bytes);
        if wants_answer {
            self.pings.insert(tag.0, data.clone());
        }
        let nop = self.nop_out(immediate || !wants_answer, tag, TargetTransferTag::RESERVED, cmd_sn);
        note!(shared, "{} pings {tag:?} with {bytes}", self.number);
        self.send(nop.emit(), &[], &data);
    }

    fn nop_out(
        &self,
        immediate: bool,
        initiator_task_tag: InitiatorTaskTag,
        target_transfer_tag: TargetTransferTag,
        cmd_sn: SerialNumber,
    ) -> NopOut {
        let (lun, exp_stat_sn) = (LogicalUnitNumber::ZERO, self.exp_stat_sn);
        NopOut { immediate, lun, initiator_task_tag, target_transfer_tag, cmd_sn, exp_stat_sn }
    }

    pub(super) fn answer_ping(&mut self, target_transfer_tag: TargetTransferTag) {
        if self.answers_pings && self.may_ask() {
            let nop = self.nop_out(true, InitiatorTaskTag::RESERVED, target_transfer_tag, self.cmd_sn);
            self.send(nop.emit(), &[], &[]);
        }
    }

    pub(super) fn begin_text(&mut self, shared: &mut Shared) {
        if self.text.is_some() {
            return;
        }
        let random = &mut shared.random;
        let own = super::super::pair::TARGET;
        let limit = random.pick(&[512, 1024, 8192, 262_144u32]);
        let pieces: [(String, &str); 5] = [
            (format!("MaxRecvDataSegmentLength={limit}\0"), ""),
            ("X-com.example.key=1\0".to_owned(), "X-com.example.key=NotUnderstood\0"),
            ("InitiatorAlias=the model\0".to_owned(), ""),
            ("InitialR2T=Yes\0".to_owned(), "InitialR2T=Reject\0"),
            ("ErrorRecoveryLevel=0\0".to_owned(), "ErrorRecoveryLevel=Reject\0"),
        ];
        let (mut asked, mut expected) = (String::new(), String::new());
        let mut segment_bytes_max = self.agreed.transmit_segment_bytes_max;
        for (at, (pair, answer)) in pieces.iter().enumerate() {
            if random.chance(30) {
                asked.push_str(pair);
                expected.push_str(answer);
                if at == 0 {
                    segment_bytes_max = limit;
                }
            }
        }
        let scopes: &[(&str, bool)] = if self.discovery {
            &[("All", true), (own, true), ("", false)]
        } else {
            &[("", true), (own, true), ("All", true)]
        };
        if random.chance(60) {
            let (scope, is_legal) = random.pick(scopes);
            asked.push_str(&format!("SendTargets={scope}\0"));
            if !is_legal {
                expected.push_str("SendTargets=Reject\0");
            }
        }
        let tag = self.tag(random);
        let parts = random.cut(asked.as_bytes()).into();
        note!(shared, "{} text {asked:?}", self.number);
        self.segment_bytes_max = self.segment_bytes_max.max(segment_bytes_max);
        let expected = expected.into_bytes();
        self.text = Some(TextExchange { tag, parts, answer: Vec::new(), expected, segment_bytes_max });
        self.continue_text(TargetTransferTag::RESERVED, shared);
    }

    /// Sends the next part, or an empty request for the rest of the answer.
    pub(super) fn continue_text(&mut self, target_transfer_tag: TargetTransferTag, shared: &mut Shared) {
        let wants_number = shared.random.chance(50) && self.window_is_open();
        let Some(cmd_sn) = self.number(!wants_number) else { return };
        let Some(text) = &mut self.text else { return };
        let part = text.parts.pop_front().unwrap_or_default();
        let continues = !text.parts.is_empty();
        let request = TextRequest {
            immediate: !wants_number,
            is_final: !continues,
            continues,
            lun: LogicalUnitNumber::ZERO,
            initiator_task_tag: text.tag,
            target_transfer_tag,
            cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
        };
        self.send(request.emit(), &[], &part);
    }

    pub(super) fn log_out(&mut self, shared: &mut Shared) {
        if self.delayed.is_some() {
            return;
        }
        let random = &mut shared.random;
        let immediate = random.chance(30);
        let cid = self.login.base.connection_id;
        let (reason, connection_id, answer) =
            random.pick(&[(0, cid, 0), (0, cid, 0), (1, cid, 0), (1, ConnectionId(0x777), 1), (2, cid, 2)]);
        let tag = self.tag(random);
        let Some(cmd_sn) = self.number(immediate) else { return };
        let request = LogoutRequest {
            immediate,
            reason,
            initiator_task_tag: tag,
            connection_id,
            cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
        };
        note!(shared, "{} logs out {tag:?}: reason {reason}", self.number);
        self.logs_out |= answer == 0;
        self.logout = Some((tag.0, answer));
        self.send(request.emit(), &[], &[]);
    }

    // ---- task management ------------------------------------------------------------------------------------

    pub(super) fn manage(&mut self, shared: &mut Shared) {
        if self.managing.len() >= MANAGING_MAX {
            return;
        }
        let random = &mut shared.random;
        let function = random.pick(&[1, 1, 1, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 9, 9, 10, 11, 12, 77]);
        let ends_session = matches!(
            TaskManagementFunction::from_code(function),
            Some(TaskManagementFunction::TargetColdReset | TaskManagementFunction::ITNexusReset)
        );
        if ends_session && random.chance(70) {
            return;
        }
        let lun = u8::try_from(random.below(2)).unwrap();
        let is_one = function == 1 || function == 9;
        let tags: Vec<u32> = self.tasks.keys().copied().collect();
        let referenced = if is_one && !tags.is_empty() { Some(random.pick(&tags)) } else { None };
        let lun = referenced.map_or(lun, |tag| self.tasks[&tag].lun);
        let is_delayed = referenced.is_some_and(|tag| self.tasks[&tag].is_delayed);
        // §11.5.1: what has a lower CmdSN is meant too, and a legal initiator has sent that. ABORT TASK of a command
        // that is late is the exception.
        if self.delayed.is_some() && !(function == 1 && is_delayed) || is_one && referenced.is_none() {
            return;
        }
        let immediate = random.chance(70);
        let tag = self.tag(random);
        let Some(cmd_sn) = self.number(immediate) else { return };
        let request = TaskManagementRequestPdu {
            immediate,
            function,
            lun: LogicalUnitNumber::single_level(lun.into()),
            initiator_task_tag: tag,
            referenced_task_tag: referenced.map_or(InitiatorTaskTag::RESERVED, InitiatorTaskTag),
            cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            ref_cmd_sn: referenced.map_or(SerialNumber(0), |tag| self.tasks[&tag].cmd_sn),
            exp_data_sn: 0,
        };
        let aborts = [1, 2, 4, 5, 6, 7, 11].contains(&function);
        let is_meant = |other: u32, task: &Open| match function {
            1 | 9 => Some(other) == referenced,
            6 | 7 | 11 => true,
            _ => task.lun == lun,
        };
        let mut concerned = Vec::new();
        for (other, task) in self.tasks.iter_mut().filter(|(tag, task)| is_meant(**tag, task)) {
            concerned.push((*other, task.id));
            task.doomed += usize::from(aborts);
        }
        note!(
            shared,
            "{} manages {tag:?} {cmd_sn:?}: function {function} lun {lun} concerns {concerned:?}",
            self.number
        );
        self.managing.insert(tag.0, Managing { function, concerned, others: Vec::new() });
        self.send(request.emit(), &[], &[]);
    }
}
