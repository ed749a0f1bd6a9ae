//! What the resources of OneView's side share: who uses one, and their columns.

use rusqlite::OptionalExtension;
use rusqlite::types::Value;
use uuid::Uuid;

use super::{Envelope, Error, Kind, Result, Tx, Use, not_found};

/// The row of a resource that must be there.
pub(super) fn found<T>(
    tx: &Tx<'_>,
    (kind, table): (Kind, &'static str),
    id: Uuid,
    row: rusqlite::Result<T>,
) -> Result<T> {
    match row.optional()? {
        Some(row) => Ok(row),
        None => Err(not_found(tx, kind, table, &id.to_string())?),
    }
}

/// Names that a query gives for an id, as resources of one kind that use it.
pub(super) fn users(tx: &Tx<'_>, kind: Kind, sql: &str, of: Uuid) -> Result<Vec<Use>> {
    let mut statement = tx.prepare_cached(sql)?;
    let users = statement.query_map([of.to_string()], |row| Ok(Use { kind, name: row.get(0)? }))?;
    Ok(users.collect::<rusqlite::Result<_>>()?)
}

/// Names and histories of all resources of a table, by name: enough for most lists, whatever else the rows hold.
pub(super) fn envelopes(tx: &Tx<'_>, table: &'static str) -> Result<Vec<Envelope>> {
    let sql = format!("SELECT {} FROM {table} ORDER BY name", Envelope::COLUMNS);
    let mut statement = tx.prepare_cached(&sql)?;
    Ok(statement.query_map([], Envelope::read)?.collect::<rusqlite::Result<_>>()?)
}

/// Refuses while anybody uses it.
pub(super) fn check_unused(kind: Kind, name: &str, by: Vec<Use>) -> Result<()> {
    match by.is_empty() {
        true => Ok(()),
        false => Err(Error::InUse { kind, name: name.to_owned(), by }),
    }
}

/// An id or NULL, for a column.
pub(super) fn id_or_null(id: Option<Uuid>) -> Value {
    id.map_or(Value::Null, |id| Value::Text(id.to_string()))
}

/// JSON for a column.
pub(super) fn to_json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::invalid("body", error.to_string()))
}
