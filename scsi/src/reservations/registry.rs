//! Who is registered and who holds the persistent reservation (SPC-4). No bytes, no nexuses: only the rules.

use super::Holder;
use crate::limits::REGISTRATIONS_MAX;
use crate::nexus::{Access, InitiatorPort};

/// TYPE of a persistent reservation (SPC-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    WriteExclusive = 1,
    ExclusiveAccess = 3,
    WriteExclusiveRegistrantsOnly = 5,
    ExclusiveAccessRegistrantsOnly = 6,
    WriteExclusiveAllRegistrants = 7,
    ExclusiveAccessAllRegistrants = 8,
}

impl Kind {
    pub(crate) fn parse(kind: u8) -> Option<Self> {
        Some(match kind {
            1 => Self::WriteExclusive,
            3 => Self::ExclusiveAccess,
            5 => Self::WriteExclusiveRegistrantsOnly,
            6 => Self::ExclusiveAccessRegistrantsOnly,
            7 => Self::WriteExclusiveAllRegistrants,
            8 => Self::ExclusiveAccessAllRegistrants,
            _ => return None,
        })
    }

    pub(crate) fn all_registrants(self) -> bool {
        matches!(self, Self::WriteExclusiveAllRegistrants | Self::ExclusiveAccessAllRegistrants)
    }

    /// The types whose release is told to every registered nexus.
    fn concerns_registrants(self) -> bool {
        !matches!(self, Self::WriteExclusive | Self::ExclusiveAccess)
    }

    fn access_of_others(self) -> Access {
        match self {
            Self::WriteExclusive
            | Self::WriteExclusiveRegistrantsOnly
            | Self::WriteExclusiveAllRegistrants => Access::Reads,
            Self::ExclusiveAccess
            | Self::ExclusiveAccessRegistrantsOnly
            | Self::ExclusiveAccessAllRegistrants => Access::Nothing,
        }
    }
}

/// One registered I_T nexus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registration {
    pub(crate) holder: Holder,
    pub(crate) key: u64,
    /// Registered with ALL_TG_PT.
    pub(crate) all_target_ports: bool,
}

/// The persistent reservation. Of an all registrants type, `holder` is whoever made it and means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    pub(crate) holder: Holder,
    pub(crate) kind: Kind,
}

/// What a service action asks for that the rules do not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// RESERVATION CONFLICT.
    Conflict,
    /// INVALID RELEASE OF PERSISTENT RESERVATION.
    InvalidRelease,
    /// INVALID FIELD IN PARAMETER LIST.
    InvalidKey,
    /// INSUFFICIENT REGISTRATION RESOURCES.
    NoRoom,
}

/// What others have to be told after a service action.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notice {
    /// RESERVATIONS RELEASED.
    pub(crate) released: Vec<Holder>,
    /// RESERVATIONS PREEMPTED.
    pub(crate) cleared: Vec<Holder>,
    /// REGISTRATIONS PREEMPTED.
    pub(crate) preempted: Vec<Holder>,
}

type Ruling = Result<Notice, Violation>;

/// Registrations and the reservation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Registry {
    pub(crate) registrations: Vec<Registration>,
    pub(crate) reservation: Option<Reservation>,
    /// PRGENERATION.
    pub(crate) generation: u32,
}

impl Registry {
    pub(crate) fn is_empty(&self) -> bool {
        self.registrations.is_empty()
    }

    pub(crate) fn access(&self, port: &InitiatorPort, target_port: u16) -> Access {
        let Some(reservation) = &self.reservation else { return Access::Full };
        let registered = self.find(port, target_port).is_some();
        let holds = reservation.holder.target_port == target_port && reservation.holder.port.covers(port);
        let free = match reservation.kind {
            Kind::WriteExclusive | Kind::ExclusiveAccess => registered && holds,
            Kind::WriteExclusiveRegistrantsOnly
            | Kind::ExclusiveAccessRegistrantsOnly
            | Kind::WriteExclusiveAllRegistrants
            | Kind::ExclusiveAccessAllRegistrants => registered,
        };
        if free { Access::Full } else { reservation.kind.access_of_others() }
    }

    fn find(&self, port: &InitiatorPort, target_port: u16) -> Option<&Registration> {
        self.registrations.iter().find(|r| r.holder.target_port == target_port && r.holder.port.covers(port))
    }

    /// The registration of a nexus.
    pub(crate) fn registration(&self, who: &Holder) -> Option<&Registration> {
        self.find(&who.port, who.target_port)
    }

    pub(crate) fn holds(&self, registration: &Registration) -> bool {
        self.reservation.as_ref().is_some_and(|r| r.kind.all_registrants() || r.holder == registration.holder)
    }

    /// The nexus's registration, when it has one under this key.
    fn authorize(&self, who: &Holder, key: u64) -> Result<Holder, Violation> {
        let registration = self.registration(who).filter(|r| r.key == key);
        registration.map(|r| r.holder.clone()).ok_or(Violation::Conflict)
    }

    /// REGISTER and REGISTER AND IGNORE EXISTING KEY: `whom` are the nexuses to register besides or instead of
    /// the asking one (SPEC_I_PT, ALL_TG_PT); `key` is `None` when the existing key is ignored.
    pub(crate) fn register(
        &mut self,
        who: &Holder,
        key: Option<u64>,
        new_key: u64,
        whom: &[Holder],
        all_target_ports: bool,
    ) -> Ruling {
        let registered = self.registration(who).map(|r| r.key);
        if key.is_some_and(|key| key != registered.unwrap_or(0)) {
            return Err(Violation::Conflict);
        }
        let mut notice = Notice::default();
        match (registered, new_key) {
            (None, 0) => {}
            (Some(_), 0) => whom.iter().for_each(|w| self.unregister(w, &mut notice)),
            _ => self.add(whom, new_key, all_target_ports)?,
        }
        self.generation = self.generation.wrapping_add(1);
        Ok(notice)
    }

    fn add(&mut self, whom: &[Holder], key: u64, all_target_ports: bool) -> Result<(), Violation> {
        let new = whom.iter().filter(|w| self.registration(w).is_none()).count();
        if self.registrations.len() + new > REGISTRATIONS_MAX {
            return Err(Violation::NoRoom);
        }
        for holder in whom {
            let existing = self
                .registrations
                .iter_mut()
                .find(|r| r.holder.target_port == holder.target_port && r.holder.port.covers(&holder.port));
            match existing {
                Some(registration) => {
                    registration.key = key;
                    registration.all_target_ports = all_target_ports;
                }
                None => {
                    let registration = Registration { holder: holder.clone(), key, all_target_ports };
                    self.registrations.push(registration);
                }
            }
        }
        Ok(())
    }

    /// SPC-4: unregistering the holder releases; of all registrants, the last one does.
    fn unregister(&mut self, who: &Holder, notice: &mut Notice) {
        let Some(holder) = self.registration(who).map(|r| r.holder.clone()) else { return };
        self.registrations.retain(|r| r.holder != holder);
        let Some(reservation) = &self.reservation else { return };
        let kind = reservation.kind;
        let gone = match kind.all_registrants() {
            true => self.registrations.is_empty(),
            false => reservation.holder == holder,
        };
        if gone {
            self.reservation = None;
            if kind.concerns_registrants() {
                notice.released.extend(self.holders_but(&holder));
            }
        }
    }

    fn holders_but(&self, who: &Holder) -> Vec<Holder> {
        self.registrations.iter().map(|r| &r.holder).filter(|h| *h != who).cloned().collect()
    }

    /// RESERVE.
    pub(crate) fn reserve(&mut self, who: &Holder, key: u64, kind: Kind) -> Ruling {
        let who = self.authorize(who, key)?;
        match &self.reservation {
            None => self.reservation = Some(Reservation { holder: who, kind }),
            Some(existing) if existing.kind == kind && (existing.holder == who || kind.all_registrants()) => {
            }
            Some(_) => return Err(Violation::Conflict),
        }
        Ok(Notice::default())
    }

    /// RELEASE.
    pub(crate) fn release(&mut self, who: &Holder, key: u64, kind: Option<Kind>) -> Ruling {
        let who = self.authorize(who, key)?;
        let Some(existing) = &self.reservation else { return Ok(Notice::default()) };
        if !existing.kind.all_registrants() && existing.holder != who {
            return Ok(Notice::default());
        }
        let existing = existing.kind;
        if kind != Some(existing) {
            return Err(Violation::InvalidRelease);
        }
        self.reservation = None;
        let released = if existing.concerns_registrants() { self.holders_but(&who) } else { vec![] };
        Ok(Notice { released, ..Notice::default() })
    }

    /// CLEAR.
    pub(crate) fn clear(&mut self, who: &Holder, key: u64) -> Ruling {
        let who = self.authorize(who, key)?;
        let cleared = self.holders_but(&who);
        self.registrations.clear();
        self.reservation = None;
        self.generation = self.generation.wrapping_add(1);
        Ok(Notice { cleared, ..Notice::default() })
    }

    /// PREEMPT and PREEMPT AND ABORT.
    pub(crate) fn preempt(&mut self, who: &Holder, key: u64, victim_key: u64, kind: Option<Kind>) -> Ruling {
        let who = self.authorize(who, key)?;
        let all_registrants = self.reservation.as_ref().is_some_and(|r| r.kind.all_registrants());
        let holder_key = self.reservation.as_ref().and_then(|r| self.registration(&r.holder)).map(|r| r.key);
        let takes_over = match all_registrants {
            true => victim_key == 0,
            false => holder_key == Some(victim_key) && victim_key != 0,
        };
        let everybody = all_registrants && victim_key == 0;
        if !takes_over && victim_key == 0 {
            return Err(Violation::InvalidKey);
        }
        if !everybody && !self.registrations.iter().any(|r| r.key == victim_key) {
            return Err(Violation::Conflict);
        }
        if takes_over && kind.is_none() {
            return Err(Violation::InvalidKey);
        }
        let mut notice = Notice::default();
        self.registrations.retain(|r| {
            let victim = (everybody || r.key == victim_key) && r.holder != who;
            if victim {
                notice.preempted.push(r.holder.clone());
            }
            !victim
        });
        if let (true, Some(kind)) = (takes_over, kind) {
            self.take_over(who, kind, &mut notice);
        } else if self.registrations.is_empty() {
            self.reservation = None;
        }
        self.generation = self.generation.wrapping_add(1);
        Ok(notice)
    }

    /// The reservation of another changes hands; where its type changes, those who stay registered are told.
    fn take_over(&mut self, who: Holder, kind: Kind, notice: &mut Notice) {
        let before = self.reservation.as_ref().map(|r| r.kind);
        if before.is_some_and(|before| before != kind && before.concerns_registrants()) {
            notice.released = self.holders_but(&who);
        }
        self.reservation = Some(Reservation { holder: who, kind });
    }

    /// REGISTER AND MOVE: the holder hands its reservation to another nexus.
    pub(crate) fn register_and_move(
        &mut self,
        who: &Holder,
        key: u64,
        new_key: u64,
        to: &Holder,
        unregister: bool,
    ) -> Ruling {
        let who = self.authorize(who, key)?;
        let kind = match &self.reservation {
            Some(reservation) if reservation.kind.all_registrants() => return Err(Violation::Conflict),
            Some(reservation) if reservation.holder == who => reservation.kind,
            _ => return Err(Violation::Conflict),
        };
        if new_key == 0 || *to == who {
            return Err(Violation::InvalidKey);
        }
        self.add(std::slice::from_ref(to), new_key, false)?;
        self.reservation = Some(Reservation { holder: to.clone(), kind });
        if unregister {
            self.registrations.retain(|r| r.holder != who);
        }
        self.generation = self.generation.wrapping_add(1);
        Ok(Notice::default())
    }
}
