//! One image from its first byte to its place in the store.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use api::{Code, ImageFormat, Name, Phase, Refusal};
use axum::body::Body;
use bytes::Bytes;
use cow::{ImageInfo, Import, Store, Subject};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, mpsc, watch};

use super::inspect::inspect;
use super::landing::{self, Aside, Landed};
use super::qemu_img::QemuImg;
use super::sniff::{DiskFormat, Packing};
use super::staging::{BodyFraming, Staging, cut_off};
use super::unpack::Unpack;
use crate::catalog::golden_images::NewGoldenImage;
use crate::control::refusals;

/// Parts of the body that wait for the disk, each as long as the connection's read buffer.
const PARTS_WAITING_MAX: usize = 8;

/// A client that sends nothing for so long is taken for gone: it holds one of few places.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(300);

/// What is asked for.
#[derive(Debug, Clone)]
pub struct AddImage {
    /// Name of the image to be in the store.
    pub name: Name,
    /// What the client says the file is.
    pub format: ImageFormat,
    /// How the body carries it.
    pub framing: BodyFraming,
    /// What the catalog is to know of it.
    pub about: NewGoldenImage,
}

/// How far an import has come: phase, bytes done, bytes in all.
pub(crate) type Step = (Phase, u64, u64);

/// Adds images to a store, a few at a time.
pub struct Importer {
    pub(crate) store: Arc<Store>,
    qemu_img: PathBuf,
    convert_time_max: Duration,
    pub(crate) size_max: u64,
    running: Semaphore,
    /// Disks that may be read out at a time.
    pub(super) reading: Arc<Semaphore>,
    added: Box<Added>,
}

/// Hears of each image that is there, even when nobody waits for the answer any more. When it refuses, the image goes.
pub type Added = dyn Fn(&ImageInfo, NewGoldenImage) -> Result<(), Refusal> + Send + Sync;

impl Importer {
    /// An importer with the limits of the configuration.
    #[must_use]
    pub fn new(store: Arc<Store>, config: &config::Images, added: Box<Added>) -> Arc<Self> {
        Arc::new(Self {
            added,
            store,
            qemu_img: config.qemu_img.clone(),
            convert_time_max: config.convert_time_max.as_std(),
            size_max: config.size_max.bytes(),
            running: Semaphore::new(config.concurrent_max),
            reading: Arc::new(Semaphore::new(config.concurrent_max)),
        })
    }

    /// The program that reads disk images.
    pub(crate) fn qemu_img(&self) -> &Path {
        &self.qemu_img
    }

    /// Adds an image. All or nothing: when this fails, or is dropped, nothing is left behind.
    pub async fn add(
        self: &Arc<Self>,
        request: &AddImage,
        body: Body,
        steps: &watch::Sender<Step>,
    ) -> Result<ImageInfo, Refusal> {
        let _running = self.running.acquire().await.map_err(|_| refusals::stopping())?;
        let (import, landed) = self.receive(request, body).await?;
        let deadline = Instant::now() + self.convert_time_max;
        let (import, landed, packing) = match landed {
            Landed::Packed(packing, file) => {
                let (import, landed) = self.unpack(import, (packing, file), deadline, steps).await?;
                (import, landed, Some(packing))
            }
            landed => (import, landed, None),
        };
        let format = match landed {
            Landed::Raw(format) => format,
            Landed::Disk(format, file) => {
                self.convert(&import, (format, &file), deadline, steps).await?;
                format.format()
            }
            Landed::Packed(..) => return Err(refusals::internal("unpacking", &"it was packed twice")),
        };
        self.seal(import, source_format(format, packing), request.about.clone(), steps).await
    }

    /// Makes a golden image of a disk as it is at this moment. All or nothing, as with [`Importer::add`].
    pub async fn capture(
        self: &Arc<Self>,
        name: &Name,
        subject: Subject,
        about: NewGoldenImage,
        steps: &watch::Sender<Step>,
    ) -> Result<ImageInfo, Refusal> {
        let _running = self.running.acquire().await.map_err(|_| refusals::stopping())?;
        let cancelled = CancelOnDrop::default();
        let (store, name, step) = (self.store.clone(), name.clone(), steps.clone());
        let flag = cancelled.0.clone();
        let copying = tokio::task::spawn_blocking(move || {
            let import = store.begin_import(name.as_str())?;
            store.capture(subject, &import, &mut |done, total| {
                step.send_replace((Phase::Copying, done, total));
                go_on(&flag)
            })?;
            Ok(import)
        });
        let copied = copying.await.map_err(|error| refusals::internal("capturing the image", &error))?;
        let import = copied.map_err(|error| refusals::of_store(&error))?;
        self.seal(import, cow::CAPTURED.to_owned(), about, steps).await
    }

    /// Stages the body. The disk is written on a thread that may wait.
    async fn receive(&self, request: &AddImage, mut body: Body) -> Result<(Import, Landed), Refusal> {
        let (store, request, size_max) = (self.store.clone(), request.clone(), self.size_max);
        let (parts, mut waiting) = mpsc::channel::<Part>(PARTS_WAITING_MAX);
        let writer = tokio::task::spawn_blocking(move || {
            let import =
                store.begin_import(request.name.as_str()).map_err(|error| refusals::of_store(&error))?;
            let mut staging = Staging::new(import, request.format, request.framing, size_max);
            while let Some(part) = waiting.blocking_recv() {
                match part {
                    Part::Data(bytes) => staging.take(&bytes)?,
                    Part::End => return staging.finish(),
                }
            }
            Err(cut_off("the client went away"))
        });
        let lost = loop {
            let part = match next_part(&mut body).await {
                Ok(part) => part,
                Err(lost) => break Some(lost),
            };
            let last = matches!(part, Part::End);
            // The writer stops taking parts when it has refused one: its refusal says why.
            if parts.send(part).await.is_err() || last {
                break None;
            }
        };
        drop(parts);
        let staged = writer.await.map_err(|error| refusals::internal("the upload", &error))?;
        match (staged, lost) {
            (Err(refusal), Some(lost)) if refusal.error_code == Code::BadImage => Err(cut_off(&lost)),
            (staged, _) => staged,
        }
    }

    /// Takes what is packed out of its packing. The disk is written on a thread that may wait.
    async fn unpack(
        &self,
        import: Import,
        (packing, file): (Packing, Aside),
        deadline: Instant,
        steps: &watch::Sender<Step>,
    ) -> Result<(Import, Landed), Refusal> {
        let cancelled = CancelOnDrop::default();
        let (steps, flag, packed_bytes) = (steps.clone(), cancelled.0.clone(), file.bytes);
        steps.send_replace((Phase::Unpacking, 0, packed_bytes));
        let unpack = Unpack { import, packing, file, size_max: self.size_max, deadline };
        let unpacking = tokio::task::spawn_blocking(move || {
            unpack.run(move |done| {
                steps.send_replace((Phase::Unpacking, done, packed_bytes));
                !flag.load(Ordering::Relaxed)
            })
        });
        unpacking.await.map_err(|error| refusals::internal("unpacking the image", &error))?
    }

    /// Turns a staged file of a disk format into the import's raw disk.
    async fn convert(
        &self,
        import: &Import,
        (format, file): (DiskFormat, &Aside),
        deadline: Instant,
        steps: &watch::Sender<Step>,
    ) -> Result<(), Refusal> {
        steps.send_replace((Phase::Checking, 0, 0));
        let disk_bytes = inspect(format, &landing::open(&file.path)?, file.bytes)?;
        if disk_bytes > self.size_max {
            let message = format!("the disk has {disk_bytes} bytes, more than the {} allowed", self.size_max);
            return Err(Refusal::new(Code::TooLarge, message)
                .action("raise images.size_max in osvold's configuration"));
        }
        let qemu_img = QemuImg::new(&self.qemu_img, format, deadline, self.convert_time_max);
        qemu_img.info(&file.path, disk_bytes).await?;
        qemu_img.check(&file.path, file.bytes).await?;
        steps.send_replace((Phase::Converting, 0, disk_bytes));
        let progress = |thousandths: u64| {
            let done = u128::from(disk_bytes) * u128::from(thousandths) / 1000;
            steps.send_replace((Phase::Converting, u64::try_from(done).unwrap_or(disk_bytes), disk_bytes));
        };
        qemu_img.convert(&file.path, &import.path(), progress).await?;
        // Its space is needed no more, and sealing may take a while.
        std::fs::remove_file(&file.path).map_err(|error| refusals::of_io("remove the staged upload", &error))
    }

    /// Hashes it, makes it durable, and gives it its place.
    async fn seal(
        self: &Arc<Self>,
        import: Import,
        format: String,
        about: NewGoldenImage,
        steps: &watch::Sender<Step>,
    ) -> Result<ImageInfo, Refusal> {
        let cancelled = CancelOnDrop::default();
        let (importer, steps, flag) = (self.clone(), steps.clone(), cancelled.0.clone());
        let sealing = tokio::task::spawn_blocking(move || {
            let sealed = importer.store.finish_import(import, &format, &mut |done, total| {
                steps.send_replace((Phase::Sealing, done, total));
                go_on(&flag)
            });
            importer.register(sealed.map_err(|error| refusals::of_image(&error))?, about)
        });
        sealing.await.map_err(|error| refusals::internal("sealing the image", &error))?
    }

    /// Makes a sealed image known, or removes it.
    fn register(&self, info: ImageInfo, about: NewGoldenImage) -> Result<ImageInfo, Refusal> {
        match (self.added)(&info, about) {
            Ok(()) => Ok(info),
            Err(refusal) => {
                if let Err(error) = self.store.remove_image(info.id) {
                    tracing::error!(
                        image = info.name,
                        "an image that nobody knows is left in the store: {error}"
                    );
                }
                Err(refusal)
            }
        }
    }
}

/// What an image was made of, as its record tells: `qcow2`, `raw+gzip`.
fn source_format(format: ImageFormat, packing: Option<Packing>) -> String {
    match packing {
        Some(packing) => format!("{format}+{}", packing.name()),
        None => format.name().to_owned(),
    }
}

enum Part {
    Data(Bytes),
    End,
}

/// What comes next of a body, or why nothing does.
async fn next_part(body: &mut Body) -> Result<Part, String> {
    match tokio::time::timeout(SILENCE_MAX, body.frame()).await {
        Ok(Some(Ok(frame))) => Ok(frame.into_data().map_or(Part::Data(Bytes::new()), Part::Data)),
        Ok(Some(Err(error))) => Err(error.to_string()),
        Ok(None) => Ok(Part::End),
        Err(_) => Err(format!("the client sent nothing for {} s", SILENCE_MAX.as_secs())),
    }
}

fn go_on(cancelled: &AtomicBool) -> ControlFlow<()> {
    match cancelled.load(Ordering::Relaxed) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    }
}

/// Tells the thread that works that nobody waits for it any more.
#[derive(Default)]
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
