//! What a change of a profile means for its volume.

use uuid::Uuid;

use super::{Creates, Verdict, scripts, seeds};
use crate::catalog::holds::Hold;
use crate::catalog::os_volumes::{self, Origin, OsVolume, VolumeState};
use crate::catalog::profiles::Profile;
use crate::catalog::{Error, Kind, Result, Tx, deployment_plans};
use crate::lifecycle::placement::{self, Plan, Server};
use crate::lifecycle::rules::{self, Event, Facts, Outcome, VolumeFact};

/// A profile, before and after.
#[derive(Clone, Copy)]
pub(super) struct Change<'a> {
    /// `None`: it is new.
    pub(super) before: Option<&'a Profile>,
    pub(super) after: &'a Profile,
    pub(super) volume: Option<&'a OsVolume>,
    /// Is a volume as new asked for?
    pub(super) redeploy: bool,
}

/// What becomes of the volume, and what that takes.
pub(super) struct Decided {
    pub(super) outcome: Outcome,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) creates: Option<Creates>,
    pub(super) keep: usize,
    pub(super) holds: Vec<Hold>,
    pub(super) state: String,
}

pub(super) fn decide_volume(tx: &Tx<'_>, change: &Change<'_>) -> Result<Decided> {
    let after = change.after;
    let server = after.hardware.map(|id| placement::server(tx, id)).transpose()?;
    let before_server = change.before.and_then(|before| before.hardware);
    let before_server = before_server.map(|id| placement::server(tx, id)).transpose()?;
    let plan = after.plan.map(|id| placement::plan(tx, id)).transpose()?;
    let facts = Facts {
        plan: plan.is_some(),
        assigned: server.is_some(),
        volume: volume_fact(change.volume, server.as_ref()),
    };
    let rule = rules::decide_all(&events(change), facts);
    let mut verdict = Verdict::by(rule, &after.envelope.name, change.volume.cloned());
    verdict.server =
        before_server.as_ref().or(server.as_ref()).map(|server| (server.name.clone(), server.power));
    let keep = plan.as_ref().map_or(0, |plan| plan.keep_generations);
    let makes = matches!(rule.outcome, Outcome::Create | Outcome::Regenerate);
    let creates = match plan.as_ref().filter(|_| makes) {
        Some(plan) => Some(creates(tx, change, plan, server.as_ref())?),
        None => None,
    };
    if rule.outcome == Outcome::Regenerate && keep > 0 {
        verdict.kept = change.volume.map(kept_words);
    }
    let mut verdicts = vec![verdict];
    verdicts.extend(others_lost(tx, change, rule.outcome, keep)?);
    let mut holds = Vec::new();
    if let Some(enclosure) = server.as_ref().and_then(|server| server.enclosure) {
        holds.push(Hold::shared(Kind::LogicalEnclosure, enclosure));
    }
    if let Some(plan) = &plan {
        holds.push(Hold::shared(Kind::DeploymentPlan, plan.id));
        holds.push(Hold::shared(Kind::BuildPlan, plan.build_plan));
        holds.extend(plan.image.map(|image| Hold::shared(Kind::GoldenImage, image)));
    }
    let state = format!(
        "{:?} {:?} {:?}",
        verdicts.iter().map(|v| (v.row, v.volume.as_ref().map(|volume| volume.id))).collect::<Vec<_>>(),
        plan.as_ref().map(|plan| &plan.e_tag),
        server.as_ref().map(|server| &server.e_tag),
    );
    Ok(Decided { outcome: rule.outcome, verdicts, creates, keep, holds, state })
}

fn kept_words(volume: &OsVolume) -> String {
    format!(
        "{} is kept as generation {}, not exported, and can be rolled back to",
        volume.name, volume.generation
    )
}

/// Where the volume is, seen from the server that the profile is to have.
fn volume_fact(volume: Option<&OsVolume>, server: Option<&Server>) -> VolumeFact {
    match (volume, server) {
        (None, _) => VolumeFact::None,
        (Some(volume), Some(server)) if volume.enclosure != server.enclosure => VolumeFact::Unreachable,
        (Some(_), _) => VolumeFact::Reachable,
    }
}

/// What happens to a profile.
fn events(change: &Change<'_>) -> Vec<Event> {
    let after = change.after;
    let Some(before) = change.before else { return vec![Event::Create] };
    let mut events = Vec::new();
    match (before.hardware, after.hardware) {
        (None, Some(_)) => events.push(Event::Assign),
        (Some(_), None) => events.push(Event::Unassign),
        (Some(old), Some(new)) if old != new => events.push(Event::Move),
        _ => {}
    }
    match (before.plan, after.plan) {
        (Some(old), Some(new)) if old != new => events.push(Event::ChangePlan),
        (None, Some(_)) => events.push(Event::AddPlan),
        (Some(_), None) => events.push(Event::RemovePlan),
        (Some(_), Some(_)) if before.attributes != after.attributes => events.push(Event::ChangeAttributes),
        _ => {}
    }
    // A profile that had no type yet takes its first server's.
    if before.hardware_type.is_some() && before.hardware_type != after.hardware_type {
        events.push(Event::ChangeHardwareType);
    }
    if change.redeploy {
        events.push(Event::Redeploy);
    }
    if events.is_empty() {
        events.push(Event::Edit);
    }
    events
}

fn creates(tx: &Tx<'_>, change: &Change<'_>, plan: &Plan, server: Option<&Server>) -> Result<Creates> {
    let after = change.after;
    let given =
        after.attributes.iter().map(|attribute| (attribute.name.as_str(), attribute.value.as_deref()));
    let effective = deployment_plans::check_attributes(tx, plan.id, given)?;
    let size_bytes = effective.volume_size_bytes.filter(|_| plan.image.is_none());
    if plan.image.is_none() && size_bytes.is_none() {
        let message = format!(
            "deployment plan {:?} has no golden image: give the attribute VolumeSize (MiB) a value",
            plan.name
        );
        return Err(Error::invalid("VolumeSize", message));
    }
    // An unassigned profile's volume is made where the one before it was.
    let enclosure = match server {
        Some(server) => server.enclosure,
        None => change.volume.and_then(|volume| volume.enclosure),
    };
    let origin = Origin {
        plan: plan.id,
        image: plan.image,
        hardware_type: after.hardware_type,
        attributes: after.attributes.clone(),
    };
    let script = scripts::expand(tx, plan, after)?;
    let seed = seeds::source(tx, plan, after)?;
    Ok(Creates { image: plan.image, size_bytes, enclosure, origin, script, seed })
}

/// Earlier generations that go as well.
fn others_lost(tx: &Tx<'_>, change: &Change<'_>, outcome: Outcome, keep: usize) -> Result<Vec<Verdict>> {
    let Some(before) = change.before else { return Ok(Vec::new()) };
    let lost = match outcome {
        Outcome::Delete => kept(tx, before.envelope.id)?,
        // The present one is kept too, as the first of them.
        Outcome::Regenerate => {
            kept(tx, before.envelope.id)?.into_iter().skip(keep.saturating_sub(1)).collect()
        }
        Outcome::Retain | Outcome::Create | Outcome::Refuse => Vec::new(),
    };
    let reason = match (outcome, keep) {
        (Outcome::Regenerate, 0) => "the plan keeps no earlier generation".to_owned(),
        (Outcome::Regenerate, 1) => "the plan keeps one earlier generation".to_owned(),
        (Outcome::Regenerate, keep) => format!("the plan keeps {keep} earlier generations"),
        _ => "earlier generations go with the volume".to_owned(),
    };
    Ok(lost.into_iter().map(|volume| older(&before.envelope.name, volume, reason.clone())).collect())
}

/// The verdict on an earlier generation that goes.
pub(super) fn older(profile: &str, volume: OsVolume, reason: String) -> Verdict {
    Verdict {
        profile: profile.to_owned(),
        outcome: Outcome::Delete,
        row: "generations",
        reason,
        volume: Some(volume),
        kept: None,
        server: None,
    }
}

/// Earlier generations, the newest first.
pub(super) fn kept(tx: &Tx<'_>, profile: Uuid) -> Result<Vec<OsVolume>> {
    let mut generations = os_volumes::generations(tx, profile)?;
    generations.retain(|volume| volume.state == VolumeState::Kept);
    Ok(generations)
}
