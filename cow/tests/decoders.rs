//! Bytes from a disk, mutated with their checksums made right again: no decoder panics, no store that holds them
//! does, and none reads another's data for its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::{ops::ControlFlow, path::PathBuf};

use cow::{
    NewVolume, Wait,
    disk::sim::{Rng, SimDisk},
    fuzz,
};
use support::{check::open, full, small_geometry};

/// A small store with one of everything.
fn store(seed: u64) -> (SimDisk, cow::Geometry) {
    let geometry = small_geometry(&mut Rng::new(seed));
    let disk = SimDisk::new(seed);
    cow::disk::Disk::create_dir(&disk, std::path::Path::new("/var")).unwrap();
    let store = open(&disk, geometry).unwrap();
    let import = store.begin_import("golden").unwrap();
    import.write_at(0, &[7; 5 * 4096]).unwrap();
    let image = store.finish_import(import, "raw", &mut |_, _| ControlFlow::Continue(())).unwrap();
    let new = NewVolume { name: "v".into(), image: Some(image.id), size_bytes: Some(30 * 4096) };
    let id = store.create_volume(new).unwrap().id;
    let volume = store.open_volume(id).unwrap();
    for block in 0..20_u64 {
        volume.write(block % 11 * 4096, &[&[block as u8; 4096]], Wait::Yes).unwrap();
    }
    store.snapshot(id, "s").unwrap();
    volume.trim(0, 3 * 4096, Wait::Yes).unwrap();
    volume.checkpoint().unwrap();
    volume.write(4096, &[&[99; 8192]], Wait::Yes).unwrap();
    volume.flush().unwrap();
    drop((volume, store));
    (disk, geometry)
}

/// Changes a few bytes, mostly to values that mean something, then makes checksums right.
fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>, path: &str) {
    if bytes.is_empty() {
        return;
    }
    let reach = bytes.len().min(if rng.one_in(2) { 160 } else { 8192 });
    for _ in 0..=rng.below(3) {
        let at = rng.index(reach.min(bytes.len()));
        match rng.below(6) {
            0 => bytes[at] = rng.next() as u8,
            1 => bytes[at] ^= 1 << rng.below(8),
            2 => bytes[at..].iter_mut().take(4).for_each(|byte| *byte = 0xff),
            3 => bytes[at..].iter_mut().take(8).for_each(|byte| *byte = 0),
            4 => bytes.truncate(at.max(1)),
            _ => {
                let from = rng.index(reach.min(bytes.len()));
                let piece: Vec<u8> = bytes[from..].iter().copied().take(16).collect();
                bytes.iter_mut().skip(at).zip(piece).for_each(|(byte, new)| *byte = new);
            }
        }
    }
    if rng.one_in(8) {
        return;
    }
    let mut at = 0;
    while let Some(end) = bytes.get_mut(at..).and_then(fuzz::reseal_frame) {
        at += end;
    }
    reseal_records(bytes, path);
}

fn reseal_records(bytes: &mut [u8], path: &str) {
    let path = PathBuf::from(path);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some(number) = name.strip_prefix("seg-").and_then(|digits| u64::from_str_radix(digits, 16).ok())
    else {
        return;
    };
    let layer =
        path.parent().and_then(|dir| dir.file_name()).and_then(|name| name.to_str()).unwrap_or_default();
    let byte = |at: usize| layer.get(at * 2..at * 2 + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
    let layer: [u8; 16] = std::array::from_fn(|at| byte(at).unwrap_or(0));
    let mut at = 4096;
    while bytes.get(at..at + 4).is_some_and(|magic| magic == b"OVr1") {
        let Some(end) = bytes.get_mut(at..).and_then(|rest| fuzz::reseal_record(rest, layer, number)) else {
            break;
        };
        at += end;
    }
}

/// Opens and reads all there is; errors are fine, a panic is not.
fn use_everything(disk: &SimDisk, geometry: cow::Geometry) {
    let Ok(store) = open(disk, geometry) else { return };
    drop(store.images());
    for snapshot in store.snapshots() {
        if let Ok(info) = store.clone_snapshot(snapshot.id, "look") {
            drop(store.open_volume(info.id));
        }
    }
    for info in store.volumes() {
        let Ok(volume) = store.open_volume(info.id) else { continue };
        let mut out = vec![0; (volume.size_bytes().min(1 << 20)) as usize];
        drop(volume.read(0, &mut out, Wait::Yes));
        drop(volume.block_status(0, volume.size_bytes().min(1 << 30)));
        drop(volume.write(0, &[&[1; 4096]], Wait::Yes));
        drop(volume.reclaim());
        drop(volume.flush());
    }
    drop(store.close());
}

#[test]
fn no_decoder_panics_on_mutated_bytes() {
    let mut rng = Rng::new(5);
    let (disk, _) = store(3);
    let files: Vec<(PathBuf, Vec<u8>)> = disk
        .files()
        .into_iter()
        .filter_map(|(path, _)| disk.bytes_of(&path).map(|bytes| (path, bytes)))
        .collect();
    for _ in 0..if full() { 400_000 } else { 20_000 } {
        let (path, bytes) = &files[rng.index(files.len())];
        let mut bytes = bytes.clone();
        mutate(&mut rng, &mut bytes, &path.to_string_lossy());
        fuzz::decode_all(&bytes);
        let at = rng.index(bytes.len().max(1));
        fuzz::decode_all(bytes.get(at..).unwrap_or_default());
    }
}

#[test]
fn no_store_panics_on_mutated_files() {
    for seed in 0..if full() { 20_000 } else { 400 } {
        let mut rng = Rng::new(seed);
        let (disk, geometry) = store(seed % 16);
        for _ in 0..=rng.below(2) {
            let files = disk.files();
            let (path, _) = &files[rng.index(files.len())];
            let mut bytes = disk.bytes_of(path).unwrap();
            mutate(&mut rng, &mut bytes, &path.to_string_lossy());
            disk.replace_bytes(path, &bytes).unwrap();
        }
        let disk = if rng.one_in(2) {
            disk.kill()
        } else {
            disk.power_cut(&mut rng, cow::disk::sim::Cut::Everything)
        };
        let used = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| use_everything(&disk, geometry)));
        assert!(used.is_ok(), "seed {seed}: a store with mutated files panics");
    }
}

/// Where the records of a segment begin, and of which file they are.
fn last_segment(disk: &SimDisk) -> (PathBuf, Vec<u8>, Vec<usize>) {
    let is_segment = |path: &PathBuf| path.to_string_lossy().contains("/seg-");
    let path = disk.files().into_iter().map(|(path, _)| path).filter(is_segment).max().unwrap();
    let bytes = disk.bytes_of(&path).unwrap();
    let records = (4096..8192).step_by(8).filter(|at| bytes[*at..].starts_with(b"OVr1")).collect();
    (path, bytes, records)
}

type Change = fn(&mut [u8]);

/// A record with a sound checksum, of the right segment, but not the one that follows, or not in its own place.
#[test]
fn a_record_counts_only_behind_its_predecessor_and_in_its_place() {
    let geometry = cow::Geometry { segment_blocks: 8, data_offset: 8192, ..cow::Geometry::default() };
    let changes: [(&str, Change); 5] = [
        ("nothing", |_| {}),
        ("the chain", |record| record[32] ^= 1),
        ("its own offset", |record| record[12] ^= 8),
        ("its sequence number", |record| record[16] ^= 4),
        ("its block in the segment", |record| record[36..40].copy_from_slice(&u32::MAX.to_le_bytes())),
    ];
    for (what, change) in changes {
        let disk = SimDisk::new(1);
        cow::disk::Disk::create_dir(&disk, std::path::Path::new("/var")).unwrap();
        let store = open(&disk, geometry).unwrap();
        let new = NewVolume { name: "v".into(), image: None, size_bytes: Some(8 * 4096) };
        let id = store.create_volume(new).unwrap().id;
        let volume = store.open_volume(id).unwrap();
        volume.write(0, &[&[1; 4096]], Wait::Yes).unwrap();
        volume.write(0, &[&[2; 4096]], Wait::Yes).unwrap();
        drop((volume, store));
        let disk = disk.kill();
        let (path, mut bytes, records) = last_segment(&disk);
        assert_eq!(records.len(), 2);
        change(&mut bytes[records[1]..]);
        let mut behind = bytes.split_off(records[1]);
        let number = u64::from_str_radix(&path.file_name().unwrap().to_string_lossy()[4..], 16).unwrap();
        let layer = path.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        let layer = std::array::from_fn(|at| u8::from_str_radix(&layer[at * 2..at * 2 + 2], 16).unwrap());
        fuzz::reseal_record(&mut behind, layer, number).unwrap();
        bytes.extend(behind);
        disk.replace_bytes(&path, &bytes).unwrap();
        let store = open(&disk, geometry).unwrap();
        let mut out = [0; 4096];
        let read = store.open_volume(id).and_then(|volume| volume.read(0, &mut out, Wait::Yes));
        match (what, read) {
            ("nothing", Ok(())) => assert_eq!(out, [2; 4096]),
            // One with a later number proves that others are missing.
            ("its sequence number", Err(error)) => assert_eq!(error.kind(), cow::Kind::Corrupt { offset: 0 }),
            (_, Ok(())) => assert_eq!(out, [1; 4096], "another record is believed: {what} differs"),
            (_, Err(error)) => panic!("{what} differs: {error:?}"),
        }
    }
}
