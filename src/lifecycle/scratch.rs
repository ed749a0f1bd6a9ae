//! Volumes that live for one task: a plan that is tried out, a disk that is prepared for its capture.
//!
//! ```text
//!  begin_scratch   one transaction: the task, its journal, its holds
//!  make            from a golden image, or as another volume is at this moment
//!  run             scripts, as often as wanted
//!  keep | end      the volume becomes somebody's own, or goes; the task ends
//! ```
//! A crash leaves nothing: the journal names the volume, and the snapshot that it was cloned from.

use std::sync::Arc;

use api::{Code, Refusal};
use cow::{ImageId, NewVolume, SnapshotInfo, Subject, VolumeInfo};
use script::Expanded;
use uuid::Uuid;

use super::journal::Journal;
use super::service::Lifecycle;
use super::tasks::TaskHandle;
use super::{failpoint, personalize};
use crate::catalog::holds::{self, Hold};
use crate::catalog::tasks::{self, TaskRecord};
use crate::control::refusals;
use crate::deploy::Report;

/// What a scratch volume begins as.
#[derive(Debug, Clone, Copy)]
pub enum Beginning {
    /// A golden image, or nothing of a size.
    Image {
        /// The image.
        image: Option<ImageId>,
        /// Size of a volume without one.
        size_bytes: Option<u64>,
    },
    /// A volume as it is at this moment, or a snapshot.
    Copy(Subject),
}

/// A task with a volume of its own. Dropped, the task has failed and the next start takes the volume away: call
/// [`Scratch::end`].
pub struct Scratch {
    lifecycle: Arc<Lifecycle>,
    task: TaskHandle,
    name: String,
    snapshot_name: String,
    snapshot: Option<SnapshotInfo>,
    volume: Option<VolumeInfo>,
}

impl Lifecycle {
    /// Whether such scripts can be run here at all, as far as that can be said without a volume.
    ///
    /// # Errors
    /// What is missing, and how to get it.
    pub fn check_scripts(&self, script: &Expanded) -> Result<(), Refusal> {
        self.scripts.check(script)
    }

    /// Begins a task that has a volume of its own.
    ///
    /// # Errors
    /// When something that it holds is held by another, and the catalog's.
    pub async fn begin_scratch(
        self: &Arc<Self>,
        actor: &str,
        task_name: &str,
        subject: tasks::Subject,
        held: Vec<Hold>,
    ) -> Result<Scratch, Refusal> {
        let (this, actor, task_name) = (self.clone(), actor.to_owned(), task_name.to_owned());
        let snapshot_name = format!("scratch-{}", Uuid::new_v4().simple());
        let snapshot = snapshot_name.clone();
        let begun = self.blocking(move |_| {
            this.catalog.write(|tx| {
                let record = TaskRecord::new(tx, &actor, &task_name, subject);
                tasks::save(tx, &record)?;
                holds::take(tx, &record.id.to_string(), &held)?;
                let name = this.new_name(tx)?;
                let journal = Journal::Begun { volume: Some(name.clone()), snapshot: Some(snapshot) };
                tasks::set_journal(tx, record.id, Some(&journal.text()))?;
                tasks::forget_old(tx)?;
                Ok((record, name))
            })
        });
        let (record, name) = begun.await?.map_err(|error| refusals::of_catalog(&error))?;
        failpoint::pass("begun");
        let task = self.tasks.adopt(record);
        let lifecycle = self.clone();
        Ok(Scratch { lifecycle, task, name, snapshot_name, snapshot: None, volume: None })
    }
}

impl Scratch {
    /// The task.
    #[must_use]
    pub fn task(&self) -> &TaskHandle {
        &self.task
    }

    /// The volume, once it has been made.
    #[must_use]
    pub fn volume(&self) -> Option<&VolumeInfo> {
        self.volume.as_ref()
    }

    /// Makes the volume. Nobody can log in to it.
    ///
    /// # Errors
    /// The store's.
    pub async fn make(&mut self, beginning: Beginning) -> Result<VolumeInfo, Refusal> {
        let name = self.name.clone();
        let made = match beginning {
            Beginning::Image { image, size_bytes } => {
                let new = NewVolume { name, image, size_bytes };
                self.lifecycle.blocking(move |store| store.create_volume(new)).await?
            }
            Beginning::Copy(Subject::Image(image)) => {
                let new = NewVolume { name, image: Some(image), size_bytes: None };
                self.lifecycle.blocking(move |store| store.create_volume(new)).await?
            }
            Beginning::Copy(Subject::Snapshot(snapshot)) => {
                self.lifecycle.blocking(move |store| store.clone_snapshot(snapshot, &name)).await?
            }
            Beginning::Copy(Subject::Volume(volume)) => {
                let snapshot = self.snapshot_name.clone();
                let taken = self.lifecycle.blocking(move |store| store.snapshot(volume, &snapshot)).await?;
                let taken = taken.map_err(|error| refusals::of_store(&error))?;
                let id = taken.id;
                self.snapshot = Some(taken);
                self.lifecycle.blocking(move |store| store.clone_snapshot(id, &name)).await?
            }
        };
        let info = made.map_err(|error| refusals::of_store(&error))?;
        self.lifecycle.names.appeared(&self.name, info.id);
        self.volume = Some(info.clone());
        failpoint::pass("created");
        Ok(info)
    }

    /// Runs scripts on the volume.
    ///
    /// # Errors
    /// Step, script, line and message.
    pub async fn run(&self, script: Arc<Expanded>, squeeze: bool) -> Result<Report, Refusal> {
        let Some(volume) = &self.volume else {
            return Err(Refusal::new(Code::Internal, "there is no volume to run scripts on"));
        };
        let report = personalize::run(&self.lifecycle, &self.task, volume, script, squeeze).await?;
        failpoint::pass("personalized");
        Ok(report)
    }

    /// Makes the volume somebody's own under a name: from now on it is as if it had been made directly, and everybody
    /// may log in to it. [`Scratch::end`] leaves it alone.
    ///
    /// # Errors
    /// When the name is taken or cannot be one.
    pub async fn keep(&mut self, name: &str) -> Result<VolumeInfo, Refusal> {
        let Some(volume) = &self.volume else {
            return Err(Refusal::new(Code::Internal, "there is no volume to keep"));
        };
        let (id, new_name) = (volume.id, name.to_owned());
        let renamed = self.lifecycle.blocking(move |store| {
            store.rename_volume(id, &new_name)?;
            store.volume_info(id)
        });
        let info = renamed.await?.map_err(|error| refusals::of_store(&error))?;
        self.lifecycle.names.went(&self.name);
        self.lifecycle.names.appeared(name, id);
        self.lifecycle.exports.publish(&info);
        self.volume = None;
        Ok(info)
    }

    /// Takes the volume and its snapshot away, and ends the task.
    pub async fn end(self, outcome: Result<(), Refusal>) {
        let gone = self.clear().await;
        if let Err(refusal) = gone {
            // The journal stays, and the next start tries again: dropping the task leaves it.
            tracing::error!(volume = self.name, %refusal, "a scratch volume is not deleted yet");
            return;
        }
        let (lifecycle, task) = (self.lifecycle.clone(), self.task);
        let ended = lifecycle.blocking(move |_| match outcome {
            Ok(()) => task.done(),
            Err(refusal) => task.fail(&refusal),
        });
        match ended.await {
            Ok(Ok(())) => failpoint::pass("finished"),
            Ok(Err(error)) => tracing::error!(%error, "the end of a task is not written down"),
            Err(refusal) => tracing::error!(%refusal, "the end of a task is not written down"),
        }
    }

    async fn clear(&self) -> Result<(), Refusal> {
        if let Some(volume) = &self.volume {
            self.lifecycle.unmake(volume.id).await?;
            self.lifecycle.names.went(&self.name);
        }
        if let Some(snapshot) = &self.snapshot {
            let id = snapshot.id;
            let removed = self.lifecycle.blocking(move |store| store.remove_snapshot(id)).await?;
            match removed {
                Err(error) if error.kind() != cow::Kind::NotFound => return Err(refusals::of_store(&error)),
                _ => {}
            }
        }
        failpoint::pass("disposed");
        Ok(())
    }
}
