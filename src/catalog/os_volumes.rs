//! Volumes of profiles: whose they are, what they were made from, and which generation. Their data is in the store, under
//! the same id and name.

use cow::{ImageId, VolumeId};
use rusqlite::{OptionalExtension, Row};
use uuid::Uuid;

use super::profiles::Attribute;
use super::sealed::{Column, of_column, to_column};
use super::{Changed, Error, Kind, Result, Tx, bad_column, deployment_logs, uuid, uuid_or_null};
use crate::seed::Seed;

/// What the names of profiles' volumes begin with; a number follows. No direct volume may have such a name.
pub const NAME_PREFIX: &str = "OSVolume-";

/// What a volume of a profile is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeState {
    /// The profile's disk.
    Current,
    /// An earlier generation, which can be rolled back to.
    Kept,
    /// Being deleted.
    Doomed,
}

impl VolumeState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Kept => "kept",
            Self::Doomed => "doomed",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Current, Self::Kept, Self::Doomed].into_iter().find(|state| state.as_str() == text)
    }
}

/// What a volume was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its plan.
    pub plan: Uuid,
    /// Its golden image; `None` for a volume that was empty.
    pub image: Option<ImageId>,
    /// The type of server that it was made for.
    pub hardware_type: Option<Uuid>,
    /// The values of the plan's attributes, by name.
    pub attributes: Vec<Attribute>,
}

/// A volume of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OsVolume {
    /// Its id in the store.
    pub id: VolumeId,
    /// Its name in the store.
    pub name: String,
    /// When it was ready, in milliseconds since 1970.
    pub created_ms: u64,
    /// Whose it is; `None` once it is doomed.
    pub profile: Option<Uuid>,
    /// Counted from 1 for each profile.
    pub generation: u64,
    /// What it is to its profile.
    pub state: VolumeState,
    /// The enclosure in which it can be reached; `None` for hosts outside any.
    pub enclosure: Option<Uuid>,
    /// What it was made from.
    pub origin: Origin,
    /// Bytes of its own that it had when it was ready.
    pub deployed_bytes: u64,
}

const COLUMNS: &str = "id, name, created_ms, profile_id, generation, state, logical_enclosure_id, deployment_plan_id, \
                       golden_image_id, server_hardware_type_id, attributes, deployed_bytes";

fn read(tx: &Tx<'_>, row: &Row<'_>) -> rusqlite::Result<OsVolume> {
    let state: String = row.get(5)?;
    let image: Option<String> = row.get(8)?;
    let id: String = row.get(0)?;
    let bad =
        |column, what: &str| bad_column(column, Error::invalid("os_volumes", format!("{what:?} is wrong")));
    Ok(OsVolume {
        id: id.parse().map_err(|_| bad(0, &id))?,
        name: row.get(1)?,
        created_ms: row.get(2)?,
        profile: uuid_or_null(row, 3)?,
        generation: row.get(4)?,
        state: VolumeState::parse(&state).ok_or_else(|| bad(5, &state))?,
        enclosure: uuid_or_null(row, 6)?,
        origin: Origin {
            plan: uuid(row, 7)?,
            image: match image {
                Some(text) => Some(text.parse().map_err(|_| bad(8, &text))?),
                None => None,
            },
            hardware_type: uuid_or_null(row, 9)?,
            attributes: of_column(tx.sealer(), Column::Volume, row, 10)?,
        },
        deployed_bytes: row.get(11)?,
    })
}

fn query(tx: &Tx<'_>, rest: &str, key: Option<&str>) -> Result<Vec<OsVolume>> {
    let mut statement = tx.prepare_cached(&format!("SELECT {COLUMNS} FROM os_volumes {rest}"))?;
    let rows = match key {
        Some(key) => statement.query([key])?,
        None => statement.query([])?,
    };
    Ok(rows.mapped(|row| read(tx, row)).collect::<rusqlite::Result<_>>()?)
}

/// All volumes of profiles.
///
/// # Errors
/// The database's.
pub fn list(tx: &Tx<'_>) -> Result<Vec<OsVolume>> {
    query(tx, "ORDER BY name", None)
}

/// A volume by its id in the store; `None` for one that no profile has.
///
/// # Errors
/// The database's.
pub fn by_id(tx: &Tx<'_>, id: VolumeId) -> Result<Option<OsVolume>> {
    Ok(query(tx, "WHERE id = ?1", Some(&id.to_string()))?.into_iter().next())
}

/// A profile's disk.
///
/// # Errors
/// The database's.
pub fn current(tx: &Tx<'_>, profile: Uuid) -> Result<Option<OsVolume>> {
    let rest = "WHERE profile_id = ?1 AND state = 'current'";
    Ok(query(tx, rest, Some(&profile.to_string()))?.into_iter().next())
}

/// All generations of a profile, the newest first.
///
/// # Errors
/// The database's.
pub fn generations(tx: &Tx<'_>, profile: Uuid) -> Result<Vec<OsVolume>> {
    query(
        tx,
        "WHERE profile_id = ?1 AND state != 'doomed' ORDER BY generation DESC",
        Some(&profile.to_string()),
    )
}

/// The volumes that are reached in an enclosure, earlier generations too.
///
/// # Errors
/// The database's.
pub fn in_enclosure(tx: &Tx<'_>, enclosure: Uuid) -> Result<Vec<OsVolume>> {
    query(tx, "WHERE logical_enclosure_id = ?1 ORDER BY name", Some(&enclosure.to_string()))
}

/// The volumes that are being deleted.
///
/// # Errors
/// The database's.
pub fn doomed(tx: &Tx<'_>) -> Result<Vec<OsVolume>> {
    query(tx, "WHERE state = 'doomed'", None)
}

/// Writes a new volume down.
///
/// # Errors
/// The database's.
pub fn insert(tx: &Tx<'_>, volume: &OsVolume) -> Result<()> {
    let attributes =
        to_column(tx.sealer(), Column::Volume, &volume.id.to_string(), &volume.origin.attributes)?;
    let id = |id: Option<Uuid>| id.map(|id| id.to_string());
    tx.prepare_cached(
        "INSERT INTO os_volumes (id, name, created_ms, profile_id, generation, state, logical_enclosure_id,
            deployment_plan_id, golden_image_id, server_hardware_type_id, attributes, deployed_bytes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute((
        volume.id.to_string(),
        &volume.name,
        volume.created_ms,
        id(volume.profile),
        volume.generation,
        volume.state.as_str(),
        id(volume.enclosure),
        volume.origin.plan.to_string(),
        volume.origin.image.map(|image| image.to_string()),
        id(volume.origin.hardware_type),
        attributes,
        volume.deployed_bytes,
    ))?;
    tx.changed(Kind::OsVolume, volume.id, &volume.name, Changed::Created);
    Ok(())
}

/// Writes down the seed that a volume was deployed with.
///
/// # Errors
/// The database's.
pub fn set_seed(tx: &Tx<'_>, volume: VolumeId, seed: &Seed) -> Result<()> {
    let text = serde_json::to_string(seed).map_err(|error| Error::invalid("seed", error.to_string()))?;
    tx.prepare_cached("UPDATE os_volumes SET seed = ?2 WHERE id = ?1")?
        .execute((volume.to_string(), tx.seal(&seed_place(volume), &text)?))?;
    Ok(())
}

fn seed_place(volume: VolumeId) -> String {
    format!("os_volumes/{volume}/seed")
}

/// The seed that a volume was deployed with.
///
/// # Errors
/// The database's, and when the key that it was sealed with is another one.
pub fn seed(tx: &Tx<'_>, volume: VolumeId) -> Result<Option<Seed>> {
    let mut statement =
        tx.prepare_cached("SELECT seed FROM os_volumes WHERE id = ?1 AND seed IS NOT NULL")?;
    let sealed = statement.query_row([volume.to_string()], |row| row.get::<_, String>(0)).optional()?;
    let Some(sealed) = sealed else { return Ok(None) };
    let seed = tx.unseal(&seed_place(volume), &sealed).and_then(|text| serde_json::from_str(&text).ok());
    let unread =
        || Error::Damaged(format!("the seed of volume {volume} cannot be read: its key is another one"));
    seed.map(Some).ok_or_else(unread)
}

/// Makes a volume current or an earlier generation.
///
/// # Errors
/// The database's.
pub fn set_state(tx: &Tx<'_>, volume: &OsVolume, state: VolumeState) -> Result<()> {
    tx.prepare_cached("UPDATE os_volumes SET state = ?2 WHERE id = ?1")?
        .execute((volume.id.to_string(), state.as_str()))?;
    tx.changed(Kind::OsVolume, volume.id, &volume.name, Changed::Updated);
    Ok(())
}

/// Condemns a volume: it belongs to nobody any more, and is deleted from the store next.
///
/// # Errors
/// The database's.
pub fn doom(tx: &Tx<'_>, volume: &OsVolume) -> Result<()> {
    tx.prepare_cached(
        "UPDATE os_volumes SET state = 'doomed', profile_id = NULL, logical_enclosure_id = NULL WHERE id = ?1",
    )?
    .execute([volume.id.to_string()])?;
    tx.changed(Kind::OsVolume, volume.id, &volume.name, Changed::Deleted);
    Ok(())
}

/// Forgets a volume that is gone from the store.
///
/// # Errors
/// The database's.
pub fn forget(tx: &Tx<'_>, volume: VolumeId) -> Result<()> {
    tx.prepare_cached("DELETE FROM os_volumes WHERE id = ?1 AND state = 'doomed'")?
        .execute([volume.to_string()])?;
    deployment_logs::sweep(tx)?;
    Ok(())
}

/// The next number of a volume. It is never given again, not even when the transaction's volume is never made.
///
/// # Errors
/// The database's.
pub fn next_number(tx: &Tx<'_>) -> Result<u64> {
    Ok(tx.query_row(
        "UPDATE sequences SET next = next + 1 WHERE name = 'os-volume' RETURNING next - 1",
        [],
        |row| row.get(0),
    )?)
}

/// Takes the numbers past those that the store has volumes of: a catalog that was lost begins anew, names do not.
///
/// # Errors
/// The database's.
pub fn skip_numbers(tx: &Tx<'_>, past: u64) -> Result<()> {
    tx.execute(
        "UPDATE sequences SET next = max(next, ?1) WHERE name = 'os-volume'",
        [past.saturating_add(1)],
    )?;
    Ok(())
}

/// The number in a name that only profiles' volumes have.
#[must_use]
pub fn number_of(name: &str) -> Option<u64> {
    let (prefix, number) = name.split_at_checked(NAME_PREFIX.len())?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (prefix.eq_ignore_ascii_case(NAME_PREFIX) && digits).then(|| number.parse().unwrap_or(u64::MAX))
}

/// The generation that comes next for a profile.
///
/// # Errors
/// The database's.
pub fn next_generation(tx: &Tx<'_>, profile: Uuid) -> Result<u64> {
    Ok(tx
        .query_row(
            "SELECT max(generation) FROM os_volumes WHERE profile_id = ?1",
            [profile.to_string()],
            |row| row.get::<_, Option<u64>>(0),
        )
        .optional()?
        .flatten()
        .unwrap_or(0)
        + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_profiles_volumes_are_told_from_others() {
        assert_eq!(number_of("OSVolume-17"), Some(17));
        assert_eq!(number_of("osvolume-1"), Some(1));
        for other in ["OSVolume-", "OSVolume-1a", "OSVolume", "web01", "OSVolume--1", "ÖSVolume-1"] {
            assert_eq!(number_of(other), None, "{other}");
        }
    }
}
