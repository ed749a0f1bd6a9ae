//! Artifact bundles: what the catalog knows of archives that lie in the directory of bundles.

use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::chain::{self, to_json};
use super::{Changed, Envelope, Error, Kind, Result, Tx, holds, json};

const KIND: Kind = Kind::ArtifactBundle;
const TABLE: &str = "artifact_bundles";
const COLUMNS: &str = "size_bytes, checksum, read_only, backup, uploaded, downloaded_ms, contents";

/// An artifact bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Id, name and history.
    pub envelope: Envelope,
    /// Size of the archive.
    pub size_bytes: u64,
    /// SHA-256 of the archive.
    pub checksum: String,
    /// It says so of itself.
    pub read_only: bool,
    /// It has all artifacts.
    pub backup: bool,
    /// It was uploaded, not made here.
    pub uploaded: bool,
    /// When it was last downloaded.
    pub downloaded_ms: Option<u64>,
    /// What is in it.
    pub contents: Contents,
}

/// What is in a bundle, in short.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Contents {
    /// The scripts.
    pub plan_scripts: Vec<Item>,
    /// The build plans; each with names of its scripts.
    pub build_plans: Vec<Item>,
    /// The deployment plans; each with the names of its build plan and, if it has one, its golden image.
    pub deployment_plans: Vec<Item>,
    /// The golden images.
    pub golden_images: Vec<Item>,
}

impl Contents {
    /// How many artifacts there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.plan_scripts.len()
            + self.build_plans.len()
            + self.deployment_plans.len()
            + self.golden_images.len()
    }
}

/// An artifact in a bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Item {
    /// Its id in the bundle.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Whether it can never be edited.
    pub read_only: bool,
    /// Names of what it needs.
    pub needs: Vec<String>,
}

/// Adds one whose archive is in its place.
///
/// # Errors
/// When its name cannot be, or is taken.
pub fn insert(tx: &Tx<'_>, bundle: &Bundle) -> Result<()> {
    write(tx, bundle)?;
    tx.changed(KIND, bundle.envelope.id, &bundle.envelope.name, Changed::Created);
    Ok(())
}

/// Whether a name is taken.
///
/// # Errors
/// The database's.
pub fn is_taken(tx: &Tx<'_>, name: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM artifact_bundles WHERE name = ?1";
    Ok(tx.prepare_cached(sql)?.query_row([name], |_| Ok(())).optional()?.is_some())
}

/// The one that a path, an id or a name means.
///
/// # Errors
/// When there is none.
pub fn find(tx: &Tx<'_>, reference: &str) -> Result<Bundle> {
    // A path below the collection (`…/backups/{id}`) means the same bundle.
    let key = KIND.key(reference).rsplit('/').next().unwrap_or(reference);
    get(tx, super::id_of(tx, KIND, TABLE, key)?)
}

/// The one with this id.
///
/// # Errors
/// When there is none.
pub fn get(tx: &Tx<'_>, id: Uuid) -> Result<Bundle> {
    let sql = format!("SELECT {}, {COLUMNS} FROM {TABLE} WHERE id = ?1", Envelope::COLUMNS);
    let found = tx.prepare_cached(&sql)?.query_row([id.to_string()], read);
    chain::found(found, KIND, &id)
}

/// All of them, by name.
///
/// # Errors
/// The database's.
pub fn list(tx: &Tx<'_>) -> Result<Vec<Bundle>> {
    let sql = format!("SELECT {}, {COLUMNS} FROM {TABLE} ORDER BY name", Envelope::COLUMNS);
    let mut statement = tx.prepare_cached(&sql)?;
    Ok(statement.query_map([], read)?.collect::<rusqlite::Result<_>>()?)
}

/// The backup, if there is one.
///
/// # Errors
/// The database's.
pub fn backup(tx: &Tx<'_>) -> Result<Option<Bundle>> {
    Ok(list(tx)?.into_iter().find(|bundle| bundle.backup))
}

/// Changes the name, which is all that can be changed.
///
/// # Errors
/// When it is not there, was changed meanwhile, or the name cannot be.
pub fn rename(tx: &Tx<'_>, id: Uuid, if_match: Option<&str>, name: &str) -> Result<Bundle> {
    let old = get(tx, id)?;
    old.envelope.check(KIND, if_match)?;
    if old.envelope.name == name {
        return Ok(old);
    }
    holds::check_free(tx, KIND, id)?;
    let changed = Bundle { envelope: old.envelope.changed(tx, name, &old.envelope.description)?, ..old };
    write(tx, &changed)?;
    tx.changed(KIND, id, name, Changed::Updated);
    Ok(changed)
}

/// Notes that it was downloaded. That is no change of it.
///
/// # Errors
/// The database's.
pub fn downloaded(tx: &Tx<'_>, id: Uuid) -> Result<()> {
    let sql = "UPDATE artifact_bundles SET downloaded_ms = ?2 WHERE id = ?1";
    tx.prepare_cached(sql)?.execute(params![id.to_string(), tx.now_ms()])?;
    Ok(())
}

/// Removes one. Its archive goes when that is durable.
///
/// # Errors
/// When it is not there, was changed meanwhile, or an operation works on it.
pub fn remove(tx: &Tx<'_>, id: Uuid, if_match: Option<&str>) -> Result<()> {
    let old = get(tx, id)?;
    old.envelope.check(KIND, if_match)?;
    holds::check_free(tx, KIND, id)?;
    tx.execute("DELETE FROM artifact_bundles WHERE id = ?1", [id.to_string()])?;
    tx.changed(KIND, id, &old.envelope.name, Changed::Deleted);
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<Bundle> {
    Ok(Bundle {
        envelope: Envelope::read(row)?,
        size_bytes: row.get(6)?,
        checksum: row.get(7)?,
        read_only: row.get(8)?,
        backup: row.get(9)?,
        uploaded: row.get(10)?,
        downloaded_ms: row.get(11)?,
        contents: json(row, 12)?,
    })
}

fn write(tx: &Tx<'_>, bundle: &Bundle) -> Result<()> {
    let e = &bundle.envelope;
    let sql = "INSERT INTO artifact_bundles
                   (id, name, description, created_ms, modified_ms, revision, size_bytes, checksum, read_only, backup,
                    uploaded, downloaded_ms, contents)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
               ON CONFLICT (id) DO UPDATE SET name = ?2, modified_ms = ?5, revision = ?6";
    let values = params![
        e.id.to_string(),
        e.name,
        e.description,
        e.created_ms,
        e.modified_ms,
        e.revision,
        bundle.size_bytes,
        bundle.checksum,
        bundle.read_only,
        bundle.backup,
        bundle.uploaded,
        bundle.downloaded_ms,
        to_json(&bundle.contents)?
    ];
    tx.prepare_cached(sql)?.execute(values).map_err(|error| Error::of_write(error, KIND, &e.name))?;
    Ok(())
}
