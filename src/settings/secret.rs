//! CHAP names and secrets, as they are kept.

use std::fmt;

use super::limits::{SECRET_BYTES_MAX, SECRET_BYTES_MIN, USER_BYTES_MAX};

/// Who one side of CHAP says it is, and what proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// CHAP_N.
    pub user: String,
    /// The shared secret.
    pub secret: Secret,
}

/// A secret; never shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// In clear text, here in memory.
    Open(String),
    /// As it was sealed, with a key that is not there. It is kept, in case the key is put back.
    Sealed(String),
}

impl Secret {
    /// The text; nothing when the key that it was sealed with is not there.
    #[must_use]
    pub fn open(&self) -> Option<&str> {
        match self {
            Self::Open(text) => Some(text),
            Self::Sealed(_) => None,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open(_) => "(secret)",
            Self::Sealed(_) => "(sealed secret)",
        })
    }
}

/// Checks the name of a CHAP user.
///
/// # Errors
/// What is wrong with it.
pub fn check_user(field: &str, user: &str) -> Result<(), String> {
    let fits = (1..=USER_BYTES_MAX).contains(&user.len());
    match fits && user.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(format!("{field} has 1 to {USER_BYTES_MAX} visible ASCII characters")),
    }
}

/// Checks a CHAP secret; says nothing of what is in it.
///
/// # Errors
/// What is wrong with it.
pub fn check_secret(field: &str, secret: &str) -> Result<(), String> {
    let fits = (SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&secret.len());
    match fits && secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(()),
        false => {
            Err(format!("{field} has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} visible ASCII characters"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_12_to_255_bytes_and_is_not_printed() {
        for (bytes, good) in [(11, false), (12, true), (255, true), (256, false)] {
            assert_eq!(check_secret("chap.secret", &"x".repeat(bytes)).is_ok(), good, "{bytes}");
        }
        for bad in ["with a space in it", "with\nline end", "with-an-ä-in-it"] {
            let error = check_secret("chap.secret", bad).unwrap_err();
            assert!(!error.contains(bad));
        }
        let shown = format!("{:?} {:?}", Secret::Open("hunter2".into()), Secret::Sealed("xc20p:11".into()));
        assert_eq!(shown, "(secret) (sealed secret)");
    }
}
