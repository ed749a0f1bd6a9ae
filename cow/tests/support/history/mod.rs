//! A random history: operations, crashes, recoveries, all from one seed.

mod changes;
mod choose;
mod crashes;
mod images;
mod refusals;
mod snapshots;
mod upkeep;
mod volumes;

use std::sync::Arc;

use cow::{
    Error, Geometry, Store, Volume,
    disk::sim::{Rng, SimDisk},
};

use super::{
    check::{self, Wrong, open},
    model::{End, Model},
    small_geometry,
};

const BLOCK: usize = 8;

/// What a history does.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub operations: u64,
    /// A disk is taken aside at one in so many steps; each is crashed in several ways.
    pub fork_one_in: u64,
    pub cuts_per_fork: u64,
    /// One in so many operations is cut off by a crash.
    pub crash_one_in: u64,
    /// One in so many operations meets a failing call; 0 for never.
    pub fault_one_in: u64,
    /// Where a power cut decides about no more sectors and names than this, every subset is tried; 0 for never.
    pub subset_bits: u32,
}

impl Plan {
    /// Crashes, and nothing else that goes wrong.
    pub fn crashes() -> Self {
        Self {
            operations: 60,
            fork_one_in: 6,
            cuts_per_fork: 4,
            crash_one_in: 12,
            fault_one_in: 0,
            subset_bits: 0,
        }
    }

    /// Calls that fail, and crashes.
    pub fn faults() -> Self {
        Self { fork_one_in: 10, fault_one_in: 5, ..Self::crashes() }
    }
}

/// How far it got.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub operations: u64,
    pub crash_states: u64,
    pub crashes: u64,
    pub faults: u64,
    pub damaged: u64,
    /// Bytes that compactions copied.
    pub copied_bytes: u64,
    /// Changes that had to wait until dead blocks were given back.
    pub waits: u64,
}

impl Tally {
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            operations: self.operations + other.operations,
            crash_states: self.crash_states + other.crash_states,
            crashes: self.crashes + other.crashes,
            faults: self.faults + other.faults,
            damaged: self.damaged + other.damaged,
            copied_bytes: self.copied_bytes + other.copied_bytes,
            waits: self.waits + other.waits,
        }
    }
}

pub struct History {
    seed: u64,
    rng: Rng,
    plan: Plan,
    geometry: Geometry,
    disk: SimDisk,
    store: Option<Arc<Store>>,
    /// Handles of volumes that are open, by index in the model.
    handles: Vec<(usize, Arc<Volume>)>,
    model: Model,
    names: u64,
    pub tally: Tally,
    /// What was done, for the report of a failure.
    log: Vec<String>,
    /// The armed fault is one of syncs.
    sync_fault: bool,
    /// The volume that is being closed.
    closing: Option<usize>,
    /// The file system has no more room than its reserve.
    full: bool,
    /// What is being done may be refused for want of space.
    needs_space: bool,
}

/// Why an operation did not end well.
enum Trouble {
    /// The machine stopped.
    Stopped,
    /// It was refused, and may be.
    Refused(Error),
    /// It must not have gone like this.
    Wrong(Wrong),
}

type Outcome = Result<(), Trouble>;

impl From<Wrong> for Trouble {
    fn from(wrong: Wrong) -> Self {
        Trouble::Wrong(wrong)
    }
}

impl From<&str> for Trouble {
    fn from(wrong: &str) -> Self {
        Trouble::Wrong(wrong.to_owned())
    }
}

/// Runs one seed; panics with all that is needed to see it again.
pub fn run(seed: u64, plan: Plan) -> Tally {
    let mut history = History::new(seed, plan);
    match history.run() {
        Ok(()) => history.tally,
        Err(wrong) => {
            let log = history.log.iter().rev().take(60).rev().cloned().collect::<Vec<_>>().join("\n  ");
            panic!(
                "seed {seed}: {wrong}\n  {log}\n{plan:?} {:?}\nreplay: cargo run -p cow --profile sim --features sim --example soak -- --seed {seed} --seeds 1 --faults {}",
                history.geometry,
                plan.fault_one_in > 0,
            );
        }
    }
}

/// A store on an empty disk.
fn open_new(disk: &SimDisk, geometry: Geometry) -> Result<Arc<Store>, Wrong> {
    use cow::disk::Disk;
    disk.create_dir(std::path::Path::new("/var")).map_err(|error| error.to_string())?;
    disk.sync_dir(std::path::Path::new("/")).map_err(|error| error.to_string())?;
    open(disk, geometry).map_err(|error| format!("a new store does not open: {error:?}"))
}

impl History {
    pub fn new(seed: u64, plan: Plan) -> Self {
        let mut rng = Rng::new(seed.wrapping_mul(0x5851_f42d_4c95_7f2d) ^ 0xc0ffee);
        let geometry = small_geometry(&mut rng);
        let disk = SimDisk::new(rng.next());
        Self {
            seed,
            rng,
            plan,
            geometry,
            disk,
            store: None,
            handles: Vec::new(),
            model: Model::default(),
            names: 0,
            tally: Tally::default(),
            log: Vec::new(),
            sync_fault: false,
            closing: None,
            full: false,
            needs_space: false,
        }
    }

    fn run(&mut self) -> Result<(), Wrong> {
        self.begin()?;
        for _ in 0..self.plan.operations {
            self.operation()?;
        }
        self.finish()
    }

    /// Makes the store.
    pub fn begin(&mut self) -> Result<(), Wrong> {
        for dir in ["/var", "/var/store"].iter().take(1 + self.rng.index(2)) {
            use cow::disk::Disk;
            self.disk.create_dir(std::path::Path::new(dir)).map_err(|error| error.to_string())?;
            self.disk.sync_dir(std::path::Path::new("/")).map_err(|error| error.to_string())?;
        }
        if self.rng.one_in(4) {
            self.disk.stop_at(Some(1 + self.disk.steps() + self.rng.below(20)));
        }
        self.disk.fork_sometimes(self.plan.fork_one_in);
        match open(&self.disk, self.geometry) {
            Ok(store) => self.store = Some(store),
            Err(_) if self.disk.is_stopped() => self.crash()?,
            Err(error) => return Err(format!("a new store does not open: {error:?}")),
        }
        self.check_forks()
    }

    /// At the end everything is flushed, closed and read once more after a power cut.
    pub fn finish(&mut self) -> Result<(), Wrong> {
        self.note(|| "finish".to_owned());
        self.disk.fork_sometimes(0);
        self.handles.clear();
        if let Some(store) = self.store.take() {
            if let Err(error) = store.close() {
                let poisoned = store.volumes().iter().any(|info| info.health != cow::Health::Ok);
                if !(poisoned && self.plan.fault_one_in > 0) {
                    return Err(format!("closing failed: {error:?}"));
                }
            } else {
                for volume in self.model.volumes_there() {
                    if self.model.volumes[volume].id.is_some() && !self.model.volumes[volume].suspect {
                        self.settle_closed(&store, volume);
                    }
                }
            }
        }
        self.recover_with(End::Cut)
    }

    /// Only an open volume was made durable by closing the store; others are as they were.
    fn settle_closed(&mut self, store: &Store, volume: usize) {
        let id = self.model.volumes[volume].id;
        let open = id.and_then(|id| store.volume_info(id).ok()).is_some_and(|info| info.open);
        if open {
            self.model.flushed(volume);
        }
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        let line = format!("step {}: {}", self.disk.steps(), text());
        if std::env::var_os("COW_TRACE").is_some() {
            eprintln!("  {line}");
        }
        self.log.push(line);
    }

    fn name(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}{}", self.names)
    }

    fn refused(&self, error: Error) -> Trouble {
        if self.disk.is_stopped() { Trouble::Stopped } else { Trouble::Refused(error) }
    }

    fn store(&self) -> Result<Arc<Store>, Trouble> {
        self.store.clone().ok_or_else(|| Trouble::Wrong("no store".to_owned()))
    }

    /// Makes the store, with nothing going wrong.
    pub fn begin_quietly(&mut self) -> Result<(), Wrong> {
        self.store = Some(open_new(&self.disk, self.geometry)?);
        Ok(())
    }

    /// What was done, newest last.
    pub fn told(&self) -> String {
        let log = self.log.iter().rev().take(60).rev().cloned().collect::<Vec<_>>().join("\n  ");
        format!("seed {} {:?}\n  {log}", self.seed, self.geometry)
    }
}

#[allow(unused_imports, reason = "some tests compare by themselves")]
pub use check::Recovered;
