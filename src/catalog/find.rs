//! Resources by whatever a client calls them: a path, an id, or a name.

use rusqlite::OptionalExtension;
use uuid::Uuid;

use super::{Error, Kind, Result, Tx};

/// Names that are looked through for one that is alike.
const NAMES_COMPARED_MAX: u32 = 10_000;

/// Id of the resource that a reference means. `table` is the kind's table, with the columns `id` and `name`.
///
/// # Errors
/// [`Error::NotFound`], with a name that is like it if there is one.
pub fn id_of(tx: &Tx<'_>, kind: Kind, table: &'static str, reference: &str) -> Result<Uuid> {
    let key = kind.key(reference);
    let (column, value) = match Uuid::try_parse(key) {
        Ok(id) => ("id", id.to_string()),
        Err(_) => ("name", key.to_owned()),
    };
    let found: Option<String> = tx
        .prepare_cached(&format!("SELECT id FROM {table} WHERE {column} = ?1"))?
        .query_row([value], |row| row.get(0))
        .optional()?;
    match found.as_deref().map(Uuid::try_parse) {
        Some(Ok(id)) => Ok(id),
        Some(Err(_)) => Err(Error::Damaged(format!("{kind} {key:?} has an id that is none"))),
        None => Err(not_found(tx, kind, table, reference)?),
    }
}

/// The refusal for a reference that means nothing.
///
/// # Errors
/// The database's.
pub fn not_found(tx: &Tx<'_>, kind: Kind, table: &'static str, reference: &str) -> Result<Error> {
    let key = kind.key(reference);
    let mut names = tx.prepare_cached(&format!("SELECT name FROM {table} LIMIT {NAMES_COMPARED_MAX}"))?;
    let names = names.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    let near = api::nearest(key, names.iter().map(String::as_str)).map(str::to_owned);
    Ok(Error::NotFound { kind, reference: key.to_owned(), near })
}
