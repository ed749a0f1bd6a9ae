//! What happened when a volume was deployed or captured: scripts with their values, output, times. Never passwords.
//!
//! A log is there as long as its volume, or as its task is remembered, whichever is longer.

use rusqlite::Row;
use uuid::Uuid;

use super::{Result, Tx};

/// Longest log. Of a longer one the beginning and the end are kept.
const TEXT_BYTES_MAX: usize = 512 << 10;
/// Most logs of one volume; the oldest go first.
const LOGS_MAX: u32 = 16;

/// A log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentLog {
    /// Name of the volume.
    pub volume_name: String,
    /// The task that it is of.
    pub task: String,
    /// When it was written, in milliseconds since 1970.
    pub at_ms: u64,
    /// What happened.
    pub text: String,
}

/// Adds a log. The text must not have passwords in it.
///
/// # Errors
/// The database's.
pub fn append(tx: &Tx<'_>, volume_id: &str, volume_name: &str, task: Uuid, text: &str) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO deployment_logs (volume_id, volume_name, task_id, at_ms, text) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute((volume_id, volume_name, task.to_string(), tx.now_ms(), shortened(text)))?;
    tx.prepare_cached(
        "DELETE FROM deployment_logs WHERE volume_id = ?1 AND id NOT IN
            (SELECT id FROM deployment_logs WHERE volume_id = ?1 ORDER BY id DESC LIMIT ?2)",
    )?
    .execute((volume_id, LOGS_MAX))?;
    Ok(())
}

/// The logs of a volume, the oldest first.
///
/// # Errors
/// The database's.
pub fn of_volume(tx: &Tx<'_>, volume_id: &str) -> Result<Vec<DeploymentLog>> {
    query(tx, "volume_id = ?1", volume_id)
}

/// The logs of a task, the oldest first.
///
/// # Errors
/// The database's.
pub fn of_task(tx: &Tx<'_>, task: &str) -> Result<Vec<DeploymentLog>> {
    query(tx, "task_id = ?1", task)
}

/// The logs of a volume by the name that it had, the oldest first: its deployment may have failed.
///
/// # Errors
/// The database's.
pub fn of_name(tx: &Tx<'_>, volume_name: &str) -> Result<Vec<DeploymentLog>> {
    query(tx, "volume_name = ?1", volume_name)
}

fn query(tx: &Tx<'_>, which: &str, key: &str) -> Result<Vec<DeploymentLog>> {
    let sql =
        format!("SELECT volume_name, task_id, at_ms, text FROM deployment_logs WHERE {which} ORDER BY id");
    let mut statement = tx.prepare_cached(&sql)?;
    let read = |row: &Row<'_>| {
        Ok(DeploymentLog {
            volume_name: row.get(0)?,
            task: row.get(1)?,
            at_ms: row.get(2)?,
            text: row.get(3)?,
        })
    };
    Ok(statement.query_map([key], read)?.collect::<rusqlite::Result<_>>()?)
}

/// Removes the logs of which neither the volume nor the task is known any more.
///
/// # Errors
/// The database's.
pub fn sweep(tx: &Tx<'_>) -> Result<()> {
    tx.prepare_cached(
        "DELETE FROM deployment_logs WHERE volume_id NOT IN (SELECT id FROM os_volumes)
                                       AND task_id NOT IN (SELECT id FROM tasks)",
    )?
    .execute([])?;
    Ok(())
}

/// The beginning and the end of what is too long.
fn shortened(text: &str) -> String {
    let Some(more) = text.len().checked_sub(TEXT_BYTES_MAX).filter(|more| *more > 0) else {
        return text.to_owned();
    };
    let boundary = |mut at: usize| {
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let (head, tail) = (boundary(TEXT_BYTES_MAX / 2), boundary(text.len() - TEXT_BYTES_MAX / 2));
    format!("{}\n… {more} bytes are left out …\n{}", &text[..head], &text[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    #[test]
    fn logs_have_an_end_and_go_with_volume_and_task() {
        let directory = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(directory.path()).unwrap();
        let task = Uuid::new_v4();
        catalog
            .write(|tx| {
                for number in 0..20 {
                    append(tx, "v", "OSVolume-1", task, &format!("log {number}"))?;
                }
                append(tx, "w", "OSVolume-2", task, &"é".repeat(TEXT_BYTES_MAX))
            })
            .unwrap();
        let logs = catalog.read(|tx| of_volume(tx, "v")).unwrap();
        assert_eq!((logs.len(), logs[0].text.as_str()), (16, "log 4"));
        let long = catalog.read(|tx| of_name(tx, "osvolume-2")).unwrap().remove(0).text;
        assert!(long.len() < TEXT_BYTES_MAX + 100 && long.contains("left out"), "{}", long.len());
        assert_eq!(catalog.read(|tx| of_task(tx, &task.to_string())).unwrap().len(), 17);
        catalog.write(sweep).unwrap();
        assert_eq!(catalog.read(|tx| of_task(tx, &task.to_string())).unwrap(), []);
    }
}
