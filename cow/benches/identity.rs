//! The road not taken, for the decision note: an overlay that is a sparse file with every block in its own place,
//! and a bitmap of the blocks that were written. The same work is given to it and to the store, in turns.
//! `cargo bench -p cow --bench identity`
//!
//! It has no checksums and no snapshots; a flush that finds new bits needs two syncs, data before bitmap.

#![allow(clippy::unwrap_used, reason = "a bench may stop at the first surprise")]

use std::{
    fs::File,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use cow::{NewVolume, Store, Volume, Wait};

const BLOCK: u64 = 4096;
const SPAN: u64 = 512 << 20;
const ROUNDS: usize = 5;

/// What both can do.
trait Overlay: Send + Sync {
    fn write(&self, offset: u64, data: &[u8]);
    fn flush(&self);
    fn read(&self, offset: u64, out: &mut [u8]);
    fn disk_bytes(&self) -> u64;
}

impl Overlay for Volume {
    fn write(&self, offset: u64, data: &[u8]) {
        Volume::write(self, offset, &[data], Wait::Yes).unwrap();
    }
    fn flush(&self) {
        Volume::flush(self).unwrap();
    }
    fn read(&self, offset: u64, out: &mut [u8]) {
        Volume::read(self, offset, out, Wait::Yes).unwrap();
    }
    fn disk_bytes(&self) -> u64 {
        self.allocated_bytes().unwrap()
    }
}

struct Identity {
    data: File,
    map: File,
    bits: Mutex<Vec<u8>>,
    sync: Mutex<Rounds>,
    synced: Condvar,
}

#[derive(Default)]
struct Rounds {
    running: bool,
    asked: u64,
    done: u64,
    new_bits: bool,
}

impl Identity {
    fn create(dir: &Path) -> Self {
        std::fs::create_dir(dir).unwrap();
        let open = |name: &str| {
            File::options().read(true).write(true).create_new(true).open(dir.join(name)).unwrap()
        };
        let (data, map) = (open("data"), open("map"));
        data.set_len(SPAN).unwrap();
        map.write_all_at(&vec![0; bits_len()], 0).unwrap();
        map.sync_all().unwrap();
        Self {
            data,
            map,
            bits: Mutex::new(vec![0; bits_len()]),
            sync: Mutex::default(),
            synced: Condvar::new(),
        }
    }

    /// What opening it takes: reading the bitmap.
    fn recover(&self) -> Vec<u8> {
        let mut bits = vec![0; bits_len()];
        self.map.read_exact_at(&mut bits, 0).unwrap();
        bits
    }
}

fn bits_len() -> usize {
    usize::try_from(SPAN / BLOCK / 8).unwrap()
}

impl Overlay for Identity {
    fn write(&self, offset: u64, data: &[u8]) {
        self.data.write_all_at(data, offset).unwrap();
        for block in offset / BLOCK..(offset + data.len() as u64) / BLOCK {
            let at = usize::try_from(block / 8).unwrap();
            let mut bits = self.bits.lock().unwrap();
            let bit = 1 << (block % 8);
            if bits[at] & bit == 0 {
                bits[at] |= bit;
                // To the page cache at once: an acknowledged write survives a kill.
                self.map.write_all_at(&bits[at..=at], at as u64).unwrap();
                self.sync.lock().unwrap().new_bits = true;
            }
        }
    }

    fn flush(&self) {
        let mut sync = self.sync.lock().unwrap();
        sync.asked += 1;
        let mine = sync.asked;
        while sync.running && sync.done < mine {
            sync = self.synced.wait(sync).unwrap();
        }
        if sync.done >= mine {
            return;
        }
        sync.running = true;
        let (upto, new_bits) = (sync.asked, std::mem::take(&mut sync.new_bits));
        drop(sync);
        self.data.sync_data().unwrap();
        if new_bits {
            self.map.sync_data().unwrap();
        }
        let mut sync = self.sync.lock().unwrap();
        sync.running = false;
        sync.done = upto;
        drop(sync);
        self.synced.notify_all();
    }

    fn read(&self, offset: u64, out: &mut [u8]) {
        self.data.read_exact_at(out, offset).unwrap();
    }

    fn disk_bytes(&self) -> u64 {
        (self.data.metadata().unwrap().blocks() + self.map.metadata().unwrap().blocks()) * 512
    }
}

struct Rng(u64);
impl Rng {
    fn offset(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % (SPAN / BLOCK) * BLOCK
    }
}

fn main() {
    let base = std::env::var_os("OSVOL_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let dir = tempfile::tempdir_in(base).unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let mut rows: Vec<(&str, [Vec<f64>; 2])> = Vec::new();
    for round in 0..ROUNDS {
        let identity = Arc::new(Identity::create(&dir.path().join(format!("identity{round}"))));
        let new = NewVolume { name: format!("v{round}"), image: None, size_bytes: Some(SPAN) };
        let volume = store.open_volume(store.create_volume(new).unwrap().id).unwrap();
        for (side, overlay) in [volume as Arc<dyn Overlay>, identity.clone()].into_iter().enumerate() {
            let mut tell = |what: &'static str, figure: f64| match rows.iter_mut().find(|row| row.0 == what) {
                Some(row) => row.1[side].push(figure),
                None => rows.push((what, [vec![figure], Vec::new()])),
            };
            measure(&overlay, round as u64, &mut tell);
        }
        let start = Instant::now();
        assert!(identity.recover().iter().any(|byte| *byte != 0));
        println!("round {round}: bitmap read in {:.2} ms", start.elapsed().as_secs_f64() * 1e3);
    }
    println!("{:<44} {:>12} {:>12} {:>8}", "median of 5", "log", "identity", "ratio");
    for (what, [log, identity]) in rows {
        let (log, identity) = (median(log), median(identity));
        println!("{what:<44} {log:>12.2} {identity:>12.2} {:>8.2}", log / identity);
    }
}

fn measure(overlay: &Arc<dyn Overlay>, round: u64, tell: &mut dyn FnMut(&'static str, f64)) {
    let data = vec![7; 4096];
    let mut rng = Rng(round * 77 + 1);
    let start = Instant::now();
    for _ in 0..20_000 {
        overlay.write(rng.offset(), &data);
    }
    tell("random first write, k/s", 20.0 / start.elapsed().as_secs_f64());
    overlay.flush();
    tell("disk bytes per byte written", overlay.disk_bytes() as f64 / 20_000.0 / 4096.0);
    cold();
    let start = Instant::now();
    let mut out = vec![0; 1 << 20];
    for at in (0..SPAN).step_by(1 << 20) {
        overlay.read(at, &mut out);
    }
    tell("sequential read after that, cold, MiB/s", (SPAN >> 20) as f64 / start.elapsed().as_secs_f64());
    let mut rng = Rng(round * 77 + 1);
    let start = Instant::now();
    for _ in 0..20_000 {
        overlay.write(rng.offset(), &data);
    }
    tell("random overwrite, k/s", 20.0 / start.elapsed().as_secs_f64());
    overlay.flush();
    let (start, mut done) = (Instant::now(), 0.0);
    while start.elapsed() < Duration::from_millis(700) {
        overlay.write(rng.offset(), &data);
        overlay.flush();
        done += 1.0;
    }
    tell("write + flush, QD 1, /s", done / start.elapsed().as_secs_f64());
    tell("write + flush, QD 32, /s", by_threads(overlay));
}

fn by_threads(overlay: &Arc<dyn Overlay>) -> f64 {
    let start = Instant::now();
    let threads: Vec<_> = (0..32)
        .map(|n| {
            let overlay = overlay.clone();
            std::thread::spawn(move || {
                let (mut rng, mut done) = (Rng(n + 1), 0_u32);
                while start.elapsed() < Duration::from_millis(700) {
                    overlay.write(rng.offset(), &[7; 4096]);
                    overlay.flush();
                    done += 1;
                }
                done
            })
        })
        .collect();
    let done: u32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    f64::from(done) / start.elapsed().as_secs_f64()
}

/// Empties the page cache, if we may.
fn cold() {
    if std::fs::write("/proc/sys/vm/drop_caches", "1").is_err() {
        eprintln!("not root: the page cache stays warm");
    }
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}
