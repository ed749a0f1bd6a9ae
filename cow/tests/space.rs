//! Space comes back: sparse segments are emptied, dead ones go, and nothing that is rotten is made to look sound.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::{path::Path, sync::Arc};

use cow::{
    Geometry, Health, Kind, NewVolume, Store, Volume, VolumeId, Wait,
    disk::{
        Disk,
        sim::{Rng, SimDisk},
    },
    limits::{COMPACT_BYTES_ROUND, RESERVE_BYTES_MIN},
};
use support::{
    check::{open, read_tags},
    tags::{self, Tag},
};

/// Sectors of a block.
const EIGHT: usize = 8;
const BLOCKS: usize = 400;

/// Segments of 12 blocks.
fn small() -> Geometry {
    Geometry {
        segment_blocks: 12,
        data_offset: 8192,
        record_blocks_max: 4,
        summary_ahead_bytes: 1024,
        summary_reserve_bytes: 256,
        data_ahead_blocks: 2,
        small_sync_blocks: 2,
        ..Geometry::default()
    }
}

/// A volume on a simulated disk, and what every sector of it holds.
struct Rig {
    disk: SimDisk,
    geometry: Geometry,
    store: Arc<Store>,
    id: VolumeId,
    want: Vec<Tag>,
    last: Tag,
}

impl Rig {
    fn new(geometry: Geometry) -> Self {
        let disk = SimDisk::new(7);
        disk.create_dir(Path::new("/var")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let store = open(&disk, geometry).unwrap();
        let id = volume(&store, "v");
        Self { disk, geometry, store, id, want: vec![0; BLOCKS * EIGHT], last: 0 }
    }

    fn volume(&self) -> Arc<Volume> {
        self.store.open_volume(self.id).unwrap()
    }

    fn write(&mut self, block: usize) -> cow::Result<()> {
        let first = block * EIGHT;
        self.last += EIGHT as Tag;
        let new: Vec<Tag> = (self.last..self.last + EIGHT as Tag).collect();
        self.volume().write((first * 512) as u64, &[&tags::bytes(&new)], Wait::Yes)?;
        self.want[first..first + EIGHT].copy_from_slice(&new);
        Ok(())
    }

    /// Segments of which one block in twelve is live: all is written, then all but one in twelve once more.
    fn make_sparse(&mut self) {
        (0..BLOCKS).for_each(|block| self.write(block).unwrap());
        (0..BLOCKS).filter(|block| !block.is_multiple_of(12)).for_each(|block| self.write(block).unwrap());
        self.volume().reclaim().unwrap();
    }

    fn check(&self) {
        let have = read_tags(&self.volume(), 0, self.want.len()).unwrap();
        let wrong = have.iter().zip(&self.want).position(|(have, want)| *have != Some(*want));
        assert_eq!(wrong, None, "first wrong sector");
    }

    /// A new process sees the same.
    fn check_after_kill(mut self) {
        self.disk = self.disk.kill();
        self.store = open(&self.disk, self.geometry).unwrap();
        self.check();
    }

    fn segments(&self) -> usize {
        self.disk.files().iter().filter(|(path, _)| path.to_string_lossy().contains("/seg-")).count()
    }
}

fn volume(store: &Store, name: &str) -> VolumeId {
    let size_bytes = Some((BLOCKS * 4096) as u64);
    store.create_volume(NewVolume { name: name.into(), image: None, size_bytes }).unwrap().id
}

#[test]
fn sparse_segments_are_emptied_and_unlinked() {
    let mut rig = Rig::new(small());
    rig.make_sparse();
    let before = rig.segments();
    assert!(before > 60, "{before}");
    let done = rig.store.maintain().unwrap();
    assert!(done.compacted_segments > 30 && done.damaged_segments == 0, "{done:?}");
    assert_eq!(done.compacted_bytes, 33 * 4096);
    assert!(rig.segments() < before - 28, "{} of {before}", rig.segments());
    rig.check();
    // There is nothing left to do.
    let again = rig.store.maintain().unwrap();
    assert_eq!((again.compacted_bytes, again.reclaimed_bytes), (0, 0));
    rig.check_after_kill();
}

#[test]
fn copies_do_not_count_for_the_quota() {
    let mut rig = Rig::new(small());
    rig.make_sparse();
    let used = rig.volume().used_bytes();
    rig.volume().compact(u64::MAX, 25).unwrap();
    assert_eq!(rig.volume().used_bytes(), used);
    rig.volume().reclaim().unwrap();
    assert_eq!(rig.volume().used_bytes(), used);
}

#[test]
fn a_layer_of_few_segments_takes_writes_for_ever_while_it_is_looked_after() {
    let geometry = Geometry { segments_max: 60, ..small() };
    let mut rig = Rig::new(geometry);
    let mut rng = Rng::new(3);
    for round in 0..400 {
        for _ in 0..12 {
            let block = rng.index(BLOCKS);
            rig.write(block).unwrap_or_else(|error| panic!("round {round}: {error:?}"));
        }
        rig.store.maintain().unwrap();
    }
    rig.check();
    // Without upkeep it ends, a trim is not refused even then, and upkeep heals it.
    let refused = loop {
        let block = rng.index(BLOCKS);
        if let Err(error) = rig.write(block) {
            break error;
        }
    };
    assert_eq!(refused.kind(), Kind::NoSpace);
    rig.volume().trim(0, 4096, Wait::Yes).unwrap();
    rig.want[..EIGHT].fill(0);
    rig.store.maintain().unwrap();
    rig.write(5).unwrap();
    rig.check_after_kill();
}

#[test]
fn a_rotten_block_is_left_where_it_is_and_the_others_are_moved() {
    let mut rig = Rig::new(small());
    rig.make_sparse();
    rig.volume().flush().unwrap();
    // Rot in the one live block of a sparse segment: all others of its segment are holes.
    let holes = |path: &Path| {
        let bytes = rig.disk.bytes_of(path).unwrap_or_default();
        bytes[8192..].chunks(4096).filter(|block| block.iter().all(|byte| *byte == 0)).count()
    };
    let files = rig.disk.files();
    let (sparse, _) = files
        .iter()
        .find(|(path, bytes)| path.to_string_lossy().contains("/seg-") && *bytes > 8192 && holes(path) == 11)
        .unwrap();
    let mut bytes = rig.disk.bytes_of(sparse).unwrap();
    let at = (8192..bytes.len()).find(|at| bytes[*at] != 0).unwrap();
    bytes[at] ^= 0x10;
    rig.disk.replace_bytes(sparse, &bytes).unwrap();
    let rotten = |rig: &Rig| {
        let volume = rig.volume();
        let is_rotten = |block: &usize| match read_tags(&volume, block * EIGHT, EIGHT) {
            Ok(have) => {
                let want = &rig.want[block * EIGHT..][..EIGHT];
                assert!(have.iter().zip(want).all(|(have, want)| *have == Some(*want)));
                false
            }
            Err(error) => {
                assert!(matches!(error.kind(), Kind::Corrupt { .. }), "{error:?}");
                true
            }
        };
        (0..BLOCKS).filter(is_rotten).collect::<Vec<_>>()
    };
    let found = rotten(&rig);
    assert_eq!(found.len(), 1);
    let before = rig.segments();
    let done = rig.store.maintain().unwrap();
    assert_eq!((done.damaged_segments, done.compacted_bytes), (1, 32 * 4096), "{done:?}");
    assert!(rig.segments() < before - 28);
    assert_eq!(rotten(&rig), found, "still an error, and the same");
    // It is written anew, and then its segment goes as well.
    rig.write(found[0]).unwrap();
    rig.volume().reclaim().unwrap();
    assert!(rig.disk.bytes_of(sparse).is_none());
    rig.check();
}

#[test]
fn a_damaged_record_leaves_its_segment_alone() {
    let mut rig = Rig::new(small());
    rig.make_sparse();
    let files = rig.disk.files();
    let (first, _) =
        files.iter().find(|(path, _)| path.to_string_lossy().ends_with("seg-0000000000000000")).unwrap();
    let mut bytes = rig.disk.bytes_of(first).unwrap();
    bytes[4096 + 10] ^= 1;
    rig.disk.replace_bytes(first, &bytes).unwrap();
    let done = rig.store.maintain().unwrap();
    assert_eq!((done.damaged_segments, done.compacted_bytes), (1, 32 * 4096), "{done:?}");
    rig.check();
}

#[test]
fn compaction_stops_where_the_file_system_is_full_and_needs_only_the_reserve() {
    // So full that data finds no room, and so full that not even copies do.
    for (left, is_full) in [(RESERVE_BYTES_MIN, false), (RESERVE_BYTES_MIN / 2, true)] {
        let mut rig = Rig::new(small());
        rig.make_sparse();
        rig.disk.set_capacity(rig.disk.used_bytes() + left);
        let compacted = rig.volume().compact(u64::MAX, 25).unwrap();
        assert_eq!((compacted.is_full, compacted.bytes > 0), (is_full, !is_full));
        rig.check();
        rig.volume().reclaim().unwrap();
        assert!(!rig.volume().is_poisoned());
        assert_eq!(rig.store.volume_info(rig.id).unwrap().health, Health::Ok);
        rig.check_after_kill();
    }
}

#[test]
fn what_was_dead_when_a_layer_froze_comes_back() {
    // Upkeep looks at MiBs, so it is asked for directly.
    let mut rig = Rig::new(small());
    (0..BLOCKS).for_each(|block| rig.write(block).unwrap());
    (0..BLOCKS).filter(|block| block % 3 > 0).for_each(|block| rig.write(block).unwrap());
    rig.store.snapshot(rig.id, "s").unwrap();
    let before = rig.disk.used_bytes();
    assert_eq!(rig.volume().garbage_bytes(), 0, "nothing on top");
    let given = rig.volume().reclaim_below().unwrap();
    assert_eq!(given, (BLOCKS as u64 - 134) * 4096);
    assert!(rig.disk.used_bytes() + given / 2 < before);
    assert_eq!(rig.volume().reclaim_below().unwrap(), 0);
    assert_eq!(rig.volume().compact(u64::MAX, 99).unwrap().bytes, 0, "the frozen layer is not compacted");
    rig.check();
    rig.check_after_kill();
}

#[test]
fn segments_that_hold_only_records_of_trims_go() {
    let mut rig = Rig::new(small());
    for round in 0..4000 {
        rig.volume().trim(4096 * (round % BLOCKS as u64), 4096, Wait::Yes).unwrap();
    }
    let before = rig.segments();
    assert!(before > 40, "{before}");
    rig.store.maintain().unwrap();
    assert!(rig.segments() <= 1, "{} of {before}", rig.segments());
    rig.write(3).unwrap();
    rig.check_after_kill();
}

#[test]
fn a_round_copies_no_more_than_its_share() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let size_bytes = Some(1 << 30);
    let id = store.create_volume(NewVolume { name: "v".into(), image: None, size_bytes }).unwrap().id;
    let volume = store.open_volume(id).unwrap();
    let mib = vec![0x5a; 1 << 20];
    (0..330).for_each(|at| volume.write(at << 20, &[&mib], Wait::Yes).unwrap());
    // One MiB in five stays as it is.
    (0..330).filter(|at| at % 5 > 0).for_each(|at| volume.trim(at << 20, 1 << 20, Wait::Yes).unwrap());
    volume.reclaim().unwrap();
    let mut copied = Vec::new();
    loop {
        let done = store.maintain().unwrap();
        if done.compacted_bytes == 0 {
            break;
        }
        copied.push(done.compacted_bytes);
    }
    let step = 64 * 4096;
    assert!(copied.iter().all(|bytes| *bytes < COMPACT_BYTES_ROUND + step), "{copied:?}");
    // Three sparse segments are left as they are.
    assert!(copied.len() > 2 && copied.iter().sum::<u64>() >= 24 << 20, "{copied:?}");
    let mut out = vec![0; 1 << 20];
    volume.read(100 << 20, &mut out, Wait::Yes).unwrap();
    assert!(out == mib);
    let segments = std::fs::read_dir(dir.path().join("layers")).unwrap().next().unwrap().unwrap().path();
    let names = std::fs::read_dir(segments).unwrap().map(|entry| entry.unwrap().file_name());
    let segments = names.filter(|name| name.to_string_lossy().starts_with("seg-")).count();
    assert!(segments <= 5, "{segments}");
}

/// The store's file system has so much more room than its reserve, and no more.
fn leave_room(rig: &Rig, blocks: u64) {
    rig.disk.set_capacity(rig.disk.used_bytes() + RESERVE_BYTES_MIN + blocks * 4096);
}

/// Writes blocks of a volume, one after the other, until one is refused; gives how many were not.
fn fill(volume: &Volume, blocks: usize) -> usize {
    for block in 0..blocks {
        match volume.write((block * 4096) as u64, &[&[7; 4096]], Wait::Yes) {
            Ok(()) => {}
            Err(error) if error.kind() == Kind::NoSpace => return block,
            Err(error) => panic!("{error:?}"),
        }
    }
    blocks
}

#[test]
fn guaranteed_room_is_there_however_full_the_others_make_it() {
    let mut rig = Rig::new(small());
    let other = volume(&rig.store, "other");
    let greedy = rig.store.open_volume(other).unwrap();
    (0..20).for_each(|block| rig.write(block).unwrap());
    leave_room(&rig, 200);
    rig.store.set_reserve(rig.id, Some(100 * 4096)).unwrap();
    assert_eq!(rig.store.usage().unwrap().withheld_bytes, 80 * 4096);
    let taken = fill(&greedy, BLOCKS);
    assert!((80..=120).contains(&taken), "{taken}");
    // Neither the neighbour, nor an image, nor the same after a restart gets it.
    assert!(rig.store.begin_import("i").unwrap().write_at(0, &[1; 4096]).is_err());
    assert_eq!(rig.store.take_room(1).unwrap_err().kind(), Kind::NoSpace, "what is written beside the store");
    drop(greedy);
    rig.disk = rig.disk.kill();
    rig.store = open(&rig.disk, rig.geometry).unwrap();
    assert_eq!(rig.store.volume_info(rig.id).unwrap().reserve_bytes, Some(100 * 4096));
    assert_eq!(fill(&rig.store.open_volume(other).unwrap(), BLOCKS), 0);
    (20..100).for_each(|block| rig.write(block).unwrap());
    assert_eq!(rig.write(100).unwrap_err().kind(), Kind::NoSpace);
    assert_eq!(rig.store.usage().unwrap().withheld_bytes, 0);
    rig.check_after_kill();
}

#[test]
fn what_is_no_longer_guaranteed_is_for_all() {
    let rig = Rig::new(small());
    let other = volume(&rig.store, "other");
    let greedy = rig.store.open_volume(other).unwrap();
    leave_room(&rig, 200);
    assert_eq!(rig.store.set_reserve(rig.id, Some(300 * 4096)).unwrap_err().kind(), Kind::NoSpace);
    rig.store.set_reserve(rig.id, Some(100 * 4096)).unwrap();
    assert_eq!(rig.store.set_reserve(other, Some(110 * 4096)).unwrap_err().kind(), Kind::NoSpace);
    rig.store.set_quota(other, Some(50 * 4096)).unwrap();
    assert_eq!(rig.store.set_reserve(other, Some(60 * 4096)).unwrap_err().kind(), Kind::Invalid);
    rig.store.set_quota(other, None).unwrap();
    let taken = fill(&greedy, BLOCKS);
    rig.store.set_reserve(rig.id, Some(50 * 4096)).unwrap();
    let more = fill(&greedy, BLOCKS);
    assert!(taken < 105 && (20..=60).contains(&more), "{taken}, {more}");
    rig.store.remove_volume(rig.id).unwrap();
    assert!(fill(&greedy, BLOCKS) > 20);
    assert_eq!(rig.store.usage().unwrap().withheld_bytes, 0);
}

#[test]
fn few_logs_are_marked_at_a_time_and_all_in_the_end() {
    let rig = Rig::new(small());
    let volumes: Vec<_> =
        (0..20).map(|n| rig.store.open_volume(volume(&rig.store, &format!("q{n}"))).unwrap()).collect();
    for volume in &volumes {
        volume.write(0, &[&[7; 4096]], Wait::Yes).unwrap();
        volume.flush().unwrap();
    }
    let markers: Vec<usize> = (0..8).map(|_| rig.store.maintain().unwrap().markers).collect();
    assert_eq!(markers.iter().sum::<usize>(), 20, "{markers:?}");
    assert!(markers.iter().all(|markers| *markers <= cow::limits::MARKERS_ROUND), "{markers:?}");
    // What was never flushed is not said to be durable.
    volumes[0].write(0, &[&[8; 4096]], Wait::Yes).unwrap();
    assert_eq!((0..3).map(|_| rig.store.maintain().unwrap().markers).sum::<usize>(), 0);
}
