//! Which sessions there are: admission, reinstatement, removal (RFC 7143 §6.3). Pure; the driver holds the table
//! under its own lock.

use crate::error::LoginStatus;
use crate::limits::SESSIONS_MAX;
use crate::names::{IscsiName, Isid, PortalGroupTag, SessionType, Tsih};
use std::collections::HashMap;

/// What makes two sessions the same one: InitiatorName, ISID, TargetName and portal group tag (RFC 7143 §4.4.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// InitiatorName.
    pub initiator_name: IscsiName,
    /// ISID.
    pub isid: Isid,
    /// TargetName; absent in a discovery session.
    pub target_name: Option<IscsiName>,
    /// TargetPortalGroupTag.
    pub portal_group_tag: PortalGroupTag,
}

/// An admitted session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission<H> {
    /// TSIH of the new session: never zero, unique in the table.
    pub tsih: Tsih,
    /// The session that it replaces. End it and wait until none of its tasks can have an effect, then establish
    /// the new one.
    pub replaced: Option<(Tsih, H)>,
}

/// A session that is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRefusal(pub LoginStatus);

/// All sessions of a daemon. `H` is the driver's handle to a session.
#[derive(Debug)]
pub struct SessionTable<H> {
    by_tsih: HashMap<Tsih, (SessionKey, H)>,
    by_key: HashMap<SessionKey, Tsih>,
    last: Tsih,
    sessions_max: usize,
}

impl<H: Clone> SessionTable<H> {
    /// An empty table that admits [`SESSIONS_MAX`] sessions.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limit(SESSIONS_MAX)
    }

    /// An empty table that admits `sessions_max` sessions.
    #[must_use]
    pub fn with_limit(sessions_max: usize) -> Self {
        let sessions_max = sessions_max.min(usize::from(u16::MAX) - 1);
        Self { by_tsih: HashMap::new(), by_key: HashMap::new(), last: Tsih(0), sessions_max }
    }

    /// Admits the session of a login, or says what to refuse it with.
    ///
    /// TSIH 0 makes a new session, and replaces the one of the same key (session reinstatement, RFC 7143 §6.3.5,
    /// §7.15).
    /// A discovery session replaces none: its key has no target, and a host may run several at once.
    /// A TSIH of an existing session asks for a second connection, or for its one connection to be reinstated
    /// (§6.3.4): with one connection a session and ErrorRecoveryLevel 0, both mean a new session in its place.
    ///
    /// # Errors
    /// [`LoginStatus::SessionDoesNotExist`], [`LoginStatus::TooManyConnections`] or
    /// [`LoginStatus::OutOfResources`].
    pub fn admit(
        &mut self,
        key: SessionKey,
        tsih: Tsih,
        same_connection: bool,
        handle: H,
    ) -> Result<Admission<H>, SessionRefusal> {
        if tsih != Tsih(0) {
            match self.by_tsih.get(&tsih) {
                Some((existing, _)) if *existing == key && same_connection => {}
                Some((existing, _)) if *existing == key => {
                    return Err(SessionRefusal(LoginStatus::TooManyConnections));
                }
                _ => return Err(SessionRefusal(LoginStatus::SessionDoesNotExist)),
            }
        }
        let replaces = key.target_name.is_some();
        let replaced_tsih = if replaces { self.by_key.get(&key).copied() } else { None };
        if replaced_tsih.is_none() && self.by_tsih.len() >= self.sessions_max {
            return Err(SessionRefusal(LoginStatus::OutOfResources));
        }
        let replaced =
            replaced_tsih.and_then(|old| self.by_tsih.remove(&old).map(|(_, handle)| (old, handle)));
        let new = self.free_tsih();
        if replaces {
            self.by_key.insert(key.clone(), new);
        }
        self.by_tsih.insert(new, (key, handle));
        Ok(Admission { tsih: new, replaced })
    }

    /// Forgets a session that ended. One that was replaced meanwhile is left alone.
    pub fn remove(&mut self, tsih: Tsih) -> Option<H> {
        let (key, handle) = self.by_tsih.remove(&tsih)?;
        if self.by_key.get(&key) == Some(&tsih) {
            self.by_key.remove(&key);
        }
        Some(handle)
    }

    /// Handle of a session.
    #[must_use]
    pub fn find(&self, tsih: Tsih) -> Option<&H> {
        self.by_tsih.get(&tsih).map(|(_, handle)| handle)
    }

    /// All sessions.
    pub fn iter(&self) -> impl Iterator<Item = (Tsih, &SessionKey, &H)> {
        self.by_tsih.iter().map(|(tsih, (key, handle))| (*tsih, key, handle))
    }

    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_tsih.len()
    }

    /// Is there no session?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_tsih.is_empty()
    }

    fn free_tsih(&mut self) -> Tsih {
        loop {
            self.last = Tsih(self.last.0.wrapping_add(1).max(1));
            if !self.by_tsih.contains_key(&self.last) {
                return self.last;
            }
        }
    }
}

impl<H: Clone> Default for SessionTable<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl SessionKey {
    /// The key of a login.
    #[must_use]
    pub fn of(request: &crate::event::SessionRequested) -> Self {
        let target_name = match request.session_type {
            SessionType::Normal => request.target_name.clone(),
            SessionType::Discovery => None,
        };
        Self {
            initiator_name: request.initiator_name.clone(),
            isid: request.isid,
            target_name,
            portal_group_tag: request.portal_group_tag,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(isid: u8, target: Option<&str>) -> SessionKey {
        SessionKey {
            initiator_name: IscsiName::parse("iqn.2026-01.test:host").unwrap(),
            isid: Isid([isid; 6]),
            target_name: target.map(|name| IscsiName::parse(name).unwrap()),
            portal_group_tag: PortalGroupTag(1),
        }
    }

    const TARGET: Option<&str> = Some("iqn.2026-01.test:disk");

    #[test]
    fn the_same_key_replaces_and_another_isid_stands_beside() {
        let mut table = SessionTable::new();
        let first = table.admit(key(1, TARGET), Tsih(0), false, "a").unwrap();
        assert_eq!(first.replaced, None);
        assert_eq!(table.admit(key(2, TARGET), Tsih(0), false, "b").unwrap().replaced, None);
        let again = table.admit(key(1, TARGET), Tsih(0), false, "c").unwrap();
        assert_eq!(again.replaced, Some((first.tsih, "a")));
        assert_ne!(again.tsih, first.tsih);
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn the_end_of_a_replaced_session_does_not_remove_its_heir() {
        let mut table = SessionTable::new();
        let old = table.admit(key(1, TARGET), Tsih(0), false, "old").unwrap();
        let new = table.admit(key(1, TARGET), Tsih(0), false, "new").unwrap();
        assert_eq!(table.remove(old.tsih), None);
        let newer = table.admit(key(1, TARGET), Tsih(0), false, "newer").unwrap();
        assert_eq!(newer.replaced, Some((new.tsih, "new")));
    }

    #[test]
    fn discovery_sessions_do_not_replace_each_other() {
        let mut table = SessionTable::new();
        table.admit(key(1, None), Tsih(0), false, "a").unwrap();
        assert_eq!(table.admit(key(1, None), Tsih(0), false, "b").unwrap().replaced, None);
    }

    #[test]
    fn a_second_connection_is_refused_and_an_unknown_session_does_not_exist() {
        let mut table = SessionTable::new();
        let first = table.admit(key(1, TARGET), Tsih(0), false, "a").unwrap();
        let refused = table.admit(key(1, TARGET), first.tsih, false, "b").unwrap_err();
        assert_eq!(refused, SessionRefusal(LoginStatus::TooManyConnections));
        let unknown = table.admit(key(1, TARGET), Tsih(777), true, "b").unwrap_err();
        assert_eq!(unknown, SessionRefusal(LoginStatus::SessionDoesNotExist));
        let reinstated = table.admit(key(1, TARGET), first.tsih, true, "b").unwrap();
        assert_eq!(reinstated.replaced, Some((first.tsih, "a")));
    }

    #[test]
    fn a_full_table_refuses_the_newest_but_still_reinstates() {
        let mut table = SessionTable::with_limit(1);
        table.admit(key(1, TARGET), Tsih(0), false, "a").unwrap();
        let refused = table.admit(key(2, TARGET), Tsih(0), false, "b").unwrap_err();
        assert_eq!(refused, SessionRefusal(LoginStatus::OutOfResources));
        assert!(table.admit(key(1, TARGET), Tsih(0), false, "c").is_ok());
    }

    #[test]
    fn tsih_wraps_past_zero_and_past_those_in_use() {
        let mut table = SessionTable::new();
        let kept = table.admit(key(1, TARGET), Tsih(0), false, 0).unwrap().tsih;
        for round in 0..70_000 {
            let tsih = table.admit(key(2, TARGET), Tsih(0), false, round).unwrap().tsih;
            assert!(tsih != Tsih(0) && tsih != kept);
        }
    }
}
