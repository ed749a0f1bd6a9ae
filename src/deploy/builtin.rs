//! The built-in engine: scripts whose every command it understands, on file systems that are all FAT.

use std::sync::Arc;
use std::time::Instant;

use script::Expanded;

use super::job::{Ended, Stop, Told};
use crate::lun::BlockStore;

/// Whether scripts could fit, as far as that can be said without a disk.
pub(super) fn may_fit(_script: &Expanded) -> bool {
    false
}

/// Whether scripts fit this engine on this disk.
pub(super) fn fits(_script: &Expanded, _disk: &dyn BlockStore) -> bool {
    false
}

/// Runs them. Blocks; everything is flushed at the end.
pub(super) fn run(_script: &Expanded, _disk: Arc<dyn BlockStore>, _deadline: Instant, _told: &Told<'_>) -> Ended {
    Ended::stopped(Stop {
        step: None,
        line: None,
        message: "the built-in engine takes no script".to_owned(),
        code: api::Code::Internal,
    })
}
