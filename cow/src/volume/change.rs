//! Changing: write, trim, compare and write. The top layer's guard is held from the decision to the change, so
//! that a block of which only a part is written, or which is compared first, cannot change in between.

use super::{Stack, Volume, read::lba};
use crate::{
    disk::Wait,
    error::{Error, Kind, Result},
    layer::WriteGuard,
    limits::{BLOCK_BYTES, BLOCK_LEN, RECORD_BLOCKS_MAX, SECTOR_BYTES},
};

/// Bytes of the largest write that is atomic across a crash.
pub const ATOMIC_BYTES_MAX: u64 = RECORD_BLOCKS_MAX as u64 * BLOCK_BYTES;

impl Volume {
    /// Writes `data`, one slice after the other, from `offset` on. Once it returns, the bytes survive a kill of
    /// the process; once a later [`Volume::flush`] returns, they survive a power cut.
    ///
    /// With [`Wait::No`] it fails with [`Kind::WouldBlock`], with nothing changed, where a block of which only a
    /// part is written would have to be read from a disk first, or where the volume is overwritten faster than dead
    /// blocks are given back. So does every call that changes the volume.
    pub fn write(&self, offset: u64, data: &[&[u8]], wait: Wait) -> Result<()> {
        let bytes = data.iter().map(|slice| slice.len() as u64).sum();
        self.check_range(offset, bytes)?;
        self.changing(wait, |stack, guard| {
            self.check_quota(stack, bytes)?;
            if offset.is_multiple_of(BLOCK_BYTES) && bytes.is_multiple_of(BLOCK_BYTES) {
                return write_blocks(guard, lba(offset)?, data);
            }
            let whole = stack.widen(offset, bytes, data, wait)?;
            write_blocks(guard, lba(offset)?, &[&whole])
        })
    }

    /// Writes at most [`ATOMIC_BYTES_MAX`] bytes so that after a crash all of them are new or none is.
    pub fn write_atomic(&self, offset: u64, data: &[&[u8]], wait: Wait) -> Result<()> {
        let bytes: u64 = data.iter().map(|slice| slice.len() as u64).sum();
        let blocks = (offset + bytes).div_ceil(BLOCK_BYTES).saturating_sub(offset / BLOCK_BYTES);
        if blocks > self.stack().top.blocks_max() as u64 {
            return Err(Error::new(Kind::Invalid, format!("{bytes} bytes are too many to write at once")));
        }
        self.write(offset, data, wait)
    }

    /// Writes `new` where `expected` is found, as one step; otherwise changes nothing and gives the index of the
    /// first byte that differs. Both have the same length.
    pub fn compare_and_write(
        &self,
        offset: u64,
        expected: &[u8],
        new: &[u8],
        wait: Wait,
    ) -> Result<Option<u64>> {
        self.check_range(offset, new.len() as u64)?;
        if expected.len() != new.len() {
            return Err(Error::new(Kind::Invalid, "what to compare and what to write differ in length"));
        }
        self.changing(wait, |stack, guard| {
            self.check_quota(stack, new.len() as u64)?;
            let mut whole = stack.read_around(offset, new.len() as u64, wait)?;
            let skip = usize::try_from(offset % BLOCK_BYTES).unwrap_or(0);
            let here = &mut whole[skip..skip + new.len()];
            if let Some(at) = here.iter().zip(expected).position(|(have, want)| have != want) {
                return Ok(Some(at as u64));
            }
            here.copy_from_slice(new);
            write_blocks(guard, lba(offset)?, &[&whole])?;
            Ok(None)
        })
    }

    /// Reads the range, lets `change` alter it, and writes it back, as one step.
    pub fn update(
        &self,
        offset: u64,
        bytes: u64,
        wait: Wait,
        change: &mut dyn FnMut(&mut [u8]),
    ) -> Result<()> {
        self.check_range(offset, bytes)?;
        self.changing(wait, |stack, guard| {
            self.check_quota(stack, bytes)?;
            let mut whole = stack.read_around(offset, bytes, wait)?;
            let skip = usize::try_from(offset % BLOCK_BYTES).unwrap_or(0);
            let length = usize::try_from(bytes).unwrap_or(0);
            change(&mut whole[skip..skip + length]);
            write_blocks(guard, lba(offset)?, &[&whole])
        })
    }

    /// The range reads zeros from now on, and its space comes back.
    pub fn trim(&self, offset: u64, bytes: u64, wait: Wait) -> Result<()> {
        self.check_range(offset, bytes)?;
        if bytes == 0 {
            return Ok(());
        }
        let end = offset + bytes;
        // The last block of a volume may lie partly past its end: it is trimmed whole.
        let end_whole = if end == self.size_bytes() { end.next_multiple_of(BLOCK_BYTES) } else { end };
        let (first, last) = (offset.next_multiple_of(BLOCK_BYTES), end_whole - end_whole % BLOCK_BYTES);
        self.changing(wait, |stack, guard| {
            if first >= last {
                return stack.zero_part(guard, offset, bytes, wait);
            }
            if offset < first {
                stack.zero_part(guard, offset, first - offset, wait)?;
            }
            if last < end {
                stack.zero_part(guard, last, end - last, wait)?;
            }
            guard.trim(lba(first)?, (last - first) / BLOCK_BYTES)
        })
    }

    /// The range reads zeros from now on. It takes no space afterwards.
    pub fn write_zeroes(&self, offset: u64, bytes: u64, wait: Wait) -> Result<()> {
        self.trim(offset, bytes, wait)
    }
}

impl Stack {
    /// The whole blocks around a range, as they are now.
    fn read_around(&self, offset: u64, bytes: u64, wait: Wait) -> Result<Vec<u8>> {
        let first = offset - offset % BLOCK_BYTES;
        let end = (offset + bytes).next_multiple_of(BLOCK_BYTES);
        let mut whole =
            vec![0; usize::try_from(end - first).map_err(|_| Error::new(Kind::Invalid, "too long"))?];
        Volume::read_block(self, lba(first)?, &mut whole, wait)?;
        Ok(whole)
    }

    /// The whole blocks around a range, with `data` in it. Only the first and the last block are read.
    fn widen(&self, offset: u64, bytes: u64, data: &[&[u8]], wait: Wait) -> Result<Vec<u8>> {
        let first = offset - offset % BLOCK_BYTES;
        let end = (offset + bytes).next_multiple_of(BLOCK_BYTES);
        let mut whole =
            vec![0; usize::try_from(end - first).map_err(|_| Error::new(Kind::Invalid, "too long"))?];
        if offset > first {
            Volume::read_block(self, lba(first)?, &mut whole[..BLOCK_LEN], wait)?;
        }
        let last_block = end - BLOCK_BYTES;
        if offset + bytes < end && (last_block > first || offset == first) {
            let at = whole.len() - BLOCK_LEN;
            Volume::read_block(self, lba(last_block)?, &mut whole[at..], wait)?;
        }
        let mut at = usize::try_from(offset - first).unwrap_or(0);
        for slice in data {
            whole[at..at + slice.len()].copy_from_slice(slice);
            at += slice.len();
        }
        Ok(whole)
    }

    fn zero_part(&self, guard: &mut WriteGuard<'_>, offset: u64, bytes: u64, wait: Wait) -> Result<()> {
        debug_assert!(bytes.is_multiple_of(SECTOR_BYTES));
        let mut whole = self.read_around(offset, bytes, wait)?;
        let skip = usize::try_from(offset % BLOCK_BYTES).unwrap_or(0);
        let length = usize::try_from(bytes).unwrap_or(0);
        whole[skip..skip + length].fill(0);
        write_blocks(guard, lba(offset)?, &[&whole])
    }
}

/// Writes whole blocks, cut into records.
fn write_blocks(guard: &mut WriteGuard<'_>, first: u32, data: &[&[u8]]) -> Result<()> {
    let crcs = checksums(data);
    if crcs.len() <= guard.blocks_max() {
        return if crcs.is_empty() { Ok(()) } else { guard.write(first, data, &crcs) };
    }
    let mut cursor = Cursor { data, at: 0 };
    let mut lba = first;
    for crcs in crcs.chunks(guard.blocks_max()) {
        let part = cursor.take(crcs.len() * BLOCK_LEN);
        guard.write(lba, &part, crcs)?;
        lba = lba.saturating_add(u32::try_from(crcs.len()).unwrap_or(u32::MAX));
    }
    Ok(())
}

/// One checksum a block, wherever the slices are cut.
fn checksums(data: &[&[u8]]) -> Vec<u32> {
    let bytes: usize = data.iter().map(|slice| slice.len()).sum();
    let mut crcs = Vec::with_capacity(bytes / BLOCK_LEN);
    let (mut crc, mut have) = (0, 0);
    for slice in data {
        let mut rest = *slice;
        while !rest.is_empty() {
            let (here, after) = rest.split_at(rest.len().min(BLOCK_LEN - have));
            crc = crc32c::crc32c_append(crc, here);
            have += here.len();
            rest = after;
            if have == BLOCK_LEN {
                crcs.push(crc);
                (crc, have) = (0, 0);
            }
        }
    }
    crcs
}

/// Takes slices apart from the front.
struct Cursor<'a, 'b> {
    data: &'b [&'a [u8]],
    at: usize,
}

impl<'a> Cursor<'a, '_> {
    fn take(&mut self, bytes: usize) -> Vec<&'a [u8]> {
        let mut part = Vec::new();
        let mut left = bytes;
        while left > 0 {
            let Some((first, others)) = self.data.split_first() else { break };
            let rest = &first[self.at..];
            let here = rest.len().min(left);
            part.push(&rest[..here]);
            left -= here;
            self.at += here;
            if self.at == first.len() {
                (self.data, self.at) = (others, 0);
            }
        }
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_do_not_depend_on_where_slices_are_cut() {
        let data: Vec<u8> = (0..3 * BLOCK_LEN).map(|n| (n % 251) as u8).collect();
        let want: Vec<u32> = data.chunks(BLOCK_LEN).map(crc32c::crc32c).collect();
        for cut in [0, 1, 512, 4095, 4096, 4097, 12288] {
            let (a, b) = data.split_at(cut);
            assert_eq!(checksums(&[a, b]), want);
            let mut cursor = Cursor { data: &[a, b], at: 0 };
            let parts: Vec<u8> = [cursor.take(5000), cursor.take(7288)].concat().concat();
            assert_eq!(parts, data);
        }
    }
}
