//! The thread: waits for the time of a pass, and makes it in small steps.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use api::{Finding, ScrubPass, ScrubResult};
use cow::{ImageId, Pace, Rotten, Scrub, Scrubbed, SnapshotId, Store, VolumeId};

use super::record::Record;
use super::{Scrubber, Wish};

/// The pace is kept over so short a time: a step is over before anybody misses the disk.
const STEP_EVERY: Duration = Duration::from_millis(50);

impl Scrubber {
    /// The thread's work.
    pub(super) fn work(&self) {
        while self.wait_for_pass() {
            tracing::info!("scrub: a pass begins");
            let result = self.pass();
            self.pass_ended(result);
        }
    }

    /// Waits until a pass is due or asked for; `false` when the daemon stops.
    fn wait_for_pass(&self) -> bool {
        let mut state = self.state.lock();
        loop {
            match state.wish {
                Some(Wish::End) => return false,
                Some(Wish::Begin) => break,
                // Stopped before it had begun.
                Some(Wish::Stop) => {
                    state.wish = None;
                    state.current = None;
                    self.changed.notify_all();
                }
                None => {}
            }
            match state.due {
                Some(due) if due <= Instant::now() => break,
                Some(due) => drop(self.changed.wait_until(&mut state, due)),
                None => self.changed.wait(&mut state),
            }
        }
        state.wish = None;
        state.current.get_or_insert_with(new_pass);
        true
    }

    fn pass(&self) -> ScrubResult {
        let mut scrub = match Scrub::new(&self.store) {
            Ok(scrub) => scrub,
            Err(error) => {
                tracing::error!("scrub: the store cannot be read: {error}");
                return ScrubResult::Failed;
            }
        };
        let begin = Instant::now();
        let mut pace = Pace::new(self.settings.pace.bytes(), Duration::ZERO);
        // What may be read. A step reads whole chunks, so it may overdraw; then the next ones wait.
        let mut credit = 0_i128;
        loop {
            if self.rest().is_some() {
                return ScrubResult::Stopped;
            }
            let due = pace.due(begin.elapsed());
            credit = (credit + i128::from(due)).min(i128::from(self.settings.pace.bytes()));
            let Some(budget) = u64::try_from(credit).ok().filter(|budget| *budget > 0) else { continue };
            let progress = scrub.step(budget);
            credit -= i128::from(progress.spent_bytes);
            self.found(&progress.rotten);
            if let Some(current) = &mut self.state.lock().current {
                current.done_bytes = progress.done_bytes;
                (current.done, current.total) = (progress.done as u64, progress.total as u64);
                current.damaged += progress.rotten.len() as u64;
            }
            if progress.finished {
                return ScrubResult::Completed;
            }
        }
    }

    /// The pause between two steps; gives the wish that ends the pass.
    fn rest(&self) -> Option<Wish> {
        let mut state = self.state.lock();
        if state.wish.is_none() {
            self.changed.wait_for(&mut state, STEP_EVERY);
        }
        state.wish.filter(|wish| *wish != Wish::Begin)
    }

    /// Damage is told at once, and stored at once.
    fn found(&self, rotten: &[Rotten]) {
        if rotten.is_empty() {
            return;
        }
        let findings: Vec<Finding> = rotten.iter().map(|rotten| finding(&self.store, rotten)).collect();
        for finding in &findings {
            let Finding { category, id, name, offset, reason, .. } = finding;
            tracing::error!(category, id, name, offset, "scrub: damage: {reason}");
        }
        let record = {
            let mut state = self.state.lock();
            findings.into_iter().for_each(|finding| state.record.add(finding));
            state.record.clone()
        };
        record.save(&self.path);
    }

    fn pass_ended(&self, result: ScrubResult) {
        let now = unix_ms();
        let record = {
            let mut state = self.state.lock();
            let Some(mut pass) = state.current.take() else { return };
            (pass.result, pass.ended) = (result, Some(api::iso8601(now)));
            if state.wish != Some(Wish::End) {
                state.wish = None;
            }
            state.record.take_over(pass, now);
            state.due = self.settings.automatic.then(|| Instant::now() + self.settings.interval.as_std());
            self.changed.notify_all();
            state.record.clone()
        };
        if let Some(pass) = &record.last {
            let ScrubPass { done, total, done_bytes, damaged, .. } = pass;
            tracing::info!(?result, done, total, bytes = done_bytes, damaged, "scrub: the pass has ended");
        }
        record.save(&self.path);
    }
}

impl Record {
    /// A pass that read everything knows of all damage that there is; what was known before is past.
    fn take_over(&mut self, pass: ScrubPass, now_unix_ms: u64) {
        if pass.result == ScrubResult::Completed {
            self.completed_unix_ms = Some(now_unix_ms);
            self.findings.retain(|finding| finding.found >= pass.started);
            self.damaged = pass.damaged;
        }
        self.last = Some(pass);
    }
}

/// A pass that has just begun.
pub(super) fn new_pass() -> ScrubPass {
    ScrubPass {
        started: api::iso8601(unix_ms()),
        ended: None,
        result: ScrubResult::Running,
        done: 0,
        total: 0,
        done_bytes: 0,
        damaged: 0,
    }
}

pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn finding(store: &Store, rotten: &Rotten) -> Finding {
    let (category, id, name) = match rotten.whose {
        Scrubbed::Image(id) => (api::GoldenImage::CATEGORY, id.to_string(), image_name(store, id)),
        Scrubbed::Volume(id) => (api::OsVolume::CATEGORY, id.to_string(), volume_name(store, id)),
        Scrubbed::Snapshot(id) => (api::Snapshot::CATEGORY, id.to_string(), snapshot_name(store, id)),
    };
    Finding {
        category: category.to_owned(),
        id,
        name: name.unwrap_or_default(),
        offset: rotten.offset,
        reason: rotten.why.clone(),
        found: api::iso8601(unix_ms()),
    }
}

fn image_name(store: &Store, id: ImageId) -> Option<String> {
    Some(store.images().ok()?.into_iter().find(|image| image.id == id)?.name)
}

fn volume_name(store: &Store, id: VolumeId) -> Option<String> {
    Some(store.volume_info(id).ok()?.name)
}

fn snapshot_name(store: &Store, id: SnapshotId) -> Option<String> {
    let snapshot = store.snapshots().into_iter().find(|snapshot| snapshot.id == id)?;
    let volume = snapshot.volume.and_then(|volume| volume_name(store, volume));
    Some(format!("{}/{}", volume.unwrap_or_default(), snapshot.name))
}

/// Whether what a finding is about is still there.
pub(super) fn is_there(store: &Store, finding: &Finding) -> bool {
    match finding.category.as_str() {
        api::GoldenImage::CATEGORY => {
            finding.id.parse().is_ok_and(|id: ImageId| image_name(store, id).is_some())
        }
        api::OsVolume::CATEGORY => finding.id.parse().is_ok_and(|id| store.volume_info(id).is_ok()),
        _ => finding.id.parse().is_ok_and(|id: SnapshotId| store.snapshots().iter().any(|s| s.id == id)),
    }
}

/// What was known to be rotten before a restart still is.
pub(super) fn mark(store: &Arc<Store>, findings: &[Finding]) {
    for finding in findings.iter().filter(|finding| is_there(store, finding)) {
        match finding.category.as_str() {
            api::GoldenImage::CATEGORY => {
                if let Ok(id) = finding.id.parse() {
                    store.mark_image_rotten(id, finding.offset, &finding.reason);
                }
            }
            api::OsVolume::CATEGORY => {
                if let Ok(id) = finding.id.parse() {
                    store.mark_volume_rotten(id, finding.offset, &finding.reason);
                }
            }
            _ => {}
        }
    }
}
