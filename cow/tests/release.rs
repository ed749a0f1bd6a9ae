//! Removing costs the same whatever the size; and what no manifest accounts for is never removed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::{fs, path::Path, sync::Arc};

use cow::{
    Geometry, NewVolume, Store, VolumeId, Wait,
    disk::RealDisk,
    limits::{BLOCK_LEN, RELEASE_FILES_AT_ONCE},
    offline::Offline,
};

/// Segments of a few blocks, so that a little data takes many files.
fn open(path: &Path) -> Arc<Store> {
    let small =
        Geometry { segment_blocks: 4, data_offset: 8192, summary_ahead_bytes: 4096, ..Geometry::default() };
    Store::open_with(Arc::new(RealDisk), path, Geometry { record_blocks_max: 4, ..small }).unwrap()
}

fn files(path: &Path) -> usize {
    let layers = fs::read_dir(path.join("layers")).unwrap();
    layers.map(|layer| fs::read_dir(layer.unwrap().path()).unwrap().count()).sum()
}

fn entries(path: &Path, name: &str) -> usize {
    fs::read_dir(path.join(name)).unwrap().count()
}

/// A volume of more segments than are unlinked at once.
fn large_volume(store: &Store, name: &str) -> VolumeId {
    let new = NewVolume { name: name.into(), image: None, size_bytes: Some(64 << 20) };
    let id = store.create_volume(new).unwrap().id;
    let volume = store.open_volume(id).unwrap();
    for block in 0..RELEASE_FILES_AT_ONCE * 12 {
        volume.write((block * BLOCK_LEN) as u64, &[&[7; BLOCK_LEN]], Wait::Yes).unwrap();
    }
    id
}

#[test]
fn a_large_volume_goes_at_once_and_its_files_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = large_volume(&store, "v");
    let before = files(dir.path());
    assert!(before > 2 * RELEASE_FILES_AT_ONCE, "{before} files");
    store.remove_volume(id).unwrap();
    assert!(store.volumes().is_empty());
    assert_eq!(files(dir.path()), before - RELEASE_FILES_AT_ONCE);
    assert_eq!((store.layers_to_sweep(), entries(dir.path(), "volumes")), (1, 1));
    // Its name is free already.
    large_volume(&store, "v");
    store.maintain().unwrap();
    assert_eq!(
        (store.layers_to_sweep(), entries(dir.path(), "layers"), entries(dir.path(), "volumes")),
        (0, 1, 1)
    );
}

#[test]
fn what_was_not_unlinked_goes_after_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = large_volume(&store, "removed");
    let twin = large_volume(&store, "rolled-back");
    let snapshot = store.snapshot(twin, "s").unwrap().id;
    let volume = store.open_volume(twin).unwrap();
    for block in 0..RELEASE_FILES_AT_ONCE * 8 {
        volume.write((block * BLOCK_LEN) as u64, &[&[8; BLOCK_LEN]], Wait::Yes).unwrap();
    }
    drop(volume);
    store.remove_volume(id).unwrap();
    store.roll_back(twin, snapshot).unwrap();
    // Another manifest must not make forgotten why the layer above the snapshot goes.
    store.grow_volume(twin, 128 << 20).unwrap();
    assert_eq!(store.layers_to_sweep(), 2);
    drop(store);
    let store = open(dir.path());
    assert!(store.layers_to_sweep() > 0, "an opening waits for no file");
    assert_eq!((store.orphans().len(), store.volumes().len()), (0, 1));
    store.maintain().unwrap();
    assert_eq!((store.layers_to_sweep(), entries(dir.path(), "layers")), (0, 1));
    let volume = store.open_volume(twin).unwrap();
    let mut block = [0; BLOCK_LEN];
    volume.read(0, &mut block, Wait::Yes).unwrap();
    assert_eq!((block, volume.size_bytes()), ([7; BLOCK_LEN], 128 << 20));
    drop((volume, store));
    assert!(open(dir.path()).orphans().is_empty());
}

#[test]
fn a_volume_that_lost_its_manifest_loses_no_data() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = large_volume(&store, "v");
    store.close().unwrap();
    let before = files(dir.path());
    drop(store);
    fs::remove_dir_all(dir.path().join("volumes").join(id.to_string())).unwrap();
    for _ in 0..2 {
        let store = open(dir.path());
        store.maintain().unwrap();
        assert_eq!((store.orphans().len(), store.volumes().len(), files(dir.path())), (1, 0, before));
    }
    let report = Offline::open(dir.path())
        .unwrap()
        .check(false, &mut |_, _| std::ops::ControlFlow::Continue(()))
        .unwrap();
    assert_eq!(report.orphans.len(), 1);
}
