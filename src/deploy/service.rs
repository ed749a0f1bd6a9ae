//! Which engine runs a job, and whether it has succeeded.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use api::{Code, Refusal};
use cow::{Store, Volume, VolumeId};
use script::Expanded;
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit, watch};

use super::guestfish::Guestfish;
use super::job::{Ended, Engine, Event, Failure, Job, Report, Stop, Told};
use super::{builtin, log};
use crate::door::{Door, DoorSettings};

/// Longest time of a job of the built-in engine, which nothing can end from outside.
const BUILTIN_TIME_MAX: Duration = Duration::from_secs(60);

/// Beside the directory of the jobs: whether KVM works on this machine.
const KVM_FILE: &str = "kvm.json";

/// Tries to close a volume that a door's last command still holds for a moment.
const CLOSE_TRIES: u32 = 100;
const CLOSE_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// Runs jobs.
pub trait Personalize: Send + Sync + 'static {
    /// Whether such scripts can be run here at all, as far as that can be said without a volume.
    ///
    /// # Errors
    /// What is missing, and how to get it.
    fn check(&self, script: &Expanded) -> Result<(), Refusal>;

    /// Runs a job. Dropped, it ends whatever it has begun.
    ///
    /// # Errors
    /// Step, script, line and message.
    fn run<'a>(
        &'a self,
        job: Job,
        told: &'a Told<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<Report, Failure>> + Send + 'a>>;
}

/// Runs plan scripts.
pub struct Deployer {
    store: Arc<Store>,
    guestfish: Arc<Guestfish>,
    /// Jobs of guestfish at a time.
    slots: Semaphore,
    /// Jobs of the built-in engine at a time.
    quick_slots: Semaphore,
    time_max: Duration,
    /// Set when the daemon stops: jobs end.
    stopping: watch::Sender<bool>,
    /// Directory of the jobs' sockets.
    directory: PathBuf,
}

impl Deployer {
    /// Ready to run jobs, whose sockets are made in `directory`. What an earlier run has left there goes.
    ///
    /// # Errors
    /// When the directory cannot be made anew.
    pub fn new(store: Arc<Store>, settings: &config::Plans, directory: &Path) -> anyhow::Result<Arc<Self>> {
        make_anew(directory)?;
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let slots = if settings.concurrent_max == 0 { processors } else { settings.concurrent_max };
        Ok(Arc::new(Self {
            store,
            guestfish: Guestfish::remembering(settings, Some(directory.with_file_name(KVM_FILE))),
            slots: Semaphore::new(slots.min(Semaphore::MAX_PERMITS)),
            quick_slots: Semaphore::new(processors.min(Semaphore::MAX_PERMITS)),
            time_max: settings.time_max.as_std(),
            stopping: watch::Sender::new(false),
            directory: directory.to_owned(),
        }))
    }

    /// The engine that needs other programs.
    #[must_use]
    pub fn guestfish(&self) -> &Arc<Guestfish> {
        &self.guestfish
    }

    /// Ends all jobs, and begins no more.
    pub fn stop(&self) {
        self.slots.close();
        self.quick_slots.close();
        self.stopping.send_replace(true);
    }

    async fn run_job(&self, job: Job, told: &Told<'_>) -> Result<Report, Failure> {
        if job.script.is_empty() && !job.squeeze {
            let (steps, took, log) = (Vec::new(), Duration::ZERO, String::new());
            return Ok(Report { engine: Engine::None, steps, took, log });
        }
        let volume = self.open(job.volume).await.map_err(plain)?;
        let engine = match self.engine(&job, &volume).await {
            Ok(engine) => engine,
            Err(refusal) => {
                drop(volume);
                return Err(plain(self.close(job.volume).await.err().unwrap_or(refusal)));
            }
        };
        let Ok(_slot) = self.slot(engine, told).await else {
            return Err(plain(is_stopping()));
        };
        let began = Instant::now();
        told(Event::Begins(engine));
        let mut stopping = self.stopping.subscribe();
        let ended = match engine {
            Engine::Builtin => self.run_builtin(&job, volume.clone(), told).await,
            Engine::Guestfish | Engine::None => tokio::select! {
                ended = self.run_guestfish(&job, volume.clone(), told) => ended,
                _ = stopping.wait_for(|stopping| *stopping) => Ended::stopped(stop(&is_stopping())),
            },
        };
        drop(volume);
        let closed = self.close(job.volume).await;
        let ended = match closed {
            Ok(()) => ended,
            Err(refusal) => Ended { outcome: ended.outcome.and(Err(stop(&refusal))), ..ended },
        };
        let took = began.elapsed();
        let log = log::text(&job.script, engine, &ended, took);
        match ended.outcome {
            Ok(()) => Ok(Report { engine, steps: ended.steps, took, log }),
            Err(stop) => Err(Failure { refusal: log::refusal(&job.script, &stop), log }),
        }
    }

    /// A place among the jobs that run. The built-in engine's, which take milliseconds, do not wait for guestfish's.
    async fn slot(&self, engine: Engine, told: &Told<'_>) -> Result<SemaphorePermit<'_>, AcquireError> {
        if engine == Engine::Builtin {
            return self.quick_slots.acquire().await;
        }
        if self.slots.available_permits() == 0 {
            told(Event::Queued);
        }
        self.slots.acquire().await
    }

    /// The built-in engine for scripts that fit it, guestfish for all others.
    async fn engine(&self, job: &Job, volume: &Arc<Volume>) -> Result<Engine, Refusal> {
        // To find out is to run them: as many at a time, and with as much memory.
        let place = self.quick_slots.acquire().await.map_err(|_| is_stopping())?;
        let (script, disk, guestfish) = (job.script.clone(), volume.clone(), self.guestfish.clone());
        let (fits, refusal) =
            blocking(move || (builtin::fits(&script, &*disk), guestfish.readiness().refusal())).await?;
        drop(place);
        match refusal {
            None if fits && !job.squeeze => Ok(Engine::Builtin),
            None => Ok(Engine::Guestfish),
            // Free space is given back by guestfish alone: an image captured without it is larger, and as good.
            Some(_) if fits => Ok(Engine::Builtin),
            Some(refusal) => Err(refusal),
        }
    }

    async fn run_builtin(&self, job: &Job, volume: Arc<Volume>, told: &Told<'_>) -> Ended {
        let (script, deadline) = (job.script.clone(), Instant::now() + self.time_max.min(BUILTIN_TIME_MAX));
        let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
        let running = blocking(move || {
            let told = move |event| drop(sender.send(event));
            builtin::run(&script, volume, deadline, &told)
        });
        let mut running = std::pin::pin!(running);
        let ended = loop {
            tokio::select! {
                biased;
                Some(event) = events.recv() => told(event),
                ended = &mut running => break ended,
            }
        };
        while let Ok(event) = events.try_recv() {
            told(event);
        }
        ended.unwrap_or_else(|refusal| Ended::stopped(stop(&refusal)))
    }

    async fn run_guestfish(&self, job: &Job, volume: Arc<Volume>, told: &Told<'_>) -> Ended {
        let directory = JobDirectory(self.directory.join(&job.id));
        if let Err(error) = make_private(&directory.0) {
            return Ended::stopped(internal("make the job's directory", &error));
        }
        let settings = DoorSettings { read_only: false, clients_max: 1 };
        let door = match Door::open(&directory.0.join("disk.sock"), volume, settings) {
            Ok(door) => door,
            Err(error) => return Ended::stopped(internal("open a door to the volume", &error)),
        };
        let mut ended = self.guestfish.run(&job.script, door.path(), job.squeeze, told).await;
        let verdict = door.close().await;
        // guestfish ends with 0 although its writes were refused: the door knows better. Of a disk that is full guestfish
        // only says that input or output failed: the door knows why.
        let sound = match verdict.connections {
            0 => Err("nobody has opened it".to_owned()),
            _ => verdict.sound(),
        };
        match (&mut ended.outcome, sound) {
            (Ok(()), Err(why)) => {
                ended.outcome = Err(Stop {
                    step: None,
                    line: None,
                    message: format!(
                        "the scripts ended, but what they wrote is not known to be on the volume: {why}"
                    ),
                    code: Code::Internal,
                });
            }
            (Err(stop), Err(_)) => {
                if let Some(fault) = verdict.faults.first() {
                    stop.message = format!("{}; the volume: {fault}", stop.message);
                }
            }
            (_, Ok(())) => {}
        }
        ended
    }

    async fn open(&self, id: VolumeId) -> Result<Arc<Volume>, Refusal> {
        let store = self.store.clone();
        let opened = blocking(move || store.open_volume(id)).await?;
        opened.map_err(|error| crate::control::refusals::of_store(&error))
    }

    /// Writes the volume down: whoever opens it next reads it anew.
    async fn close(&self, id: VolumeId) -> Result<(), Refusal> {
        for _ in 0..CLOSE_TRIES {
            let store = self.store.clone();
            match blocking(move || store.close_volume(id)).await? {
                Err(error) if error.kind() == cow::Kind::InUse => tokio::time::sleep(CLOSE_AGAIN_AFTER).await,
                closed => return closed.map_err(|error| crate::control::refusals::of_store(&error)),
            }
        }
        Err(Refusal::new(Code::Internal, "the volume is still in use after its scripts have ended"))
    }
}

impl Personalize for Deployer {
    fn check(&self, script: &Expanded) -> Result<(), Refusal> {
        match script.is_empty() || builtin::may_fit(script) {
            true => Ok(()),
            false => self.guestfish.readiness().refusal().map_or(Ok(()), Err),
        }
    }

    fn run<'a>(
        &'a self,
        job: Job,
        told: &'a Told<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<Report, Failure>> + Send + 'a>> {
        Box::pin(self.run_job(job, told))
    }
}

/// A job's directory. It goes with the job.
struct JobDirectory(PathBuf);

impl Drop for JobDirectory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(directory = %self.0.display(), %error, "a job's directory is left");
        }
    }
}

fn make_anew(directory: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot clear the directory {}", directory.display()));
        }
        _ => {}
    }
    make_private(directory).with_context(|| format!("cannot make the directory {}", directory.display()))
}

fn make_private(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(act).await;
    done.map_err(|error| crate::control::refusals::internal("plan scripts", &error))
}

fn is_stopping() -> Refusal {
    Refusal::new(Code::Stopping, "osvold is stopping").action("ask again when it is back")
}

fn plain(refusal: Refusal) -> Failure {
    Failure { log: format!("{refusal}\n"), refusal }
}

fn stop(refusal: &Refusal) -> Stop {
    Stop { step: None, line: None, message: refusal.to_string(), code: refusal.error_code }
}

fn internal(what: &str, error: &std::io::Error) -> Stop {
    Stop { step: None, line: None, message: format!("cannot {what}: {error}"), code: Code::Internal }
}

#[cfg(test)]
mod tests {
    use cow::NewVolume;
    use script::{Step, Values, expand};

    use super::*;

    /// To find out which engine scripts are for takes a place as running them does; there are none when the daemon stops.
    #[tokio::test]
    async fn scripts_are_not_tried_beyond_the_places_for_them() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        let new = NewVolume { name: "v".into(), image: None, size_bytes: Some(1 << 20) };
        let volume = store.create_volume(new).unwrap().id;
        let settings = config::Plans { guestfish: "/nonexistent".into(), ..config::Plans::default() };
        let deployer = Deployer::new(store, &settings, &directory.path().join("jobs")).unwrap();
        let step = Step { name: "s".into(), content: "command ls".into(), has_attributes: false };
        let job = || Job {
            id: "1".into(),
            volume,
            script: expand(std::slice::from_ref(&step), &Values::new()).unwrap(),
            squeeze: false,
        };
        let failed = deployer.run(job(), &|_| ()).await.unwrap_err();
        assert_eq!(failed.refusal.error_code, Code::MissingTool);
        deployer.stop();
        let failed = deployer.run(job(), &|_| ()).await.unwrap_err();
        assert_eq!(failed.refusal.error_code, Code::Stopping);
    }
}
