//! After a crash: operations that had not happened are undone, those that had are carried on. Before anything is
//! exported, so that nobody sees what is half done.

use api::{Code, Refusal};
use uuid::Uuid;

use super::access;
use super::journal::Journal;
use super::service::Lifecycle;
use crate::catalog::os_volumes::{self, OsVolume};
use crate::catalog::tasks::{TaskRecord, TaskState};
use crate::catalog::{self, holds, tasks};
use crate::exports::Access;

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
            Some(Some(Journal::Begun { volume })) => {
                if let Some(name) = volume.filter(|name| os_volumes::number_of(name).is_some()) {
                    self.remove_by_name(&name)?;
                }
                false
            }
            Some(Some(Journal::Committed)) => {
                self.dispose_all()?;
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
        }
        Ok(())
    }

    /// Is the store's volume of this id the one that the row means? A row that points to anything else is not obeyed.
    fn is_its_own(&self, volume: &OsVolume) -> bool {
        match self.store.volume_info(volume.id) {
            Ok(info) if info.name == volume.name && os_volumes::number_of(&info.name).is_some() => true,
            Ok(info) => {
                self.catalog.mark_damaged(format!(
                    "the row of {} points to volume {:?}, which is not a profile's",
                    volume.name, info.name
                ));
                false
            }
            // Gone, or not readable: the store says which.
            Err(_) => true,
        }
    }

    /// Looks for rows that nobody here would have written.
    fn audit(&self) {
        let broken = self.catalog.read(|tx| Ok((tasks::list(tx).err(), os_volumes::list(tx)))).map(
            |(tasks, volumes)| {
                if let Some(error) = tasks {
                    self.catalog.mark_damaged(format!("a task cannot be read: {}", told(&error)));
                }
                match volumes {
                    Ok(volumes) => {
                        for volume in &volumes {
                            self.is_its_own(volume);
                        }
                    }
                    Err(error) => {
                        self.catalog
                            .mark_damaged(format!("the row of a volume cannot be read: {}", told(&error)));
                    }
                }
            },
        );
        if let Err(error) = broken {
            self.catalog.mark_damaged(told(&error));
        }
    }

    /// Exports direct volumes to everybody, those of assigned profiles to their servers, and nothing else.
    fn export_all(&self) {
        for info in self.store.volumes() {
            if os_volumes::number_of(&info.name).is_none() {
                self.exports.publish_to(&info, Access::default());
            }
        }
        let ids = self.catalog.read(|tx| {
            let mut statement = tx.prepare("SELECT id FROM server_profiles")?;
            let ids = statement.query_map([], |row| row.get::<_, String>(0))?;
            Ok(ids.collect::<rusqlite::Result<Vec<_>>>()?)
        });
        let ids = ids.unwrap_or_else(|error| {
            self.catalog.mark_damaged(told(&error));
            Vec::new()
        });
        for id in ids {
            if let Err(error) = self.export_profile(&id) {
                self.catalog.mark_damaged(format!("profile {id} cannot be read: {}", told(&error)));
            }
        }
        for fault in self.catalog.damage() {
            tracing::error!(fault, "the catalog is damaged: nothing in it is changed until that is mended");
        }
    }

    fn export_profile(&self, id: &str) -> catalog::Result<()> {
        let id = Uuid::try_parse(id).map_err(|error| catalog::Error::invalid("id", error.to_string()))?;
        let Some((export, volume)) = self.catalog.read(|tx| {
            let Some(export) = access::of_profile(tx, id)? else { return Ok(None) };
            Ok(os_volumes::by_id(tx, export.volume)?.map(|volume| (export, volume)))
        })?
        else {
            return Ok(());
        };
        if !self.is_its_own(&volume) {
            return Ok(());
        }
        let access = export.access()?;
        match self.store.volume_info(export.volume) {
            Ok(info) => self.exports.publish_to(&info, access),
            Err(error) => tracing::error!(volume = volume.name, %error, "a profile's volume is not exported"),
        }
        Ok(())
    }
}

/// An error with what is behind it.
fn told(error: &catalog::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
