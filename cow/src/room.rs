//! Room in the file system: the part that data never takes, so that flush, trim, delete and metadata find room when
//! everything else is full, and what is kept for volumes that have room guaranteed.
//!
//! ```text
//!   free in the file system
//!   ┌───────────────┬──────────────────────────────┬───────────────────────────────────┐
//!   │ reserve       │ withheld: of every guarantee │ for every write that comes first  │
//!   │ for metadata  │ what is not used of it       │                                   │
//!   └───────────────┴──────────────────────────────┴───────────────────────────────────┘
//!    copies of a      the volume's own writes
//!    compaction, half
//! ```

use std::{
    collections::BTreeMap,
    sync::{
        Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, MutexGuard};

use crate::{
    context::Context,
    disk::Space,
    error::{Error, Kind, Result},
    ids::VolumeId,
    limits::{BLOCK_BYTES, RESERVE_BYTES_MAX, RESERVE_BYTES_MIN, RESERVE_SHARE, ROOM_STEP_BLOCKS},
    volume::SharedStack,
};

/// What is known of the room of a file system.
#[derive(Default)]
pub(crate) struct Room {
    /// Blocks of data that may be written, by whomever, before the file system is asked again.
    budget: AtomicU64,
    claims: Mutex<Claims>,
}

/// The volumes that have room guaranteed.
type Claims = BTreeMap<VolumeId, Claim>;

/// Room that is guaranteed to a volume.
#[derive(Default)]
pub(crate) struct Claim {
    pub bytes: u64,
    /// The volume, while it is open.
    pub open: Weak<SharedStack>,
    /// What the volume used when it was closed.
    pub used_bytes: u64,
}

impl Claim {
    fn unused_bytes(&self) -> u64 {
        let used = self.open.upgrade().map_or(self.used_bytes, |stack| stack.read().used_bytes());
        self.bytes.saturating_sub(used)
    }
}

fn unused_bytes(claims: &Claims) -> u64 {
    claims.values().map(Claim::unused_bytes).sum()
}

impl Room {
    /// Bytes that are kept for volumes that do not use all that is guaranteed to them.
    pub(crate) fn withheld_bytes(&self) -> u64 {
        unused_bytes(&self.claims.lock())
    }

    /// Changes what is known of a volume's claim, if it has one.
    pub(crate) fn update(&self, volume: VolumeId, change: impl FnOnce(&mut Claim)) {
        let mut claims = self.claims.lock();
        if let Some(claim) = claims.get_mut(&volume) {
            change(claim);
            self.forget_budget(&claims);
        }
    }

    /// Nothing is guaranteed to a volume any more.
    pub(crate) fn release(&self, volume: VolumeId) {
        self.claims.lock().remove(&volume);
    }

    /// The next write asks the file system again. What was found before was found under other claims.
    fn forget_budget(&self, _: &MutexGuard<'_, Claims>) {
        self.budget.store(0, Ordering::Relaxed);
    }
}

impl Context {
    /// Takes room for blocks of data of no volume in particular; [`Kind::NoSpace`] when there is none.
    pub(crate) fn take_room(&self, blocks: u64) -> Result<()> {
        self.take_room_of(None, blocks)
    }

    /// Takes room for blocks of a volume's data: what is left for all, or what is kept for it.
    pub(crate) fn take_room_of(&self, volume: Option<VolumeId>, blocks: u64) -> Result<()> {
        let budget = &self.room.budget;
        let take = |left: u64| left.checked_sub(blocks);
        if budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            return Ok(());
        }
        let claims = self.room.claims.lock();
        let space = self.look()?;
        let (reserve, withheld) = (reserve_bytes(space.total_bytes), unused_bytes(&claims));
        let for_all = space.free_bytes.saturating_sub(reserve + withheld) / BLOCK_BYTES;
        if for_all >= blocks {
            budget.store((for_all - blocks).min(ROOM_STEP_BLOCKS), Ordering::Relaxed);
            return Ok(());
        }
        let own = volume.and_then(|volume| claims.get(&volume)).map_or(0, Claim::unused_bytes);
        // Metadata may have taken of the reserve; a half of it makes up for that.
        let for_others = withheld - own + reserve / 2;
        if own >= blocks * BLOCK_BYTES && space.free_bytes >= for_others + blocks * BLOCK_BYTES {
            return Ok(());
        }
        Err(self.no_room(withheld > 0))
    }

    /// Takes room for copies that set free more than they take: they may have the half of the reserve.
    pub(crate) fn take_room_for_copies(&self, blocks: u64) -> Result<()> {
        let space = self.look()?;
        if space.free_bytes < reserve_bytes(space.total_bytes) / 2 + blocks * BLOCK_BYTES {
            return Err(self.no_room(false));
        }
        Ok(())
    }

    /// Guarantees room to a volume, if the file system has it beside all that is guaranteed already; gives what was
    /// guaranteed before.
    pub(crate) fn claim(&self, volume: VolumeId, claim: Claim) -> Result<u64> {
        let mut claims = self.room.claims.lock();
        let old = claims.get(&volume);
        let (old_bytes, old_unused) = old.map_or((0, 0), |old| (old.bytes, old.unused_bytes()));
        let unused = claim.unused_bytes();
        if unused > old_unused {
            let space = self.look()?;
            let withheld = unused_bytes(&claims) - old_unused + unused;
            if space.free_bytes < reserve_bytes(space.total_bytes) + withheld {
                return Err(self.no_room(true));
            }
        }
        match claim.bytes {
            0 => drop(claims.remove(&volume)),
            _ => drop(claims.insert(volume, claim)),
        }
        self.room.forget_budget(&claims);
        Ok(old_bytes)
    }

    /// The same of a claim that was granted by an earlier process.
    pub(crate) fn restore_claim(&self, volume: VolumeId, claim: Claim) {
        self.room.claims.lock().insert(volume, claim);
    }

    fn look(&self) -> Result<Space> {
        let space = self.disk.space(&self.root);
        space.map_err(|error| Error::io("ask for the space of", &self.root, error))
    }

    fn no_room(&self, withheld: bool) -> Error {
        let who = if withheld { ", and what is guaranteed to volumes," } else { "" };
        let message = format!("{}: only the reserve of the file system{who} is left", self.root.display());
        Error::new(Kind::NoSpace, message)
    }
}

/// What a file system of this size keeps for metadata.
pub(crate) fn reserve_bytes(total_bytes: u64) -> u64 {
    (total_bytes / RESERVE_SHARE).clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX)
}
