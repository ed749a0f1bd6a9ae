//! Enclosure groups: what logical enclosures have in common.

use api::{DeploymentModeSettings, Extra};
use rusqlite::{Row, params};
use uuid::Uuid;

use super::lookup::{check_unused, found, to_json, users};
use super::{Changed, Envelope, Error, Kind, Result, Tx, holds, id_of, json};

const KIND: Kind = Kind::EnclosureGroup;
const TABLE: &str = "enclosure_groups";
const OWN_COLUMNS: &str = "manages_os_deployment, deployment_mode, enclosure_count, extra";
/// Most enclosures that a logical enclosure can have.
const ENCLOSURES_MAX: u32 = 21;

/// An enclosure group.
#[derive(Debug, Clone, PartialEq)]
pub struct EnclosureGroup {
    /// Id, name and history.
    pub envelope: Envelope,
    /// The rest.
    pub facts: GroupFacts,
}

/// What a group is, but for its name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GroupFacts {
    /// Whether profiles of the group may name a deployment plan.
    pub manages_os_deployment: bool,
    /// Over which network; kept and given back.
    pub deployment_mode: Option<DeploymentModeSettings>,
    /// How many enclosures a logical enclosure of this group has.
    pub enclosure_count: u32,
    /// Fields of clients.
    pub extra: Extra,
}

/// Adds one.
///
/// # Errors
/// When its name cannot be, or is taken.
pub fn insert(tx: &Tx<'_>, name: &str, description: &str, facts: GroupFacts) -> Result<EnclosureGroup> {
    check(&facts)?;
    let group = EnclosureGroup { envelope: Envelope::new(tx, name, description)?, facts };
    write(tx, &group)?;
    tx.changed(KIND, group.envelope.id, &group.envelope.name, Changed::Created);
    Ok(group)
}

/// Finds one by path, id or name.
///
/// # Errors
/// When there is none.
pub fn find(tx: &Tx<'_>, reference: &str) -> Result<EnclosureGroup> {
    get(tx, id_of(tx, KIND, TABLE, reference)?)
}

/// The one with this id.
///
/// # Errors
/// When there is none.
pub fn get(tx: &Tx<'_>, id: Uuid) -> Result<EnclosureGroup> {
    let sql = format!("SELECT {}, {OWN_COLUMNS} FROM {TABLE} WHERE id = ?1", Envelope::COLUMNS);
    let row = tx.prepare_cached(&sql)?.query_row([id.to_string()], read);
    found(tx, (KIND, TABLE), id, row)
}

/// All of them, by name.
///
/// # Errors
/// The database's.
pub fn list(tx: &Tx<'_>) -> Result<Vec<EnclosureGroup>> {
    let sql = format!("SELECT {}, {OWN_COLUMNS} FROM {TABLE} ORDER BY name", Envelope::COLUMNS);
    let mut statement = tx.prepare_cached(&sql)?;
    Ok(statement.query_map([], read)?.collect::<rusqlite::Result<_>>()?)
}

/// Changes one, as a whole. A group goes on managing OS deployment while a profile of it has a plan.
///
/// # Errors
/// When it is not there, was changed meanwhile, the new name cannot be, or a profile relies on it.
pub fn update(
    tx: &Tx<'_>,
    id: Uuid,
    if_match: Option<&str>,
    (name, description): (&str, &str),
    facts: GroupFacts,
) -> Result<EnclosureGroup> {
    let old = get(tx, id)?;
    old.envelope.check(KIND, if_match)?;
    holds::check_free(tx, KIND, id)?;
    check(&facts)?;
    if old.facts.manages_os_deployment && !facts.manages_os_deployment {
        let planned = "SELECT name FROM server_profiles
                       WHERE enclosure_group_id = ?1 AND deployment_plan_id IS NOT NULL ORDER BY name";
        check_unused(KIND, &old.envelope.name, users(tx, Kind::ServerProfile, planned, id)?)?;
    }
    if facts == old.facts && (name, description) == (&old.envelope.name, &old.envelope.description) {
        return Ok(old);
    }
    let changed = EnclosureGroup { envelope: old.envelope.changed(tx, name, description)?, facts };
    write(tx, &changed)?;
    tx.changed(KIND, id, &changed.envelope.name, Changed::Updated);
    Ok(changed)
}

/// Removes one that no logical enclosure and no profile is of.
///
/// # Errors
/// When it is not there, was changed meanwhile, or is in use.
pub fn remove(tx: &Tx<'_>, id: Uuid, if_match: Option<&str>) -> Result<()> {
    let old = get(tx, id)?;
    old.envelope.check(KIND, if_match)?;
    holds::check_free(tx, KIND, id)?;
    let enclosures = "SELECT name FROM logical_enclosures WHERE enclosure_group_id = ?1 ORDER BY name";
    let profiles = "SELECT name FROM server_profiles WHERE enclosure_group_id = ?1 ORDER BY name";
    let mut by = users(tx, Kind::LogicalEnclosure, enclosures, id)?;
    by.extend(users(tx, Kind::ServerProfile, profiles, id)?);
    check_unused(KIND, &old.envelope.name, by)?;
    tx.execute("DELETE FROM enclosure_groups WHERE id = ?1", [id.to_string()])?;
    tx.changed(KIND, id, &old.envelope.name, Changed::Deleted);
    Ok(())
}

fn check(facts: &GroupFacts) -> Result<()> {
    match facts.enclosure_count {
        1..=ENCLOSURES_MAX => Ok(()),
        count => Err(Error::invalid(
            "enclosureCount",
            format!("a group has 1 to {ENCLOSURES_MAX} enclosures, not {count}"),
        )),
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<EnclosureGroup> {
    let mode: Option<String> = row.get(7)?;
    let facts = GroupFacts {
        manages_os_deployment: row.get(6)?,
        deployment_mode: mode.map(|_| json(row, 7)).transpose()?,
        enclosure_count: row.get(8)?,
        extra: json(row, 9)?,
    };
    Ok(EnclosureGroup { envelope: Envelope::read(row)?, facts })
}

fn write(tx: &Tx<'_>, row: &EnclosureGroup) -> Result<()> {
    let (e, s) = (&row.envelope, &row.facts);
    let sql = "INSERT INTO enclosure_groups
                   (id, name, description, created_ms, modified_ms, revision,
                    manages_os_deployment, deployment_mode, enclosure_count, extra)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
               ON CONFLICT (id) DO UPDATE SET name = ?2, description = ?3, modified_ms = ?5, revision = ?6,
                   manages_os_deployment = ?7, deployment_mode = ?8, enclosure_count = ?9, extra = ?10";
    let values = params![
        e.id.to_string(),
        e.name,
        e.description,
        e.created_ms,
        e.modified_ms,
        e.revision,
        s.manages_os_deployment,
        s.deployment_mode.as_ref().map(to_json).transpose()?,
        s.enclosure_count,
        to_json(&s.extra)?
    ];
    tx.prepare_cached(sql)?.execute(values).map_err(|error| Error::of_write(error, KIND, &e.name))?;
    Ok(())
}
