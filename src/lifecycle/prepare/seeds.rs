//! The seed of a cloud image, as far as it can be made before its volume is: what is missing is told before anything is
//! done.

use std::sync::Arc;

use crate::catalog::profiles::Profile;
use crate::catalog::{Error, Result, Tx, deployment_plans};
use crate::lifecycle::placement::Plan;
use crate::seed::{Fault, Source};

/// What the seed of a new volume is made from; `None` when its plan has none.
pub(super) fn source(tx: &Tx<'_>, plan: &Plan, profile: &Profile) -> Result<Option<Arc<Source>>> {
    let row = deployment_plans::get(tx, plan.id)?;
    let Some(option) = row.cloud_init else { return Ok(None) };
    let values = deployment_plans::script_values(tx, plan.id, profile)?;
    let told = |fault: Fault| {
        let message = format!("the seed of deployment plan {:?} cannot be made: {fault}", plan.name);
        Error::invalid(fault.attribute.as_deref().unwrap_or("osDeploymentPlanUri"), message)
    };
    let source = Source::checked(option, &row.attributes, values, &profile.envelope.name).map_err(told)?;
    Ok(Some(Arc::new(source)))
}
