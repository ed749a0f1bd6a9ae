//! What a request would do: read from the catalog, decided by the rules, nothing changed yet.

mod enclosures;
mod profile;
mod scripts;
mod seeds;
mod volumes;

use std::sync::Arc;

use cow::{ImageId, VolumeId};
use script::Expanded;
use uuid::Uuid;

use super::guard::InUse;
use super::rules::{Outcome, Rule};
use super::service::Request;
use crate::catalog::holds::Hold;
use crate::catalog::os_volumes::{Origin, OsVolume};
use crate::catalog::profiles::Profile;
use crate::catalog::tasks::Subject;
use crate::catalog::{Result, Tx};
use crate::seed::Source;

/// A request, understood and decided.
pub(super) struct Prepared {
    /// Name of its task, as OneView names them.
    pub(super) name: &'static str,
    /// What the task is about.
    pub(super) subject: Subject,
    /// What nobody else may touch meanwhile.
    pub(super) holds: Vec<Hold>,
    /// What becomes of each volume.
    pub(super) verdicts: Vec<Verdict>,
    /// The volume to be made.
    pub(super) creates: Option<Creates>,
    /// Exports that end, or change.
    pub(super) withdraws: Vec<VolumeId>,
    /// Profiles whose exports are looked at afterwards, whatever came of it.
    pub(super) republishes: Vec<Uuid>,
    /// What is written down when all of that is done.
    pub(super) commit: Commit,
    /// The words of the state that all of it was found in, for the confirmation's digest.
    pub(super) state: String,
}

/// What becomes of a volume, and why.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    pub(super) profile: String,
    pub(super) outcome: Outcome,
    /// Row of the table.
    pub(super) row: &'static str,
    pub(super) reason: String,
    pub(super) volume: Option<OsVolume>,
    /// What is kept all the same.
    pub(super) kept: Option<String>,
    /// The server, and what its power is recorded as.
    pub(super) server: Option<(String, api::PowerState)>,
}

impl Verdict {
    fn by(rule: &Rule, profile: &str, volume: Option<OsVolume>) -> Self {
        Self {
            profile: profile.to_owned(),
            outcome: rule.outcome,
            row: rule.row,
            reason: rule.reason.to_owned(),
            volume,
            kept: None,
            server: None,
        }
    }

    /// Does the volume go, and its snapshots with it?
    pub(super) fn takes_snapshots(&self) -> bool {
        self.outcome.is_lossy() && self.kept.is_none()
    }
}

/// A volume to be made.
#[derive(Debug, Clone)]
pub(super) struct Creates {
    pub(super) image: Option<ImageId>,
    /// Size of one without an image.
    pub(super) size_bytes: Option<u64>,
    pub(super) enclosure: Option<Uuid>,
    pub(super) origin: Origin,
    /// What is run on it before anybody boots from it.
    pub(super) script: Option<Arc<Expanded>>,
    /// What cloud-init or Ignition finds beside it, or on it.
    pub(super) seed: Option<Arc<Source>>,
}

/// What is written down.
#[derive(Debug, Clone)]
pub(super) enum Commit {
    /// A profile, new or changed, and what becomes of its volume.
    SaveProfile { after: Box<Profile>, outcome: Outcome, keep: usize },
    /// A profile goes, and all its volumes.
    DeleteProfile { profile: Box<Profile> },
    /// An earlier generation takes the place of the present volume.
    RollBack { after: Box<Profile>, to: VolumeId },
    /// An enclosure is in another group, and the profiles in it are as well.
    MoveEnclosure { enclosure: Uuid, group: Uuid, profiles: Vec<Profile> },
    /// An enclosure goes, and the volumes that live in it.
    DeleteEnclosure { enclosure: Uuid },
    /// A server goes.
    DeleteHardware { hardware: Uuid },
}

impl Prepared {
    /// Is anything that was written lost?
    pub(super) fn is_lossy(&self) -> bool {
        self.verdicts.iter().any(|verdict| verdict.outcome.is_lossy())
    }

    /// The reason why it is refused, if it is.
    pub(super) fn refused(&self) -> Option<&Verdict> {
        self.verdicts.iter().find(|verdict| verdict.outcome == Outcome::Refuse)
    }

    /// How what it touches is being used: who is logged in to a volume, and who reads snapshots that go with one.
    pub(super) fn in_use(
        &self,
        sessions: impl Fn(VolumeId) -> Vec<String>,
        readers: impl Fn(VolumeId) -> Vec<String>,
    ) -> InUse {
        let lossy = self.verdicts.iter().filter(|verdict| verdict.outcome.is_lossy());
        let lost = lossy.clone().filter_map(|verdict| verdict.volume.as_ref().map(|volume| volume.id));
        let mut touched: Vec<VolumeId> = self.withdraws.iter().copied().chain(lost).collect();
        touched.sort_unstable();
        touched.dedup();
        let gone = self.verdicts.iter().filter(|verdict| verdict.takes_snapshots());
        let gone = gone.filter_map(|verdict| verdict.volume.as_ref().map(|volume| volume.id));
        let on = |verdict: &Verdict| match &verdict.server {
            Some((name, api::PowerState::On)) => Some(name.clone()),
            _ => None,
        };
        InUse {
            sessions: touched.into_iter().flat_map(sessions).chain(gone.flat_map(readers)).collect(),
            powered_on: lossy.clone().find_map(on),
        }
    }
}

/// Understands and decides a request.
pub(super) fn prepare(tx: &Tx<'_>, request: &Request, if_match: Option<&str>) -> Result<Prepared> {
    match request {
        Request::CreateProfile(spec) => profile::create(tx, spec),
        Request::ChangeProfile(reference, spec) => profile::change(tx, reference, spec, if_match),
        Request::RedeployProfile(reference) => profile::redeploy(tx, reference, if_match),
        Request::DeleteProfile(reference) => profile::delete(tx, reference, if_match),
        Request::RollBackProfile(reference, generation) => {
            profile::roll_back(tx, reference, *generation, if_match)
        }
        Request::MoveEnclosure(reference, group) => enclosures::change_group(tx, reference, group, if_match),
        Request::DeleteEnclosure(reference) => enclosures::delete(tx, reference, if_match),
        Request::DeleteHardware(reference) => enclosures::delete_hardware(tx, reference, if_match),
    }
}
