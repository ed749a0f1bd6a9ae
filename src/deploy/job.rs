//! What is run, and what came of it.

use std::time::Duration;

use api::Refusal;
use cow::VolumeId;
use script::Expanded;

/// Scripts for a volume that nobody else uses.
pub struct Job {
    /// Names the job in logs and in the file system: letters, digits and dashes.
    pub id: String,
    /// The volume.
    pub volume: VolumeId,
    /// The scripts, values filled in.
    pub script: Expanded,
    /// Free space of its file systems is given back at the end: for captures.
    pub squeeze: bool,
}

/// Which engine ran the scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Nothing had to be run.
    None,
    /// The built-in engine.
    Builtin,
    /// guestfish in its sandbox.
    Guestfish,
}

impl Engine {
    /// Its name for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Builtin => "built-in",
            Self::Guestfish => "guestfish",
        }
    }
}

/// How long a step took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepTime {
    /// Index of the step, from 0.
    pub step: usize,
    /// Name of its script.
    pub name: String,
    /// From its first command to the first of the next step.
    pub took: Duration,
}

/// What happens, while it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It waits until other jobs have ended.
    Queued,
    /// An engine begins: its name.
    Begins(Engine),
    /// A step begins: its index, how many there are, and the name of its script.
    Step(usize, usize, String),
}

/// Whoever is told what happens.
pub type Told<'a> = dyn Fn(Event) + Send + Sync + 'a;

/// What an engine says at the end. All texts are without passwords.
#[derive(Debug)]
pub struct Ended {
    /// Whether every command was done.
    pub outcome: Result<(), Stop>,
    /// The steps that were begun.
    pub steps: Vec<StepTime>,
    /// What the commands printed, in order; of very much, the beginning and the end.
    pub output: String,
}

impl Ended {
    /// An engine that did not get as far as the first step.
    #[must_use]
    pub fn stopped(stop: Stop) -> Self {
        Self { outcome: Err(stop), steps: Vec::new(), output: String::new() }
    }
}

/// Where and why an engine stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Index of the step, from 0, and the line of its script, from 1, as far as they are known.
    pub step: Option<usize>,
    /// See `step`.
    pub line: Option<usize>,
    /// The message, in one line if possible.
    pub message: String,
    /// Whether the script is to blame ([`api::Code::ScriptFailed`]), a limit, or the engine.
    pub code: api::Code,
}

/// A job that has succeeded.
#[derive(Debug)]
pub struct Report {
    /// Who ran it.
    pub engine: Engine,
    /// The steps.
    pub steps: Vec<StepTime>,
    /// All of it, without the wait for other jobs.
    pub took: Duration,
    /// The log: scripts with values (passwords masked), output, times.
    pub log: String,
}

/// A job that has failed. The volume is to be thrown away.
#[derive(Debug)]
pub struct Failure {
    /// Step, script, line and message.
    pub refusal: Refusal,
    /// As of [`Report`].
    pub log: String,
}
