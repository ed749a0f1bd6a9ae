//! What an open store does for itself: nothing that can be read changes.

use cow::Volume;

use super::{History, Outcome, Trouble};
use crate::support::{check::read_tags, model::Pending};

impl History {
    pub(super) fn maintain(&mut self) -> Outcome {
        self.note(|| "maintain".to_owned());
        self.needs_space = true;
        for _ in 0..1 + self.rng.below(3) {
            self.store()?.maintain().map_err(|error| self.refused(error))?;
        }
        Ok(())
    }

    pub(super) fn checkpoint(&mut self, volume: usize) -> Outcome {
        let open = self.open_volume(volume)?;
        self.note(|| format!("checkpoint volume {volume}"));
        open.checkpoint().map_err(|error| self.refused(error))?;
        self.check_forks()?;
        self.model.flushed(volume);
        Ok(())
    }

    pub(super) fn reclaim(&mut self, volume: usize) -> Outcome {
        let open = self.open_volume(volume)?;
        self.note(|| format!("reclaim volume {volume}"));
        if self.rng.one_in(3) {
            open.reclaim_below().map_err(|error| self.refused(error))?;
        }
        open.reclaim().map_err(|error| self.refused(error))?;
        self.unchanged(volume, &open, "reclaim")
    }

    /// Empties segments in which not all is live, wholly or in part.
    pub(super) fn compact(&mut self, volume: usize) -> Outcome {
        let most = if self.rng.one_in(2) { u64::MAX } else { 4096 * (1 + self.rng.below(12)) };
        let percent = [25, 60, 99][self.rng.index(3)];
        self.compact_so(volume, most, percent)
    }

    pub(super) fn compact_so(&mut self, volume: usize, most: u64, percent: u64) -> Outcome {
        let open = self.open_volume(volume)?;
        self.note(|| format!("compact volume {volume}: {most} bytes, {percent} percent"));
        self.needs_space = true;
        let compacted = open.compact(most, percent).map_err(|error| self.refused(error))?;
        self.tally.copied_bytes += compacted.bytes;
        if compacted.left_alone > 0 && self.plan.fault_one_in == 0 {
            return Err(Trouble::Wrong(format!("sound segments were left alone: {compacted:?}")));
        }
        self.unchanged(volume, &open, "compaction")
    }

    /// Upkeep changes nothing that can be read.
    pub(super) fn unchanged(&self, volume: usize, open: &Volume, what: &str) -> Outcome {
        let sectors = self.model.volumes[volume].sectors.len();
        let have = read_tags(open, 0, sectors).map_err(|error| self.refused(error))?;
        let want = self.model.volumes[volume].live();
        match have.iter().zip(&want).position(|(have, want)| *have != Some(*want)) {
            Some(at) => Err(Trouble::Wrong(format!("{what} changed sector {at} of volume {volume}"))),
            None => Ok(()),
        }
    }

    pub(super) fn set_reserve(&mut self, volume: usize) -> Outcome {
        let bytes = if self.rng.one_in(3) { 0 } else { 4096 * self.rng.below(40) };
        self.note(|| format!("guarantee {bytes} bytes to volume {volume}"));
        self.needs_space = true;
        let id = self.model.volumes[volume].id.ok_or("no id")?;
        self.model.pending = Pending::Reserve { volume, bytes };
        self.store()?.set_reserve(id, (bytes > 0).then_some(bytes)).map_err(|error| self.refused(error))?;
        self.check_forks()?;
        self.model.done();
        Ok(())
    }
}
