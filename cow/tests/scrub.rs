//! Scrubbing: what is rotten is found and makes its owner critical, service goes on, and what is well again is told.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test may stop at the first surprise"
)]

use std::{fs, ops::ControlFlow, os::unix::fs::FileExt, path::Path, sync::Arc};

use cow::{
    Geometry, Health, ImageId, NewVolume, Rotten, Scrub, Scrubbed, Store, VolumeId, Wait, disk::RealDisk,
};

fn small() -> Geometry {
    Geometry {
        segment_blocks: 16,
        data_offset: 12288,
        record_blocks_max: 4,
        summary_ahead_bytes: 4096,
        summary_reserve_bytes: 512,
        data_ahead_blocks: 2,
        small_sync_blocks: 2,
        ..Geometry::default()
    }
}

fn open(path: &Path) -> Arc<Store> {
    Store::open_with(Arc::new(RealDisk), path, small()).unwrap()
}

fn import(store: &Store) -> ImageId {
    let import = store.begin_import("golden").unwrap();
    import.write_at(0, &[7; 3 * 65536]).unwrap();
    store.finish_import(import, "raw", &mut |_, _| ControlFlow::Continue(())).unwrap().id
}

fn clone(store: &Store, name: &str, image: ImageId) -> VolumeId {
    store.create_volume(NewVolume { name: name.into(), image: Some(image), size_bytes: None }).unwrap().id
}

fn write(store: &Store, id: VolumeId, block: u64, byte: u8) {
    let volume = store.open_volume(id).unwrap();
    volume.write(block * 4096, &[&[byte; 4096]], Wait::Yes).unwrap();
    volume.flush().unwrap();
}

/// One whole pass in steps of so many bytes: what was rotten, and the bytes that were read.
fn pass(store: &Arc<Store>, budget: u64) -> (Vec<Rotten>, u64) {
    let mut scrub = Scrub::new(store).unwrap();
    let (mut found, mut before) = (Vec::new(), 0);
    for _ in 0..10_000 {
        let progress = scrub.step(budget);
        assert!(progress.done_bytes - before <= budget + 65536, "a step reads no more than it may");
        before = progress.done_bytes;
        found.extend(progress.rotten);
        if progress.finished {
            assert_eq!(progress.done, progress.total);
            return (found, progress.done_bytes);
        }
    }
    panic!("the pass does not end");
}

/// Changes a byte of every file with this name below a directory, at an offset.
fn rot(dir: &Path, name: &str, offset: u64) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path().join(name);
        if let Ok(file) = fs::OpenOptions::new().read(true).write(true).open(path) {
            let mut byte = [0];
            file.read_exact_at(&mut byte, offset).unwrap();
            file.write_all_at(&[byte[0] ^ 0x40], offset).unwrap();
        }
    }
}

#[test]
fn a_sound_store_is_read_once_and_closed_volumes_are_closed_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let image = import(&store);
    let web = clone(&store, "web", image);
    (0..30).for_each(|block| write(&store, web, block, 1));
    store.snapshot(web, "monday").unwrap();
    write(&store, web, 3, 2);
    store.close_volume(web).unwrap();
    for budget in [1, 4096, 1 << 30] {
        let (found, bytes) = pass(&store, budget);
        assert_eq!(found, []);
        assert_eq!(bytes, 3 * 65536 + 31 * 4096, "each layer once");
        assert!(!store.volume_info(web).unwrap().open);
    }
}

#[test]
fn a_rotten_block_makes_its_volume_critical_until_it_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let image = import(&store);
    let (web, other) = (clone(&store, "web", image), clone(&store, "other", image));
    (0..12).for_each(|block| write(&store, web, block, 1));
    let volume = store.open_volume(web).unwrap();
    rot(&dir.path().join("layers"), "seg-0000000000000000", 12288 + 5 * 4096 + 9);
    let (found, _) = pass(&store, 10_000);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].whose, found[0].offset), (Scrubbed::Volume(web), 5 * 4096));
    let Health::Critical(why) = store.volume_info(web).unwrap().health else { panic!("not critical") };
    assert!(why.contains("20480"), "{why}");
    assert_eq!(store.volume_info(other).unwrap().health, Health::Ok);
    volume.read(6 * 4096, &mut [0; 4096], Wait::Yes).unwrap();
    volume.write(5 * 4096, &[&[9; 4096]], Wait::Yes).unwrap();
    assert_eq!(pass(&store, 10_000).0, []);
    assert_eq!(store.volume_info(web).unwrap().health, Health::Ok);
}

#[test]
fn a_block_that_is_hidden_in_one_volume_is_lost_only_where_it_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let image = import(&store);
    let web = clone(&store, "web", image);
    (0..4).for_each(|block| write(&store, web, block, 1));
    let monday = store.snapshot(web, "monday").unwrap().id;
    let twin = store.clone_snapshot(monday, "twin").unwrap().id;
    rot(&dir.path().join("layers"), "seg-0000000000000000", 12288 + 2 * 4096);
    write(&store, web, 2, 5);
    let whose: Vec<Scrubbed> = pass(&store, 4096).0.into_iter().map(|rotten| rotten.whose).collect();
    assert_eq!(whose, [Scrubbed::Volume(twin), Scrubbed::Snapshot(monday)]);
    assert_eq!(store.volume_info(web).unwrap().health, Health::Ok);
}

#[test]
fn a_rotten_chunk_makes_its_image_and_all_on_it_critical_and_is_never_served() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let image = import(&store);
    let web = clone(&store, "web", image);
    let volume = store.open_volume(web).unwrap();
    volume.read(65536, &mut [0; 4096], Wait::Yes).unwrap();
    rot(&dir.path().join("golden"), "image.raw", 65536 + 77);
    let (found, _) = pass(&store, 70_000);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].whose, found[0].offset), (Scrubbed::Image(image), 65536));
    assert!(matches!(store.images().unwrap()[0].health, Health::Critical(_)));
    assert!(matches!(store.volume_info(web).unwrap().health, Health::Critical(_)));
    for _ in 0..3 {
        volume.read(65536, &mut [0; 4096], Wait::Yes).unwrap_err();
        volume.read(0, &mut [0; 4096], Wait::Yes).unwrap();
    }
}

#[test]
fn volumes_without_data_count_for_the_pace() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let image = import(&store);
    for number in 0..40 {
        clone(&store, &format!("v{number}"), image);
    }
    let mut scrub = Scrub::new(&store).unwrap();
    let (mut steps, mut spent) = (0, 0);
    loop {
        let progress = scrub.step(512 << 10);
        (steps, spent) = (steps + 1, spent + progress.spent_bytes);
        if progress.finished {
            break;
        }
    }
    assert!(steps >= 5, "{steps} steps over 40 volumes");
    assert!(spent > 40 << 14, "{spent}");
}

#[test]
fn a_block_far_behind_the_others_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let new = NewVolume { name: "wide".into(), image: None, size_bytes: Some(1 << 44) };
    let wide = store.create_volume(new).unwrap().id;
    let blocks = [0, 1, (1 << 14) - 1, 1 << 14, 5 << 22, (1 << 32) - 1];
    blocks.iter().for_each(|block| write(&store, wide, *block, 1));
    assert_eq!(pass(&store, 1 << 30), (vec![], blocks.len() as u64 * 4096));
    rot(&dir.path().join("layers"), "seg-0000000000000000", 12288 + 5 * 4096);
    let (found, _) = pass(&store, 8192);
    assert_eq!(found.iter().map(|rotten| rotten.offset).collect::<Vec<_>>(), [((1_u64 << 32) - 1) * 4096]);
}

#[test]
fn what_is_removed_or_cannot_be_opened_does_not_stop_the_pass() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let image = import(&store);
    let ids: Vec<VolumeId> = ["a", "b", "c"].map(|name| clone(&store, name, image)).to_vec();
    for id in &ids {
        (0..8).for_each(|block| write(&store, *id, block, 1));
        store.close_volume(*id).unwrap();
    }
    let mut scrub = Scrub::new(&store).unwrap();
    // The image is done, and the first volume is open.
    while scrub.step(4096).done < 1 {}
    scrub.step(1);
    store.remove_volume(ids[0]).unwrap();
    rot(&dir.path().join("layers"), "ckpt-0000000000000001", 50);
    let progress = scrub.step(1 << 30);
    assert!(progress.finished);
    let whose: Vec<Scrubbed> = progress.rotten.iter().map(|rotten| rotten.whose).collect();
    assert_eq!(whose, [Scrubbed::Volume(ids[1]), Scrubbed::Volume(ids[2])]);
    assert!(matches!(store.volume_info(ids[1]).unwrap().health, Health::Critical(_)));
}
