//! What an operation needs to know of servers and plans, looked up for one decision.

use cow::ImageId;
use rusqlite::OptionalExtension;
use uuid::Uuid;

use crate::catalog::{
    Error, Kind, Result, Tx, bad_column, enclosure_groups, hardware, logical_enclosures, uuid, uuid_or_null,
};

/// A server, with the enclosure that it is in.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) e_tag: String,
    pub(super) hardware_type: Uuid,
    pub(super) enclosure: Option<Uuid>,
    pub(super) group: Option<Uuid>,
    pub(super) power: api::PowerState,
    pub(super) initiator_name: Option<String>,
}

/// A server by its id.
pub(super) fn server(tx: &Tx<'_>, id: Uuid) -> Result<Server> {
    let found = hardware::get(tx, id)?;
    let enclosure = found.facts.logical_enclosure;
    let group = enclosure.map(|id| logical_enclosures::get(tx, id)).transpose()?;
    Ok(Server {
        id,
        e_tag: found.envelope.e_tag(),
        name: found.envelope.name,
        hardware_type: found.facts.hardware_type,
        enclosure,
        group: group.map(|enclosure| enclosure.enclosure_group),
        power: found.power_state,
        initiator_name: found.facts.initiator_name,
    })
}

/// Profiles of a group may name a plan only when the group manages OS deployment.
pub(super) fn check_group(tx: &Tx<'_>, group: Uuid) -> Result<()> {
    let group = enclosure_groups::get(tx, group)?;
    match group.facts.manages_os_deployment {
        true => Ok(()),
        false => Err(Error::invalid(
            "osDeploymentSettings",
            format!(
                "enclosure group {:?} does not manage OS deployment; profiles in it have no deployment plan",
                group.envelope.name
            ),
        )),
    }
}

/// What a volume is made from.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) e_tag: String,
    pub(super) build_plan: Uuid,
    pub(super) image: Option<ImageId>,
    pub(super) keep_generations: usize,
    pub(super) scripts: u64,
}

/// A deployment plan by its id.
pub(super) fn plan(tx: &Tx<'_>, id: Uuid) -> Result<Plan> {
    let sql = "SELECT name, modified_ms, revision, build_plan_id, golden_image_id, keep_generations,
                      (SELECT count(*) FROM build_plan_steps WHERE build_plan_id = deployment_plans.build_plan_id)
               FROM deployment_plans WHERE id = ?1";
    let found = tx.prepare_cached(sql)?.query_row([id.to_string()], |row| {
        // The store writes its ids without dashes.
        let image = uuid_or_null(row, 4)?.map(|id| id.simple().to_string().parse::<ImageId>()).transpose();
        let wrong = |_| bad_column(4, Error::invalid("golden_image_id", "it is no id of a golden image"));
        Ok(Plan {
            id,
            name: row.get(0)?,
            e_tag: format!("{}/{}", row.get::<_, u64>(1)?, row.get::<_, u64>(2)?),
            build_plan: uuid(row, 3)?,
            image: image.map_err(wrong)?,
            keep_generations: row.get(5)?,
            scripts: row.get(6)?,
        })
    });
    found.optional()?.ok_or_else(|| Error::NotFound {
        kind: Kind::DeploymentPlan,
        reference: id.to_string(),
        near: None,
    })
}
