//! What every fuzz target does: it calls its function of `scsi::fuzz`, with an eye on memory. The crate under
//! test has no unsafe code, so that no sanitizer is needed, and a run without one is several times as fast.

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, that takes a large allocation for a finding.
struct Bounded;

/// No input, however small, may ask for more at once.
const AT_ONCE_MAX: usize = 8 << 20;

// SAFETY: every call is the system's own, with the same arguments.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > AT_ONCE_MAX {
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
    for (target, call) in scsi::fuzz::TARGETS {
        if *target == name {
            return call(bytes);
        }
    }
    unreachable!("no target `{name}`");
}
