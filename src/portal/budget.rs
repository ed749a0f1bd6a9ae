//! Memory for data on its way, of all connections together.
//!
//! Up to the first limit everybody has what the protocol's own limits allow. Above it a connection gets no more than a
//! small share: command windows close, and few responses wait. But windows that are open stay open: above the second a
//! connection may bring one write at a time, and others are answered TASK SET FULL. So a login, a ping or a single write
//! always gets through, whatever others hoard.

use std::sync::atomic::{AtomicUsize, Ordering};

use iscsi::limits::{BUFFERED_BYTES_MAX, TRANSMIT_BYTES_MAX};

use super::limits::{DATA_BYTES_HIGH, DATA_BYTES_MAX, SHARE_BYTES_MIN, TRANSMIT_SHARE_BYTES_MIN};

/// What all connections use.
#[derive(Default)]
pub(super) struct Budget {
    used_bytes: AtomicUsize,
}

/// What one connection may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) buffered_bytes_max: usize,
    pub(super) transmit_bytes_max: usize,
}

impl Budget {
    /// A connection uses `now_bytes` where it used `own_bytes` before.
    pub(super) fn account(&self, own_bytes: &mut usize, now_bytes: usize) {
        if now_bytes > *own_bytes {
            self.used_bytes.fetch_add(now_bytes - *own_bytes, Ordering::Relaxed);
        } else if now_bytes < *own_bytes {
            self.used_bytes.fetch_sub(*own_bytes - now_bytes, Ordering::Relaxed);
        }
        *own_bytes = now_bytes;
    }

    /// What a connection may use now.
    pub(super) fn share(&self) -> Share {
        if self.used_bytes.load(Ordering::Relaxed) < DATA_BYTES_HIGH {
            Share { buffered_bytes_max: BUFFERED_BYTES_MAX, transmit_bytes_max: TRANSMIT_BYTES_MAX }
        } else {
            Share { buffered_bytes_max: SHARE_BYTES_MIN, transmit_bytes_max: TRANSMIT_SHARE_BYTES_MIN }
        }
    }

    /// Is there so much that a connection may bring one write at a time only?
    pub(super) fn is_exhausted(&self) -> bool {
        self.used_bytes.load(Ordering::Relaxed) >= DATA_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_shrink_above_the_first_limit_and_grow_again() {
        let budget = Budget::default();
        let (mut one, mut other) = (0, 0);
        budget.account(&mut one, DATA_BYTES_HIGH - 1);
        assert_eq!(budget.share().buffered_bytes_max, BUFFERED_BYTES_MAX);
        budget.account(&mut other, 1);
        assert_eq!(budget.share().buffered_bytes_max, SHARE_BYTES_MIN);
        budget.account(&mut other, DATA_BYTES_MAX);
        assert!(budget.is_exhausted());
        budget.account(&mut other, 0);
        assert!(!budget.is_exhausted());
        budget.account(&mut one, 0);
        assert_eq!(budget.share().transmit_bytes_max, TRANSMIT_BYTES_MAX);
        assert_eq!(budget.used_bytes.load(Ordering::Relaxed), 0);
    }
}
