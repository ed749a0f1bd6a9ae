//! A session on its way in: admitted, the one it replaces ended, its logical unit opened and attached.

use std::sync::Arc;

use iscsi::{LoginStatus, SessionKey, SessionRequested, Tsih};
use scsi::{InitiatorPort, NexusId};
use tokio::sync::watch;

use super::lines::{FAULTS, SESSIONS};
use crate::exports::{Directory, NotAdmitted, SessionHandle, Target, Terms};
use crate::lun::Lun;

/// RELATIVE TARGET PORT IDENTIFIER of our only portal group.
const RELATIVE_TARGET_PORT: u16 = 1;

/// A session with all that it holds. Dropping it gives everything back; drop it only when none of its commands can
/// have an effect any more.
pub(super) struct Session {
    pub(super) tsih: Tsih,
    pub(super) units: Option<Units>,
    directory: Arc<Directory>,
    /// Whoever waits for the end of the session sees this close.
    _ended: watch::Sender<()>,
}

/// The logical units of a normal session.
pub(super) struct Units {
    pub(super) target: Arc<Target>,
    /// The volume.
    pub(super) volume: Unit,
    /// What stands beside it.
    pub(super) seed: Option<Unit>,
}

/// A logical unit that a session is attached to; dropping it detaches.
pub(super) struct Unit {
    pub(super) lun: Arc<Lun>,
    pub(super) nexus: NexusId,
}

impl Units {
    /// The unit that a LUN field means, if there is one.
    pub(super) fn named(&self, lun: [u8; 8]) -> Option<&Unit> {
        let address = scsi::Address::parse(lun);
        self.all().find(|unit| address == scsi::Address::Unit(unit.lun.number()))
    }

    /// The unit that answers a command. The volume also answers for what is not there.
    pub(super) fn answering(&self, lun: [u8; 8]) -> &Unit {
        self.named(lun).unwrap_or(&self.volume)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Unit> {
        std::iter::once(&self.volume).chain(&self.seed)
    }
}

impl Unit {
    fn attach(lun: Arc<Lun>, port: InitiatorPort) -> Result<Self, LoginStatus> {
        let nexus = lun.attach(port, RELATIVE_TARGET_PORT).ok_or(LoginStatus::OutOfResources)?;
        Ok(Self { lun, nexus })
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        self.lun.detach(self.nexus);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.units = None;
        self.directory.forget(self.tsih);
    }
}

/// Makes a session, new or in the place of the one that its TSIH names (RFC 7143 §11.12.6). May wait: for the old session's commands to end, and for the volume to open.
pub(super) async fn begin(
    directory: Arc<Directory>,
    request: SessionRequested,
    handle: SessionHandle,
    terms: Option<Arc<Terms>>,
    ended: watch::Sender<()>,
) -> Result<Box<Session>, LoginStatus> {
    let peer = handle.address;
    let key = SessionKey::of(&request);
    let admission = directory.admit(key, request.tsih, handle, terms.as_ref()).map_err(|refused| {
        if let NotAdmitted::HeldBy(holder) = &refused
            && let Some(unsaid) = FAULTS.say()
        {
            let target = request.target_name.as_ref().map_or("", iscsi::IscsiName::as_str);
            let (initiator, held_by, from) = (&request.initiator_name, &holder.initiator, holder.address);
            tracing::info!(%peer, %initiator, target, %held_by, %from, unsaid, "the volume is another initiator's for now");
        }
        refused.status()
    })?;
    let mut session = Box::new(Session { tsih: admission.tsih, units: None, directory, _ended: ended });
    if let Some((_, old)) = admission.replaced {
        if let Some(unsaid) = SESSIONS.say() {
            tracing::info!(initiator = %request.initiator_name, from = %old.address, by = %peer, unsaid, "session reinstated");
        }
        old.end().await;
    }
    let Some(name) = &request.target_name else { return Ok(session) };
    if request.session_type == iscsi::SessionType::Normal {
        session.units = Some(attach(&session.directory, name, &request).await?);
    }
    Ok(session)
}

async fn attach(
    directory: &Directory,
    name: &iscsi::IscsiName,
    request: &SessionRequested,
) -> Result<Units, LoginStatus> {
    let target = directory.find(name).ok_or(LoginStatus::TargetRemoved)?;
    let luns = target.luns().await.map_err(|error| {
        if let Some(unsaid) = FAULTS.say() {
            tracing::error!(target = %name, error = format!("{error:#}"), unsaid, "the volume does not open");
        }
        LoginStatus::TargetError
    })?;
    // §4.4.2: a port is named by name and ISID.
    let port = InitiatorPort::iscsi(request.initiator_name.as_str(), request.isid.0);
    let volume = Unit::attach(luns.volume, port.clone())?;
    let seed = luns.seed.map(|lun| Unit::attach(lun, port)).transpose()?;
    Ok(Units { target, volume, seed })
}
