//! Golden images as far as the store does not know them: their names for people, and where they came from.
//!
//! The store has the content under the same id, and a name that it can take. The name here is the one that counts: it
//! may have spaces and brackets, and it may be edited. An image that only the store has is given a row at start.

use rusqlite::{OptionalExtension, Row, params};
use uuid::Uuid;

use super::chain::{self, User, check_editable, users};
use super::{Changed, Envelope, Error, Kind, Result, Tx, holds, not_found};

const KIND: Kind = Kind::GoldenImage;
const TABLE: &str = "golden_images";
const COLUMNS: &str = "read_only, os_volume_id, os_volume_name, build_plan_id, build_plan_name, bundle_id, \
                       bundle_name, capture_log, bundle_sum";

/// Longest name in the store.
const STORE_NAME_BYTES_MAX: usize = 64;
/// Names that are tried before giving up.
const NAMES_TRIED_MAX: u32 = 10_000;

/// What the catalog knows of a golden image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoldenImage {
    /// Id, name and history.
    pub envelope: Envelope,
    /// Its name and description are never edited.
    pub read_only: bool,
    /// Where it came from.
    pub source: Source,
    /// What its capture did, line by line.
    pub capture_log: String,
    /// SHA-256 of the file that it had in its bundle: the same file is the same image.
    pub bundle_sum: Option<String>,
}

/// Where an image came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// The volume that it was captured from: id and name.
    pub os_volume: Option<(String, String)>,
    /// The build plan that it was captured by.
    pub build_plan: Option<(String, String)>,
    /// The bundle that it came in.
    pub bundle: Option<(String, String)>,
}

/// What is known of a new image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewGoldenImage {
    /// The name for people.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Whether it is never edited.
    pub read_only: bool,
    /// Where it came from.
    pub source: Source,
    /// What its capture did.
    pub capture_log: String,
    /// SHA-256 of the file that it has in its bundle.
    pub bundle_sum: Option<String>,
}

/// Adds what is known of an image that the store has.
///
/// # Errors
/// When its name cannot be, or is taken.
pub fn insert(tx: &Tx<'_>, id: Uuid, new: NewGoldenImage) -> Result<GoldenImage> {
    let envelope = Envelope { id, ..Envelope::new(tx, &new.name, &new.description)? };
    let image = GoldenImage {
        envelope,
        read_only: new.read_only,
        source: new.source,
        capture_log: new.capture_log,
        bundle_sum: new.bundle_sum,
    };
    write(tx, &image)?;
    tx.changed(KIND, id.simple(), &image.envelope.name, Changed::Created);
    Ok(image)
}

/// Refuses a name that is taken, before anything is uploaded under it.
///
/// # Errors
/// When it is taken, or cannot be.
pub fn check_name_free(tx: &Tx<'_>, name: &str) -> Result<()> {
    super::check_name(name)?;
    match is_taken(tx, name)? {
        true => Err(Error::NameExists { kind: KIND, name: name.to_owned() }),
        false => Ok(()),
    }
}

fn is_taken(tx: &Tx<'_>, name: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM golden_images WHERE name = ?1";
    Ok(tx.prepare_cached(sql)?.query_row([name], |_| Ok(())).optional()?.is_some())
}

/// The one that a path, an id or a name means.
///
/// # Errors
/// When there is none.
pub fn find(tx: &Tx<'_>, reference: &str) -> Result<GoldenImage> {
    let key = KIND.key(reference);
    let (column, value) = match Uuid::try_parse(key) {
        Ok(id) => ("id", id.simple().to_string()),
        Err(_) => ("name", key.to_owned()),
    };
    let sql = format!("SELECT {}, {COLUMNS} FROM {TABLE} WHERE {column} = ?1", Envelope::COLUMNS);
    match tx.prepare_cached(&sql)?.query_row([value], read).optional()? {
        Some(image) => Ok(image),
        None => Err(not_found(tx, KIND, TABLE, reference)?),
    }
}

/// The one with this id.
///
/// # Errors
/// When there is none.
pub fn get(tx: &Tx<'_>, id: Uuid) -> Result<GoldenImage> {
    find(tx, &id.simple().to_string())
}

/// All of them, by name.
///
/// # Errors
/// The database's.
pub fn list(tx: &Tx<'_>) -> Result<Vec<GoldenImage>> {
    let sql = format!("SELECT {}, {COLUMNS} FROM {TABLE} ORDER BY name", Envelope::COLUMNS);
    let mut statement = tx.prepare_cached(&sql)?;
    Ok(statement.query_map([], read)?.collect::<rusqlite::Result<_>>()?)
}

/// Changes name and description.
///
/// # Errors
/// When it is not there, is read-only, is in use by a profile, was changed meanwhile, or cannot be so.
pub fn update(
    tx: &Tx<'_>,
    id: Uuid,
    if_match: Option<&str>,
    (name, description): (&str, &str),
) -> Result<GoldenImage> {
    let old = get(tx, id)?;
    old.envelope.check(KIND, if_match)?;
    if (name, description) == (&old.envelope.name, &old.envelope.description) {
        return Ok(old);
    }
    check_editable(KIND, &old.envelope.name, old.read_only, profiles(tx, id)?)?;
    check_free(tx, id)?;
    let changed = GoldenImage { envelope: old.envelope.changed(tx, name, description)?, ..old };
    write(tx, &changed)?;
    tx.changed(KIND, id.simple(), &changed.envelope.name, Changed::Updated);
    Ok(changed)
}

/// Removes what is known of one that no deployment plan uses. That no volume does is the store's to say.
///
/// # Errors
/// When it is not there, was changed meanwhile, or is in use.
pub fn remove(tx: &Tx<'_>, id: Uuid, if_match: Option<&str>) -> Result<()> {
    let old = get(tx, id)?;
    old.envelope.check(KIND, if_match)?;
    chain::check_unused(KIND, &old.envelope.name, used_by(tx, id)?)?;
    holds::check_free(tx, KIND, id.simple())?;
    tx.execute("DELETE FROM golden_images WHERE id = ?1", [id.simple().to_string()])?;
    tx.changed(KIND, id.simple(), &old.envelope.name, Changed::Deleted);
    Ok(())
}

/// The deployment plans that use it.
///
/// # Errors
/// The database's.
pub fn used_by(tx: &Tx<'_>, id: Uuid) -> Result<Vec<User>> {
    let sql = "SELECT id, name FROM deployment_plans WHERE golden_image_id = ?1 ORDER BY name";
    users(tx, Kind::DeploymentPlan, sql, [id.simple().to_string()])
}

fn profiles(tx: &Tx<'_>, id: Uuid) -> Result<Vec<User>> {
    let sql =
        "SELECT r.id, r.name FROM server_profiles r JOIN deployment_plans d ON d.id = r.deployment_plan_id
               WHERE d.golden_image_id = ?1 ORDER BY r.name";
    users(tx, Kind::ServerProfile, sql, [id.simple().to_string()])
}

fn check_free(tx: &Tx<'_>, id: Uuid) -> Result<()> {
    holds::check_free(tx, KIND, id.simple())?;
    let sql = "SELECT id FROM deployment_plans WHERE golden_image_id = ?1";
    chain::check_all_free(tx, Kind::DeploymentPlan, sql, &id.simple().to_string())
}

/// Makes the catalog agree with the store: a row for each image that has none; and rows whose image is gone go, unless
/// a plan uses them. Says which of those are left.
///
/// # Errors
/// The database's.
pub fn adopt(tx: &Tx<'_>, images: &[(Uuid, String)]) -> Result<Vec<String>> {
    let known = list(tx)?;
    for (id, name) in images {
        if known.iter().any(|image| image.envelope.id == *id) {
            continue;
        }
        let name = free_name(name, NAMES_TRIED_MAX, |name| is_taken(tx, name))?;
        insert(tx, *id, NewGoldenImage { name, ..NewGoldenImage::default() })?;
    }
    let mut missing = Vec::new();
    for image in known {
        if images.iter().any(|(id, _)| *id == image.envelope.id) {
            continue;
        }
        match remove(tx, image.envelope.id, None) {
            Ok(()) => {}
            Err(Error::InUse { name, .. } | Error::Busy { name, .. }) => missing.push(name),
            Err(error) => return Err(error),
        }
    }
    Ok(missing)
}

/// `name`, or the first of `name (2)`, `name (3)`, … that is not taken.
///
/// # Errors
/// Those of `is_taken`, and when there is no end.
pub fn free_name(name: &str, tries_max: u32, is_taken: impl Fn(&str) -> Result<bool>) -> Result<String> {
    if !is_taken(name)? {
        return Ok(name.to_owned());
    }
    for number in 2..tries_max {
        let suffix = format!(" ({number})");
        let room = super::NAME_CHARS_MAX - suffix.chars().count();
        let candidate = name.chars().take(room).collect::<String>().trim_end().to_owned() + &suffix;
        if !is_taken(&candidate)? {
            return Ok(candidate);
        }
    }
    Err(Error::NameExists { kind: KIND, name: name.to_owned() })
}

/// A name that the store can take: the same one where that can be, else one like it, and one that is not taken.
#[must_use]
pub fn store_name(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let good = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let mut like: String = name.chars().map(good).collect();
    while like.contains("--") {
        like = like.replace("--", "-");
    }
    let like = like.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let like: String = like.chars().take(STORE_NAME_BYTES_MAX).collect();
    // What is not the name itself has something that no other name leads to.
    let like = match like == name && Uuid::try_parse(&like).is_err() {
        true => like,
        false => unlike_others(if like.is_empty() { "image" } else { &like }),
    };
    match is_taken(&like) {
        true => unlike_others(&like),
        false => like,
    }
}

/// Digits that make a name one of its own.
const OWN_DIGITS: usize = 8;

fn unlike_others(like: &str) -> String {
    let digits: String = Uuid::new_v4().simple().to_string().chars().take(OWN_DIGITS).collect();
    let like: String = like.chars().take(STORE_NAME_BYTES_MAX - OWN_DIGITS - 1).collect();
    format!("{like}-{digits}")
}

fn read(row: &Row<'_>) -> rusqlite::Result<GoldenImage> {
    let pair = |id: usize| Ok::<_, rusqlite::Error>(row.get::<_, Option<String>>(id)?.zip(row.get(id + 1)?));
    Ok(GoldenImage {
        envelope: Envelope::read(row)?,
        read_only: row.get(6)?,
        source: Source { os_volume: pair(7)?, build_plan: pair(9)?, bundle: pair(11)? },
        capture_log: row.get(13)?,
        bundle_sum: row.get(14)?,
    })
}

fn write(tx: &Tx<'_>, image: &GoldenImage) -> Result<()> {
    let e = &image.envelope;
    let sql = "INSERT INTO golden_images
                   (id, name, description, created_ms, modified_ms, revision, read_only, os_volume_id, os_volume_name,
                    build_plan_id, build_plan_name, bundle_id, bundle_name, capture_log, bundle_sum)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
               ON CONFLICT (id) DO UPDATE SET name = ?2, description = ?3, modified_ms = ?5, revision = ?6,
                   read_only = ?7";
    let half = |pair: &Option<(String, String)>| pair.clone().unzip();
    let (volume, plan, bundle) =
        (half(&image.source.os_volume), half(&image.source.build_plan), half(&image.source.bundle));
    let values = params![
        e.id.simple().to_string(),
        e.name,
        e.description,
        e.created_ms,
        e.modified_ms,
        e.revision,
        image.read_only,
        volume.0,
        volume.1,
        plan.0,
        plan.1,
        bundle.0,
        bundle.1,
        image.capture_log,
        image.bundle_sum
    ];
    tx.prepare_cached(sql)?.execute(values).map_err(|error| Error::of_write(error, KIND, &e.name))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_gets_a_name_that_it_can_take() {
        let free = |name: &str| store_name(name, |_| false);
        assert_eq!(free("debian-12"), "debian-12");
        let like = |name: &str| free(name).rsplit_once('-').unwrap().0.to_owned();
        assert_eq!(like("HPE - Developer 1.0 - UEFI (2017)"), "HPE-Developer-1.0-UEFI-2017");
        assert_eq!((like("Größe"), like("(…)")), ("Gr-e".to_owned(), "image".to_owned()));
        assert_eq!(free(&"x".repeat(255)).len(), 64);
        assert_ne!(free("a b"), free("a b"), "two names never meet");
        assert!(store_name("web", |name| name == "web").starts_with("web-"));
    }
}
