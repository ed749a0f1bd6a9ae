//! Which artifacts are in a bundle: those that were asked for, and all that they need.

use std::collections::BTreeMap;

use api::{BundleChoice, NewArtifactBundle};
use uuid::Uuid;

use crate::catalog::build_plans::{self, BuildPlan};
use crate::catalog::deployment_plans::{self, DeploymentPlan};
use crate::catalog::golden_images::{self, GoldenImage};
use crate::catalog::plan_scripts::{self, PlanScript};
use crate::catalog::{Error, Result, Tx};

/// Artifacts for a bundle, each with whether it is to be read-only where it is extracted.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    pub(crate) scripts: BTreeMap<Uuid, (PlanScript, bool)>,
    pub(crate) build_plans: BTreeMap<Uuid, (BuildPlan, bool)>,
    pub(crate) plans: BTreeMap<Uuid, (DeploymentPlan, bool)>,
    pub(crate) images: BTreeMap<Uuid, (GoldenImage, bool)>,
}

/// What was asked for.
pub(crate) fn choose(tx: &Tx<'_>, new: &NewArtifactBundle) -> Result<Chosen> {
    let mut chosen = Chosen::default();
    for choice in &new.deployment_plans {
        chosen.plan(tx, deployment_plans::find(tx, &choice.resource_uri)?, choice.read_only)?;
    }
    for choice in &new.build_plans {
        chosen.build_plan(tx, build_plans::find(tx, &choice.resource_uri)?, choice.read_only)?;
    }
    for BundleChoice { resource_uri, read_only } in &new.plan_scripts {
        chosen.script(plan_scripts::find(tx, resource_uri)?, *read_only);
    }
    for BundleChoice { resource_uri, read_only } in &new.golden_images {
        chosen.image(golden_images::find(tx, resource_uri)?, *read_only);
    }
    match chosen.is_empty() {
        true => Err(Error::invalid("deploymentPlans", "a bundle needs at least one artifact")),
        false => Ok(chosen),
    }
}

/// All artifacts that there are: a backup.
pub(crate) fn choose_all(tx: &Tx<'_>) -> Result<Chosen> {
    let mut chosen = Chosen::default();
    for plan in deployment_plans::list(tx)? {
        let read_only = plan.read_only;
        chosen.plan(tx, plan, read_only)?;
    }
    for plan in build_plans::list(tx)? {
        let read_only = plan.read_only;
        chosen.build_plan(tx, plan, read_only)?;
    }
    for script in plan_scripts::list(tx)? {
        let read_only = script.read_only;
        chosen.script(script, read_only);
    }
    for image in golden_images::list(tx)? {
        let read_only = image.read_only;
        chosen.image(image, read_only);
    }
    Ok(chosen)
}

impl Chosen {
    fn is_empty(&self) -> bool {
        self.scripts.is_empty()
            && self.build_plans.is_empty()
            && self.plans.is_empty()
            && self.images.is_empty()
    }

    fn plan(&mut self, tx: &Tx<'_>, plan: DeploymentPlan, read_only: bool) -> Result<()> {
        let build_plan = build_plans::get(tx, plan.build_plan)?;
        let locked = build_plan.read_only;
        self.build_plan(tx, build_plan, locked)?;
        if let Some(image) = plan.golden_image {
            let image = golden_images::get(tx, image)?;
            let locked = image.read_only;
            self.image(image, locked);
        }
        let read_only = read_only || plan.read_only;
        self.plans.insert(plan.envelope.id, (plan, read_only));
        Ok(())
    }

    fn build_plan(&mut self, tx: &Tx<'_>, plan: BuildPlan, read_only: bool) -> Result<()> {
        for step in &plan.steps {
            let script = plan_scripts::get(tx, step.script)?;
            let locked = script.read_only;
            self.script(script, locked);
        }
        let was = self.build_plans.get(&plan.envelope.id).is_some_and(|(_, was)| *was);
        let read_only = read_only || plan.read_only || was;
        self.build_plans.insert(plan.envelope.id, (plan, read_only));
        Ok(())
    }

    fn script(&mut self, script: PlanScript, read_only: bool) {
        let was = self.scripts.get(&script.envelope.id).is_some_and(|(_, was)| *was);
        let read_only = read_only || script.read_only || was;
        self.scripts.insert(script.envelope.id, (script, read_only));
    }

    fn image(&mut self, image: GoldenImage, read_only: bool) {
        let was = self.images.get(&image.envelope.id).is_some_and(|(_, was)| *was);
        let read_only = read_only || image.read_only || was;
        self.images.insert(image.envelope.id, (image, read_only));
    }
}
