//! Server profiles: what a server is to be, and where it is now.

use rusqlite::{OptionalExtension, Row};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::sealed::{Column, of_column, of_column_or_null, to_column};
use super::{Changed, Envelope, Error, Kind, Result, Tx, id_of, json, lookup, uuid_or_null};

const TABLE: &str = "server_profiles";

/// A value of a custom attribute. The plan has its type.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attribute {
    /// Name, such as `HostName` or `NIC1.dhcp`.
    pub name: String,
    /// Value; `None` leaves it to the plan's default.
    pub value: Option<String>,
}

/// A value may be a password: it is not for logs.
impl std::fmt::Debug for Attribute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attribute").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a login must prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChapLevel {
    /// The initiator proves who it is.
    Chap,
    /// Both sides do.
    MutualChap,
}

/// CHAP of a profile's volume (RFC 7143 §12.1.3).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chap {
    /// One way or both.
    pub chap_level: ChapLevel,
    /// Name that the initiator gives.
    pub chap_name: String,
    /// Secret that it knows.
    pub chap_secret: String,
    /// Name that the target gives, when both prove themselves.
    #[serde(default)]
    pub mutual_chap_name: Option<String>,
    /// Secret that the target knows.
    #[serde(default)]
    pub mutual_chap_secret: Option<String>,
}

impl std::fmt::Debug for Chap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chap")
            .field("chap_level", &self.chap_level)
            .field("chap_name", &self.chap_name)
            .finish()
    }
}

/// A server profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Id, name, history.
    pub envelope: Envelope,
    /// The server that it is assigned to.
    pub hardware: Option<Uuid>,
    /// The type of server that it is for.
    pub hardware_type: Option<Uuid>,
    /// The enclosure group that it is for.
    pub enclosure_group: Option<Uuid>,
    /// What its volume is made from.
    pub plan: Option<Uuid>,
    /// Values of the plan's custom attributes, by name.
    pub attributes: Vec<Attribute>,
    /// iSCSI name that the server boots with.
    pub initiator_name: String,
    /// Was that made here?
    pub initiator_name_generated: bool,
    /// What a login must prove, beside the name.
    pub chap: Option<Chap>,
    /// Fields of OneView's clients that are kept for them.
    pub extra: Map<String, Value>,
}

const COLUMNS: &str = "server_hardware_id, server_hardware_type_id, enclosure_group_id, deployment_plan_id, \
                       attributes, initiator_name, initiator_name_generated, chap, extra";

fn read(tx: &Tx<'_>, row: &Row<'_>) -> rusqlite::Result<Profile> {
    Ok(Profile {
        envelope: Envelope::read(row)?,
        hardware: uuid_or_null(row, 6)?,
        hardware_type: uuid_or_null(row, 7)?,
        enclosure_group: uuid_or_null(row, 8)?,
        plan: uuid_or_null(row, 9)?,
        attributes: of_column(tx.sealer(), Column::Profile, row, 10)?,
        initiator_name: row.get(11)?,
        initiator_name_generated: row.get(12)?,
        chap: of_column_or_null(tx.sealer(), Column::Chap, row, 13)?,
        extra: json(row, 14)?,
    })
}

fn select(rest: &str) -> String {
    format!("SELECT {}, {COLUMNS} FROM {TABLE} {rest}", Envelope::COLUMNS)
}

/// A profile by path, id or name.
///
/// # Errors
/// [`Error::NotFound`].
pub fn find(tx: &Tx<'_>, reference: &str) -> Result<Profile> {
    by_id(tx, id_of(tx, Kind::ServerProfile, TABLE, reference)?)
}

/// A profile by its id.
///
/// # Errors
/// [`Error::NotFound`].
pub fn by_id(tx: &Tx<'_>, id: Uuid) -> Result<Profile> {
    let found = tx
        .prepare_cached(&select("WHERE id = ?1"))?
        .query_row([id.to_string()], |row| read(tx, row))
        .optional()?;
    found.ok_or_else(|| Error::NotFound { kind: Kind::ServerProfile, reference: id.to_string(), near: None })
}

/// The profile that a server has.
///
/// # Errors
/// The database's.
pub fn of_hardware(tx: &Tx<'_>, hardware: Uuid) -> Result<Option<Profile>> {
    let mut statement = tx.prepare_cached(&select("WHERE server_hardware_id = ?1"))?;
    Ok(statement.query_row([hardware.to_string()], |row| read(tx, row)).optional()?)
}

/// All profiles, by name.
///
/// # Errors
/// The database's.
pub fn list(tx: &Tx<'_>) -> Result<Vec<Profile>> {
    let mut statement = tx.prepare_cached(&select("ORDER BY name"))?;
    Ok(statement.query_map([], |row| read(tx, row))?.collect::<rusqlite::Result<_>>()?)
}

/// Names and histories of all profiles, by name: enough for most lists.
///
/// # Errors
/// The database's.
pub fn envelopes(tx: &Tx<'_>) -> Result<Vec<Envelope>> {
    lookup::envelopes(tx, TABLE)
}

/// Writes a profile down, new or changed.
///
/// # Errors
/// [`Error::NameExists`], or [`Error::Invalid`] when the server or the initiator name is another profile's.
pub fn save(tx: &Tx<'_>, profile: &Profile) -> Result<()> {
    let envelope = &profile.envelope;
    let text = |value: serde_json::Result<String>| {
        value.map_err(|error| Error::invalid("server profile", error.to_string()))
    };
    let row = envelope.id.to_string();
    let attributes = to_column(tx.sealer(), Column::Profile, &row, &profile.attributes)?;
    let extra = text(serde_json::to_string(&profile.extra))?;
    let chap =
        profile.chap.as_ref().map(|chap| to_column(tx.sealer(), Column::Chap, &row, chap)).transpose()?;
    let id = |id: Option<Uuid>| id.map(|id| id.to_string());
    let saved = tx
        .prepare_cached(
            "INSERT INTO server_profiles (id, name, description, created_ms, modified_ms, revision,
                server_hardware_id, server_hardware_type_id, enclosure_group_id, deployment_plan_id,
                attributes, initiator_name, initiator_name_generated, chap, extra)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, description = excluded.description,
                modified_ms = excluded.modified_ms, revision = excluded.revision,
                server_hardware_id = excluded.server_hardware_id,
                server_hardware_type_id = excluded.server_hardware_type_id,
                enclosure_group_id = excluded.enclosure_group_id,
                deployment_plan_id = excluded.deployment_plan_id,
                attributes = excluded.attributes, initiator_name = excluded.initiator_name,
                initiator_name_generated = excluded.initiator_name_generated,
                chap = excluded.chap, extra = excluded.extra",
        )?
        .execute((
            envelope.id.to_string(),
            &envelope.name,
            &envelope.description,
            envelope.created_ms,
            envelope.modified_ms,
            envelope.revision,
            id(profile.hardware),
            id(profile.hardware_type),
            id(profile.enclosure_group),
            id(profile.plan),
            attributes,
            &profile.initiator_name,
            profile.initiator_name_generated,
            chap,
            extra,
        ));
    saved.map_err(|error| refused(error, profile))?;
    let changed = if envelope.revision == 1 { Changed::Created } else { Changed::Updated };
    tx.changed(Kind::ServerProfile, envelope.id, &envelope.name, changed);
    Ok(())
}

fn refused(error: rusqlite::Error, profile: &Profile) -> Error {
    let message = error.to_string();
    if message.contains("server_profiles.initiator_name") {
        let name = &profile.initiator_name;
        return Error::invalid("iscsiInitiatorName", format!("{name} is the initiator of another profile"));
    }
    if message.contains("server_profiles.server_hardware_id") {
        return Error::invalid("serverHardwareUri", "the server has another profile");
    }
    Error::of_write(error, Kind::ServerProfile, &profile.envelope.name)
}

/// Takes a profile out.
///
/// # Errors
/// The database's, also when it still has volumes.
pub fn remove(tx: &Tx<'_>, profile: &Profile) -> Result<()> {
    let id = profile.envelope.id;
    tx.prepare_cached("DELETE FROM server_profiles WHERE id = ?1")?.execute([id.to_string()])?;
    tx.changed(Kind::ServerProfile, id, &profile.envelope.name, Changed::Deleted);
    Ok(())
}
