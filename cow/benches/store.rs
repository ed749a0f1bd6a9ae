//! What the store costs beside the bare disk, without a network: `cargo bench -p cow` or `make bench-store`.
//! `make bench-store ONLY=reads` runs one part: clones, many, reads, writes, flushes, recovery.
//!
//! Each figure is the median of several rounds in which both sides take turns, so that a noisy machine does not
//! decide. The directory is a temporary one below `OSVOL_BENCH_DIR` (default: the current directory's target).

#![allow(clippy::unwrap_used, reason = "a bench may stop at the first surprise")]

use std::{
    fs::File,
    ops::ControlFlow,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use cow::{NewVolume, Store, Volume, Wait};

const BLOCK: u64 = 4096;
const SPAN: u64 = 256 << 20;
const ROUNDS: usize = 5;

struct Rng(u64);
impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
    fn offset(&mut self) -> u64 {
        self.below(SPAN / BLOCK) * BLOCK
    }
}

fn main() {
    let base = std::env::var_os("OSVOL_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let dir = tempfile::tempdir_in(base).unwrap();
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |part: &str| asked.is_empty() || asked.iter().any(|arg| arg == part);
    println!("{:<44} {:>12} {:>12} {:>8}", "what", "store", "bare disk", "ratio");
    if wanted("clones") {
        clones(&dir.path().join("clones"));
    }
    if wanted("many") {
        many(&dir.path().join("many"));
    }
    let store = Store::open(&dir.path().join("store")).unwrap();
    let bare = bare_file(&dir.path().join("bare"));
    if wanted("reads") {
        reads(&store, &bare, dir.path());
    }
    if wanted("writes") {
        writes(&store, &bare);
    }
    if wanted("flushes") {
        flushes(&store, &bare);
    }
    drop(store);
    if wanted("recovery") {
        recovery(&dir.path().join("recovery"));
    }
}

fn row(what: &str, unit: &str, store: f64, bare: f64) {
    println!("{what:<44} {store:>9.1} {unit:<2} {bare:>9.1} {unit:<2} {:>8.2}", store / bare);
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

fn volume(store: &Store, name: &str, size: u64) -> Arc<Volume> {
    let new = NewVolume { name: name.into(), image: None, size_bytes: Some(size) };
    let id = store.create_volume(new).unwrap().id;
    store.open_volume(id).unwrap()
}

/// A file all of whose blocks are written: overwriting it changes no metadata.
fn bare_file(path: &Path) -> File {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
    for at in (0..SPAN).step_by(1 << 20) {
        file.write_all_at(&vec![7; 1 << 20], at).unwrap();
    }
    file.sync_all().unwrap();
    file
}

/// Thousands a second of `work`, called for at least this long.
fn rate(time: Duration, mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut done = 0_u64;
    while start.elapsed() < time {
        for _ in 0..16 {
            work();
        }
        done += 16;
    }
    done as f64 / start.elapsed().as_secs_f64() / 1e3
}

fn clones(path: &Path) {
    let store = Store::open(path).unwrap();
    let sizes = [("1 GiB", 1_u64 << 30), ("16 TiB", 1 << 44)];
    let mut times: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    let image = |name: &str, bytes| {
        let import = store.begin_import(name).unwrap();
        import.set_len(bytes).unwrap();
        import.write_at(0, &[1; 4096]).unwrap();
        store.finish_import(import, "raw", &mut |_, _| ControlFlow::Continue(())).unwrap().id
    };
    // ext4 has no files of 16 TiB: the image is small, the volume is not.
    let images = [image("one", 1 << 30), image("two", 1 << 20)];
    for n in 0..200 {
        for (which, (_, size)) in sizes.iter().enumerate() {
            let new = NewVolume {
                name: format!("c{which}-{n}"),
                image: Some(images[which]),
                size_bytes: Some(*size),
            };
            let start = Instant::now();
            store.create_volume(new).unwrap();
            times[which].push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    for ((name, _), mut times) in sizes.iter().zip(times) {
        times.sort_by(f64::total_cmp);
        println!(
            "clone, {name}: p50 {:.2} ms, p99 {:.2} ms",
            times[times.len() / 2],
            times[times.len() * 99 / 100]
        );
    }
}

/// Clones of one image by the thousand: what each takes on disk, and what they cost the next start.
fn many(path: &Path) {
    const CLONES: u64 = 10_000;
    let store = Store::open(path).unwrap();
    let import = store.begin_import("image").unwrap();
    import.set_len(1 << 30).unwrap();
    import.write_at(0, &[1; 4096]).unwrap();
    let done = store.finish_import(import, "raw", &mut |_, _| ControlFlow::Continue(()));
    let image = Some(done.unwrap().id);
    let before = used(path);
    let start = Instant::now();
    for n in 0..CLONES {
        store.create_volume(NewVolume { name: format!("m{n}"), image, size_bytes: None }).unwrap();
    }
    let each = (used(path) - before) / CLONES;
    println!("{CLONES} clones: {:.1} s, {:.1} KiB each", start.elapsed().as_secs_f64(), each as f64 / 1024.0);
    drop(store);
    let start = Instant::now();
    let store = Store::open(path).unwrap();
    let ready = start.elapsed();
    let volumes = store.volumes();
    let start = Instant::now();
    let volume = store.open_volume(volumes.last().unwrap().id).unwrap();
    volume.read(0, &mut [0; 4096], Wait::Yes).unwrap();
    println!(
        "opening the store with them: {:.0} ms; one of them, to its first block: {:.2} ms",
        ready.as_secs_f64() * 1e3,
        start.elapsed().as_secs_f64() * 1e3,
    );
}

/// Bytes that the file system has given to everything below a directory, the directories included.
fn used(path: &Path) -> u64 {
    let own = std::fs::symlink_metadata(path).unwrap();
    let mut sum = own.blocks() * 512;
    if own.is_dir() {
        sum += std::fs::read_dir(path).unwrap().map(|entry| used(&entry.unwrap().path())).sum::<u64>();
    }
    sum
}

fn reads(store: &Store, bare: &File, dir: &Path) {
    let written_in_runs = volume(store, "read", SPAN);
    for at in (0..SPAN).step_by(1 << 20) {
        written_in_runs.write(at, &[&vec![7; 1 << 20]], Wait::Yes).unwrap();
    }
    read_row("4 KiB random read, cached, written in runs", &written_in_runs, bare);
    let written_alone = volume(store, "scattered", SPAN);
    for n in 0..SPAN / BLOCK {
        written_alone.write(n * 40_503 % (SPAN / BLOCK) * BLOCK, &[&[7; 4096]], Wait::Yes).unwrap();
    }
    // The page cache holds a file in pieces as large as the writes that made it: like beside like.
    let bare_alone =
        File::options().read(true).write(true).create_new(true).open(dir.join("bare-alone")).unwrap();
    for n in 0..SPAN / BLOCK {
        bare_alone.write_all_at(&[7; 4096], n * 40_503 % (SPAN / BLOCK) * BLOCK).unwrap();
    }
    read_row("4 KiB random read, cached, written at random", &written_alone, &bare_alone);
    let import = store.begin_import("golden").unwrap();
    for at in (0..SPAN).step_by(1 << 20) {
        import.write_at(at, &[7; 1 << 20]).unwrap();
    }
    let golden = store.finish_import(import, "raw", &mut |_, _| ControlFlow::Continue(())).unwrap();
    let new = NewVolume { name: "clone".into(), image: Some(golden.id), size_bytes: None };
    let clone = store.open_volume(store.create_volume(new).unwrap().id).unwrap();
    for at in (0..SPAN).step_by(1 << 20) {
        clone.read(at, &mut vec![0; 1 << 20], Wait::Yes).unwrap();
    }
    read_row("4 KiB random read, cached, golden image", &clone, bare);
}

fn read_row(what: &str, volume: &Volume, bare: &File) {
    let mut buffer = vec![0; 4096];
    let (mut ours, mut theirs, mut rng) = (Vec::new(), Vec::new(), Rng(1));
    for _ in 0..ROUNDS {
        ours.push(rate(Duration::from_millis(400), || {
            let offset = rng.offset();
            // As the daemon does: what is not in the page cache any more is waited for.
            let read = volume.read(offset, &mut buffer, Wait::No);
            read.or_else(|_| volume.read(offset, &mut buffer, Wait::Yes)).unwrap();
        }));
        theirs.push(rate(Duration::from_millis(400), || {
            bare.read_exact_at(&mut buffer, rng.offset()).unwrap()
        }));
    }
    row(what, "k", median(ours), median(theirs));
}

fn writes(store: &Store, bare: &File) {
    let data = vec![9; 4096];
    let (mut first, mut again, mut theirs, mut rng) = (Vec::new(), Vec::new(), Vec::new(), Rng(2));
    for round in 0..ROUNDS {
        let volume = volume(store, &format!("write{round}"), SPAN);
        let mut at = 0;
        // Blocks in an order that never repeats one: every write is a first write.
        let mut next = || {
            at = (at + 40_503 * BLOCK) % SPAN;
            at
        };
        let start = Instant::now();
        for _ in 0..20_000 {
            volume.write(next(), &[&data], Wait::No).unwrap();
        }
        first.push(20.0 / start.elapsed().as_secs_f64());
        let start = Instant::now();
        for n in 0..20_000_u64 {
            volume.write(n * 40_503 % (SPAN / BLOCK) * BLOCK, &[&data], Wait::No).unwrap();
        }
        again.push(20.0 / start.elapsed().as_secs_f64());
        theirs.push(rate(Duration::from_millis(300), || bare.write_all_at(&data, rng.offset()).unwrap()));
        bare.sync_data().unwrap();
        volume.flush().unwrap();
    }
    let (first, again) = (median(first), median(again));
    row("4 KiB random first write", "k", first, median(theirs));
    println!("first write / rewrite: {:.2} of its time", again / first);
}

fn flushes(store: &Store, bare: &File) {
    let data = vec![9; 4096];
    let volume = volume(store, "flush", SPAN);
    let (mut one, mut many, mut theirs, mut rng) = (Vec::new(), Vec::new(), Vec::new(), Rng(3));
    for _ in 0..ROUNDS {
        one.push(rate(Duration::from_millis(500), || {
            volume.write(rng.offset(), &[&data], Wait::Yes).unwrap();
            volume.flush().unwrap();
        }));
        theirs.push(rate(Duration::from_millis(500), || {
            bare.write_all_at(&data, rng.offset()).unwrap();
            bare.sync_data().unwrap();
        }));
        many.push(flushed_by_threads(&volume, 32));
    }
    let (one, theirs) = (median(one), median(theirs));
    row("4 KiB write + flush, QD 1", "k", one, theirs);
    row("4 KiB write + flush, QD 32", "k", median(many), theirs);
}

fn flushed_by_threads(volume: &Arc<Volume>, threads: u64) -> f64 {
    let start = Instant::now();
    let workers: Vec<_> = (0..threads)
        .map(|n| {
            let volume = volume.clone();
            std::thread::spawn(move || {
                let (mut rng, mut done) = (Rng(77 + n), 0_u64);
                while start.elapsed() < Duration::from_millis(500) {
                    volume.write(rng.offset(), &[&[9; 4096]], Wait::Yes).unwrap();
                    volume.flush().unwrap();
                    done += 1;
                }
                done
            })
        })
        .collect();
    let done: u64 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
    done as f64 / start.elapsed().as_secs_f64() / 1e3
}

fn recovery(path: &Path) {
    let id = {
        let store = Store::open(path).unwrap();
        let volume = volume(&store, "dirty", 4 << 30);
        let mut rng = Rng(4);
        for _ in 0..(1 << 30) / BLOCK {
            volume.write(rng.below((4 << 30) / BLOCK) * BLOCK, &[&[3; 4096]], Wait::Yes).unwrap();
        }
        volume.id()
    };
    let start = Instant::now();
    let store = Store::open(path).unwrap();
    let volume = store.open_volume(id).unwrap();
    println!("recovery of 1 GiB written at random: {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    volume.checkpoint().unwrap();
    drop((volume, store));
    let start = Instant::now();
    let store = Store::open(path).unwrap();
    store.open_volume(id).unwrap();
    println!("opening it after a checkpoint: {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
}
