//! Extracting: every artifact of a bundle becomes one of the catalog, or none does.
//!
//! What is there already, the same, stays and is used. What is there under the same name and is another is a conflict:
//! the extraction is refused and lists them all, unless names may change. Images come first, each whole in itself; the
//! rest is one transaction. When that fails, the images that came go.

use std::collections::HashMap;
use std::sync::Arc;

use api::{BuildPlanBody, DeploymentPlanBody, ImageFormat, Name, PlanScriptBody, Title};
use cow::ImageId;
use uuid::Uuid;

use super::archive::Archive;
use super::members::{Bundled, ImageBody};
use crate::catalog::build_plans::{self, Origin};
use crate::catalog::golden_images::{self, NewGoldenImage, Source, free_name};
use crate::catalog::{self, Catalog, Error, Kind, Result, Tx, Use, deployment_plans, plan_scripts};
use crate::images::{AddImage, BodyFraming, Importer, reading};

/// Names that are tried before giving up.
const NAMES_TRIED_MAX: u32 = 1_000;

/// What to do about what is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Refuse conflicts, and list them.
    Careful,
    /// Give artifacts that are in conflict another name.
    Rename,
    /// Remove all artifacts first: a backup is restored.
    Replace,
}

/// What came of it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Extracted {
    /// What was made, as people read it.
    pub(crate) made: Vec<String>,
    /// How many artifacts were there already.
    pub(crate) present: usize,
    /// Images that went because the backup does not have them.
    pub(crate) removed_images: Vec<ImageId>,
}

/// A bundle to be extracted.
pub(crate) struct Incoming<'a> {
    pub(crate) archive: &'a Arc<Archive>,
    pub(crate) id: Uuid,
    pub(crate) name: &'a str,
}

/// Extracts a bundle. `hear` is told what happens.
pub(crate) async fn extract(
    catalog: &Arc<Catalog>,
    importer: &Arc<Importer>,
    bundle: Incoming<'_>,
    mode: Mode,
    hear: &(dyn Fn(String) + Send + Sync),
) -> std::result::Result<Extracted, api::Refusal> {
    let archive = bundle.archive.clone();
    let sums = store_sums(importer)?;
    let (catalog_then, first) = (catalog.clone(), archive.clone());
    let plan = blocking(move || {
        catalog_then.read(|tx| {
            if mode == Mode::Replace {
                check_no_profile(tx)?;
            }
            let plan = Plan::of_images(tx, &first, &sums, mode)?;
            plan.check(tx, &first, mode)?;
            Ok(plan)
        })
    })
    .await?;
    let mut images = plan.images;
    let (mut imported, mut names) = (Vec::new(), Vec::new());
    for (index, image) in archive.members.images.iter().enumerate() {
        if let Place::New(name) = &images[index] {
            hear(format!("importing golden image {name:?}"));
            match import(importer, &bundle, image, name).await {
                Ok(id) => {
                    imported.push(id);
                    names.push(format!("{} {name:?}", Kind::GoldenImage));
                    images[index] = Place::There(id);
                }
                Err(mut refusal) => {
                    forget(catalog, importer, imported).await;
                    refusal.message = format!("golden image {name:?}: {}", refusal.message).into();
                    return Err(refusal);
                }
            }
        }
    }
    let (catalog_then, made_images) = (catalog.clone(), imported.len());
    let written = blocking(move || catalog_then.write(|tx| write(tx, &archive, &images, mode))).await;
    match written {
        Ok(mut extracted) => {
            extracted.present -= made_images;
            extracted.made.extend(names);
            Ok(extracted)
        }
        Err(refusal) => {
            forget(catalog, importer, imported).await;
            Err(refusal)
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> std::result::Result<T, api::Refusal> {
    use crate::control::refusals;
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| refusals::of_catalog(&error)),
        Err(error) => Err(refusals::internal("extracting the bundle", &error)),
    }
}

/// Digests of the disks that the store has.
fn store_sums(importer: &Importer) -> std::result::Result<HashMap<Uuid, String>, api::Refusal> {
    let images = importer.store.images().map_err(|error| crate::control::refusals::of_store(&error))?;
    let sum =
        |image: cow::ImageInfo| (Uuid::from_bytes(image.id.0), crate::control::check_sum(&image.digest));
    Ok(images.into_iter().map(sum).collect())
}

/// Where an artifact of the bundle is, or will be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// There already, the same.
    There(Uuid),
    /// To be made, under this name.
    New(String),
}

/// Where the images are.
struct Plan {
    images: Vec<Place>,
    conflicts: Vec<Use>,
}

impl Plan {
    fn of_images(tx: &Tx<'_>, archive: &Archive, sums: &HashMap<Uuid, String>, mode: Mode) -> Result<Self> {
        let mut plan = Self { images: Vec::new(), conflicts: Vec::new() };
        let known = golden_images::list(tx)?;
        for image in &archive.members.images {
            let name = image.body.name.as_str();
            let sum = archive.sum_of(name);
            let is_same = |row: &&golden_images::GoldenImage| {
                let same_disk = image.body.check_sum.is_some()
                    && image.body.check_sum.as_ref() == sums.get(&row.envelope.id);
                let same_file = sum.is_some() && row.bundle_sum.as_deref() == sum;
                same_disk || same_file
            };
            let named = |row: &&golden_images::GoldenImage| row.envelope.name.eq_ignore_ascii_case(name);
            let there = known.iter().filter(named).find(is_same);
            // A backup knows a disk again whatever it is called now.
            let there = there.or_else(|| known.iter().filter(|_| mode == Mode::Replace).find(is_same));
            let place = match there {
                Some(row) => Place::There(row.envelope.id),
                None => Place::New(plan.free(
                    tx,
                    (Kind::GoldenImage, "golden_images"),
                    name,
                    &archive.members.images,
                )?),
            };
            plan.images.push(place);
        }
        Ok(plan)
    }

    /// A free name for an artifact; when it is another one, that is a conflict.
    fn free<T: Named>(
        &mut self,
        tx: &Tx<'_>,
        (kind, table): (Kind, &'static str),
        name: &str,
        others: &[T],
    ) -> Result<String> {
        let is_taken = |candidate: &str| {
            let of_bundle =
                candidate != name && others.iter().any(|one| one.name().eq_ignore_ascii_case(candidate));
            Ok(of_bundle || is_taken(tx, table, candidate)?)
        };
        let free = free_name(name, NAMES_TRIED_MAX, is_taken)?;
        if free != name {
            self.conflicts.push(Use { kind, name: name.to_owned() });
        }
        Ok(free)
    }

    /// Looks for conflicts among all artifacts before any image is imported.
    fn check(&self, tx: &Tx<'_>, archive: &Archive, mode: Mode) -> Result<()> {
        if mode != Mode::Careful {
            return Ok(());
        }
        let mut settled = Settled::new(archive, &self.images, self.conflicts.clone());
        settled.look(tx)?;
        settled.refuse_conflicts()
    }
}

trait Named {
    fn name(&self) -> &str;
}

macro_rules! named {
    ($($body:ty),*) => {
        $(impl Named for Bundled<$body> {
            fn name(&self) -> &str {
                self.body.name.as_str()
            }
        })*
    };
}
named!(PlanScriptBody, BuildPlanBody, DeploymentPlanBody, ImageBody);

fn is_taken(tx: &Tx<'_>, table: &'static str, name: &str) -> Result<bool> {
    use rusqlite::OptionalExtension;
    let sql = format!("SELECT 1 FROM {table} WHERE name = ?1");
    Ok(tx.prepare_cached(&sql)?.query_row([name], |_| Ok(())).optional()?.is_some())
}

/// Where all artifacts are, kind by kind in the order of the chain.
struct Settled<'a> {
    archive: &'a Archive,
    images: &'a [Place],
    scripts: Vec<Place>,
    build_plans: Vec<Place>,
    plans: Vec<Place>,
    plan: Plan,
}

impl<'a> Settled<'a> {
    fn new(archive: &'a Archive, images: &'a [Place], conflicts: Vec<Use>) -> Self {
        let plan = Plan { images: Vec::new(), conflicts };
        Self { archive, images, scripts: Vec::new(), build_plans: Vec::new(), plans: Vec::new(), plan }
    }

    /// Finds what is there, without making anything.
    fn look(&mut self, tx: &Tx<'_>) -> Result<()> {
        for index in 0..self.archive.members.scripts.len() {
            let place = self.script(tx, index)?;
            self.scripts.push(place);
        }
        for index in 0..self.archive.members.build_plans.len() {
            let place = self.build_plan(tx, index)?;
            self.build_plans.push(place);
        }
        for index in 0..self.archive.members.plans.len() {
            let place = self.deployment_plan(tx, index)?;
            self.plans.push(place);
        }
        Ok(())
    }

    fn refuse_conflicts(&self) -> Result<()> {
        match self.plan.conflicts.is_empty() {
            true => Ok(()),
            false => {
                let all: Vec<_> = self.plan.conflicts.iter().map(ToString::to_string).collect();
                let message = format!(
                    "the bundle was not extracted: other artifacts have the names of {}; with forceImport=true \
                     those of the bundle get other names",
                    all.join(", ")
                );
                Err(Error::invalid("forceImport", message))
            }
        }
    }

    fn script(&mut self, tx: &Tx<'_>, index: usize) -> Result<Place> {
        let scripts = &self.archive.members.scripts;
        let new = &scripts[index].body;
        let same = found(plan_scripts::find(tx, new.name.as_str()))?
            .filter(|row| (row.plan_type, &row.content) == (new.plan_type, &new.content));
        match same {
            Some(row) => Ok(Place::There(row.envelope.id)),
            None => Ok(Place::New(self.plan.free(
                tx,
                (Kind::PlanScript, "plan_scripts"),
                new.name.as_str(),
                scripts,
            )?)),
        }
    }

    fn build_plan(&mut self, tx: &Tx<'_>, index: usize) -> Result<Place> {
        let build_plans = &self.archive.members.build_plans;
        let new = &build_plans[index].body;
        let wanted: Option<Vec<Uuid>> =
            new.build_step.iter().map(|step| self.there_is_script(tx, step)).collect();
        let same = found(build_plans::find(tx, new.name.as_str()))?.filter(|row| {
            let steps: Vec<Uuid> = row.steps.iter().map(|step| step.script).collect();
            row.plan_type == new.oe_build_plan_type
                && wanted.as_ref() == Some(&steps)
                && row.has_attributes_of(&new.custom_attributes)
        });
        match same {
            Some(row) => Ok(Place::There(row.envelope.id)),
            None => {
                let kind = (Kind::BuildPlan, "build_plans");
                Ok(Place::New(self.plan.free(tx, kind, new.name.as_str(), build_plans)?))
            }
        }
    }

    fn deployment_plan(&mut self, tx: &Tx<'_>, index: usize) -> Result<Place> {
        let plans = &self.archive.members.plans;
        let new = &plans[index].body;
        let build_plan =
            self.there_is(&self.build_plans, &self.archive.members.build_plans, &new.oe_build_plan_uri);
        let build_plan = match build_plan {
            None => found(build_plans::find(tx, &new.oe_build_plan_uri))?.map(|row| row.envelope.id),
            Some(place) => place,
        };
        let image = match new.golden_image_uri.as_deref() {
            None => Some(None),
            Some(name) => match self.there_is(self.images, &self.archive.members.images, name) {
                None => found(golden_images::find(tx, name))?.map(|row| Some(row.envelope.id)),
                Some(place) => place.map(Some),
            },
        };
        let there = found(deployment_plans::find(tx, new.name.as_str()))?
            .filter(|row| (Some(row.build_plan), Some(row.golden_image)) == (build_plan, image));
        let same = match there {
            Some(row) => {
                let body = self.plan_body(index, new.name.as_str())?;
                deployment_plans::is_as(tx, &row, &body)?.then_some(row.envelope.id)
            }
            None => None,
        };
        match same {
            Some(id) => Ok(Place::There(id)),
            None => {
                let kind = (Kind::DeploymentPlan, "deployment_plans");
                Ok(Place::New(self.plan.free(tx, kind, new.name.as_str(), plans)?))
            }
        }
    }

    /// Whether the bundle has an artifact of this name, and then whether it is there already.
    fn there_is<T: Named>(&self, places: &[Place], all: &[T], name: &str) -> Option<Option<Uuid>> {
        let index = all.iter().position(|one| one.name().eq_ignore_ascii_case(name))?;
        match places.get(index) {
            Some(Place::There(id)) => Some(Some(*id)),
            Some(Place::New(_)) | None => Some(None),
        }
    }

    /// The script of a step, where it is there already.
    fn there_is_script(&self, tx: &Tx<'_>, step: &api::BuildStep) -> Option<Uuid> {
        match self.script_index(step) {
            Some(index) => match &self.scripts[index] {
                Place::There(id) => Some(*id),
                Place::New(_) => None,
            },
            None => plan_scripts::find(tx, &step.plan_script_name).ok().map(|row| row.envelope.id),
        }
    }

    /// Which script of the bundle a step means: by its id there, or else by its name.
    fn script_index(&self, step: &api::BuildStep) -> Option<usize> {
        let scripts = &self.archive.members.scripts;
        let id = step.plan_script_uri.rsplit('/').next().filter(|id| !id.is_empty());
        let by_id = scripts.iter().position(|one| id.is_some() && one.id.as_deref() == id);
        let by_name =
            || scripts.iter().position(|one| one.name().eq_ignore_ascii_case(&step.plan_script_name));
        by_id.or_else(by_name)
    }
}

/// Nothing, where there is nothing of that name.
fn found<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Ok(row) => Ok(Some(row)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is wrong with an artifact is told with its name.
fn of<T>(kind: Kind, name: &str, made: Result<T>) -> Result<T> {
    made.map_err(|error| match error {
        Error::Invalid { field, message } => Error::invalid(field, format!("{kind} {name:?}: {message}")),
        error @ Error::NotFound { .. } => Error::invalid(name, format!("{kind} {name:?}: {error}")),
        error => error,
    })
}

/// Makes all artifacts but images.
fn write(tx: &Tx<'_>, archive: &Archive, images: &[Place], mode: Mode) -> Result<Extracted> {
    let mut extracted = Extracted::default();
    if mode == Mode::Replace {
        extracted.removed_images = remove_all(tx, images)?;
    }
    let mut settled = Settled::new(archive, images, Vec::new());
    for index in 0..archive.members.scripts.len() {
        let place = match settled.script(tx, index)? {
            Place::New(name) => {
                let new =
                    PlanScriptBody { name: title(&name)?, ..archive.members.scripts[index].body.clone() };
                Place::There(extracted.noted(
                    of(Kind::PlanScript, &name, plan_scripts::insert(tx, &new))?.envelope.id,
                    Kind::PlanScript,
                    &name,
                ))
            }
            there => extracted.there(there),
        };
        settled.scripts.push(place);
    }
    for index in 0..archive.members.build_plans.len() {
        let place = match settled.build_plan(tx, index)? {
            Place::New(name) => {
                let mut new =
                    BuildPlanBody { name: title(&name)?, ..archive.members.build_plans[index].body.clone() };
                for step in &mut new.build_step {
                    step.plan_script_uri =
                        settled.there_is_script(tx, step).map(|id| id.to_string()).unwrap_or_default();
                }
                let made = build_plans::insert(tx, &new, Origin::Bundle);
                let made = of(Kind::BuildPlan, &name, made)?.envelope.id;
                Place::There(extracted.noted(made, Kind::BuildPlan, &name))
            }
            there => extracted.there(there),
        };
        settled.build_plans.push(place);
    }
    for index in 0..archive.members.plans.len() {
        let place = match settled.deployment_plan(tx, index)? {
            Place::New(name) => {
                let new = settled.plan_body(index, &name)?;
                let made = deployment_plans::insert(tx, &new, Origin::Bundle);
                let made = of(Kind::DeploymentPlan, &name, made)?.envelope.id;
                Place::There(extracted.noted(made, Kind::DeploymentPlan, &name))
            }
            there => extracted.there(there),
        };
        settled.plans.push(place);
    }
    if mode == Mode::Careful {
        settled.refuse_conflicts()?;
    }
    extracted.present += images.len();
    Ok(extracted)
}

impl Settled<'_> {
    /// A plan with ids in place of the names of what it needs.
    fn plan_body(&self, index: usize, name: &str) -> Result<DeploymentPlanBody> {
        let mut new =
            DeploymentPlanBody { name: title(name)?, ..self.archive.members.plans[index].body.clone() };
        let build_plans = &self.archive.members.build_plans;
        if let Some(Some(id)) = self.there_is(&self.build_plans, build_plans, &new.oe_build_plan_uri) {
            new.oe_build_plan_uri = id.to_string();
        }
        if let Some(image) = &new.golden_image_uri
            && let Some(Some(id)) = self.there_is(self.images, &self.archive.members.images, image)
        {
            new.golden_image_uri = Some(id.simple().to_string());
        }
        Ok(new)
    }
}

impl Extracted {
    fn noted(&mut self, id: Uuid, kind: Kind, name: &str) -> Uuid {
        self.made.push(format!("{kind} {name:?}"));
        id
    }

    fn there(&mut self, place: Place) -> Place {
        self.present += 1;
        place
    }
}

fn title(name: &str) -> Result<Title> {
    Title::parse(name).map_err(|error| Error::invalid("name", error.to_string()))
}

/// A restore replaces everything: no profile may rely on any of it.
fn check_no_profile(tx: &Tx<'_>) -> Result<()> {
    let mut statement =
        tx.prepare("SELECT name FROM server_profiles WHERE deployment_plan_id IS NOT NULL ORDER BY name")?;
    let profiles = statement.query_map([], |row| Ok(Use { kind: Kind::ServerProfile, name: row.get(0)? }))?;
    let by = profiles.collect::<rusqlite::Result<Vec<_>>>()?;
    match by.is_empty() {
        true => Ok(()),
        false => Err(Error::InUse { kind: Kind::DeploymentPlan, name: "of the profiles".to_owned(), by }),
    }
}

/// Removes all artifacts, but for images that stay. Gives the images whose disks are to go; those that volumes live on
/// stay in the store, and come back at the next start.
fn remove_all(tx: &Tx<'_>, kept: &[Place]) -> Result<Vec<ImageId>> {
    check_no_profile(tx)?;
    for plan in deployment_plans::list(tx)? {
        deployment_plans::remove(tx, plan.envelope.id, None)?;
    }
    for plan in build_plans::list(tx)? {
        build_plans::remove(tx, plan.envelope.id, None)?;
    }
    for script in plan_scripts::list(tx)? {
        plan_scripts::remove(tx, script.envelope.id, None)?;
    }
    let stays = |id: Uuid| kept.contains(&Place::There(id));
    let gone = golden_images::list(tx)?.into_iter().filter(|image| !stays(image.envelope.id));
    Ok(gone.map(|image| ImageId(*image.envelope.id.as_bytes())).collect())
}

/// Brings the disk of an image in, under a name of its own in the store.
async fn import(
    importer: &Arc<Importer>,
    bundle: &Incoming<'_>,
    image: &Bundled<ImageBody>,
    name: &str,
) -> std::result::Result<Uuid, api::Refusal> {
    use crate::control::refusals;
    let member = image.body.name.to_string();
    let content = bundle.archive.member(&member).map_err(|error| refusals::of_bundle(&error))?;
    let about = NewGoldenImage {
        name: name.to_owned(),
        description: image.body.description.clone().unwrap_or_default(),
        read_only: image.body.read_only,
        source: Source { bundle: Some((bundle.id.to_string(), bundle.name.to_owned())), ..Source::default() },
        bundle_sum: bundle.archive.sum_of(&member).map(str::to_owned),
        capture_log: String::new(),
    };
    let taken = importer.store.images().map_err(|error| refusals::of_store(&error))?;
    let is_taken = |name: &str| taken.iter().any(|image| image.name.eq_ignore_ascii_case(name));
    let store_name = Name::parse(&golden_images::store_name(name, is_taken))
        .map_err(|error| refusals::internal("naming the image", &error))?;
    let request =
        AddImage { name: store_name, format: ImageFormat::Auto, framing: BodyFraming::Plain, about };
    let (steps, _) = tokio::sync::watch::channel((api::Phase::Copying, 0, 0));
    let added = importer.add(&request, reading::body_of(content), &steps).await?;
    Ok(Uuid::from_bytes(added.id.0))
}

/// Images that came for nothing go again.
async fn forget(catalog: &Arc<Catalog>, importer: &Arc<Importer>, imported: Vec<Uuid>) {
    for id in imported {
        let (catalog, store) = (catalog.clone(), importer.store.clone());
        let removed = tokio::task::spawn_blocking(move || {
            catalog.write(|tx| {
                golden_images::remove(tx, id, None)?;
                let image = ImageId(*id.as_bytes());
                store.remove_image(image).map_err(|error| catalog::Error::Io {
                    what: "remove a golden image".to_owned(),
                    source: std::io::Error::other(error.to_string()),
                })
            })
        });
        if !matches!(removed.await, Ok(Ok(()))) {
            tracing::error!(%id, "a golden image of a bundle that was not extracted is left");
        }
    }
}
