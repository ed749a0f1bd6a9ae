//! The directory of bundles, and the work on them: one at a time, for each writes or reads whole disks.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use api::{Code, Refusal, iso8601};
use axum::body::Body;
use cow::Store;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use uuid::Uuid;

use super::refusals;
use super::state::Control;
use crate::bundles::{
    Archive, BundleError, Chosen, Directory, Incoming, Manifest, Mode, Unkept, archive_bytes_max, extract,
    write,
};
use crate::catalog::bundles::{self as rows, Bundle, Contents};
use crate::catalog::{self, Catalog, Envelope, Tx, golden_images};
use crate::lifecycle::tasks::TaskHandle;

/// Parts of an upload that wait for the disk.
const PARTS_WAITING_MAX: usize = 8;
/// A client that sends nothing for so long is taken for gone.
const SILENCE_MAX: Duration = Duration::from_secs(300);
/// How often a task is told how far a bundle has come.
const PERCENT_EVERY: Duration = Duration::from_millis(200);

/// What is shared by all that is done to bundles.
pub(crate) struct BundleRoom {
    pub(super) directory: Arc<Directory>,
    working: Semaphore,
    /// Bundles that are being made, by their tasks, and whether they are to stop.
    making: Mutex<HashMap<Uuid, Arc<AtomicBool>>>,
}

impl BundleRoom {
    /// Opens the directory, and sweeps what a crash has left on its way.
    pub(super) fn open(catalog: &Catalog) -> anyhow::Result<Self> {
        let known = catalog.read(rows::list)?;
        let known: Vec<Uuid> = known.into_iter().map(|bundle| bundle.envelope.id).collect();
        let directory = Directory::open(catalog.directory(), &known)?;
        Ok(Self { directory: Arc::new(directory), working: Semaphore::new(1), making: Mutex::default() })
    }

    /// Stops a bundle that is being made.
    pub(super) fn stop(&self, task: &str) -> Result<(), Refusal> {
        let id = Uuid::try_parse(task.rsplit('/').next().unwrap_or_default()).ok();
        match id.and_then(|id| self.making.lock().get(&id).cloned()) {
            Some(stop) => {
                stop.store(true, Ordering::Relaxed);
                Ok(())
            }
            None => Err(Refusal::new(Code::NotFound, format!("no bundle is being made by task {task:?}"))
                .source("taskUri")),
        }
    }
}

/// A bundle that is to be made.
pub(super) struct NewBundle {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) backup: bool,
    pub(super) chosen: Chosen,
}

impl Control {
    /// Makes a bundle, and tells the task how it goes.
    pub(super) async fn make_bundle(
        self: &Arc<Self>,
        new: NewBundle,
        task: &TaskHandle,
    ) -> Result<Uuid, Refusal> {
        // It can be stopped while it waits for its turn, too.
        let stop = Arc::new(AtomicBool::new(false));
        self.bundles.making.lock().insert(task.id(), stop.clone());
        let made = self.make_in_turn(new, stop, task).await;
        self.bundles.making.lock().remove(&task.id());
        made
    }

    async fn make_in_turn(
        self: &Arc<Self>,
        new: NewBundle,
        stop: Arc<AtomicBool>,
        task: &TaskHandle,
    ) -> Result<Uuid, Refusal> {
        let _working = self.bundles.working.acquire().await.map_err(|_| refusals::stopping())?;
        let percent = Arc::new(AtomicU8::new(0));
        let making = {
            let (control, percent) = (self.clone(), percent.clone());
            tokio::task::spawn_blocking(move || control.make_now(&new, &stop, &percent))
        };
        let mut making = Box::pin(making);
        let made = loop {
            tokio::select! {
                made = &mut making => break made,
                () = tokio::time::sleep(PERCENT_EVERY) => task.percent(percent.load(Ordering::Relaxed)),
            }
        };
        made.map_err(|error| refusals::internal("making the bundle", &error))?
    }

    /// The same, on a thread that waits for the disk.
    fn make_now(&self, new: &NewBundle, stop: &AtomicBool, percent: &AtomicU8) -> Result<Uuid, Refusal> {
        let manifest = Manifest {
            name: new.name.clone(),
            description: new.description.clone(),
            read_only: false,
            time: iso8601(catalog::now_ms()),
            backup: new.backup,
        };
        let io = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::Interrupted => {
                Refusal::new(Code::Stopping, "the bundle was stopped; nothing is left of it")
            }
            _ => refusals::of_io("write the bundle", &error),
        };
        if stop.load(Ordering::Relaxed) {
            return Err(io(std::io::ErrorKind::Interrupted.into()));
        }
        let (unkept, file) = self.bundles.directory.new_file().map_err(io)?;
        let mut step = |done: u64, total: u64| {
            let share = (done.min(total) * 99).checked_div(total).unwrap_or(0);
            percent.store(u8::try_from(share).unwrap_or(99), Ordering::Relaxed);
            match stop.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let contents = write(&self.store, file, &manifest, &new.chosen, &mut step).map_err(|error| {
            if stop.load(Ordering::Relaxed) { io(std::io::ErrorKind::Interrupted.into()) } else { io(error) }
        })?;
        // A backup that nobody could restore must not take the place of one that can be.
        Archive::look(unkept.path(), self.importer.size_max).map_err(|error| {
            Refusal::new(Code::BadBundle, format!("the bundle could not be extracted again: {error}"))
                .details("nothing is left of it; a backup that there was stays")
                .action("where a name is at fault, give that artifact another; where a size is, raise images.size_max")
        })?;
        self.keep(unkept, manifest, contents, false)
    }

    /// Gives an archive its place and its row. A backup takes the place of the one before.
    fn keep(
        &self,
        unkept: Unkept,
        manifest: Manifest,
        contents: Contents,
        uploaded: bool,
    ) -> Result<Uuid, Refusal> {
        let id = Uuid::new_v4();
        let kept = self.bundles.directory.keep(unkept, id);
        let kept = kept.map_err(|error| refusals::of_io("keep the bundle", &error))?;
        let written = self.catalog.write(|tx| {
            let before = if manifest.backup { rows::backup(tx)? } else { None };
            if let Some(before) = &before {
                rows::remove(tx, before.envelope.id, None)?;
            }
            let bundle = Bundle {
                envelope: Envelope { id, ..Envelope::new(tx, &manifest.name, &manifest.description)? },
                size_bytes: kept.bytes,
                checksum: kept.checksum.clone(),
                read_only: manifest.read_only,
                backup: manifest.backup,
                uploaded,
                downloaded_ms: None,
                contents,
            };
            rows::insert(tx, &bundle)?;
            Ok(before)
        });
        match written {
            Ok(before) => {
                before.into_iter().for_each(|before| self.bundles.directory.remove(before.envelope.id));
                tracing::info!(bundle = manifest.name, %id, bytes = kept.bytes, "artifact bundle kept");
                Ok(id)
            }
            Err(error) => {
                // Where the catalog cannot say whether it has the row, the archive stays.
                if self.catalog.damage().is_empty() {
                    self.bundles.directory.remove(id);
                }
                Err(refusals::of_catalog(&error))
            }
        }
    }

    /// Takes an archive in: all of it is checked before anything is kept. `file_name` is its name at the client's.
    pub(super) async fn upload_bundle(
        self: &Arc<Self>,
        body: Body,
        file_name: Option<String>,
        as_backup: bool,
    ) -> Result<Bundle, Refusal> {
        let (unkept, file) =
            self.bundles.directory.new_file().map_err(|error| refusals::of_io("write the bundle", &error))?;
        let most = archive_bytes_max(self.importer.size_max);
        receive(self.store.clone(), body, file, most).await?;
        let control = self.clone();
        let kept = tokio::task::spawn_blocking(move || {
            let image_bytes_max = control.importer.size_max;
            let archive =
                Archive::open(unkept.path(), image_bytes_max).map_err(|error| refusals::of_bundle(&error))?;
            let mut manifest = archive.manifest.clone();
            manifest.backup = as_backup;
            manifest.name = control.name_for_bundle(&manifest, file_name)?;
            let contents = archive.contents();
            drop(archive);
            let id = control.keep(unkept, manifest, contents, true)?;
            control.catalog.read(|tx| rows::get(tx, id)).map_err(|error| refusals::of_catalog(&error))
        });
        kept.await.map_err(|error| refusals::internal("checking the bundle", &error))?
    }

    /// The name that a bundle says that it has; where that is taken, the name of its file.
    fn name_for_bundle(&self, manifest: &Manifest, file_name: Option<String>) -> Result<String, Refusal> {
        let stem = file_name.map(|name| name.strip_suffix(".zip").unwrap_or(&name).to_owned());
        let chosen = self.catalog.read(|tx: &Tx<'_>| {
            let replaced =
                if manifest.backup { rows::backup(tx)?.map(|backup| backup.envelope.name) } else { None };
            let is_free = |name: &str| {
                Ok::<_, catalog::Error>(!rows::is_taken(tx, name)? || replaced.as_deref() == Some(name))
            };
            match stem {
                Some(stem) if !is_free(&manifest.name)? && is_free(&stem)? => Ok(stem),
                _ => Ok(manifest.name.clone()),
            }
        });
        chosen.map_err(|error| refusals::of_catalog(&error))
    }

    /// Extracts a bundle, and says what came of it.
    pub(super) async fn extract_bundle(
        self: &Arc<Self>,
        bundle: &Bundle,
        mode: Mode,
        task: &TaskHandle,
    ) -> Result<String, Refusal> {
        let _working = self.bundles.working.acquire().await.map_err(|_| refusals::stopping())?;
        let path = self.bundles.directory.path(bundle.envelope.id);
        let image_bytes_max = self.importer.size_max;
        let looked = tokio::task::spawn_blocking(move || Archive::open(&path, image_bytes_max)).await;
        let archive = looked.map_err(|error| refusals::internal("reading the bundle", &error))?;
        let archive = archive.map_err(|error| match error {
            BundleError::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
                super::bundles::missing(&bundle.envelope.name)
            }
            error => refusals::of_bundle(&error),
        });
        let archive = Arc::new(archive?);
        let from = Incoming { archive: &archive, id: bundle.envelope.id, name: &bundle.envelope.name };
        let hear = |line: String| task.log(line);
        let extracted = extract(&self.catalog, &self.importer, from, mode, &hear).await;
        if let Ok(extracted) = &extracted {
            for image in extracted.removed_images.clone() {
                self.remove_replaced(image).await;
            }
        }
        let before = self.known.ids();
        self.known.forget_gone(&before, &self.images_in_store().await?);
        let extracted = extracted.map_err(conflicts)?;
        match extracted.made.is_empty() {
            true => Ok("all artifacts of the bundle are there already: nothing was extracted".to_owned()),
            false => Ok(format!("extracted: {}", extracted.made.join(", "))),
        }
    }

    /// An image that the backup does not have goes, unless a volume lives on it or it is served.
    async fn remove_replaced(&self, image: cow::ImageId) {
        if self.serves_image(image) {
            tracing::info!(%image, "a golden image that the backup does not have stays: it is served");
            return;
        }
        let store = self.store.clone();
        let removed = self.write(move |tx| {
            golden_images::remove(tx, super::state::row_id(image), None)?;
            store.remove_image(image).map_err(|error| super::images::not_removed(&store, image, "", &error))
        });
        if let Err(refusal) = removed.await {
            tracing::info!(%image, "a golden image that the backup does not have stays: {refusal}");
        }
    }
}

/// Other artifacts have the names of the bundle's.
fn conflicts(mut refusal: Refusal) -> Refusal {
    if refusal.error_source.as_deref() == Some("forceImport") {
        refusal.error_code = Code::NameExists;
    }
    refusal
}

/// Writes a body to a file, on a thread that may wait for the disk.
async fn receive(store: Arc<Store>, mut body: Body, mut file: File, most: u64) -> Result<(), Refusal> {
    let (parts, mut waiting) = mpsc::channel::<axum::body::Bytes>(PARTS_WAITING_MAX);
    let writer = tokio::task::spawn_blocking(move || {
        let mut bytes = 0_u64;
        while let Some(part) = waiting.blocking_recv() {
            bytes += part.len() as u64;
            if bytes > most {
                return Err(Refusal::new(Code::TooLarge, format!("the bundle has more than {most} bytes"))
                    .action("raise images.size_max in osvold's configuration"));
            }
            store.take_room(part.len() as u64).map_err(|error| refusals::of_store(&error))?;
            file.write_all(&part).map_err(|error| refusals::of_io("write the bundle", &error))?;
        }
        Ok(())
    });
    let cut_off =
        |why: String| Refusal::new(Code::BadBundle, "the upload was cut off; nothing was added").details(why);
    let mut lost = None;
    loop {
        match tokio::time::timeout(SILENCE_MAX, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data()
                    && parts.send(data).await.is_err()
                {
                    break;
                }
            }
            Ok(Some(Err(error))) => {
                lost = Some(cut_off(error.to_string()));
                break;
            }
            Ok(None) => break,
            Err(_) => {
                lost = Some(cut_off(format!("the client sent nothing for {} s", SILENCE_MAX.as_secs())));
                break;
            }
        }
    }
    drop(parts);
    writer.await.map_err(|error| refusals::internal("the upload", &error))??;
    lost.map_or(Ok(()), Err)
}
