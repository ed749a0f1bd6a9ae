//! Many threads on one volume, each with sectors of its own in the blocks of all: nobody loses a write to a
//! neighbour, not while space is given back, and not when the power goes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use cow::{
    Kind, NewVolume, Volume, Wait,
    disk::sim::{Cut, Rng, SimDisk},
};
use support::{check::open, full, small_geometry, tags};

const THREADS: usize = 4;
const BLOCKS: usize = 40;
const SECTOR: usize = 512;

/// What one thread wrote to its sectors, and up to which write that had been flushed.
struct Written {
    last: Vec<tags::Tag>,
    flushed: Vec<tags::Tag>,
}

fn offset(thread: usize, block: usize) -> u64 {
    (block * 4096 + thread * 2 * SECTOR) as u64
}

fn work(volume: &Volume, thread: usize, seed: u64, rounds: u64) -> Written {
    let mut rng = Rng::new(seed * 100 + thread as u64);
    let mut written = Written { last: vec![0; BLOCKS], flushed: vec![0; BLOCKS] };
    for round in 1..=rounds {
        let block = rng.index(BLOCKS);
        let tag = round * THREADS as u64 + thread as u64;
        let at = offset(thread, block);
        let before = tags::bytes(&[written.last[block]; 2]);
        let new = tags::bytes(&[tag; 2]);
        match rng.below(5) {
            0 => {
                let told = volume.compare_and_write(at, &before, &new, Wait::Yes).unwrap();
                assert_eq!(told, None, "thread {thread}, block {block}");
            }
            1 => volume
                .update(at, 1024, Wait::Yes, &mut |here| {
                    assert_eq!(here, before);
                    here.copy_from_slice(&new);
                })
                .unwrap(),
            _ => volume.write(at, &[&new], Wait::Yes).unwrap(),
        }
        written.last[block] = tag;
        let mut have = [0; 1024];
        volume.read(at, &mut have, Wait::Yes).unwrap();
        assert_eq!(have[..], new[..], "thread {thread}, block {block}");
        if rng.one_in(20) {
            let before = written.last.clone();
            volume.flush().unwrap();
            written.flushed = before;
        }
    }
    written
}

fn check(volume: &Volume, thread: usize, written: &Written, cut: bool) {
    for block in 0..BLOCKS {
        let mut have = [0; 1024];
        volume.read(offset(thread, block), &mut have, Wait::Yes).unwrap();
        let (a, b) = (tags::tag(&have[..SECTOR]), tags::tag(&have[SECTOR..]));
        let newest = written.last[block];
        let oldest = if cut { written.flushed[block] } else { newest };
        assert!(
            a == b && a.is_some_and(|a| (oldest..=newest).contains(&a)),
            "{a:?} {b:?}: {oldest}..={newest}"
        );
    }
}

fn run(seed: u64, rounds: u64) {
    let mut rng = Rng::new(seed);
    let geometry = small_geometry(&mut rng);
    let disk = SimDisk::new(seed);
    cow::disk::Disk::create_dir(&disk, std::path::Path::new("/var")).unwrap();
    cow::disk::Disk::sync_dir(&disk, std::path::Path::new("/")).unwrap();
    let store = open(&disk, geometry).unwrap();
    let size_bytes = Some((BLOCKS * 4096) as u64);
    let info = store.create_volume(NewVolume { name: "v".into(), image: None, size_bytes }).unwrap();
    let volume = store.open_volume(info.id).unwrap();
    let done = AtomicBool::new(false);
    let written: Vec<Written> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn({
                    let volume = &volume;
                    move || work(volume, thread, seed, rounds)
                })
            })
            .collect();
        let keeper = scope.spawn(|| {
            let mut number = 0;
            while !done.load(Ordering::Relaxed) {
                let compacted = volume.compact(u64::MAX, 99).unwrap();
                assert_eq!(compacted.left_alone, 0, "nothing is rotten");
                volume.reclaim().unwrap();
                volume.checkpoint().unwrap();
                let name = format!("s{number}");
                number += 1;
                let snapshot = store.snapshot(info.id, &name).unwrap();
                store.remove_snapshot(snapshot.id).unwrap();
                match store.merge_layers(info.id) {
                    Err(error) if error.kind() != Kind::InUse => panic!("{error:?}"),
                    _ => {}
                }
            }
        });
        let written: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        // Also when one of them has failed.
        done.store(true, Ordering::Relaxed);
        keeper.join().unwrap();
        written.into_iter().map(|written| written.unwrap()).collect()
    });
    (0..THREADS).for_each(|thread| check(&volume, thread, &written[thread], false));
    drop((volume, store));
    for cut in [None, Some(Cut::Nothing), Some(Cut::any(&mut rng))] {
        let disk = disk.copy();
        let disk = match cut {
            None => disk.kill(),
            Some(cut) => disk.power_cut(&mut rng, cut),
        };
        let store = open(&disk, geometry).unwrap();
        let volume: Arc<Volume> = store.open_volume(info.id).unwrap();
        (0..THREADS).for_each(|thread| check(&volume, thread, &written[thread], cut.is_some()));
    }
}

#[test]
fn neighbours_in_a_block_do_not_lose_writes_to_each_other() {
    for seed in 1..=if full() { 60 } else { 6 } {
        run(seed, 300);
    }
}
