//! Tasks: work that takes its time, remembered beyond its end.

use rusqlite::{OptionalExtension, Row};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Changed, Error, Kind, Result, Tx, bad_column, deployment_logs, json, uuid};

/// Finished tasks that are remembered.
const KEPT_MAX: u32 = 1_000;

/// State of a task, in OneView's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskState {
    /// Under way.
    Running,
    /// Done.
    Completed,
    /// Done, with something to look at.
    Warning,
    /// Not done; nothing was changed, or the errors say what was.
    Error,
    /// Ended because somebody asked.
    Terminated,
}

impl TaskState {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Completed => "Completed",
            Self::Warning => "Warning",
            Self::Error => "Error",
            Self::Terminated => "Terminated",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Completed, Self::Warning, Self::Error, Self::Terminated]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// What a task is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its kind.
    pub kind: Kind,
    /// Its id, once there is one.
    pub id: Option<String>,
    /// Its name.
    pub name: String,
}

impl Subject {
    /// Something with an id.
    pub fn new(kind: Kind, id: impl ToString, name: impl Into<String>) -> Self {
        Self { kind, id: Some(id.to_string()), name: name.into() }
    }
}

/// A line of a task's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What happened.
    pub text: String,
}

/// A task as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRecord {
    /// The id.
    pub id: Uuid,
    /// `Create`, `Update`, `Delete`, …
    pub name: String,
    /// Who asked for it.
    pub owner: String,
    /// How it stands.
    pub state: TaskState,
    /// What it is at, or what came of it, in words.
    pub status: String,
    /// How much is done.
    pub percent: u8,
    /// When it began, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it was last heard of.
    pub modified_ms: u64,
    /// How often it was changed.
    pub revision: u64,
    /// What it is about.
    pub subject: Subject,
    /// Why it failed.
    pub errors: Vec<api::Refusal>,
    /// What happened, line by line.
    pub log: Vec<LogLine>,
}

impl TaskRecord {
    /// A task that begins now.
    #[must_use]
    pub fn new(tx: &Tx<'_>, owner: &str, name: &str, subject: Subject) -> Self {
        let now = tx.now_ms();
        Self {
            id: Uuid::new_v4(),
            name: name.to_owned(),
            owner: owner.to_owned(),
            state: TaskState::Running,
            status: String::new(),
            percent: 0,
            created_ms: now,
            modified_ms: now,
            revision: 1,
            subject,
            errors: Vec::new(),
            log: Vec::new(),
        }
    }

    /// Path of the resource.
    #[must_use]
    pub fn uri(&self) -> String {
        Kind::Task.uri(self.id)
    }

    /// Image Streamer's form of an eTag.
    #[must_use]
    pub fn e_tag(&self) -> String {
        format!("{}/{}", self.modified_ms, self.revision)
    }
}

const COLUMNS: &str = "id, name, owner, state, status, percent, created_ms, modified_ms, revision, \
                       resource_category, resource_id, resource_name, errors, log";

fn read(row: &Row<'_>) -> rusqlite::Result<TaskRecord> {
    let state: String = row.get(3)?;
    let category: String = row.get(9)?;
    let unknown =
        |column, word: &str| bad_column(column, Error::invalid("tasks", format!("{word:?} is not known")));
    Ok(TaskRecord {
        id: uuid(row, 0)?,
        name: row.get(1)?,
        owner: row.get(2)?,
        state: TaskState::parse(&state).ok_or_else(|| unknown(3, &state))?,
        status: row.get(4)?,
        percent: row.get(5)?,
        created_ms: row.get(6)?,
        modified_ms: row.get(7)?,
        revision: row.get(8)?,
        subject: Subject {
            kind: Kind::of_category(&category).ok_or_else(|| unknown(9, &category))?,
            id: row.get(10)?,
            name: row.get(11)?,
        },
        errors: json(row, 12)?,
        log: json(row, 13)?,
    })
}

/// Writes a task down, new or changed, without its journal.
///
/// # Errors
/// The database's.
pub fn save(tx: &Tx<'_>, task: &TaskRecord) -> Result<()> {
    let errors = serde_json::to_string(&task.errors).map_err(internal)?;
    let log = serde_json::to_string(&task.log).map_err(internal)?;
    tx.prepare_cached(
        "INSERT INTO tasks (id, name, owner, state, status, percent, created_ms, modified_ms, revision,
                            resource_category, resource_id, resource_name, errors, log)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
         ON CONFLICT (id) DO UPDATE SET state = excluded.state, status = excluded.status,
            percent = excluded.percent, modified_ms = excluded.modified_ms, revision = excluded.revision,
            resource_id = excluded.resource_id, resource_name = excluded.resource_name,
            errors = excluded.errors, log = excluded.log",
    )?
    .execute((
        task.id.to_string(),
        &task.name,
        &task.owner,
        task.state.as_str(),
        &task.status,
        task.percent,
        task.created_ms,
        task.modified_ms,
        task.revision,
        task.subject.kind.category(),
        &task.subject.id,
        &task.subject.name,
        errors,
        log,
    ))?;
    let changed = if task.revision == 1 { Changed::Created } else { Changed::Updated };
    tx.changed(Kind::Task, task.id, &task.name, changed);
    Ok(())
}

fn internal(error: serde_json::Error) -> Error {
    Error::invalid("tasks", error.to_string())
}

/// A task by path or id.
///
/// # Errors
/// [`Error::NotFound`].
pub fn find(tx: &Tx<'_>, reference: &str) -> Result<TaskRecord> {
    let key = Kind::Task.key(reference);
    tx.prepare_cached(&format!("SELECT {COLUMNS} FROM tasks WHERE id = ?1"))?
        .query_row([key], read)
        .optional()?
        .ok_or_else(|| Error::NotFound { kind: Kind::Task, reference: key.to_owned(), near: None })
}

/// All tasks, the newest first.
///
/// # Errors
/// The database's.
pub fn list(tx: &Tx<'_>) -> Result<Vec<TaskRecord>> {
    let mut statement =
        tx.prepare_cached(&format!("SELECT {COLUMNS} FROM tasks ORDER BY created_ms DESC, id"))?;
    Ok(statement.query_map([], read)?.collect::<rusqlite::Result<_>>()?)
}

/// Tasks that were under way when the daemon ended, with their journals.
///
/// # Errors
/// The database's.
pub fn unfinished(tx: &Tx<'_>) -> Result<Vec<(TaskRecord, Option<String>)>> {
    let mut statement = tx.prepare_cached(&format!(
        "SELECT {COLUMNS}, journal FROM tasks WHERE state = 'Running' OR journal IS NOT NULL ORDER BY created_ms"
    ))?;
    let rows = statement.query_map([], |row| Ok((read(row)?, row.get(14)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Sets or clears a task's journal.
///
/// # Errors
/// The database's.
pub fn set_journal(tx: &Tx<'_>, task: Uuid, journal: Option<&str>) -> Result<()> {
    tx.prepare_cached("UPDATE tasks SET journal = ?2 WHERE id = ?1")?.execute((task.to_string(), journal))?;
    Ok(())
}

/// Forgets the oldest of the finished tasks, so that there is an end to them.
///
/// # Errors
/// The database's.
pub fn forget_old(tx: &Tx<'_>) -> Result<()> {
    tx.prepare_cached(
        // By the index of times alone: this runs with every operation.
        "DELETE FROM tasks WHERE state != 'Running' AND journal IS NULL AND modified_ms <
            (SELECT modified_ms FROM tasks ORDER BY modified_ms DESC LIMIT 1 OFFSET ?1)",
    )?
    .execute([KEPT_MAX])?;
    deployment_logs::sweep(tx)
}
