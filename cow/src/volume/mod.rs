//! A volume: a stack of layers on a golden image. The top layer takes the writes; a block is read from the first
//! layer that has it, else from the image, and past the image's end it is zeros.

mod change;
mod merge;

mod read;

pub use change::ATOMIC_BYTES_MAX;

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::RwLock;

use crate::{
    disk::Wait,
    error::{Error, Kind, Result},
    format::manifest::VolumeManifest,
    ids::VolumeId,
    image::Image,
    layer::{Compacted, Layer, WriteGuard},
    limits::{BLOCK_BYTES, SECTOR_BYTES},
};

/// An open volume. All calls may be made from any number of threads.
///
/// Offsets and lengths are in bytes and multiples of 512.
pub struct Volume {
    pub(crate) id: VolumeId,
    stack: Arc<SharedStack>,
    size_bytes: AtomicU64,
    /// 0 for no limit.
    quota_bytes: AtomicU64,
}

/// What a volume is made of now.
pub(crate) type SharedStack = RwLock<Arc<Stack>>;

/// What a volume is made of, from the top down.
pub(crate) struct Stack {
    pub top: Arc<Layer>,
    /// Frozen layers.
    pub below: Vec<Arc<Layer>>,
    pub image: Option<Arc<Image>>,
}

impl Stack {
    /// A layer whose sync or record failed. A frozen one may be it: a snapshot freezes before it syncs.
    fn poisoned(&self) -> Option<&Arc<Layer>> {
        std::iter::once(&self.top).chain(&self.below).find(|layer| layer.is_poisoned())
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        std::iter::once(&self.top).chain(&self.below).map(|layer| layer.used_bytes()).sum()
    }
}

/// Whether a range holds blocks of its own or reads from below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    /// Data, in an overlay or in the golden image.
    Mapped,
    /// Nothing: reads zeros and takes no space.
    Deallocated,
}

impl Volume {
    pub(crate) fn new(id: VolumeId, manifest: &VolumeManifest, stack: Stack) -> Self {
        stack.top.belongs_to(id);
        Self {
            id,
            stack: Arc::new(RwLock::new(Arc::new(stack))),
            size_bytes: AtomicU64::new(manifest.size_bytes),
            quota_bytes: AtomicU64::new(manifest.quota_bytes),
        }
    }

    /// Its identifier.
    #[must_use]
    pub fn id(&self) -> VolumeId {
        self.id
    }

    /// Size in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes.load(Ordering::Acquire)
    }

    /// Whether an earlier failed write or sync forbids writing until the volume is opened anew.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.stack().poisoned().is_some()
    }

    /// Nothing more is written, for the reason that the caller reports.
    pub(crate) fn poison(&self) {
        self.stack().top.poison();
    }

    /// Bytes that its layers take on disk.
    pub fn allocated_bytes(&self) -> Result<u64> {
        let stack = self.stack();
        std::iter::once(&stack.top)
            .chain(&stack.below)
            .try_fold(0, |sum, layer| Ok(sum + layer.allocated_bytes()?))
    }

    /// Bytes of blocks that were written here and are still mapped.
    #[must_use]
    pub fn mapped_bytes(&self) -> u64 {
        let stack = self.stack();
        std::iter::once(&stack.top).chain(&stack.below).map(|layer| layer.mapped_blocks() * BLOCK_BYTES).sum()
    }

    /// Bytes of blocks that count for its quota: those mapped, and those overwritten or trimmed that were not given
    /// back yet.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.stack().used_bytes()
    }

    /// Layers that it is made of; one more than the snapshots below it.
    #[must_use]
    pub fn layers(&self) -> usize {
        1 + self.stack().below.len()
    }

    /// Most bytes that may count for its quota, if it has one.
    #[must_use]
    pub fn quota_bytes(&self) -> Option<u64> {
        Some(self.quota_bytes.load(Ordering::Acquire)).filter(|quota| *quota > 0)
    }

    /// Bytes of memory that its maps take.
    #[must_use]
    pub fn index_bytes(&self) -> usize {
        let stack = self.stack();
        std::iter::once(&stack.top).chain(&stack.below).map(|layer| layer.index_bytes()).sum()
    }

    /// Returns once everything that was acknowledged before the call survives a power cut.
    pub fn flush(&self) -> Result<()> {
        let stack = self.stack();
        // A layer that a snapshot has just frozen may still have records that were never synced.
        stack.below.iter().try_for_each(|layer| layer.flush())?;
        stack.top.flush()
    }

    /// Writes the top layer's map down, so that the next opening is quick; gives dead space back on the way.
    pub fn checkpoint(&self) -> Result<()> {
        self.flush()?;
        let stack = self.stack();
        if stack.top.unsaved_records() == 0 {
            return Ok(());
        }
        if stack.top.garbage_blocks() == 0 { stack.top.checkpoint() } else { stack.top.reclaim().map(drop) }
    }

    /// Records that the next opening would have to replay.
    #[must_use]
    pub fn unsaved_records(&self) -> u64 {
        self.stack().top.unsaved_records()
    }

    /// Bytes of blocks that were overwritten or trimmed and not given back yet.
    #[must_use]
    pub fn garbage_bytes(&self) -> u64 {
        self.stack().top.garbage_blocks() * BLOCK_BYTES
    }

    /// Gives the space of overwritten and trimmed blocks back to the file system; returns the bytes of blocks.
    pub fn reclaim(&self) -> Result<u64> {
        Ok(self.stack().top.reclaim()? * BLOCK_BYTES)
    }

    /// The same for the layers below, which no writer changes any more: what was dead when they froze.
    pub fn reclaim_below(&self) -> Result<u64> {
        let below = self.stack().below.clone();
        let dead = below.iter().filter(|layer| layer.garbage_blocks() > 0);
        dead.map(|layer| Ok(layer.reclaim()? * BLOCK_BYTES)).sum()
    }

    /// Writes what is live in segments once more of which at most `live_percent` is, about `bytes_max` bytes, so that
    /// [`Volume::reclaim`] can remove them whole. The volume stays in use.
    pub fn compact(&self, bytes_max: u64, live_percent: u64) -> Result<Compacted> {
        self.stack().top.compact(bytes_max.div_ceil(BLOCK_BYTES), live_percent)
    }

    /// Puts an empty layer on top: from now on it takes the writes. Gives the layer that was on top, frozen.
    pub(crate) fn put_on_top(&self, layer: Arc<Layer>) -> Result<Arc<Layer>> {
        let old = self.stack();
        let Some(mut guard) = old.top.write_guard()? else {
            return Err(Error::new(Kind::Invalid, "the volume's top layer is frozen already"));
        };
        layer.belongs_to(self.id);
        let below = std::iter::once(&old.top).chain(&old.below).cloned().collect();
        *self.stack.write() = Arc::new(Stack { top: layer, below, image: old.image.clone() });
        guard.freeze();
        drop(guard);
        Ok(old.top.clone())
    }

    /// For whoever has to know what it uses, without keeping it in use.
    pub(crate) fn shared_stack(&self) -> Weak<SharedStack> {
        Arc::downgrade(&self.stack)
    }

    pub(crate) fn set_size(&self, bytes: u64) {
        self.size_bytes.store(bytes, Ordering::Release);
    }

    pub(crate) fn set_quota(&self, bytes: u64) {
        self.quota_bytes.store(bytes, Ordering::Release);
    }

    /// Refuses a write that would take the volume over its quota. What is overwritten or trimmed counts until it
    /// is given back.
    fn check_quota(&self, stack: &Stack, bytes: u64) -> Result<()> {
        let quota = self.quota_bytes.load(Ordering::Acquire);
        if quota == 0 {
            return Ok(());
        }
        if stack.used_bytes() + bytes.next_multiple_of(BLOCK_BYTES) <= quota {
            return Ok(());
        }
        Err(Error::new(Kind::NoSpace, format!("volume {}: its quota of {quota} bytes is used up", self.id)))
    }

    /// What the volume is made of now. A snapshot replaces it; who reads goes on with what he has.
    pub(crate) fn stack(&self) -> Arc<Stack> {
        self.stack.read().clone()
    }

    /// Calls `change` with the right to change the top layer, in the stack it belongs to, once that layer has kept pace.
    fn changing<T>(
        &self,
        wait: Wait,
        change: impl FnOnce(&Stack, &mut WriteGuard<'_>) -> Result<T>,
    ) -> Result<T> {
        loop {
            let stack = self.stack();
            if let Some(layer) = stack.poisoned() {
                return Err(layer.poison_error());
            }
            stack.top.keep_pace(wait)?;
            if let Some(mut guard) = stack.top.write_guard()? {
                return change(&stack, &mut guard);
            }
            // Frozen by a snapshot that is just now putting another layer on top.
            std::thread::yield_now();
        }
    }

    /// Bytes of the range that lie inside; an error when not all do or they are not whole sectors.
    fn check_range(&self, offset: u64, bytes: u64) -> Result<()> {
        if !offset.is_multiple_of(SECTOR_BYTES) || !bytes.is_multiple_of(SECTOR_BYTES) {
            return Err(Error::new(
                Kind::Invalid,
                format!("{bytes} bytes at {offset} are not whole sectors"),
            ));
        }
        match offset.checked_add(bytes) {
            Some(end) if end <= self.size_bytes() => Ok(()),
            _ => {
                let size = self.size_bytes();
                Err(Error::new(Kind::OutOfRange, format!("{bytes} bytes at {offset} of a volume of {size}")))
            }
        }
    }

    /// Reads one whole block, whatever the volume's size.
    fn read_block(stack: &Stack, lba: u32, out: &mut [u8], wait: Wait) -> Result<()> {
        stack.read_blocks(lba, out, wait)
    }
}
