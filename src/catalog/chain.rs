//! The chain of use: script ← build plan ← deployment plan (+ golden image) ← profile.
//!
//! What anything uses is not deleted. What a profile reaches is not edited: its volume could not be made again the same.
//! What is read-only is not edited at all.

use api::ArtifactReference;
use rusqlite::Params;
use uuid::Uuid;

use super::{Error, Kind, Result, Tx, Use, holds};

/// Something that uses an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its kind.
    pub kind: Kind,
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

impl User {
    /// It as the API refers to it.
    #[must_use]
    pub fn reference(&self) -> ArtifactReference {
        ArtifactReference { name: self.name.clone(), uri: self.kind.uri(&self.id) }
    }
}

/// What a query gives the ids and names of.
pub(super) fn users(tx: &Tx<'_>, kind: Kind, sql: &str, parameters: impl Params) -> Result<Vec<User>> {
    let mut statement = tx.prepare_cached(sql)?;
    let users =
        statement.query_map(parameters, |row| Ok(User { kind, id: row.get(0)?, name: row.get(1)? }))?;
    Ok(users.collect::<rusqlite::Result<_>>()?)
}

/// Refuses while anybody uses it.
pub(super) fn check_unused(kind: Kind, name: &str, by: Vec<User>) -> Result<()> {
    match by.is_empty() {
        true => Ok(()),
        false => {
            let by = by.into_iter().map(|user| Use { kind: user.kind, name: user.name }).collect();
            Err(Error::InUse { kind, name: name.to_owned(), by })
        }
    }
}

/// Refuses an edit of what is read-only or is reached by these profiles.
pub(super) fn check_editable(kind: Kind, name: &str, read_only: bool, profiles: Vec<User>) -> Result<()> {
    match read_only {
        true => Err(Error::ReadOnly { kind, name: name.to_owned() }),
        false => check_unused(kind, name, profiles),
    }
}

/// Refuses while an operation relies on anything that a query gives the ids of.
pub(super) fn check_all_free(tx: &Tx<'_>, kind: Kind, sql: &str, id: &str) -> Result<()> {
    let mut statement = tx.prepare_cached(sql)?;
    let ids = statement.query_map([id], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    ids.iter().try_for_each(|id| holds::check_free(tx, kind, id))
}

/// A row that must be there.
pub(super) fn found<T>(row: rusqlite::Result<T>, kind: Kind, id: &Uuid) -> Result<T> {
    match row {
        Err(rusqlite::Error::QueryReturnedNoRows) => {
            Err(Error::NotFound { kind, reference: id.to_string(), near: None })
        }
        row => Ok(row?),
    }
}

/// JSON for a column.
pub(super) fn to_json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::invalid("body", error.to_string()))
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
