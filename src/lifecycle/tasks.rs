//! Tasks that are under way, and whoever waits for them.

use std::collections::HashMap;
use std::sync::Arc;

use api::Refusal;
use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

use crate::catalog::tasks::{LogLine, Subject, TaskRecord, TaskState};
use crate::catalog::{self, Catalog, Kind, Tx, holds, tasks};

/// Lines of a task's log that are kept; of more, the first ones and the last.
const LOG_LINES_MAX: usize = 1_000;

/// All tasks: those under way are in memory, with what they are at; all are in the catalog.
pub struct Tasks {
    catalog: Arc<Catalog>,
    live: Mutex<HashMap<Uuid, Live>>,
}

struct Live {
    record: TaskRecord,
    /// Closes when the task has ended.
    ended: watch::Receiver<()>,
}

/// A task under way. Dropped unfinished, it has failed.
pub struct TaskHandle {
    tasks: Arc<Tasks>,
    id: Uuid,
    ended: Option<watch::Sender<()>>,
    finished: bool,
}

impl Tasks {
    /// No task is under way.
    #[must_use]
    pub fn new(catalog: Arc<Catalog>) -> Arc<Self> {
        Arc::new(Self { catalog, live: Mutex::default() })
    }

    /// Begins a task. May wait for the disk.
    ///
    /// # Errors
    /// The catalog's.
    pub fn begin(self: &Arc<Self>, owner: &str, name: &str, subject: Subject) -> catalog::Result<TaskHandle> {
        let record = self.catalog.write(|tx| {
            let record = TaskRecord::new(tx, owner, name, subject);
            tasks::save(tx, &record)?;
            tasks::forget_old(tx)?;
            Ok(record)
        })?;
        Ok(self.adopt(record))
    }

    /// Takes on a task that the catalog has already.
    pub fn adopt(self: &Arc<Self>, record: TaskRecord) -> TaskHandle {
        let (sender, ended) = watch::channel(());
        let id = record.id;
        self.live.lock().insert(id, Live { record, ended });
        TaskHandle { tasks: self.clone(), id, ended: Some(sender), finished: false }
    }

    /// A task by path or id, as it is at this moment. May wait for the disk.
    ///
    /// # Errors
    /// The catalog's.
    pub fn find(&self, reference: &str) -> catalog::Result<TaskRecord> {
        let live = Uuid::try_parse(Kind::Task.key(reference)).ok().and_then(|id| self.live_record(id));
        match live {
            Some(record) => Ok(record),
            None => self.catalog.read(|tx| tasks::find(tx, reference)),
        }
    }

    /// All tasks, the newest first, as they are at this moment. May wait for the disk.
    ///
    /// # Errors
    /// The catalog's.
    pub fn list(&self) -> catalog::Result<Vec<TaskRecord>> {
        let mut all = self.catalog.read(tasks::list)?;
        let live = self.live.lock();
        for record in &mut all {
            if let Some(now) = live.get(&record.id) {
                record.clone_from(&now.record);
            }
        }
        Ok(all)
    }

    /// Waits until a task has ended, and gives what came of it.
    ///
    /// # Errors
    /// The catalog's.
    pub async fn finished(&self, id: Uuid) -> catalog::Result<TaskRecord> {
        let ended = self.live.lock().get(&id).map(|live| live.ended.clone());
        if let Some(mut ended) = ended {
            while ended.changed().await.is_ok() {}
        }
        let catalog = self.catalog.clone();
        let found = tokio::task::spawn_blocking(move || catalog.read(|tx| tasks::find(tx, &id.to_string())));
        found.await.unwrap_or_else(|error| Err(catalog::Error::invalid("task", error.to_string())))
    }

    /// Waits until no task is under way.
    pub async fn idle(&self) {
        loop {
            let Some(mut one) = self.live.lock().values().next().map(|live| live.ended.clone()) else {
                return;
            };
            while one.changed().await.is_ok() {}
        }
    }

    fn live_record(&self, id: Uuid) -> Option<TaskRecord> {
        self.live.lock().get(&id).map(|live| live.record.clone())
    }

    fn change(&self, id: Uuid, change: impl FnOnce(&mut TaskRecord)) {
        if let Some(live) = self.live.lock().get_mut(&id) {
            change(&mut live.record);
        }
    }
}

impl TaskHandle {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Its path.
    #[must_use]
    pub fn uri(&self) -> String {
        Kind::Task.uri(self.id)
    }

    /// How it stands.
    #[must_use]
    pub fn record(&self) -> Option<TaskRecord> {
        self.tasks.live_record(self.id)
    }

    /// Notes what happens.
    pub fn log(&self, text: impl Into<String>) {
        let at_ms = catalog::now_ms();
        let line = LogLine { at_ms, text: text.into() };
        self.tasks.change(self.id, |record| {
            record.status.clone_from(&line.text);
            record.modified_ms = at_ms;
            if record.log.len() >= LOG_LINES_MAX {
                record.log.remove(LOG_LINES_MAX / 2);
            }
            record.log.push(line);
        });
    }

    /// Notes how much is done, of a hundred.
    pub fn percent(&self, percent: u8) {
        self.tasks.change(self.id, |record| record.percent = percent.min(100));
    }

    /// Says what it is about, once that is known.
    pub fn about(&self, subject: Subject) {
        self.tasks.change(self.id, |record| record.subject = subject);
    }

    /// Ends it well. May wait for the disk.
    ///
    /// # Errors
    /// The catalog's: then it counts as failed at the next start.
    pub fn done(self) -> catalog::Result<()> {
        let catalog = self.tasks.catalog.clone();
        catalog.write(|tx| self.end_in(tx, TaskState::Completed, &[]))?;
        self.ended();
        Ok(())
    }

    /// Ends it with a refusal. May wait for the disk.
    ///
    /// # Errors
    /// The catalog's: then it counts as interrupted at the next start.
    pub fn fail(self, refusal: &Refusal) -> catalog::Result<()> {
        let catalog = self.tasks.catalog.clone();
        catalog.write(|tx| self.end_in(tx, TaskState::Error, std::slice::from_ref(refusal)))?;
        self.ended();
        Ok(())
    }

    /// Writes its end down as a part of a transaction: [`TaskHandle::ended`] follows when that is durable.
    ///
    /// # Errors
    /// The catalog's.
    pub fn end_in(&self, tx: &Tx<'_>, state: TaskState, errors: &[Refusal]) -> catalog::Result<()> {
        let Some(mut record) = self.record() else { return Ok(()) };
        record.state = state;
        record.modified_ms = tx.now_ms();
        record.revision += 1;
        record.errors = errors.to_vec();
        if let Some(first) = errors.first() {
            record.status = first.message.to_string();
        }
        if state == TaskState::Completed {
            record.percent = 100;
        }
        tasks::save(tx, &record)?;
        tasks::set_journal(tx, self.id, None)?;
        holds::release(tx, &record.id.to_string())
    }

    /// Its end is durable: whoever waits for it goes on.
    pub fn ended(mut self) {
        self.close();
    }

    fn close(&mut self) {
        self.finished = true;
        self.tasks.live.lock().remove(&self.id);
        drop(self.ended.take());
    }
}

impl Drop for TaskHandle {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let refusal = Refusal::new(api::Code::Internal, "the task ended before it was done")
            .action("see osvold's log (journalctl -u osvold), and ask again");
        let catalog = self.tasks.catalog.clone();
        // A journal stays: the next start undoes the operation, or carries it on.
        let record = self.record();
        let failed = catalog.write(|tx| {
            let Some(mut record) = record else { return Ok(()) };
            record.state = TaskState::Error;
            record.revision += 1;
            record.errors = vec![refusal];
            tasks::save(tx, &record)
        });
        if let Err(error) = failed {
            tracing::error!(task = %self.id, %error, "the end of a task is not written down");
        }
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks() -> (tempfile::TempDir, Arc<Tasks>) {
        let directory = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(directory.path()).unwrap();
        (directory, Tasks::new(catalog))
    }

    fn subject() -> Subject {
        Subject { kind: Kind::ServerProfile, id: None, name: "web01".into() }
    }

    #[tokio::test]
    async fn whoever_waits_for_a_task_sees_its_end() {
        let (_directory, tasks) = tasks();
        let task = tasks.begin("root", "Create", subject()).unwrap();
        task.log("half way");
        task.percent(50);
        let id = task.id();
        assert_eq!(tasks.find(&task.uri()).unwrap().percent, 50);
        let waiting = tokio::spawn({
            let tasks = tasks.clone();
            async move { tasks.finished(id).await.unwrap() }
        });
        task.done().unwrap();
        let record = waiting.await.unwrap();
        assert_eq!((record.state, record.percent), (TaskState::Completed, 100));
        assert_eq!(record.log[0].text, "half way");
    }

    #[tokio::test]
    async fn a_task_that_is_dropped_has_failed() {
        let (_directory, tasks) = tasks();
        let id = tasks.begin("root", "Create", subject()).unwrap().id();
        let record = tasks.finished(id).await.unwrap();
        assert_eq!(record.state, TaskState::Error);
        assert!(record.errors[0].message.contains("before it was done"));
    }

    #[tokio::test]
    async fn a_refused_task_says_why() {
        let (_directory, tasks) = tasks();
        let task = tasks.begin("root", "Delete", subject()).unwrap();
        let id = task.id();
        task.fail(&Refusal::new(api::Code::InUse, "in use")).unwrap();
        let record = tasks.finished(id).await.unwrap();
        assert_eq!(record.state, TaskState::Error);
        assert_eq!(&*record.errors[0].message, "in use");
    }
}
