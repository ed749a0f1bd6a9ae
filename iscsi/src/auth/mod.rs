//! How a peer proves who it is (RFC 7143 §12): not at all, or by CHAP.

mod chap;

pub use chap::{Chap, ChapError};
use std::fmt;

/// What a login must prove.
#[derive(Clone, Debug, Default)]
pub enum AuthenticationPolicy {
    /// Nothing: AuthMethod=None.
    #[default]
    None,
    /// CHAP; a peer that offers None only is refused.
    Chap(ChapPolicy),
}

/// The terms of a CHAP exchange.
#[derive(Clone, Debug, Default)]
pub struct ChapPolicy {
    /// Who may log in, with which secret.
    pub users: Vec<ChapCredential>,
    /// What we prove ourselves with when the peer asks; without it, a peer that asks is refused.
    pub mutual: Option<ChapCredential>,
    /// Algorithms allowed; empty allows all. Of the peer's list the first that is allowed is taken.
    pub algorithms: Vec<ChapAlgorithm>,
}

/// A CHAP name and its secret. `Debug` does not show the secret.
#[derive(Clone)]
pub struct ChapCredential {
    /// CHAP_N.
    pub name: String,
    /// The shared secret.
    pub secret: Vec<u8>,
}

impl fmt::Debug for ChapCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChapCredential").field("name", &self.name).finish_non_exhaustive()
    }
}

/// CHAP_A (RFC 7143 §12.1.3; numbers from IANA's registry of PPP authentication algorithms).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChapAlgorithm {
    /// 5.
    Md5,
    /// 6.
    Sha1,
    /// 7.
    Sha256,
    /// 8.
    Sha3_256,
}
