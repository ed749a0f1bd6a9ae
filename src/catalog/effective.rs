//! What a profile's values make of a plan: every attribute with the value that holds.

use std::collections::HashSet;

use api::{AttributeType, CustomAttribute};
use uuid::Uuid;

use super::build_plans::position;
use super::{Error, Result, Tx, attributes, deployment_plans};

/// Most values of a profile.
const VALUES_MAX: usize = 4096;

/// A plan's attributes with the values that hold for one profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// All attributes, and the members of network interfaces (`NIC1.ipaddress`) that have a value.
    pub attributes: Vec<Resolved>,
    /// Size of the volume, where an attribute says it.
    pub volume_size_bytes: Option<u64>,
}

/// An attribute's value.
#[derive(Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Its name.
    pub name: String,
    /// The value; none for a network interface that is not used.
    pub value: Option<String>,
    /// It is a password.
    pub secret: bool,
}

/// A value may be a password: it is not for logs.
impl std::fmt::Debug for Resolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolved").field("name", &self.name).finish_non_exhaustive()
    }
}

impl deployment_plans::DeploymentPlan {
    /// What these values make of it.
    ///
    /// # Errors
    /// For a value that its attribute does not take, an attribute that is not there, and one that needs a value and has
    /// none. The field at fault is the attribute's name.
    pub fn effective<'a>(
        &self,
        values: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
    ) -> Result<Effective> {
        let mut given = Given::default();
        for (name, value) in values {
            given.take(self, name, value)?;
        }
        let mut effective = Vec::new();
        for (index, attribute) in self.attributes.iter().enumerate() {
            let own = given.values.iter().find(|(at, _)| *at == index).map(|(_, value)| value.clone());
            let value = own.or_else(|| attribute.value.clone());
            self.check_present(attribute, value.as_deref())?;
            let secret = attribute.kind == AttributeType::Password;
            effective.push(Resolved { name: attribute.name.clone(), value, secret });
        }
        let size = effective.iter().find(|one| one.name.eq_ignore_ascii_case(attributes::VOLUME_SIZE));
        let size =
            size.and_then(|one| one.value.clone().filter(|value| !value.is_empty()).map(|v| (&one.name, v)));
        let volume_size_bytes = size
            .map(|(name, value)| {
                attributes::volume_size_bytes(&value).map_err(|error| Error::invalid(name, error))
            })
            .transpose()?;
        if volume_size_bytes.is_none() && self.golden_image.is_none() {
            let message = format!(
                "deployment plan {:?} has no golden image, so the attribute {} must say how large the volume is, in MiB",
                self.envelope.name,
                attributes::VOLUME_SIZE
            );
            return Err(Error::invalid(attributes::VOLUME_SIZE, message));
        }
        effective.extend(given.members);
        Ok(Effective { attributes: effective, volume_size_bytes })
    }

    fn check_present(&self, attribute: &CustomAttribute, value: Option<&str>) -> Result<()> {
        let has_none = value.is_none_or(str::is_empty);
        let shown = attribute.visible != Some(false);
        if has_none && shown && attributes::needs_value(attribute, self.golden_image.is_some()) {
            let plan = &self.envelope.name;
            let message =
                format!("deployment plan {plan:?} needs a value for the attribute {:?}", attribute.name);
            return Err(Error::invalid(&attribute.name, message));
        }
        Ok(())
    }
}

/// What a profile gives.
#[derive(Default)]
struct Given {
    /// By place of the attribute.
    values: Vec<(usize, String)>,
    members: Vec<Resolved>,
    seen: HashSet<String>,
}

impl Given {
    fn take(
        &mut self,
        plan: &deployment_plans::DeploymentPlan,
        name: &str,
        value: Option<&str>,
    ) -> Result<()> {
        if self.seen.len() >= VALUES_MAX {
            return Err(Error::invalid(
                "osCustomAttributes",
                format!("there are more than {VALUES_MAX} values"),
            ));
        }
        if !self.seen.insert(name.to_ascii_lowercase()) {
            return Err(Error::invalid(name, format!("the attribute {name:?} is there twice")));
        }
        if let Some(at) = position(&plan.attributes, name) {
            return self.take_value(&plan.attributes[at], at, value);
        }
        let (base, member) = name.rsplit_once('.').ok_or_else(|| unknown(plan, name))?;
        let at = position(&plan.attributes, base).ok_or_else(|| unknown(plan, name))?;
        let attribute = &plan.attributes[at];
        if attribute.kind != AttributeType::Nic {
            return Err(Error::invalid(
                name,
                format!("{base:?} is no network interface: it has no {member:?}"),
            ));
        }
        let Some(value) = value else { return Ok(()) };
        attributes::check_member(member, value).map_err(|error| wrong(name, &error))?;
        self.members.push(Resolved { name: name.to_owned(), value: Some(value.to_owned()), secret: false });
        Ok(())
    }

    fn take_value(&mut self, attribute: &CustomAttribute, at: usize, value: Option<&str>) -> Result<()> {
        let Some(value) = value else { return Ok(()) };
        if attribute.value.as_deref() == Some(value) {
            return Ok(());
        }
        // Clients send a network interface's own value as an empty text.
        if attribute.kind == AttributeType::Nic && value.is_empty() {
            return Ok(());
        }
        if attribute.visible == Some(false) || attribute.editable == Some(false) {
            let name = &attribute.name;
            return Err(Error::invalid(
                name,
                format!("the plan does not let profiles change the attribute {name:?}"),
            ));
        }
        if !value.is_empty() {
            attributes::check_value(attribute, value).map_err(|error| wrong(&attribute.name, &error))?;
        }
        self.values.push((at, value.to_owned()));
        Ok(())
    }
}

fn wrong(name: &str, error: &str) -> Error {
    Error::invalid(name, format!("attribute {name:?}: {error}"))
}

fn unknown(plan: &deployment_plans::DeploymentPlan, name: &str) -> Error {
    let near = api::nearest(name, plan.attributes.iter().map(|known| known.name.as_str()));
    let near = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
    let message = format!("deployment plan {:?} has no attribute {name:?}{near}", plan.envelope.name);
    Error::invalid(name, message)
}

/// [`deployment_plans::DeploymentPlan::effective`] of the plan with this id.
///
/// # Errors
/// The same, and when there is no such plan.
pub fn check_attributes<'a>(
    tx: &Tx<'_>,
    plan: Uuid,
    values: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
) -> Result<Effective> {
    deployment_plans::get(tx, plan)?.effective(values)
}

/// The plan's attributes whose values nobody is shown.
///
/// # Errors
/// When there is no such plan.
pub fn secret_names(tx: &Tx<'_>, plan: Uuid) -> Result<Vec<String>> {
    let attributes = deployment_plans::get(tx, plan)?.attributes;
    let secrets = attributes.into_iter().filter(|attribute| attribute.kind == AttributeType::Password);
    Ok(secrets.map(|attribute| attribute.name).collect())
}
