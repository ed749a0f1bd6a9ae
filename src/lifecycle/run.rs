//! The steps of an operation. [`super`] draws them.

use std::sync::Arc;
use std::time::Duration;

use api::{Code, Refusal};
use cow::{NewVolume, VolumeId, VolumeInfo};
use tokio::sync::MutexGuard;
use uuid::Uuid;

use super::journal::Journal;
use super::prepare::{Commit, Creates};
use super::rules::Outcome;
use super::service::{Lifecycle, Work};
use super::{access, failpoint, personalize, seeds};
use crate::catalog::os_volumes::{self, OsVolume, VolumeState};
use crate::catalog::profiles::{self, Profile};
use crate::catalog::tasks::TaskState;
use crate::catalog::{self, Tx, hardware, logical_enclosures, tasks};
use crate::control::{Withdrawal, refusals};
use crate::portal::ReadOnlyDisk;
use crate::settings::ExportId;

/// Tries to delete a volume that somebody still holds for a moment: commands that end, upkeep, an export of its content.
const DISPOSE_TRIES: u32 = 200;
const DISPOSE_AGAIN_AFTER: Duration = Duration::from_millis(25);

impl Lifecycle {
    /// Does what has begun, to its end.
    pub(super) async fn run(self: Arc<Self>, mut work: Box<Work>) {
        failpoint::pass("begun");
        let done = self.until_committed(&mut work).await;
        match done {
            Ok(doomed) => self.carry_on(work, doomed).await,
            // The catalog cannot say what has happened, nor take down that it has not: the next start reads the journal
            // and knows. Until then both volumes stay, and neither is written to.
            Err(refusal) if !self.catalog.damage().is_empty() => {
                tracing::error!(%refusal, task = %work.task.id(), "an operation waits for the next start");
            }
            Err(refusal) => self.undo(work, refusal).await,
        }
    }

    /// All steps that can be undone, and the one after which they cannot.
    async fn until_committed(self: &Arc<Self>, work: &mut Work) -> Result<Vec<OsVolume>, Refusal> {
        let created = match (&work.prepared.creates, &work.volume) {
            (Some(creates), Some(name)) => Some(self.create(work, creates, name).await?),
            _ => None,
        };
        work.made = created.as_ref().map(|info| info.id);
        failpoint::pass("created");
        let created = match created {
            Some(info) => Some(self.personalize(work, info).await?),
            None => None,
        };
        failpoint::pass("personalized");
        for volume in &work.prepared.withdraws {
            if let Withdrawal::InUse(sessions) = self.exports.withdraw(*volume, work.while_in_use).await {
                let who: Vec<_> = sessions.into_iter().map(|session| session.initiator_name).collect();
                return Err(Refusal::new(Code::InUse, "an initiator logged in to the volume meanwhile")
                    .details(format!("logged in: {}", who.join(", ")))
                    .action("shut the server down first"));
            }
        }
        failpoint::pass("withdrawn");
        let (this, task, name) = (self.clone(), work.task.id(), work.volume.clone());
        let commit = work.prepared.commit.clone();
        let origin = work.prepared.creates.clone();
        let written = self.blocking(move |_| {
            this.catalog.write(|tx| {
                let new =
                    created.zip(origin).zip(name).map(|((info, creates), name)| New { info, creates, name });
                let doomed = commit_in(tx, &commit, new.as_ref())?;
                tasks::set_journal(tx, task, Some(&Journal::Committed.text()))?;
                Ok(doomed)
            })
        });
        let doomed = written.await?.map_err(|error| refusals::of_catalog(&error))?;
        failpoint::pass("committed");
        Ok(doomed)
    }

    async fn create(&self, work: &Work, creates: &Creates, name: &str) -> Result<VolumeInfo, Refusal> {
        work.task.log(format!("creating {name}"));
        let new = NewVolume { name: name.to_owned(), image: creates.image, size_bytes: creates.size_bytes };
        let created = self.blocking(move |store| store.create_volume(new)).await?;
        let info = created.map_err(|error| refusals::of_store(&error))?;
        self.names.appeared(name, info.id);
        work.task.percent(50);
        Ok(info)
    }

    /// Runs the plan's scripts on the new volume.
    async fn personalize(&self, work: &Work, info: VolumeInfo) -> Result<VolumeInfo, Refusal> {
        let Some(creates) = &work.prepared.creates else { return Ok(info) };
        let Some(script) = self.script_of(creates, &info).await? else { return Ok(info) };
        personalize::run(self, &work.task, &info, script, false).await?;
        let id = info.id;
        let after = self.blocking(move |store| store.volume_info(id)).await?;
        after.map_err(|error| refusals::of_store(&error))
    }

    /// It has happened: the rest follows from the catalog, now or at the next start.
    async fn carry_on(self: &Arc<Self>, work: Box<Work>, doomed: Vec<OsVolume>) {
        self.publish(&work.prepared.republishes).await;
        failpoint::pass("published");
        work.task.percent(80);
        let mut left = Vec::new();
        for volume in doomed {
            work.task.log(format!("deleting {}", volume.name));
            match self.dispose(&volume).await {
                Ok(()) => failpoint::pass("disposed-one"),
                Err(refusal) => {
                    tracing::error!(volume = volume.name, "a condemned volume is not deleted yet: {refusal}");
                    left.push(refusal.details("the next start of osvold deletes it"));
                }
            }
        }
        failpoint::pass("disposed");
        work.task.log("done");
        let state = if left.is_empty() { TaskState::Completed } else { TaskState::Warning };
        let this = self.clone();
        let ended = self.blocking(move |_| {
            this.catalog.write(|tx| work.task.end_in(tx, state, &left)).map(|()| work.task.ended())
        });
        match ended.await {
            Ok(Ok(())) => failpoint::pass("finished"),
            Ok(Err(error)) => tracing::error!(%error, "the end of an operation is not written down"),
            Err(refusal) => tracing::error!(%refusal, "the end of an operation is not written down"),
        }
    }

    /// Nothing has happened: what was made goes, what was withdrawn is exported again.
    async fn undo(self: &Arc<Self>, work: Box<Work>, refusal: Refusal) {
        self.publish(&work.prepared.republishes).await;
        if let Some(id) = work.made
            && let Err(refusal) = self.unmake(id).await
        {
            // The journal stays, and the next start tries again: dropping the task leaves it.
            tracing::error!(volume = %id, %refusal, "a volume that was made for nothing is not deleted yet");
            return;
        }
        let this = self.clone();
        let undone = self.blocking(move |_| {
            if let (Some(name), Some(_)) = (&work.volume, work.made) {
                this.names.went(name);
            }
            work.task.fail(&refusal)
        });
        match undone.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the end of an operation is not written down"),
            Err(refusal) => tracing::error!(%refusal, "an operation is not undone"),
        }
    }

    /// Exports the volumes of profiles as the catalog says.
    pub(super) async fn publish(self: &Arc<Self>, profiles: &[Uuid]) {
        for profile in profiles.iter().copied() {
            let this = self.clone();
            let export = self.blocking(move |store| {
                let export = this.catalog.read(|tx| match access::of_profile(tx, profile) {
                    // It was deleted, or was never made.
                    Err(catalog::Error::NotFound { .. }) => Ok(None),
                    found => found,
                })?;
                let Some(export) = export else { return Ok(None) };
                let access = export.access()?;
                Ok::<_, catalog::Error>(store.volume_info(export.volume).ok().map(|info| (info, access)))
            });
            match export.await {
                Ok(Ok(Some((info, access)))) => self.exports.publish_to(&info, access),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => tracing::error!(%profile, %error, "a profile's volume is not exported"),
                Err(refusal) => tracing::error!(%profile, %refusal, "a profile's volume is not exported"),
            }
        }
    }

    /// Deletes a condemned volume from the store, then from the catalog.
    async fn dispose(self: &Arc<Self>, volume: &OsVolume) -> Result<(), Refusal> {
        let _ = self.exports.withdraw(volume.id, true).await;
        let _unserved = self.unserve_snapshots(volume.id).await;
        for _ in 1..DISPOSE_TRIES {
            match self.dispose_once(volume).await? {
                Err(error) if error.kind() == cow::Kind::InUse => {
                    tokio::time::sleep(DISPOSE_AGAIN_AFTER).await;
                }
                result => return result.map_err(|error| refusals::of_store(&error)),
            }
        }
        self.dispose_once(volume).await?.map_err(|error| refusals::of_store(&error))
    }

    /// Takes away what snapshots of a volume are served as. None is served anew while the guard is held.
    async fn unserve_snapshots(&self, volume: VolumeId) -> MutexGuard<'_, ()> {
        let targets = self.exports.read_only();
        let changing = targets.changing().await;
        for snapshot in self.snapshots_of(volume) {
            let _ = targets.withdraw(ReadOnlyDisk::Snapshot(snapshot.id), true).await;
        }
        changing
    }

    async fn dispose_once(self: &Arc<Self>, volume: &OsVolume) -> Result<cow::Result<()>, Refusal> {
        let (this, volume) = (self.clone(), volume.clone());
        let gone = self.blocking(move |_| {
            if !this.is_its_own(&volume) {
                return Err(catalog::Error::Damaged(format!("{} is another's volume", volume.name)));
            }
            if let Err(error) = this.remove_from_store(volume.id) {
                return Ok(Err(error));
            }
            this.names.went(&volume.name);
            this.catalog.write(|tx| os_volumes::forget(tx, volume.id)).map(Ok)
        });
        gone.await?.map_err(|error| refusals::of_catalog(&error))
    }

    /// Removes a volume that was made for nothing; scripts may hold it for a moment yet.
    pub(super) async fn unmake(self: &Arc<Self>, id: VolumeId) -> Result<(), Refusal> {
        let _unserved = self.unserve_snapshots(id).await;
        for _ in 1..DISPOSE_TRIES {
            let this = self.clone();
            match self.blocking(move |_| this.remove_from_store(id)).await? {
                Err(error) if error.kind() == cow::Kind::InUse => {
                    tokio::time::sleep(DISPOSE_AGAIN_AFTER).await
                }
                result => return result.map_err(|error| refusals::of_store(&error)),
            }
        }
        Err(Refusal::new(Code::InUse, "the volume is still in use"))
    }

    /// Removes a volume and its snapshots. One that is not there is removed already.
    pub(super) fn remove_from_store(&self, id: VolumeId) -> cow::Result<()> {
        for snapshot in self.snapshots_of(id) {
            match self.store.remove_snapshot(snapshot.id) {
                Err(error) if error.kind() != cow::Kind::NotFound => return Err(error),
                _ => self.forget_settings(snapshot.id),
            }
        }
        match self.store.remove_volume(id) {
            Err(error) if error.kind() != cow::Kind::NotFound => Err(error),
            _ => {
                self.forget_settings(id);
                Ok(())
            }
        }
    }

    /// After what they are of: what is left of it by a crash in between is exported to nobody.
    fn forget_settings(&self, id: impl Into<ExportId>) {
        let id = id.into();
        if let Err(error) = self.exports.settings().remove(id) {
            tracing::warn!(%id, %error, "the settings of a volume or snapshot that is gone are left");
        }
    }

    pub(super) fn remove_by_name(&self, name: &str) -> cow::Result<()> {
        let made = self.store.volumes().into_iter().find(|volume| volume.name == name);
        if let Some(made) = made {
            self.remove_from_store(made.id)?;
            self.names.went(name);
        }
        Ok(())
    }

    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce(&cow::Store) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || act(&store)).await;
        done.map_err(|error| refusals::internal("the lifecycle", &error))
    }
}

/// A volume that has been made for a profile.
struct New {
    info: VolumeInfo,
    creates: Creates,
    name: String,
}

/// Writes everything down. Gives the volumes that were condemned.
fn commit_in(tx: &Tx<'_>, commit: &Commit, new: Option<&New>) -> catalog::Result<Vec<OsVolume>> {
    match commit {
        Commit::SaveProfile { after, outcome, keep } => save_profile(tx, after, *outcome, *keep, new),
        Commit::DeleteProfile { profile } => {
            let doomed = os_volumes::generations(tx, profile.envelope.id)?;
            doom_all(tx, &doomed)?;
            profiles::remove(tx, profile)?;
            Ok(doomed)
        }
        Commit::RollBack { after, to } => {
            let generations = os_volumes::generations(tx, after.envelope.id)?;
            for volume in generations.iter().filter(|volume| volume.state == VolumeState::Current) {
                os_volumes::set_state(tx, volume, VolumeState::Kept)?;
            }
            for volume in generations.iter().filter(|volume| volume.id == *to) {
                os_volumes::set_state(tx, volume, VolumeState::Current)?;
            }
            profiles::save(tx, after)?;
            Ok(Vec::new())
        }
        Commit::MoveEnclosure { enclosure, group, profiles } => {
            logical_enclosures::set_group(tx, *enclosure, *group)?;
            for profile in profiles {
                profiles::save(tx, profile)?;
            }
            Ok(Vec::new())
        }
        Commit::DeleteEnclosure { enclosure } => {
            let doomed = os_volumes::in_enclosure(tx, *enclosure)?;
            doom_all(tx, &doomed)?;
            logical_enclosures::remove(tx, *enclosure)?;
            Ok(doomed)
        }
        Commit::DeleteHardware { hardware: server } => {
            hardware::remove(tx, *server)?;
            Ok(Vec::new())
        }
    }
}

fn save_profile(
    tx: &Tx<'_>,
    after: &Profile,
    outcome: Outcome,
    keep: usize,
    new: Option<&New>,
) -> catalog::Result<Vec<OsVolume>> {
    let id = after.envelope.id;
    profiles::save(tx, after)?;
    let before = os_volumes::generations(tx, id)?;
    let next = os_volumes::next_generation(tx, id)?;
    let mut doomed = Vec::new();
    match outcome {
        Outcome::Retain | Outcome::Create | Outcome::Refuse => {}
        Outcome::Delete => doomed = before,
        Outcome::Regenerate => {
            // The newest first, the present one at their head.
            for (index, volume) in before.into_iter().enumerate() {
                match index < keep {
                    true => os_volumes::set_state(tx, &volume, VolumeState::Kept)?,
                    false => doomed.push(volume),
                }
            }
        }
    }
    doom_all(tx, &doomed)?;
    if let Some(New { info, creates, name }) = new {
        let volume = OsVolume {
            id: info.id,
            name: name.clone(),
            created_ms: tx.now_ms(),
            profile: Some(id),
            generation: next,
            state: VolumeState::Current,
            enclosure: creates.enclosure,
            origin: creates.origin.clone(),
            deployed_bytes: info.used_bytes,
        };
        os_volumes::insert(tx, &volume)?;
        seeds::keep(tx, creates, volume.id)?;
    }
    Ok(doomed)
}

fn doom_all(tx: &Tx<'_>, volumes: &[OsVolume]) -> catalog::Result<()> {
    volumes.iter().try_for_each(|volume| os_volumes::doom(tx, volume))
}
