//! Real processes on a real directory: a writer is killed at a random moment, a hundred times, and every write that
//! it said was done is there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test may stop at the first surprise"
)]

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use cow::{NewVolume, Store, Volume, Wait, disk::sim::Rng};

const DIRECTORY: &str = "COW_KILL_DIRECTORY";
const SEED: &str = "COW_KILL_SEED";
const THREADS: u64 = 3;
const BLOCKS: u64 = 512;
const BLOCK: u64 = 4096;

fn content(block: u64, tag: u64) -> Vec<u8> {
    let word =
        |at: u64| block.wrapping_mul(0x9e37_79b9).wrapping_add(tag.wrapping_mul(0x85eb_ca6b)) ^ at << 40;
    let mut bytes: Vec<u8> = (0..BLOCK / 8).flat_map(|at| word(at).to_le_bytes()).collect();
    bytes[..8].copy_from_slice(&tag.to_le_bytes());
    bytes
}

fn say(line: std::fmt::Arguments<'_>) {
    // One write a line: what is said before the kill is heard after it.
    let line = format!("{line}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
}

fn write_for_ever(volume: &Volume, thread: u64, seed: u64) {
    let mut rng = Rng::new(seed * 10 + thread);
    loop {
        let block = rng.below(BLOCKS / THREADS) * THREADS + thread;
        let tag = rng.next() | 1;
        say(format_args!("start {block} {tag}"));
        volume.write(block * BLOCK, &[&content(block, tag)], Wait::Yes).unwrap();
        say(format_args!("done {block} {tag}"));
        match rng.below(60) {
            0 => volume.flush().unwrap(),
            1 => volume.checkpoint().unwrap(),
            2 => drop(volume.reclaim().unwrap()),
            _ => {}
        }
    }
}

/// Not a test of its own: the process that is killed.
#[test]
fn writer() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let seed = std::env::var(SEED).unwrap().parse().unwrap();
    let store = Store::open(Path::new(&directory)).unwrap();
    let volume = open(&store);
    say(format_args!("ready"));
    std::thread::scope(|scope| {
        (0..THREADS).for_each(|thread| {
            let volume = volume.clone();
            scope.spawn(move || {
                let work = std::panic::AssertUnwindSafe(|| write_for_ever(&volume, thread, seed));
                // An error of one thread must not wait for the others.
                drop(std::panic::catch_unwind(work));
                std::process::exit(1);
            });
        });
    });
}

fn open(store: &Arc<Store>) -> Arc<Volume> {
    let id = match store.volumes().first() {
        Some(info) => info.id,
        None => {
            let new = NewVolume { name: "v".into(), image: None, size_bytes: Some(BLOCKS * BLOCK) };
            store.create_volume(new).unwrap().id
        }
    };
    store.open_volume(id).unwrap()
}

/// What each block may hold: what was done last, and what was started since.
type Allowed = HashMap<u64, Vec<u64>>;

fn one_life(directory: &Path, seed: u64, life: Duration, allowed: &mut Allowed) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer", "--nocapture", "--test-threads", "1"])
        .env(DIRECTORY, directory)
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.ends_with("ready")), "the writer did not begin");
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut done = 0;
            for line in lines {
                let words: Vec<&str> = line.split(' ').collect();
                let [what, block, tag] = words[..] else { continue };
                let (Ok(block), Ok(tag)) = (block.parse(), tag.parse()) else { continue };
                let allowed = allowed.entry(block).or_insert_with(|| vec![0]);
                match what {
                    "start" => allowed.push(tag),
                    "done" => {
                        *allowed = vec![tag];
                        done += 1;
                    }
                    _ => {}
                }
            }
            done
        });
        std::thread::sleep(life);
        assert_eq!(child.try_wait().unwrap(), None, "the writer ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        reader.join().unwrap()
    })
}

fn check(directory: &Path, allowed: &mut Allowed) {
    let store = Store::open(directory).unwrap();
    let volume = open(&store);
    let mut have = vec![0; BLOCK as usize];
    for (block, allowed) in allowed {
        volume.read(block * BLOCK, &mut have, Wait::Yes).unwrap();
        let tag = u64::from_le_bytes(have[..8].try_into().unwrap());
        assert!(allowed.contains(&tag), "block {block} holds {tag}, not one of {allowed:?}");
        let whole = if tag == 0 { vec![0; BLOCK as usize] } else { content(*block, tag) };
        assert!(have == whole, "block {block} is torn");
        *allowed = vec![tag];
    }
}

#[test]
fn what_was_acknowledged_survives_a_hundred_kills() {
    let directory = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let (mut rng, mut allowed, mut done, mut kills) = (Rng::new(1), Allowed::new(), 0, 0);
    while kills < 100 && start.elapsed() < Duration::from_secs(60) {
        let life = Duration::from_micros(rng.below(80_000));
        done += one_life(directory.path(), kills + 1, life, &mut allowed);
        check(directory.path(), &mut allowed);
        kills += 1;
    }
    println!("{kills} kills, {done} acknowledged writes");
    assert!(kills >= 20 && done > 100, "{kills} kills, {done} writes");
}
