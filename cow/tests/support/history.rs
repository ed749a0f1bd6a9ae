//! A random history: operations, crashes, recoveries, all from one seed.

use std::{ops::ControlFlow, sync::Arc};

use cow::{
    Allocation, Error, Geometry, Kind, NewVolume, Store, Volume, Wait,
    disk::sim::{Cut, Fault, FaultKind, Fork, Op, Rng, SimDisk},
};

use super::{
    check::{self, Wrong, open, read_tags, recover},
    model::{End, Image, Model, Pending, Presence, Snapshot, Volume as VolumeModel},
    small_geometry,
    tags::{self, SECTOR, Tag},
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

    /// One operation that the dice choose.
    fn operation(&mut self) -> Result<(), Wrong> {
        let dice = self.rng.below(100);
        self.operation_of(dice, None)
    }

    /// The operation of this number, with this fault armed.
    pub fn operation_of(&mut self, dice: u64, fault: Option<Fault>) -> Result<(), Wrong> {
        self.tally.operations += 1;
        if let Some(fault) = fault {
            self.note(|| format!("armed {fault:?}"));
            self.sync_fault = fault.op == Some(Op::Sync);
            self.disk.set_fault(Some(fault));
        }
        if self.rng.one_in(self.plan.crash_one_in) {
            let within = if self.rng.one_in(3) { 60 } else { 8 };
            self.disk.stop_at(Some(self.disk.steps() + 1 + self.rng.below(within)));
        }
        if self.plan.fault_one_in > 0 && self.rng.one_in(self.plan.fault_one_in) {
            self.arm();
        }
        self.needs_space = false;
        let outcome = self.choose(dice);
        self.check_forks()?;
        let hits = self.disk.fault_hits();
        self.disk.set_fault(None);
        if hits > 0 && self.sync_fault {
            Self::suspect_all(&mut self.model);
        }
        self.tally.faults += hits;
        if self.disk.is_stopped() {
            return self.crash();
        }
        self.disk.stop_at(None);
        match outcome {
            Ok(()) => {}
            Err(Trouble::Wrong(wrong)) => return Err(wrong),
            Err(Trouble::Refused(error)) if hits > 0 => self.after_fault(&error)?,
            Err(Trouble::Refused(error))
                if self.full && self.needs_space && error.kind() == Kind::NoSpace =>
            {
                self.tally.faults += 1;
                self.after_fault(&error)?;
            }
            Err(Trouble::Refused(error))
                if self.plan.fault_one_in > 0 && error.to_string().contains("in doubt") =>
            {
                (self.store, self.handles) = (None, Vec::new());
                self.model.pending = Pending::Nothing;
                return self.recover_with(End::Kill);
            }
            Err(Trouble::Refused(error)) => return Err(format!("refused for no reason: {error:?}")),
            Err(Trouble::Stopped) => return Err("stopped for no reason".to_owned()),
        }
        self.reopen_poisoned()
    }

    fn arm(&mut self) {
        let op = *[
            Op::Write,
            Op::Write,
            Op::Write,
            Op::Sync,
            Op::Sync,
            Op::Sync,
            Op::SyncDir,
            Op::SyncDir,
            Op::Create,
            Op::Rename,
            Op::Rename,
            Op::RemoveFile,
            Op::RemoveDir,
            Op::Open,
            Op::Read,
            Op::List,
            Op::CreateDir,
            Op::Allocate,
            Op::Punch,
            Op::SetLen,
            Op::Stat,
        ]
        .get(self.rng.index(21))
        .unwrap_or(&Op::Write);
        let kind = match (op, self.rng.below(6)) {
            (Op::Write | Op::Create | Op::CreateDir | Op::Allocate, 0..=2) => FaultKind::NoSpace,
            (Op::Rename | Op::RemoveFile | Op::SyncDir | Op::Create, 3) => FaultKind::Late,
            _ => FaultKind::Io,
        };
        let after = if self.rng.one_in(2) { 0 } else { self.rng.below(8) };
        let times = if self.rng.one_in(4) { 100 } else { 1 };
        let fault = Fault { times, ..Fault::once(op, after, kind) };
        self.note(|| format!("armed {fault:?}"));
        self.sync_fault = op == Op::Sync;
        self.disk.set_fault(Some(fault));
    }

    /// A sync has just failed: what was not flushed may be lost, also before the store has written that down.
    fn suspect_all(model: &mut Model) {
        model.volumes.iter_mut().for_each(|volume| volume.suspect = true);
    }

    /// A refused operation changed what it may have changed, and all else is as it was.
    fn after_fault(&mut self, error: &Error) -> Result<(), Wrong> {
        self.note(|| format!("refused: {error:?}"));
        if let Some(volume) = self.closing.take() {
            // It is closed, and what was not flushed is as after any failed sync.
            self.model.volumes[volume].suspect |= self.sync_fault;
            (self.store, self.handles) = (None, Vec::new());
            return self.recover_with(End::Kill);
        }
        match self.model.pending.clone() {
            Pending::Nothing => {}
            Pending::Change { volume, first, tags, .. } => {
                let Some(open) = self.handle(volume) else {
                    self.model.failed(&vec![0; tags.len()]);
                    return Ok(());
                };
                // A failed write may have lost pages of a failed sync; what can be read must be one of both.
                let suspect = self.model.volumes[volume].suspect;
                let have = match read_tags(&open, first, tags.len()) {
                    Ok(have) => have,
                    Err(error) if suspect && matches!(error.kind(), Kind::Corrupt { .. }) => {
                        vec![Some(0); tags.len()]
                    }
                    Err(error) => return Err(format!("reading after a refused change: {error:?}")),
                };
                let mut live = Vec::new();
                for (at, (have, new)) in have.into_iter().zip(&tags).enumerate() {
                    let have = have.ok_or_else(|| {
                        format!("sector {} holds garbage after a refused change", first + at)
                    })?;
                    let old = self.model.volumes[volume].sectors[first + at].live;
                    if have != old && have != *new && !suspect {
                        return Err(format!("sector {} holds {have}, neither {old} nor {new}", first + at));
                    }
                    live.push(have);
                }
                self.model.failed(&live);
            }
            // Neither is known to have happened: a new process looks.
            Pending::RollBack { .. } | Pending::Grow { .. } | Pending::Reserve { .. } => {
                self.store = None;
                self.handles.clear();
                return self.recover_with(End::Kill);
            }
        }
        let maybe = |presence: Presence| presence == Presence::Maybe;
        let unknown = self.model.volumes.iter().any(|volume| maybe(volume.presence))
            || self.model.images.iter().any(|image| maybe(image.presence))
            || self.model.snapshots.iter().any(|snapshot| maybe(snapshot.presence));
        if unknown && self.rng.one_in(2) {
            self.store = None;
            self.handles.clear();
            return self.recover_with(End::Kill);
        }
        Ok(())
    }

    /// A poisoned volume takes no writes until it is opened anew; then it does again.
    fn reopen_poisoned(&mut self) -> Result<(), Wrong> {
        let Some(store) = self.store.clone() else { return Ok(()) };
        let poisoned: Vec<(usize, Arc<Volume>)> =
            self.handles.iter().filter(|(_, open)| open.is_poisoned()).cloned().collect();
        for (volume, open) in poisoned {
            if self.plan.fault_one_in == 0 {
                return Err("a volume is poisoned for no reason".to_owned());
            }
            self.model.volumes[volume].suspect = true;
            let refused = open.write(0, &[&[0; SECTOR]], Wait::Yes).is_err() && open.flush().is_err();
            if !refused {
                return Err("a poisoned volume takes a write or a flush".to_owned());
            }
            if self.rng.one_in(2) {
                continue;
            }
            self.note(|| format!("reopen poisoned volume {volume}"));
            drop(open);
            self.handles.retain(|(at, _)| *at != volume);
            let id = self.model.volumes[volume].id.ok_or("no id")?;
            store.close_volume(id).map_err(|error| format!("closing a poisoned volume: {error:?}"))?;
            if self.rng.one_in(2) {
                self.disk.evict_clean();
            }
            let recovered = store.open_volume(id).and_then(|open| {
                let sectors = self.model.volumes[volume].sectors.len();
                Ok((read_tags(&open, 0, sectors)?, open))
            });
            let (tags, open) = match recovered {
                Ok(recovered) => recovered,
                Err(error) if matches!(error.kind(), Kind::Corrupt { .. }) => {
                    self.note(|| format!("volume {volume} is damaged: {error:?}"));
                    self.tally.damaged += 1;
                    if store.remove_volume(id).is_ok() {
                        self.model.volumes[volume].presence = Presence::No;
                        continue;
                    }
                    // Which of its manifests counts is in doubt: a new process knows.
                    drop(store);
                    (self.store, self.handles) = (None, Vec::new());
                    return self.recover_with(End::Kill);
                }
                Err(error) => return Err(format!("reopening a poisoned volume: {error:?}")),
            };
            let model = &mut self.model.volumes[volume];
            for (at, (sector, tag)) in model.sectors.iter_mut().zip(&tags).enumerate() {
                let tag = tag.ok_or_else(|| format!("sector {at} holds garbage after a failed sync"))?;
                if !sector.allows(tag, End::Cut) {
                    return Err(format!("sector {at} holds {tag}, not {sector:?}, after a failed sync"));
                }
                sector.found(tag, End::Kill);
            }
            model.suspect = false;
            model.groups.clear();
            self.handles.push((volume, open));
        }
        Ok(())
    }

    fn handle(&self, volume: usize) -> Option<Arc<Volume>> {
        self.handles.iter().find(|(at, _)| *at == volume).map(|(_, open)| open.clone())
    }

    fn refused(&self, error: Error) -> Trouble {
        if self.disk.is_stopped() { Trouble::Stopped } else { Trouble::Refused(error) }
    }

    fn store(&self) -> Result<Arc<Store>, Trouble> {
        self.store.clone().ok_or_else(|| Trouble::Wrong("no store".to_owned()))
    }

    fn open_volume(&mut self, volume: usize) -> Result<Arc<Volume>, Trouble> {
        if let Some(open) = self.handle(volume) {
            return Ok(open);
        }
        let id = self.model.volumes[volume].id.ok_or("no id")?;
        let store = self.store()?;
        let mut open = store.open_volume(id).map_err(|error| self.refused(error))?;
        if open.is_poisoned() && self.plan.fault_one_in > 0 {
            // By a neighbour that shares a frozen layer with it.
            self.model.volumes[volume].suspect = true;
            drop(open);
            open = store
                .close_volume(id)
                .and_then(|()| store.open_volume(id))
                .map_err(|error| self.refused(error))?;
        }
        self.handles.push((volume, open.clone()));
        Ok(open)
    }

    fn choose(&mut self, dice: u64) -> Outcome {
        let volumes = self.model.volumes_there();
        let usable: Vec<usize> = volumes
            .iter()
            .copied()
            .filter(|at| self.handle(*at).is_none_or(|open| !open.is_poisoned()))
            .collect();
        if usable.is_empty() || dice < 4 && volumes.len() < 5 {
            return self.create_volume();
        }
        let volume = usable[self.rng.index(usable.len())];
        self.note(|| format!("{dice} on volume {volume}"));
        match dice {
            4..=6 => self.import(),
            7 => self.remove_image(),
            8..=9 => self.remove_volume(volume),
            10..=12 => self.close_or_reopen(volume),
            13..=16 => self.checkpoint(volume),
            17..=21 => self.reclaim(volume),
            22..=34 => self.flush(volume),
            35..=39 => self.read(volume),
            40..=49 => self.trim(volume),
            50..=55 => self.compare_and_write(volume),
            56..=59 => self.update(volume),
            60..=65 => self.write(volume, true),
            66..=67 => self.snapshot(volume),
            68 => self.remove_snapshot(),
            69 => self.clone_snapshot(),
            70 => self.roll_back(volume),
            71 => self.grow(volume),
            72 => {
                self.note(|| "evict".to_owned());
                self.disk.evict_clean();
                Ok(())
            }
            73..=74 => self.maintain(),
            75..=76 if self.plan.fault_one_in > 0 => self.fill_or_make_room(),
            77..=78 => self.compact(volume),
            79 => self.set_reserve(volume),
            _ => self.write(volume, false),
        }
    }

    fn maintain(&mut self) -> Outcome {
        self.note(|| "maintain".to_owned());
        self.needs_space = true;
        for _ in 0..1 + self.rng.below(3) {
            self.store()?.maintain().map_err(|error| self.refused(error))?;
        }
        Ok(())
    }

    /// A new process finds the file system almost full, or an administrator makes room while it runs.
    fn fill_or_make_room(&mut self) -> Outcome {
        self.full = !self.full;
        if !self.full {
            self.note(|| "make room".to_owned());
            self.disk.set_capacity(1 << 40);
            return Ok(());
        }
        self.disk.stop_at(None);
        self.disk.set_fault(None);
        (self.store, self.handles) = (None, Vec::new());
        let blocks = self.rng.below(30);
        self.note(|| format!("room for {blocks} blocks"));
        self.disk.set_capacity(self.disk.used_bytes() + cow::limits::RESERVE_BYTES_MIN + blocks * 4096);
        self.recover_with(End::Kill).map_err(Trouble::Wrong)
    }

    /// First sector and number of sectors of something to do.
    fn range(&mut self, volume: usize, most: usize) -> (usize, usize) {
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
    fn atomic_most(&self) -> usize {
        ((self.geometry.record_blocks_max - 1) * BLOCK + 1).max(1)
    }

    fn change(
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
            result = work(&open, offset, &bytes, Wait::Yes);
        }
        result.map_err(|error| self.refused(error))?;
        self.check_forks()?;
        self.model.done();
        Ok(())
    }

    fn write(&mut self, volume: usize, atomic: bool) -> Outcome {
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

    fn trim(&mut self, volume: usize) -> Outcome {
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

    fn compare_and_write(&mut self, volume: usize) -> Outcome {
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

    fn update(&mut self, volume: usize) -> Outcome {
        let (first, count) = self.range(volume, self.atomic_most());
        let tags = self.model.new_tags(count);
        self.change(volume, first, tags, true, |open, offset, bytes, wait| {
            open.update(offset, bytes.len() as u64, wait, &mut |here| here.copy_from_slice(bytes))
        })
    }

    fn read(&mut self, volume: usize) -> Outcome {
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

    fn flush(&mut self, volume: usize) -> Outcome {
        let open = self.open_volume(volume)?;
        self.note(|| format!("flush volume {volume}"));
        open.flush().map_err(|error| self.refused(error))?;
        self.check_forks()?;
        self.model.flushed(volume);
        Ok(())
    }

    fn checkpoint(&mut self, volume: usize) -> Outcome {
        let open = self.open_volume(volume)?;
        self.note(|| format!("checkpoint volume {volume}"));
        open.checkpoint().map_err(|error| self.refused(error))?;
        self.check_forks()?;
        self.model.flushed(volume);
        Ok(())
    }

    fn reclaim(&mut self, volume: usize) -> Outcome {
        let open = self.open_volume(volume)?;
        self.note(|| format!("reclaim volume {volume}"));
        if self.rng.one_in(3) {
            open.reclaim_below().map_err(|error| self.refused(error))?;
        }
        open.reclaim().map_err(|error| self.refused(error))?;
        self.unchanged(volume, &open, "reclaim")
    }

    /// Empties segments in which not all is live, wholly or in part.
    fn compact(&mut self, volume: usize) -> Outcome {
        let most = if self.rng.one_in(2) { u64::MAX } else { 4096 * (1 + self.rng.below(12)) };
        let percent = [25, 60, 99][self.rng.index(3)];
        self.compact_so(volume, most, percent)
    }

    fn compact_so(&mut self, volume: usize, most: u64, percent: u64) -> Outcome {
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
    fn unchanged(&self, volume: usize, open: &Volume, what: &str) -> Outcome {
        let sectors = self.model.volumes[volume].sectors.len();
        let have = read_tags(open, 0, sectors).map_err(|error| self.refused(error))?;
        let want = self.model.volumes[volume].live();
        match have.iter().zip(&want).position(|(have, want)| *have != Some(*want)) {
            Some(at) => Err(Trouble::Wrong(format!("{what} changed sector {at} of volume {volume}"))),
            None => Ok(()),
        }
    }

    fn close_or_reopen(&mut self, volume: usize) -> Outcome {
        if self.handle(volume).is_none() {
            return self.open_volume(volume).map(drop);
        }
        self.note(|| format!("close volume {volume}"));
        self.handles.retain(|(at, _)| *at != volume);
        self.closing = Some(volume);
        let id = self.model.volumes[volume].id.ok_or("no id")?;
        self.store()?.close_volume(id).map_err(|error| self.refused(error))?;
        self.closing = None;
        self.check_forks()?;
        self.model.flushed(volume);
        Ok(())
    }

    fn create_volume(&mut self) -> Outcome {
        let images = self.model.images_there();
        let image = if images.is_empty() || self.rng.one_in(3) {
            None
        } else {
            Some(images[self.rng.index(images.len())])
        };
        let least = image.map_or(1, |image| self.model.images[image].tags.len());
        let sectors = if self.rng.one_in(3) && image.is_some() { least } else { least + self.rng.index(200) };
        let name = self.name("v");
        self.note(|| format!("create volume `{name}` of {sectors} sectors on image {image:?}"));
        let volume = VolumeModel {
            name: name.clone(),
            id: None,
            image,
            presence: Presence::Maybe,
            sectors: self.model.fresh(image, sectors),
            groups: Vec::new(),
            suspect: false,
            reserve: 0,
        };
        self.model.volumes.push(volume);
        let new = NewVolume {
            name,
            image: image.and_then(|image| self.model.images[image].id),
            size_bytes: Some((sectors * SECTOR) as u64),
        };
        let info = self.store()?.create_volume(new).map_err(|error| self.refused(error))?;
        self.check_forks()?;
        if let Some(volume) = self.model.volumes.last_mut() {
            (volume.presence, volume.id) = (Presence::Yes, Some(info.id));
        }
        Ok(())
    }

    fn remove_volume(&mut self, volume: usize) -> Outcome {
        self.note(|| format!("remove volume {volume}"));
        self.handles.retain(|(at, _)| *at != volume);
        self.model.volumes[volume].presence = Presence::Maybe;
        let id = self.model.volumes[volume].id.ok_or("no id")?;
        self.store()?.remove_volume(id).map_err(|error| self.refused(error))?;
        self.check_forks()?;
        self.model.volumes[volume].presence = Presence::No;
        Ok(())
    }

    fn import(&mut self) -> Outcome {
        let old = self.model.images.len();
        let tags = if old > 0 && self.rng.one_in(3) {
            // The same content as another image, which may be gone by now.
            self.model.images[self.rng.index(old)].tags.clone()
        } else {
            let long = if self.rng.one_in(3) { 400 } else { 40 };
            let sectors = 1 + self.rng.index(long);
            let mut tags = self.model.new_tags(sectors);
            let (from, to) = (self.rng.index(sectors), self.rng.index(sectors));
            tags.iter_mut().take(to).skip(from).for_each(|tag| *tag = 0);
            tags
        };
        let name = self.name("i");
        self.note(|| format!("import image {old} `{name}` of {} sectors", tags.len()));
        self.needs_space = true;
        self.model.images.push(Image {
            name: name.clone(),
            id: None,
            presence: Presence::Maybe,
            tags: tags.clone(),
        });
        let store = self.store()?;
        let import = store.begin_import(&name).map_err(|error| self.refused(error))?;
        import.set_len((tags.len() * SECTOR) as u64).map_err(|error| self.refused(error))?;
        let mut at = 0;
        while at < tags.len() {
            let count = (1 + self.rng.index(100)).min(tags.len() - at);
            if tags[at..at + count].iter().any(|tag| *tag != 0) {
                let written = import.write_at((at * SECTOR) as u64, &tags::bytes(&tags[at..at + count]));
                written.map_err(|error| self.refused(error))?;
            }
            at += count;
        }
        let info = store.finish_import(import, "raw", &mut |_, _| ControlFlow::Continue(()));
        let info = info.map_err(|error| self.refused(error))?;
        self.check_forks()?;
        (self.model.images[old].presence, self.model.images[old].id) = (Presence::Yes, Some(info.id));
        Ok(())
    }

    fn remove_image(&mut self) -> Outcome {
        let images = self.model.images_there();
        if images.is_empty() {
            return Ok(());
        }
        let image = images[self.rng.index(images.len())];
        let id = self.model.images[image].id.ok_or("no id")?;
        let used = self.model.image_is_used(image);
        self.note(|| format!("remove image {image}, used: {used}"));
        if used {
            return match self.store()?.remove_image(id) {
                Err(error) if error.kind() == Kind::InUse => Ok(()),
                // Only something that may be there uses it.
                result if self.plan.fault_one_in > 0 => {
                    self.model.images[image].presence = Presence::Maybe;
                    result.map_err(|error| self.refused(error))
                }
                result => Err(Trouble::Wrong(format!("an image that is in use was removed: {result:?}"))),
            };
        }
        self.model.images[image].presence = Presence::Maybe;
        self.store()?.remove_image(id).map_err(|error| self.refused(error))?;
        self.check_forks()?;
        self.model.images[image].presence = Presence::No;
        Ok(())
    }

    fn snapshot(&mut self, volume: usize) -> Outcome {
        if self.model.snapshots_there().len() > 6 {
            return self.remove_snapshot();
        }
        let name = self.name("s");
        self.note(|| format!("snapshot `{name}` of volume {volume}"));
        let model = &self.model.volumes[volume];
        let (id, image) = (model.id.ok_or("no id")?, model.image);
        let snapshot = Snapshot {
            name: name.clone(),
            id: None,
            volume,
            image,
            presence: Presence::Maybe,
            tags: model.live(),
        };
        self.model.snapshots.push(snapshot);
        let info = self.store()?.snapshot(id, &name).map_err(|error| self.refused(error))?;
        self.check_forks()?;
        if let Some(snapshot) = self.model.snapshots.last_mut() {
            (snapshot.presence, snapshot.id) = (Presence::Yes, Some(info.id));
        }
        self.model.flushed(volume);
        Ok(())
    }

    fn any_snapshot(&mut self) -> Option<usize> {
        let snapshots = self.model.snapshots_there();
        if snapshots.is_empty() { None } else { Some(snapshots[self.rng.index(snapshots.len())]) }
    }

    fn remove_snapshot(&mut self) -> Outcome {
        let Some(snapshot) = self.any_snapshot() else { return Ok(()) };
        self.note(|| format!("remove snapshot {snapshot}"));
        self.model.snapshots[snapshot].presence = Presence::Maybe;
        let id = self.model.snapshots[snapshot].id.ok_or("no id")?;
        self.store()?.remove_snapshot(id).map_err(|error| self.refused(error))?;
        self.check_forks()?;
        self.model.snapshots[snapshot].presence = Presence::No;
        Ok(())
    }

    fn clone_snapshot(&mut self) -> Outcome {
        let Some(snapshot) = self.any_snapshot() else { return Ok(()) };
        let name = self.name("c");
        self.note(|| format!("clone snapshot {snapshot} as `{name}`"));
        let from = &self.model.snapshots[snapshot];
        let id = from.id.ok_or("no id")?;
        let mut volume = VolumeModel {
            name: name.clone(),
            id: None,
            image: from.image,
            presence: Presence::Maybe,
            sectors: vec![Default::default(); from.tags.len()],
            groups: Vec::new(),
            suspect: false,
            reserve: 0,
        };
        volume.become_snapshot(&from.tags);
        self.model.volumes.push(volume);
        let info = self.store()?.clone_snapshot(id, &name).map_err(|error| self.refused(error))?;
        self.check_forks()?;
        if let Some(volume) = self.model.volumes.last_mut() {
            (volume.presence, volume.id) = (Presence::Yes, Some(info.id));
        }
        Ok(())
    }

    fn roll_back(&mut self, volume: usize) -> Outcome {
        let snapshots: Vec<usize> = self
            .model
            .snapshots_there()
            .into_iter()
            .filter(|at| self.model.snapshots[*at].volume == volume)
            .collect();
        if snapshots.is_empty() {
            return Ok(());
        }
        let snapshot = snapshots[self.rng.index(snapshots.len())];
        self.note(|| format!("roll volume {volume} back to snapshot {snapshot}"));
        self.handles.retain(|(at, _)| *at != volume);
        let (id, to) = (
            self.model.volumes[volume].id.ok_or("no id")?,
            self.model.snapshots[snapshot].id.ok_or("no id")?,
        );
        self.model.pending = Pending::RollBack { volume, snapshot };
        self.store()?.roll_back(id, to).map_err(|error| self.refused(error))?;
        self.check_forks()?;
        self.model.done();
        Ok(())
    }

    fn grow(&mut self, volume: usize) -> Outcome {
        let sectors = self.model.volumes[volume].sectors.len() + self.rng.index(40);
        self.note(|| format!("grow volume {volume} to {sectors} sectors"));
        let id = self.model.volumes[volume].id.ok_or("no id")?;
        self.model.pending = Pending::Grow { volume, sectors };
        self.store()?.grow_volume(id, (sectors * SECTOR) as u64).map_err(|error| self.refused(error))?;
        self.check_forks()?;
        self.model.done();
        Ok(())
    }

    fn set_reserve(&mut self, volume: usize) -> Outcome {
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

    /// The machine has stopped: the process or the power is gone. Then it starts again, and all is compared.
    fn crash(&mut self) -> Result<(), Wrong> {
        self.tally.crashes += 1;
        if let Some(volume) = self.closing.take() {
            self.model.volumes[volume].suspect |= self.sync_fault && self.disk.fault_hits() > 0;
        }
        self.store = None;
        self.handles.clear();
        drop(self.disk.take_forks());
        let end = if self.rng.one_in(2) { End::Kill } else { End::Cut };
        self.recover_with(end)
    }

    fn next_process(&mut self, end: End) {
        self.disk = match end {
            End::Kill => self.disk.kill(),
            End::Cut => {
                let cut = Cut::any(&mut self.rng);
                self.disk.power_cut(&mut self.rng, cut)
            }
        };
    }

    fn recover_with(&mut self, end: End) -> Result<(), Wrong> {
        self.note(|| format!("{end:?}"));
        let mut end = end;
        self.next_process(end);
        // A recovery may be cut off as well, more than once.
        while self.rng.one_in(4) {
            self.disk.stop_at(Some(self.disk.steps() + 1 + self.rng.below(40)));
            self.half_recover(&self.disk.clone());
            let next = if self.rng.one_in(2) { End::Kill } else { End::Cut };
            self.note(|| format!("recovery cut off, {next:?}"));
            end = if end == End::Cut || next == End::Cut { End::Cut } else { End::Kill };
            self.next_process(next);
        }
        self.disk.fork_sometimes(0);
        let recovered = recover(&self.model, &self.disk, self.geometry, end, &mut self.rng)
            .map_err(|wrong| format!("after {end:?}: {wrong}"))?;
        self.tally.crash_states += 1;
        self.store = Some(recovered.settle(&mut self.model, end));
        drop(self.disk.take_forks());
        self.disk.fork_sometimes(self.plan.fork_one_in);
        Ok(())
    }

    /// Opens all there is, however far that gets.
    fn half_recover(&self, disk: &SimDisk) {
        if let Ok(store) = open(disk, self.geometry) {
            for info in store.volumes() {
                drop(store.open_volume(info.id));
            }
        }
    }

    /// Crashes every disk that was taken aside since the last call, in several ways.
    fn check_forks(&mut self) -> Result<(), Wrong> {
        for fork in self.disk.take_forks() {
            let mut rng = self.rng.split();
            let mut suspect = None;
            if fork.fault_hits() > 0 && self.sync_fault {
                Self::suspect_all(suspect.insert(self.model.clone()));
            }
            let model = suspect.as_ref().unwrap_or(&self.model);
            if self.plan.subset_bits > 0 {
                let states = self.check_all_cuts(model, &fork, &mut rng);
                self.tally.crash_states += states
                    .map_err(|wrong| format!("crashed at step {} ({:?}): {wrong}", fork.step, fork.op))?;
                continue;
            }
            for _ in 0..self.plan.cuts_per_fork {
                self.check_fork(model, &fork, &mut rng)
                    .map_err(|wrong| format!("crashed at step {} ({:?}): {wrong}", fork.step, fork.op))?;
                self.tally.crash_states += 1;
            }
        }
        Ok(())
    }

    /// Every subset of what a power cut decides about, where those are few; else some. And a kill.
    fn check_all_cuts(&self, model: &Model, fork: &Fork, rng: &mut Rng) -> Result<u64, Wrong> {
        recover(model, &fork.disk().kill(), self.geometry, End::Kill, rng)
            .map_err(|wrong| format!("Kill, {wrong}"))?;
        let undecided = fork.disk().undecided();
        let every = undecided <= self.plan.subset_bits as usize;
        let cuts = if every { 1 << undecided } else { self.plan.cuts_per_fork };
        for cut in 0..cuts {
            let disk = if every {
                fork.disk().power_cut_exactly(cut)
            } else {
                let cut = Cut::any(rng);
                fork.disk().power_cut(rng, cut)
            };
            recover(model, &disk, self.geometry, End::Cut, rng)
                .map_err(|wrong| format!("Cut {cut:b} of {undecided}, {wrong}"))?;
        }
        Ok(cuts + 1)
    }

    fn check_fork(&self, model: &Model, fork: &Fork, rng: &mut Rng) -> Result<(), Wrong> {
        let mut end = if rng.one_in(4) { End::Kill } else { End::Cut };
        let mut how = String::new();
        let mut disk = fork.disk();
        loop {
            let cut = Cut::any(rng);
            how += &format!("{end:?} {cut:?}, ");
            disk = if end == End::Kill { disk.kill() } else { disk.power_cut(rng, cut) };
            if !rng.one_in(8) {
                break;
            }
            disk.stop_at(Some(disk.steps() + 1 + rng.below(40)));
            self.half_recover(&disk);
            how += "recovery cut off, ";
            if rng.one_in(2) {
                end = End::Cut;
            }
        }
        let end = if how.contains("Cut ") { End::Cut } else { End::Kill };
        recover(model, &disk, self.geometry, end, rng).map(drop).map_err(|wrong| format!("{how}{wrong}"))
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

    /// One of a few small operations, always at the same place.
    pub fn letter(&mut self, letter: char) -> Result<(), Wrong> {
        let tags = |model: &mut Model, sectors| model.new_tags(sectors);
        let plain = |open: &Volume, offset: u64, bytes: &[u8], wait: Wait| open.write(offset, &[bytes], wait);
        let outcome = match letter {
            'w' => {
                let tags = tags(&mut self.model, BLOCK);
                self.change(0, 0, tags, true, plain)
            }
            'p' => {
                let tags = tags(&mut self.model, 3);
                self.change(0, 6, tags, self.geometry.record_blocks_max > 1, plain)
            }
            't' => self.change(0, 0, vec![0; BLOCK], false, |open, offset, bytes, wait| {
                open.trim(offset, bytes.len() as u64, wait)
            }),
            'f' => self.flush(0),
            'c' => self.checkpoint(0),
            'r' => self.reclaim(0),
            's' => self.snapshot(0),
            'k' => self.compact_so(0, u64::MAX, 99),
            _ => Err(Trouble::Wrong(format!("no operation `{letter}`"))),
        };
        self.check_forks()?;
        match outcome {
            Ok(()) => Ok(()),
            Err(Trouble::Wrong(wrong)) => Err(wrong),
            Err(Trouble::Refused(error)) => Err(format!("refused for no reason: {error:?}")),
            Err(Trouble::Stopped) => Err("stopped for no reason".to_owned()),
        }
    }

    /// Goes on without further forks.
    pub fn fork_every_step(&mut self, every: bool) {
        self.plan.fork_one_in = u64::from(every);
        self.disk.fork_sometimes(self.plan.fork_one_in);
    }
}

#[allow(unused_imports, reason = "some tests compare by themselves")]
pub use check::Recovered;
