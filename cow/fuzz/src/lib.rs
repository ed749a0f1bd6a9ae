//! What every fuzz target does: it calls its function of `cow::fuzz`, with an eye on memory. The crate under test has no
//! unsafe code, so that no sanitizer is needed, and a run without one is several times as fast.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

/// The system's allocator, that takes a large allocation for a finding.
struct Bounded;

/// The most bytes that may be asked for at once: little by a decoder; a repair marks a lost image chunk by chunk.
static AT_ONCE_MAX: AtomicUsize = AtomicUsize::new(usize::MAX);

// SAFETY: every call is the system's own, with the same arguments.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > AT_ONCE_MAX.load(Ordering::Relaxed) {
            // libFuzzer writes the input down.
            std::process::abort();
        }
        // SAFETY: the caller's promise is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

/// Calls the target of this name.
pub fn run(name: &str, bytes: &[u8]) {
    let most = if matches!(name, "layer" | "store") { 1 << 30 } else { 16 << 20 };
    AT_ONCE_MAX.store(most, Ordering::Relaxed);
    for (target, call) in cow::fuzz::TARGETS {
        if target == name {
            return call(bytes);
        }
    }
    unreachable!("no target `{name}`");
}
