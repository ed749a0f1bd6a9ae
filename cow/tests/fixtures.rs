//! Old stores open for ever: a store that each format version wrote, opened by the code of today on a machine and in
//! a boot that are not its own, compared sector by sector with a table, checked, written to and opened again.
//!
//! `fixtures/v<n>/store` is the store as its process left it when it was killed, `fixtures/v<n>/contents` what it holds,
//! from the model of the one who wrote it. A new format version adds a folder of its own and touches no other:
//! `COW_FIXTURE=cow/tests/fixtures/v2 cargo test -p cow --test fixtures -- --ignored --exact write_fixture`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test may stop at the first surprise"
)]

#[path = "fixtures/writer.rs"]
mod writer;

#[path = "support/tags.rs"]
#[allow(unreachable_pub, reason = "other tests use it as a part of more")]
mod tags;

use std::{
    fmt::Write as _,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use cow::{Geometry, Kind, Store, VolumeId, Wait, offline::Offline};
use tags::{SECTOR, Tag};

const BLOCK: u64 = 4096;

/// Runs of sectors whose numbers follow each other, a line each.
fn runs(tags: &[Tag], out: &mut String) {
    let mut first = 0;
    while first < tags.len() {
        let tag = tags[first];
        let follows = |at: usize| tags[first + at] == if tag == 0 { 0 } else { tag + at as u64 };
        let length = (1..tags.len() - first).find(|at| !follows(*at)).unwrap_or(tags.len() - first);
        writeln!(out, "  {first} {length} {tag}").unwrap();
        first += length;
    }
}

/// All that a store holds, in the words of the file `contents`; its snapshots as clones that stay in it.
fn describe(store: &Store) -> String {
    let mut out = String::new();
    let images = store.images().unwrap();
    for image in &images {
        writeln!(out, "image {} {} {}", image.name, image.size_bytes, image.source_format).unwrap();
    }
    let volumes = store.volumes();
    for volume in &volumes {
        let image = images.iter().find(|image| Some(image.id) == volume.image);
        let image = image.map_or("-", |image| &image.name);
        let quota = volume.quota_bytes.unwrap_or(0);
        writeln!(out, "volume {} {} {image} {quota}", volume.name, volume.size_bytes).unwrap();
        runs(&tags_of(store, volume.id), &mut out);
    }
    for snapshot in store.snapshots() {
        let parent = volumes.iter().find(|volume| Some(volume.id) == snapshot.volume);
        let parent = parent.map_or("-", |volume| &volume.name);
        writeln!(out, "snapshot {} {} {parent}", snapshot.name, snapshot.size_bytes).unwrap();
        let clone = store.clone_snapshot(snapshot.id, &format!("look-{}", snapshot.name)).unwrap();
        runs(&tags_of(store, clone.id), &mut out);
    }
    out
}

fn tags_of(store: &Store, id: VolumeId) -> Vec<Tag> {
    let volume = store.open_volume(id).unwrap();
    let mut bytes = vec![0xee; volume.size_bytes() as usize];
    volume.read(0, &mut bytes, Wait::Yes).unwrap();
    bytes.chunks(SECTOR).map(|sector| tags::tag(sector).expect("a sector is torn")).collect()
}

fn folders() -> Vec<PathBuf> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut folders: Vec<_> = fs::read_dir(all).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.join("contents").exists());
    folders.sort();
    folders
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_tree(&path, &target);
        } else {
            // Not the mode of a file in a working copy that may be read-only.
            fs::write(&target, fs::read(&path).unwrap()).unwrap();
        }
    }
}

/// The store of a fixture, in a directory that vanishes.
fn copy(folder: &Path) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    copy_tree(&folder.join("store"), &store);
    (dir, store)
}

fn check(store: &Path) -> Vec<String> {
    let offline = Offline::open(store).unwrap();
    let report = offline.check(true, &mut |_, _| ControlFlow::Continue(())).unwrap();
    assert!(report.counts.verified_bytes > 0 && report.counts.volumes > 0);
    report
        .findings
        .iter()
        .map(|found| format!("{}: {} {:?}", found.path.display(), found.problem, found.losses))
        .collect()
}

#[test]
fn every_block_of_an_old_store_reads_as_it_was_written() {
    assert!(folders().iter().any(|folder| folder.ends_with("v1")));
    for folder in folders() {
        let (_dir, path) = copy(&folder);
        let store = Store::open(&path).unwrap();
        let want = fs::read_to_string(folder.join("contents")).unwrap();
        assert_eq!(describe(&store), want, "{}", folder.display());
    }
}

#[test]
fn an_old_store_is_sound() {
    for folder in folders() {
        let (_dir, path) = copy(&folder);
        assert_eq!(check(&path), Vec::<String>::new(), "{}, as it lies there", folder.display());
        let store = Store::open(&path).unwrap();
        store.volumes().iter().for_each(|info| drop(store.open_volume(info.id).unwrap()));
        store.close().unwrap();
        drop(store);
        assert_eq!(check(&path), Vec::<String>::new(), "{}, opened and closed", folder.display());
    }
}

#[test]
fn an_old_store_goes_on() {
    for folder in folders() {
        let (_dir, path) = copy(&folder);
        let mut want: Vec<(VolumeId, Vec<Tag>)> = Vec::new();
        for round in 0..4_u64 {
            let geometry = if round == 1 { writer::small() } else { Geometry::default() };
            let store = Store::open_with(Arc::new(cow::disk::RealDisk), &path, geometry).unwrap();
            if round == 0 {
                want = store.volumes().iter().map(|info| (info.id, tags_of(&store, info.id))).collect();
            }
            for (id, want) in &mut want {
                assert_eq!(&tags_of(&store, *id), want, "{} in round {round}", folder.display());
                change(&store, *id, want, round);
            }
            match round {
                0 => store.close().unwrap(),
                1 => drop(store.maintain().unwrap()),
                _ => {}
            }
        }
        assert_eq!(check(&path), Vec::<String>::new(), "{}", folder.display());
    }
}

/// Writes parts of blocks that the old store has, trims others, gives space back.
fn change(store: &Store, id: VolumeId, tags: &mut [Tag], round: u64) {
    let volume = store.open_volume(id).unwrap();
    let first = (3 + round * 5) as usize;
    let new: Vec<Tag> = (0..9).map(|at| 1_000_000 + round * 100 + at).collect();
    volume.write((first * SECTOR) as u64, &[&tags::bytes(&new)], Wait::Yes).unwrap();
    tags[first..first + new.len()].copy_from_slice(&new);
    volume.trim((40 + round) * BLOCK, BLOCK, Wait::Yes).unwrap();
    tags[(320 + round as usize * 8)..(328 + round as usize * 8)].fill(0);
    if round == 2 {
        volume.reclaim().unwrap();
    }
    let error = volume.write(volume.size_bytes(), &[&[0; SECTOR]], Wait::Yes).unwrap_err();
    assert_eq!(error.kind(), Kind::OutOfRange);
}

#[test]
fn a_store_of_a_later_version_is_refused() {
    let (_dir, path) = copy(&folders()[0]);
    let file = path.join("STORE");
    let mut bytes = fs::read(&file).unwrap();
    bytes[8..10].copy_from_slice(&u16::MAX.to_le_bytes());
    cow::fuzz::reseal_frame(&mut bytes).unwrap();
    fs::write(&file, &bytes).unwrap();
    let error = Store::open(&path).err().unwrap();
    assert_eq!(error.kind(), Kind::Format);
    assert!(error.to_string().contains("version"), "{error}");
}

/// Not a test: writes the fixture of the format of today into the folder that `COW_FIXTURE` names.
#[test]
#[ignore = "writes a fixture; see the head of this file"]
fn write_fixture() {
    let folder = PathBuf::from(std::env::var_os("COW_FIXTURE").expect("COW_FIXTURE names a new folder"));
    fs::create_dir_all(&folder).unwrap();
    let contents = writer::write(&folder.join("store"));
    fs::write(folder.join("contents"), contents).unwrap();
}
