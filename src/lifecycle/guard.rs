//! Who stands in the way of an operation, and what was said to it. Pure.

/// What whoever asks has said beforehand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Consent {
    /// Proceed, whatever is lost.
    pub force: bool,
    /// Proceed, if things are as they were when this was given out.
    pub token: Option<String>,
    /// Proceed although initiators are logged in, or the server is recorded as powered on.
    pub while_in_use: bool,
}

/// How a volume that would be touched is being used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InUse {
    /// Initiators that are logged in.
    pub sessions: Vec<String>,
    /// The server that is recorded as powered on.
    pub powered_on: Option<String>,
}

/// What keeps an operation from going on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hindrance {
    /// It takes a disk from these.
    LoggedIn(Vec<String>),
    /// It loses the disk of a server that is on.
    PoweredOn(String),
    /// It loses data, and nobody has said proceed.
    Unconfirmed,
    /// What was confirmed is not what would happen now.
    StaleToken,
}

/// What a confirmation is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmation {
    /// There is none.
    None,
    /// It is for this very state.
    Good,
    /// It was for another state, or is too old.
    Stale,
}

/// May the operation go on? `lossy`: it loses data. `withdraws`: it takes a disk away, be it retained.
///
/// # Errors
/// What keeps it from that, the most telling first.
pub fn check(
    lossy: bool,
    withdraws: bool,
    in_use: &InUse,
    consent: &Consent,
    confirmation: Confirmation,
) -> Result<(), Hindrance> {
    if confirmation == Confirmation::Stale {
        return Err(Hindrance::StaleToken);
    }
    if !consent.while_in_use {
        if (lossy || withdraws) && !in_use.sessions.is_empty() {
            return Err(Hindrance::LoggedIn(in_use.sessions.clone()));
        }
        if let Some(server) = in_use.powered_on.as_ref().filter(|_| lossy) {
            return Err(Hindrance::PoweredOn(server.clone()));
        }
    }
    match lossy && !consent.force && confirmation != Confirmation::Good {
        true => Err(Hindrance::Unconfirmed),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: [bool; 2] = [false, true];

    fn every(mut with: impl FnMut(bool, bool, &InUse, &Consent, Confirmation)) {
        for (lossy, withdraws) in FLAGS.into_iter().flat_map(|a| FLAGS.map(|b| (a, b))) {
            for (logged_in, on) in FLAGS.into_iter().flat_map(|a| FLAGS.map(|b| (a, b))) {
                for (force, while_in_use) in FLAGS.into_iter().flat_map(|a| FLAGS.map(|b| (a, b))) {
                    for confirmation in [Confirmation::None, Confirmation::Good, Confirmation::Stale] {
                        let in_use = InUse {
                            sessions: logged_in.then(|| "iqn.x".to_owned()).into_iter().collect(),
                            powered_on: on.then(|| "bay1".to_owned()),
                        };
                        let consent = Consent { force, token: None, while_in_use };
                        with(lossy, withdraws, &in_use, &consent, confirmation);
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_is_lost_that_nobody_has_confirmed() {
        every(|lossy, withdraws, in_use, consent, confirmation| {
            if check(lossy, withdraws, in_use, consent, confirmation).is_ok() && lossy {
                assert!(consent.force || confirmation == Confirmation::Good);
            }
        });
    }

    #[test]
    fn nobody_loses_the_disk_under_it_unless_that_is_asked_for() {
        every(|lossy, withdraws, in_use, consent, confirmation| {
            if check(lossy, withdraws, in_use, consent, confirmation).is_ok() && !consent.while_in_use {
                assert!(in_use.sessions.is_empty() || !(lossy || withdraws));
                assert!(in_use.powered_on.is_none() || !lossy);
            }
        });
    }

    #[test]
    fn what_was_confirmed_is_what_happens_or_nothing_does() {
        every(|lossy, withdraws, in_use, consent, confirmation| {
            let checked = check(lossy, withdraws, in_use, consent, confirmation);
            assert_eq!(checked == Err(Hindrance::StaleToken), confirmation == Confirmation::Stale);
        });
    }

    #[test]
    fn what_loses_nothing_and_takes_nothing_away_is_never_hindered() {
        every(|lossy, withdraws, in_use, consent, confirmation| {
            if !lossy && !withdraws && confirmation != Confirmation::Stale {
                check(lossy, withdraws, in_use, consent, confirmation).unwrap();
            }
        });
    }
}
