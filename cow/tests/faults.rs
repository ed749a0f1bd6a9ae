//! Every call of the disk fails once, for every operation; and what rots is told, and never read.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::sync::Arc;

use cow::{
    Kind, NewVolume, Store, Wait,
    disk::sim::{Cut, Fault, FaultKind, Op, Rng, SimDisk},
};
use support::{
    check::{open, read_tags},
    full,
    history::{History, Plan},
    root, small_geometry, tags,
};

/// One operation of each kind, by its number in the histories.
const OPERATIONS: [(&str, u64); 20] = [
    ("create volume", 0),
    ("import", 4),
    ("remove image", 7),
    ("remove volume", 8),
    ("close or open", 10),
    ("checkpoint", 13),
    ("reclaim", 17),
    ("flush", 22),
    ("read", 35),
    ("trim", 40),
    ("compare and write", 50),
    ("write atomically", 60),
    ("snapshot", 66),
    ("remove snapshot", 68),
    ("roll back", 70),
    ("grow", 71),
    ("compact", 77),
    ("reserve", 79),
    ("rename", 80),
    ("write", 90),
];

fn with_fault(seed: u64, dice: u64, fault: Fault) -> Result<bool, String> {
    let plan = Plan { fork_one_in: 0, crash_one_in: 0, fault_one_in: u64::MAX, ..Plan::faults() };
    let mut history = History::new(seed, plan);
    let mut all = || {
        history.begin_quietly()?;
        for dice in [0, 4, 0, 90, 40, 90, 66, 90, 22, 90, 60, 66, 90, 13, 90, 17, 90] {
            history.operation_of(dice, None)?;
        }
        history.operation_of(dice, Some(fault))?;
        let hits = history.tally.faults;
        for dice in [90, 22, 35, 17, 90] {
            history.operation_of(dice, None)?;
        }
        history.finish()?;
        Ok::<_, String>(hits > 0)
    };
    let result = all();
    result.map_err(|wrong| {
        let Fault { op, after, kind, .. } = fault;
        let op = op.map_or_else(String::new, |op| format!("{op:?}"));
        format!(
            "{fault:?}, seed {seed}: {wrong}\n{}\nreplay: COW_FAULT={dice},{op},{after},{kind:?} COW_SEED={seed} cargo test -p cow --profile sim --test faults replay",
            history.told()
        )
    })
}

#[test]
fn every_call_fails_once_in_every_operation_and_nothing_is_lost() {
    let mut runs = 0;
    for seed in 1..=if full() { 6 } else { 1 } {
        for (name, dice) in OPERATIONS {
            for op in Op::ALL {
                for kind in [FaultKind::Io, FaultKind::Late, FaultKind::NoSpace] {
                    for after in 0..200 {
                        let fault = Fault::once(op, after, kind);
                        match with_fault(seed, dice, fault) {
                            Ok(false) => break,
                            Ok(true) => runs += 1,
                            Err(wrong) => panic!("{name}: {wrong}"),
                        }
                    }
                }
            }
        }
    }
    println!("{runs} runs with one failed call each");
    assert!(runs > 300, "{runs}");
}

/// A rename of which nobody knows whether it counts: both names are taken until a new process has looked.
#[test]
fn while_a_rename_is_in_doubt_neither_name_is_anybody_elses() {
    let mut in_doubt = 0;
    for op in [Op::SyncDir, Op::Rename, Op::Create, Op::Write, Op::Sync] {
        for (after, kind) in
            [(0, FaultKind::Io), (0, FaultKind::Late), (1, FaultKind::Io), (1, FaultKind::Late)]
        {
            let geometry = small_geometry(&mut Rng::new(5));
            let disk = SimDisk::new(5);
            cow::disk::Disk::create_dir(&disk, std::path::Path::new("/var")).unwrap();
            cow::disk::Disk::sync_dir(&disk, std::path::Path::new("/")).unwrap();
            let store = open(&disk, geometry).unwrap();
            let new = |name: &str| NewVolume { name: name.into(), image: None, size_bytes: Some(4096) };
            let id = store.create_volume(new("old")).unwrap().id;
            disk.set_fault(Some(Fault { times: 100, ..Fault::once(op, after, kind) }));
            let renamed = store.rename_volume(id, "new");
            disk.set_fault(None);
            let unknown = store.volumes().iter().all(|info| info.name != "old" && info.name != "new");
            in_doubt += u32::from(unknown);
            for name in ["old", "new"] {
                let is_it = store.volumes().iter().any(|info| info.id == id && info.name == name);
                let taken = store.create_volume(new(name)).is_err();
                assert_eq!(taken, is_it || unknown, "{op:?} {after} {kind:?}: {name} after {renamed:?}");
            }
            drop(store);
            let store = open(&disk.kill(), geometry).unwrap();
            let mut names: Vec<String> = store.volumes().into_iter().map(|info| info.name).collect();
            names.sort();
            let all = names.len();
            names.dedup();
            assert_eq!(names.len(), all, "{op:?} {after} {kind:?}: two of one name");
        }
    }
    assert!(in_doubt > 0, "no fault left it in doubt");
}

/// The sector that is written last, and what is written there.
const LAST: usize = 399;
const LAST_TAG: tags::Tag = 1 << 40;

/// What a failure of the test above asks for.
#[test]
fn replay() {
    let Ok(asked) = std::env::var("COW_FAULT") else { return };
    let parts: Vec<&str> = asked.split(',').collect();
    let [dice, op, after, kind] = parts[..] else { panic!("COW_FAULT=operation,call,after,kind") };
    let op = Op::ALL.into_iter().find(|known| format!("{known:?}") == op).expect("a call");
    let kinds = [FaultKind::Io, FaultKind::Late, FaultKind::NoSpace];
    let kind = kinds.into_iter().find(|known| format!("{known:?}") == kind).expect("a kind of fault");
    let fault = Fault::once(op, after.parse().unwrap(), kind);
    with_fault(support::number("COW_SEED", 1), dice.parse().unwrap(), fault)
        .unwrap_or_else(|wrong| panic!("{wrong}"));
}

/// How a log was left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Closed,
    /// In use: one more record says that all before it had been flushed. Without it, a log that was not closed looks
    /// the same whether its last records were torn by a power cut or have rotted.
    Told,
    /// In use, but quiet for so long that upkeep came by.
    Quiet,
}

/// Writes one more record, and flushes it.
fn say_that_it_is_durable(volume: &cow::Volume, want: &mut [tags::Tag]) {
    volume.write(LAST as u64 * 512, &[&tags::bytes(&[LAST_TAG])], Wait::Yes).unwrap();
    volume.flush().unwrap();
    want[LAST] = LAST_TAG;
}

/// A volume on an image, with some of its blocks written, and what every sector holds.
struct Filled {
    disk: SimDisk,
    geometry: cow::Geometry,
    want: Vec<tags::Tag>,
    rng: Rng,
}

impl Filled {
    fn new(seed: u64, left: Left) -> Self {
        let mut rng = Rng::new(seed);
        let geometry = small_geometry(&mut rng);
        let disk = SimDisk::new(seed);
        cow::disk::Disk::create_dir(&disk, std::path::Path::new("/var")).unwrap();
        cow::disk::Disk::sync_dir(&disk, std::path::Path::new("/")).unwrap();
        let store = open(&disk, geometry).unwrap();
        let golden: Vec<tags::Tag> = (1..300).collect();
        let import = store.begin_import("golden").unwrap();
        import.write_at(0, &tags::bytes(&golden)).unwrap();
        let image =
            store.finish_import(import, "raw", &mut |_, _| std::ops::ControlFlow::Continue(())).unwrap();
        let mut want = golden;
        want.resize(400, 0);
        let size_bytes = Some(400 * 512);
        let new = NewVolume { name: "v".into(), image: Some(image.id), size_bytes };
        let volume = store.open_volume(store.create_volume(new).unwrap().id).unwrap();
        let mut last = 1000;
        for round in 0..20 {
            let first = rng.index(want.len());
            let count = 1 + rng.index((want.len() - first).min(40));
            let new: Vec<tags::Tag> = (last..last + count as u64).collect();
            last += count as u64;
            if rng.one_in(4) {
                volume.trim((first * 512) as u64, (count * 512) as u64, Wait::Yes).unwrap();
                want[first..first + count].fill(0);
            } else {
                volume.write((first * 512) as u64, &[&tags::bytes(&new)], Wait::Yes).unwrap();
                want[first..first + count].copy_from_slice(&new);
            }
            if round == 10 {
                volume.checkpoint().unwrap();
            }
        }
        volume.flush().unwrap();
        match left {
            Left::Closed => {
                drop(volume);
                store.close().unwrap();
            }
            Left::Told => say_that_it_is_durable(&volume, &mut want),
            Left::Quiet => {
                let markers: usize = (0..3).map(|_| store.maintain().unwrap().markers).sum();
                assert!(markers <= 1, "said once, by a marker or a checkpoint, and not again");
            }
        }
        drop(store);
        Self { disk, geometry, want, rng }
    }

    /// What is right in a sector; the very last write may look as if it had never been flushed.
    fn is_right(&self, at: usize, have: Option<tags::Tag>) -> bool {
        have == Some(self.want[at]) || (at == LAST && have.is_some_and(|have| have < LAST_TAG))
    }

    /// Reads everything: right, or an error; in pieces, and twice, for what was read once is in memory.
    fn right_or_refused(&mut self, disk: &SimDisk, what: &str) -> bool {
        let detected = |error: &cow::Error| matches!(error.kind(), Kind::Corrupt { .. } | Kind::Format);
        let store = match open(disk, self.geometry) {
            Ok(store) => store,
            Err(error) => {
                assert!(detected(&error), "{what}: {error:?}");
                return false;
            }
        };
        let Some(volume) = self.opened(&store, what) else { return false };
        let mut right = true;
        for _ in 0..60 {
            let first = self.rng.index(self.want.len());
            let count = 1 + self.rng.index((self.want.len() - first).min(20));
            match read_tags(&volume, first, count) {
                Ok(have) => {
                    for (at, have) in (first..).zip(have) {
                        assert!(self.is_right(at, have), "{what}: sector {at} is {have:?}");
                    }
                }
                Err(error) => {
                    assert!(detected(&error), "{what}: {error:?}");
                    right = false;
                }
            }
        }
        right
    }

    fn opened(&self, store: &Arc<Store>, what: &str) -> Option<Arc<cow::Volume>> {
        let infos = store.volumes();
        assert_eq!(infos.len(), 1, "{what}: the volume is gone");
        match store.open_volume(infos[0].id) {
            Ok(volume) => Some(volume),
            Err(error) => {
                assert!(matches!(error.kind(), Kind::Corrupt { .. } | Kind::Format), "{what}: {error:?}");
                None
            }
        }
    }
}

#[test]
fn what_rots_is_told_and_never_read() {
    let (mut told, seeds) = (0, if full() { 3000 } else { 300 });
    for seed in 0..seeds {
        let left = [Left::Closed, Left::Told, Left::Quiet][(seed % 3) as usize];
        let mut filled = Filled::new(seed, left);
        let data_offset = u64::from(filled.geometry.data_offset);
        // The records of a log that was not closed end where they end: rot in the last of them looks like a tear.
        let from = |path: &str| match path {
            path if path.contains("/seg-") && left == Left::Told => Some(data_offset),
            path if path.ends_with("LOCK") => None,
            _ => Some(0),
        };
        let mut rng = filled.rng.split();
        let disk = filled.disk.power_cut(&mut rng, Cut::Everything);
        let Some((path, at)) = disk.rot(&mut rng, &|path, _| from(path)) else { continue };
        let what = format!("seed {seed}: rot in {} at {at}, {left:?}", path.display());
        told += u64::from(!filled.right_or_refused(&disk, &what));
    }
    println!("{told} of {seeds} runs met what had rotted");
    assert!(told > seeds / 5);
}

#[test]
fn a_write_that_went_elsewhere_is_told_and_never_read() {
    let (mut told, seeds) = (0, if full() { 2000 } else { 200 });
    for seed in 0..seeds {
        let mut filled = Filled::new(seed, Left::Closed);
        let store = open(&filled.disk, filled.geometry).unwrap();
        let volume = filled.opened(&store, "at first").unwrap();
        // The segment is begun, so that the next write is one of data.
        volume.write(0, &[&tags::bytes(&[1, 2, 3, 4, 5, 6, 7, 8])], Wait::Yes).unwrap();
        filled.want[..8].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let kind = if seed % 2 == 0 { FaultKind::Misdirect } else { FaultKind::Lie };
        filled.disk.set_fault(Some(Fault { on: "/seg-", ..Fault::once(Op::Write, 0, kind) }));
        let new: Vec<tags::Tag> = (5000..5008).collect();
        volume.write(16 * 512, &[&tags::bytes(&new)], Wait::Yes).unwrap();
        filled.want[16..24].copy_from_slice(&new);
        volume.flush().unwrap();
        assert_eq!(filled.disk.fault_hits(), 1);
        say_that_it_is_durable(&volume, &mut filled.want);
        drop((volume, store));
        let disk = if seed % 3 == 0 {
            filled.disk.kill()
        } else {
            let mut rng = filled.rng.split();
            filled.disk.power_cut(&mut rng, Cut::Everything)
        };
        told += u64::from(!filled.right_or_refused(&disk, &format!("seed {seed}: {kind:?}")));
    }
    println!("{told} of {seeds} runs met it");
    assert!(told > 0);
}

#[test]
fn a_store_of_another_process_is_left_alone() {
    let disk = SimDisk::new(1);
    cow::disk::Disk::create_dir(&disk, root().parent().unwrap()).unwrap();
    let geometry = cow::Geometry::default();
    let first = open(&disk, geometry).unwrap();
    assert_eq!(open(&disk, geometry).err().map(|error| error.kind()), Some(Kind::Locked));
    drop(first);
    open(&disk, geometry).unwrap();
}
