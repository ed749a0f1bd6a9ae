//! What a store takes on disk while the same blocks are overwritten as fast as they can be, with upkeep as often as
//! `osvold` has it. `cargo run -p cow --release --example overwrite -- [MIB [SECONDS [DIRECTORY]]]`

#![allow(clippy::unwrap_used, reason = "a measurement may stop at the first surprise")]

use std::{
    os::unix::fs::MetadataExt,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use cow::{NewVolume, Store, Wait};

const MIB: u64 = 1 << 20;
const PART: u64 = 64 << 10;
/// As often as `osvold`.
const UPKEEP_EVERY: Duration = Duration::from_secs(2);
/// Other users of the disk keep so much of it.
const FREE_BYTES_MIN: u64 = 15 << 30;

fn bytes_of(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match std::fs::metadata(entry.path()) {
        Ok(found) if found.is_dir() => bytes_of(&entry.path()),
        Ok(found) => found.blocks() * 512,
        Err(_) => 0,
    });
    bytes.sum()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, or: u64| arguments.get(at).map_or(or, |text| text.parse().unwrap());
    let (mib, seconds) = (number(0, 64), number(1, 20));
    let dir = tempfile::tempdir_in(arguments.get(2).map_or(".", String::as_str)).unwrap();
    let store = Store::open(dir.path()).unwrap();
    let new = NewVolume { name: "v".into(), image: None, size_bytes: Some(mib * MIB) };
    let volume = store.open_volume(store.create_volume(new).unwrap().id).unwrap();
    let (stop, written, longest_us) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let data = vec![0x5a; usize::try_from(PART).unwrap()];
            for at in (0..mib * MIB).step_by(usize::try_from(PART).unwrap()).cycle() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let begin = Instant::now();
                volume.write(at, &[&data], Wait::Yes).unwrap();
                written.fetch_add(PART, Ordering::Relaxed);
                let took = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
                longest_us.fetch_max(took, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(UPKEEP_EVERY);
                let begin = Instant::now();
                let bytes = store.maintain().unwrap().reclaimed_bytes;
                println!(
                    "       upkeep: {:.1} s, {} MiB given back",
                    begin.elapsed().as_secs_f64(),
                    bytes / MIB
                );
            }
        });
        let (start, mut most) = (Instant::now(), 0);
        while start.elapsed() < Duration::from_secs(seconds) {
            std::thread::sleep(Duration::from_millis(500));
            let bytes = bytes_of(dir.path());
            most = most.max(bytes);
            let (written, longest) = (written.load(Ordering::Relaxed), longest_us.swap(0, Ordering::Relaxed));
            println!(
                "{:5.1} s: {:6} MiB written, {:6} MiB on disk, longest write {} ms",
                start.elapsed().as_secs_f64(),
                written / MIB,
                bytes / MIB,
                longest / 1000,
            );
            if store.usage().unwrap().free_bytes < FREE_BYTES_MIN {
                println!("the disk is too full to go on");
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        println!("at most {} MiB on disk for a volume of {mib} MiB", most / MIB);
    });
}
