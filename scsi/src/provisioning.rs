//! Thin provisioning: UNMAP and GET LBA STATUS (SBC-3).

use bytes::{BufMut, Bytes};

use crate::cdb::{be_u16, be_u32, be_u64, data_len, gather};
use crate::emit;
use crate::limits::{
    LBA_STATUS_DESCRIPTORS_MAX, PARAMETER_LIST_BYTES_MAX, UNMAP_BYTES_MAX, UNMAP_DESCRIPTORS_MAX,
};
use crate::response::Response;
use crate::sense::{Asc, Sense};
use crate::task::{Action, Completion, Plan, Range, StatusRun};
use crate::unit::{Decision, LogicalUnit};

const UNMAP_HEADER_LEN: usize = 8;
const UNMAP_DESCRIPTOR_LEN: usize = 16;
const LBA_STATUS_HEADER_LEN: usize = 8;
const LBA_STATUS_DESCRIPTOR_LEN: usize = 16;

/// PROVISIONING STATUS of an LBA status descriptor.
const MAPPED: u8 = 0x0;
const DEALLOCATED: u8 = 0x1;

impl LogicalUnit {
    /// UNMAP (SBC-3). No descriptor is not an error; ANCHOR needs anchored blocks, of which there are none.
    pub(crate) fn unmap(&self, anchor: bool, length: usize, data_out: &[Bytes]) -> Decision {
        if anchor {
            return Err(Sense::cdb_field(1, Some(0)).into());
        }
        if length == 0 {
            return Ok(Plan::Done(Response::good()));
        }
        if !(UNMAP_HEADER_LEN..=PARAMETER_LIST_BYTES_MAX).contains(&length)
            || data_len(data_out) < length as u64
        {
            return Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR).into());
        }
        let list = gather(data_out, length);
        let ranges = self.unmap_ranges(&list)?;
        if ranges.is_empty() {
            return Ok(Plan::Done(Response::consumed(length as u64)));
        }
        Ok(self.perform(Action::Unmap { ranges }, length as u64))
    }

    fn unmap_ranges(&self, list: &[u8]) -> Result<Vec<Range>, Sense> {
        let descriptors_len = usize::from(be_u16(list, 2)).min(list.len() - UNMAP_HEADER_LEN);
        let descriptors = list.get(UNMAP_HEADER_LEN..).unwrap_or_default();
        let descriptors = descriptors.get(..descriptors_len).unwrap_or_default();
        if descriptors_len / UNMAP_DESCRIPTOR_LEN > usize::from(UNMAP_DESCRIPTORS_MAX) {
            return Err(Sense::parameter_field(2));
        }
        let mut ranges = Vec::with_capacity(descriptors_len / UNMAP_DESCRIPTOR_LEN);
        let mut total = 0;
        for descriptor in descriptors.chunks_exact(UNMAP_DESCRIPTOR_LEN) {
            let range = self.range(be_u64(descriptor, 0), u64::from(be_u32(descriptor, 8)))?;
            total += range.len;
            if range.len != 0 {
                ranges.push(range);
            }
        }
        if total > UNMAP_BYTES_MAX {
            return Err(Sense::parameter_field(16));
        }
        Ok(ranges)
    }

    /// GET LBA STATUS (SBC-3): from the LBA asked for to as far as the allocation length has room.
    pub(crate) fn get_lba_status(&self, lba: u64, allocation: usize) -> Decision {
        if lba >= self.blocks {
            return Err(Sense::illegal(Asc::LBA_OUT_OF_RANGE).into());
        }
        let room = allocation.saturating_sub(LBA_STATUS_HEADER_LEN) / LBA_STATUS_DESCRIPTOR_LEN;
        let descriptors_max = room.clamp(1, LBA_STATUS_DESCRIPTORS_MAX);
        let range = self.range(lba, self.blocks - lba)?;
        let mut task = self.task(Action::BlockStatus { range, descriptors_max }, 0);
        task.completion.allocation = allocation;
        task.completion.lba = lba;
        Ok(Plan::Perform(task))
    }
}

/// The answer to GET LBA STATUS.
pub(crate) fn lba_status(runs: &[StatusRun], completion: &Completion) -> Bytes {
    let mut data = vec![0; LBA_STATUS_HEADER_LEN];
    let mut lba = completion.lba;
    for run in runs.iter().take(LBA_STATUS_DESCRIPTORS_MAX) {
        let blocks = u32::try_from(run.len >> completion.block_shift).unwrap_or(u32::MAX);
        data.put_u64(lba);
        data.put_u32(blocks);
        data.put_u8(if run.mapped { MAPPED } else { DEALLOCATED });
        data.put_bytes(0, 3);
        lba += u64::from(blocks);
    }
    emit::set_length32(&mut data, 0, 4);
    emit::truncated(data, completion.allocation)
}
