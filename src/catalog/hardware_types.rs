//! Server hardware types: models of servers.

use api::Extra;
use rusqlite::{Row, params};
use uuid::Uuid;

use super::lookup::{check_unused, found, to_json, users};
use super::{Changed, Envelope, Error, Kind, Result, Tx, holds, id_of, json};

const KIND: Kind = Kind::ServerHardwareType;
const TABLE: &str = "server_hardware_types";

/// A server hardware type.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerHardwareType {
    /// Id, name and history.
    pub envelope: Envelope,
    /// The model, for people.
    pub model: String,
    /// Fields of clients.
    pub extra: Extra,
}

/// What a client says of one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewServerHardwareType {
    /// The name.
    pub name: String,
    /// For people.
    pub description: String,
    /// The model, for people.
    pub model: String,
    /// Fields of clients.
    pub extra: Extra,
}

/// Adds one.
///
/// # Errors
/// When its name cannot be, or is taken.
pub fn insert(tx: &Tx<'_>, new: NewServerHardwareType) -> Result<ServerHardwareType> {
    let envelope = Envelope::new(tx, &new.name, &new.description)?;
    let kept = ServerHardwareType { envelope, model: new.model, extra: new.extra };
    write(tx, &kept)?;
    tx.changed(KIND, kept.envelope.id, &kept.envelope.name, Changed::Created);
    Ok(kept)
}

/// Finds one by path, id or name.
///
/// # Errors
/// When there is none.
pub fn find(tx: &Tx<'_>, reference: &str) -> Result<ServerHardwareType> {
    get(tx, id_of(tx, KIND, TABLE, reference)?)
}

/// The one with this id.
///
/// # Errors
/// When there is none.
pub fn get(tx: &Tx<'_>, id: Uuid) -> Result<ServerHardwareType> {
    let sql = format!("SELECT {}, model, extra FROM {TABLE} WHERE id = ?1", Envelope::COLUMNS);
    let row = tx.prepare_cached(&sql)?.query_row([id.to_string()], read);
    found(tx, (KIND, TABLE), id, row)
}

/// All of them, by name.
///
/// # Errors
/// The database's.
pub fn list(tx: &Tx<'_>) -> Result<Vec<ServerHardwareType>> {
    let sql = format!("SELECT {}, model, extra FROM {TABLE} ORDER BY name", Envelope::COLUMNS);
    let mut statement = tx.prepare_cached(&sql)?;
    Ok(statement.query_map([], read)?.collect::<rusqlite::Result<_>>()?)
}

/// Changes one, as a whole.
///
/// # Errors
/// When it is not there, was changed meanwhile, or the new name cannot be.
pub fn update(
    tx: &Tx<'_>,
    id: Uuid,
    if_match: Option<&str>,
    new: NewServerHardwareType,
) -> Result<ServerHardwareType> {
    let old = get(tx, id)?;
    old.envelope.check(KIND, if_match)?;
    holds::check_free(tx, KIND, id)?;
    let same = ServerHardwareType { envelope: old.envelope.clone(), model: new.model, extra: new.extra };
    if same == old && (&new.name, &new.description) == (&old.envelope.name, &old.envelope.description) {
        return Ok(old);
    }
    let changed =
        ServerHardwareType { envelope: old.envelope.changed(tx, &new.name, &new.description)?, ..same };
    write(tx, &changed)?;
    tx.changed(KIND, id, &changed.envelope.name, Changed::Updated);
    Ok(changed)
}

/// Removes one that no server and no profile is of.
///
/// # Errors
/// When it is not there, was changed meanwhile, or is in use.
pub fn remove(tx: &Tx<'_>, id: Uuid, if_match: Option<&str>) -> Result<()> {
    let old = get(tx, id)?;
    old.envelope.check(KIND, if_match)?;
    holds::check_free(tx, KIND, id)?;
    let hardware = "SELECT name FROM server_hardware WHERE server_hardware_type_id = ?1 ORDER BY name";
    let profiles = "SELECT name FROM server_profiles WHERE server_hardware_type_id = ?1 ORDER BY name";
    let mut by = users(tx, Kind::ServerHardware, hardware, id)?;
    by.extend(users(tx, Kind::ServerProfile, profiles, id)?);
    check_unused(KIND, &old.envelope.name, by)?;
    tx.execute("DELETE FROM server_hardware_types WHERE id = ?1", [id.to_string()])?;
    tx.changed(KIND, id, &old.envelope.name, Changed::Deleted);
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<ServerHardwareType> {
    Ok(ServerHardwareType { envelope: Envelope::read(row)?, model: row.get(6)?, extra: json(row, 7)? })
}

fn write(tx: &Tx<'_>, row: &ServerHardwareType) -> Result<()> {
    let e = &row.envelope;
    let sql = "INSERT INTO server_hardware_types
                   (id, name, description, created_ms, modified_ms, revision, model, extra)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
               ON CONFLICT (id) DO UPDATE SET name = ?2, description = ?3, modified_ms = ?5, revision = ?6,
                   model = ?7, extra = ?8";
    let values = params![
        e.id.to_string(),
        e.name,
        e.description,
        e.created_ms,
        e.modified_ms,
        e.revision,
        row.model,
        to_json(&row.extra)?
    ];
    tx.prepare_cached(sql)?.execute(values).map_err(|error| Error::of_write(error, KIND, &e.name))?;
    Ok(())
}
