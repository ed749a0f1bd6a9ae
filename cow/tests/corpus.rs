//! What the fuzzers in `fuzz/` have found worth keeping, without a fuzzer: every input of `fuzz/seeds` is decoded, opened
//! and used; none makes anything panic, and none makes it take much memory at once.
//!
//! The first inputs are real structures: `cargo test -p cow --test corpus -- --ignored --exact write_seeds`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test may stop at the first surprise"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use cow::{
    NewVolume, Store, Wait,
    disk::sim::SimDisk,
    fuzz::{self, Archive},
};

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator; remembers the largest allocation of each thread.
struct Watched;

#[allow(unsafe_code, reason = "an allocator has no safe form; it only passes on")]
// SAFETY: every call is the system's own, with the same arguments.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(layout.size())));
        // SAFETY: the caller's promise is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// No input, however small, may ask for more at once. The largest that is asked for honestly is the list of pages of a
/// simulated segment of 64 MiB.
const AT_ONCE_MAX: usize = 8 << 20;

fn seeds(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target)
}

#[test]
fn every_input_of_the_corpus_is_taken() {
    for (name, target) in fuzz::TARGETS {
        let mut count = 0;
        let mut paths: Vec<_> =
            fs::read_dir(seeds(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            let bytes = fs::read(&path).unwrap();
            LARGEST.set(0);
            let run = std::panic::catch_unwind(|| target(&bytes));
            assert!(run.is_ok(), "{} makes `{name}` panic", path.display());
            let largest = LARGEST.get();
            assert!(largest <= AT_ONCE_MAX, "{} takes {largest} bytes at once", path.display());
            count += 1;
        }
        println!("{name}: {count} inputs");
        assert!(count >= 2, "{name} has {count} inputs");
    }
}

/// Every input with every one of its bytes changed, so that a plain test goes a step beyond the corpus.
#[test]
fn nothing_near_the_corpus_panics() {
    for (name, target) in &fuzz::TARGETS[..6] {
        for entry in fs::read_dir(seeds(name)).unwrap() {
            let mut bytes = fs::read(entry.unwrap().path()).unwrap();
            for at in 0..bytes.len().min(400) {
                let old = bytes[at];
                for new in [0, 0xff, old ^ 1, old ^ 0x80, old.wrapping_add(1)] {
                    bytes[at] = new;
                    LARGEST.set(0);
                    target(&bytes);
                    assert!(LARGEST.get() <= AT_ONCE_MAX, "{name}: {} bytes at once", LARGEST.get());
                }
                bytes[at] = old;
                target(&bytes[..at]);
            }
        }
    }
}

/// A store with one of everything; closed, or as a kill leaves it.
fn sample(closed: bool) -> SimDisk {
    let disk = SimDisk::new(fuzz::MACHINE);
    let store = Store::open_with(Arc::new(disk.clone()), Path::new("/store"), fuzz::small()).unwrap();
    let import = store.begin_import("golden").unwrap();
    import.write_at(0, &[7; 5 * 4096]).unwrap();
    import.set_len(3 * 65536).unwrap();
    let image = store.finish_import(import, "raw", &mut |_, _| ControlFlow::Continue(())).unwrap();
    let new = NewVolume { name: "v".into(), image: Some(image.id), size_bytes: Some(60 * 4096) };
    let id = store.create_volume(new).unwrap().id;
    let volume = store.open_volume(id).unwrap();
    for block in 0..9_u64 {
        volume.write(block * 7 % 20 * 4096, &[&[block as u8 + 1; 8192]], Wait::Yes).unwrap();
    }
    store.snapshot(id, "s").unwrap();
    volume.trim(0, 3 * 4096, Wait::Yes).unwrap();
    volume.write(9 * 4096, &[&[77; 3 * 4096]], Wait::Yes).unwrap();
    volume.reclaim().unwrap();
    volume.write(4096, &[&[99; 8192]], Wait::Yes).unwrap();
    volume.flush().unwrap();
    volume.write(11 * 4096, &[&[98; 4096]], Wait::Yes).unwrap();
    volume.trim(50 * 4096, 4096, Wait::Yes).unwrap();
    if closed {
        store.close().unwrap();
    }
    drop((volume, store));
    disk
}

fn put(target: &str, name: &str, bytes: &[u8]) {
    fs::create_dir_all(seeds(target)).unwrap();
    fs::write(seeds(target).join(name), bytes).unwrap();
}

fn frames(bytes: &[u8]) -> &[u8] {
    let framed =
        bytes.get(12..16).map_or(0, |four| u32::from_le_bytes(four.try_into().unwrap()) as usize + 40);
    &bytes[..framed.min(bytes.len())]
}

/// Not a test: writes the first corpus, made of real structures.
#[test]
#[ignore = "writes the first corpus; see the head of this file"]
fn write_seeds() {
    for closed in [false, true] {
        let disk = sample(closed);
        let mut all = Archive::default();
        for (path, _) in disk.files() {
            let name = path.strip_prefix("/store").unwrap().to_str().unwrap().to_owned();
            let bytes = disk.bytes_of(&path).unwrap();
            let file = name.rsplit('/').next().unwrap();
            let seed = format!("{}-{}", if closed { "closed" } else { "killed" }, name.replace('/', "-"));
            match file.split('-').next().unwrap() {
                "LOCK" => continue,
                "STORE" => put("frame", &seed, &bytes),
                "manifest" => {
                    put("manifest", &seed, &bytes);
                    put("frame", &seed, &bytes);
                }
                "ckpt" => put("checkpoint", &seed, &bytes),
                "digests" => put("digests", &seed, &bytes),
                "seg" => {
                    put("segment", &seed, frames(&bytes));
                    records(&seed, &bytes);
                }
                _ => {}
            }
            all.files.push((name, bytes));
        }
        let mut layers: Vec<String> = all.files.iter().filter_map(|(name, _)| layer_of(name)).collect();
        layers.dedup();
        for flags in [0, 1, 2, 4, 6, 8, 9, 12] {
            all.flags = flags;
            put("store", &format!("closed-{closed}-{flags}"), &all.pack());
            for (n, layer) in layers.iter().enumerate() {
                let part = |(name, bytes): &(String, Vec<u8>)| {
                    let name = name.strip_prefix("layers/").filter(|name| name.starts_with(layer))?;
                    Some((name.to_owned(), bytes.clone()))
                };
                let one = Archive { flags, files: all.files.iter().filter_map(part).collect() };
                put("layer", &format!("closed-{closed}-{n}-{flags}"), &one.pack());
            }
        }
    }
    // An image that has holes between its chunks.
    let mut digests = b"OVdigst1".to_vec();
    for number in [20 * 65536_u64, 2, 1, 2, 9, 1] {
        digests.extend(number.to_le_bytes());
    }
    digests.extend([5; 3 * 32]);
    put("digests", "two-runs", &digests);
    put("digests", "empty", b"OVdigst1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
}

fn layer_of(name: &str) -> Option<String> {
    Some(name.strip_prefix("layers/")?.split('/').next()?.to_owned())
}

/// The records of a segment, one by one; one of each kind and size is enough.
fn records(seed: &str, bytes: &[u8]) {
    let mut at = 4096;
    while bytes.get(at..at + 4) == Some(b"OVr1") {
        let (kind, count) = (bytes[at + 8], usize::from(bytes[at + 10]));
        let length = (48 + 4 * count).next_multiple_of(8).max(56);
        put("record", &format!("{}-kind{kind}-of{count}", &seed[..6]), &bytes[at..at + length]);
        at += length;
    }
}
