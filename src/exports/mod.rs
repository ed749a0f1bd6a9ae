//! The directory of exported targets, and who is logged in to them.
//!
//! One lock holds both, so that a login and a removal see each other: a session is admitted only while its target is
//! there, and a removal ends every session that was admitted.

mod session;
mod target;
mod terms;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use iscsi::{Admission, IscsiName, LoginStatus, SessionEstablished, SessionKey, SessionTable, Tsih};
use parking_lot::Mutex;

use self::session::listing;
pub use self::session::{InUse, LoggedIn, SessionListing};
pub(crate) use self::session::{NotAdmitted, SessionHandle, end_all};
pub use self::target::{Luns, OpenLuns, Target};
pub use self::terms::{Access, Redirect, Terms};
use crate::lun::Lun;

/// Time that initiators have for a logout before their target is taken away by force.
const FAREWELL_TIME: Duration = Duration::from_secs(1);

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
        let target = Target::new(name.clone(), terms.into(), open);
        self.inner.lock().targets.insert(name, target);
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
