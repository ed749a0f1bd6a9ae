//! SANITIZE (SBC-3). What is erased is the volume's own overlay, never the golden image under it.

use bytes::Bytes;

use crate::cdb::{be_u8, be_u16, data_len, gather};
use crate::response::Response;
use crate::sense::{Asc, Sense};
use crate::task::{Action, Plan, Sanitize};
use crate::unit::{Decision, LogicalUnit, MediumState};

const OVERWRITE: u8 = 0x01;
const BLOCK_ERASE: u8 = 0x02;
const CRYPTOGRAPHIC_ERASE: u8 = 0x03;

/// Header of the overwrite parameter list.
const HEADER_LEN: usize = 4;

impl LogicalUnit {
    pub(crate) fn sanitize(
        &mut self,
        action: u8,
        immediate: bool,
        length: usize,
        data_out: &[Bytes],
    ) -> Decision {
        let method = match action {
            OVERWRITE => Sanitize::Overwrite { block: self.overwrite_block(length, data_out)? },
            // Every block of the overlay is deallocated: there is no key to throw away, and nothing left to read.
            BLOCK_ERASE | CRYPTOGRAPHIC_ERASE if length == 0 => Sanitize::BlockErase,
            EXIT_FAILURE_MODE if length == 0 => {
                self.medium_state = MediumState::Ready;
                return Ok(Plan::Done(Response::good()));
            }
            _ => return Err(Sense::cdb_field(7, Some(7)).into()),
        };
        self.medium_state = MediumState::Sanitizing;
        Ok(self.perform(Action::Sanitize { method, immediate }, length as u64))
    }

    /// The initialization pattern (SBC-3), repeated to one logical block.
    fn overwrite_block(&self, length: usize, data_out: &[Bytes]) -> Result<Bytes, Sense> {
        const INVERT: u8 = 0x80;
        const COUNT: u8 = 0x1F;
        let block_len = usize::try_from(self.block_len()).unwrap_or(usize::MAX);
        if length <= HEADER_LEN || length > HEADER_LEN + block_len {
            return Err(Sense::cdb_field(7, Some(7)));
        }
        if data_len(data_out) < length as u64 {
            return Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
        }
        let list = gather(data_out, length);
        let pattern_len = usize::from(be_u16(&list, 2));
        if be_u8(&list, 0) & COUNT == 0 {
            return Err(Sense::parameter_field(0));
        }
        let pattern = match list.get(HEADER_LEN..HEADER_LEN + pattern_len) {
            Some(pattern) if !pattern.is_empty() => pattern,
            _ => return Err(Sense::parameter_field(2)),
        };
        // With an even number of passes the last one of INVERT leaves the complement.
        let passes = be_u8(&list, 0) & COUNT;
        let inverted = be_u8(&list, 0) & INVERT != 0 && passes.is_multiple_of(2);
        let flip = if inverted { 0xFF } else { 0x00 };
        Ok(pattern.iter().cycle().take(block_len).map(|byte| byte ^ flip).collect())
    }
}

const EXIT_FAILURE_MODE: u8 = 0x1F;
