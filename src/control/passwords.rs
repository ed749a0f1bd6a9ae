//! Passwords: hashed with argon2id, a few at a time, on threads that may be busy for long.

use std::sync::Arc;

use api::{Code, Refusal, Secret};
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, Params};
use tokio::sync::Semaphore;

use super::refusals;

/// Hashes that are computed at a time: each takes a core and 19 MiB for a while.
const AT_ONCE_MAX: usize = 2;
/// Hashes that may wait for their turn.
const WAITING_MAX: usize = 64;
/// Shortest password that is taken.
const CHARS_MIN: usize = 8;
/// Longest password.
const BYTES_MAX: usize = 1024;
/// Highest costs that a hash in the catalog may ask for: a hand in the file must not stop the daemon.
const MEMORY_KIB_MAX: u32 = 64 << 10;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 4;

/// The one place where passwords are hashed.
#[derive(Debug)]
pub(super) struct Passwords {
    turns: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(AT_ONCE_MAX)),
            places: Arc::new(Semaphore::new(AT_ONCE_MAX + WAITING_MAX)),
        }
    }
}

impl Passwords {
    /// The hash of a new password.
    pub(super) async fn hash(&self, password: Secret) -> Result<String, Refusal> {
        check(&password.0)?;
        self.in_turn(move || hash(&password.0)).await?
    }

    /// Whether a password is the one that was hashed. Without a hash, because there is no such user, it takes as long
    /// and says no.
    pub(super) async fn verify(&self, password: Secret, hash: Option<String>) -> Result<bool, Refusal> {
        if password.0.len() > BYTES_MAX {
            return Ok(false);
        }
        self.in_turn(move || verify(&password.0, hash.as_deref())).await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let Ok(_place) = self.places.clone().try_acquire_owned() else {
            let message = "too many others are logging in at this moment";
            return Err(Refusal::new(Code::TooMany, message).action("try again in a few seconds"));
        };
        let turn = self.turns.clone().acquire_owned().await;
        let turn = turn.map_err(|error| refusals::internal("hashing a password", &error))?;
        let work = move || {
            let done = work();
            // Only now: whoever asked may be gone long before.
            drop(turn);
            done
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| refusals::internal("hashing a password", &error))
    }
}

fn check(password: &str) -> Result<(), Refusal> {
    let refuse = |message: String| Err(Refusal::new(Code::InvalidValue, message).source("password"));
    match password.len() {
        _ if password.chars().count() < CHARS_MIN => {
            refuse(format!("a password has at least {CHARS_MIN} characters"))
        }
        0..=BYTES_MAX => Ok(()),
        bytes => refuse(format!("the password has {bytes} bytes; at most {BYTES_MAX} are taken")),
    }
}

fn hash(password: &str) -> Result<String, Refusal> {
    let hashed = Argon2::default().hash_password(password.as_bytes());
    hashed.map(|hash| hash.to_string()).map_err(|error| refusals::internal("hashing a password", &error))
}

fn verify(password: &str, hash: Option<&str>) -> bool {
    let parsed = hash.and_then(|hash| PasswordHash::new(hash).ok()).filter(affordable);
    match parsed {
        Some(hash) => Argon2::default().verify_password(password.as_bytes(), &hash).is_ok(),
        None => {
            // As much work as for a user who is there.
            let mut out = [0; Params::DEFAULT_OUTPUT_LEN];
            let _ = Argon2::default().hash_password_into(password.as_bytes(), &[0; 16], &mut out);
            false
        }
    }
}

fn affordable(hash: &PasswordHash) -> bool {
    Params::try_from(hash).is_ok_and(|params| {
        params.m_cost() <= MEMORY_KIB_MAX && params.t_cost() <= PASSES_MAX && params.p_cost() <= LANES_MAX
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash_alone() {
        let first = hash("correct horse").unwrap();
        assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{first}");
        assert_ne!(first, hash("correct horse").unwrap(), "each hash has its own salt");
        assert!(verify("correct horse", Some(&first)));
        assert!(!verify("incorrect horse", Some(&first)));
        assert!(!verify("correct horse", None));
    }

    #[test]
    fn a_hash_that_somebody_wrote_into_the_catalog_costs_no_more_than_ours() {
        for hash in [
            "",
            "$1$abc",
            "plain",
            "$argon2id$v=19$m=4194304,t=2,p=1$c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=19456,t=4000000,p=1$c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert!(!verify("password", Some(hash)), "{hash}");
        }
    }

    #[test]
    fn short_and_endless_passwords_are_refused() {
        check("12345678").unwrap();
        check("ääääääää").unwrap();
        assert!(check("1234567").unwrap_err().message.contains("at least 8"));
        assert!(check(&"x".repeat(1025)).is_err());
    }
}
