//! Capture: a golden image of a disk at one moment, while the volume goes on; nothing of it is left behind.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::{
    ops::ControlFlow,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use cow::{
    Allocation, CAPTURED, ImageId, Kind, NewVolume, Store, Subject, VolumeId, Wait,
    disk::{
        Disk,
        sim::{Cut, Fault, FaultKind, Op, Rng, SimDisk},
    },
};
use support::{root, small_geometry};

const MIB: u64 = 1 << 20;
/// Between two pairs of writes beside a capture.
const WRITER_REST: std::time::Duration = std::time::Duration::from_micros(50);

fn go_on(_: u64, _: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn volume(store: &Store, name: &str, image: Option<ImageId>, size_bytes: u64) -> VolumeId {
    store.create_volume(NewVolume { name: name.into(), image, size_bytes: Some(size_bytes) }).unwrap().id
}

fn content(store: &Arc<Store>, subject: Subject) -> Vec<u8> {
    let still = store.still(subject).unwrap();
    let mut out = vec![0xee; still.size_bytes() as usize];
    still.read(0, &mut out).unwrap();
    out
}

/// Names in a directory of the store.
fn count(store: &Store, name: &str) -> usize {
    std::fs::read_dir(store.path().join(name)).unwrap().count()
}

#[test]
fn a_captured_volume_is_what_it_was_and_stays_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let import = store.begin_import("golden").unwrap();
    import.write_at(0, &[1; 200_000]).unwrap();
    import.set_len(4 * MIB + 512).unwrap();
    let golden = store.finish_import(import, "raw", &mut go_on).unwrap().id;
    let id = volume(&store, "v", Some(golden), 8 * MIB + 512);
    let open = store.open_volume(id).unwrap();
    open.write(4096, &[&[2; 8192]], Wait::Yes).unwrap();
    open.trim(65536, 65536, Wait::Yes).unwrap();
    open.write(8 * MIB, &[&[3; 512]], Wait::Yes).unwrap();
    open.write(3 * MIB, &[&[0; 1 << 20]], Wait::Yes).unwrap();
    let snapshot = store.snapshot(id, "s").unwrap().id;
    open.write(0, &[&[4; 4096]], Wait::Yes).unwrap();

    let mut now = vec![0; 8 * MIB as usize + 512];
    open.read(0, &mut now, Wait::Yes).unwrap();
    let mut then = now.clone();
    then[..4096].fill(1);
    let mut told = 0;
    let image = store.capture_image(Subject::Volume(id), "now", &mut |done, total| {
        assert!(done <= total);
        told += 1;
        go_on(done, total)
    });
    let image = image.unwrap();
    assert!(told > 2);
    assert_eq!((image.size_bytes, image.source_format.as_str()), (8 * MIB + 512, CAPTURED));
    assert!(image.allocated_bytes < 512 << 10, "zeros stay holes: {} bytes", image.allocated_bytes);
    let past = store.capture_image(Subject::Snapshot(snapshot), "then", &mut go_on).unwrap();
    assert_eq!(content(&store, Subject::Image(image.id)), now);
    assert_eq!(content(&store, Subject::Image(past.id)), then);
    assert_eq!(content(&store, Subject::Snapshot(snapshot)), then);

    // In use all the time, and nothing is left but what was asked for.
    open.write(0, &[&[5; 4096]], Wait::Yes).unwrap();
    assert_eq!(content(&store, Subject::Volume(id))[..4096], [5; 4096]);
    assert_eq!(store.snapshots().len(), 1);
    assert_eq!(count(&store, "snapshots"), 1);
    assert_eq!(count(&store, "staging"), 0);
    let again = store.capture_image(Subject::Snapshot(snapshot), "again", &mut go_on).unwrap();
    assert_eq!(again.digest, past.digest, "the same content is the same");
}

/// What the guest no longer uses takes no space in the image, whether it was trimmed or holds zeros, down to a block.
#[test]
fn free_space_is_squeezed_out_of_a_captured_image() {
    const BLOCK: u64 = 4096;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let import = store.begin_import("golden").unwrap();
    import.write_at(0, &vec![1; 8 * MIB as usize]).unwrap();
    let golden = store.finish_import(import, "raw", &mut go_on).unwrap().id;
    let full = store.images().unwrap()[0].allocated_bytes;
    assert!(full >= 8 * MIB);
    let id = volume(&store, "v", Some(golden), 16 * MIB);
    let open = store.open_volume(id).unwrap();
    // Free in the image, and free again after it was used; both ends within a block.
    open.write(10 * MIB, &[&vec![2; 4 * MIB as usize]], Wait::Yes).unwrap();
    store.snapshot(id, "used").unwrap();
    open.trim(MIB + 512, 5 * MIB - 1024, Wait::Yes).unwrap();
    open.trim(10 * MIB, 4 * MIB, Wait::Yes).unwrap();
    // Zeros that were written: by an agent that fills free space, and every other block.
    open.write(7 * MIB, &[&vec![0; MIB as usize / 2]], Wait::Yes).unwrap();
    for at in (15 * MIB..16 * MIB).step_by(2 * BLOCK as usize) {
        open.write(at, &[&[3; BLOCK as usize], &[0; BLOCK as usize]], Wait::Yes).unwrap();
    }
    let mut now = vec![0; 16 * MIB as usize];
    open.read(0, &mut now, Wait::Yes).unwrap();
    let blocks =
        now.chunks(BLOCK as usize).filter(|block| block.iter().any(|byte| *byte != 0)).count() as u64;
    assert_eq!(blocks, (MIB + MIB + MIB / 2 + MIB / 2) / BLOCK + 2, "what is in use");

    let image = store.capture_image(Subject::Volume(id), "squeezed", &mut go_on).unwrap();
    assert_eq!(content(&store, Subject::Image(image.id)), now);
    // Beside the blocks: digests, and where the file system notes which blocks there are.
    let most = blocks * BLOCK + (64 << 10);
    assert!((blocks * BLOCK..most).contains(&image.allocated_bytes), "{} of {most}", image.allocated_bytes);
    // A volume of it has nothing there either: its holes are the guest's to see, and no chunk of them is hashed.
    let twin = volume(&store, "twin", Some(image.id), 16 * MIB);
    let status = store.open_volume(twin).unwrap().block_status(0, 16 * MIB).unwrap();
    let mapped = status.iter().filter(|(_, allocation)| *allocation == Allocation::Mapped);
    let mapped: u64 = mapped.map(|(bytes, _)| bytes).sum();
    assert!(mapped <= 3 * MIB + MIB / 2 + (128 << 10), "{mapped} bytes of chunks");
}

#[test]
fn a_captured_image_is_one_moment_of_a_volume_that_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let id = volume(&store, "v", None, 64 * MIB);
    let open = store.open_volume(id).unwrap();
    for at in 0..64 {
        open.write(at * MIB, &[&[9; 1 << 16]], Wait::Yes).unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    // First the block at the end, then the one at the beginning: at any moment the end is as new, or one newer.
    let writer = std::thread::spawn({
        let (open, stop) = (open.clone(), stop.clone());
        move || {
            let mut count = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                count += 1;
                let block = count.to_le_bytes().repeat(512);
                open.write(63 * MIB, &[&block], Wait::Yes).unwrap();
                open.write(0, &[&block], Wait::Yes).unwrap();
                // Each capture's sync has to write down what was overwritten; as fast as it can that is some 500 MiB.
                std::thread::sleep(WRITER_REST);
            }
            count
        }
    });
    let counter = |bytes: &[u8]| u64::from_le_bytes(bytes[..8].try_into().unwrap());
    let mut last = 0;
    for round in 0..8 {
        let image = store.capture_image(Subject::Volume(id), &format!("c{round}"), &mut go_on).unwrap();
        let disk = content(&store, Subject::Image(image.id));
        let (first, end) = (counter(&disk), counter(&disk[63 * MIB as usize..]));
        if first < 1 << 32 {
            assert!(end == first || end == first + 1, "round {round}: {first} and {end}");
            assert!(first >= last, "captures go forward");
            last = first;
        }
        assert!(disk[..4096].chunks(8).all(|part| part == &disk[..8]), "a block is whole");
        store.maintain().unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    assert!(writer.join().unwrap() > 8, "it was written all the time");
    assert!(last > 0);
    assert_eq!(count(&store, "snapshots"), 0);
}

#[test]
fn a_capture_that_ends_early_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let id = volume(&store, "v", None, 16 * MIB);
    store.open_volume(id).unwrap().write(0, &[&vec![1; 8 << 20]], Wait::Yes).unwrap();
    store.close_volume(id).unwrap();
    let cancelled = store.capture_image(Subject::Volume(id), "x", &mut |done, _| match done > 2 * MIB {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    });
    assert_eq!(cancelled.unwrap_err().kind(), Kind::Cancelled);
    assert!(store.images().unwrap().is_empty());
    assert_eq!((count(&store, "snapshots"), count(&store, "staging")), (0, 0));
    assert!(!store.volume_info(id).unwrap().open, "what was closed is closed again");
    assert_eq!(
        store.capture_image(Subject::Snapshot(cow::SnapshotId([1; 16])), "x", &mut go_on).unwrap_err().kind(),
        Kind::NotFound
    );
    store.capture_image(Subject::Volume(id), "x", &mut go_on).unwrap();
    assert_eq!(store.capture_image(Subject::Volume(id), "x", &mut go_on).unwrap_err().kind(), Kind::Exists);
}

#[test]
fn a_rotten_block_ends_a_capture_with_its_address() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let id = volume(&store, "v", None, 16 * MIB);
    store.open_volume(id).unwrap().write(5 * MIB, &[&[7; 4096]], Wait::Yes).unwrap();
    store.close_volume(id).unwrap();
    rot(dir.path());
    let error = store.capture_image(Subject::Volume(id), "x", &mut go_on).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt { offset: 5 * MIB });
    assert!(store.images().unwrap().is_empty());
    assert_eq!((count(&store, "snapshots"), count(&store, "staging")), (0, 0));
}

/// Changes a byte of the one block that was written.
fn rot(store: &Path) {
    use std::os::unix::fs::FileExt;
    for layer in std::fs::read_dir(store.join("layers")).unwrap() {
        for file in std::fs::read_dir(layer.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            if let Some(at) = bytes.windows(4096).position(|window| window == [7; 4096]) {
                let file = std::fs::File::options().write(true).open(&path).unwrap();
                file.write_all_at(&[8], at as u64 + 100).unwrap();
                return;
            }
        }
    }
    panic!("the block is in no segment");
}

#[test]
fn a_volume_can_be_removed_and_rolled_back_while_it_is_captured() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let id = volume(&store, "v", None, 4 * MIB);
    store.open_volume(id).unwrap().write(0, &[&[1; 4096]], Wait::Yes).unwrap();
    let snapshot = store.snapshot(id, "s").unwrap().id;
    store.open_volume(id).unwrap().write(0, &[&[2; 4096]], Wait::Yes).unwrap();
    let still = store.still(Subject::Volume(id)).unwrap();
    let first = |still: &cow::Still| {
        let mut out = [0; 4096];
        still.read(0, &mut out).unwrap();
        out[0]
    };
    store.roll_back(id, snapshot).unwrap();
    assert_eq!(content(&store, Subject::Volume(id))[0], 1);
    assert_eq!(first(&still), 2);
    store.remove_snapshot(snapshot).unwrap();
    store.remove_volume(id).unwrap();
    assert_eq!(first(&still), 2);
    drop(still);
    assert_eq!(
        (count(&store, "snapshots"), count(&store, "layers")),
        (0, 0),
        "all of it goes with the still"
    );
}

/// A store on a simulated disk, with one volume that holds something.
fn simulated(seed: u64) -> (SimDisk, Arc<Store>, VolumeId) {
    let disk = SimDisk::new(seed);
    disk.create_dir(root().parent().unwrap()).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let store = opened(&disk);
    let id = volume(&store, "v", None, 2 * MIB);
    let open = store.open_volume(id).unwrap();
    open.write(0, &[&[1; 16384]], Wait::Yes).unwrap();
    open.flush().unwrap();
    (disk, store, id)
}

fn opened(disk: &SimDisk) -> Arc<Store> {
    let mut geometry = Rng::new(1);
    Store::open_with(Arc::new(disk.clone()), root(), small_geometry(&mut geometry)).unwrap()
}

/// Nothing is there but the volume, and images that are whole.
fn nothing_is_left(disk: &SimDisk, store: &Arc<Store>, id: VolumeId, when: &str) {
    assert!(store.snapshots().is_empty(), "{when}");
    let dir = |name: &str| disk.list(&root().join(name)).unwrap().len();
    assert_eq!((dir("snapshots"), dir("staging")), (0, 0), "{when}");
    assert_eq!(content(store, Subject::Volume(id))[..16384], [1; 16384], "{when}");
    let images = store.images().unwrap();
    for image in &images {
        assert_eq!(content(store, Subject::Image(image.id))[..16384], [1; 16384], "{when}");
    }
    assert_eq!(dir("golden"), images.len(), "{when}");
    store.maintain().unwrap();
    assert_eq!(dir("layers"), 1, "{when}: upkeep merges what the still was made of");
    assert_eq!(content(store, Subject::Volume(id))[..16384], [1; 16384], "{when}");
}

#[test]
fn a_crash_anywhere_in_a_capture_leaves_no_snapshot_and_no_half_image() {
    let (disk, store, id) = simulated(7);
    let begin = disk.steps();
    store.capture_image(Subject::Volume(id), "c", &mut go_on).unwrap();
    let steps = disk.steps() - begin;
    nothing_is_left(&disk, &store, id, "without a crash");
    drop(store);
    assert!(steps > 30, "{steps} steps");
    for step in 0..steps {
        for cut in [None, Some(Cut::Nothing), Some(Cut::Everything), Some(Cut::Some(128))] {
            let (disk, store, id) = simulated(7);
            disk.stop_at(Some(disk.steps() + step));
            drop(store.capture_image(Subject::Volume(id), "c", &mut go_on));
            let after = match cut {
                Some(cut) => disk.power_cut(&mut Rng::new(step), cut),
                None => disk.kill(),
            };
            drop(store);
            nothing_is_left(&after, &opened(&after), id, &format!("step {step}, {cut:?}"));
        }
    }
}

#[test]
fn a_call_that_fails_anywhere_in_a_capture_leaves_nothing_once_the_store_is_opened_anew() {
    for op in Op::ALL {
        for nth in 0..200 {
            let (disk, store, id) = simulated(9);
            disk.set_fault(Some(Fault::once(op, nth, FaultKind::Io)));
            let captured = store.capture_image(Subject::Volume(id), "c", &mut go_on);
            let struck = disk.fault_hits() > 0;
            disk.set_fault(None);
            if let Ok(image) = &captured {
                assert_eq!(content(&store, Subject::Image(image.id))[..16384], [1; 16384]);
            }
            let after = disk.kill();
            drop(store);
            nothing_is_left(&after, &opened(&after), id, &format!("{op:?} {nth}"));
            if !struck {
                break;
            }
        }
    }
}
