//! Making durable: group commit. One caller syncs for all that wait; who comes later waits for the next round.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use parking_lot::MutexGuard;

use super::{Layer, Segment, recover::FAILED_SYNC};
use crate::{
    error::{Kind, Result},
    geometry::Geometry,
    limits::{AHEAD_BLOCKS_MIN, AHEAD_SHARE, BLOCK_BYTES},
};

/// Who syncs now.
#[derive(Default)]
pub(super) struct SyncState {
    running: bool,
    /// Callers that came since the last round began: the next round is theirs.
    pending: u32,
    /// Callers of the last round, and how long its syncs took.
    served: u32,
    took: Duration,
}

/// What one round of syncing makes durable.
struct Round {
    files: Vec<Arc<Segment>>,
    sealed: usize,
    names: bool,
    seq: u64,
}

impl Layer {
    /// Returns once everything that was written before the call survives a power cut.
    pub(crate) fn flush(&self) -> Result<()> {
        self.sync(false)
    }

    /// Once the layer has been quiet since the last call, and all of it is durable, a marker says so: from then on
    /// rot in the last records is told from a tear. Whoever flushes does not wait for that.
    pub(crate) fn tell_durable(&self) -> Result<bool> {
        let written = self.written_seq.load(Ordering::Acquire);
        let is_quiet = self.seen_seq.swap(written, Ordering::AcqRel) == written;
        let (changed, durable) =
            (self.changed_seq.load(Ordering::Acquire), self.durable_seq.load(Ordering::Acquire));
        if !is_quiet || durable < changed || self.told_seq.load(Ordering::Acquire) >= changed {
            return Ok(false);
        }
        match self.any_guard()?.mark() {
            // There is room for it another time.
            Err(error) if error.kind() == Kind::NoSpace => return Ok(false),
            marked => marked?,
        }
        self.flush()?;
        Ok(true)
    }

    /// The same, with what no record tells of: segments that hold no record yet, and their names.
    pub(super) fn sync_all(&self) -> Result<()> {
        self.sync(true)
    }

    fn sync(&self, all: bool) -> Result<()> {
        let target = self.written_seq.load(Ordering::Acquire);
        let mut state = self.sync.lock();
        state.pending += 1;
        loop {
            if self.is_poisoned() {
                return Err(self.poison_error());
            }
            if !all && self.durable_seq.load(Ordering::Acquire) >= target {
                return Ok(());
            }
            if !state.running {
                break;
            }
            self.synced.wait(&mut state);
        }
        state.running = true;
        self.gather(&mut state);
        state.served = std::mem::take(&mut state.pending);
        drop(state);
        let start = Instant::now();
        let result = self.sync_round();
        let mut state = self.sync.lock();
        state.took = start.elapsed();
        state.running = false;
        drop(state);
        self.synced.notify_all();
        result
    }

    /// Lets the callers that the last round served come back with their next write, for a fraction of what a
    /// sync takes: one sync for all of them is worth more than one now for the first.
    fn gather(&self, state: &mut MutexGuard<'_, SyncState>) {
        let (want, start, patience) = (state.served, Instant::now(), state.took / 4);
        while state.pending < want && start.elapsed() < patience {
            MutexGuard::unlocked(state, std::thread::yield_now);
        }
    }

    fn sync_round(&self) -> Result<()> {
        let round = self.begin_round();
        let done = self.sync_files(&round);
        if done.is_err() {
            self.poison();
            // For the next opening. If not even that can be written, the directory is lost to writing anyway.
            drop(self.context.disk.create(&self.dir.join(FAILED_SYNC)));
            return done;
        }
        self.writer.lock().sealed_unsynced.drain(..round.sealed);
        self.durable_seq.fetch_max(round.seq, Ordering::AcqRel);
        Ok(())
    }

    /// A layer that holds little allocates little ahead: a small overlay takes hardly more than was written to it.
    fn geometry_of_its_age(&self) -> Geometry {
        let geometry = self.context.geometry;
        let share = self.used_bytes() / BLOCK_BYTES / AHEAD_SHARE;
        let most = u32::try_from(share).unwrap_or(u32::MAX).max(AHEAD_BLOCKS_MIN);
        Geometry { data_ahead_blocks: geometry.data_ahead_blocks.min(most), ..geometry }
    }

    fn begin_round(&self) -> Round {
        let mut writer = self.writer.lock();
        let mut files = writer.sealed_unsynced.clone();
        let sealed = files.len();
        let geometry = self.geometry_of_its_age();
        if let Some(active) = writer.active.as_mut() {
            active.prepare_next_sync(&geometry);
            files.push(active.segment.clone());
        }
        let names = std::mem::take(&mut writer.names_unsynced);
        Round { files, sealed, names, seq: self.written_seq.load(Ordering::Acquire) }
    }

    fn sync_files(&self, round: &Round) -> Result<()> {
        for segment in &round.files {
            segment.file.sync_data().map_err(|error| self.io_error("sync a segment of", error))?;
        }
        if round.names {
            let disk = &self.context.disk;
            disk.sync_dir(&self.dir).map_err(|error| self.io_error("sync", error))?;
            let parent = self.context.layers_dir();
            disk.sync_dir(&parent).map_err(|error| crate::error::Error::io("sync", &parent, error))?;
        }
        Ok(())
    }
}
