//! The scripts of a plan with the values that hold: filled in while nothing has happened yet, so that what is missing or
//! wrong is told before anything is done.

use std::sync::Arc;

use script::{Expanded, Fault};

use crate::catalog::deployment_plans::{script_steps, script_values};
use crate::catalog::profiles::Profile;
use crate::catalog::{Error, Result, Tx};
use crate::lifecycle::placement::Plan;

/// The plan's scripts; `None` when it has no steps.
pub(super) fn expand(tx: &Tx<'_>, plan: &Plan, profile: &Profile) -> Result<Option<Arc<Expanded>>> {
    if plan.scripts == 0 {
        return Ok(None);
    }
    let steps = script_steps(tx, plan.build_plan)?;
    let values = script_values(tx, plan.id, profile)?;
    script::expand(&steps, &values)
        .map(|expanded| Some(Arc::new(expanded)))
        .map_err(|faults| told(plan, &faults))
}

/// The first fault, and how many more there are.
fn told(plan: &Plan, faults: &[Fault]) -> Error {
    let field = faults.iter().find_map(|fault| fault.attribute.clone());
    let first = faults.first().map(ToString::to_string).unwrap_or_default();
    let more = match faults.len() {
        0 | 1 => String::new(),
        many => format!(" (and {} more)", many - 1),
    };
    let message = format!("deployment plan {:?} cannot be run: {first}{more}", plan.name);
    Error::invalid(field.as_deref().unwrap_or("osDeploymentPlanUri"), message)
}
