//! What the handlers share.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use cow::Store;
use tokio::sync::{Semaphore, watch};

use super::attached::{Attached, WithAttachments};
use super::attempts::Attempts;
use super::bundle_room::BundleRoom;
use super::events::LISTENERS_MAX;
use super::exports::Exports;
use super::known::KnownImages;
use super::names::Names;
use super::passwords::Passwords;
use super::refusals;
use super::sessions::Sessions;
use crate::catalog::{self, Catalog, Tx, golden_images};
use crate::deploy::Deployer;
use crate::images::{Added, Importer};
use crate::lifecycle::Lifecycle;
use crate::service::{Scrubber, SpaceLevels};

/// The daemon as the control API sees it.
pub struct Control {
    pub(super) store: Arc<Store>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) exports: Arc<dyn Exports>,
    pub(super) attached: Arc<Attached>,
    pub(super) importer: Arc<Importer>,
    pub(super) bundles: BundleRoom,
    pub(super) names: Arc<Names>,
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) deployer: Arc<Deployer>,
    pub(super) known: Arc<KnownImages>,
    pub(super) scrub: Arc<Scrubber>,
    pub(super) levels: Arc<SpaceLevels>,
    pub(super) since: Instant,
    pub(super) sessions: Sessions,
    pub(super) passwords: Passwords,
    pub(super) attempts: Arc<Attempts>,
    /// Places of those who listen to events.
    pub(super) listeners: Arc<Semaphore>,
    /// Set when the daemon stops: what has no end of its own ends.
    pub(super) stopping: watch::Sender<bool>,
}

impl Control {
    /// A control API over an open store, ready to be served.
    ///
    /// # Errors
    /// When the store's golden images cannot be read, or the system has no randomness.
    pub fn new(
        store: Arc<Store>,
        catalog: Arc<Catalog>,
        exports: Arc<dyn Exports>,
        scrub: Arc<Scrubber>,
        levels: Arc<SpaceLevels>,
        images: &config::Images,
        deployer: Arc<Deployer>,
    ) -> anyhow::Result<Arc<Self>> {
        let attached = Arc::new(Attached::default());
        let exports: Arc<dyn Exports> = Arc::new(WithAttachments { exports, attached: attached.clone() });
        let names = Arc::new(Names::new(&store.volumes()));
        let lifecycle =
            Lifecycle::new(catalog.clone(), store.clone(), exports.clone(), names.clone(), deployer.clone())?;
        let images_there = store.images().context("cannot read the golden images")?;
        let known = Arc::new(known_images(&catalog, &images_there));
        let importer = Importer::new(store.clone(), images, registrar(catalog.clone(), known.clone()));
        let bundles = BundleRoom::open(&catalog).context("cannot open the directory of artifact bundles")?;
        Ok(Arc::new(Self {
            store,
            catalog,
            exports,
            attached,
            importer,
            bundles,
            names,
            lifecycle,
            deployer,
            known,
            scrub,
            levels,
            since: Instant::now(),
            sessions: Sessions::default(),
            passwords: Passwords::default(),
            attempts: Arc::default(),
            listeners: Arc::new(Semaphore::new(LISTENERS_MAX)),
            stopping: watch::Sender::new(false),
        }))
    }

    /// The life of profiles' volumes.
    #[must_use]
    pub fn lifecycle(&self) -> &Arc<Lifecycle> {
        &self.lifecycle
    }

    /// Ends what has no end of its own, such as streams of events, because the daemon stops.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
        self.deployer.stop();
    }

    /// Asks the store on a thread that may wait for the disk.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> Result<T, api::Refusal> {
        let store = self.store.clone();
        let asked = tokio::task::spawn_blocking(move || ask(&store)).await;
        asked.map_err(|error| refusals::internal("the store", &error))
    }

    /// Reads the catalog, all from one moment, on a thread that may wait for the disk.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Tx<'_>) -> catalog::Result<T> + Send + 'static,
    ) -> Result<T, api::Refusal> {
        let catalog = self.catalog.clone();
        answered(tokio::task::spawn_blocking(move || catalog.read(read)).await)
    }

    /// Writes to the catalog: everything, durably, or nothing.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Tx<'_>) -> catalog::Result<T> + Send + 'static,
    ) -> Result<T, api::Refusal> {
        let catalog = self.catalog.clone();
        answered(tokio::task::spawn_blocking(move || catalog.write(write)).await)
    }
}

/// The store's images by the names that the catalog has for them, once both agree on which there are.
fn known_images(catalog: &Catalog, images: &[cow::ImageInfo]) -> KnownImages {
    let there: Vec<_> = images.iter().map(|image| (row_id(image.id), image.name.clone())).collect();
    match catalog.write(|tx| golden_images::adopt(tx, &there)) {
        Ok(missing) => {
            for name in missing {
                tracing::error!(
                    "golden image {name:?} is used by a deployment plan, and the store has lost it"
                );
            }
        }
        Err(error) => tracing::error!("the catalog does not follow the store's golden images: {error}"),
    }
    let rows = catalog.read(golden_images::list).unwrap_or_default();
    let name_of =
        |id| rows.iter().find(|row| row.envelope.id == row_id(id)).map(|row| row.envelope.name.clone());
    KnownImages::new(images, name_of)
}

/// Makes each image that was added known: to the catalog, and to those who create volumes.
fn registrar(catalog: Arc<Catalog>, known: Arc<KnownImages>) -> Box<Added> {
    Box::new(move |image, about| {
        let name = about.name.clone();
        let added = catalog.write(|tx| golden_images::insert(tx, row_id(image.id), about));
        added.map_err(|error| refusals::of_catalog(&error))?;
        known.add(image, &name);
        Ok(())
    })
}

/// The id of an image's row.
pub(super) fn row_id(image: cow::ImageId) -> uuid::Uuid {
    uuid::Uuid::from_bytes(image.0)
}

fn answered<T>(asked: Result<catalog::Result<T>, tokio::task::JoinError>) -> Result<T, api::Refusal> {
    match asked {
        Ok(answer) => answer.map_err(|error| refusals::of_catalog(&error)),
        Err(error) => Err(refusals::internal("the catalog", &error)),
    }
}
