//! The directory of exported targets, and who is logged in to them.
//!
//! One lock holds both, so that a login and a removal see each other: a session is admitted only while its target is
//! there, and a removal ends every session that was admitted.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use config::AddressRange;
use iscsi::auth::AuthenticationPolicy;
use iscsi::{
    Admission, AsyncNotice, ConnectionId, IscsiName, Isid, LoginStatus, SessionEstablished, SessionKey,
    SessionTable, Tsih,
};
use parking_lot::Mutex;
use tokio::sync::{OnceCell, watch};

use crate::lun::Lun;
use crate::portal::Mailbox;

/// Time that initiators have for a logout before their target is taken away by force.
const FAREWELL_TIME: Duration = Duration::from_secs(1);

/// Makes a target's logical units ready. May take its time: it is called where waiting is allowed.
pub type OpenLuns = dyn Fn() -> anyhow::Result<Luns> + Send + Sync;

/// The logical units of a target.
#[derive(Clone, Debug)]
pub struct Luns {
    /// The volume, LUN 0.
    pub volume: Arc<Lun>,
    /// The seed of a cloud image beside it, LUN 1, which is only read.
    pub seed: Option<Arc<Lun>>,
}

impl From<Arc<Lun>> for Luns {
    fn from(volume: Arc<Lun>) -> Self {
        Self { volume, seed: None }
    }
}

/// Who may log in to a target, and how they prove who they are.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Initiators that may log in; empty lets every name in.
    pub initiators: Vec<IscsiName>,
    /// Where they may come from; empty is everywhere.
    pub addresses: Vec<AddressRange>,
    /// What a login must prove.
    pub authentication: AuthenticationPolicy,
}

impl Access {
    /// May this initiator log in from this address? What it may not log in to, it does not discover.
    #[must_use]
    pub fn permits(&self, initiator: &IscsiName, from: IpAddr) -> bool {
        let named = self.initiators.is_empty() || self.initiators.contains(initiator);
        named && (self.addresses.is_empty() || self.addresses.iter().any(|range| range.contains(from)))
    }
}

/// Where logins to a target are sent on to (RFC 7143 §11.13.5: "Target moved …").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The address that the target is reached at.
    pub to: SocketAddr,
    /// The initiator is to remember it.
    pub permanent: bool,
}

impl Redirect {
    /// Is a login that came in on this address of ours sent on? One that came to where it would be sent is not: it would
    /// go round for ever.
    #[must_use]
    pub fn concerns(&self, local: SocketAddr) -> bool {
        (local.ip().to_canonical(), local.port()) != (self.to.ip().to_canonical(), self.to.port())
    }
}

/// On which terms a target is exported.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Who may log in.
    pub access: Access,
    /// Where logins are sent on to, if they are.
    pub redirect: Option<Redirect>,
    /// While an initiator has a session, no other one gets any.
    pub exclusive: bool,
}

impl From<Access> for Terms {
    fn from(access: Access) -> Self {
        Self { access, ..Self::default() }
    }
}

/// One exported volume.
pub struct Target {
    name: IscsiName,
    /// They may change while it is exported.
    terms: Mutex<Arc<Terms>>,
    open: Box<OpenLuns>,
    luns: OnceCell<Luns>,
    /// Sessions that were ever admitted.
    logins: AtomicU64,
}

impl Target {
    /// Its iSCSI name.
    #[must_use]
    pub fn name(&self) -> &IscsiName {
        &self.name
    }

    /// Who may log in, and where.
    #[must_use]
    pub fn terms(&self) -> Arc<Terms> {
        self.terms.lock().clone()
    }

    fn permits(&self, initiator: &IscsiName, from: IpAddr) -> bool {
        self.terms.lock().access.permits(initiator, from)
    }

    /// The logical units, opened by the first who asks. They stay open while the target is there: reservations and
    /// attentions outlive sessions.
    ///
    /// # Errors
    /// When they do not open.
    pub async fn luns(self: &Arc<Self>) -> anyhow::Result<Luns> {
        let target = self.clone();
        let open = || async move { tokio::task::spawn_blocking(move || (target.open)()).await? };
        let luns = self.luns.get_or_try_init(open).await?.clone();
        // It may have grown while it was being opened, when nobody could be told.
        luns.volume.resized()?;
        Ok(luns)
    }

    /// The volume's logical unit, if somebody has asked for it yet.
    #[must_use]
    pub fn opened_lun(&self) -> Option<Arc<Lun>> {
        self.luns.get().map(|luns| luns.volume.clone())
    }
}

/// The directory's hold on a session.
#[derive(Clone)]
pub(crate) struct SessionHandle {
    pub(crate) address: SocketAddr,
    /// Our end.
    pub(crate) portal: SocketAddr,
    /// Set when full feature phase begins.
    pub(crate) agreed: Arc<OnceLock<SessionEstablished>>,
    pub(crate) since: SystemTime,
    pub(crate) connection_id: ConnectionId,
    pub(crate) mailbox: Mailbox,
    /// Closes when none of the session's commands can have an effect any more.
    pub(crate) ended: watch::Receiver<()>,
}

impl SessionHandle {
    /// Ends the session and waits until it has no more effect.
    pub(crate) async fn end(mut self) {
        self.mailbox.end();
        while self.ended.changed().await.is_ok() {}
    }
}

/// Asks initiators to log out (§11.9.1), which lets them finish what they have begun, and ends what is left after
/// `grace`. Returns when no command of these sessions has an effect any more.
pub(crate) async fn end_all(sessions: Vec<SessionHandle>, grace: Duration) {
    let seconds = u16::try_from(grace.as_secs()).unwrap_or(u16::MAX).max(1);
    for session in &sessions {
        session.mailbox.notify(AsyncNotice::RequestLogout { seconds });
    }
    let all_ended = async {
        for session in &sessions {
            let mut ended = session.ended.clone();
            while ended.changed().await.is_ok() {}
        }
    };
    let _ = tokio::time::timeout(grace, all_ended).await;
    for session in &sessions {
        session.mailbox.end();
    }
    for session in sessions {
        session.end().await;
    }
}

/// A session, for people to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionListing {
    /// Name of the initiator.
    pub initiator: IscsiName,
    /// ISID.
    pub isid: Isid,
    /// Where it comes from.
    pub address: SocketAddr,
    /// When it logged in.
    pub since: SystemTime,
}

/// A session with all that there is to tell of it.
#[derive(Clone, Debug)]
pub struct LoggedIn {
    /// Its handle.
    pub tsih: Tsih,
    /// Who it is.
    pub listing: SessionListing,
    /// The address of ours that it came to.
    pub portal: SocketAddr,
    /// Its target; none in a discovery session.
    pub target: Option<IscsiName>,
    /// What was agreed; none while it is still on its way in.
    pub agreed: Option<SessionEstablished>,
}

/// Why a session is not admitted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotAdmitted {
    /// What the login is refused with says it all.
    Because(LoginStatus),
    /// This initiator has the target for itself.
    HeldBy(SessionListing),
}

impl NotAdmitted {
    /// What the login is refused with. An exclusive target has the sessions of one initiator and no more to give, and
    /// may have some later: that is class 3, which initiators try again, not class 2, which they give up on (§11.13.5).
    pub(crate) fn status(&self) -> LoginStatus {
        match self {
            Self::Because(status) => *status,
            Self::HeldBy(_) => LoginStatus::OutOfResources,
        }
    }
}

impl From<LoginStatus> for NotAdmitted {
    fn from(status: LoginStatus) -> Self {
        Self::Because(status)
    }
}

/// A removal that was not done, and because of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse(pub Vec<SessionListing>);

/// All targets and sessions.
#[derive(Default)]
pub struct Directory {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    targets: BTreeMap<IscsiName, Arc<Target>>,
    sessions: SessionTable<SessionHandle>,
}

impl Directory {
    /// An empty directory.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Exports a target; one of the same name is replaced for logins to come.
    pub fn add(&self, name: IscsiName, terms: impl Into<Terms>, open: Box<OpenLuns>) {
        let terms = Mutex::new(Arc::new(terms.into()));
        let target =
            Target { name: name.clone(), terms, open, luns: OnceCell::new(), logins: AtomicU64::new(0) };
        self.inner.lock().targets.insert(name, Arc::new(target));
    }

    /// Changes the terms of a target, for logins to come: who is logged in stays. Gives the new ones, if there is such a
    /// target.
    pub fn set_terms(&self, name: &IscsiName, change: impl FnOnce(&mut Terms)) -> Option<Terms> {
        // Under the directory's lock, so that a login is admitted by the old terms before this returns, or by the new.
        let inner = self.inner.lock();
        let target = inner.targets.get(name)?;
        let mut terms = target.terms.lock();
        // Always another one: a login that is under way has proved what the old ones asked for.
        let mut new = Terms::clone(&terms);
        change(&mut new);
        *terms = Arc::new(new.clone());
        Some(new)
    }

    /// Ends the sessions of a target that are `meant`, and returns when none of them has an effect any more; gives how
    /// many there were.
    pub async fn end_sessions(&self, name: &IscsiName, meant: impl Fn(&SessionListing) -> bool) -> usize {
        let handles = self.inner.lock().handles_of(name, meant);
        let count = handles.len();
        end_all(handles, FAREWELL_TIME).await;
        count
    }

    /// Exports a target no more, ends its sessions, and returns when nothing of them has an effect any more and the
    /// unit is let go. Without `force` nothing happens while somebody is logged in.
    ///
    /// # Errors
    /// Who is logged in.
    pub async fn remove(&self, name: &IscsiName, force: bool) -> Result<(), InUse> {
        let handles = self.take_out(name, force)?;
        end_all(handles, FAREWELL_TIME).await;
        Ok(())
    }

    fn take_out(&self, name: &IscsiName, force: bool) -> Result<Vec<SessionHandle>, InUse> {
        let mut inner = self.inner.lock();
        if !force {
            let listings = inner.listings(name);
            if !listings.is_empty() {
                return Err(InUse(listings));
            }
        }
        inner.targets.remove(name);
        Ok(inner.handles(name))
    }

    /// A target by name.
    #[must_use]
    pub fn find(&self, name: &IscsiName) -> Option<Arc<Target>> {
        self.inner.lock().targets.get(name).cloned()
    }

    /// Names of the targets that an initiator may discover.
    #[must_use]
    pub fn visible_to(&self, initiator: &IscsiName, from: IpAddr) -> Vec<IscsiName> {
        let inner = self.inner.lock();
        let visible = inner.targets.values().filter(|target| target.permits(initiator, from));
        visible.map(|target| target.name.clone()).collect()
    }

    /// How often somebody has logged in to a target since it was exported.
    #[must_use]
    pub fn logins(&self, name: &IscsiName) -> u64 {
        self.inner.lock().targets.get(name).map_or(0, |target| target.logins.load(Ordering::Relaxed))
    }

    /// Who is logged in to a target.
    #[must_use]
    pub fn sessions(&self, name: &IscsiName) -> Vec<SessionListing> {
        self.inner.lock().listings(name)
    }

    /// Who is logged in, by target.
    #[must_use]
    pub fn sessions_by_target(&self) -> BTreeMap<IscsiName, Vec<SessionListing>> {
        let inner = self.inner.lock();
        let mut by_target: BTreeMap<IscsiName, Vec<SessionListing>> = BTreeMap::new();
        for (_, key, handle) in inner.sessions.iter() {
            if let Some(target) = &key.target_name {
                by_target.entry(target.clone()).or_default().push(listing(key, handle));
            }
        }
        by_target
    }

    /// The volumes' logical units that are open.
    #[must_use]
    pub fn opened_luns(&self) -> Vec<Arc<Lun>> {
        self.inner.lock().targets.values().filter_map(|target| target.opened_lun()).collect()
    }

    /// Number of sessions of all targets, discovery sessions included.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.inner.lock().sessions.len()
    }

    /// Everybody who is logged in.
    #[must_use]
    pub fn logged_in(&self) -> Vec<LoggedIn> {
        let inner = self.inner.lock();
        let told = inner.sessions.iter().map(|(tsih, key, handle)| LoggedIn {
            tsih,
            listing: listing(key, handle),
            portal: handle.portal,
            target: key.target_name.clone(),
            agreed: handle.agreed.get().cloned(),
        });
        told.collect()
    }

    /// Asks an initiator to log out, and ends its session; false when there is no such session.
    pub async fn end_session(&self, tsih: Tsih) -> bool {
        let handle = self.inner.lock().sessions.find(tsih).cloned();
        let is_there = handle.is_some();
        end_all(handle.into_iter().collect(), FAREWELL_TIME).await;
        is_there
    }

    /// A session has come to full feature phase.
    pub(crate) fn note_agreed(&self, agreed: SessionEstablished) {
        if let Some(handle) = self.inner.lock().sessions.find(agreed.tsih) {
            handle.agreed.get_or_init(|| agreed);
        }
    }

    /// Admits a session that has proved itself as its target's `terms` asked. Of those that come to an exclusive target
    /// at the same instant the first is admitted: from then on it is in the table, though it is on its way in yet.
    pub(crate) fn admit(
        &self,
        key: SessionKey,
        tsih: Tsih,
        handle: SessionHandle,
        terms: Option<&Arc<Terms>>,
    ) -> Result<Admission<SessionHandle>, NotAdmitted> {
        let mut inner = self.inner.lock();
        if let Some(name) = &key.target_name {
            let target = inner.targets.get(name).ok_or(LoginStatus::TargetRemoved)?;
            // It may have been given to another initiator since this one was let in.
            if !target.permits(&key.initiator_name, handle.address.ip()) {
                return Err(LoginStatus::AuthorizationFailure.into());
            }
            // What it proved may not be asked for any more, or may be too little: it may try again.
            if !terms.is_some_and(|terms| Arc::ptr_eq(terms, &target.terms.lock())) {
                return Err(LoginStatus::ServiceUnavailable.into());
            }
            if target.terms.lock().exclusive
                && let Some(holder) = inner.holder(name, &key.initiator_name)
            {
                return Err(NotAdmitted::HeldBy(holder));
            }
            target.logins.fetch_add(1, Ordering::Relaxed);
        }
        let existing = inner.sessions.find(tsih);
        let same_connection = existing.is_some_and(|old| old.connection_id == handle.connection_id);
        inner.sessions.admit(key, tsih, same_connection, handle).map_err(|refusal| refusal.0.into())
    }

    /// Forgets a session that ended.
    pub(crate) fn forget(&self, tsih: Tsih) {
        self.inner.lock().sessions.remove(tsih);
    }

    /// The other sessions of a target.
    pub(crate) fn others(&self, name: &IscsiName, own: Tsih) -> Vec<SessionHandle> {
        let inner = self.inner.lock();
        let others = inner
            .sessions
            .iter()
            .filter(|(tsih, key, _)| key.target_name.as_ref() == Some(name) && *tsih != own);
        others.map(|(_, _, handle)| handle.clone()).collect()
    }

    /// All sessions.
    pub(crate) fn all_sessions(&self) -> Vec<SessionHandle> {
        self.inner.lock().sessions.iter().map(|(_, _, handle)| handle.clone()).collect()
    }
}

impl Inner {
    fn of_target(&self, name: &IscsiName) -> impl Iterator<Item = (&SessionKey, &SessionHandle)> {
        let name = name.clone();
        self.sessions
            .iter()
            .filter(move |(_, key, _)| key.target_name.as_ref() == Some(&name))
            .map(|(_, key, handle)| (key, handle))
    }

    fn handles(&self, name: &IscsiName) -> Vec<SessionHandle> {
        self.of_target(name).map(|(_, handle)| handle.clone()).collect()
    }

    fn handles_of(&self, name: &IscsiName, meant: impl Fn(&SessionListing) -> bool) -> Vec<SessionHandle> {
        let sessions = self.of_target(name).filter(|(key, handle)| meant(&listing(key, handle)));
        sessions.map(|(_, handle)| handle.clone()).collect()
    }

    /// Who keeps an initiator out of an exclusive target. Nobody, if it has a session already: whoever comes again, from its
    /// boot loader or after a break of the network, does not wait until its old session is found dead.
    fn holder(&self, name: &IscsiName, initiator: &IscsiName) -> Option<SessionListing> {
        let here = self.listings(name);
        let has_one = here.iter().any(|session| session.initiator == *initiator);
        here.into_iter().next().filter(|_| !has_one)
    }

    fn listings(&self, name: &IscsiName) -> Vec<SessionListing> {
        self.of_target(name).map(|(key, handle)| listing(key, handle)).collect()
    }
}

fn listing(key: &SessionKey, handle: &SessionHandle) -> SessionListing {
    SessionListing {
        initiator: key.initiator_name.clone(),
        isid: key.isid,
        address: handle.address,
        since: handle.since,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> IscsiName {
        IscsiName::parse(text).unwrap()
    }

    /// Initiators × addresses, empty and not, in every form of an address (COMPAT L22).
    #[test]
    fn who_is_permitted() {
        const A: &str = "iqn.2026-01.x:a";
        const B: &str = "iqn.2026-01.x:b";
        type Names = &'static [&'static str];
        // Lists of initiators and of addresses; who asks, from where; what comes of it.
        const TABLE: &[(Names, Names, &str, &str, bool)] = &[
            (&[], &[], A, "10.0.0.1", true),
            (&[], &[], B, "fd00::1", true),
            (&[A], &[], A, "10.0.0.1", true),
            (&[A], &[], "IQN.2026-01.X:A", "10.0.0.1", true),
            (&[A], &[], B, "10.0.0.1", false),
            (&[A, B], &[], B, "fd00::1", true),
            (&[], &["10.0.0.0/8"], A, "10.0.0.1", true),
            (&[], &["10.0.0.0/8"], A, "11.0.0.1", false),
            (&[], &["10.0.0.0/8"], A, "::ffff:10.0.0.1", true),
            (&[], &["10.0.0.0/8"], A, "::ffff:11.0.0.1", false),
            (&[], &["10.0.0.0/8"], A, "fd00::1", false),
            (&[], &["::ffff:10.0.0.0/104"], A, "10.0.0.1", true),
            (&[], &["::/0"], A, "10.0.0.1", false),
            (&[], &["fd00::/8", "10.0.0.1"], A, "10.0.0.1", true),
            (&[], &["fd00::/8", "10.0.0.1"], A, "10.0.0.2", false),
            (&[A], &["10.0.0.0/8"], A, "10.0.0.1", true),
            (&[A], &["10.0.0.0/8"], A, "11.0.0.1", false),
            (&[A], &["10.0.0.0/8"], B, "10.0.0.1", false),
            (&[A], &["10.0.0.0/8"], B, "11.0.0.1", false),
        ];
        for (initiators, addresses, who, from, permitted) in TABLE {
            let access = Access {
                initiators: initiators.iter().map(|text| name(text)).collect(),
                addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
                authentication: AuthenticationPolicy::None,
            };
            let from: IpAddr = from.parse().unwrap();
            assert_eq!(access.permits(&name(who), from), *permitted, "{who} from {from}: {access:?}");
            // What it may not log in to, it does not discover.
            let directory = Directory::new();
            let target = name("iqn.2026-01.x:disk");
            directory.add(target.clone(), access, Box::new(|| anyhow::bail!("never opened")));
            let seen = directory.visible_to(&name(who), from);
            assert_eq!(seen, if *permitted { vec![target] } else { vec![] }, "{who} from {from}");
        }
    }

    #[test]
    fn whoever_came_to_where_it_would_be_sent_is_not_sent_on() {
        let concerns = |to: &str, local: &str| {
            Redirect { to: to.parse().unwrap(), permanent: false }.concerns(local.parse().unwrap())
        };
        assert!(concerns("10.0.0.2:3260", "10.0.0.1:3260"));
        assert!(concerns("10.0.0.2:3260", "10.0.0.2:3261"));
        assert!(concerns("10.0.0.2:3260", "[fd00::2]:3260"));
        assert!(!concerns("10.0.0.2:3260", "10.0.0.2:3260"));
        assert!(!concerns("10.0.0.2:3260", "[::ffff:10.0.0.2]:3260"));
        assert!(!concerns("[fd00::2]:3260", "[fd00::2%3]:3260"));
    }
}
