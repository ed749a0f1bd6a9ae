//! Whose a volume is: a profile's, somebody's who made it directly, or nobody's.
//!
//! A name of the form `OSVolume-<n>` is a profile's. One that the catalog does not know is unclaimed: left from a catalog that
//! was lost, and removable; or it is being made at this moment.

use std::collections::HashMap;

use api::{Code, DependentServer, Health, OsVolume, Refusal};
use cow::{VolumeId, VolumeInfo};
use rusqlite::{OptionalExtension, Row};
use uuid::Uuid;

use super::state::Control;
use crate::catalog::os_volumes::{self, VolumeState};
use crate::catalog::{Kind, Result, Tx, uuid_or_null};

const QUERY: &str =
    "SELECT v.id, v.state, v.generation, v.profile_id, p.name, p.initiator_name, h.initiator_name, h.id
    FROM os_volumes v LEFT JOIN server_profiles p ON p.id = v.profile_id
    LEFT JOIN server_hardware h ON h.id = p.server_hardware_id";

/// Volumes that are looked up one by one; of more, all are.
const ONE_BY_ONE_MAX: usize = 256;

/// What the catalog says of a volume of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) state: VolumeState,
    pub(super) generation: u64,
    /// Id and name; none once the volume is doomed.
    pub(super) profile: Option<(Uuid, String)>,
    /// Who may log in to it while the profile is assigned.
    initiator: Option<String>,
    assigned: bool,
}

/// Whose a volume is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Claim {
    /// Made directly, outside profiles.
    Direct,
    /// A profile's.
    Profile(Owner),
    /// Being made for a profile by this task.
    InTheMaking(Uuid),
    /// A profile's once; the catalog does not know whose.
    Unclaimed,
}

fn read(row: &Row<'_>) -> rusqlite::Result<(String, Owner)> {
    let (state, name): (String, Option<String>) = (row.get(1)?, row.get(4)?);
    let (own, servers): (Option<String>, Option<String>) = (row.get(5)?, row.get(6)?);
    let owner = Owner {
        state: match state.as_str() {
            "current" => VolumeState::Current,
            "kept" => VolumeState::Kept,
            _ => VolumeState::Doomed,
        },
        generation: row.get(2)?,
        profile: uuid_or_null(row, 3)?.zip(name),
        initiator: servers.or(own),
        assigned: row.get::<_, Option<String>>(7)?.is_some(),
    };
    Ok((row.get(0)?, owner))
}

/// All volumes of profiles.
pub(super) fn all(tx: &Tx<'_>) -> Result<HashMap<VolumeId, Owner>> {
    let mut statement = tx.prepare_cached(QUERY)?;
    let rows = statement.query_map([], read)?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(rows.into_iter().filter_map(|(id, owner)| Some((id.parse().ok()?, owner))).collect())
}

/// Those of some volumes.
pub(super) fn of_these(tx: &Tx<'_>, ids: &[VolumeId]) -> Result<HashMap<VolumeId, Owner>> {
    if ids.len() > ONE_BY_ONE_MAX {
        return all(tx);
    }
    let mut statement = tx.prepare_cached(&format!("{QUERY} WHERE v.id = ?1"))?;
    let mut owners = HashMap::with_capacity(ids.len());
    for id in ids {
        if let Some((_, owner)) = statement.query_row([id.to_string()], read).optional()? {
            owners.insert(*id, owner);
        }
    }
    Ok(owners)
}

/// Whose one volume is.
pub(super) fn of(tx: &Tx<'_>, id: VolumeId, name: &str) -> Result<Claim> {
    if os_volumes::number_of(name).is_none() {
        return Ok(Claim::Direct);
    }
    let one = format!("{QUERY} WHERE v.id = ?1");
    match tx.prepare_cached(&one)?.query_row([id.to_string()], read).optional()? {
        Some((_, owner)) => Ok(Claim::Profile(owner)),
        None => Ok(in_the_making(tx, name)?.map_or(Claim::Unclaimed, Claim::InTheMaking)),
    }
}

/// The task whose journal has a volume of this name.
fn in_the_making(tx: &Tx<'_>, name: &str) -> Result<Option<Uuid>> {
    let sql = "SELECT id FROM tasks WHERE journal IS NOT NULL AND instr(lower(journal), ?1) > 0";
    let quoted = format!("\"{}\"", name.to_lowercase());
    let task: Option<Option<Uuid>> =
        tx.prepare_cached(sql)?.query_row([quoted], |row| uuid_or_null(row, 0)).optional()?;
    Ok(task.flatten())
}

/// The same among all, which says nothing of volumes that are being made.
pub(super) fn among(owners: &HashMap<VolumeId, Owner>, info: &VolumeInfo) -> Claim {
    match owners.get(&info.id) {
        Some(owner) => Claim::Profile(owner.clone()),
        None if os_volumes::number_of(&info.name).is_some() => Claim::Unclaimed,
        None => Claim::Direct,
    }
}

impl Control {
    /// Whose a volume is.
    pub(super) async fn claim(&self, info: &VolumeInfo) -> std::result::Result<Claim, Refusal> {
        let (id, name) = (info.id, info.name.clone());
        self.read(move |tx| of(tx, id, &name)).await
    }

    /// A volume, with whose it is.
    pub(super) async fn claimed_resource(&self, info: VolumeInfo) -> std::result::Result<OsVolume, Refusal> {
        let claim = self.claim(&info).await?;
        Ok(claim.tell(self.volume_resource(info)))
    }
}

impl Claim {
    /// A volume's state in one word.
    pub(super) fn state(&self, health: Health, has_sessions: bool) -> &'static str {
        match self {
            _ if health == Health::Critical => "Failed",
            Self::InTheMaking(_) => "Creating",
            Self::Unclaimed => "Unclaimed",
            Self::Direct | Self::Profile(_) if has_sessions => "InUse",
            Self::Direct => "Ready",
            Self::Profile(owner) => match owner.state {
                VolumeState::Current if owner.assigned => "Attached",
                VolumeState::Current => "Ready",
                VolumeState::Kept => "Kept",
                VolumeState::Doomed => "Deleting",
            },
        }
    }

    /// Name of the profile.
    pub(super) fn profile_name(&self) -> Option<&str> {
        match self {
            Self::Profile(owner) => owner.profile.as_ref().map(|(_, name)| name.as_str()),
            Self::Direct | Self::InTheMaking(_) | Self::Unclaimed => None,
        }
    }

    /// Adds to a volume whose it is.
    pub(super) fn tell(&self, mut volume: OsVolume) -> OsVolume {
        self.state(volume.status, !volume.sessions.is_empty()).clone_into(&mut volume.state);
        let Self::Profile(owner) = self else { return volume };
        volume.generation = Some(owner.generation);
        if let Some((id, name)) = &owner.profile {
            volume.profile_name = Some(name.clone());
            volume.stateless_server_uri = Some(format!("{}/{id}", api::STATELESS_SERVERS));
            volume.dependent_artifacts = vec![DependentServer {
                name: name.clone(),
                server_iqn: owner.initiator.clone(),
                uri: Kind::ServerProfile.uri(id),
            }];
        }
        volume
    }

    /// Refuses what only the rules of profiles may do to a volume.
    pub(super) fn check_direct(&self, volume: &str, done: &str) -> std::result::Result<(), Refusal> {
        let busy = |task: &Uuid| {
            Refusal::new(Code::Busy, format!("volume {volume:?} is being made"))
                .action(format!("try again when the task has ended (osvol task show {task})"))
        };
        match self {
            Self::Direct | Self::Unclaimed => Ok(()),
            Self::InTheMaking(task) => Err(busy(task)),
            Self::Profile(Owner { profile: Some((_, name)), state, generation, .. }) => {
                let refuse = |what: &str| {
                    Refusal::new(
                        Code::InUse,
                        format!("volume {volume:?} cannot be {done}: it is {what} {name:?}"),
                    )
                };
                Err(match state {
                    VolumeState::Kept => refuse(&format!("generation {generation} of profile"))
                        .action(format!(
                            "osvol profile rollback {name} {generation} takes the profile back to it"
                        ))
                        .action("it goes with its profile, or when newer generations take its place"),
                    VolumeState::Current | VolumeState::Doomed => refuse("the disk of profile")
                        .action(format!("osvol profile remove {name} removes both"))
                        .action(format!(
                            "osvol profile edit {name} --plan none leaves the profile without a volume"
                        ))
                        .action(format!(
                            "osvol profile rollback {name} takes it back to an earlier generation"
                        )),
                })
            }
            Self::Profile(Owner { profile: None, .. }) => {
                Err(Refusal::new(Code::Busy, format!("volume {volume:?} is being deleted")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(state: VolumeState, assigned: bool) -> Claim {
        let profile = Some((Uuid::nil(), "web01".to_owned()));
        Claim::Profile(Owner { state, generation: 3, profile, initiator: None, assigned })
    }

    #[test]
    fn a_state_is_one_word_of_many_facts() {
        let current = |assigned| owner(VolumeState::Current, assigned);
        assert_eq!(current(true).state(Health::OK, false), "Attached");
        assert_eq!(current(false).state(Health::OK, false), "Ready");
        assert_eq!(current(true).state(Health::Warning, true), "InUse");
        assert_eq!(current(true).state(Health::Critical, true), "Failed");
        assert_eq!(owner(VolumeState::Kept, true).state(Health::OK, false), "Kept");
        assert_eq!(Claim::Direct.state(Health::OK, false), "Ready");
        assert_eq!(Claim::Unclaimed.state(Health::OK, false), "Unclaimed");
        assert_eq!(Claim::InTheMaking(Uuid::nil()).state(Health::OK, false), "Creating");
    }

    #[test]
    fn a_refusal_says_what_to_do_instead() {
        let refused = |claim: &Claim| claim.check_direct("OSVolume-7", "removed").unwrap_err();
        let current = refused(&owner(VolumeState::Current, true));
        assert!(current.message.contains("the disk of profile \"web01\""), "{current}");
        assert!(current.recommended_actions[0].contains("osvol profile remove web01"));
        let kept = refused(&owner(VolumeState::Kept, true));
        assert!(kept.recommended_actions[0].contains("osvol profile rollback web01 3"));
        assert_eq!(refused(&Claim::InTheMaking(Uuid::nil())).error_code, Code::Busy);
        assert!(Claim::Direct.check_direct("web01", "removed").is_ok());
        assert!(Claim::Unclaimed.check_direct("OSVolume-7", "removed").is_ok());
    }
}
