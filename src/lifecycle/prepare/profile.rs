//! Profiles created, changed, deleted, rolled back.

use uuid::Uuid;

use super::volumes::{Change, decide_volume};
use super::{Commit, Prepared, Verdict};
use crate::catalog::holds::Hold;
use crate::catalog::os_volumes::{self, OsVolume, VolumeState};
use crate::catalog::profiles::{self, Attribute, Chap, Profile};
use crate::catalog::tasks::Subject;
use crate::catalog::{Envelope, Error, Kind, Result, Tx, Use, deployment_plans, hardware};
use crate::lifecycle::rules::{self, Event, Facts, VolumeFact};
use crate::lifecycle::service::ProfileSpec;
use crate::lifecycle::{access, chap, placement};

/// What generated initiator names begin with, as OneView's do.
const INITIATOR_PREFIX: &str = "iqn.2015-02.com.hpe:oneview-";

pub(super) fn create(tx: &Tx<'_>, spec: &ProfileSpec) -> Result<Prepared> {
    let envelope = Envelope::new(tx, &spec.name, &spec.description)?;
    let taken =
        tx.prepare_cached("SELECT 1 FROM server_profiles WHERE name = ?1")?.exists([&envelope.name])?;
    if taken {
        return Err(Error::NameExists { kind: Kind::ServerProfile, name: envelope.name });
    }
    let blank = Profile {
        envelope,
        hardware: None,
        hardware_type: None,
        enclosure_group: None,
        plan: None,
        attributes: Vec::new(),
        initiator_name: generated_initiator()?,
        initiator_name_generated: true,
        chap: None,
        extra: serde_json::Map::new(),
    };
    let after = after(tx, &blank, spec)?;
    let change = Change { before: None, after: &after, volume: None, redeploy: false };
    save(tx, change, "Create")
}

pub(super) fn change(
    tx: &Tx<'_>,
    reference: &str,
    spec: &ProfileSpec,
    if_match: Option<&str>,
) -> Result<Prepared> {
    let before = profiles::find(tx, reference)?;
    before.envelope.check(Kind::ServerProfile, if_match)?;
    let mut after = after(tx, &before, spec)?;
    if after != before {
        after.envelope = before.envelope.changed(tx, &spec.name, &spec.description)?;
    }
    let volume = os_volumes::current(tx, before.envelope.id)?;
    let change = Change { before: Some(&before), after: &after, volume: volume.as_ref(), redeploy: false };
    save(tx, change, "Update")
}

pub(super) fn redeploy(tx: &Tx<'_>, reference: &str, if_match: Option<&str>) -> Result<Prepared> {
    let before = profiles::find(tx, reference)?;
    before.envelope.check(Kind::ServerProfile, if_match)?;
    if before.plan.is_none() {
        let message =
            format!("profile {:?} has no deployment plan to make a volume from", before.envelope.name);
        return Err(Error::invalid("osDeploymentPlanUri", message));
    }
    let envelope = before.envelope.changed(tx, &before.envelope.name, &before.envelope.description)?;
    let after = Profile { envelope, ..before.clone() };
    let volume = os_volumes::current(tx, before.envelope.id)?;
    let change = Change { before: Some(&before), after: &after, volume: volume.as_ref(), redeploy: true };
    save(tx, change, "Redeploy")
}

/// What a profile becomes by what a client asks for.
fn after(tx: &Tx<'_>, before: &Profile, spec: &ProfileSpec) -> Result<Profile> {
    let server = spec.hardware.map(|id| placement::server(tx, id)).transpose()?;
    if let Some(server) = &server
        && let Some((holder, name)) = hardware::profile_of(tx, server.id)?
        && holder != before.envelope.id
    {
        let by = vec![Use { kind: Kind::ServerProfile, name }];
        return Err(Error::InUse { kind: Kind::ServerHardware, name: server.name.clone(), by });
    }
    // A client that changes the server alone sends the old one's type and group: they follow the server.
    let hardware_type = match &server {
        Some(server) => {
            let given = spec.hardware_type.filter(|given| Some(*given) != before.hardware_type);
            agreeing(given, server.hardware_type, "serverHardwareTypeUri", &server.name)?;
            Some(server.hardware_type)
        }
        None => spec.hardware_type.or(before.hardware_type),
    };
    let enclosure_group = match server.as_ref().and_then(|server| Some((server, server.group?))) {
        Some((server, group)) => {
            let given = spec.enclosure_group.filter(|given| Some(*given) != before.enclosure_group);
            agreeing(given, group, "enclosureGroupUri", &server.name)?;
            Some(group)
        }
        None => spec.enclosure_group.or(before.enclosure_group),
    };
    let is_outside = server.as_ref().is_some_and(|server| server.enclosure.is_none());
    if let (Some(_), Some(group), false) = (spec.plan, enclosure_group, is_outside) {
        placement::check_group(tx, group)?;
    }
    let own = before.envelope.id;
    let (initiator_name, initiator_name_generated) = initiator(tx, own, before, spec)?;
    Ok(Profile {
        envelope: Envelope {
            name: crate::catalog::check_name(&spec.name)?.to_owned(),
            description: spec.description.clone(),
            ..before.envelope.clone()
        },
        hardware: spec.hardware,
        hardware_type,
        enclosure_group,
        plan: spec.plan,
        attributes: attributes(tx, before, spec)?,
        initiator_name,
        initiator_name_generated,
        chap: chap_of(before.chap.as_ref(), spec)?,
        extra: spec.extra.clone(),
    })
}

fn agreeing(given: Option<Uuid>, own: Uuid, field: &str, server: &str) -> Result<()> {
    match given.filter(|given| *given != own) {
        None => Ok(()),
        Some(_) => Err(Error::invalid(
            field,
            format!("server {server:?} is of another one; leave it out, or name its own"),
        )),
    }
}

fn initiator(tx: &Tx<'_>, own: Uuid, before: &Profile, spec: &ProfileSpec) -> Result<(String, bool)> {
    let Some(wanted) = &spec.initiator_name else {
        return match before.initiator_name_generated {
            true => Ok((before.initiator_name.clone(), true)),
            false => Ok((generated_initiator()?, true)),
        };
    };
    let wanted = hardware::check_initiator_name("iscsiInitiatorName", wanted)?;
    if wanted == before.initiator_name {
        return Ok((wanted, before.initiator_name_generated));
    }
    // Two servers of one name could take each other's disks.
    let sql = "SELECT name FROM server_profiles WHERE initiator_name = ?1 AND id != ?2
               UNION ALL SELECT name FROM server_hardware WHERE initiator_name = ?1 AND id IS NOT ?3";
    let hardware = spec.hardware.map(|id| id.to_string());
    let mut taken = tx.prepare_cached(sql)?;
    let mut taken = taken.query_map((&wanted, own.to_string(), hardware), |row| row.get::<_, String>(0))?;
    match taken.next().transpose()? {
        Some(owner) => {
            Err(Error::invalid("iscsiInitiatorName", format!("{wanted} is the initiator of {owner:?}")))
        }
        None => Ok((wanted, false)),
    }
}

fn generated_initiator() -> Result<String> {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut random = [0; 12];
    getrandom::fill(&mut random)
        .map_err(|error| Error::invalid("iscsiInitiatorName", format!("no randomness: {error}")))?;
    let tail: String = random.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
    Ok(format!("{INITIATOR_PREFIX}{tail}"))
}

/// The values, by name, checked against the plan. A password that comes back empty-handed stays as it was.
fn attributes(tx: &Tx<'_>, before: &Profile, spec: &ProfileSpec) -> Result<Vec<Attribute>> {
    let mut values = spec.attributes.clone();
    values.sort();
    if let Some(twice) = values.windows(2).find(|pair| pair[0].name.eq_ignore_ascii_case(&pair[1].name)) {
        let message = format!("attribute {:?} has two values", twice[0].name);
        return Err(Error::invalid("osCustomAttributes", message));
    }
    let Some(plan) = spec.plan else {
        return match values.iter().find(|attribute| attribute.value.is_some()) {
            None => Ok(Vec::new()),
            Some(first) => Err(Error::invalid(
                "osCustomAttributes",
                format!("attribute {:?} has a value, and the profile has no deployment plan", first.name),
            )),
        };
    };
    if before.plan == spec.plan {
        let secrets = deployment_plans::secret_names(tx, plan)?;
        for attribute in values.iter_mut().filter(|attribute| attribute.value.is_none()) {
            let is = |name: &str| name.eq_ignore_ascii_case(&attribute.name);
            if secrets.iter().any(|name| is(name)) {
                let old = before.attributes.iter().find(|old| is(&old.name));
                attribute.value = old.and_then(|old| old.value.clone());
            }
        }
    }
    values.retain(|attribute| attribute.value.is_some());
    let given = values.iter().map(|attribute| (attribute.name.as_str(), attribute.value.as_deref()));
    deployment_plans::check_attributes(tx, plan, given)?;
    Ok(values)
}

fn chap_of(before: Option<&Chap>, spec: &ProfileSpec) -> Result<Option<Chap>> {
    match &spec.chap {
        None => Ok(before.cloned()),
        Some(wanted) => chap::merge(before, wanted),
    }
}

/// A profile is written down, and its volume is what the rules say.
fn save(tx: &Tx<'_>, change: Change<'_>, name: &'static str) -> Result<Prepared> {
    let decided = decide_volume(tx, &change)?;
    let (before, after) = (change.before, change.after);
    let id = after.envelope.id;
    let export_before =
        before.map(|before| access::of(tx, before, change.volume.map(|v| v.id))).transpose()?;
    let stays = decided.outcome == rules::Outcome::Retain;
    let export_after = access::of(tx, after, change.volume.map(|v| v.id).filter(|_| stays))?;
    let withdraws = match export_before.flatten() {
        Some(export) if Some(&export) != export_after.as_ref() => vec![export.volume],
        _ => Vec::new(),
    };
    let mut holds = vec![
        Hold::exclusive(Kind::ServerProfile, id),
        // Two that are made at once must not take one name.
        Hold::exclusive(Kind::ServerProfile, format!("name:{}", after.envelope.name.to_lowercase())),
    ];
    let servers = [before.and_then(|before| before.hardware), after.hardware];
    holds.extend(servers.into_iter().flatten().map(|id| Hold::exclusive(Kind::ServerHardware, id)));
    holds.extend(decided.holds);
    holds.extend(after.hardware_type.map(|id| Hold::shared(Kind::ServerHardwareType, id)));
    holds.extend(after.enclosure_group.map(|id| Hold::shared(Kind::EnclosureGroup, id)));
    Ok(Prepared {
        name,
        subject: Subject::new(Kind::ServerProfile, id, &after.envelope.name),
        holds,
        state: format!(
            "{:?} {:?} {}",
            before.map(|before| before.envelope.e_tag()),
            wish(after),
            decided.state
        ),
        verdicts: decided.verdicts,
        creates: decided.creates,
        withdraws,
        republishes: vec![id],
        commit: Commit::SaveProfile {
            after: Box::new(after.clone()),
            outcome: decided.outcome,
            keep: decided.keep,
        },
    })
}

/// A profile's wishes, without what a second look makes anew.
fn wish(profile: &Profile) -> impl std::fmt::Debug + '_ {
    (
        (&profile.envelope.name, &profile.envelope.description),
        (profile.hardware, profile.hardware_type, profile.enclosure_group, profile.plan),
        // Not as they are shown, which is without their values.
        profile.attributes.iter().map(|one| (&one.name, &one.value)).collect::<Vec<_>>(),
        (!profile.initiator_name_generated).then_some(&profile.initiator_name),
        profile.chap.as_ref().map(|chap| (chap.chap_level, &chap.chap_name)),
        &profile.extra,
    )
}

pub(super) fn delete(tx: &Tx<'_>, reference: &str, if_match: Option<&str>) -> Result<Prepared> {
    let profile = profiles::find(tx, reference)?;
    profile.envelope.check(Kind::ServerProfile, if_match)?;
    let id = profile.envelope.id;
    let generations = os_volumes::generations(tx, id)?;
    let server = profile.hardware.map(|id| placement::server(tx, id)).transpose()?;
    let verdict = |volume: Option<OsVolume>| {
        let fact = if volume.is_some() { VolumeFact::Reachable } else { VolumeFact::None };
        let facts = Facts { plan: profile.plan.is_some(), assigned: server.is_some(), volume: fact };
        let mut verdict =
            Verdict::by(rules::decide(Event::DeleteProfile, facts), &profile.envelope.name, volume);
        verdict.server = server.as_ref().map(|server| (server.name.clone(), server.power));
        verdict
    };
    let verdicts: Vec<_> = match generations.is_empty() {
        true => vec![verdict(None)],
        false => generations.iter().cloned().map(Some).map(verdict).collect(),
    };
    let current = generations.iter().find(|volume| volume.state == VolumeState::Current);
    let withdraws = current.filter(|_| server.is_some()).map(|volume| volume.id).into_iter().collect();
    let mut holds = vec![Hold::exclusive(Kind::ServerProfile, id)];
    holds.extend(profile.hardware.map(|id| Hold::exclusive(Kind::ServerHardware, id)));
    Ok(Prepared {
        name: "Delete",
        subject: Subject::new(Kind::ServerProfile, id, &profile.envelope.name),
        holds,
        state: format!("delete {} {:?}", profile.envelope.e_tag(), generations),
        verdicts,
        creates: None,
        withdraws,
        republishes: vec![id],
        commit: Commit::DeleteProfile { profile: Box::new(profile) },
    })
}

pub(super) fn roll_back(
    tx: &Tx<'_>,
    reference: &str,
    generation: u64,
    if_match: Option<&str>,
) -> Result<Prepared> {
    let before = profiles::find(tx, reference)?;
    before.envelope.check(Kind::ServerProfile, if_match)?;
    let id = before.envelope.id;
    let name = &before.envelope.name;
    let generations = os_volumes::generations(tx, id)?;
    let Some(to) = generations.iter().find(|volume| volume.generation == generation) else {
        let there: Vec<_> = generations.iter().map(|volume| volume.generation.to_string()).collect();
        let message = format!("profile {name:?} has no generation {generation}; it has {}", there.join(", "));
        return Err(Error::invalid("generation", message));
    };
    if to.state == VolumeState::Current {
        let message = format!("generation {generation} is the volume that profile {name:?} has now");
        return Err(Error::invalid("generation", message));
    }
    let server = before.hardware.map(|id| placement::server(tx, id)).transpose()?;
    if server.as_ref().is_some_and(|server| server.enclosure != to.enclosure) {
        let message = format!(
            "generation {generation} lives in another logical enclosure than the server of profile {name:?}"
        );
        return Err(Error::invalid("generation", message));
    }
    let current = generations.iter().find(|volume| volume.state == VolumeState::Current);
    let mut holds = vec![Hold::exclusive(Kind::ServerProfile, id)];
    holds.extend(before.hardware.map(|id| Hold::exclusive(Kind::ServerHardware, id)));
    let after = Profile {
        envelope: before.envelope.changed(tx, name, &before.envelope.description)?,
        ..before.clone()
    };
    Ok(Prepared {
        name: "Roll back",
        subject: Subject::new(Kind::ServerProfile, id, name),
        holds,
        state: format!("roll back {} {generation} {generations:?}", before.envelope.e_tag()),
        verdicts: Vec::new(),
        creates: None,
        withdraws: current.filter(|_| server.is_some()).map(|volume| volume.id).into_iter().collect(),
        republishes: vec![id],
        commit: Commit::RollBack { after: Box::new(after), to: to.id },
    })
}
