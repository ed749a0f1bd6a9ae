//! The store on a real directory: what is written is read, also after the process was killed.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

use std::{ops::ControlFlow, path::Path, sync::Arc};

use cow::{Allocation, Health, ImageId, Kind, NewVolume, Store, Volume, VolumeId, Wait};

const BLOCK: usize = 4096;

fn pattern(seed: u8, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

fn import(store: &Store, name: &str, content: &[u8]) -> cow::Result<ImageId> {
    let import = store.begin_import(name)?;
    import.write_at(0, content)?;
    Ok(store.finish_import(import, "raw", &mut |_, _| ControlFlow::Continue(()))?.id)
}

fn clone(
    store: &Store,
    name: &str,
    image: Option<ImageId>,
    size_bytes: Option<u64>,
) -> cow::Result<VolumeId> {
    Ok(store.create_volume(NewVolume { name: name.into(), image, size_bytes })?.id)
}

fn read(volume: &Volume, offset: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0xee; bytes];
    volume.read(offset, &mut out, Wait::Yes).unwrap();
    out
}

/// What a kill leaves: nothing is closed, the lock goes with the process.
fn killed(store: Arc<Store>) {
    drop(store);
}

fn reopened(path: &Path, id: VolumeId) -> (Arc<Store>, Arc<Volume>) {
    let store = Store::open(path).unwrap();
    let volume = store.open_volume(id).unwrap();
    (store, volume)
}

#[test]
fn a_clone_reads_its_image_and_zeros_past_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let content = pattern(7, 3 * BLOCK + 512);
    let image = import(&store, "golden", &content).unwrap();
    let id = clone(&store, "v", Some(image), Some(1 << 20)).unwrap();
    let volume = store.open_volume(id).unwrap();
    assert_eq!(read(&volume, 0, content.len()), content);
    assert_eq!(read(&volume, content.len() as u64, 4096), vec![0; 4096]);
    assert_eq!(read(&volume, 512, 1024), content[512..1536]);
}

#[test]
fn acknowledged_writes_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let image = import(&store, "golden", &pattern(7, 64 * BLOCK)).unwrap();
    let id = clone(&store, "v", Some(image), None).unwrap();
    killed(store);
    let mut want = pattern(7, 64 * BLOCK);
    for seed in 1..6_u8 {
        let (store, volume) = reopened(dir.path(), id);
        assert_eq!(read(&volume, 0, want.len()), want, "before round {seed}");
        let data = pattern(seed, 3 * BLOCK + 1024);
        let offset = usize::from(seed) * 5 * 512;
        volume.write(offset as u64, &[&data[..700], &data[700..]], Wait::Yes).unwrap();
        want[offset..offset + data.len()].copy_from_slice(&data);
        let at = 40 * BLOCK + usize::from(seed) * BLOCK;
        volume.trim(at as u64 - 512, 6144, Wait::Yes).unwrap();
        want[at - 512..at - 512 + 6144].fill(0);
        assert_eq!(read(&volume, 0, want.len()), want);
        drop(volume);
        killed(store);
    }
}

#[test]
fn a_second_opener_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(Store::open(dir.path()).err().map(|error| error.kind()), Some(Kind::Locked));
    drop(store);
    Store::open(dir.path()).unwrap();
}

#[test]
fn names_and_sizes_are_checked_and_nothing_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let image = import(&store, "golden", &pattern(1, 2 * BLOCK)).unwrap();
    let kind = |result: cow::Result<VolumeId>| result.err().map(|error| error.kind());
    assert_eq!(kind(clone(&store, "a/b", Some(image), None)), Some(Kind::Invalid));
    assert_eq!(kind(clone(&store, "", Some(image), None)), Some(Kind::Invalid));
    assert_eq!(kind(clone(&store, "v", Some(image), Some(4096))), Some(Kind::Invalid));
    assert_eq!(kind(clone(&store, "v", None, None)), Some(Kind::Invalid));
    clone(&store, "v", Some(image), None).unwrap();
    assert_eq!(kind(clone(&store, "v", Some(image), None)), Some(Kind::Exists));
    assert_eq!(import(&store, "golden", &[1; 512]).err().map(|error| error.kind()), Some(Kind::Exists));
    assert_eq!(import(&store, "odd", &[1; 513]).err().map(|error| error.kind()), Some(Kind::Invalid));
    assert_eq!(store.remove_image(image).err().map(|error| error.kind()), Some(Kind::InUse));
    assert_eq!(std::fs::read_dir(dir.path().join("staging")).unwrap().count(), 0);
    assert_eq!((store.images().unwrap().len(), store.volumes().len()), (1, 1));
}

#[test]
fn what_is_removed_is_gone_and_its_space_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let image = import(&store, "golden", &pattern(1, 64 * BLOCK)).unwrap();
    let same = import(&store, "twin", &pattern(1, 64 * BLOCK)).unwrap();
    assert_eq!(std::fs::read_dir(dir.path().join("golden")).unwrap().count(), 1, "same content, one copy");
    let id = clone(&store, "v", Some(image), None).unwrap();
    let volume = store.open_volume(id).unwrap();
    volume.write(0, &[&pattern(9, 8 * BLOCK)], Wait::Yes).unwrap();
    volume.flush().unwrap();
    assert!(store.volume_info(id).unwrap().allocated_bytes >= 8 * 4096);
    assert_eq!(store.remove_volume(id).err().map(|error| error.kind()), Some(Kind::InUse));
    drop(volume);
    store.remove_volume(id).unwrap();
    store.remove_image(image).unwrap();
    assert_eq!(std::fs::read_dir(dir.path().join("golden")).unwrap().count(), 1, "the twin has it still");
    store.remove_image(same).unwrap();
    for name in ["golden", "images", "volumes", "layers", "staging"] {
        assert_eq!(std::fs::read_dir(dir.path().join(name)).unwrap().count(), 0, "{name}");
    }
}

#[test]
fn trimmed_space_comes_back_and_reads_zeros_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let image = import(&store, "golden", &pattern(1, 64 * BLOCK)).unwrap();
    let id = clone(&store, "v", Some(image), Some(1 << 30)).unwrap();
    let volume = store.open_volume(id).unwrap();
    let data = pattern(3, 1 << 20);
    for n in 0..100 {
        volume.write(n << 20, &[&data], Wait::Yes).unwrap();
    }
    volume.flush().unwrap();
    let full = volume.allocated_bytes().unwrap();
    assert!(full >= 100 << 20);
    volume.trim(0, 99 << 20, Wait::Yes).unwrap();
    volume.reclaim().unwrap();
    assert!(volume.allocated_bytes().unwrap() < 4 << 20, "{}", volume.allocated_bytes().unwrap());
    let check = |volume: &Volume| {
        assert_eq!(read(volume, 0, 128 * BLOCK), vec![0; 128 * BLOCK]);
        assert_eq!(read(volume, 99 << 20, 1 << 20), data);
        let status = volume.block_status(0, 1 << 30).unwrap();
        let want = [
            (99 << 20, Allocation::Deallocated),
            (1 << 20, Allocation::Mapped),
            (924 << 20, Allocation::Deallocated),
        ];
        assert_eq!(status, want);
    };
    check(&volume);
    drop((volume, store));
    let (_store, volume) = reopened(dir.path(), id);
    check(&volume);
}

#[test]
fn compare_and_write_writes_only_what_it_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let id = clone(&store, "v", None, Some(1 << 20)).unwrap();
    let volume = store.open_volume(id).unwrap();
    volume.write(512, &[&[5; 512]], Wait::Yes).unwrap();
    assert_eq!(volume.compare_and_write(512, &[5; 512], &[6; 512], Wait::Yes).unwrap(), None);
    let mut almost = [6; 512];
    almost[77] = 0;
    assert_eq!(volume.compare_and_write(512, &almost, &[7; 512], Wait::Yes).unwrap(), Some(77));
    assert_eq!(read(&volume, 512, 512), [6; 512]);
    assert_eq!((read(&volume, 0, 512), read(&volume, 1024, 512)), (vec![0; 512], vec![0; 512]));
}

#[test]
fn a_rotten_block_is_an_error_with_its_address() {
    use std::os::unix::fs::FileExt;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let id = clone(&store, "v", None, Some(1 << 20)).unwrap();
    let volume = store.open_volume(id).unwrap();
    volume.write(8 * 4096, &[&pattern(3, 4 * BLOCK)], Wait::Yes).unwrap();
    let layer = std::fs::read_dir(dir.path().join("layers")).unwrap().next().unwrap().unwrap().path();
    let segment = std::fs::OpenOptions::new().write(true).open(layer.join("seg-0000000000000000")).unwrap();
    segment.write_all_at(&[0xff], (1 << 20) + 2 * 4096 + 100).unwrap();
    let error = volume.read(8 * 4096, &mut vec![0; 4 * BLOCK], Wait::Yes).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt { offset: 10 * 4096 });
    assert_eq!(read(&volume, 8 * 4096, 2 * BLOCK), pattern(3, 4 * BLOCK)[..2 * BLOCK]);
}

#[test]
fn a_snapshot_keeps_what_was_there_while_the_volume_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let image = import(&store, "golden", &pattern(1, 64 * BLOCK)).unwrap();
    let id = clone(&store, "v", Some(image), None).unwrap();
    let volume = store.open_volume(id).unwrap();
    volume.write(0, &[&pattern(2, 4 * BLOCK)], Wait::Yes).unwrap();
    volume.trim(8 * 4096, 4 * 4096, Wait::Yes).unwrap();
    let before = read(&volume, 0, 64 * BLOCK);
    let first = store.snapshot(id, "first").unwrap();
    assert_eq!(store.snapshot(id, "first").err().map(|error| error.kind()), Some(Kind::Exists));
    volume.write(2 * 4096, &[&pattern(3, 8 * BLOCK)], Wait::Yes).unwrap();
    let after = read(&volume, 0, 64 * BLOCK);
    assert_ne!(before, after);
    assert_eq!(after[2 * BLOCK..10 * BLOCK], pattern(3, 8 * BLOCK));
    let twin = store.clone_snapshot(first.id, "twin").unwrap().id;
    assert_eq!(read(&store.open_volume(twin).unwrap(), 0, 64 * BLOCK), before);
    assert_eq!(store.roll_back(id, first.id).err().map(|error| error.kind()), Some(Kind::InUse));
    drop(volume);
    drop(store);
    let (store, volume) = reopened(dir.path(), id);
    assert_eq!(read(&volume, 0, 64 * BLOCK), after);
    drop(volume);
    store.roll_back(id, first.id).unwrap();
    assert_eq!(read(&store.open_volume(id).unwrap(), 0, 64 * BLOCK), before);
    store.open_volume(twin).unwrap().write(0, &[&[9; 4096]], Wait::Yes).unwrap();
    assert_eq!(read(&store.open_volume(id).unwrap(), 0, 64 * BLOCK), before, "the twin has its own blocks");
    // Everything can go, in any order, and takes its space with it.
    store.remove_snapshot(first.id).unwrap();
    store.remove_volume(id).unwrap();
    assert_eq!(read(&store.open_volume(twin).unwrap(), 4096, 3 * BLOCK), before[BLOCK..4 * BLOCK]);
    assert_eq!(store.remove_image(image).err().map(|error| error.kind()), Some(Kind::InUse));
    store.remove_volume(twin).unwrap();
    store.remove_image(image).unwrap();
    for name in ["golden", "images", "volumes", "layers", "snapshots", "staging"] {
        assert_eq!(std::fs::read_dir(dir.path().join(name)).unwrap().count(), 0, "{name}");
    }
}

#[test]
fn a_volume_grows_in_use_and_reads_zeros_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let id = clone(&store, "v", None, Some(1 << 20)).unwrap();
    let volume = store.open_volume(id).unwrap();
    assert_eq!(volume.write(1 << 20, &[&[1; 4096]], Wait::Yes).unwrap_err().kind(), Kind::OutOfRange);
    store.grow_volume(id, 2 << 20).unwrap();
    assert_eq!(read(&volume, 1 << 20, 1 << 20), vec![0; 1 << 20]);
    volume.write(1 << 20, &[&[1; 4096]], Wait::Yes).unwrap();
    assert_eq!(store.grow_volume(id, 1 << 20).err().map(|error| error.kind()), Some(Kind::Invalid));
    drop((volume, store));
    let (_store, volume) = reopened(dir.path(), id);
    assert_eq!((volume.size_bytes(), read(&volume, 1 << 20, 4096)), (2 << 20, vec![1; 4096]));
}

#[test]
fn layers_that_no_snapshot_needs_are_merged_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let image = import(&store, "golden", &pattern(1, 600 * BLOCK)).unwrap();
    let id = clone(&store, "v", Some(image), None).unwrap();
    let volume = store.open_volume(id).unwrap();
    let mut snapshots = Vec::new();
    for seed in 1..5_u8 {
        volume.write(u64::from(seed) * 4096, &[&pattern(seed, 400 * BLOCK)], Wait::Yes).unwrap();
        volume.trim(u64::from(seed) * 77 * 4096, 30 * 4096, Wait::Yes).unwrap();
        snapshots.push((store.snapshot(id, &format!("s{seed}")).unwrap().id, read(&volume, 0, 600 * BLOCK)));
    }
    volume.write(500 * 4096, &[&pattern(77, BLOCK)], Wait::Yes).unwrap();
    let now = read(&volume, 0, 600 * BLOCK);
    assert_eq!(store.merge_layers(id).unwrap(), 0, "every layer is in a snapshot");
    for (snapshot, _) in &snapshots[1..] {
        store.remove_snapshot(*snapshot).unwrap();
    }
    assert_eq!(store.merge_layers(id).unwrap(), 3);
    assert_eq!(read(&volume, 0, 600 * BLOCK), now);
    assert_eq!(std::fs::read_dir(dir.path().join("layers")).unwrap().count(), 2);
    drop((volume, store));
    let (store, volume) = reopened(dir.path(), id);
    assert_eq!(read(&volume, 0, 600 * BLOCK), now);
    let twin = store.clone_snapshot(snapshots[0].0, "twin").unwrap().id;
    assert_eq!(read(&store.open_volume(twin).unwrap(), 0, 600 * BLOCK), snapshots[0].1);
}

#[test]
fn an_image_without_its_content_is_listed_and_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    import(&store, "good", &pattern(1, 4 * BLOCK)).unwrap();
    import(&store, "gone", &pattern(2, 4 * BLOCK)).unwrap();
    let digest = store.images().unwrap().iter().find(|image| image.name == "gone").unwrap().digest.clone();
    std::fs::remove_dir_all(dir.path().join("golden").join(digest)).unwrap();
    let images = store.images().unwrap();
    let told: Vec<_> = images.iter().map(|image| (image.name.as_str(), image.health == Health::Ok)).collect();
    assert_eq!(told, [("gone", false), ("good", true)]);
}

/// What a directory takes on disk, by the system's own count.
fn disk_usage(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let bytes = |entry: std::fs::DirEntry| match entry.metadata().unwrap() {
        data if data.is_dir() => disk_usage(&entry.path()),
        data => data.blocks() * 512,
    };
    entries.map(bytes).sum()
}

#[test]
fn who_takes_how_much_is_told_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let exact = |store: &Store| {
        let usage = store.usage().unwrap();
        let layers = disk_usage(&dir.path().join("layers"));
        assert_eq!(usage.images_bytes, disk_usage(&dir.path().join("golden")));
        assert_eq!(usage.volumes_bytes + usage.snapshots_bytes, layers, "{usage:?}");
        usage
    };
    let image = import(&store, "golden", &pattern(1, 64 * BLOCK)).unwrap();
    import(&store, "twin", &pattern(1, 64 * BLOCK)).unwrap();
    let id = clone(&store, "v", Some(image), Some(1 << 30)).unwrap();
    let volume = store.open_volume(id).unwrap();
    for round in 0..40 {
        volume.write(round * 40 * 4096, &[&pattern(9, 20 * BLOCK)], Wait::Yes).unwrap();
        volume.flush().unwrap();
    }
    let snapshot = store.snapshot(id, "s").unwrap().id;
    volume.write(0, &[&pattern(7, 300 * BLOCK)], Wait::Yes).unwrap();
    volume.flush().unwrap();
    exact(&store);
    volume.trim(0, 100 * 4096, Wait::Yes).unwrap();
    volume.reclaim().unwrap();
    let open = exact(&store);
    assert_eq!(open.snapshots_bytes, 0, "the volume lies on the snapshot's layer");
    drop(volume);
    store.close_volume(id).unwrap();
    exact(&store);
    let info = store.volume_info(id).unwrap();
    assert_eq!(info.allocated_bytes, disk_usage(&dir.path().join("layers")));
    store.remove_volume(id).unwrap();
    let left = exact(&store);
    assert_eq!(left.volumes_bytes, 0);
    assert!(left.snapshots_bytes >= 800 * 4096);
    store.remove_snapshot(snapshot).unwrap();
    assert_eq!(exact(&store).snapshots_bytes, 0);
    assert!(left.total_bytes >= left.free_bytes && left.reserve_bytes > 0);
}

#[test]
fn a_volume_whose_manifest_is_damaged_can_be_removed_and_its_data_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (id, other) = (clone(&store, "v", None, Some(1 << 20)), clone(&store, "w", None, Some(1 << 20)));
    let (id, other) = (id.unwrap(), other.unwrap());
    store.open_volume(id).unwrap().write(0, &[&pattern(3, BLOCK)], Wait::Yes).unwrap();
    store.close().unwrap();
    drop(store);
    let manifests = dir.path().join("volumes").join(id.to_string());
    let manifest = std::fs::read_dir(&manifests).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&manifest).unwrap();
    bytes[60] ^= 0x55;
    bytes[70] ^= 0x55;
    std::fs::write(&manifest, bytes).unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert!(matches!(store.volume_info(id).unwrap().health, Health::Critical(_)));
    let refused = store.open_volume(id).err().map(|error| error.kind());
    assert!(matches!(refused, Some(Kind::Corrupt { .. })));
    store.remove_volume(id).unwrap();
    assert_eq!(store.volume_info(id).err().map(|error| error.kind()), Some(Kind::NotFound));
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.volumes().iter().map(|info| info.id).collect::<Vec<_>>(), [other]);
    assert_eq!(store.orphans().len(), 1, "what was written is still there");
}

#[test]
fn a_volume_gets_another_name_in_use_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let id = clone(&store, "one", None, Some(1 << 20)).unwrap();
    let other = clone(&store, "other", None, Some(1 << 20)).unwrap();
    let volume = store.open_volume(id).unwrap();
    volume.write(0, &[&pattern(3, BLOCK)], Wait::Yes).unwrap();
    store.rename_volume(id, "two").unwrap();
    assert_eq!(store.volume_info(id).unwrap().name, "two");
    assert_eq!(store.rename_volume(other, "two").unwrap_err().kind(), Kind::Exists);
    assert_eq!(store.rename_volume(other, "no/name").unwrap_err().kind(), Kind::Invalid);
    // The name before is free, the refused one is not taken.
    store.rename_volume(other, "one").unwrap();
    store.rename_volume(other, "one").unwrap();
    drop(volume);
    killed(store);
    let (store, volume) = reopened(dir.path(), id);
    assert_eq!(read(&volume, 0, BLOCK), pattern(3, BLOCK));
    assert_eq!(store.volume_info(id).unwrap().name, "two");
    assert_eq!(store.volume_info(other).unwrap().name, "one");
    assert_eq!(clone(&store, "two", None, Some(1 << 20)).unwrap_err().kind(), Kind::Exists);
}
