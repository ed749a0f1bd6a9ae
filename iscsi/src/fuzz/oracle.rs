//! Reads what the target sends, and holds it against the protocol: framing, numbers, tags, lengths.

use crate::names::{InitiatorTaskTag, TargetTransferTag};
use crate::serial::SerialNumber;
use crate::text::Parameters;
use crate::wire::{DataIn, Deframer, LoginResponse, NopIn, Opcode, Pdu, ReadyToTransfer, Sequence};
use bytes::BytesMut;
use std::collections::VecDeque;

/// The initiator's ear.
pub(super) struct Oracle {
    received: BytesMut,
    deframer: Deframer,
    last: Option<Sequence>,
    /// R2Ts that wait for an answer.
    pub(super) r2ts: VecDeque<ReadyToTransfer>,
    /// Tag of the last text response that wants to be continued.
    pub(super) text_tag: TargetTransferTag,
    pub(super) logins: Vec<(LoginResponse, Vec<u8>)>,
    data_sn: Vec<(InitiatorTaskTag, u32, u32)>,
}

const R2TS_MAX: usize = 64;

impl Oracle {
    pub(super) fn new() -> Self {
        Self {
            received: BytesMut::new(),
            deframer: Deframer { header_digest: false, data_digest: false, segment_bytes_max: 8192 },
            last: None,
            r2ts: VecDeque::new(),
            text_tag: TargetTransferTag::RESERVED,
            logins: Vec::new(),
            data_sn: Vec::new(),
        }
    }

    /// The last response of a login is out: from now on framing is as agreed.
    pub(super) fn enter_full_feature(&mut self, agreed: &Parameters) {
        self.deframer.header_digest = agreed.header_digest;
        self.deframer.data_digest = agreed.data_digest;
        self.deframer.segment_bytes_max = agreed.transmit_segment_bytes_max as usize;
    }

    /// The peer declares another MaxRecvDataSegmentLength; what is queued may still be as long as before.
    pub(super) fn segments_may_be(&mut self, agreed: &Parameters) {
        let now = agreed.transmit_segment_bytes_max as usize;
        self.deframer.segment_bytes_max = self.deframer.segment_bytes_max.max(now);
    }

    pub(super) fn hear(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// Looks at every PDU that is there.
    pub(super) fn listen(&mut self) {
        loop {
            match self.deframer.next(&mut self.received) {
                Ok(Some(pdu)) => self.check(&pdu),
                Ok(None) => return,
                Err(error) => unreachable!("the target's own stream is broken: {error}"),
            }
        }
    }

    pub(super) fn is_between_pdus(&self) -> bool {
        self.received.is_empty()
    }

    fn check(&mut self, pdu: &Pdu) {
        let opcode = Opcode::of(&pdu.bhs);
        assert!(pdu.data_is_intact && pdu.ahs.is_empty(), "{opcode:?}");
        let nop = NopIn::parse(&pdu.bhs);
        let data_in = DataIn::parse(&pdu.bhs);
        let uses_stat_sn = match opcode {
            Opcode::DataIn => data_in.status.is_some(),
            Opcode::ReadyToTransfer => false,
            Opcode::NopIn => nop.initiator_task_tag != InitiatorTaskTag::RESERVED,
            Opcode::ScsiResponse
            | Opcode::TaskManagementResponse
            | Opcode::LoginResponse
            | Opcode::TextResponse
            | Opcode::LogoutResponse
            | Opcode::AsyncMessage
            | Opcode::Reject => true,
            _ => unreachable!("a target sends {opcode:?}"),
        };
        if opcode == Opcode::LoginResponse {
            // Until the session is there, the window is where the last login request had its CmdSN.
            self.last = self.last.map(|last| Sequence { stat_sn: last.stat_sn, ..nop.sequence });
        }
        self.check_numbers(nop.sequence, uses_stat_sn, uses_stat_sn || opcode != Opcode::DataIn);
        match opcode {
            Opcode::DataIn => self.check_data_in(&data_in, pdu.data.len()),
            Opcode::ReadyToTransfer => self.take_r2t(&ReadyToTransfer::parse(&pdu.bhs)),
            Opcode::ScsiResponse => self.data_sn.retain(|(tag, ..)| *tag != nop.initiator_task_tag),
            Opcode::TextResponse => self.text_tag = nop.target_transfer_tag,
            Opcode::LoginResponse => self.logins.push((LoginResponse::parse(&pdu.bhs), pdu.data.to_vec())),
            _ => {}
        }
    }

    /// §4.2.2: StatSN has no gaps, ExpCmdSN and MaxCmdSN never move back.
    fn check_numbers(&mut self, sequence: Sequence, uses_stat_sn: bool, carries_stat_sn: bool) {
        let mut stat_sn = sequence.stat_sn;
        if let Some(last) = self.last {
            if carries_stat_sn {
                assert_eq!(sequence.stat_sn, last.stat_sn, "StatSN");
            }
            stat_sn = last.stat_sn;
            assert!(!sequence.exp_cmd_sn.is_before(last.exp_cmd_sn), "ExpCmdSN moves back");
            assert!(!sequence.max_cmd_sn.is_before(last.max_cmd_sn), "MaxCmdSN moves back");
        }
        assert!(!sequence.max_cmd_sn.is_before(sequence.exp_cmd_sn.sub(1)), "MaxCmdSN below ExpCmdSN - 1");
        if uses_stat_sn {
            stat_sn = stat_sn.next();
        }
        self.last = Some(Sequence { stat_sn, ..sequence });
    }

    /// §11.7: DataSN and offset go on from PDU to PDU; each command begins with both at zero.
    fn check_data_in(&mut self, data_in: &DataIn, bytes: usize) {
        assert!(bytes > 0 && data_in.target_transfer_tag == TargetTransferTag::RESERVED);
        let tag = data_in.initiator_task_tag;
        let at = self.data_sn.iter().position(|(other, ..)| *other == tag);
        let (expected_sn, expected_offset) = at.map_or((0, 0), |at| (self.data_sn[at].1, self.data_sn[at].2));
        // The first of a command may be numbered from zero although there is an R2T: the tag is another command's by now.
        let begins = data_in.data_sn == 0 && data_in.buffer_offset == 0;
        let goes_on = (data_in.data_sn, data_in.buffer_offset) == (expected_sn, expected_offset);
        assert!(begins || goes_on, "{tag:?}: {data_in:?}");
        let end = data_in.buffer_offset + u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Some(at) = at {
            self.data_sn.swap_remove(at);
        }
        if data_in.status.is_some() {
            assert!(data_in.is_final, "status rides on a Data-In that is not final");
        } else {
            self.data_sn.push((tag, data_in.data_sn + 1, end));
        }
    }

    fn take_r2t(&mut self, r2t: &ReadyToTransfer) {
        assert!(r2t.desired_bytes > 0 && r2t.target_transfer_tag != TargetTransferTag::RESERVED);
        // R2Ts of a command count from zero without gaps, and its Data-In goes on from there.
        let tag = r2t.initiator_task_tag;
        match self.data_sn.iter_mut().find(|(other, ..)| *other == tag) {
            Some(entry) => {
                assert!(r2t.r2t_sn == 0 || r2t.r2t_sn == entry.1, "R2TSN of {tag:?}");
                *entry = (tag, r2t.r2t_sn + 1, 0);
            }
            None => {
                assert_eq!(r2t.r2t_sn, 0, "R2TSN of {tag:?}");
                self.data_sn.push((tag, 1, 0));
            }
        }
        if self.r2ts.len() == R2TS_MAX {
            self.r2ts.pop_front();
        }
        self.r2ts.push_back(*r2t);
    }

    pub(super) fn expected_stat_sn(&self) -> SerialNumber {
        self.last.map_or(SerialNumber(0), |last| last.stat_sn)
    }
}
