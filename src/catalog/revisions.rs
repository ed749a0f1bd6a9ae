//! Successors of artifacts that are in use, and so cannot be edited.
//!
//! A successor is a copy that can be edited, named "… (2)", and remembers what it succeeds. Profiles go on using what they
//! use; one that is moved to the successor of its plan is given a new volume, as with any other plan.

use rusqlite::OptionalExtension;
use uuid::Uuid;

use super::chain::User;
use super::{Envelope, Error, Kind, Result, Tx, build_plans, deployment_plans, plan_scripts};

/// A number that names may have at their end.
const NUMBERS_MAX: u32 = 10_000;
/// Most artifacts of one revision.
const REVISED_MAX: usize = 256;

/// A successor, and what it succeeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revised {
    /// The new artifact.
    pub new: User,
    /// What it succeeds.
    pub old: User,
}

/// Gives an artifact a successor, which is the first of those that are given. With its users, the plans that use it get
/// successors that use the new one.
///
/// # Errors
/// When it is none that can have a successor, and the database's.
pub fn revise(tx: &Tx<'_>, kind: Kind, id: Uuid, with_users: bool) -> Result<Vec<Revised>> {
    let mut revised = Vec::new();
    match kind {
        Kind::PlanScript => script(tx, id, with_users, &mut revised)?,
        Kind::BuildPlan => drop(build_plan(tx, id, None, with_users, &mut revised)?),
        Kind::DeploymentPlan => deployment_plan(tx, id, None, &mut revised)?,
        _ => return Err(Error::invalid("id", format!("a {kind} has no successors"))),
    }
    Ok(revised)
}

/// What an artifact was made to succeed.
///
/// # Errors
/// The database's.
pub fn predecessor(tx: &Tx<'_>, kind: Kind, id: Uuid) -> Result<Option<String>> {
    let sql = format!("SELECT revision_of FROM {} WHERE id = ?1", table(kind));
    let found = tx.prepare_cached(&sql)?.query_row([id.to_string()], |row| row.get(0)).optional()?;
    Ok(found.flatten())
}

fn table(kind: Kind) -> &'static str {
    match kind {
        Kind::BuildPlan => "build_plans",
        Kind::DeploymentPlan => "deployment_plans",
        _ => "plan_scripts",
    }
}

fn script(tx: &Tx<'_>, id: Uuid, with_users: bool, revised: &mut Vec<Revised>) -> Result<()> {
    let old = plan_scripts::get(tx, id)?;
    let users = plan_scripts::used_by(tx, id)?;
    let envelope = successor(tx, Kind::PlanScript, &old.envelope, revised)?;
    let new = envelope.id;
    plan_scripts::add(tx, &plan_scripts::PlanScript { envelope, read_only: false, ..old })?;
    link(tx, Kind::PlanScript, new, id)?;
    for user in users.iter().filter(|_| with_users) {
        let plan = build_plans::find(tx, &user.id)?.envelope.id;
        build_plan(tx, plan, Some((id, new)), true, revised)?;
    }
    Ok(())
}

fn build_plan(
    tx: &Tx<'_>,
    id: Uuid,
    script: Option<(Uuid, Uuid)>,
    with_users: bool,
    revised: &mut Vec<Revised>,
) -> Result<()> {
    let mut old = build_plans::get(tx, id)?;
    for step in &mut old.steps {
        if let Some((before, now)) = script.filter(|(before, _)| *before == step.script) {
            debug_assert_ne!(before, now);
            step.script = now;
        }
    }
    let users = build_plans::used_by(tx, id)?;
    let envelope = successor(tx, Kind::BuildPlan, &old.envelope, revised)?;
    let new = envelope.id;
    build_plans::add(tx, &build_plans::BuildPlan { envelope, read_only: false, ..old })?;
    link(tx, Kind::BuildPlan, new, id)?;
    for user in users.iter().filter(|_| with_users) {
        let plan = deployment_plans::find(tx, &user.id)?.envelope.id;
        deployment_plan(tx, plan, Some(new), revised)?;
    }
    Ok(())
}

fn deployment_plan(
    tx: &Tx<'_>,
    id: Uuid,
    build_plan: Option<Uuid>,
    revised: &mut Vec<Revised>,
) -> Result<()> {
    let mut old = deployment_plans::get(tx, id)?;
    for attribute in &mut old.attributes {
        attribute.id = Some(Uuid::new_v4().to_string());
    }
    let envelope = successor(tx, Kind::DeploymentPlan, &old.envelope, revised)?;
    let new = envelope.id;
    let build_plan = build_plan.unwrap_or(old.build_plan);
    let plan =
        deployment_plans::DeploymentPlan { envelope, build_plan, read_only: false, imported: false, ..old };
    deployment_plans::add(tx, &plan)?;
    link(tx, Kind::DeploymentPlan, new, id)
}

/// Under a name that nobody has: `web`, `web (2)`, `web (3)`.
fn successor(tx: &Tx<'_>, kind: Kind, old: &Envelope, revised: &mut Vec<Revised>) -> Result<Envelope> {
    if revised.len() >= REVISED_MAX {
        return Err(Error::invalid(
            "withUsers",
            format!("more than {REVISED_MAX} artifacts would be made: give successors one by one"),
        ));
    }
    let name = free_name(tx, kind, &old.name)?;
    let envelope = Envelope::new(tx, &name, &old.description)?;
    let one = |envelope: &Envelope| User { kind, id: envelope.id.to_string(), name: envelope.name.clone() };
    revised.push(Revised { new: one(&envelope), old: one(old) });
    Ok(envelope)
}

fn free_name(tx: &Tx<'_>, kind: Kind, name: &str) -> Result<String> {
    let stem = stem(name);
    let sql = format!("SELECT count(*) FROM {} WHERE name = ?1", table(kind));
    let mut taken = tx.prepare_cached(&sql)?;
    for number in 2..NUMBERS_MAX {
        let tail = format!(" ({number})");
        let room = super::NAME_CHARS_MAX.saturating_sub(tail.chars().count());
        let kept: String = stem.chars().take(room).collect();
        let name = format!("{}{tail}", kept.trim_end());
        if taken.query_row([&name], |row| row.get::<_, u64>(0))? == 0 {
            return Ok(name);
        }
    }
    Err(Error::invalid("name", format!("{stem:?} has had too many successors")))
}

/// A name without the number of a revision.
fn stem(name: &str) -> &str {
    let Some((stem, tail)) = name.rsplit_once(" (") else { return name };
    let number = tail.strip_suffix(')').unwrap_or_default();
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && !stem.is_empty() { stem } else { name }
}

fn link(tx: &Tx<'_>, kind: Kind, new: Uuid, old: Uuid) -> Result<()> {
    let sql = format!("UPDATE {} SET revision_of = ?2 WHERE id = ?1", table(kind));
    tx.execute(&sql, [new.to_string(), old.to_string()])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_revision_is_no_part_of_its_name() {
        for (name, expected) in [
            ("web", "web"),
            ("web (2)", "web"),
            ("web (UEFI)", "web (UEFI)"),
            ("web (UEFI) (3)", "web (UEFI)"),
        ] {
            assert_eq!(stem(name), expected);
        }
    }
}
