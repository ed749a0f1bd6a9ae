//! What operations that are under way work on, or rely on, so that nobody changes it under them.

use rusqlite::OptionalExtension;

use super::{Error, Kind, Result, Tx};

/// A resource that an operation needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Of this kind.
    pub kind: Kind,
    /// Its id, or another word that stands for it.
    pub id: String,
    /// Changed by the operation: nobody else may even rely on it.
    pub exclusive: bool,
}

impl Hold {
    /// Changed by the operation.
    pub fn exclusive(kind: Kind, id: impl ToString) -> Self {
        Self { kind, id: id.to_string(), exclusive: true }
    }

    /// Relied on by the operation.
    pub fn shared(kind: Kind, id: impl ToString) -> Self {
        Self { kind, id: id.to_string(), exclusive: false }
    }
}

/// Gives a task its holds: all of them, or an error.
///
/// # Errors
/// [`Error::Busy`] when another operation stands in the way.
pub fn take(tx: &Tx<'_>, task: &str, holds: &[Hold]) -> Result<()> {
    for hold in holds {
        check(tx, hold.kind, &hold.id, hold.exclusive, task)?;
        tx.prepare_cached(
            "INSERT INTO holds (task_id, category, id, exclusive) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET exclusive = max(exclusive, excluded.exclusive)",
        )?
        .execute((task, hold.kind.category(), &hold.id, hold.exclusive))?;
    }
    Ok(())
}

/// Gives up everything that a task holds.
///
/// # Errors
/// The database's.
pub fn release(tx: &Tx<'_>, task: &str) -> Result<()> {
    tx.prepare_cached("DELETE FROM holds WHERE task_id = ?1")?.execute([task])?;
    Ok(())
}

/// May this be changed or deleted now? Not while an operation works on it or relies on it.
///
/// # Errors
/// [`Error::Busy`].
pub fn check_free(tx: &Tx<'_>, kind: Kind, id: impl ToString) -> Result<()> {
    check(tx, kind, &id.to_string(), true, "")
}

/// May this be relied on now? Not while an operation changes it.
///
/// # Errors
/// [`Error::Busy`].
pub fn check_steady(tx: &Tx<'_>, kind: Kind, id: impl ToString) -> Result<()> {
    check(tx, kind, &id.to_string(), false, "")
}

fn check(tx: &Tx<'_>, kind: Kind, id: &str, exclusive: bool, own: &str) -> Result<()> {
    let holder: Option<String> = tx
        .prepare_cached(
            "SELECT task_id FROM holds
             WHERE category = ?1 AND id = ?2 AND task_id != ?3 AND (exclusive OR ?4) LIMIT 1",
        )?
        .query_row((kind.category(), id, own, exclusive), |row| row.get(0))
        .optional()?;
    match holder {
        Some(task) => Err(Error::Busy { kind, name: id.to_owned(), task }),
        None => Ok(()),
    }
}
