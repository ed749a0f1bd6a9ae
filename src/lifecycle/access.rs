//! What a profile's volume is exported as: it follows from the catalog, and from nothing else.

use cow::VolumeId;
use iscsi::IscsiName;
use iscsi::auth::{AuthenticationPolicy, ChapCredential, ChapPolicy};
use uuid::Uuid;

use super::placement;
use crate::catalog::profiles::{Chap, ChapLevel, Profile};
use crate::catalog::{Error, Result, Tx, bad_column, os_volumes, profiles};
use crate::exports::Access;

/// A volume that one initiator may log in to, and nobody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// The volume.
    pub volume: VolumeId,
    /// The initiator.
    pub initiator: String,
    /// What it must prove beside its name.
    pub chap: Option<Chap>,
}

impl Export {
    /// Who may log in, for the directory of targets.
    ///
    /// # Errors
    /// When the initiator's name is none.
    pub fn access(&self) -> Result<Access> {
        let name = IscsiName::parse(&self.initiator).map_err(|error| {
            Error::invalid("iscsiInitiatorName", format!("{:?} is no iSCSI name: {error}", self.initiator))
        })?;
        let authentication = self.chap.as_ref().map_or(AuthenticationPolicy::None, policy);
        Ok(Access { initiators: vec![name], authentication, ..Access::default() })
    }
}

fn policy(chap: &Chap) -> AuthenticationPolicy {
    let credential = |name: &str, secret: &str| ChapCredential {
        name: name.to_owned(),
        secret: secret.as_bytes().to_vec(),
    };
    let mutual = match (chap.chap_level, &chap.mutual_chap_name, &chap.mutual_chap_secret) {
        (ChapLevel::MutualChap, Some(name), Some(secret)) => Some(credential(name, secret)),
        _ => None,
    };
    AuthenticationPolicy::Chap(ChapPolicy {
        users: vec![credential(&chap.chap_name, &chap.chap_secret)],
        mutual,
        algorithms: Vec::new(),
    })
}

/// What a profile's volume is exported as now; `None` while it is unassigned or has none.
///
/// # Errors
/// The catalog's.
pub fn of_profile(tx: &Tx<'_>, profile: Uuid) -> Result<Option<Export>> {
    let profile = profiles::by_id(tx, profile)?;
    let volume = os_volumes::current(tx, profile.envelope.id)?;
    of(tx, &profile, volume.map(|volume| volume.id))
}

/// An export, and the name that its volume must have in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) export: Export,
    pub(super) volume: String,
}

/// What all profiles' volumes are exported as. A row that cannot be read is told, and keeps no other from it.
pub(super) fn all(tx: &Tx<'_>) -> Result<Vec<Result<Named>>> {
    let sql = "SELECT v.id, v.name, coalesce(h.initiator_name, p.initiator_name), p.chap
               FROM os_volumes v JOIN server_profiles p ON p.id = v.profile_id
                                 JOIN server_hardware h ON h.id = p.server_hardware_id
               WHERE v.state = 'current'";
    let mut statement = tx.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        let id: String = row.get(0)?;
        let wrong = |_| bad_column(0, Error::invalid("id", "it is no id of a volume"));
        let volume = id.parse().map_err(wrong)?;
        let chap: Option<String> = row.get(3)?;
        let chap = chap.map(|text| serde_json::from_str(&text)).transpose();
        let chap = chap.map_err(|error| bad_column(3, error))?;
        Ok(Named { export: Export { volume, initiator: row.get(2)?, chap }, volume: row.get(1)? })
    })?;
    Ok(rows.map(|row| row.map_err(Error::from)).collect())
}

/// What a volume of a profile would be exported as.
pub(super) fn of(tx: &Tx<'_>, profile: &Profile, volume: Option<VolumeId>) -> Result<Option<Export>> {
    let (Some(volume), Some(hardware)) = (volume, profile.hardware) else { return Ok(None) };
    let server = placement::server(tx, hardware)?;
    let initiator = server.initiator_name.unwrap_or_else(|| profile.initiator_name.clone());
    Ok(Some(Export { volume, initiator, chap: profile.chap.clone() }))
}

/// The initiator that a profile's server logs in as, for whoever tells it (a boot script).
///
/// # Errors
/// The catalog's.
pub fn initiator(tx: &Tx<'_>, profile: &Profile) -> Result<String> {
    let own = profile.hardware.map(|hardware| placement::server(tx, hardware)).transpose()?;
    Ok(own.and_then(|server| server.initiator_name).unwrap_or_else(|| profile.initiator_name.clone()))
}
