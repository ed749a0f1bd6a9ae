//! Plan scripts.

use std::collections::HashMap;

use api::{PlanScriptBody, PlanType, SCRIPT_BYTES_MAX, ScriptDifferences};
use rusqlite::{Row, params};
use uuid::Uuid;

use super::chain::{self, User, check_editable, users};
use super::placeholders::{Placeholder, of_script};
use super::{Changed, Envelope, Error, Kind, Result, Tx, bad_column, holds};

const KIND: Kind = Kind::PlanScript;
const TABLE: &str = "plan_scripts";

/// A plan script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanScript {
    /// Id, name and history.
    pub envelope: Envelope,
    /// What it is for.
    pub plan_type: PlanType,
    /// The script.
    pub content: String,
    /// It is never edited.
    pub read_only: bool,
}

impl PlanScript {
    /// The attributes that it uses.
    #[must_use]
    pub fn placeholders(&self) -> Vec<Placeholder> {
        of_script(self.plan_type, &self.content)
    }

    pub(super) fn kind_and_content(&self) -> (PlanType, &str) {
        (self.plan_type, &self.content)
    }
}

/// Adds one.
///
/// # Errors
/// When something in it cannot be, or its name is taken.
pub fn insert(tx: &Tx<'_>, new: &PlanScriptBody) -> Result<PlanScript> {
    check(new)?;
    let envelope = Envelope::new(tx, new.name.as_str(), &new.description)?;
    let script = PlanScript {
        envelope,
        plan_type: new.plan_type,
        content: new.content.clone(),
        read_only: new.hp_provided,
    };
    write(tx, &script)?;
    tx.changed(KIND, script.envelope.id, &script.envelope.name, Changed::Created);
    Ok(script)
}

fn check(new: &PlanScriptBody) -> Result<()> {
    if new.content.len() > SCRIPT_BYTES_MAX {
        let message =
            format!("the script has {} bytes; at most {SCRIPT_BYTES_MAX} are allowed", new.content.len());
        return Err(Error::invalid("content", message));
    }
    if new.content.contains('\0') {
        return Err(Error::invalid("content", "a script is text: it must not have NUL characters"));
    }
    Ok(())
}

/// Adds one that is right in itself.
pub(super) fn add(tx: &Tx<'_>, script: &PlanScript) -> Result<()> {
    write(tx, script)?;
    tx.changed(KIND, script.envelope.id, &script.envelope.name, Changed::Created);
    Ok(())
}

/// The one that a path, an id or a name means.
///
/// # Errors
/// When there is none.
pub fn find(tx: &Tx<'_>, reference: &str) -> Result<PlanScript> {
    get(tx, super::id_of(tx, KIND, TABLE, reference)?)
}

/// The one with this id.
///
/// # Errors
/// When there is none.
pub fn get(tx: &Tx<'_>, id: Uuid) -> Result<PlanScript> {
    let sql =
        format!("SELECT {}, plan_type, content, read_only FROM {TABLE} WHERE id = ?1", Envelope::COLUMNS);
    let found = tx.prepare_cached(&sql)?.query_row([id.to_string()], read);
    chain::found(found, KIND, &id)
}

/// All of them, by name.
///
/// # Errors
/// The database's.
pub fn list(tx: &Tx<'_>) -> Result<Vec<PlanScript>> {
    let sql =
        format!("SELECT {}, plan_type, content, read_only FROM {TABLE} ORDER BY name", Envelope::COLUMNS);
    let mut statement = tx.prepare_cached(&sql)?;
    Ok(statement.query_map([], read)?.collect::<rusqlite::Result<_>>()?)
}

/// Changes one, as a whole. Build plans keep the defaults that they took from it.
///
/// # Errors
/// When it is not there, is read-only, is in use by a profile, was changed meanwhile, or cannot be so.
pub fn update(tx: &Tx<'_>, id: Uuid, if_match: Option<&str>, new: &PlanScriptBody) -> Result<PlanScript> {
    let old = get(tx, id)?;
    old.envelope.check(KIND, if_match)?;
    let same = PlanScript {
        envelope: old.envelope.clone(),
        plan_type: new.plan_type,
        content: new.content.clone(),
        read_only: new.hp_provided,
    };
    if same == old && (new.name.as_str(), &new.description) == (&old.envelope.name, &old.envelope.description)
    {
        return Ok(old);
    }
    let name = &old.envelope.name;
    check_editable(KIND, name, old.read_only, profiles(tx, id)?)?;
    check_free(tx, id)?;
    check(new)?;
    if new.plan_type != old.plan_type {
        check_type_change(tx, &old, new.plan_type)?;
    }
    let changed =
        PlanScript { envelope: old.envelope.changed(tx, new.name.as_str(), &new.description)?, ..same };
    write(tx, &changed)?;
    tx.changed(KIND, id, &changed.envelope.name, Changed::Updated);
    Ok(changed)
}

/// A script of a build plan can only become what that plan takes.
fn check_type_change(tx: &Tx<'_>, script: &PlanScript, to: PlanType) -> Result<()> {
    let sql =
        "SELECT DISTINCT p.id, p.name FROM build_plans p JOIN build_plan_steps s ON s.build_plan_id = p.id
               WHERE s.plan_script_id = ?1 AND ?2 != 'general' AND p.plan_type != ?2 ORDER BY p.name";
    let by = users(tx, Kind::BuildPlan, sql, (script.envelope.id.to_string(), to.as_str()))?;
    chain::check_unused(KIND, &script.envelope.name, by)
}

/// Removes one that no build plan uses.
///
/// # Errors
/// When it is not there, was changed meanwhile, or is in use.
pub fn remove(tx: &Tx<'_>, id: Uuid, if_match: Option<&str>) -> Result<()> {
    let old = get(tx, id)?;
    old.envelope.check(KIND, if_match)?;
    chain::check_unused(KIND, &old.envelope.name, used_by(tx, id)?)?;
    holds::check_free(tx, KIND, id)?;
    tx.execute("DELETE FROM plan_scripts WHERE id = ?1", [id.to_string()])?;
    tx.changed(KIND, id, &old.envelope.name, Changed::Deleted);
    Ok(())
}

/// The build plans that use it.
///
/// # Errors
/// The database's.
pub fn used_by(tx: &Tx<'_>, id: Uuid) -> Result<Vec<User>> {
    let sql =
        "SELECT DISTINCT p.id, p.name FROM build_plans p JOIN build_plan_steps s ON s.build_plan_id = p.id
               WHERE s.plan_script_id = ?1 ORDER BY p.name";
    users(tx, Kind::BuildPlan, sql, [id.to_string()])
}

/// The profiles that reach it through their plan.
fn profiles(tx: &Tx<'_>, id: Uuid) -> Result<Vec<User>> {
    let sql = "SELECT DISTINCT r.id, r.name FROM server_profiles r
               JOIN deployment_plans d ON d.id = r.deployment_plan_id
               JOIN build_plan_steps s ON s.build_plan_id = d.build_plan_id
               WHERE s.plan_script_id = ?1 ORDER BY r.name";
    users(tx, Kind::ServerProfile, sql, [id.to_string()])
}

/// No operation relies on it, or on a plan that has it.
fn check_free(tx: &Tx<'_>, id: Uuid) -> Result<()> {
    holds::check_free(tx, KIND, id)?;
    let sql = "SELECT DISTINCT d.id FROM deployment_plans d
               JOIN build_plan_steps s ON s.build_plan_id = d.build_plan_id WHERE s.plan_script_id = ?1";
    chain::check_all_free(tx, Kind::DeploymentPlan, sql, &id.to_string())
}

/// What another content would change.
#[must_use]
pub fn differences(script: &PlanScript, content: &str) -> ScriptDifferences {
    let (old, new) = (script.placeholders(), of_script(script.plan_type, content));
    let names_without = |all: &[Placeholder], others: &[Placeholder]| {
        let others = by_name(others);
        let is_new = |one: &&Placeholder| !others.contains_key(&one.name.to_ascii_lowercase());
        all.iter().filter(is_new).map(|one| one.name.clone()).collect::<Vec<_>>()
    };
    let now = by_name(&new);
    let has_other_default = |one: &&Placeholder| {
        now.get(&one.name.to_ascii_lowercase()).is_some_and(|other| other.default != one.default)
    };
    ScriptDifferences {
        ca_added: names_without(&new, &old),
        ca_removed: names_without(&old, &new),
        content_changed: script.content != content,
        default_value_changed: old.iter().filter(has_other_default).map(|one| one.name.clone()).collect(),
    }
}

/// By names, whose case does not matter.
fn by_name(all: &[Placeholder]) -> HashMap<String, &Placeholder> {
    all.iter().map(|one| (one.name.to_ascii_lowercase(), one)).collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<PlanScript> {
    Ok(PlanScript {
        envelope: Envelope::read(row)?,
        plan_type: plan_type(row, 6)?,
        content: row.get(7)?,
        read_only: row.get(8)?,
    })
}

/// A plan's type in a column.
pub(super) fn plan_type(row: &Row<'_>, column: usize) -> rusqlite::Result<PlanType> {
    let word: String = row.get(column)?;
    let unknown = || bad_column(column, Error::invalid("planType", format!("{word:?} is not known")));
    PlanType::from_word(&word).ok_or_else(unknown)
}

fn write(tx: &Tx<'_>, script: &PlanScript) -> Result<()> {
    let e = &script.envelope;
    let sql = "INSERT INTO plan_scripts
                   (id, name, description, created_ms, modified_ms, revision, plan_type, content, read_only)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
               ON CONFLICT (id) DO UPDATE SET name = ?2, description = ?3, modified_ms = ?5, revision = ?6,
                   plan_type = ?7, content = ?8, read_only = ?9";
    let values = params![
        e.id.to_string(),
        e.name,
        e.description,
        e.created_ms,
        e.modified_ms,
        e.revision,
        script.plan_type.as_str(),
        script.content,
        script.read_only
    ];
    tx.prepare_cached(sql)?.execute(values).map_err(|error| Error::of_write(error, KIND, &e.name))?;
    Ok(())
}
