//! The seed of a volume that has been made: written to its EFI system partition after the plan's scripts, or kept in the
//! catalog, from where it is exported beside the volume.

use std::sync::Arc;

use api::{Attach, Code, Refusal};
use cow::{VolumeId, VolumeInfo, Wait};
use script::Expanded;

use super::prepare::Creates;
use super::service::Lifecycle;
use crate::catalog::{self, Error, Tx, os_volumes};
use crate::control::refusals;
use crate::seed::{Fault, Seed, Source, esp};

impl Lifecycle {
    /// What is run on a new volume: the plan's scripts, and the step that writes the seed to it.
    pub(super) async fn script_of(
        &self,
        creates: &Creates,
        info: &VolumeInfo,
    ) -> Result<Option<Arc<Expanded>>, Refusal> {
        let script = creates.script.clone();
        let Some(source) = creates.seed.as_ref().filter(|source| source.option.attach == Attach::Esp) else {
            return Ok(script);
        };
        let seed = made(source, info.id).map_err(|fault| refused(&fault))?;
        let id = info.id;
        let found = self.blocking(move |store| {
            let volume = store.open_volume(id)?;
            esp::partition(|offset, out| volume.read(offset, out, Wait::Yes))
        });
        let partition = found.await?.map_err(|error| refusals::of_store(&error))?.ok_or_else(|| {
            Refusal::new(Code::InvalidValue, "the golden image has no EFI system partition for the seed")
                .action("attach the seed as a LUN, or choose another golden image")
        })?;
        // The values are known for what they hide, and nothing is filled in a second time.
        let step =
            script::expand(&[esp::step(&seed, partition)], &source.facts.values).map_err(|faults| {
                refusals::internal("the seed", &faults.first().map(ToString::to_string).unwrap_or_default())
            })?;
        Ok(Some(Arc::new(match script {
            Some(script) => script.followed_by(&step),
            None => step,
        })))
    }
}

fn made(source: &Source, volume: VolumeId) -> Result<Seed, Fault> {
    source.seed(&volume.to_string())
}

fn refused(fault: &Fault) -> Refusal {
    Refusal::new(Code::InvalidValue, format!("the seed cannot be made: {fault}"))
}

/// Keeps what a volume was deployed with.
pub(super) fn keep(tx: &Tx<'_>, creates: &Creates, volume: VolumeId) -> catalog::Result<()> {
    let Some(source) = creates.seed.as_ref().filter(|source| source.option.attach == Attach::Lun) else {
        return Ok(());
    };
    let seed = made(source, volume)
        .map_err(|fault| Error::invalid("cloudInit", format!("the seed cannot be made: {fault}")))?;
    os_volumes::set_seed(tx, volume, &seed)
}
