//! What a deployment plan's scripts are filled in with for one profile.
//!
//! ```text
//!   script's default ─► build plan ─► deployment plan ─► profile        what is further to the right counts
//! ```
//! A script's default is taken over when a build plan is made of it. A text or a password that is empty everywhere is
//! filled in as nothing at all, for it may be optional; an attribute of another type has no value then, and the default
//! that stands in the script counts where there is one.

use std::collections::HashMap;

use api::{AttributeType, PlanType};
use script::{Step, Values};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::connections::Network;
use super::deployment_plans::{self, DeploymentPlan};
use super::effective::{Effective, Resolved};
use super::interface_values::{Given, Interface};
use super::profiles::{Attribute, Profile};
use super::{Error, Result, Tx, build_plans, hardware, plan_scripts};

/// How many connections a server boots by at most.
const INITIATORS: usize = 2;

/// For whom scripts are filled in.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Values of the plan's attributes.
    pub attributes: &'a [Attribute],
    /// The server that it is for.
    pub hardware: Option<Uuid>,
    /// Fields of OneView's clients: connections are among them.
    pub extra: &'a Map<String, Value>,
}

impl<'a> From<&'a Profile> for Target<'a> {
    fn from(profile: &'a Profile) -> Self {
        Self { attributes: &profile.attributes, hardware: profile.hardware, extra: &profile.extra }
    }
}

/// The steps of a build plan as they are run: all its scripts.
///
/// # Errors
/// When there is no such plan.
pub fn script_steps(tx: &Tx<'_>, build_plan: Uuid) -> Result<Vec<Step>> {
    let steps = build_plans::get(tx, build_plan)?.steps;
    let step = |step: build_plans::Step| {
        let script = plan_scripts::get(tx, step.script)?;
        let has_attributes = script.plan_type == PlanType::Deploy;
        Ok(Step { name: script.envelope.name, content: script.content, has_attributes })
    };
    steps.into_iter().map(step).collect()
}

/// The values that a deployment plan's scripts have for a profile, or for what would be one.
///
/// # Errors
/// Those of [`DeploymentPlan::effective`], and for a value that no line can hold. The field at fault is the attribute's
/// name.
pub fn script_values<'a>(tx: &Tx<'_>, plan: Uuid, target: impl Into<Target<'a>>) -> Result<Values> {
    let target = target.into();
    let plan = deployment_plans::get(tx, plan)?;
    let given = target.attributes.iter().map(|one| (one.name.as_str(), one.value.as_deref()));
    let effective = plan.effective(given)?;
    let server = target.hardware.map(|id| hardware::get(tx, id)).transpose()?;
    let cards = server.as_ref().map_or(&[][..], |server| &server.facts.mac_addresses);
    let network = Network::of(target.extra, cards);
    fill(&plan, &effective, &defaults(&script_steps(tx, plan.build_plan)?), &network)
}

/// The values that a plan's scripts have before anybody assigns it to a profile: what profiles must give has none.
///
/// # Errors
/// When there is no such plan, and for a value that no line can hold.
pub fn plan_values(tx: &Tx<'_>, plan: Uuid) -> Result<Values> {
    let plan = deployment_plans::get(tx, plan)?;
    let resolved = |attribute: &api::CustomAttribute| Resolved {
        name: attribute.name.clone(),
        value: attribute.value.clone(),
        secret: attribute.kind == AttributeType::Password,
    };
    let attributes = plan.attributes.iter().map(resolved).collect();
    let effective = Effective { attributes, volume_size_bytes: None };
    fill(&plan, &effective, &defaults(&script_steps(tx, plan.build_plan)?), &Network::default())
}

/// The first default that a script gives each name, in lower case.
fn defaults(steps: &[Step]) -> HashMap<String, String> {
    let mut found = HashMap::new();
    let lines = steps.iter().filter(|step| step.has_attributes).flat_map(|step| step.content.lines());
    for one in lines.flat_map(script::placeholder::of_line) {
        if let Some(default) = one.default {
            found.entry(one.full_name().to_ascii_lowercase()).or_insert_with(|| default.to_owned());
        }
    }
    found
}

fn fill(
    plan: &DeploymentPlan,
    effective: &Effective,
    defaults: &HashMap<String, String>,
    network: &Network,
) -> Result<Values> {
    let mut values = Values::new();
    fill_system(&mut values, network);
    let (own, members) = effective.attributes.split_at(plan.attributes.len().min(effective.attributes.len()));
    let mut interfaces = 0;
    for (attribute, resolved) in plan.attributes.iter().zip(own) {
        match attribute.kind {
            AttributeType::Nic => {
                let given = given(&attribute.name, members)?;
                let interface = Interface { attribute, place: interfaces, given: &given };
                interface
                    .fill(&mut values, network, |full| defaults.get(&full.to_ascii_lowercase()).cloned());
                interfaces += 1;
            }
            kind => fill_one(&mut values, kind, resolved)?,
        }
    }
    Ok(values)
}

fn fill_one(values: &mut Values, kind: AttributeType, resolved: &Resolved) -> Result<()> {
    let value = resolved.value.as_deref().unwrap_or_default();
    let may_be_empty = matches!(kind, AttributeType::String | AttributeType::Password);
    if may_be_empty || !value.is_empty() {
        check_line(&resolved.name, value)?;
        values.set(&resolved.name, value, resolved.secret);
    }
    Ok(())
}

/// What a profile says of an interface.
fn given(interface: &str, members: &[Resolved]) -> Result<Given> {
    let mut given = Given::default();
    for one in members {
        let Some((base, member)) = one.name.rsplit_once('.') else { continue };
        if base.eq_ignore_ascii_case(interface) {
            let value = one.value.as_deref().unwrap_or_default();
            check_line(&one.name, value)?;
            given.set(member, value);
        }
    }
    Ok(given)
}

/// The system's own names. What is not known has no value: a script that asks for it is refused before it runs.
fn fill_system(values: &mut Values, network: &Network) {
    for number in 1..=INITIATORS {
        let Some(found) = network.initiator(number) else { continue };
        let address = |address: Option<std::net::Ipv4Addr>| address.map(|address| address.to_string());
        let known = [
            ("mac", found.mac.clone()),
            ("ip", address(found.address)),
            ("netmask", address(found.netmask)),
            ("gateway", address(found.gateway)),
        ];
        for (member, value) in known {
            if let Some(value) = value {
                values.set(&format!("_Initiator{number}.{member}"), value, false);
            }
        }
    }
}

/// A plan of a bundle may have values that nobody checked.
fn check_line(name: &str, value: &str) -> Result<()> {
    match value.chars().any(char::is_control) {
        true => Err(Error::invalid(
            name,
            format!(
                "the value of {name:?} has a line end or another control character: no script takes that"
            ),
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
#[path = "script_values_tests.rs"]
mod tests;
