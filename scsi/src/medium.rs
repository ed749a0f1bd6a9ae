//! Commands that move or look at blocks (SBC-3).

use bytes::Bytes;

use crate::cdb::{data_len, gather};
use crate::command::{ByteCheck, Command, Transfer};
use crate::limits::{
    ATOMIC_BYTES_MAX, ATOMIC_UNIT_BYTES, COMPARE_AND_WRITE_BLOCKS_MAX, PREFETCH_BYTES_MAX,
    TRANSFER_BYTES_MAX, VERIFY_BYTES_MAX, WRITE_SAME_BYTES_MAX,
};
use crate::response::Response;
use crate::sense::{Asc, Sense, SenseKey};
use crate::task::{Action, Compare, Completion, Plan, Range, Task};
use crate::unit::{Decision, LogicalUnit, Refusal};

impl LogicalUnit {
    pub(crate) fn read(&self, transfer: Transfer) -> Decision {
        let range = self.limited(transfer, TRANSFER_BYTES_MAX)?;
        if range.len == 0 {
            return Ok(Plan::Done(Response::good()));
        }
        Ok(self.perform(Action::Read { range, fua: transfer.fua }, 0))
    }

    pub(crate) fn write(&self, transfer: Transfer, data_out: &[Bytes]) -> Decision {
        let range = self.limited(transfer, TRANSFER_BYTES_MAX)?;
        let fua = self.through(transfer);
        self.with_what_came(range, data_out, |range| Action::Write { range, fua })
    }

    /// WRITE ATOMIC(16) (SBC-4). No boundaries: the table refuses a nonzero ATOMIC BOUNDARY.
    pub(crate) fn write_atomic(&self, transfer: Transfer, data_out: &[Bytes]) -> Decision {
        let range = self.limited(transfer, ATOMIC_BYTES_MAX)?;
        if !(range.offset | range.len).is_multiple_of(ATOMIC_UNIT_BYTES) {
            return Err(Sense::illegal(Asc::INVALID_FIELD_IN_CDB).into());
        }
        self.with_data(range.len, data_out, Action::WriteAtomic { range, fua: self.through(transfer) })
    }

    pub(crate) fn orwrite(&self, transfer: Transfer, data_out: &[Bytes]) -> Decision {
        let range = self.limited(transfer, TRANSFER_BYTES_MAX)?;
        self.with_data(range.len, data_out, Action::OrWrite { range, fua: self.through(transfer) })
    }

    pub(crate) fn write_and_verify(
        &self,
        transfer: Transfer,
        check: ByteCheck,
        data_out: &[Bytes],
    ) -> Decision {
        let compare = match check {
            ByteCheck::MediumOnly => false,
            ByteCheck::DataOut => true,
            ByteCheck::Reserved | ByteCheck::OneBlock => return Err(Sense::cdb_field(1, Some(2)).into()),
        };
        let range = self.limited(transfer, TRANSFER_BYTES_MAX)?;
        self.with_what_came(range, data_out, |range| Action::WriteAndVerify { range, compare })
    }

    /// VERIFY (SBC-3): against data-out, one block of it, or only that the medium can be read.
    pub(crate) fn verify(&self, lba: u64, blocks: u32, check: ByteCheck, data_out: &[Bytes]) -> Decision {
        let transfer = Transfer { lba, blocks, fua: false };
        match check {
            ByteCheck::MediumOnly => {
                let range = self.limited(transfer, VERIFY_BYTES_MAX)?;
                if range.len == 0 {
                    return Ok(Plan::Done(Response::good()));
                }
                Ok(self.perform(Action::Verify { range, compare: Compare::Nothing }, 0))
            }
            ByteCheck::DataOut => {
                let range = self.limited(transfer, TRANSFER_BYTES_MAX)?;
                self.with_data(range.len, data_out, Action::Verify { range, compare: Compare::DataOut })
            }
            ByteCheck::OneBlock => {
                let range = self.limited(transfer, VERIFY_BYTES_MAX)?;
                if range.len == 0 {
                    return Ok(Plan::Done(Response::good()));
                }
                let block = self.one_block(data_out)?;
                let action = Action::Verify { range, compare: Compare::Block(block) };
                Ok(self.perform(action, self.block_len()))
            }
            ByteCheck::Reserved => Err(Sense::cdb_field(1, Some(2)).into()),
        }
    }

    /// COMPARE AND WRITE (SBC-3): data-out is what is expected, then what is to be written.
    pub(crate) fn compare_and_write(&self, transfer: Transfer, data_out: &[Bytes]) -> Decision {
        let bytes_max = u64::from(COMPARE_AND_WRITE_BLOCKS_MAX) * self.block_len();
        let range = self.limited(transfer, bytes_max)?;
        if data_len(data_out) != range.len * 2 {
            return Err(Sense::cdb_field(13, None).into());
        }
        if range.len == 0 {
            return Ok(Plan::Done(Response::good()));
        }
        Ok(self.perform(Action::CompareAndWrite { range, fua: self.through(transfer) }, range.len * 2))
    }

    /// WRITE SAME: a NUMBER OF LOGICAL BLOCKS of zero is refused (WSNZ), since "to the end" has no bound. A block of zeros
    /// needs no writing; any other one is written even with UNMAP=1, since with LBPRZ=1 a deallocated block could
    /// not read back as it.
    pub(crate) fn write_same(&self, command: Command, data_out: &[Bytes]) -> Decision {
        let Command::WriteSame { lba, blocks, unmap, anchor, no_data } = command else {
            return Err(Sense::new(SenseKey::HardwareError, Asc::INTERNAL_TARGET_FAILURE).into());
        };
        if anchor {
            return Err(Sense::cdb_field(1, Some(4)).into());
        }
        let range = self.limited(Transfer { lba, blocks, fua: false }, WRITE_SAME_BYTES_MAX)?;
        if range.len == 0 {
            return Err(Sense::illegal(Asc::INVALID_FIELD_IN_CDB).into());
        }
        if no_data {
            return Ok(self.perform(Action::Zero { range, deallocate: unmap }, 0));
        }
        // Linux and QEMU unmap with no data-out at all where they may; zeros are meant then.
        let block = match self.one_block(data_out) {
            Ok(block) => block,
            Err(_) if unmap && data_out.is_empty() => {
                return Ok(self.perform(Action::Zero { range, deallocate: true }, 0));
            }
            Err(refusal) => return Err(refusal),
        };
        let action = if block.iter().all(|&b| b == 0) {
            Action::Zero { range, deallocate: unmap }
        } else {
            Action::WriteSame { range, block }
        };
        Ok(self.perform(action, self.block_len()))
    }

    /// SYNCHRONIZE CACHE (SBC-3): a part is flushed with the whole; NUMBER OF LOGICAL BLOCKS of zero is to the end.
    pub(crate) fn synchronize_cache(&self, lba: u64, blocks: u32) -> Decision {
        self.range(lba, u64::from(blocks))?;
        Ok(self.flush())
    }

    pub(crate) fn flush(&self) -> Plan {
        self.perform(Action::Flush, 0)
    }

    /// PRE-FETCH (SBC-3): GOOD rather than CONDITION MET, since there is no promise to keep.
    pub(crate) fn prefetch(&self, lba: u64, blocks: u32) -> Decision {
        let mut range = self.range(lba, u64::from(blocks))?;
        range.len = range.len.min(PREFETCH_BYTES_MAX);
        if range.len == 0 {
            return Ok(Plan::Done(Response::good()));
        }
        Ok(self.perform(Action::Prefetch { range }, 0))
    }

    /// Whether a write must be durable before its answer: it says so, or there is no write cache.
    fn through(&self, transfer: Transfer) -> bool {
        transfer.fua || !self.mode.write_cache()
    }

    /// The bytes of these blocks, or LBA OUT OF RANGE.
    pub(crate) fn range(&self, lba: u64, blocks: u64) -> Result<Range, Sense> {
        let in_range = lba.checked_add(blocks).is_some_and(|end| end <= self.blocks);
        if !in_range {
            return Err(Sense::illegal(Asc::LBA_OUT_OF_RANGE));
        }
        let shift = self.config.block_size.shift();
        Ok(Range { offset: lba << shift, len: blocks << shift })
    }

    /// The range of a transfer that may not be longer than advertised.
    fn limited(&self, transfer: Transfer, bytes_max: u64) -> Result<Range, Sense> {
        let range = self.range(transfer.lba, u64::from(transfer.blocks))?;
        if range.len > bytes_max {
            return Err(Sense::illegal(Asc::INVALID_FIELD_IN_CDB));
        }
        Ok(range)
    }

    /// A write whose initiator offered less data than the command's length: the whole blocks that came are written and
    /// the rest is the overflow residual. Part of a block cannot be written, and then nothing is.
    fn with_what_came(&self, range: Range, data_out: &[Bytes], action: impl Fn(Range) -> Action) -> Decision {
        let len = range.len.min(data_len(data_out));
        if !len.is_multiple_of(self.block_len()) {
            return Err(Refusal::DataOutLength { transfer_bytes: range.len });
        }
        if len == 0 {
            return Ok(Plan::Done(Response::consumed(range.len)));
        }
        Ok(self.perform(action(Range { len, ..range }), range.len))
    }

    /// A command that takes exactly `len` bytes of data-out; more is left over, less is refused untouched
    /// (as FCP-4 has it, the choice that never writes part of a command).
    fn with_data(&self, len: u64, data_out: &[Bytes], action: Action) -> Decision {
        if data_len(data_out) < len {
            return Err(Refusal::DataOutLength { transfer_bytes: len });
        }
        if len == 0 {
            return Ok(Plan::Done(Response::good()));
        }
        Ok(self.perform(action, len))
    }

    /// The one block of data-out of WRITE SAME and of VERIFY with BYTCHK 11b.
    fn one_block(&self, data_out: &[Bytes]) -> Result<Bytes, Refusal> {
        let len = self.block_len();
        if data_len(data_out) != len {
            return Err(Refusal::DataOutLength { transfer_bytes: len });
        }
        Ok(gather(data_out, usize::try_from(len).unwrap_or(usize::MAX)))
    }

    pub(crate) fn block_len(&self) -> u64 {
        u64::from(self.config.block_size.bytes())
    }

    pub(crate) fn perform(&self, action: Action, data_out_bytes: u64) -> Plan {
        Plan::Perform(self.task(action, data_out_bytes))
    }

    pub(crate) fn task(&self, action: Action, data_out_bytes: u64) -> Task {
        let completion = Completion {
            data_out_bytes,
            allocation: 0,
            lba: 0,
            block_shift: self.config.block_size.shift(),
            format: self.sense_format(),
        };
        Task { action, completion }
    }
}
