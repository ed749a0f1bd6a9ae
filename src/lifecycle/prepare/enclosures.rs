//! Logical enclosures that move or go, and servers that go.

use uuid::Uuid;

use super::{Commit, Prepared, Verdict, volumes};
use crate::catalog::holds::Hold;
use crate::catalog::os_volumes::{self, VolumeState};
use crate::catalog::profiles::{self, Profile};
use crate::catalog::tasks::Subject;
use crate::catalog::{Kind, Result, Tx, enclosure_groups, hardware, logical_enclosures};
use crate::lifecycle::placement;
use crate::lifecycle::rules::{self, Event, Facts, Outcome, VolumeFact};

pub(super) fn change_group(
    tx: &Tx<'_>,
    reference: &str,
    group: &str,
    if_match: Option<&str>,
) -> Result<Prepared> {
    let enclosure = logical_enclosures::find(tx, reference)?;
    enclosure.envelope.check(Kind::LogicalEnclosure, if_match)?;
    let group = enclosure_groups::find(tx, group)?;
    let id = enclosure.envelope.id;
    let mut profiles = assigned_in(tx, id)?;
    if profiles.iter().any(|profile| profile.plan.is_some()) {
        placement::check_group(tx, group.envelope.id)?;
    }
    let mut verdicts = Vec::new();
    for profile in &mut profiles {
        let volume = os_volumes::current(tx, profile.envelope.id)?;
        let fact = if volume.is_some() { VolumeFact::Reachable } else { VolumeFact::None };
        let facts = Facts { plan: profile.plan.is_some(), assigned: true, volume: fact };
        verdicts.push(Verdict::by(
            rules::decide(Event::MoveEnclosure, facts),
            &profile.envelope.name,
            volume,
        ));
        let envelope = profile.envelope.changed(tx, &profile.envelope.name, &profile.envelope.description)?;
        (profile.envelope, profile.enclosure_group) = (envelope, Some(group.envelope.id));
    }
    let mut holds = vec![
        Hold::exclusive(Kind::LogicalEnclosure, id),
        Hold::shared(Kind::EnclosureGroup, group.envelope.id),
    ];
    holds.extend(profiles.iter().map(|profile| Hold::exclusive(Kind::ServerProfile, profile.envelope.id)));
    Ok(Prepared {
        name: "Update",
        subject: Subject::new(Kind::LogicalEnclosure, id, &enclosure.envelope.name),
        holds,
        state: format!("move {} {}", enclosure.envelope.e_tag(), group.envelope.id),
        verdicts,
        creates: None,
        withdraws: Vec::new(),
        republishes: Vec::new(),
        commit: Commit::MoveEnclosure { enclosure: id, group: group.envelope.id, profiles },
    })
}

/// The profiles that are assigned to servers of an enclosure.
fn assigned_in(tx: &Tx<'_>, enclosure: Uuid) -> Result<Vec<Profile>> {
    let sql = "SELECT p.id FROM server_profiles p JOIN server_hardware h ON h.id = p.server_hardware_id
               WHERE h.logical_enclosure_id = ?1 ORDER BY p.name";
    let mut statement = tx.prepare_cached(sql)?;
    let ids = statement.query_map([enclosure.to_string()], |row| crate::catalog::uuid(row, 0))?;
    ids.map(|id| profiles::by_id(tx, id?)).collect()
}

pub(super) fn delete(tx: &Tx<'_>, reference: &str, if_match: Option<&str>) -> Result<Prepared> {
    let enclosure = logical_enclosures::find(tx, reference)?;
    enclosure.envelope.check(Kind::LogicalEnclosure, if_match)?;
    let id = enclosure.envelope.id;
    let mut verdicts = Vec::new();
    let mut holds = vec![Hold::exclusive(Kind::LogicalEnclosure, id)];
    for profile in assigned_in(tx, id)? {
        let volume = os_volumes::current(tx, profile.envelope.id)?;
        let fact = if volume.is_some() { VolumeFact::Reachable } else { VolumeFact::None };
        let facts = Facts { plan: profile.plan.is_some(), assigned: true, volume: fact };
        verdicts.push(Verdict::by(
            rules::decide(Event::DeleteEnclosure, facts),
            &profile.envelope.name,
            volume,
        ));
    }
    let living = os_volumes::in_enclosure(tx, id)?;
    for volume in &living {
        let Some(owner) = volume.profile else { continue };
        let profile = profiles::by_id(tx, owner)?;
        let name = &profile.envelope.name;
        if verdicts
            .iter()
            .any(|verdict: &Verdict| &verdict.profile == name && verdict.outcome == Outcome::Refuse)
        {
            continue;
        }
        holds.push(Hold::exclusive(Kind::ServerProfile, owner));
        verdicts.push(match volume.state {
            VolumeState::Current => {
                let facts =
                    Facts { plan: profile.plan.is_some(), assigned: false, volume: VolumeFact::Reachable };
                Verdict::by(rules::decide(Event::DeleteEnclosure, facts), name, Some(volume.clone()))
            }
            VolumeState::Kept | VolumeState::Doomed => {
                let reason = "this earlier generation lives in the logical enclosure, which goes";
                volumes::older(name, volume.clone(), reason.to_owned())
            }
        });
    }
    let servers = hardware_in(tx, id)?;
    holds.extend(servers.into_iter().map(|id| Hold::exclusive(Kind::ServerHardware, id)));
    Ok(Prepared {
        name: "Delete",
        subject: Subject::new(Kind::LogicalEnclosure, id, &enclosure.envelope.name),
        holds,
        state: format!("delete {} {living:?}", enclosure.envelope.e_tag()),
        verdicts,
        creates: None,
        withdraws: Vec::new(),
        republishes: Vec::new(),
        commit: Commit::DeleteEnclosure { enclosure: id },
    })
}

fn hardware_in(tx: &Tx<'_>, enclosure: Uuid) -> Result<Vec<Uuid>> {
    let mut statement =
        tx.prepare_cached("SELECT id FROM server_hardware WHERE logical_enclosure_id = ?1")?;
    let ids = statement.query_map([enclosure.to_string()], |row| crate::catalog::uuid(row, 0))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn delete_hardware(tx: &Tx<'_>, reference: &str, if_match: Option<&str>) -> Result<Prepared> {
    let server = hardware::find(tx, reference)?;
    server.envelope.check(Kind::ServerHardware, if_match)?;
    let id = server.envelope.id;
    let verdicts = match profiles::of_hardware(tx, id)? {
        None => Vec::new(),
        Some(profile) => {
            let volume = os_volumes::current(tx, profile.envelope.id)?;
            let fact = if volume.is_some() { VolumeFact::Reachable } else { VolumeFact::None };
            let facts = Facts { plan: profile.plan.is_some(), assigned: true, volume: fact };
            vec![Verdict::by(rules::decide(Event::DeleteHardware, facts), &profile.envelope.name, volume)]
        }
    };
    Ok(Prepared {
        name: "Delete",
        subject: Subject::new(Kind::ServerHardware, id, &server.envelope.name),
        holds: vec![Hold::exclusive(Kind::ServerHardware, id)],
        state: format!("delete {}", server.envelope.e_tag()),
        verdicts,
        creates: None,
        withdraws: Vec::new(),
        republishes: Vec::new(),
        commit: Commit::DeleteHardware { hardware: id },
    })
}
