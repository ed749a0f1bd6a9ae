//! Damage of every kind, to every kind of file: the check names it, the export is right or says no, the repaired
//! store has all that is sound and reads errors for the rest, and the damaged store is not changed by a byte.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test may stop at the first surprise"
)]

use std::{
    collections::BTreeMap,
    fs,
    ops::{ControlFlow, Range},
    path::{Path, PathBuf},
    sync::Arc,
};

use cow::{
    Geometry, Kind, NewVolume, Store, VolumeId, Wait,
    disk::RealDisk,
    offline::{ExportFormat, Extent, Offline, OnDamage, Owner, Ranges, Report},
};

const BLOCK: usize = 4096;

/// Segments of 16 blocks: a few writes fill several.
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

fn pattern(seed: u32, bytes: usize) -> Vec<u8> {
    (0..bytes as u32)
        .map(|n| (n.wrapping_mul(2_654_435_761).wrapping_add(seed * 7919) >> 13) as u8 | 1)
        .collect()
}

fn quiet(_: u64, _: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// What every volume and snapshot holds, by the name that `osvol store export` takes.
type Truth = BTreeMap<String, Vec<u8>>;

/// A store in a directory, and what is in it.
struct Sample {
    dir: tempfile::TempDir,
    truth: Truth,
    closed: bool,
}

impl Sample {
    fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }
}

fn read(store: &Store, id: VolumeId) -> Vec<u8> {
    let volume = store.open_volume(id).unwrap();
    let mut out = vec![0; volume.size_bytes() as usize];
    volume.read(0, &mut out, Wait::Yes).unwrap();
    out
}

/// An image, a volume with a snapshot, a clone of that, a volume without an image; written, overwritten, trimmed,
/// checkpointed in the middle. `closed`: everything is checkpointed at the end.
fn sample(closed: bool) -> Sample {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_with(Arc::new(RealDisk), &dir.path().join("store"), small()).unwrap();
    let import = store.begin_import("golden").unwrap();
    import.write_at(0, &pattern(1, 130_000)).unwrap();
    import.write_at(5 * 65536, &pattern(2, 4096)).unwrap();
    import.set_len(8 * 65536).unwrap();
    let image = store.finish_import(import, "raw", &mut quiet).unwrap().id;
    let create = |name: &str, image, size_bytes| {
        store.create_volume(NewVolume { name: name.into(), image, size_bytes }).unwrap().id
    };
    let web = create("web", Some(image), Some(10 * 65536));
    let plain = create("plain", None, Some(100 * 4096 + 512));
    let volume = store.open_volume(web).unwrap();
    for n in 0..12_u32 {
        volume.write(u64::from(n) * 12288, &[&pattern(10 + n, 2 * BLOCK)], Wait::Yes).unwrap();
        volume.flush().unwrap();
    }
    volume.checkpoint().unwrap();
    volume.trim(16384, 32768, Wait::Yes).unwrap();
    volume.flush().unwrap();
    volume.write(512, &[&pattern(30, 1024)], Wait::Yes).unwrap();
    let mut truth = Truth::new();
    drop(volume);
    truth.insert("web/monday".into(), read(&store, web));
    let monday = store.snapshot(web, "monday").unwrap().id;
    let twin = store.clone_snapshot(monday, "twin").unwrap().id;
    for (id, seed) in [(web, 40), (twin, 50), (plain, 60)] {
        let volume = store.open_volume(id).unwrap();
        for n in 0..9_u32 {
            volume.write(u64::from(n) * 20480, &[&pattern(seed + n, 3 * BLOCK)], Wait::Yes).unwrap();
            if n % 3 != 2 {
                volume.flush().unwrap();
            }
        }
        volume.trim(40960, 12288, Wait::Yes).unwrap();
        volume.flush().unwrap();
    }
    if closed {
        store.close().unwrap();
    }
    for (name, id) in [("web", web), ("twin", twin), ("plain", plain)] {
        truth.insert(name.into(), read(&store, id));
    }
    Sample { dir, truth, closed }
}

/// Every file of a tree, and every directory as an empty entry.
fn tree(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut all = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_owned();
            if path.is_dir() {
                all.insert(name, None);
                todo.push(path);
            } else {
                all.insert(name, Some(fs::read(&path).unwrap()));
            }
        }
    }
    all
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for (name, content) in tree(from) {
        match content {
            None => fs::create_dir_all(to.join(name)).unwrap(),
            Some(bytes) => {
                fs::create_dir_all(to.join(&name).parent().unwrap()).unwrap();
                fs::write(to.join(name), bytes).unwrap();
            }
        }
    }
}

/// One way to damage a store.
#[derive(Debug, Clone)]
enum Damage {
    Flip(PathBuf, usize),
    /// Bytes as a failing disk gives them.
    Zero(PathBuf, Range<usize>),
    Truncate(PathBuf, usize),
    Delete(PathBuf),
    Swap(PathBuf, PathBuf),
}

impl Damage {
    fn apply(&self, root: &Path) {
        let change = |path: &Path, change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = fs::read(root.join(path)).unwrap();
            change(&mut bytes);
            fs::write(root.join(path), bytes).unwrap();
        };
        match self {
            Self::Flip(path, at) => change(path, &|bytes| bytes[*at] ^= 0x5a),
            Self::Zero(path, range) => change(path, &|bytes| bytes[range.clone()].fill(0)),
            Self::Truncate(path, length) => change(path, &|bytes| bytes.truncate(*length)),
            Self::Delete(path) => fs::remove_file(root.join(path)).unwrap(),
            Self::Swap(a, b) => {
                let aside = root.join("aside");
                fs::rename(root.join(a), &aside).unwrap();
                fs::rename(root.join(b), root.join(a)).unwrap();
                fs::rename(aside, root.join(b)).unwrap();
            }
        }
    }
}

/// Every kind of damage to every file of the store.
fn damages(root: &Path) -> Vec<Damage> {
    let files: Vec<(PathBuf, usize)> = tree(root)
        .into_iter()
        .filter_map(|(path, content)| Some((path, content?.len())))
        .filter(|(path, _)| path != Path::new("LOCK"))
        .collect();
    let mut all = Vec::new();
    for (path, length) in &files {
        for at in places(path, *length) {
            all.push(Damage::Flip(path.clone(), at));
            let sector = at / 512 * 512;
            all.push(Damage::Zero(path.clone(), sector..(sector + 512).min(*length)));
        }
        all.push(Damage::Zero(path.clone(), 0..*length));
        all.extend([0, length / 2, length.saturating_sub(1)].map(|n| Damage::Truncate(path.clone(), n)));
        all.push(Damage::Delete(path.clone()));
    }
    for (i, (a, _)) in files.iter().enumerate() {
        let same_kind = files[i + 1..].iter().find(|(b, _)| kind_of(a) == kind_of(b));
        all.extend(same_kind.map(|(b, _)| Damage::Swap(a.clone(), b.clone())));
    }
    all
}

fn kind_of(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().chars().take(3).collect()
}

/// A few bytes in every region of a file.
fn places(path: &Path, length: usize) -> Vec<usize> {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let all: Vec<usize> = match &name[..3] {
        "seg" => {
            vec![2, 41, 70, 4097, 4104, 4096 + 41, 4096 + 57, 4200, 4608, 12288 + 5, 12288 + 9 * BLOCK + 77]
        }
        "ima" => vec![0, 65536 + 17, 3 * 65536, 5 * 65536 + 4095, length - 1],
        _ => (0..6).map(|n| n * length / 6).collect(),
    };
    all.into_iter().filter(|at| *at < length).collect()
}

/// What of a disk the report says is lost, and whether there may be more.
fn told(report: &Report, name: &str) -> (Ranges, bool) {
    let (mut bytes, mut more) = (Ranges::default(), false);
    for loss in report.findings.iter().flat_map(|finding| &finding.losses) {
        let is = match &loss.owner {
            Owner::Volume { name: other, .. } | Owner::Snapshot { name: other, .. } => other == name,
            Owner::Image { .. } | Owner::Layer { .. } => false,
        };
        match &loss.extent {
            _ if !is => {}
            Extent::Bytes(lost) => bytes.add_all(lost),
            Extent::Somewhere | Extent::All => more = true,
        }
    }
    (bytes, more)
}

/// Compares what was read with what there was, but for what is lost.
fn compare(what: &str, found: &[u8], truth: &[u8], lost: &Ranges, report: &Report) {
    assert_eq!(found.len(), truth.len(), "{what}: size");
    for (n, (a, b)) in found.chunks(512).zip(truth.chunks(512)).enumerate() {
        let at = n as u64 * 512;
        assert!(
            a == b || lost.touches(at..at + 512),
            "{what}: byte {at} is wrong and was not called lost: {report:#?}"
        );
    }
}

/// The last records of a log that was not closed look like a write that never was (FORMAT.md says so).
fn cannot_be_told(sample: &Sample, damage: &Damage) -> bool {
    let is_last = |path: &PathBuf| {
        let dir = sample.path().join(path.parent().unwrap());
        let last = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).max();
        path.starts_with("layers") && last.as_deref() == path.file_name()
    };
    let (Damage::Flip(path, _) | Damage::Zero(path, _) | Damage::Truncate(path, _)) = damage else {
        return matches!(damage, Damage::Delete(path) if !sample.closed && is_last(path));
    };
    !sample.closed && is_last(path)
}

/// One damage, judged by everything there is.
fn judge(sample: &Sample, damage: &Damage) -> Report {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("damaged");
    copy_tree(&sample.path(), &store);
    damage.apply(&store);
    let before = tree(&store);
    let offline = Offline::open_with(Arc::new(RealDisk), &store, small()).unwrap();
    let report = offline.check(true, &mut quiet).unwrap();
    if report.is_clean() && cannot_be_told(sample, damage) {
        return report;
    }
    for (name, truth) in &sample.truth {
        exports_are_right_or_refused(&offline, dir.path(), &report, name, truth, damage);
    }
    if !cannot_be_told(sample, damage) {
        daemon_is_right_or_refuses(&store, dir.path(), &report, sample, damage);
    }
    repaired_store_is_right(&offline, dir.path(), &report, sample, damage);
    drop(offline);
    assert!(before == tree(&store), "{damage:?}: the damaged store was changed");
    report
}

fn exports_are_right_or_refused(
    offline: &Offline,
    dir: &Path,
    report: &Report,
    name: &str,
    truth: &[u8],
    damage: &Damage,
) {
    let file = dir.join("out.raw");
    let what = format!("{damage:?}: export of {name}");
    let (lost, more) = told(report, name);
    let export = |on_damage| offline.export(name, &file, ExportFormat::Raw, on_damage, &mut quiet);
    let skipped = match export(OnDamage::Skip) {
        Ok(skipped) => skipped,
        Err(error) => {
            assert_eq!(error.kind(), Kind::NotFound, "{what}: {error}");
            return;
        }
    };
    assert_eq!(skipped.lost, lost, "{what}: check and export tell different losses");
    assert!(more || skipped.doubts.is_empty(), "{what}: the check did not tell the doubts");
    let found = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    if !more {
        compare(&what, &found, truth, &lost, report);
    }
    match export(OnDamage::Stop) {
        Ok(_) => {
            assert!(lost.is_empty());
            fs::remove_file(&file).unwrap();
        }
        Err(error) => {
            assert!(matches!(error.kind(), Kind::Corrupt { .. }), "{what}: {error}");
            assert!(!lost.is_empty() || more, "{what}: refused without a reason: {error}");
            assert!(!file.exists(), "{what}: a refused export left a file");
        }
    }
}

/// The daemon's own view of a copy: nothing wrong is read, and what it cannot read the check has told.
fn daemon_is_right_or_refuses(damaged: &Path, dir: &Path, report: &Report, sample: &Sample, damage: &Damage) {
    let path = dir.join("served");
    copy_tree(damaged, &path);
    let Ok(store) = Store::open_with(Arc::new(RealDisk), &path, small()) else {
        assert!(!report.is_clean(), "{damage:?}: it does not open, and the check calls it clean");
        return;
    };
    for info in store.volumes() {
        let Some(truth) = sample.truth.get(&info.name) else { continue };
        let what = format!("{damage:?}: served {}", info.name);
        let Ok(volume) = store.open_volume(info.id) else {
            assert!(!report.is_clean(), "{what}: it does not open, and the check calls it clean");
            continue;
        };
        let (lost, more) = told(report, &info.name);
        for (n, want) in truth.chunks(BLOCK).enumerate().filter(|_| !more) {
            let at = (n * BLOCK) as u64;
            let mut found = vec![0; want.len()];
            match volume.read(at, &mut found, Wait::Yes) {
                Ok(()) => assert!(found == want, "{what}: byte {at} is wrong"),
                Err(_) => assert!(lost.touches(at..at + want.len() as u64), "{what}: byte {at}"),
            }
        }
    }
}

fn repaired_store_is_right(offline: &Offline, dir: &Path, report: &Report, sample: &Sample, damage: &Damage) {
    let to = dir.join("repaired");
    let repaired = offline.repair(&to, &mut quiet).unwrap_or_else(|error| panic!("{damage:?}: {error}"));
    let store = Store::open_with(Arc::new(RealDisk), &to, small()).unwrap();
    let volumes = store.volumes();
    for (name, truth) in sample.truth.iter().filter(|(name, _)| !name.contains('/')) {
        let what = format!("{damage:?}: repaired {name}");
        let (lost, more) = told(report, name);
        let Some(info) = volumes.iter().find(|info| info.name == *name) else {
            let doubtful = volumes.iter().any(|info| info.name == format!("doubtful-{name}"));
            let unreachable = report.findings.iter().flat_map(|finding| &finding.losses);
            let mut unreachable = unreachable.filter(|loss| loss.extent == Extent::All);
            let gone =
                !report.orphans.is_empty() || unreachable.next().is_some() || !report.unfinished.is_empty();
            assert!(doubtful && more || gone, "{what}: it is gone, and nobody said so");
            continue;
        };
        assert!(!more, "{what}: it is doubtful, and its name does not say so");
        let volume = store.open_volume(info.id).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(volume.size_bytes() as usize, truth.len(), "{what}: size");
        let after = told(&repaired.report, name).0;
        for (n, want) in truth.chunks(BLOCK).enumerate() {
            let at = (n * BLOCK) as u64;
            let mut found = vec![0; want.len()];
            let is_lost = lost.touches(at..at + want.len() as u64);
            match volume.read(at, &mut found, Wait::Yes) {
                Ok(()) => {
                    assert!(!is_lost, "{what}: byte {at} is lost and can be read");
                    assert!(found == want, "{what}: byte {at} is wrong");
                }
                Err(error) => {
                    assert!(matches!(error.kind(), Kind::Corrupt { .. }), "{what}: {error}");
                    assert!(is_lost, "{what}: byte {at} was sound: {error}");
                    assert!(
                        after.touches(at..at + 1),
                        "{what}: the report of the repair does not say byte {at}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_sound_store_is_clean_and_exports_as_it_is() {
    for closed in [false, true] {
        let sample = sample(closed);
        let offline = Offline::open_with(Arc::new(RealDisk), &sample.path(), small()).unwrap();
        let report = offline.check(true, &mut quiet).unwrap();
        assert!(
            report.is_clean() && report.orphans.is_empty() && report.unfinished.is_empty(),
            "{report:#?}"
        );
        assert_eq!((report.counts.volumes, report.counts.snapshots, report.counts.layers), (3, 1, 4));
        for (name, truth) in &sample.truth {
            let file = sample.dir.path().join("out");
            offline.export(name, &file, ExportFormat::Raw, OnDamage::Stop, &mut quiet).unwrap();
            assert!(fs::read(&file).unwrap() == *truth, "{name}");
            let again = offline.export(name, &file, ExportFormat::Raw, OnDamage::Stop, &mut quiet);
            assert_eq!(again.err().map(|error| error.kind()), Some(Kind::Exists));
            fs::remove_file(&file).unwrap();
        }
        drop(offline);
        let nothing = Damage::Zero("STORE".into(), 0..0);
        assert!(judge(&sample, &nothing).is_clean());
    }
}

#[test]
fn the_store_of_a_running_daemon_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _store = Store::open(dir.path()).unwrap();
    let error = Offline::open(dir.path()).err().unwrap();
    assert_eq!(error.kind(), Kind::Locked);
    assert!(error.to_string().contains("systemctl stop osvold"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(Offline::open(empty.path()).err().map(|error| error.kind()), Some(Kind::Format));
}

#[test]
fn every_damage_is_found_and_nothing_wrong_is_ever_read() {
    // `COW_FULL=1`, with the profile `sim`: all of them. Otherwise one in so many.
    let full = std::env::var_os("COW_FULL").is_some_and(|value| value != "0");
    let (mut judged, mut found) = (0, 0);
    for closed in [true, false] {
        let sample = sample(closed);
        for damage in damages(&sample.path()).iter().step_by(if full { 1 } else { 17 }) {
            judged += 1;
            let told = !judge(&sample, damage).is_clean();
            found += usize::from(told);
            if !told && full {
                println!("not told (closed: {closed}): {damage:?}");
            }
        }
    }
    println!("{judged} damages, {found} of them told");
    assert!(found * 10 > judged * 6, "{found} of {judged} damages were told");
}

#[test]
fn an_export_to_qcow2_is_what_qemu_reads_as_the_same_disk() {
    let qemu = |args: &[&str]| std::process::Command::new("qemu-img").args(args).output();
    if qemu(&["--version"]).is_err() {
        println!("skipped: there is no qemu-img");
        return;
    }
    let sample = sample(true);
    let offline = Offline::open_with(Arc::new(RealDisk), &sample.path(), small()).unwrap();
    for name in sample.truth.keys() {
        let (raw, qcow2) = (sample.dir.path().join("disk.raw"), sample.dir.path().join("disk.qcow2"));
        offline.export(name, &raw, ExportFormat::Raw, OnDamage::Stop, &mut quiet).unwrap();
        offline.export(name, &qcow2, ExportFormat::Qcow2, OnDamage::Stop, &mut quiet).unwrap();
        let (raw_name, qcow2_name) = (raw.to_str().unwrap(), qcow2.to_str().unwrap());
        let check = qemu(&["check", "-f", "qcow2", qcow2_name]).unwrap();
        assert!(check.status.success(), "{name}: {check:?}");
        let info = String::from_utf8(qemu(&["info", qcow2_name]).unwrap().stdout).unwrap();
        let size = fs::metadata(&raw).unwrap().len();
        assert!(info.contains(&format!("({size} bytes)")), "{name}: {size} bytes, {info}");
        let same = qemu(&["compare", "-f", "raw", "-F", "qcow2", raw_name, qcow2_name]).unwrap();
        assert!(same.status.success(), "{name}: {same:?}");
        fs::remove_file(&raw).unwrap();
        fs::remove_file(&qcow2).unwrap();
    }
}

#[test]
fn a_large_and_sparse_volume_is_exported_by_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Store::open(&path).unwrap();
    let new = NewVolume { name: "wide".into(), image: None, size_bytes: Some(3 << 30) };
    let id = store.create_volume(new).unwrap().id;
    let volume = store.open_volume(id).unwrap();
    for at in [0, (512 << 20) - 4096, 512 << 20, (3 << 30) - 8192] {
        volume.write(at, &[&pattern(3, 2 * BLOCK)], Wait::Yes).unwrap();
    }
    let mut want = vec![0; 8 * BLOCK];
    volume.read((512 << 20) - 16384, &mut want, Wait::Yes).unwrap();
    drop((volume, store));
    let offline = Offline::open(&path).unwrap();
    let qcow2 = dir.path().join("wide.qcow2");
    let told = offline.export("wide", &qcow2, ExportFormat::Qcow2, OnDamage::Stop, &mut quiet).unwrap();
    assert_eq!(told.data_bytes, 7 * 4096);
    assert!(fs::metadata(&qcow2).unwrap().len() < 2 << 20);
    let Ok(qemu) = std::process::Command::new("qemu-img")
        .args(["convert", "-f", "qcow2", "-O", "raw"])
        .args([&qcow2, &dir.path().join("wide.raw")])
        .output()
    else {
        println!("skipped: there is no qemu-img");
        return;
    };
    assert!(qemu.status.success(), "{qemu:?}");
    let file = fs::File::open(dir.path().join("wide.raw")).unwrap();
    let mut found = vec![0; 8 * BLOCK];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut found, (512 << 20) - 16384).unwrap();
    assert!(found == want);
}
