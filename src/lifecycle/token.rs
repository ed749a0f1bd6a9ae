//! Confirmation tokens: a digest of the state that an impact was found in, and of the request.
//!
//! Nothing is kept for a token. Whoever brings it back brings the same request; the state is looked at anew, and only
//! the same state makes the same token. The nonce is this process's own, so nobody makes tokens elsewhere, and those
//! of before a restart are stale.

use sha2::{Digest, Sha256};

use super::guard::Confirmation;

/// How long a token is good for, in seconds.
pub(super) const SECONDS_MAX: u64 = 15 * 60;

/// Bytes of the digest that a token has.
const DIGEST_BYTES: usize = 20;

/// Makes and checks tokens.
pub(super) struct Tokens {
    nonce: [u8; 32],
}

impl Tokens {
    pub(super) fn new(nonce: [u8; 32]) -> Self {
        Self { nonce }
    }

    /// The token of a state, given out at a time (seconds since 1970).
    pub(super) fn make(&self, state: &str, now: u64) -> String {
        let mut digest = Sha256::new();
        digest.update(self.nonce);
        digest.update(now.to_be_bytes());
        digest.update(state.as_bytes());
        let hex: String =
            digest.finalize().iter().take(DIGEST_BYTES).map(|byte| format!("{byte:02x}")).collect();
        format!("{now:x}-{hex}")
    }

    /// What a token is worth for a state now.
    pub(super) fn check(&self, token: Option<&str>, state: &str, now: u64) -> Confirmation {
        let Some(token) = token else { return Confirmation::None };
        let given = token.split_once('-').and_then(|(time, _)| u64::from_str_radix(time, 16).ok());
        let fresh = given.filter(|given| *given <= now && now - given <= SECONDS_MAX);
        match fresh.is_some_and(|given| self.make(state, given) == token) {
            true => Confirmation::Good,
            false => Confirmation::Stale,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_state_its_time_and_its_process_alone() {
        let tokens = Tokens::new([7; 32]);
        let token = tokens.make("state", 1_000);
        assert_eq!(tokens.check(None, "state", 1_000), Confirmation::None);
        assert_eq!(tokens.check(Some(&token), "state", 1_000 + SECONDS_MAX), Confirmation::Good);
        assert_eq!(tokens.check(Some(&token), "state", 1_001 + SECONDS_MAX), Confirmation::Stale);
        assert_eq!(tokens.check(Some(&token), "state", 999), Confirmation::Stale);
        assert_eq!(tokens.check(Some(&token), "other state", 1_000), Confirmation::Stale);
        assert_eq!(Tokens::new([8; 32]).check(Some(&token), "state", 1_000), Confirmation::Stale);
        for nonsense in ["", "-", "zz-zz", "3e8-", "ffffffffffffffffff-00"] {
            assert_eq!(tokens.check(Some(nonsense), "state", 1_000), Confirmation::Stale, "{nonsense:?}");
        }
    }
}
