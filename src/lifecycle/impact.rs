//! What a prepared request would do, in words and bytes.

use api::{Impact, ImpactOutcome, VolumeImpact};
use config::Size;

use super::prepare::{Prepared, Verdict};
use super::rules::Outcome;
use super::service::Lifecycle;
use crate::catalog::Kind;

/// The impact, without a token.
pub(super) fn of(lifecycle: &Lifecycle, prepared: &Prepared) -> Impact {
    let snapshots = lifecycle.store.snapshots();
    let volumes: Vec<_> = prepared
        .verdicts
        .iter()
        .map(|verdict| {
            let id = verdict.volume.as_ref().map(|volume| volume.id);
            let own = snapshots.iter().filter(|snapshot| id.is_some() && snapshot.volume == id).count();
            of_volume(lifecycle, verdict, own as u64)
        })
        .collect();
    let outcome = volumes.iter().map(|volume| volume.outcome).max().unwrap_or(ImpactOutcome::Retain);
    let summary = summary(&volumes, outcome);
    let lossy = prepared.is_lossy();
    Impact { outcome, lossy, summary, volumes, confirmation_token: None, expires: None }
}

fn of_volume(lifecycle: &Lifecycle, verdict: &Verdict, snapshots: u64) -> VolumeImpact {
    let volume = verdict.volume.as_ref();
    let used =
        volume.and_then(|volume| lifecycle.store.volume_info(volume.id).ok()).map(|info| info.used_bytes);
    let id = volume.map(|volume| volume.id);
    let mut sessions = id.map(|id| lifecycle.sessions(id)).unwrap_or_default();
    if let Some(id) = id.filter(|_| verdict.takes_snapshots()) {
        sessions.extend(lifecycle.readers(id));
    }
    VolumeImpact {
        profile_name: verdict.profile.clone(),
        volume_name: volume.map(|volume| volume.name.clone()),
        volume_uri: volume.map(|volume| Kind::OsVolume.uri(volume.id)),
        outcome: word(verdict.outcome),
        rule: verdict.row.to_owned(),
        reason: verdict.reason.clone(),
        bytes_written: match (used, volume) {
            (Some(used), Some(volume)) => used.saturating_sub(volume.deployed_bytes),
            _ => 0,
        },
        snapshots: if verdict.takes_snapshots() { snapshots } else { 0 },
        kept: verdict.kept.clone(),
        sessions,
        power: verdict.server.as_ref().map(|(_, power)| power.as_str().to_owned()),
    }
}

fn word(outcome: Outcome) -> ImpactOutcome {
    match outcome {
        // What is refused changes nothing; the refusal says so.
        Outcome::Retain | Outcome::Refuse => ImpactOutcome::Retain,
        Outcome::Create => ImpactOutcome::Create,
        Outcome::Regenerate => ImpactOutcome::Regenerate,
        Outcome::Delete => ImpactOutcome::Delete,
    }
}

fn summary(volumes: &[VolumeImpact], outcome: ImpactOutcome) -> String {
    let of = |outcome| volumes.iter().filter(move |volume| volume.outcome == outcome);
    let count = |outcome| match of(outcome).count() {
        1 => "1 volume".to_owned(),
        count => format!("{count} volumes"),
    };
    let lost: u64 = volumes
        .iter()
        .filter(|volume| matches!(volume.outcome, ImpactOutcome::Delete | ImpactOutcome::Regenerate))
        .map(|volume| volume.bytes_written)
        .sum();
    let lost = Size::from_bytes(lost);
    match outcome {
        ImpactOutcome::Retain | ImpactOutcome::Unknown => "volumes stay as they are".to_owned(),
        ImpactOutcome::Create => "a volume is made from the deployment plan".to_owned(),
        ImpactOutcome::Regenerate => {
            format!(
                "the volume is made anew from the deployment plan; {lost} written since its deployment go"
            )
        }
        ImpactOutcome::Delete if of(ImpactOutcome::Regenerate).count() > 0 => format!(
            "the volume is made anew from the deployment plan, and {} deleted; {lost} written since their deployment go",
            count(ImpactOutcome::Delete)
        ),
        ImpactOutcome::Delete => {
            format!("{} deleted for good, with {lost} written since deployment", count(ImpactOutcome::Delete))
        }
    }
}
