//! What every fuzz target does: it calls its function of `iscsi::fuzz` and lends it an allocator that counts. The crate under
//! test has no unsafe code, so that no sanitizer is needed, and a run without one is several times as fast.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

/// The system's allocator, that knows how much is in use and takes a large allocation for a finding.
struct Counted;

/// No input, however small, may ask for more at once.
const AT_ONCE_MAX: usize = 16 << 20;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is the system's own, with the same arguments.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > AT_ONCE_MAX {
            // libFuzzer writes the input down.
            std::process::abort();
        }
        // One thread allocates: no need for an atomic addition.
        IN_USE.store(IN_USE.load(Ordering::Relaxed).wrapping_add(layout.size()), Ordering::Relaxed);
        // SAFETY: the caller's promise is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.store(IN_USE.load(Ordering::Relaxed).wrapping_sub(layout.size()), Ordering::Relaxed);
        // SAFETY: the caller's promise is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// Calls the target of this name.
pub fn run(name: &str, bytes: &[u8]) {
    for (target, call) in iscsi::fuzz::TARGETS {
        if *target == name {
            return call(bytes, || IN_USE.load(Ordering::Relaxed));
        }
    }
    unreachable!("no target `{name}`");
}
