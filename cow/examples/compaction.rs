//! What a compaction costs those who write meanwhile: 4 KiB writes, and writes with a flush each, beside rounds of
//! upkeep that empty sparse segments. `cargo run -p cow --release --example compaction -- [DIRECTORY]`

#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a benchmark may stop at the first surprise"
)]

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use cow::{NewVolume, Store, Volume, Wait};

const MIB: u64 = 1 << 20;
/// MiB that are written first; one in five of them stays.
const FILLED: u64 = 1200;
/// Blocks that the writer overwrites, behind those.
const BLOCKS: u64 = 4096;
const TIME: Duration = Duration::from_secs(6);

/// How often a round of upkeep comes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rounds {
    None,
    OneASecond,
    WithoutPause,
}

fn fill(volume: &Volume) {
    let mib = vec![0x5a; 1 << 20];
    (0..FILLED).for_each(|at| volume.write(at * MIB, &[&mib], Wait::Yes).unwrap());
    let goes = (0..FILLED).filter(|at| at % 5 > 0);
    goes.for_each(|at| volume.trim(at * MIB, MIB, Wait::Yes).unwrap());
    volume.flush().unwrap();
    volume.reclaim().unwrap();
}

fn write(volume: &Volume, flush: bool, done: &AtomicBool) -> Vec<Duration> {
    let (start, mut took, mut random) = (Instant::now(), Vec::new(), 88_172_645_463_325_252_u64);
    while start.elapsed() < TIME && !done.load(Ordering::Relaxed) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let offset = FILLED * MIB + random % BLOCKS * 4096;
        let begin = Instant::now();
        volume.write(offset, &[&[7; 4096]], Wait::Yes).unwrap();
        if flush {
            volume.flush().unwrap();
        }
        took.push(begin.elapsed());
        if !flush {
            // So many as a busy guest writes, not as many as a loop can.
            while begin.elapsed() < Duration::from_micros(50) {
                std::hint::spin_loop();
            }
        }
    }
    took
}

fn run(dir: &Path, rounds: Rounds, flush: bool) {
    let dir = tempfile::tempdir_in(dir).unwrap();
    let store = Store::open(dir.path()).unwrap();
    let size_bytes = Some(FILLED * MIB + BLOCKS * 4096);
    let id = store.create_volume(NewVolume { name: "v".into(), image: None, size_bytes }).unwrap().id;
    let volume = store.open_volume(id).unwrap();
    fill(&volume);
    let (done, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let (mut took, copied) = std::thread::scope(|scope| {
        let upkeep = scope.spawn(|| {
            let mut copied = 0;
            while rounds != Rounds::None && !stop.load(Ordering::Relaxed) {
                let bytes = store.maintain().unwrap().compacted_bytes;
                copied += bytes;
                if bytes == 0 {
                    break;
                }
                if rounds == Rounds::OneASecond {
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
            done.store(rounds == Rounds::WithoutPause, Ordering::Relaxed);
            copied
        });
        let took = write(&volume, flush, &done);
        stop.store(true, Ordering::Relaxed);
        (took, upkeep.join().unwrap())
    });
    took.sort_unstable();
    let at = |per_mille: usize| took[(took.len() - 1) * per_mille / 1000].as_secs_f64() * 1e6;
    println!(
        "{:<13} {:>6}  {:>7} writes  p50 {:>6.0}  p99 {:>6.0}  p99.9 {:>6.0}  max {:>7.0} µs  {:>4} MiB copied",
        format!("{rounds:?}"),
        if flush { "flush" } else { "" },
        took.len(),
        at(500),
        at(990),
        at(999),
        at(1000),
        copied / MIB
    );
}

fn main() {
    let dir = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    for flush in [false, true] {
        for rounds in [Rounds::None, Rounds::OneASecond, Rounds::WithoutPause] {
            run(Path::new(&dir), rounds, flush);
        }
    }
}
