//! Who overwrites faster than dead blocks are given back waits for that: they never fill the disk.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
};

use cow::{
    BootId, Geometry, Kind, NewVolume, Store, Volume, Wait,
    disk::{
        Disk, Entry, File, Lock, RealDisk, Space,
        sim::{Fault, FaultKind, Op, SimDisk},
    },
};
use support::check::open;

const BLOCK: u64 = 4096;
const MIB: u64 = 1 << 20;
/// Blocks of a volume on the simulated disk, and how many dead ones its layer may have.
const BLOCKS: u64 = 100;
const ALLOWED: u64 = 300;
/// What a layer takes beside its blocks: headers, summaries and zeros ahead of the writer, a segment of 12 blocks each.
const BESIDE_PERCENT: u64 = 30;

fn small() -> Geometry {
    Geometry {
        segment_blocks: 12,
        data_offset: 8192,
        record_blocks_max: 4,
        summary_ahead_bytes: 1024,
        summary_reserve_bytes: 256,
        data_ahead_blocks: 2,
        small_sync_blocks: 2,
        dead_blocks_allowed: ALLOWED,
        ..Geometry::default()
    }
}

fn simulated() -> (SimDisk, Arc<Store>) {
    let disk = SimDisk::new(7);
    disk.create_dir(Path::new("/var")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let store = open(&disk, small()).unwrap();
    (disk, store)
}

fn volume(store: &Store, name: &str, size_bytes: u64) -> Arc<Volume> {
    let new = NewVolume { name: name.into(), image: None, size_bytes: Some(size_bytes) };
    store.open_volume(store.create_volume(new).unwrap().id).unwrap()
}

fn write(volume: &Volume, n: u64, wait: Wait) -> cow::Result<()> {
    volume.write(n % BLOCKS * BLOCK, &[&[n as u8; BLOCK as usize]], wait)
}

/// Writes from `first` on until the next write would have to wait; gives what comes next.
fn outrun(volume: &Volume, first: u64) -> u64 {
    for n in first..first + 100 * ALLOWED {
        if let Err(error) = write(volume, n, Wait::No) {
            assert_eq!(error.kind(), Kind::WouldBlock);
            return n;
        }
    }
    panic!("nothing is waited for");
}

/// The volume holds what the last writes before `next` put there.
fn check(volume: &Volume, next: u64) {
    let mut out = [0; BLOCK as usize];
    for n in next - BLOCKS..next {
        volume.read(n % BLOCKS * BLOCK, &mut out, Wait::Yes).unwrap();
        assert!(out == [n as u8; BLOCK as usize], "block {}", n % BLOCKS);
    }
}

#[test]
fn dead_blocks_stay_below_what_is_allowed_without_any_upkeep() {
    let (_disk, store) = simulated();
    let volume = volume(&store, "v", BLOCKS * BLOCK);
    let most = (BLOCKS + ALLOWED) * BLOCK * (100 + BESIDE_PERCENT) / 100;
    for n in 0..20 * ALLOWED {
        write(&volume, n, Wait::Yes).unwrap();
        let bytes = volume.allocated_bytes().unwrap();
        assert!(bytes <= most, "write {n}: {bytes} bytes on disk, not {most}");
        assert!(volume.garbage_bytes() <= (ALLOWED + 1) * BLOCK, "write {n}");
    }
    check(&volume, 20 * ALLOWED);
}

#[test]
fn more_is_allowed_where_more_is_live() {
    let (_disk, store) = simulated();
    let live = 3 * ALLOWED;
    let volume = volume(&store, "v", live * BLOCK);
    let mut dead = 0;
    for n in 0..4 * live {
        if volume.write(n % live * BLOCK, &[&[7; BLOCK as usize]], Wait::No).is_err() {
            break;
        }
        dead = volume.garbage_bytes() / BLOCK;
    }
    assert_eq!(dead, live + 1);
}

#[test]
fn who_must_not_wait_is_told_and_has_changed_nothing() {
    let (_disk, store) = simulated();
    let (busy, quiet) = (volume(&store, "v", BLOCKS * BLOCK), volume(&store, "w", BLOCKS * BLOCK));
    let next = outrun(&busy, 0);
    // The first of each block kills none.
    assert_eq!(next, BLOCKS + ALLOWED + 1);
    let dead = busy.garbage_bytes();
    for _ in 0..3 {
        assert_eq!(write(&busy, next, Wait::No).unwrap_err().kind(), Kind::WouldBlock);
        assert_eq!(busy.trim(0, BLOCK, Wait::No).unwrap_err().kind(), Kind::WouldBlock);
    }
    check(&busy, next);
    assert_eq!(busy.garbage_bytes(), dead);
    // Another volume is not concerned, nor is who reads or flushes.
    write(&quiet, 0, Wait::No).unwrap();
    busy.flush().unwrap();
    write(&busy, next, Wait::Yes).unwrap();
    assert_eq!(busy.garbage_bytes(), BLOCK);
    check(&busy, next + 1);
    // And the pace is found again.
    write(&busy, next + 1, Wait::No).unwrap();
}

#[test]
fn a_trim_is_not_waited_for() {
    let (_disk, store) = simulated();
    let blocks = 4 * ALLOWED;
    let volume = volume(&store, "v", blocks * BLOCK);
    for n in 0..blocks {
        volume.write(n * BLOCK, &[&[7; BLOCK as usize]], Wait::No).unwrap();
    }
    // Upkeep finds nothing dead.
    store.maintain().unwrap();
    volume.trim(0, blocks * BLOCK, Wait::No).unwrap();
    assert_eq!(volume.garbage_bytes(), blocks * BLOCK);
    for n in 0..ALLOWED {
        write(&volume, n, Wait::No).unwrap();
    }
}

#[test]
fn a_write_is_not_refused_because_nothing_can_be_given_back() {
    for (op, kind) in [(Op::Rename, FaultKind::Io), (Op::Create, FaultKind::NoSpace)] {
        let (disk, store) = simulated();
        let volume = volume(&store, "v", BLOCKS * BLOCK);
        let next = outrun(&volume, 0);
        // The checkpoint's file, and its name: a segment that is begun meanwhile would be a write of its own.
        disk.set_fault(Some(Fault::once(op, 0, kind)));
        write(&volume, next, Wait::Yes).unwrap();
        assert_eq!(disk.fault_hits(), 1, "{op:?}");
        disk.set_fault(None);
        // Not every write tries again: so much as is allowed is written first.
        for n in next + 1..next + ALLOWED {
            write(&volume, n, Wait::No).unwrap();
        }
        let next = next + ALLOWED;
        write(&volume, next, Wait::Yes).unwrap();
        write(&volume, next + 1, Wait::Yes).unwrap();
        assert!(volume.garbage_bytes() < ALLOWED * BLOCK, "{op:?}");
        check(&volume, next + 2);
    }
}

/// A disk on which the next removal of a segment waits until it is let go.
struct Held {
    disk: SimDisk,
    /// Says that the removal was reached, and waits for leave.
    hold: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
}

impl Disk for Held {
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        if path.to_string_lossy().contains("/seg-")
            && let Some((reached, leave)) = self.hold.lock().unwrap().take()
        {
            reached.send(()).unwrap();
            leave.recv().unwrap();
        }
        self.disk.remove_file(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.disk.create(path)
    }
    fn open(&self, path: &Path, writable: bool) -> io::Result<Arc<dyn File>> {
        self.disk.open(path, writable)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.disk.lock(path)
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        self.disk.space(path)
    }
    fn boot_id(&self) -> io::Result<BootId> {
        self.disk.boot_id()
    }
    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.disk.random(bytes)
    }
    fn unix_ms(&self) -> u64 {
        self.disk.unix_ms()
    }
}

#[test]
fn nobody_waits_for_the_unlinking_until_as_much_is_dead_once_more() {
    let disk = SimDisk::new(7);
    disk.create_dir(Path::new("/var")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let held = Arc::new(Held { disk, hold: Mutex::new(None) });
    let store = Store::open_with(held.clone(), support::root(), small()).unwrap();
    let (busy, quiet) = (volume(&store, "v", BLOCKS * BLOCK), volume(&store, "w", BLOCKS * BLOCK));
    let next = outrun(&busy, 0);
    let ((reached, is_reached), (let_go, leave)) = (mpsc::channel(), mpsc::channel());
    *held.hold.lock().unwrap() = Some((reached, leave));
    std::thread::scope(|scope| {
        // Dropped where this fails, so that nobody is left waiting.
        let let_go = let_go;
        // It waits for no more than what it has to: for the checkpoint, and here for the first segment.
        let waiting = scope.spawn(|| write(&busy, next, Wait::Yes).unwrap());
        is_reached.recv().unwrap();
        let again = outrun(&busy, next + 1);
        assert_eq!(again, next + 1 + ALLOWED + 1);
        write(&quiet, 0, Wait::No).unwrap();
        // Who may wait now does, and goes on once the segments are gone.
        let second = scope.spawn({
            let busy = &busy;
            move || write(busy, again, Wait::Yes).unwrap()
        });
        let_go.send(()).unwrap();
        waiting.join().unwrap();
        second.join().unwrap();
    });
    assert!(busy.garbage_bytes() <= (ALLOWED + 2) * BLOCK);
}

/// Several writers at full speed, with upkeep beside them: nobody waits for ever, and the real disk does not fill.
#[test]
fn writers_at_full_speed_do_not_fill_the_disk() {
    const SIZE: u64 = 4 * MIB;
    const WRITTEN: u64 = 400 * MIB;
    const DEAD: u64 = 32 * MIB;
    const WRITERS: u64 = 3;
    const PART: u64 = 64 << 10;
    let dir = tempfile::tempdir().unwrap();
    let geometry = Geometry { dead_blocks_allowed: DEAD / BLOCK, ..Geometry::default() };
    let store = Store::open_with(Arc::new(RealDisk), dir.path(), geometry).unwrap();
    let volume = volume(&store, "v", SIZE);
    let (written, most, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (volume, written, most) = (&volume, &written, &most);
                scope.spawn(move || {
                    let data = vec![writer as u8; PART as usize];
                    for n in 0.. {
                        if written.fetch_add(PART, Ordering::Relaxed) >= WRITTEN {
                            return;
                        }
                        volume.write(n * PART % SIZE, &[&data], Wait::Yes).unwrap();
                        most.fetch_max(volume.garbage_bytes(), Ordering::Relaxed);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                store.maintain().unwrap();
                std::thread::yield_now();
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
    });
    // While dead blocks are being unlinked, as many may die; beside them what upkeep left, and a write of each writer.
    let most = most.load(Ordering::Relaxed);
    assert!(most <= 2 * DEAD + DEAD / 4 + WRITERS * PART, "{} MiB were dead", most / MIB);
    volume.reclaim().unwrap();
    assert!(volume.allocated_bytes().unwrap() < SIZE + 3 * MIB);
}
