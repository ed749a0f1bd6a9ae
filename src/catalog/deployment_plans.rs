//! Deployment plans: a golden image, a build plan, and values for what it leaves open.

use api::{
    AttributeType, CloudInit, CloudInitChange, CustomAttribute, DeploymentPlanBody, KEEP_GENERATIONS_DEFAULT,
    KEEP_GENERATIONS_MAX, PlanType,
};
use rusqlite::{Row, params};
use uuid::Uuid;

use super::build_plans::{self, BuildPlan, Origin, position};
use super::chain::{self, User, check_editable, to_json, users};
use super::sealed::{Column, of_column, to_column};
use super::{
    Changed, Envelope, Error, Kind, Result, Tx, attributes, golden_images, holds, placeholders, uuid,
    uuid_or_null,
};
use crate::seed;

pub use super::effective::{Effective, Resolved, check_attributes, secret_names};
pub use super::script_values::{Target, plan_values, script_steps, script_values};

const KIND: Kind = Kind::DeploymentPlan;
const TABLE: &str = "deployment_plans";
const COLUMNS: &str =
    "build_plan_id, golden_image_id, keep_generations, attributes, read_only, imported, cloud_init";

/// A deployment plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentPlan {
    /// Id, name and history.
    pub envelope: Envelope,
    /// Its build plan.
    pub build_plan: Uuid,
    /// Its golden image; none: volumes begin empty.
    pub golden_image: Option<Uuid>,
    /// How many former generations of a volume are kept.
    pub keep_generations: u64,
    /// The build plan's attributes with this plan's values. Passwords are among them.
    pub attributes: Vec<CustomAttribute>,
    /// It is never edited.
    pub read_only: bool,
    /// It came in a bundle.
    pub imported: bool,
    /// What cloud-init or Ignition finds beside its volumes.
    pub cloud_init: Option<CloudInit>,
}

/// Adds one.
///
/// # Errors
/// When something in it cannot be, what it refers to is not there, or its name is taken.
pub fn insert(tx: &Tx<'_>, new: &DeploymentPlanBody, origin: Origin) -> Result<DeploymentPlan> {
    let plan = settle(tx, Envelope::new(tx, new.name.as_str(), &new.description)?, None, new, origin)?;
    write(tx, &plan)?;
    tx.changed(KIND, plan.envelope.id, &plan.envelope.name, Changed::Created);
    Ok(plan)
}

/// Adds one that is right in itself.
pub(super) fn add(tx: &Tx<'_>, plan: &DeploymentPlan) -> Result<()> {
    write(tx, plan)?;
    tx.changed(KIND, plan.envelope.id, &plan.envelope.name, Changed::Created);
    Ok(())
}

/// A plan as it will be, under an envelope that is not changed here.
fn settle(
    tx: &Tx<'_>,
    envelope: Envelope,
    old: Option<&DeploymentPlan>,
    new: &DeploymentPlanBody,
    origin: Origin,
) -> Result<DeploymentPlan> {
    let build_plan = build_plans::find(tx, &new.oe_build_plan_uri)?;
    if build_plan.plan_type != PlanType::Deploy {
        let message =
            format!("build plan {:?} captures; one that deploys is needed", build_plan.envelope.name);
        return Err(Error::invalid("oeBuildPlanURI", message));
    }
    let image = new.golden_image_uri.as_deref().map(|image| golden_images::find(tx, image)).transpose()?;
    let before = old.map_or(KEEP_GENERATIONS_DEFAULT, |old| old.keep_generations);
    let keep_generations = new.keep_generations.unwrap_or(before);
    if keep_generations > KEEP_GENERATIONS_MAX {
        let message =
            format!("keepGenerations is {keep_generations}; 0 to {KEEP_GENERATIONS_MAX} are allowed");
        return Err(Error::invalid("keepGenerations", message));
    }
    if let Some(image) = &image {
        holds::check_steady(tx, Kind::GoldenImage, image.envelope.id.simple())?;
    }
    let cloud_init = match &new.cloud_init {
        CloudInitChange::Stays => old.and_then(|old| old.cloud_init.clone()),
        CloudInitChange::None => None,
        CloudInitChange::Some(option) => Some((**option).clone()),
    };
    if let Some(option) = &cloud_init {
        seed::check_option(option)
            .map_err(|(field, error)| Error::invalid("cloudInit", format!("{field}: {error}")))?;
    }
    Ok(DeploymentPlan {
        envelope,
        golden_image: image.map(|image| image.envelope.id),
        keep_generations,
        attributes: settle_attributes(&build_plan, old, &new.custom_attributes, cloud_init.as_ref(), origin)?,
        cloud_init,
        build_plan: build_plan.envelope.id,
        read_only: new.hp_provided,
        imported: old.map_or(origin == Origin::Bundle, |old| old.imported),
    })
}

/// The build plan's attributes, each with what is said here, what was said before, or what the build plan says.
fn settle_attributes(
    build_plan: &BuildPlan,
    old: Option<&DeploymentPlan>,
    said: &[CustomAttribute],
    cloud_init: Option<&CloudInit>,
    origin: Origin,
) -> Result<Vec<CustomAttribute>> {
    let before = old.map_or(&[][..], |old| &old.attributes);
    build_plans::check_count(said.len())?;
    for (index, attribute) in said.iter().enumerate() {
        let known = position(&build_plan.attributes, &attribute.name).or(position(before, &attribute.name));
        if known.is_none() && origin == Origin::Written && cloud_init.is_none() {
            return Err(unknown(build_plan, &attribute.name));
        }
        if position(&said[..index], &attribute.name).is_some() {
            let message = format!("the attribute {:?} is there twice", attribute.name);
            return Err(Error::invalid("customAttributes", message));
        }
    }
    let base = with_own(&build_plan.attributes, cloud_init, before, said);
    for own in base.iter().skip(build_plan.attributes.len()).filter(|_| origin == Origin::Written) {
        attributes::check_definition(own).map_err(|error| {
            Error::invalid("customAttributes", format!("attribute {:?}: {error}", own.name))
        })?;
    }
    build_plans::check_count(base.len())?;
    let settled: Vec<CustomAttribute> =
        base.iter().map(|base| settle_attribute(base, before, said)).collect();
    for attribute in settled.iter().filter(|_| origin == Origin::Written) {
        if let Some(value) = attribute.value.as_deref().filter(|value| !value.is_empty()) {
            attributes::check_value(attribute, value).map_err(|error| {
                Error::invalid("customAttributes", format!("attribute {:?}: {error}", attribute.name))
            })?;
        }
    }
    Ok(settled)
}

/// The build plan's attributes, and those that a plan with a seed has beside them: what is said here or was said before,
/// and what only the seed's templates name.
fn with_own(
    base: &[CustomAttribute],
    cloud_init: Option<&CloudInit>,
    before: &[CustomAttribute],
    said: &[CustomAttribute],
) -> Vec<CustomAttribute> {
    let mut all = base.to_vec();
    let Some(option) = cloud_init else { return all };
    for own in if said.is_empty() { before } else { said } {
        if position(&all, &own.name).is_none() {
            // Who says no more than a value leaves the rest as it was.
            let is_plain = own.kind == AttributeType::String && own.constraints.is_empty();
            let known = position(before, &own.name).filter(|_| is_plain).map(|at| &before[at]);
            let own = known.unwrap_or(own).clone();
            all.push(CustomAttribute { id: None, visible: None, editable: None, ..own });
        }
    }
    for placeholder in placeholders::of_texts(option.templates().map(|(_, text)| text)) {
        if position(&all, &placeholder.name).is_none() {
            all.push(placeholder.attribute());
        }
    }
    all
}

fn settle_attribute(
    base: &CustomAttribute,
    before: &[CustomAttribute],
    said: &[CustomAttribute],
) -> CustomAttribute {
    let said = position(said, &base.name).map(|at| &said[at]);
    let before = position(before, &base.name).map(|at| &before[at]);
    // What was a password and is one no more would be shown.
    let is_secret = |one: &CustomAttribute| one.kind == AttributeType::Password;
    let old = before.filter(|before| is_secret(base) || !is_secret(before));
    let value = said.and_then(|said| said.value.clone());
    let value = value.or_else(|| old.map_or(base.value.clone(), |old| old.value.clone()));
    let own_id = |one: &CustomAttribute| one.id.clone().filter(|id| Uuid::try_parse(id).is_ok());
    let id = before.and_then(own_id).or_else(|| said.and_then(own_id));
    let flag = |of: fn(&CustomAttribute) -> Option<bool>| said.and_then(of).or_else(|| before.and_then(of));
    CustomAttribute {
        value: value.filter(|_| base.kind != AttributeType::Nic),
        id: Some(id.unwrap_or_else(|| Uuid::new_v4().to_string())),
        visible: Some(flag(|one| one.visible).unwrap_or(true)),
        editable: Some(flag(|one| one.editable).unwrap_or(true)),
        ..base.clone()
    }
}

fn unknown(build_plan: &BuildPlan, name: &str) -> Error {
    let near = api::nearest(name, build_plan.attributes.iter().map(|known| known.name.as_str()));
    let near = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
    let plan = &build_plan.envelope.name;
    Error::invalid("customAttributes", format!("build plan {plan:?} has no attribute {name:?}{near}"))
}

/// Whether a plan is what adding a bundle's would make, but for its words, and for passwords, which no bundle has.
///
/// # Errors
/// When that could not be added.
pub fn is_as(tx: &Tx<'_>, plan: &DeploymentPlan, new: &DeploymentPlanBody) -> Result<bool> {
    let other = settle(tx, plan.envelope.clone(), None, new, Origin::Bundle)?;
    let told = |one: &CustomAttribute| CustomAttribute {
        id: None,
        value: one.value.clone().filter(|_| one.kind != AttributeType::Password),
        ..one.clone()
    };
    let keeps = new.keep_generations.is_none_or(|keep| keep == plan.keep_generations);
    Ok(keeps
        && (other.build_plan, other.golden_image) == (plan.build_plan, plan.golden_image)
        && other.cloud_init == plan.cloud_init
        && other.attributes.iter().map(told).eq(plan.attributes.iter().map(told)))
}

/// The one that a path (of either side), an id or a name means.
///
/// # Errors
/// When there is none.
pub fn find(tx: &Tx<'_>, reference: &str) -> Result<DeploymentPlan> {
    let twin = reference.strip_prefix(api::OS_DEPLOYMENT_PLANS).and_then(|rest| rest.strip_prefix('/'));
    get(tx, super::id_of(tx, KIND, TABLE, twin.unwrap_or(reference))?)
}

/// The one with this id.
///
/// # Errors
/// When there is none.
pub fn get(tx: &Tx<'_>, id: Uuid) -> Result<DeploymentPlan> {
    let sql = format!("SELECT {}, {COLUMNS} FROM {TABLE} WHERE id = ?1", Envelope::COLUMNS);
    let found = tx.prepare_cached(&sql)?.query_row([id.to_string()], |row| read(tx, row));
    chain::found(found, KIND, &id)
}

/// All of them, by name.
///
/// # Errors
/// The database's.
pub fn list(tx: &Tx<'_>) -> Result<Vec<DeploymentPlan>> {
    let sql = format!("SELECT {}, {COLUMNS} FROM {TABLE} ORDER BY name", Envelope::COLUMNS);
    let mut statement = tx.prepare_cached(&sql)?;
    Ok(statement.query_map([], |row| read(tx, row))?.collect::<rusqlite::Result<_>>()?)
}

/// Changes one, as a whole.
///
/// # Errors
/// When it is not there, is read-only, is in use by a profile, was changed meanwhile, or cannot be so.
pub fn update(
    tx: &Tx<'_>,
    id: Uuid,
    if_match: Option<&str>,
    new: &DeploymentPlanBody,
) -> Result<DeploymentPlan> {
    let old = get(tx, id)?;
    old.envelope.check(KIND, if_match)?;
    let settled = settle(tx, old.envelope.clone(), Some(&old), new, Origin::Written);
    let same_words = (new.name.as_str(), &new.description) == (&old.envelope.name, &old.envelope.description);
    if same_words && settled.as_ref().is_ok_and(|settled| *settled == old) {
        return Ok(old);
    }
    check_editable(KIND, &old.envelope.name, old.read_only, used_by(tx, id)?)?;
    holds::check_free(tx, KIND, id)?;
    let envelope = old.envelope.changed(tx, new.name.as_str(), &new.description)?;
    let changed = DeploymentPlan { envelope, ..settled? };
    write(tx, &changed)?;
    tx.changed(KIND, id, &changed.envelope.name, Changed::Updated);
    Ok(changed)
}

/// Takes over what has changed in a build plan: types, constraints, attributes that came or went.
pub(super) fn follow(
    tx: &Tx<'_>,
    build_plan: Uuid,
    before: &[CustomAttribute],
    base: &[CustomAttribute],
) -> Result<()> {
    for user in build_plans::used_by(tx, build_plan)? {
        let old = find(tx, &user.id)?;
        let is_own = |one: &&CustomAttribute| position(before, &one.name).is_none();
        let own: Vec<_> = old.attributes.iter().filter(is_own).cloned().collect();
        let base = with_own(base, old.cloud_init.as_ref(), &own, &[]);
        let attributes: Vec<_> =
            base.iter().map(|base| settle_attribute(base, &old.attributes, &[])).collect();
        if attributes == old.attributes {
            continue;
        }
        let envelope = old.envelope.changed(tx, &old.envelope.name, &old.envelope.description)?;
        let changed = DeploymentPlan { envelope, attributes, ..old };
        write(tx, &changed)?;
        tx.changed(KIND, changed.envelope.id, &changed.envelope.name, Changed::Updated);
    }
    Ok(())
}

/// Removes one that no profile uses.
///
/// # Errors
/// When it is not there, was changed meanwhile, or is in use.
pub fn remove(tx: &Tx<'_>, id: Uuid, if_match: Option<&str>) -> Result<()> {
    let old = get(tx, id)?;
    old.envelope.check(KIND, if_match)?;
    chain::check_unused(KIND, &old.envelope.name, used_by(tx, id)?)?;
    holds::check_free(tx, KIND, id)?;
    tx.execute("DELETE FROM deployment_plans WHERE id = ?1", [id.to_string()])?;
    tx.changed(KIND, id, &old.envelope.name, Changed::Deleted);
    Ok(())
}

/// The profiles that use it.
///
/// # Errors
/// The database's.
pub fn used_by(tx: &Tx<'_>, id: Uuid) -> Result<Vec<User>> {
    let sql = "SELECT id, name FROM server_profiles WHERE deployment_plan_id = ?1 ORDER BY name";
    users(tx, Kind::ServerProfile, sql, [id.to_string()])
}

fn read(tx: &Tx<'_>, row: &Row<'_>) -> rusqlite::Result<DeploymentPlan> {
    Ok(DeploymentPlan {
        envelope: Envelope::read(row)?,
        build_plan: uuid(row, 6)?,
        golden_image: uuid_or_null(row, 7)?,
        keep_generations: row.get(8)?,
        attributes: of_column(tx.sealer(), Column::DeploymentPlan, row, 9)?,
        read_only: row.get(10)?,
        imported: row.get(11)?,
        cloud_init: row
            .get::<_, Option<String>>(12)?
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|error| super::bad_column(12, error))?,
    })
}

fn write(tx: &Tx<'_>, plan: &DeploymentPlan) -> Result<()> {
    let e = &plan.envelope;
    let sql = "INSERT INTO deployment_plans
                   (id, name, description, created_ms, modified_ms, revision, build_plan_id, golden_image_id,
                    keep_generations, attributes, read_only, imported, cloud_init)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
               ON CONFLICT (id) DO UPDATE SET name = ?2, description = ?3, modified_ms = ?5, revision = ?6,
                   build_plan_id = ?7, golden_image_id = ?8, keep_generations = ?9, attributes = ?10,
                   read_only = ?11, imported = ?12, cloud_init = ?13";
    let values = params![
        e.id.to_string(),
        e.name,
        e.description,
        e.created_ms,
        e.modified_ms,
        e.revision,
        plan.build_plan.to_string(),
        plan.golden_image.map(|image| image.simple().to_string()),
        plan.keep_generations,
        to_column(tx.sealer(), Column::DeploymentPlan, &e.id.to_string(), &plan.attributes)?,
        plan.read_only,
        plan.imported,
        plan.cloud_init.as_ref().map(to_json).transpose()?
    ];
    tx.prepare_cached(sql)?.execute(values).map_err(|error| Error::of_write(error, KIND, &e.name))?;
    Ok(())
}
