//! OS build plans: scripts in order, and the attributes that they leave open.

use api::{AttributeType, BuildPlanBody, BuildStep, CustomAttribute, PlanType, STEPS_MAX};
use rusqlite::{Row, params};
use uuid::Uuid;

use super::chain::{self, User, check_editable, users};
use super::placeholders::{self, Placeholder};
use super::plan_scripts::{self, PlanScript, plan_type};
use super::sealed::{Column, of_column, to_column};
use super::{Changed, Envelope, Error, Kind, Result, Tx, attributes, deployment_plans, holds, uuid};

const KIND: Kind = Kind::BuildPlan;
const TABLE: &str = "build_plans";
const COLUMNS: &str = "plan_type, attributes, read_only";

/// Most attributes of a plan.
const ATTRIBUTES_MAX: usize = 1024;

/// A build plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildPlan {
    /// Id, name and history.
    pub envelope: Envelope,
    /// `Deploy` or `Capture`.
    pub plan_type: PlanType,
    /// Its scripts in order.
    pub steps: Vec<Step>,
    /// What they leave open.
    pub attributes: Vec<CustomAttribute>,
    /// It is never edited.
    pub read_only: bool,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The script.
    pub script: Uuid,
    /// Its name.
    pub script_name: String,
    /// Kept as it is.
    pub parameters: Option<String>,
}

/// Where a plan comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Somebody writes it: it must be right in itself.
    Written,
    /// A bundle: what cannot be understood of its constraints checks nothing.
    Bundle,
}

/// Adds one.
///
/// # Errors
/// When something in it cannot be, a script is not there, or its name is taken.
pub fn insert(tx: &Tx<'_>, new: &BuildPlanBody, origin: Origin) -> Result<BuildPlan> {
    let (steps, attributes) = settle(tx, new, origin)?;
    let plan = BuildPlan {
        envelope: Envelope::new(tx, new.name.as_str(), &new.description)?,
        plan_type: new.oe_build_plan_type,
        steps,
        attributes,
        read_only: new.hp_provided,
    };
    write(tx, &plan)?;
    tx.changed(KIND, plan.envelope.id, &plan.envelope.name, Changed::Created);
    Ok(plan)
}

/// Adds one that is right in itself.
pub(super) fn add(tx: &Tx<'_>, plan: &BuildPlan) -> Result<()> {
    write(tx, plan)?;
    tx.changed(KIND, plan.envelope.id, &plan.envelope.name, Changed::Created);
    Ok(())
}

/// Its steps and attributes as they will be.
fn settle(tx: &Tx<'_>, new: &BuildPlanBody, origin: Origin) -> Result<(Vec<Step>, Vec<CustomAttribute>)> {
    if new.oe_build_plan_type == PlanType::General {
        return Err(Error::invalid("oeBuildPlanType", "a build plan is of type deploy or capture"));
    }
    let mut scripts = Vec::new();
    let mut steps = Vec::new();
    for step in in_order(&new.build_step)? {
        let script = script_of(tx, step, new.oe_build_plan_type)?;
        let (id, name) = (script.envelope.id, script.envelope.name.clone());
        steps.push(Step { script: id, script_name: name, parameters: step.parameters.clone() });
        scripts.push(script);
    }
    Ok((steps, settle_attributes(new, &scripts, origin)?))
}

/// Steps by their numbers; as they come where not all have one.
fn in_order(steps: &[BuildStep]) -> Result<Vec<&BuildStep>> {
    if steps.len() > STEPS_MAX {
        let message = format!("the plan has {} steps; at most {STEPS_MAX} are allowed", steps.len());
        return Err(Error::invalid("buildStep", message));
    }
    let number = |step: &BuildStep| step.serial_number.trim().parse::<u32>().ok();
    let mut numbered = Vec::with_capacity(steps.len());
    for step in steps {
        match number(step) {
            Some(number) => numbered.push((number, step)),
            None if step.serial_number.trim().is_empty() => return Ok(steps.iter().collect()),
            None => {
                let message = format!("the serial number {:?} is not a number", step.serial_number);
                return Err(Error::invalid("buildStep", message));
            }
        }
    }
    numbered.sort_by_key(|(number, _)| *number);
    match numbered.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => {
            Err(Error::invalid("buildStep", format!("two steps have the serial number {}", pair[0].0)))
        }
        None => Ok(numbered.into_iter().map(|(_, step)| step).collect()),
    }
}

fn script_of(tx: &Tx<'_>, step: &BuildStep, plan: PlanType) -> Result<PlanScript> {
    let reference = match step.plan_script_uri.as_str() {
        "" => &step.plan_script_name,
        uri => uri,
    };
    if reference.is_empty() {
        return Err(Error::invalid("buildStep", "a step names its script as planScriptUri"));
    }
    let script = plan_scripts::find(tx, reference)?;
    if script.plan_type != PlanType::General && script.plan_type != plan {
        let message = format!(
            "plan script {:?} is of type {}: a build plan of type {plan} takes scripts of type {plan} and general",
            script.envelope.name, script.plan_type
        );
        return Err(Error::invalid("buildStep", message));
    }
    Ok(script)
}

/// What is said of attributes, and after it those that only the scripts have.
fn settle_attributes(
    new: &BuildPlanBody,
    scripts: &[PlanScript],
    origin: Origin,
) -> Result<Vec<CustomAttribute>> {
    if new.oe_build_plan_type == PlanType::Capture {
        return match new.custom_attributes.is_empty() || origin == Origin::Bundle {
            true => Ok(Vec::new()),
            false => Err(Error::invalid("customAttributes", "a build plan that captures has no attributes")),
        };
    }
    check_count(new.custom_attributes.len())?;
    let mut settled: Vec<CustomAttribute> = Vec::new();
    for attribute in &new.custom_attributes {
        let said = CustomAttribute { id: None, visible: None, editable: None, ..attribute.clone() };
        let checked = match origin {
            Origin::Written => attributes::check_definition(&said),
            Origin::Bundle => attributes::check_name(&said.name),
        };
        checked.map_err(|error| {
            Error::invalid("customAttributes", format!("attribute {:?}: {error}", said.name))
        })?;
        if position(&settled, &said.name).is_some() {
            let message = format!("the attribute {:?} is there twice", said.name);
            return Err(Error::invalid("customAttributes", message));
        }
        settled.push(said);
    }
    let placeholders = placeholders::of_scripts(scripts.iter().map(PlanScript::kind_and_content));
    check_count(placeholders.len())?;
    for placeholder in placeholders {
        match position(&settled, &placeholder.name) {
            None => settled.push(placeholder.attribute()),
            Some(at) => take_default(&mut settled[at], placeholder),
        }
    }
    check_count(settled.len())?;
    Ok(settled)
}

/// Before they are compared with each other: a stranger's bundle may have any number.
pub(super) fn check_count(attributes: usize) -> Result<()> {
    match attributes > ATTRIBUTES_MAX {
        true => {
            Err(Error::invalid("customAttributes", format!("a plan has at most {ATTRIBUTES_MAX} attributes")))
        }
        false => Ok(()),
    }
}

/// An attribute that nobody gives a value takes its script's default; an empty text is a value.
fn take_default(attribute: &mut CustomAttribute, placeholder: Placeholder) {
    let has_one = attribute.kind != AttributeType::Nic && attribute.value.is_none();
    if let Some(default) = placeholder.default.filter(|_| has_one && !placeholder.has_members)
        && attributes::check_value(attribute, &default).is_ok()
    {
        attribute.value = Some(default);
    }
}

impl BuildPlan {
    /// Whether it has the attributes that a bundle's plan has. Passwords are in no bundle; what is said of no value comes
    /// from the scripts.
    #[must_use]
    pub fn has_attributes_of(&self, said: &[CustomAttribute]) -> bool {
        let same = |one: &CustomAttribute, known: &CustomAttribute| {
            let has_value = one.kind != AttributeType::Password && one.value.is_some();
            (one.kind, one.constraints.trim()) == (known.kind, known.constraints.trim())
                && (!has_value || one.value == known.value)
        };
        let is_there = |one: &CustomAttribute| {
            position(&self.attributes, &one.name).is_some_and(|at| same(one, &self.attributes[at]))
        };
        self.plan_type == PlanType::Capture || said.iter().all(is_there)
    }
}

/// Where an attribute is: names are compared without regard to case, as clients do.
pub(super) fn position(attributes: &[CustomAttribute], name: &str) -> Option<usize> {
    attributes.iter().position(|attribute| attribute.name.eq_ignore_ascii_case(name))
}

/// The one that a path, an id or a name means.
///
/// # Errors
/// When there is none.
pub fn find(tx: &Tx<'_>, reference: &str) -> Result<BuildPlan> {
    get(tx, super::id_of(tx, KIND, TABLE, reference)?)
}

/// The one with this id.
///
/// # Errors
/// When there is none.
pub fn get(tx: &Tx<'_>, id: Uuid) -> Result<BuildPlan> {
    let sql = format!("SELECT {}, {COLUMNS} FROM {TABLE} WHERE id = ?1", Envelope::COLUMNS);
    let found = tx.prepare_cached(&sql)?.query_row([id.to_string()], |row| read(tx, row));
    let plan = chain::found(found, KIND, &id)?;
    Ok(BuildPlan { steps: steps(tx, id)?, ..plan })
}

/// All of them, by name.
///
/// # Errors
/// The database's.
pub fn list(tx: &Tx<'_>) -> Result<Vec<BuildPlan>> {
    let sql = format!("SELECT {}, {COLUMNS} FROM {TABLE} ORDER BY name", Envelope::COLUMNS);
    let mut statement = tx.prepare_cached(&sql)?;
    let plans = statement.query_map([], |row| read(tx, row))?.collect::<rusqlite::Result<Vec<_>>>()?;
    let with_steps = |plan: BuildPlan| Ok(BuildPlan { steps: steps(tx, plan.envelope.id)?, ..plan });
    plans.into_iter().map(with_steps).collect()
}

fn steps(tx: &Tx<'_>, id: Uuid) -> Result<Vec<Step>> {
    let mut statement = tx.prepare_cached(
        "SELECT s.plan_script_id, p.name, s.parameters FROM build_plan_steps s
         JOIN plan_scripts p ON p.id = s.plan_script_id WHERE s.build_plan_id = ?1 ORDER BY s.position",
    )?;
    let step =
        |row: &Row<'_>| Ok(Step { script: uuid(row, 0)?, script_name: row.get(1)?, parameters: row.get(2)? });
    Ok(statement.query_map([id.to_string()], step)?.collect::<rusqlite::Result<_>>()?)
}

/// Changes one, as a whole, and the deployment plans that use it with it.
///
/// # Errors
/// When it is not there, is read-only, is in use by a profile, was changed meanwhile, or cannot be so.
pub fn update(tx: &Tx<'_>, id: Uuid, if_match: Option<&str>, new: &BuildPlanBody) -> Result<BuildPlan> {
    let old = get(tx, id)?;
    old.envelope.check(KIND, if_match)?;
    let new = &keep_passwords(&old.attributes, new);
    if new.oe_build_plan_type != old.plan_type {
        let message =
            format!("the type of a build plan never changes; this one is of type {}", old.plan_type);
        return Err(Error::invalid("oeBuildPlanType", message));
    }
    let settled = settle(tx, new, Origin::Written);
    if let Ok((steps, attributes)) = &settled {
        let said = (new.name.as_str(), &new.description, steps, attributes, new.hp_provided);
        let is = (
            old.envelope.name.as_str(),
            &old.envelope.description,
            &old.steps,
            &old.attributes,
            old.read_only,
        );
        if said == is {
            return Ok(old);
        }
    }
    check_editable(KIND, &old.envelope.name, old.read_only, profiles(tx, id)?)?;
    check_free(tx, id)?;
    let (steps, attributes) = settled?;
    let envelope = old.envelope.changed(tx, new.name.as_str(), &new.description)?;
    let changed =
        BuildPlan { envelope, plan_type: old.plan_type, steps, attributes, read_only: new.hp_provided };
    write(tx, &changed)?;
    tx.changed(KIND, id, &changed.envelope.name, Changed::Updated);
    deployment_plans::follow(tx, id, &old.attributes, &changed.attributes)?;
    Ok(changed)
}

/// A password is never told, so null is what a client sends back for it.
fn keep_passwords(old: &[CustomAttribute], new: &BuildPlanBody) -> BuildPlanBody {
    let mut new = new.clone();
    for attribute in &mut new.custom_attributes {
        let before = position(old, &attribute.name).map(|at| &old[at]);
        if attribute.kind == AttributeType::Password && attribute.value.is_none() {
            attribute.value = before.and_then(|before| before.value.clone());
        }
    }
    new
}

/// Removes one that no deployment plan uses.
///
/// # Errors
/// When it is not there, was changed meanwhile, or is in use.
pub fn remove(tx: &Tx<'_>, id: Uuid, if_match: Option<&str>) -> Result<()> {
    let old = get(tx, id)?;
    old.envelope.check(KIND, if_match)?;
    chain::check_unused(KIND, &old.envelope.name, used_by(tx, id)?)?;
    holds::check_free(tx, KIND, id)?;
    tx.execute("DELETE FROM build_plans WHERE id = ?1", [id.to_string()])?;
    tx.changed(KIND, id, &old.envelope.name, Changed::Deleted);
    Ok(())
}

/// The deployment plans that use it.
///
/// # Errors
/// The database's.
pub fn used_by(tx: &Tx<'_>, id: Uuid) -> Result<Vec<User>> {
    let sql = "SELECT id, name FROM deployment_plans WHERE build_plan_id = ?1 ORDER BY name";
    users(tx, Kind::DeploymentPlan, sql, [id.to_string()])
}

fn profiles(tx: &Tx<'_>, id: Uuid) -> Result<Vec<User>> {
    let sql =
        "SELECT r.id, r.name FROM server_profiles r JOIN deployment_plans d ON d.id = r.deployment_plan_id
               WHERE d.build_plan_id = ?1 ORDER BY r.name";
    users(tx, Kind::ServerProfile, sql, [id.to_string()])
}

fn check_free(tx: &Tx<'_>, id: Uuid) -> Result<()> {
    holds::check_free(tx, KIND, id)?;
    let sql = "SELECT id FROM deployment_plans WHERE build_plan_id = ?1";
    chain::check_all_free(tx, Kind::DeploymentPlan, sql, &id.to_string())
}

fn read(tx: &Tx<'_>, row: &Row<'_>) -> rusqlite::Result<BuildPlan> {
    Ok(BuildPlan {
        envelope: Envelope::read(row)?,
        plan_type: plan_type(row, 6)?,
        steps: Vec::new(),
        attributes: of_column(tx.sealer(), Column::BuildPlan, row, 7)?,
        read_only: row.get(8)?,
    })
}

fn write(tx: &Tx<'_>, plan: &BuildPlan) -> Result<()> {
    let e = &plan.envelope;
    let id = e.id.to_string();
    let sql = "INSERT INTO build_plans
                   (id, name, description, created_ms, modified_ms, revision, plan_type, attributes, read_only)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
               ON CONFLICT (id) DO UPDATE SET name = ?2, description = ?3, modified_ms = ?5, revision = ?6,
                   attributes = ?8, read_only = ?9";
    let values = params![
        id,
        e.name,
        e.description,
        e.created_ms,
        e.modified_ms,
        e.revision,
        plan.plan_type.as_str(),
        to_column(tx.sealer(), Column::BuildPlan, &e.id.to_string(), &plan.attributes)?,
        plan.read_only
    ];
    tx.prepare_cached(sql)?.execute(values).map_err(|error| Error::of_write(error, KIND, &e.name))?;
    tx.prepare_cached("DELETE FROM build_plan_steps WHERE build_plan_id = ?1")?.execute([&id])?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO build_plan_steps (build_plan_id, position, plan_script_id, parameters) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (index, step) in plan.steps.iter().enumerate() {
        insert.execute(params![id, index + 1, step.script.to_string(), step.parameters])?;
    }
    Ok(())
}
