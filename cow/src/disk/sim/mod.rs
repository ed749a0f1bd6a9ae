//! A simulated disk: a file system in memory that loses, tears, reorders and refuses as the real one may, all of it
//! decided by one integer. What it keeps are the promises of [`super`], and no more.
//!
//! Zones, and the faults that each must survive:
//!
//! | zone | power cut | kill | refused call | failed sync | rot, misdirected write |
//! |---|---|---|---|---|---|
//! | acknowledged and flushed | kept | kept | kept | kept | detected |
//! | acknowledged, not flushed | each block old or new | kept | kept | kept, or detected | detected |
//! | in flight | each block old or new | old or new | old or new | old or new | detected |
//! | creation, removal, import in flight | done or not | done or not | done or not | done or not | detected |
//!
//! One thing no log can tell: rot in the very last records of a log that was not closed looks like a write that a
//! power cut tore. It is told from it wherever a later record or a checkpoint says that it had been durable.
//!
//! Model:
//! - A file has, for every sector of 512 bytes, what processes see and what the medium holds. A sync makes both
//!   the same; until then any sector may be written back at any time, also while it goes on changing.
//! - A directory has names that processes see, and names that the medium holds. A change of names is atomic, and
//!   becomes durable with a sync of one of the directories that it touches; until then it may be durable or not.
//! - [`SimDisk::power_cut`] keeps any part of what was not synced, and begins another boot with nothing in memory.
//! - [`SimDisk::kill`] keeps all that processes saw; calls of the old process fail and change nothing.
//! - A failed sync leaves any part written, and calls the rest clean: no later sync writes it.
//! - Every call is a step. [`SimDisk::stop_at`] stops everything at one; [`SimDisk::fork_at`] takes the whole
//!   disk aside before each of several, to be crashed and recovered later without disturbing the run.

#![expect(
    clippy::cast_possible_truncation,
    reason = "a simulated file is as small as the memory it lies in, and bytes are cut from random numbers"
)]

mod content;
mod cut;
mod faults;
mod file;
mod names;
mod rng;
mod state;

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use cut::Cut;
pub use faults::{Fault, FaultKind, Op};
use parking_lot::Mutex;
pub use rng::Rng;
use state::{State, Verdict};

use super::{Disk, Entry, File, Lock, Space};
use crate::ids::BootId;

/// What one process sees of a simulated machine. Clones are the same process.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    process: u32,
}

/// A whole disk as it was before one step.
#[derive(Clone)]
pub struct Fork {
    /// The step that had not happened yet, or only in part.
    pub step: u64,
    /// What that step would have been.
    pub op: Op,
    state: State,
}

impl Fork {
    /// How often the armed fault had struck.
    #[must_use]
    pub fn fault_hits(&self) -> u64 {
        self.state.fault_hits
    }

    /// The machine, stopped at that step.
    #[must_use]
    pub fn disk(&self) -> SimDisk {
        let process = self.state.process;
        SimDisk { state: Arc::new(Mutex::new(self.state.clone())), process }
    }
}

impl SimDisk {
    /// An empty machine.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(seed))), process: 0 }
    }

    /// Calls so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.state.lock().step
    }

    /// Stops the machine at the given step: that call may have a part of its effect, and it and every later one
    /// fails.
    pub fn stop_at(&self, step: Option<u64>) {
        self.state.lock().stop_at = step;
    }

    /// Whether it has come to its stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.state.lock().stopped
    }

    /// Takes the whole disk aside before each of these steps.
    pub fn fork_at(&self, steps: BTreeSet<u64>) {
        self.state.lock().fork_at = steps;
    }

    /// Takes the whole disk aside before every step with a chance of one in `one_in`; 0 for never.
    pub fn fork_sometimes(&self, one_in: u64) {
        self.state.lock().fork_one_in = one_in;
    }

    /// What was taken aside since the last call.
    #[must_use]
    pub fn take_forks(&self) -> Vec<Fork> {
        std::mem::take(&mut self.state.lock().forks)
    }

    /// A copy of the machine as it is now.
    #[must_use]
    pub fn copy(&self) -> Self {
        let mut state = self.state.lock().clone();
        state.forks.clear();
        Self { state: Arc::new(Mutex::new(state)), process: self.process }
    }

    /// Arms a fault, or disarms all.
    pub fn set_fault(&self, fault: Option<Fault>) {
        let mut state = self.state.lock();
        state.fault = fault;
        state.fault_hits = 0;
    }

    /// How often the armed fault has struck.
    #[must_use]
    pub fn fault_hits(&self) -> u64 {
        self.state.lock().fault_hits
    }

    /// Sets how many bytes the file system has in all.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().capacity_bytes = bytes;
    }

    /// Bytes that are in use.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.state.lock().used_bytes
    }

    /// The process ends without another call; the machine goes on. Gives what the next process sees.
    #[must_use]
    pub fn kill(&self) -> Self {
        let mut state = self.state.lock();
        state.restart();
        Self { state: self.state.clone(), process: state.process }
    }

    /// The power goes, and comes back. Gives what the next process sees.
    #[must_use]
    pub fn power_cut(&self, rng: &mut Rng, cut: Cut) -> Self {
        let mut state = self.state.lock();
        state.restart();
        state.power_cut(rng, cut);
        Self { state: self.state.clone(), process: state.process }
    }

    /// Sectors that a power cut would have to decide about; names count too.
    #[must_use]
    pub fn undecided(&self) -> usize {
        self.state.lock().undecided()
    }

    /// The power goes; of everything that a cut decides about, in a fixed order, that is kept whose bit is set.
    #[must_use]
    pub fn power_cut_exactly(&self, keep: u64) -> Self {
        let mut state = self.state.lock();
        state.restart();
        state.power_cut_exactly(keep);
        Self { state: self.state.clone(), process: state.process }
    }

    /// Flips bits of a sector on the medium of some file whose path `choose` likes, at or after the offset that
    /// it gives; tells where. Nothing of that file is in memory afterwards.
    pub fn rot(&self, rng: &mut Rng, choose: &dyn Fn(&str, u64) -> Option<u64>) -> Option<(PathBuf, u64)> {
        self.state.lock().rot(rng, choose)
    }

    /// Forgets what is in memory and clean, as memory pressure does.
    pub fn evict_clean(&self) {
        self.state.lock().evict_clean();
    }

    /// All files, with their lengths.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        self.state.lock().files().into_iter().map(|(path, _, bytes)| (PathBuf::from(path), bytes)).collect()
    }

    /// Bytes of a file as processes see them, without a step.
    #[must_use]
    pub fn bytes_of(&self, path: &Path) -> Option<Vec<u8>> {
        self.state.lock().bytes_of(path)
    }

    /// Replaces a file's bytes, also on the medium, without a step.
    pub fn replace_bytes(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.state.lock().replace_bytes(path, bytes)
    }

    fn call<T>(&self, op: Op, path: &Path, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock();
        match state.begin(self.process, op, path)? {
            Verdict::Go => work(&mut state),
            // A change of names is atomic: it happened or not.
            Verdict::Stop => {
                if op != Op::SyncDir && state.rng.one_in(2) {
                    drop(work(&mut state));
                }
                Err(state::stopped())
            }
            Verdict::Fail(kind) => {
                if kind.has_effect() {
                    work(&mut state)?;
                }
                Err(kind.error())
            }
        }
    }
}

struct SimLock(SimDisk);

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        if state.locked_by == Some(self.0.process) {
            state.locked_by = None;
        }
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let ino = self.call(Op::Create, path, |state| state.create_file(path))?;
        Ok(Arc::new(file::SimFile { disk: self.clone(), ino, path: path.to_owned(), writable: true }))
    }

    fn open(&self, path: &Path, writable: bool) -> io::Result<Arc<dyn File>> {
        let ino = self.call(Op::Open, path, |state| state.find_file(path))?;
        Ok(Arc::new(file::SimFile { disk: self.clone(), ino, path: path.to_owned(), writable }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.call(Op::CreateDir, path, |state| state.create_dir(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.call(Op::List, path, |state| state.list(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(Op::Rename, to, |state| state.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.call(Op::RemoveFile, path, |state| state.remove_file(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.call(Op::RemoveDir, path, |state| state.remove_dir(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.call(Op::SyncDir, path, |state| state.sync_dir(path))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let held = self.call(Op::Lock, path, |state| state.lock_file(path))?;
        Ok(held.then(|| Box::new(SimLock(self.clone())) as Box<dyn Lock>))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.call(Op::Stat, path, |state| Ok(state.space()))
    }

    fn boot_id(&self) -> io::Result<BootId> {
        self.call(Op::Stat, Path::new("/"), |state| Ok(state.boot_id()))
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check(self.process)?;
        for chunk in bytes.chunks_mut(8) {
            let random = state.ids.next().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
        Ok(())
    }

    fn unix_ms(&self) -> u64 {
        self.state.lock().unix_ms()
    }
}
