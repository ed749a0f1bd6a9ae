//! Logical enclosures: deployment domains.

use api::Extra;
use rusqlite::{Row, params};
use uuid::Uuid;

use super::lookup::{check_unused, found, to_json, users};
use super::{Changed, Envelope, Error, Kind, Result, Tx, holds, id_of, json, uuid};

const KIND: Kind = Kind::LogicalEnclosure;
const TABLE: &str = "logical_enclosures";

/// A logical enclosure.
#[derive(Debug, Clone, PartialEq)]
pub struct LogicalEnclosure {
    /// Id, name and history.
    pub envelope: Envelope,
    /// Its enclosure group.
    pub enclosure_group: Uuid,
    /// Fields of clients.
    pub extra: Extra,
}

/// Adds one.
///
/// # Errors
/// When its name cannot be, or is taken, or there is no such group.
pub fn insert(
    tx: &Tx<'_>,
    (name, description): (&str, &str),
    enclosure_group: Uuid,
    extra: Extra,
) -> Result<LogicalEnclosure> {
    let row = LogicalEnclosure { envelope: Envelope::new(tx, name, description)?, enclosure_group, extra };
    write(tx, &row)?;
    tx.changed(KIND, row.envelope.id, &row.envelope.name, Changed::Created);
    Ok(row)
}

/// Finds one by path, id or name.
///
/// # Errors
/// When there is none.
pub fn find(tx: &Tx<'_>, reference: &str) -> Result<LogicalEnclosure> {
    get(tx, id_of(tx, KIND, TABLE, reference)?)
}

/// The one with this id.
///
/// # Errors
/// When there is none.
pub fn get(tx: &Tx<'_>, id: Uuid) -> Result<LogicalEnclosure> {
    let sql = format!("SELECT {}, enclosure_group_id, extra FROM {TABLE} WHERE id = ?1", Envelope::COLUMNS);
    let row = tx.prepare_cached(&sql)?.query_row([id.to_string()], read);
    found(tx, (KIND, TABLE), id, row)
}

/// All of them, by name.
///
/// # Errors
/// The database's.
pub fn list(tx: &Tx<'_>) -> Result<Vec<LogicalEnclosure>> {
    let sql = format!("SELECT {}, enclosure_group_id, extra FROM {TABLE} ORDER BY name", Envelope::COLUMNS);
    let mut statement = tx.prepare_cached(&sql)?;
    Ok(statement.query_map([], read)?.collect::<rusqlite::Result<_>>()?)
}

/// Changes name, description and the clients' fields. The group changes by [`set_group`] alone.
///
/// # Errors
/// When it is not there, was changed meanwhile, or the new name cannot be.
pub fn update(
    tx: &Tx<'_>,
    id: Uuid,
    if_match: Option<&str>,
    (name, description): (&str, &str),
    extra: Extra,
) -> Result<LogicalEnclosure> {
    let old = get(tx, id)?;
    old.envelope.check(KIND, if_match)?;
    holds::check_free(tx, KIND, id)?;
    if extra == old.extra && (name, description) == (&old.envelope.name, &old.envelope.description) {
        return Ok(old);
    }
    let envelope = old.envelope.changed(tx, name, description)?;
    let changed = LogicalEnclosure { envelope, enclosure_group: old.enclosure_group, extra };
    write(tx, &changed)?;
    tx.changed(KIND, id, &changed.envelope.name, Changed::Updated);
    Ok(changed)
}

/// Moves it to another enclosure group. Only the lifecycle service may: it knows what becomes of volumes.
///
/// # Errors
/// When it is not there, or there is no such group.
pub fn set_group(tx: &Tx<'_>, id: Uuid, enclosure_group: Uuid) -> Result<LogicalEnclosure> {
    let old = get(tx, id)?;
    let envelope = old.envelope.changed(tx, &old.envelope.name, &old.envelope.description)?;
    let changed = LogicalEnclosure { envelope, enclosure_group, extra: old.extra };
    write(tx, &changed)?;
    tx.changed(KIND, id, &changed.envelope.name, Changed::Updated);
    Ok(changed)
}

/// Removes one. Its servers stay, as hosts outside any enclosure. Only the lifecycle service may, after the volumes.
///
/// # Errors
/// When it is not there, or a volume is still in it.
pub fn remove(tx: &Tx<'_>, id: Uuid) -> Result<()> {
    let old = get(tx, id)?;
    let volumes = "SELECT name FROM os_volumes WHERE logical_enclosure_id = ?1 ORDER BY name";
    check_unused(KIND, &old.envelope.name, users(tx, Kind::OsVolume, volumes, id)?)?;
    let leave = "UPDATE server_hardware SET logical_enclosure_id = NULL, position = NULL,
                     modified_ms = max(modified_ms, ?2), revision = revision + 1
                 WHERE logical_enclosure_id = ?1 RETURNING id, name";
    let left: Vec<(String, String)> = tx
        .prepare_cached(leave)?
        .query_map(params![id.to_string(), tx.now_ms()], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (hardware, name) in left {
        tx.changed(Kind::ServerHardware, hardware, &name, Changed::Updated);
    }
    tx.execute("DELETE FROM logical_enclosures WHERE id = ?1", [id.to_string()])?;
    tx.changed(KIND, id, &old.envelope.name, Changed::Deleted);
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<LogicalEnclosure> {
    Ok(LogicalEnclosure {
        envelope: Envelope::read(row)?,
        enclosure_group: uuid(row, 6)?,
        extra: json(row, 7)?,
    })
}

fn write(tx: &Tx<'_>, row: &LogicalEnclosure) -> Result<()> {
    let e = &row.envelope;
    let sql = "INSERT INTO logical_enclosures
                   (id, name, description, created_ms, modified_ms, revision, enclosure_group_id, extra)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
               ON CONFLICT (id) DO UPDATE SET name = ?2, description = ?3, modified_ms = ?5, revision = ?6,
                   enclosure_group_id = ?7, extra = ?8";
    let values = params![
        e.id.to_string(),
        e.name,
        e.description,
        e.created_ms,
        e.modified_ms,
        e.revision,
        row.enclosure_group.to_string(),
        to_json(&row.extra)?
    ];
    tx.prepare_cached(sql)?.execute(values).map_err(|error| Error::of_write(error, KIND, &e.name))?;
    Ok(())
}
