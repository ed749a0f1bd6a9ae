//! The lifecycle service: what the control API asks, and what it gets.

use std::sync::Arc;

use api::{Code, Impact, Refusal, SessionSummary};
use cow::{SnapshotInfo, Store, VolumeId};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::guard::{self, Confirmation, Hindrance};
use super::journal::Journal;
use super::prepare::{Prepared, prepare};
use super::tasks::{TaskHandle, Tasks};
use super::token::{self, Tokens};
use super::{failpoint, impact};
use crate::catalog::profiles::Attribute;
use crate::catalog::tasks::TaskRecord;
use crate::catalog::{self, Catalog, Tx, holds, os_volumes, tasks};
use crate::control::{Exports, refusals};
use crate::deploy::Personalize;
use crate::portal::ReadOnlyDisk;

pub use super::guard::Consent;

/// What a client may say of a profile.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProfileSpec {
    /// Its name.
    pub name: String,
    /// For people.
    pub description: String,
    /// The server that it is to be assigned to; `None`: unassigned.
    pub hardware: Option<Uuid>,
    /// Its hardware type; `None`: its server's, or the one that it has.
    pub hardware_type: Option<Uuid>,
    /// Its enclosure group; `None`: its server's, or the one that it has.
    pub enclosure_group: Option<Uuid>,
    /// Its deployment plan; `None`: no volume.
    pub plan: Option<Uuid>,
    /// Values of the plan's attributes. A password without a value keeps the one that it has.
    pub attributes: Vec<Attribute>,
    /// iSCSI name that its server boots with; `None`: one is made up.
    pub initiator_name: Option<String>,
    /// What a login must prove; `None`: as it is.
    pub chap: Option<api::IscsiChap>,
    /// Fields of clients that are kept for them.
    pub extra: Map<String, Value>,
}

/// Something to be done. References are paths, ids or names.
#[derive(Debug, Clone)]
pub enum Request {
    /// A profile is made.
    CreateProfile(ProfileSpec),
    /// A profile becomes this.
    ChangeProfile(String, ProfileSpec),
    /// A profile gets a volume as new, from the plan and the values that it has.
    RedeployProfile(String),
    /// A profile goes, and its volumes.
    DeleteProfile(String),
    /// A profile gets an earlier generation of its volume back.
    RollBackProfile(String, u64),
    /// A logical enclosure moves to another enclosure group.
    MoveEnclosure(String, String),
    /// A logical enclosure goes, and the volumes that live in it.
    DeleteEnclosure(String),
    /// A server goes.
    DeleteHardware(String),
}

/// How it is asked.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// By whom.
    pub actor: String,
    /// What was said beforehand.
    pub consent: Consent,
    /// Only the impact is wanted.
    pub dry_run: bool,
    /// eTag of what the client knows.
    pub if_match: Option<String>,
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing was changed: this would happen.
    Preview(Impact),
    /// It is under way.
    Begun {
        /// The task.
        task: Uuid,
        /// Id of the profile, enclosure or server.
        subject: String,
    },
}

/// Names of volumes that the control API looks up: those of profiles come and go here.
pub trait VolumeNames: Send + Sync + 'static {
    /// Has a volume this name?
    fn is_taken(&self, name: &str) -> bool;
    /// A volume is there.
    fn appeared(&self, name: &str, id: VolumeId);
    /// A volume is gone.
    fn went(&self, name: &str);
}

/// The life of profiles' volumes.
pub struct Lifecycle {
    pub(super) catalog: Arc<Catalog>,
    pub(super) store: Arc<Store>,
    pub(super) exports: Arc<dyn Exports>,
    pub(super) tasks: Arc<Tasks>,
    pub(super) names: Arc<dyn VolumeNames>,
    pub(super) scripts: Arc<dyn Personalize>,
    tokens: Tokens,
}

impl Lifecycle {
    /// A service over an open catalog and store.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new(
        catalog: Arc<Catalog>,
        store: Arc<Store>,
        exports: Arc<dyn Exports>,
        names: Arc<dyn VolumeNames>,
        scripts: Arc<dyn Personalize>,
    ) -> anyhow::Result<Arc<Self>> {
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
        let tasks = Tasks::new(catalog.clone());
        Ok(Arc::new(Self { catalog, store, exports, tasks, names, scripts, tokens: Tokens::new(nonce) }))
    }

    /// The tasks.
    #[must_use]
    pub fn tasks(&self) -> &Arc<Tasks> {
        &self.tasks
    }

    /// Asks for something. What is not refused and no dry run goes on in the background.
    ///
    /// # Errors
    /// Why not; nothing was changed then. Where something would be lost and nobody has confirmed it, the refusal has
    /// the impact.
    pub async fn ask(self: &Arc<Self>, request: Request, ask: Ask) -> Result<Answer, Refusal> {
        // On a task of its own: whoever asks may go away, and what has begun goes on.
        let asked = tokio::spawn(self.clone().ask_now(request, ask)).await;
        asked.map_err(|error| refusals::internal("the lifecycle", &error))?
    }

    async fn ask_now(self: Arc<Self>, request: Request, ask: Ask) -> Result<Answer, Refusal> {
        let this = self.clone();
        let begun = tokio::task::spawn_blocking(move || this.decide(&request, &ask)).await;
        let decided = begun.map_err(|error| refusals::internal("the lifecycle", &error))??;
        match decided {
            Decided::Preview(impact) => Ok(Answer::Preview(impact)),
            Decided::Begun(begun) => {
                let subject = begun.prepared.subject.id.clone().unwrap_or_default();
                // Only now: a task that is given up writes to the catalog.
                let task = self.tasks.adopt(begun.record.clone());
                let id = task.id();
                let Begun { prepared, volume, while_in_use, .. } = *begun;
                let work = Work { task, prepared, volume, made: None, while_in_use };
                tokio::spawn(self.clone().run(Box::new(work)));
                Ok(Answer::Begun { task: id, subject })
            }
        }
    }

    /// Waits until a task has ended, and gives what came of it.
    ///
    /// # Errors
    /// The catalog's.
    pub async fn finished(&self, task: Uuid) -> Result<TaskRecord, Refusal> {
        self.tasks.finished(task).await.map_err(|error| refusals::of_catalog(&error))
    }

    fn decide(self: &Arc<Self>, request: &Request, ask: &Ask) -> Result<Decided, Refusal> {
        failpoint::pass("begin");
        let mut refusal = None;
        let decided = match ask.dry_run {
            true => self.catalog.read(|tx| self.preview(tx, request, ask).map(Some)),
            false => self.catalog.write(|tx| self.begin(tx, request, ask, &mut refusal)),
        };
        match (decided, refusal) {
            (_, Some(refusal)) => Err(refusal),
            (Ok(Some(decided)), None) => Ok(decided),
            (Ok(None), None) => Err(Refusal::new(Code::Internal, "nothing was decided")),
            (Err(error), None) => Err(refusals::of_catalog(&error)),
        }
    }

    fn preview(&self, tx: &Tx<'_>, request: &Request, ask: &Ask) -> catalog::Result<Decided> {
        let prepared = prepare(tx, request, ask.if_match.as_deref())?;
        Ok(Decided::Preview(self.impact(&prepared)))
    }

    /// Decides, and begins. A refusal that is no error of the catalog's is left in `refusal`, and nothing is written.
    fn begin(
        self: &Arc<Self>,
        tx: &Tx<'_>,
        request: &Request,
        ask: &Ask,
        refusal: &mut Option<Refusal>,
    ) -> catalog::Result<Option<Decided>> {
        let prepared = prepare(tx, request, ask.if_match.as_deref())?;
        if let Err(refused) = self.check(&prepared, &ask.consent) {
            *refusal = Some(refused);
            // Rolls back, though there is nothing to.
            return Ok(None);
        }
        let record = TaskRecord::new(tx, &ask.actor, prepared.name, prepared.subject.clone());
        tasks::save(tx, &record)?;
        holds::take(tx, &record.id.to_string(), &prepared.holds)?;
        let volume = match &prepared.creates {
            Some(_) => Some(self.new_name(tx)?),
            None => None,
        };
        let journal = Journal::Begun { volume: volume.clone(), snapshot: None };
        tasks::set_journal(tx, record.id, Some(&journal.text()))?;
        tasks::forget_old(tx)?;
        let while_in_use = ask.consent.while_in_use;
        Ok(Some(Decided::Begun(Box::new(Begun { record, prepared, volume, while_in_use }))))
    }

    /// A name that no volume has had: what has it after a crash is what this operation has made.
    pub(super) fn new_name(&self, tx: &Tx<'_>) -> catalog::Result<String> {
        loop {
            let name = format!("{}{}", os_volumes::NAME_PREFIX, os_volumes::next_number(tx)?);
            if !self.names.is_taken(&name) {
                return Ok(name);
            }
        }
    }

    fn check(&self, prepared: &Prepared, consent: &Consent) -> Result<(), Refusal> {
        if let Some(verdict) = prepared.refused() {
            let message = format!("profile {:?}: {}", verdict.profile, verdict.reason);
            return Err(
                Refusal::new(Code::InUse, message).details(format!("row {} of the rules", verdict.row))
            );
        }
        if let Some(script) = prepared.creates.as_ref().and_then(|creates| creates.script.as_ref()) {
            self.scripts.check(script)?;
        }
        let state = self.state_of(prepared);
        let confirmation = self.tokens.check(consent.token.as_deref(), &state, now());
        let in_use = prepared.in_use(|volume| self.sessions(volume), |volume| self.readers(volume));
        let withdraws = !prepared.withdraws.is_empty();
        guard::check(prepared.is_lossy(), withdraws, &in_use, consent, confirmation)
            .map_err(|hindrance| self.hindered(&hindrance, prepared, confirmation))
    }

    fn hindered(&self, hindrance: &Hindrance, prepared: &Prepared, confirmation: Confirmation) -> Refusal {
        debug_assert_eq!(*hindrance == Hindrance::StaleToken, confirmation == Confirmation::Stale);
        let subject = &prepared.subject;
        let what = format!("{} {:?}", subject.kind, subject.name);
        let refusal = match hindrance {
            Hindrance::LoggedIn(who) => Refusal::new(
                Code::InUse,
                format!("{what} stays as it is: an initiator is logged in to its volume"),
            )
            .details(format!("logged in: {}", who.join(", ")))
            .action("shut the server down first")
            .action("or ask with whileInUse=true (osvol: --while-in-use), and its disk vanishes under it"),
            Hindrance::PoweredOn(server) => Refusal::new(
                Code::InUse,
                format!("{what} stays as it is: server {server:?} is recorded as powered on"),
            )
            .action("shut the server down, and record its power as Off (osvol hardware power)")
            .action("or ask with whileInUse=true (osvol: --while-in-use)"),
            Hindrance::Unconfirmed => Refusal::new(
                Code::ConfirmationRequired,
                format!("{what}: data would be lost; proceed or cancel"),
            )
            .action("to proceed, send the same request with confirmationToken=… of the impact")
            .action("or with osDeploymentSettings.forceOsDeployment true, or force=True")
            .action("to cancel, do nothing: nothing was changed"),
            Hindrance::StaleToken => Refusal::new(
                Code::Stale,
                format!("{what}: things are not as they were when this confirmation was given out"),
            )
            .source("confirmationToken")
            .action("look at the impact anew, and decide again"),
        };
        refusal.impact(self.impact(prepared))
    }

    fn impact(&self, prepared: &Prepared) -> Impact {
        let mut impact = impact::of(self, prepared);
        if impact.lossy {
            let now = now();
            impact.confirmation_token = Some(self.tokens.make(&self.state_of(prepared), now));
            impact.expires = Some(api::iso8601((now + token::SECONDS_MAX) * 1000));
        }
        impact
    }

    /// The state that a confirmation is for. Whoever has logged in since may have written.
    fn state_of(&self, prepared: &Prepared) -> String {
        let volumes = prepared.verdicts.iter().filter_map(|verdict| verdict.volume.as_ref());
        let logins: Vec<_> = volumes.map(|volume| (volume.id, self.exports.logins(volume.id))).collect();
        format!("{} {logins:?}", prepared.state)
    }

    pub(super) fn sessions(&self, volume: VolumeId) -> Vec<String> {
        self.exports.sessions(volume).into_iter().map(|session| session.initiator_name).collect()
    }

    /// Who reads snapshots of a volume that are served as disks of their own, and which.
    pub(super) fn readers(&self, volume: VolumeId) -> Vec<String> {
        let of = |snapshot: SnapshotInfo| {
            let sessions = self.exports.read_only().sessions(ReadOnlyDisk::Snapshot(snapshot.id));
            let words = move |session: SessionSummary| {
                format!("{} (reads snapshot {:?})", session.initiator_name, snapshot.name)
            };
            sessions.into_iter().map(words)
        };
        self.snapshots_of(volume).into_iter().flat_map(of).collect()
    }

    pub(super) fn snapshots_of(&self, volume: VolumeId) -> Vec<SnapshotInfo> {
        let mut all = self.store.snapshots();
        all.retain(|snapshot| snapshot.volume == Some(volume));
        all
    }
}

enum Decided {
    Preview(Impact),
    Begun(Box<Begun>),
}

/// What was written down at the beginning of an operation.
struct Begun {
    record: TaskRecord,
    prepared: Prepared,
    volume: Option<String>,
    while_in_use: bool,
}

/// An operation that has begun.
pub(super) struct Work {
    pub(super) task: TaskHandle,
    pub(super) prepared: Prepared,
    /// Name of the volume that it makes.
    pub(super) volume: Option<String>,
    /// That volume, once it is there.
    pub(super) made: Option<VolumeId>,
    pub(super) while_in_use: bool,
}

fn now() -> u64 {
    catalog::now_ms() / 1000
}
