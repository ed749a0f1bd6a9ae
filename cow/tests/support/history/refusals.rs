//! Calls that are refused: what may have changed by them, and what must not.

use std::sync::Arc;

use cow::{
    Error, Kind, Volume, Wait,
    disk::sim::{Fault, FaultKind, Op},
};

use super::{History, Outcome, Trouble};
use crate::support::{
    check::{Wrong, read_tags},
    model::{End, Model, Pending, Presence},
    tags::{SECTOR, Tag},
};

impl History {
    pub(super) fn arm(&mut self) {
        let op = *[
            Op::Write,
            Op::Write,
            Op::Write,
            Op::Sync,
            Op::Sync,
            Op::Sync,
            Op::SyncDir,
            Op::SyncDir,
            Op::Create,
            Op::Rename,
            Op::Rename,
            Op::RemoveFile,
            Op::RemoveDir,
            Op::Open,
            Op::Read,
            Op::List,
            Op::CreateDir,
            Op::Allocate,
            Op::Punch,
            Op::SetLen,
            Op::Stat,
        ]
        .get(self.rng.index(21))
        .unwrap_or(&Op::Write);
        let kind = match (op, self.rng.below(6)) {
            (Op::Write | Op::Create | Op::CreateDir | Op::Allocate, 0..=2) => FaultKind::NoSpace,
            (Op::Rename | Op::RemoveFile | Op::SyncDir | Op::Create, 3) => FaultKind::Late,
            _ => FaultKind::Io,
        };
        let after = if self.rng.one_in(2) { 0 } else { self.rng.below(8) };
        let times = if self.rng.one_in(4) { 100 } else { 1 };
        let fault = Fault { times, ..Fault::once(op, after, kind) };
        self.note(|| format!("armed {fault:?}"));
        self.sync_fault = op == Op::Sync;
        self.disk.set_fault(Some(fault));
    }

    /// A sync has just failed: what was not flushed may be lost, also before the store has written that down.
    pub(super) fn suspect_all(model: &mut Model) {
        model.volumes.iter_mut().for_each(|volume| volume.suspect = true);
    }

    /// A refused operation changed what it may have changed, and all else is as it was.
    pub(super) fn after_fault(&mut self, error: &Error) -> Result<(), Wrong> {
        self.note(|| format!("refused: {error:?}"));
        if let Some(volume) = self.closing.take() {
            // It is closed, and what was not flushed is as after any failed sync.
            self.model.volumes[volume].suspect |= self.sync_fault;
            (self.store, self.handles) = (None, Vec::new());
            return self.recover_with(End::Kill);
        }
        match self.model.pending.clone() {
            Pending::Nothing => {}
            Pending::Change { volume, first, tags, .. } => {
                let Some(open) = self.handle(volume) else {
                    self.model.failed(&vec![0; tags.len()]);
                    return Ok(());
                };
                // A failed write may have lost pages of a failed sync; what can be read must be one of both.
                let suspect = self.model.volumes[volume].suspect;
                let have = match read_tags(&open, first, tags.len()) {
                    Ok(have) => have,
                    Err(error) if suspect && matches!(error.kind(), Kind::Corrupt { .. }) => {
                        vec![Some(0); tags.len()]
                    }
                    Err(error) => return Err(format!("reading after a refused change: {error:?}")),
                };
                let mut live = Vec::new();
                for (at, (have, new)) in have.into_iter().zip(&tags).enumerate() {
                    let have = have.ok_or_else(|| {
                        format!("sector {} holds garbage after a refused change", first + at)
                    })?;
                    let old = self.model.volumes[volume].sectors[first + at].live;
                    if have != old && have != *new && !suspect {
                        return Err(format!("sector {} holds {have}, neither {old} nor {new}", first + at));
                    }
                    live.push(have);
                }
                self.model.failed(&live);
            }
            // Neither is known to have happened: a new process looks.
            Pending::RollBack { .. }
            | Pending::Grow { .. }
            | Pending::Reserve { .. }
            | Pending::Rename { .. } => {
                self.store = None;
                self.handles.clear();
                return self.recover_with(End::Kill);
            }
        }
        let maybe = |presence: Presence| presence == Presence::Maybe;
        let unknown = self.model.volumes.iter().any(|volume| maybe(volume.presence))
            || self.model.images.iter().any(|image| maybe(image.presence))
            || self.model.snapshots.iter().any(|snapshot| maybe(snapshot.presence));
        if unknown && self.rng.one_in(2) {
            self.store = None;
            self.handles.clear();
            return self.recover_with(End::Kill);
        }
        Ok(())
    }

    /// A poisoned volume takes no writes until it is opened anew; then it does again.
    pub(super) fn reopen_poisoned(&mut self) -> Result<(), Wrong> {
        let Some(store) = self.store.clone() else { return Ok(()) };
        let poisoned: Vec<(usize, Arc<Volume>)> =
            self.handles.iter().filter(|(_, open)| open.is_poisoned()).cloned().collect();
        for (volume, open) in poisoned {
            if self.plan.fault_one_in == 0 {
                return Err("a volume is poisoned for no reason".to_owned());
            }
            self.model.volumes[volume].suspect = true;
            let refused = open.write(0, &[&[0; SECTOR]], Wait::Yes).is_err() && open.flush().is_err();
            if !refused {
                return Err("a poisoned volume takes a write or a flush".to_owned());
            }
            if self.rng.one_in(2) {
                continue;
            }
            self.note(|| format!("reopen poisoned volume {volume}"));
            drop(open);
            self.handles.retain(|(at, _)| *at != volume);
            let id = self.model.volumes[volume].id.ok_or("no id")?;
            store.close_volume(id).map_err(|error| format!("closing a poisoned volume: {error:?}"))?;
            if self.rng.one_in(2) {
                self.disk.evict_clean();
            }
            let recovered = store.open_volume(id).and_then(|open| {
                let sectors = self.model.volumes[volume].sectors.len();
                Ok((read_tags(&open, 0, sectors)?, open))
            });
            let (tags, open) = match recovered {
                Ok(recovered) => recovered,
                Err(error) if matches!(error.kind(), Kind::Corrupt { .. }) => {
                    self.note(|| format!("volume {volume} is damaged: {error:?}"));
                    self.tally.damaged += 1;
                    if store.remove_volume(id).is_ok() {
                        self.model.volumes[volume].presence = Presence::No;
                        continue;
                    }
                    // Which of its manifests counts is in doubt: a new process knows.
                    drop(store);
                    (self.store, self.handles) = (None, Vec::new());
                    return self.recover_with(End::Kill);
                }
                Err(error) => return Err(format!("reopening a poisoned volume: {error:?}")),
            };
            self.found_after_failed_sync(volume, &tags)?;
            self.handles.push((volume, open));
        }
        Ok(())
    }

    /// What a volume that was opened anew after a failed sync holds: what was not flushed may be gone.
    pub(super) fn found_after_failed_sync(
        &mut self,
        volume: usize,
        tags: &[Option<Tag>],
    ) -> Result<(), Wrong> {
        // A crash on the way here might have decided otherwise about what was not flushed.
        self.check_forks()?;
        let model = &mut self.model.volumes[volume];
        for (at, (sector, tag)) in model.sectors.iter_mut().zip(tags).enumerate() {
            let tag = tag.ok_or_else(|| format!("sector {at} holds garbage after a failed sync"))?;
            if !sector.allows(tag, End::Cut) {
                return Err(format!("sector {at} holds {tag}, not {sector:?}, after a failed sync"));
            }
            sector.found(tag, End::Kill);
        }
        model.suspect = false;
        model.groups.clear();
        Ok(())
    }

    /// A new process finds the file system almost full, or an administrator makes room while it runs.
    pub(super) fn fill_or_make_room(&mut self) -> Outcome {
        self.full = !self.full;
        if !self.full {
            self.note(|| "make room".to_owned());
            self.disk.set_capacity(1 << 40);
            return Ok(());
        }
        self.disk.stop_at(None);
        self.disk.set_fault(None);
        (self.store, self.handles) = (None, Vec::new());
        let blocks = self.rng.below(30);
        self.note(|| format!("room for {blocks} blocks"));
        self.disk.set_capacity(self.disk.used_bytes() + cow::limits::RESERVE_BYTES_MIN + blocks * 4096);
        self.recover_with(End::Kill).map_err(Trouble::Wrong)
    }
}
