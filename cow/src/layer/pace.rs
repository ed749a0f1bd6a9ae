//! Pace: who overwrites faster than dead blocks are given back waits for that, so that they do not fill the disk.
//!
//! ```text
//!   fresh   blocks written since dead ones were last given back, or upkeep last found too few to be worth it
//!   dead    blocks that nothing looks at any more
//!
//!   a change waits while the lesser of both is more than is allowed, and than is live; it gives them back itself
//!   where nobody does
//! ```
//!
//! Both are asked: a trim makes much dead at once, but the disk no fuller, and a first write makes nothing dead. What
//! is waited for is a [`Layer::reclaim`] like any other: what survives a crash is the same. A write waits for no more
//! than the one that runs and one of its own, holds no lock but that of its layer's checkpoints meanwhile, and is not
//! refused because space could not be given back.

use std::{sync::atomic::Ordering, time::Duration};

use super::Layer;
use crate::{
    disk::Wait,
    error::{Error, Result},
};

/// How often a write that waits looks whether it may go on: a large reclaim unlinks for long after that.
const PACE_PAUSE: Duration = Duration::from_millis(5);

impl Layer {
    /// Returns when something may be written: at once, unless the layer is outrun. With [`Wait::No`] it fails with
    /// [`crate::Kind::WouldBlock`] rather than wait.
    pub(crate) fn keep_pace(&self, wait: Wait) -> Result<()> {
        if !self.is_outrun() {
            return Ok(());
        }
        if wait == Wait::No {
            return Err(Error::would_block());
        }
        let one = loop {
            if let Some(one) = self.one_checkpoint.try_lock_for(PACE_PAUSE) {
                break one;
            }
            if !self.is_outrun() {
                return Ok(());
            }
        };
        // Another one that waited may have done it. Where it fails, upkeep says so every round: not each write tries.
        if self.is_outrun() && self.reclaim_alone(&one).is_err() {
            self.set_pace();
        }
        Ok(())
    }

    /// What was written so far is not waited for.
    pub(crate) fn set_pace(&self) {
        self.fresh_blocks.store(0, Ordering::Relaxed);
    }

    pub(super) fn count_fresh(&self, blocks: u64) {
        self.fresh_blocks.fetch_add(blocks, Ordering::Relaxed);
    }

    /// Takes back what was counted when a reclaim began.
    pub(super) fn forget_fresh(&self, blocks: u64) {
        let less = |fresh: u64| Some(fresh.saturating_sub(blocks));
        // It always gives a number.
        let _ = self.fresh_blocks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    fn is_outrun(&self) -> bool {
        let (fresh, allowed) =
            (self.fresh_blocks.load(Ordering::Relaxed), self.context.geometry.dead_blocks_allowed);
        fresh > allowed && fresh.min(self.garbage_blocks()) > allowed.max(self.mapped_blocks())
    }
}
