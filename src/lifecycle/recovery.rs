//! After a crash: operations that had not happened are undone, those that had are carried on. Before anything is
//! exported, so that nobody sees what is half done.

use std::collections::HashMap;

use super::journal::Journal;
use super::service::Lifecycle;
use super::{access, failpoint};
use crate::catalog::os_volumes::{self, OsVolume};
use crate::catalog::tasks::{TaskRecord, TaskState};
use crate::catalog::{self, holds, profiles, tasks};
use std::collections::HashSet;

use api::{Code, Refusal};
use cow::{VolumeId, VolumeInfo};

impl Lifecycle {
    /// Brings catalog and store together, and gives what is to be exported. Call it once, before anything is.
    ///
    /// # Errors
    /// The catalog's and the store's. What is wrong with single rows is told, and marked as damage.
    pub fn recover(&self) -> anyhow::Result<()> {
        self.skip_used_numbers()?;
        match self.catalog.read(tasks::unfinished) {
            Ok(unfinished) => {
                for (task, journal) in unfinished {
                    self.settle(task, journal.as_deref())?;
                }
                self.dispose_all()?;
            }
            Err(error) => self.catalog.mark_damaged(format!("a task cannot be read: {}", told(&error))),
        }
        self.audit();
        self.export_all();
        Ok(())
    }

    /// A catalog that was lost begins anew; names of volumes do not.
    fn skip_used_numbers(&self) -> catalog::Result<()> {
        let highest =
            self.store.volumes().iter().filter_map(|volume| os_volumes::number_of(&volume.name)).max();
        match highest {
            Some(highest) if self.catalog.damage().is_empty() => {
                self.catalog.write(|tx| os_volumes::skip_numbers(tx, highest))
            }
            _ => Ok(()),
        }
    }

    fn settle(&self, mut task: TaskRecord, journal: Option<&str>) -> anyhow::Result<()> {
        if !self.catalog.damage().is_empty() {
            return Ok(());
        }
        let happened = match journal.map(Journal::parse) {
            None => false,
            Some(Some(Journal::Begun { volume, snapshot })) => {
                failpoint::pass("begun");
                if let Some(name) = volume.filter(|name| os_volumes::number_of(name).is_some()) {
                    self.remove_by_name(&name)?;
                }
                if let Some(name) = snapshot {
                    self.remove_snapshot_named(&name)?;
                }
                failpoint::pass("created");
                false
            }
            Some(Some(Journal::Committed)) => {
                failpoint::pass("committed");
                self.dispose_all()?;
                failpoint::pass("disposed");
                true
            }
            Some(None) => {
                self.catalog.mark_damaged(format!("the journal of task {} cannot be read", task.id));
                return Ok(());
            }
        };
        tracing::info!(task = %task.id, name = task.name, about = task.subject.name, happened,
            "a task was interrupted; it was {}", if happened { "carried on" } else { "undone" });
        task.state = if happened { TaskState::Completed } else { TaskState::Error };
        if happened {
            task.percent = 100;
        } else if task.errors.is_empty() {
            task.errors = vec![
                Refusal::new(Code::Stopping, "osvold ended while this was under way; nothing was changed")
                    .action("ask again"),
            ];
        }
        self.catalog.write(|tx| {
            task.revision += 1;
            task.modified_ms = tx.now_ms();
            tasks::save(tx, &task)?;
            tasks::set_journal(tx, task.id, None)?;
            holds::release(tx, &task.id.to_string())
        })?;
        failpoint::pass("finished");
        Ok(())
    }

    /// Removes the snapshot of a scratch volume; its name was made up for it.
    fn remove_snapshot_named(&self, name: &str) -> anyhow::Result<()> {
        for snapshot in self.store.snapshots().into_iter().filter(|snapshot| snapshot.name == name) {
            self.store.remove_snapshot(snapshot.id)?;
        }
        Ok(())
    }

    /// Deletes every condemned volume.
    fn dispose_all(&self) -> anyhow::Result<()> {
        if !self.catalog.damage().is_empty() {
            return Ok(());
        }
        let doomed = self.catalog.read(os_volumes::doomed).unwrap_or_else(|error| {
            self.catalog.mark_damaged(format!("the row of a volume cannot be read: {}", told(&error)));
            Vec::new()
        });
        for volume in doomed {
            if !self.is_its_own(&volume) {
                continue;
            }
            self.remove_from_store(volume.id)?;
            self.names.went(&volume.name);
            self.catalog.write(|tx| os_volumes::forget(tx, volume.id))?;
            failpoint::pass("disposed-one");
        }
        Ok(())
    }

    /// Is the store's volume of this id the one that the row means? A row that points to anything else is not obeyed.
    pub(super) fn is_its_own(&self, volume: &OsVolume) -> bool {
        // Gone, or not readable: the store says which.
        self.store.volume_info(volume.id).map_or(true, |info| self.is_meant(&info, &volume.name))
    }

    fn is_meant(&self, info: &VolumeInfo, name: &str) -> bool {
        let meant = info.name == name && os_volumes::number_of(name).is_some();
        if !meant {
            self.catalog.mark_damaged(format!(
                "the row of {name} points to volume {:?}, which is not a profile's",
                info.name
            ));
        }
        meant
    }

    /// Looks for rows that nobody here would have written.
    fn audit(&self) {
        let tasks = self.catalog.read(tasks::list).map(drop);
        let volumes = self.catalog.read(os_volumes::list);
        let profiles = self.catalog.read(profiles::list).map(drop);
        if let Ok(rows) = &volumes {
            // Also of earlier generations: what a row points to is exported and deleted one day.
            for row in rows {
                self.is_its_own(row);
            }
            self.tell_unclaimed(rows);
        }
        for (what, read) in [("task", tasks), ("volume", volumes.map(drop)), ("profile", profiles)] {
            if let Err(error) = read {
                self.catalog.mark_damaged(format!("the row of a {what} cannot be read: {}", told(&error)));
            }
        }
    }

    /// Volumes of profiles that no profile has: a catalog was lost, or put back from an older copy.
    fn tell_unclaimed(&self, rows: &[OsVolume]) {
        let claimed: HashSet<_> = rows.iter().map(|row| row.id).collect();
        let unclaimed = |info: &&cow::VolumeInfo| {
            os_volumes::number_of(&info.name).is_some() && !claimed.contains(&info.id)
        };
        let volumes = self.store.volumes();
        let count = volumes.iter().filter(unclaimed).count();
        if let Some(first) = volumes.iter().find(unclaimed) {
            tracing::warn!(
                count,
                first = first.name,
                "volumes of profiles that the catalog does not know: they are not exported"
            );
        }
    }

    /// Exports direct volumes as their settings say, those of assigned profiles to their servers, and nothing else.
    fn export_all(&self) {
        let there: HashMap<_, _> = self.store.volumes().into_iter().map(|info| (info.id, info)).collect();
        for info in there.values().filter(|info| os_volumes::number_of(&info.name).is_none()) {
            self.exports.publish(info);
        }
        match self.catalog.read(access::all) {
            Ok(exports) => exports.into_iter().for_each(|export| self.export(export, &there)),
            Err(error) => self.catalog.mark_damaged(told(&error)),
        }
        for fault in self.catalog.damage() {
            tracing::error!(fault, "the catalog is damaged: nothing in it is changed until that is mended");
        }
    }

    /// Exports one profile's volume, if its rows mean what they must.
    fn export(&self, read: catalog::Result<access::Named>, there: &HashMap<VolumeId, VolumeInfo>) {
        let opened = read.and_then(|named| {
            let access = named.export.access()?;
            Ok((named, access))
        });
        match opened {
            Ok((named, access)) => match there.get(&named.export.volume) {
                Some(info) if self.is_meant(info, &named.volume) => self.exports.publish_to(info, access),
                Some(_) => {}
                None => tracing::error!(volume = named.volume, "a profile's volume is not in the store"),
            },
            Err(error) => {
                self.catalog.mark_damaged(format!("a profile's volume is not exported: {}", told(&error)));
            }
        }
    }
}

/// An error with what is behind it.
fn told(error: &catalog::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
