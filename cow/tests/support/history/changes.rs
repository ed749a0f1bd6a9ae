//! Reading and changing a volume.

use cow::{Allocation, Error, Kind, Volume, Wait};

use super::{BLOCK, History, Outcome, Trouble};
use crate::support::{
    model::Pending,
    tags::{self, SECTOR, Tag},
};

impl History {
    /// First sector and number of sectors of something to do.
    pub(super) fn range(&mut self, volume: usize, most: usize) -> (usize, usize) {
        let all = self.model.volumes[volume].sectors.len();
        if self.rng.one_in(2) && all >= BLOCK {
            let blocks = all / BLOCK;
            let first = self.rng.index(blocks);
            let long = if self.rng.one_in(3) { 12 } else { 3 };
            let count = 1 + self.rng.index((blocks - first).min((most / BLOCK).max(1)).min(long));
            return (first * BLOCK, count * BLOCK);
        }
        let first = self.rng.index(all);
        let long = if self.rng.one_in(4) { 60 } else { 12 };
        (first, 1 + self.rng.index((all - first).min(most).min(long)))
    }

    /// Sectors of the largest atomic change that begins anywhere.
    pub(super) fn atomic_most(&self) -> usize {
        ((self.geometry.record_blocks_max - 1) * BLOCK + 1).max(1)
    }

    pub(super) fn change(
        &mut self,
        volume: usize,
        first: usize,
        tags: Vec<Tag>,
        atomic: bool,
        work: impl Fn(&Volume, u64, &[u8], Wait) -> cow::Result<()>,
    ) -> Outcome {
        let open = self.open_volume(volume)?;
        let bytes = tags::bytes(&tags);
        self.needs_space = tags[0] != 0 || !first.is_multiple_of(BLOCK) || !tags.len().is_multiple_of(BLOCK);
        self.note(|| {
            format!(
                "change volume {volume} sectors {first}+{} to {}..{}",
                tags.len(),
                tags[0],
                tags[tags.len() - 1]
            )
        });
        self.model.pending = Pending::Change { volume, first, tags, atomic };
        let offset = (first * SECTOR) as u64;
        let wait = if self.rng.one_in(2) { Wait::No } else { Wait::Yes };
        let mut result = work(&open, offset, &bytes, wait);
        if wait == Wait::No && result.as_ref().is_err_and(|error| error.kind() == Kind::WouldBlock) {
            let dead = open.garbage_bytes();
            result = work(&open, offset, &bytes, Wait::Yes);
            self.tally.waits += u64::from(open.garbage_bytes() < dead);
        }
        result.map_err(|error| self.refused(error))?;
        self.check_forks()?;
        self.model.done();
        Ok(())
    }

    pub(super) fn write(&mut self, volume: usize, atomic: bool) -> Outcome {
        let most = if atomic { self.atomic_most() } else { usize::MAX };
        let (first, count) = self.range(volume, most);
        let count = if atomic && first % BLOCK == 0 {
            count.min(self.geometry.record_blocks_max * BLOCK)
        } else {
            count
        };
        let tags = self.model.new_tags(count);
        let cut = self.rng.index(count * SECTOR);
        self.change(volume, first, tags, atomic, |open, offset, bytes, wait| {
            let (a, b) = bytes.split_at(cut);
            if atomic { open.write_atomic(offset, &[a, b], wait) } else { open.write(offset, &[a, b], wait) }
        })
    }

    /// One range many times over.
    pub(super) fn overwrite(&mut self, volume: usize) -> Outcome {
        let (first, count) = self.range(volume, self.atomic_most());
        self.overwrite_until_it_waits(volume, first, count)
    }

    /// At most until so much is dead that a write had to wait.
    pub(super) fn overwrite_until_it_waits(&mut self, volume: usize, first: usize, count: usize) -> Outcome {
        let (waits, most) = (self.tally.waits, 4 + self.geometry.dead_blocks_allowed * 2);
        for _ in 0..most {
            let tags = self.model.new_tags(count);
            self.change(volume, first, tags, true, |open, offset, bytes, wait| {
                open.write_atomic(offset, &[bytes], wait)
            })?;
            if self.tally.waits > waits {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn trim(&mut self, volume: usize) -> Outcome {
        let (mut first, mut count) = self.range(volume, usize::MAX);
        if self.rng.one_in(6) {
            (first, count) = (0, self.model.volumes[volume].sectors.len());
        }
        let zeroes = self.rng.one_in(2);
        self.change(volume, first, vec![0; count], false, |open, offset, bytes, wait| {
            let bytes = bytes.len() as u64;
            if zeroes { open.write_zeroes(offset, bytes, wait) } else { open.trim(offset, bytes, wait) }
        })
    }

    pub(super) fn compare_and_write(&mut self, volume: usize) -> Outcome {
        let (first, count) = self.range(volume, self.atomic_most());
        let mut expected: Vec<Tag> = self.model.volumes[volume].sectors[first..first + count]
            .iter()
            .map(|sector| sector.live)
            .collect();
        let open = self.open_volume(volume)?;
        if self.rng.one_in(3) {
            let differs = self.rng.index(count);
            expected[differs] = u64::MAX;
            let new = vec![0x11; count * SECTOR];
            let offset = (first * SECTOR) as u64;
            let told = open.compare_and_write(offset, &tags::bytes(&expected), &new, Wait::Yes);
            let told = told.map_err(|error| self.refused(error))?;
            if told.is_none_or(|at| at as usize / SECTOR != differs) {
                return Err(Trouble::Wrong(format!("a miscompare in sector {differs} was told as {told:?}")));
            }
            return Ok(());
        }
        let expected = tags::bytes(&expected);
        let tags = self.model.new_tags(count);
        self.change(volume, first, tags, true, |open, offset, bytes, wait| {
            match open.compare_and_write(offset, &expected, bytes, wait)? {
                None => Ok(()),
                Some(at) => {
                    Err(Error::new(Kind::Invalid, format!("a miscompare at {at} where there is none")))
                }
            }
        })
    }

    pub(super) fn update(&mut self, volume: usize) -> Outcome {
        let (first, count) = self.range(volume, self.atomic_most());
        let tags = self.model.new_tags(count);
        self.change(volume, first, tags, true, |open, offset, bytes, wait| {
            open.update(offset, bytes.len() as u64, wait, &mut |here| here.copy_from_slice(bytes))
        })
    }

    pub(super) fn read(&mut self, volume: usize) -> Outcome {
        let (first, count) = self.range(volume, usize::MAX);
        let open = self.open_volume(volume)?;
        let mut out = vec![0xee; count * SECTOR];
        let offset = (first * SECTOR) as u64;
        match open.read(offset, &mut out, Wait::No) {
            Err(error) if error.kind() == Kind::WouldBlock => open.read(offset, &mut out, Wait::Yes),
            result => result,
        }
        .map_err(|error| self.refused(error))?;
        for (at, sector) in out.chunks_exact(SECTOR).enumerate() {
            let want = self.model.volumes[volume].sectors[first + at].live;
            if tags::tag(sector) != Some(want) {
                return Err(Trouble::Wrong(format!(
                    "sector {} of volume {volume} reads {:?}, not {want}",
                    first + at,
                    tags::tag(sector)
                )));
            }
        }
        let status =
            open.block_status(offset, (count * SECTOR) as u64).map_err(|error| self.refused(error))?;
        let mut at = 0;
        for (bytes, allocation) in status {
            let end = at + bytes as usize;
            if allocation == Allocation::Deallocated
                && out.get(at..end).is_none_or(|part| part.iter().any(|byte| *byte != 0))
            {
                return Err(Trouble::Wrong("what is said to hold nothing holds something".to_owned()));
            }
            at = end;
        }
        if at != out.len() {
            Err(Trouble::Wrong("the status is too short or too long".to_owned()))
        } else {
            Ok(())
        }
    }

    pub(super) fn flush(&mut self, volume: usize) -> Outcome {
        let open = self.open_volume(volume)?;
        self.note(|| format!("flush volume {volume}"));
        open.flush().map_err(|error| self.refused(error))?;
        self.check_forks()?;
        self.model.flushed(volume);
        Ok(())
    }
}
