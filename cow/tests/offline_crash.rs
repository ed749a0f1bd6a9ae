//! After a power cut or a kill at any step a store is not damaged: the check says so, and an export is, byte for byte,
//! what the daemon recovers afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::{ops::ControlFlow, path::Path, sync::Arc};

use cow::{
    Geometry, NewVolume, Store, VolumeId, Wait,
    disk::sim::{Cut, Rng, SimDisk},
    offline::{ExportFormat, Offline, OnDamage},
};
use support::{full, number, root, small_geometry};

const BLOCKS: u64 = 40;

fn quiet(_: u64, _: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Random operations on two volumes, with the disk taken aside now and then.
fn history(rng: &mut Rng, disk: &SimDisk, geometry: Geometry) {
    let store = Store::open_with(Arc::new(disk.clone()), root(), geometry).unwrap();
    let size_bytes = Some(BLOCKS * 4096);
    let ids: Vec<VolumeId> = ["a", "b"]
        .map(|name| store.create_volume(NewVolume { name: name.into(), image: None, size_bytes }).unwrap().id)
        .to_vec();
    disk.fork_sometimes(40);
    for n in 0..60_u32 {
        let id = ids[rng.index(2)];
        let volume = store.open_volume(id).unwrap();
        let block = rng.below(BLOCKS - 4);
        match rng.below(14) {
            0 => volume.checkpoint().unwrap(),
            1 => drop(volume.reclaim().unwrap()),
            2 | 3 => volume.trim(block * 4096, 3 * 4096, Wait::Yes).unwrap(),
            4 | 5 => volume.flush().unwrap(),
            6 if n % 3 == 0 => drop(store.snapshot(id, &format!("s{n}")).unwrap()),
            _ => {
                // Zeros are content like any other, and the only one that a hole or the end of a file resembles.
                let fill = if rng.one_in(4) { 0 } else { rng.below(255) as u8 + 1 };
                let data = vec![fill; (1 + rng.index(4)) * 4096];
                volume.write(block * 4096, &[&data], Wait::Yes).unwrap();
            }
        }
    }
}

/// Check and export, then let the daemon recover and compare.
fn judge(disk: &SimDisk, geometry: Geometry, what: &str) {
    let Ok(offline) = Offline::open_with(Arc::new(disk.clone()), root(), geometry) else { return };
    let report = offline.check(true, &mut quiet).unwrap();
    assert!(report.is_clean(), "{what}: {report:#?}");
    let mut exports = Vec::new();
    for name in ["a", "b"] {
        let file = root().with_file_name(format!("{name}.raw"));
        match offline.export(name, &file, ExportFormat::Raw, OnDamage::Stop, &mut quiet) {
            Ok(_) => exports.push((name, disk.bytes_of(&file).unwrap())),
            Err(error) => assert_eq!(error.kind(), cow::Kind::NotFound, "{what}: {error}"),
        }
    }
    drop(offline);
    let store = Store::open_with(Arc::new(disk.clone()), root(), geometry).unwrap();
    let volumes = store.volumes();
    assert_eq!(volumes.len(), exports.len(), "{what}");
    for (name, export) in exports {
        let id = volumes.iter().find(|info| info.name == name).unwrap().id;
        let volume = store.open_volume(id).unwrap_or_else(|error| panic!("{what}: {name}: {error}"));
        let mut found = vec![0; export.len()];
        volume.read(0, &mut found, Wait::Yes).unwrap();
        let differs = found.chunks(4096).zip(export.chunks(4096)).position(|(a, b)| a != b);
        assert_eq!(differs, None, "{what}: a block of {name} is recovered otherwise than exported");
    }
}

#[test]
fn a_crash_is_no_damage_and_an_export_is_what_is_recovered() {
    let (first, count) = (number("COW_SEED", 1), number("COW_SEEDS", if full() { 600 } else { 15 }));
    let mut states = 0;
    for seed in first..first + count {
        let mut rng = Rng::new(seed);
        let geometry = small_geometry(&mut rng);
        let disk = SimDisk::new(seed);
        make_parents(&disk);
        history(&mut rng, &disk, geometry);
        for (n, fork) in disk.take_forks().into_iter().enumerate() {
            for power in [false, true] {
                let disk = fork.disk();
                let disk = if power {
                    disk.power_cut(&mut rng, Cut::any(&mut Rng::new(seed + n as u64)))
                } else {
                    disk.kill()
                };
                judge(
                    &disk,
                    geometry,
                    &format!("COW_SEED={seed} COW_SEEDS=1, state {n}, power cut: {power}"),
                );
                states += 1;
            }
        }
    }
    println!("{count} seeds, {states} crash states");
}

/// Where a check read past the end of a file it found zeros, and took an unflushed block of zeros for one that had
/// survived; then it called that block damage, for it lay past the end. Recovery drops it.
#[test]
fn a_block_of_zeros_that_no_flush_covered_is_no_damage() {
    let geometry = Geometry::default();
    let disk = SimDisk::new(1);
    make_parents(&disk);
    let store = Store::open_with(Arc::new(disk.clone()), root(), geometry).unwrap();
    let size_bytes = Some(BLOCKS * 4096);
    let id = store.create_volume(NewVolume { name: "a".into(), image: None, size_bytes }).unwrap().id;
    let volume = store.open_volume(id).unwrap();
    volume.write(0, &[&[7; 8192]], Wait::Yes).unwrap();
    volume.flush().unwrap();
    volume.write(4096, &[&[0; 4096]], Wait::Yes).unwrap();
    let segment_bytes = |disk: &SimDisk| {
        let files = disk.files().into_iter();
        files.filter(|(path, _)| path.to_string_lossy().contains("/seg-")).map(|(_, len)| len).sum::<u64>()
    };
    // All that was not synced is there but one thing: the segment's length.
    let cuts = (0..disk.undecided()).map(|lost| disk.copy().power_cut_exactly(!(1 << lost)));
    let cut = cuts.into_iter().find(|cut| segment_bytes(cut) == (1 << 20) + 8192);
    let cut = cut.expect("a file that ends before the block");
    drop((volume, store));
    judge(&cut, geometry, "zeros past the end");
    let store = Store::open_with(Arc::new(cut), root(), geometry).unwrap();
    let mut found = [0; 8192];
    store.open_volume(id).unwrap().read(0, &mut found, Wait::Yes).unwrap();
    assert_eq!(found, [7; 8192], "old, as a power cut may leave what was not flushed");
}

fn make_parents(disk: &SimDisk) {
    use cow::disk::Disk;
    let _ = disk.create_dir(Path::new("/var"));
}
