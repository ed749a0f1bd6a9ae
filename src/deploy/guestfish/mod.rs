//! guestfish in a sandbox: the engine for all scripts that the built-in one does not know.
//!
//! ```text
//!  osvold ── a job's thread ── bwrap ── guestfish ── QEMU with the fixed appliance
//!    └── door, a Unix socket: all of osvold that is seen inside ─────┘
//! ```
//! guestfish interprets its scripts outside of the virtual machine, as whoever runs it: a script can run any program,
//! read and write any file. That is its language, and real plans use it; so it is the interpreter that is shut in
//! ([`sandbox`]), bounded ([`limits`], [`contained`]), and never run otherwise. Whether the machine has what that takes is
//! found by trying ([`machine`], [`probe`]).

mod appliance;
mod blame;
mod contained;
mod limits;
mod machine;
mod output;
mod probe;
mod programs;
mod readiness;
mod sandbox;
#[cfg(test)]
mod tests;
mod text;
mod tree;
mod work;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use api::Code;
use parking_lot::Mutex;
use script::Expanded;
use tokio::sync::{mpsc, oneshot};

use self::machine::{Found, Looked};
use self::probe::Kvm;
pub use self::readiness::Readiness;
use self::sandbox::Accelerator;
use self::work::Work;
use super::job::{Ended, Event, Stop, Told};

/// For how long it is believed that the machine has everything.
const READY_BELIEVED: Duration = Duration::from_secs(60);
/// And that it has not: whoever installs what is missing does not want to wait.
const UNREADY_BELIEVED: Duration = Duration::from_secs(2);

/// The engine.
pub struct Guestfish {
    settings: config::Plans,
    /// Where it is kept whether KVM works.
    memory: Option<PathBuf>,
    /// What the last look at the machine found, and when.
    looked: Mutex<Option<(Instant, Arc<Looked>)>>,
    kvm: Mutex<Kvm>,
}

impl Guestfish {
    /// An engine. Where guestfish is installed the machine is looked at in the background; where it is not, nothing is done.
    #[must_use]
    pub fn new(settings: &config::Plans) -> Arc<Self> {
        Self::remembering(settings, None)
    }

    /// The same, and what takes long to find out is kept in a file, for the next start.
    #[must_use]
    pub fn remembering(settings: &config::Plans, memory: Option<PathBuf>) -> Arc<Self> {
        let engine = Arc::new(Self {
            settings: settings.clone(),
            memory,
            looked: Mutex::default(),
            kvm: Mutex::default(),
        });
        if machine::is_installed(settings) {
            let looking = engine.clone();
            in_background("osvold-look", move || {
                let readiness = looking.readiness();
                for check in readiness.checks().iter().filter(|check| check.status != api::Health::OK) {
                    tracing::warn!("plan scripts: {}: {}", check.name, check.detail);
                }
            });
        }
        engine
    }

    /// Whether everything is there; what was found a moment ago is believed. May take a tenth of a second.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.looked().readiness.clone()
    }

    /// Looks at the machine anew, and sees whether KVM runs a guest if that is to be used: also when it did not the last
    /// time. May take a minute.
    #[must_use]
    pub fn examine(&self) -> Readiness {
        *self.looked.lock() = None;
        let looked = self.looked();
        if let Some(found) = &looked.found
            && self.begin_probe(|kvm| matches!(kvm, Kvm::Unknown | Kvm::Fails(_)))
        {
            self.probe(found, false);
        }
        self.diagnosis()
    }

    /// What [`Guestfish::readiness`] says, and how the virtual machine is run.
    #[must_use]
    pub fn diagnosis(&self) -> Readiness {
        let mut readiness = self.readiness();
        const NAME: &str = "acceleration";
        const SLOW: &str = "in software (TCG): plan scripts take about 8 s instead of 3";
        match (self.settings.acceleration, probe::device(), &*self.kvm.lock()) {
            (config::Acceleration::Tcg, ..) => readiness.ok(NAME, "in software (TCG), as configured"),
            (config::Acceleration::Kvm, Ok(()), _) => readiness.ok(NAME, "KVM, as configured"),
            (config::Acceleration::Kvm, Err(error), _) => {
                let action = "give osvold's user the group kvm, or set plans.acceleration to auto";
                readiness.wrong(NAME, format!("plans.acceleration is kvm, and /dev/kvm: {error}"), action);
            }
            (config::Acceleration::Auto, Err(error), _) => {
                readiness.ok(NAME, format!("{SLOW} (/dev/kvm: {error})"));
            }
            (config::Acceleration::Auto, Ok(()), Kvm::Unknown) => {
                readiness
                    .ok(NAME, format!("{SLOW}; KVM is tried at the first job, or by osvol doctor --run"));
            }
            (config::Acceleration::Auto, Ok(()), Kvm::Trying) => {
                readiness.ok(NAME, format!("{SLOW}; KVM is being tried"));
            }
            (config::Acceleration::Auto, Ok(()), Kvm::Works(took)) => {
                readiness.ok(NAME, format!("KVM: the appliance was up after {took} ms"));
            }
            (config::Acceleration::Auto, Ok(()), Kvm::Fails(why)) => {
                let action = "set plans.acceleration to tcg if this machine has no KVM to offer";
                readiness.warning(NAME, format!("{SLOW}; KVM opens and runs no guest: {why}"), action);
            }
        }
        readiness
    }

    /// Runs scripts on the disk behind a socket. Dropped, it ends them, with all their processes.
    pub async fn run(
        self: &Arc<Self>,
        script: &Expanded,
        socket: &Path,
        squeeze: bool,
        told: &Told<'_>,
    ) -> Ended {
        let looking = self.clone();
        let looked = tokio::task::spawn_blocking(move || looking.looked()).await;
        let looked = match looked {
            Ok(looked) => looked,
            Err(error) => return internal("look at the machine", &error),
        };
        let Some(found) = looked.found.clone() else {
            let message = looked.readiness.refusal().map_or_else(String::new, |refusal| refusal.to_string());
            return Ended::stopped(Stop { step: None, line: None, message, code: Code::MissingTool });
        };
        let accelerator = self.accelerator(&found);
        let time_max = self.settings.time_max.as_std();
        let work =
            Work { found, script: script.clone(), socket: socket.to_owned(), squeeze, accelerator, time_max };
        on_its_thread(work, script, told).await
    }

    fn looked(&self) -> Arc<Looked> {
        let mut last = self.looked.lock();
        if let Some((when, looked)) = &*last {
            let believed = if looked.found.is_some() { READY_BELIEVED } else { UNREADY_BELIEVED };
            if when.elapsed() < believed {
                return looked.clone();
            }
        }
        let looked = Arc::new(machine::look(&self.settings));
        *last = Some((Instant::now(), looked.clone()));
        looked
    }

    /// KVM is used once it is known to work; the first job finds out, and is not held up by it.
    fn accelerator(self: &Arc<Self>, found: &Found) -> Accelerator {
        match self.settings.acceleration {
            config::Acceleration::Tcg => return Accelerator::Tcg,
            config::Acceleration::Kvm => return Accelerator::Kvm,
            config::Acceleration::Auto => {}
        }
        if matches!(*self.kvm.lock(), Kvm::Works(_)) {
            return Accelerator::Kvm;
        }
        if self.begin_probe(|kvm| *kvm == Kvm::Unknown) {
            let (engine, found) = (self.clone(), found.clone());
            in_background("osvold-kvm", move || engine.probe(&found, true));
        }
        Accelerator::Tcg
    }

    /// Whether KVM is to be tried by the caller: there is one, it may be used, and nobody tries it already.
    fn begin_probe(&self, is_wanted: impl Fn(&Kvm) -> bool) -> bool {
        if self.settings.acceleration != config::Acceleration::Auto || probe::device().is_err() {
            return false;
        }
        let mut kvm = self.kvm.lock();
        let begins = is_wanted(&kvm);
        if begins {
            *kvm = Kvm::Trying;
        }
        begins
    }

    /// Finds out whether KVM runs a guest, unless an answer that is remembered will do.
    fn probe(&self, found: &Found, recall: bool) {
        let key = probe::key(&found.about, &found.version);
        let memory = self.memory.as_deref();
        let known = memory.filter(|_| recall).and_then(|file| probe::recall(file, &key));
        let kvm = known.unwrap_or_else(|| {
            let kvm = work::boot(found, Accelerator::Kvm, probe::TIME_MAX);
            match &kvm {
                Kvm::Works(took) => {
                    tracing::info!("KVM runs the appliance of plan scripts, up after {took} ms")
                }
                _ => tracing::warn!("KVM does not run the appliance of plan scripts: {kvm:?}"),
            }
            if let Some(file) = memory
                && let Err(error) = probe::remember(file, &key, &kvm)
            {
                tracing::warn!(%error, "cannot keep whether KVM works");
            }
            kvm
        });
        *self.kvm.lock() = kvm;
    }
}

/// Set when nobody waits for a job any more.
#[derive(Default)]
struct Unwanted(Arc<AtomicBool>);

impl Drop for Unwanted {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn on_its_thread(work: Work, script: &Expanded, told: &Told<'_>) -> Ended {
    let names: Vec<String> = script.steps().map(str::to_owned).collect();
    let (sender, mut begun) = mpsc::unbounded_channel();
    let (done, mut ended) = oneshot::channel();
    let unwanted = Unwanted::default();
    let is_unwanted = unwanted.0.clone();
    let thread = std::thread::Builder::new().name("osvold-job".to_owned()).spawn(move || {
        let ended = work.run(&is_unwanted, &mut |step| {
            // Who does not listen any more has dropped the job.
            let _ = sender.send(step);
        });
        drop(done.send(ended));
    });
    if let Err(error) = thread {
        return internal("start a thread", &error);
    }
    let tell = |step: usize| {
        if let Some(name) = names.get(step) {
            told(Event::Step(step, names.len(), name.clone()));
        }
    };
    loop {
        tokio::select! {
            biased;
            Some(step) = begun.recv() => tell(step),
            ended = &mut ended => {
                return ended.unwrap_or_else(|error| internal("run a job", &error));
            }
        }
    }
}

fn in_background(name: &str, act: impl FnOnce() + Send + 'static) {
    if let Err(error) = std::thread::Builder::new().name(name.to_owned()).spawn(act) {
        tracing::warn!(%error, "cannot start a thread");
    }
}

fn internal(what: &str, error: &dyn std::fmt::Display) -> Ended {
    let message = format!("cannot {what}: {error}");
    Ended::stopped(Stop { step: None, line: None, message, code: Code::Internal })
}
