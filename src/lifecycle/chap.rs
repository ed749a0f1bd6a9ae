//! CHAP settings that a client sends, made one with those that are there: secrets read back as nothing, and nothing
//! keeps what is there.

use api::IscsiChap;

use crate::catalog::profiles::{Chap, ChapLevel};
use crate::catalog::{Error, Result};
use crate::settings;

/// What is asked for, over what there is.
pub(super) fn merge(before: Option<&Chap>, wanted: &IscsiChap) -> Result<Option<Chap>> {
    let chap_level = match wanted.chap_level {
        api::ChapLevel::None => return Ok(None),
        api::ChapLevel::Chap => ChapLevel::Chap,
        api::ChapLevel::MutualChap => ChapLevel::MutualChap,
    };
    let given = |field: &str, wanted: &Option<String>, before: Option<&String>| {
        let value = wanted.as_ref().filter(|value| !value.is_empty()).or(before).cloned();
        value.ok_or_else(|| Error::invalid(field, format!("CHAP needs {field}")))
    };
    let chap_name = given("chapName", &wanted.chap_name, before.map(|chap| &chap.chap_name))?;
    let chap_secret = given("chapSecret", &wanted.chap_secret, before.map(|chap| &chap.chap_secret))?;
    check_name("chapName", &chap_name)?;
    check_secret("chapSecret", &chap_secret)?;
    let mut chap =
        Chap { chap_level, chap_name, chap_secret, mutual_chap_name: None, mutual_chap_secret: None };
    if chap_level == ChapLevel::MutualChap {
        let old = before.and_then(|chap| chap.mutual_chap_name.as_ref());
        let name = given("mutualChapName", &wanted.mutual_chap_name, old)?;
        let old = before.and_then(|chap| chap.mutual_chap_secret.as_ref());
        let secret = given("mutualChapSecret", &wanted.mutual_chap_secret, old)?;
        check_name("mutualChapName", &name)?;
        check_secret("mutualChapSecret", &secret)?;
        if secret == chap.chap_secret {
            // RFC 7143 §9.2.1: else a peer could have its own challenge answered.
            let message = "both sides must not have the same secret";
            return Err(Error::invalid("mutualChapSecret", message));
        }
        (chap.mutual_chap_name, chap.mutual_chap_secret) = (Some(name), Some(secret));
    }
    Ok(Some(chap))
}

fn check_name(field: &str, name: &str) -> Result<()> {
    settings::check_user(field, name).map_err(|message| Error::invalid(field, message))
}

fn check_secret(field: &str, secret: &str) -> Result<()> {
    settings::check_secret(field, secret).map_err(|message| Error::invalid(field, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(level: api::ChapLevel, secret: Option<&str>, mutual: Option<&str>) -> IscsiChap {
        IscsiChap {
            chap_level: level,
            chap_name: Some("web01".into()),
            chap_secret: secret.map(str::to_owned),
            mutual_chap_name: mutual.map(|_| "osvol".into()),
            mutual_chap_secret: mutual.map(str::to_owned),
        }
    }

    #[test]
    fn a_secret_that_is_not_sent_stays() {
        let first =
            merge(None, &wanted(api::ChapLevel::Chap, Some("a-secret-of-16-x"), None)).unwrap().unwrap();
        let again = merge(Some(&first), &wanted(api::ChapLevel::Chap, None, None)).unwrap().unwrap();
        assert_eq!(again, first);
        assert_eq!(merge(Some(&first), &IscsiChap::default()).unwrap(), None);
    }

    #[test]
    fn short_missing_and_equal_secrets_are_refused() {
        for bad in [None, Some("short"), Some("with space in it"), Some("with\nline end in it")] {
            assert!(merge(None, &wanted(api::ChapLevel::Chap, bad, None)).is_err(), "{bad:?}");
        }
        let same = "a-secret-of-16-x";
        assert!(merge(None, &wanted(api::ChapLevel::MutualChap, Some(same), Some(same))).is_err());
        merge(None, &wanted(api::ChapLevel::MutualChap, Some(same), Some("another-secret-1"))).unwrap();
    }
}
