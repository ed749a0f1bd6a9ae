//! Login sessions. They live in memory: a restart ends them all, and what is kept of a token is its digest alone.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use api::{Refusal, Role, Secret};
use axum::http::{HeaderMap, HeaderName};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::actor::Actor;
use super::refusals;

/// A session that nobody uses ends after this.
const IDLE_TIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// Sessions of one user; with another one, the longest idle of them ends.
const OF_ONE_USER_MAX: usize = 256;
/// Sessions of all.
const TOTAL_MAX: usize = 4096;
/// Bytes of randomness in a token.
const TOKEN_BYTES: usize = 32;
/// The header that names a session.
const AUTH: HeaderName = HeaderName::from_static("auth");

type TokenDigest = [u8; 32];

/// Who is logged in.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<TokenDigest, Session>>);

#[derive(Debug)]
struct Session {
    user: Uuid,
    name: String,
    roles: Vec<Role>,
    used: Instant,
}

impl Sessions {
    /// Logs a user in: the session's token.
    pub(super) fn begin(
        &self,
        user: Uuid,
        name: &str,
        roles: Vec<Role>,
        now: Instant,
    ) -> Result<Secret, Refusal> {
        let token = new_token()?;
        let mut sessions = self.0.lock();
        sessions.retain(|_, session| !session.is_over(now));
        make_room(&mut sessions, OF_ONE_USER_MAX, |session| session.user == user);
        make_room(&mut sessions, TOTAL_MAX, |_| true);
        sessions.insert(digest(&token), Session { user, name: name.to_owned(), roles, used: now });
        Ok(Secret(token))
    }

    /// Whose session a token is. It counts as used.
    pub(super) fn actor(&self, token: &str, now: Instant) -> Option<Actor> {
        let mut sessions = self.0.lock();
        let session = sessions.get_mut(&digest(token)).filter(|session| !session.is_over(now))?;
        session.used = now;
        Some(Actor::logged_in(session.name.clone(), session.roles.clone()))
    }

    /// Ends a session.
    pub(super) fn end(&self, token: &str) -> bool {
        self.0.lock().remove(&digest(token)).is_some()
    }

    /// Ends all sessions of a user: password, roles or more have changed.
    pub(super) fn end_all_of(&self, user: Uuid) {
        self.0.lock().retain(|_, session| session.user != user);
    }
}

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.used) >= IDLE_TIME_MAX
    }
}

/// Ends the longest idle of some sessions while there are as many as there may be.
fn make_room(sessions: &mut HashMap<TokenDigest, Session>, max: usize, of: impl Fn(&Session) -> bool) {
    while sessions.values().filter(|session| of(session)).count() >= max {
        let some = sessions.iter().filter(|(_, session)| of(session));
        match some.min_by_key(|(_, session)| session.used).map(|(digest, _)| *digest) {
            Some(oldest) => sessions.remove(&oldest),
            None => return,
        };
    }
}

/// The token that a request names.
pub(super) fn token_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTH)?.to_str().ok().map(str::trim).filter(|token| !token.is_empty())
}

fn new_token() -> Result<String, Refusal> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| refusals::internal("the random generator", &error))?;
    Ok(bytes.iter().fold(String::with_capacity(2 * TOKEN_BYTES), |mut token, byte| {
        // Writing into a text cannot fail.
        let _ = write!(token, "{byte:02x}");
        token
    }))
}

/// Tokens are random, so a plain digest keeps them; and comparing digests tells nothing of a token.
fn digest(token: &str) -> TokenDigest {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Role = Role::ReadOnly;

    #[test]
    fn a_token_stands_for_its_user_until_it_ends() {
        let sessions = Sessions::default();
        let (now, user) = (Instant::now(), Uuid::new_v4());
        let token = sessions.begin(user, "alice", vec![READ], now).unwrap().0;
        assert_eq!(token.len(), 64);
        assert_eq!(sessions.actor(&token, now).unwrap(), Actor::logged_in("alice".into(), vec![READ]));
        assert_eq!(sessions.actor("x", now), None);
        assert!(!format!("{sessions:?}").contains(&token), "only the digest is kept");
        assert!(sessions.end(&token) && !sessions.end(&token));
        assert_eq!(sessions.actor(&token, now), None);
    }

    #[test]
    fn a_session_ends_by_itself_only_when_it_is_not_used() {
        let sessions = Sessions::default();
        let start = Instant::now();
        let token = sessions.begin(Uuid::new_v4(), "a", vec![READ], start).unwrap().0;
        let hours = |hours: u64| start + Duration::from_secs(hours * 3600);
        assert!(sessions.actor(&token, hours(23)).is_some());
        assert!(sessions.actor(&token, hours(46)).is_some());
        assert!(sessions.actor(&token, hours(70)).is_none());
    }

    #[test]
    fn the_longest_idle_makes_way() {
        let sessions = Sessions::default();
        let (start, user) = (Instant::now(), Uuid::new_v4());
        let at = |second: usize| start + Duration::from_secs(second as u64);
        let tokens: Vec<_> =
            (0..OF_ONE_USER_MAX).map(|n| sessions.begin(user, "a", vec![READ], at(n)).unwrap().0).collect();
        let other = sessions.begin(Uuid::new_v4(), "b", vec![READ], start).unwrap().0;
        assert!(sessions.actor(&tokens[0], at(1000)).is_some());
        sessions.begin(user, "a", vec![READ], at(1001)).unwrap();
        assert!(sessions.actor(&tokens[1], at(1002)).is_none(), "the longest idle of this user");
        assert!(sessions.actor(&tokens[0], at(1002)).is_some());
        assert!(sessions.actor(&other, at(1002)).is_some());
        sessions.end_all_of(user);
        assert_eq!(sessions.0.lock().len(), 1);
    }
}
