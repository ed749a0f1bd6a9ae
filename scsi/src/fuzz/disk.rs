//! A medium in memory that does what a plan says, and refuses a plan that reaches beyond it.

use crate::task::{Action, Compare, Failure, Outcome, Range, Sanitize, StatusRun, Task};
use bytes::Bytes;

/// What is on the medium before anybody wrote; no answer but of a READ may hold a run of it.
pub(super) const CANARY: u8 = 0xC9;
/// What initiators send, where they do not say.
pub(super) const SENT: u8 = 0x9C;

pub(super) struct Disk {
    bytes: Vec<u8>,
    block: u64,
}

impl Disk {
    pub(super) fn new(blocks: u64, block: u64) -> Self {
        let bytes = usize::try_from(blocks * block).unwrap_or(0);
        Self { bytes: vec![CANARY; bytes], block }
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn grow(&mut self, blocks: u64) {
        let more = usize::try_from(blocks * self.block).unwrap_or(0);
        self.bytes.resize(self.bytes.len() + more, CANARY);
    }

    fn part(&mut self, range: Range) -> &mut [u8] {
        assert!(range.offset.is_multiple_of(self.block) && range.len.is_multiple_of(self.block), "{range:?}");
        let size = self.bytes.len();
        let ends = usize::try_from(range.offset).ok().zip(usize::try_from(range.len).ok());
        let part = ends.and_then(|(from, len)| self.bytes.get_mut(from..from.checked_add(len)?));
        let Some(part) = part else { unreachable!("{range:?} is not on a medium of {size} bytes") };
        part
    }

    /// Does the work. `fault` makes some of it fail.
    pub(super) fn perform(&mut self, task: &Task, data_out: &[u8], fault: u8) -> Outcome {
        if let Some(failure) = failure(fault) {
            return Outcome::Failed(failure);
        }
        let wanted = |range: Range| {
            let len = usize::try_from(range.len).unwrap_or(usize::MAX);
            let Some(data) = data_out.get(..len) else {
                unreachable!("{range:?} wants data that did not come")
            };
            data
        };
        match &task.action {
            Action::Read { range, .. } => return Outcome::Data(Bytes::copy_from_slice(self.part(*range))),
            Action::Write { range, .. }
            | Action::WriteAtomic { range, .. }
            | Action::WriteAndVerify { range, .. } => {
                self.part(*range).copy_from_slice(wanted(*range));
            }
            Action::OrWrite { range, .. } => {
                self.part(*range).iter_mut().zip(wanted(*range)).for_each(|(to, from)| *to |= from);
            }
            Action::WriteSame { range, block } => self.fill(*range, block),
            Action::Zero { range, .. } => self.part(*range).fill(0),
            Action::Unmap { ranges } => ranges.iter().for_each(|range| self.part(*range).fill(0)),
            Action::CompareAndWrite { range, .. } => {
                let both = wanted(Range { len: range.len * 2, ..*range });
                let (expected, new) = both.split_at(both.len() / 2);
                if let Some(offset) = difference(self.part(*range), expected) {
                    return Outcome::Miscompare { offset };
                }
                self.part(*range).copy_from_slice(new);
            }
            Action::Verify { range, compare } => {
                let block = usize::try_from(self.block).unwrap_or(usize::MAX);
                let part = self.part(*range);
                let differs = match compare {
                    Compare::Nothing => None,
                    Compare::DataOut => difference(part, wanted(*range)),
                    Compare::Block(pattern) => part.chunks(block).find_map(|part| difference(part, pattern)),
                };
                if let Some(offset) = differs {
                    return Outcome::Miscompare { offset };
                }
            }
            Action::Prefetch { range } => drop(self.part(*range).len()),
            Action::BlockStatus { range, descriptors_max } => {
                let blocks = self.part(*range).len() as u64 / self.block;
                let run = |at: u64| StatusRun { len: self.block, mapped: at.is_multiple_of(2) };
                return Outcome::BlockStatus((0..blocks).map(run).take(*descriptors_max).collect());
            }
            Action::Sanitize { method, .. } => {
                let all = Range { offset: 0, len: self.size_bytes() };
                match method {
                    Sanitize::Overwrite { block } => self.fill(all, block),
                    Sanitize::BlockErase => self.part(all).fill(0),
                }
            }
            Action::Copy { segments } => {
                for (from, to) in segments {
                    let data = self.part(*from).to_vec();
                    self.part(Range { offset: *to, len: from.len }).copy_from_slice(&data);
                }
            }
            Action::Flush | Action::Quiesce { .. } | Action::SaveReservations => {}
        }
        Outcome::Done
    }

    fn fill(&mut self, range: Range, block: &[u8]) {
        assert_eq!(block.len() as u64, self.block);
        self.part(range).chunks_mut(block.len()).for_each(|part| part.copy_from_slice(block));
    }
}

fn difference(a: &[u8], b: &[u8]) -> Option<u64> {
    a.iter().zip(b).position(|(a, b)| a != b).map(|at| at as u64)
}

fn failure(fault: u8) -> Option<Failure> {
    Some(match fault {
        0xf0 => Failure::Busy,
        0xf1 => Failure::NoSpace,
        0xf2 => Failure::Corrupt { offset: 4096 },
        0xf3 => Failure::ReadError { offset: 512 },
        0xf4 => Failure::WriteError,
        0xf5 => Failure::ReadOnly,
        0xf6 => Failure::Internal,
        _ => return None,
    })
}
