//! What the model tests share: random histories on a simulated disk, against the dumbest right thing.

#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

pub mod check;
pub mod history;
pub mod model;
pub mod tags;

use std::path::Path;

use cow::{Geometry, disk::sim::Rng};

/// Where the store lies on a simulated disk.
pub fn root() -> &'static Path {
    Path::new("/var/store")
}

/// Segments so small that a few writes fill several.
pub fn small_geometry(rng: &mut Rng) -> Geometry {
    let segment_blocks = 2 + rng.below(20) as u32;
    let summary = 512 * (1 + rng.below(8) as u32);
    Geometry {
        segment_blocks,
        data_offset: 4096 + summary,
        record_blocks_max: (1 + rng.index(6)).min(segment_blocks as usize),
        summary_ahead_bytes: [128, 512, 2048][rng.index(3)],
        summary_reserve_bytes: [0, 64, 256][rng.index(3)],
        data_ahead_blocks: rng.below(6) as u32,
        small_sync_blocks: rng.below(5) as u32,
        // So few that a handful of overwrites has to wait. What else a seed makes stays as it was.
        dead_blocks_allowed: [0, 1, 4, 12][segment_blocks as usize % 4],
        ..Geometry::default()
    }
}

/// Whether the long form of the tests is asked for: `make test` does, with the profile `sim`.
pub fn full() -> bool {
    number("COW_FULL", 0) != 0
}

/// A number from the environment, so that one command runs more or other seeds.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
