//! Buffers for data-in, used again and again: nothing is zeroed or mapped for each command.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

/// Smallest and largest buffer kept, as powers of two: 4 KiB and 8 MiB.
const SMALLEST_SHIFT: u32 = 12;
const LARGEST_SHIFT: u32 = 23;
const CLASSES: usize = (LARGEST_SHIFT - SMALLEST_SHIFT + 1) as usize;

/// A pool of buffers. Clones share it.
#[derive(Clone, Debug)]
pub struct BufferPool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    idle: Mutex<Idle>,
    idle_bytes_max: usize,
}

#[derive(Debug, Default)]
struct Idle {
    classes: [Vec<Vec<u8>>; CLASSES],
    bytes: usize,
}

/// A buffer of its own length out of the pool; it goes back when dropped.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    len: usize,
    pool: Arc<Shared>,
}

impl Default for BufferPool {
    /// Keeps 32 MiB: several large reads of several connections.
    fn default() -> Self {
        Self::new(32 << 20)
    }
}

impl BufferPool {
    /// A pool that keeps at most this many bytes in idle buffers.
    #[must_use]
    pub fn new(idle_bytes_max: usize) -> Self {
        Self(Arc::new(Shared { idle: Mutex::default(), idle_bytes_max }))
    }

    /// A buffer to be filled. What is in it before is left from earlier commands and must not get out.
    pub(super) fn take(&self, len: usize) -> Buffer {
        let class = class(len);
        let used = class.and_then(|class| self.0.idle.lock().take(class));
        let bytes = used.unwrap_or_else(|| vec![0; class.map_or(len, class_len)]);
        Buffer { bytes, len, pool: self.0.clone() }
    }
}

fn class(len: usize) -> Option<usize> {
    let shift = len.max(1).next_power_of_two().trailing_zeros().max(SMALLEST_SHIFT);
    (shift <= LARGEST_SHIFT).then_some((shift - SMALLEST_SHIFT) as usize)
}

fn class_len(class: usize) -> usize {
    1 << (class + SMALLEST_SHIFT as usize)
}

impl Idle {
    fn take(&mut self, class: usize) -> Option<Vec<u8>> {
        let buffer = self.classes.get_mut(class)?.pop()?;
        self.bytes -= buffer.len();
        Some(buffer)
    }

    fn put(&mut self, buffer: Vec<u8>, bytes_max: usize) {
        let whole_class = class(buffer.len()).filter(|&class| class_len(class) == buffer.len());
        let Some(idle) = whole_class.and_then(|class| self.classes.get_mut(class)) else { return };
        if self.bytes + buffer.len() <= bytes_max {
            self.bytes += buffer.len();
            idle.push(buffer);
        }
    }
}

impl Buffer {
    /// The part to fill.
    pub(super) fn as_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.len).unwrap_or_default()
    }

    /// What was filled in, to be passed on without a copy; the buffer goes back to the pool with the last of it.
    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.pool.idle.lock().put(bytes, self.pool.idle_bytes_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_used_again() {
        let pool = BufferPool::new(8192);
        let mut first = pool.take(5000);
        first.as_mut()[0] = 7;
        let bytes = first.into_bytes();
        assert_eq!(bytes.len(), 5000);
        let address = bytes.as_ptr();
        drop(bytes);
        assert_eq!(pool.take(8192).into_bytes().as_ptr(), address);
    }

    #[test]
    fn no_more_is_kept_than_the_limit() {
        let pool = BufferPool::new(4096);
        let (a, b) = (pool.take(4096), pool.take(4096));
        drop((a, b));
        assert_eq!(pool.0.idle.lock().bytes, 4096);
    }

    #[test]
    fn odd_lengths_are_served() {
        let pool = BufferPool::default();
        for len in [0, 1, 512, 4097, (8 << 20) + 1] {
            assert_eq!(pool.take(len).as_ref().len(), len);
        }
    }
}
