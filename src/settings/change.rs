//! What a client asks for, over what there is.

use api::{ChapCredential, ExportChange};
use iscsi::IscsiName;

use super::limits::{ADDRESSES_MAX, INITIATORS_MAX};
use super::{
    BlockBytes, Credential, Error, ExportSettings, Secret, check_secret, check_user, redirect_address,
};
use crate::exports::Redirect;

/// The settings that a change makes of those before, checked.
///
/// # Errors
/// What of it cannot be, and what would be right.
pub fn apply(before: &ExportSettings, change: &ExportChange) -> Result<ExportSettings, Error> {
    let mut after = before.clone();
    if let Some(names) = &change.initiators {
        after.initiators = initiators(names)?;
    }
    if let Some(ranges) = &change.addresses {
        after.addresses = addresses(ranges)?;
    }
    if let Some(chap) = &change.chap {
        after.chap = credential("chap", before.chap.as_ref(), chap.as_ref())?;
    }
    if let Some(mutual) = &change.mutual {
        after.mutual = credential("mutual", before.mutual.as_ref(), mutual.as_ref())?;
    } else if after.chap.is_none() {
        after.mutual = None;
    }
    check_pair(&after)?;
    if let Some(redirect) = &change.redirect {
        let wrong = |message| Error::invalid("redirect.to", message);
        let of = |asked: &api::Redirect| {
            Ok::<_, Error>(Redirect {
                to: redirect_address(&asked.to).map_err(wrong)?,
                permanent: asked.permanent,
            })
        };
        after.redirect = redirect.as_ref().map(of).transpose()?;
    }
    if let Some(exclusive) = change.exclusive {
        after.exclusive = exclusive;
    }
    if let Some(write_cache) = change.write_cache {
        after.write_cache = write_cache;
    }
    if let Some(bytes) = change.logical_block_bytes {
        let message = format!("a disk has blocks of 512 or 4096 bytes, not of {bytes}");
        after.logical_block_bytes =
            BlockBytes::of(bytes).ok_or_else(|| Error::invalid("logicalBlockBytes", message))?;
    }
    Ok(after)
}

fn initiators(names: &[String]) -> Result<Vec<IscsiName>, Error> {
    let field = "initiators";
    if names.len() > INITIATORS_MAX {
        let message = format!("{} initiators are given; at most {INITIATORS_MAX} are allowed", names.len());
        return Err(Error::invalid(field, message));
    }
    let mut parsed: Vec<IscsiName> = Vec::with_capacity(names.len());
    for name in names {
        let name = IscsiName::parse(name)
            .map_err(|error| Error::invalid(field, format!("{name:?} is no iSCSI name: {error}")))?;
        if !parsed.contains(&name) {
            parsed.push(name);
        }
    }
    Ok(parsed)
}

fn addresses(texts: &[String]) -> Result<Vec<config::AddressRange>, Error> {
    let field = "addresses";
    if texts.len() > ADDRESSES_MAX {
        let message = format!("{} addresses are given; at most {ADDRESSES_MAX} are allowed", texts.len());
        return Err(Error::invalid(field, message));
    }
    let mut parsed = Vec::with_capacity(texts.len());
    for text in texts {
        let range =
            text.parse().map_err(|error: config::RangeError| Error::invalid(field, error.to_string()))?;
        if !parsed.contains(&range) {
            parsed.push(range);
        }
    }
    Ok(parsed)
}

fn credential(
    field: &'static str,
    before: Option<&Credential>,
    asked: Option<&ChapCredential>,
) -> Result<Option<Credential>, Error> {
    let Some(asked) = asked else { return Ok(None) };
    let user = match (&asked.user, before) {
        (Some(user), _) => user.clone(),
        (None, Some(before)) => before.user.clone(),
        (None, None) => return Err(Error::invalid(field, format!("{field} needs a user"))),
    };
    let secret = match (&asked.secret, before) {
        (Some(secret), _) => {
            let what = format!("{field}.secret");
            check_secret(&what, &secret.0).map_err(|message| Error::invalid(field, message))?;
            Secret::Open(secret.0.clone())
        }
        (None, Some(before)) => before.secret.clone(),
        (None, None) => return Err(Error::invalid(field, format!("{field} needs a secret"))),
    };
    check_user(&format!("{field}.user"), &user).map_err(|message| Error::invalid(field, message))?;
    Ok(Some(Credential { user, secret }))
}

fn check_pair(settings: &ExportSettings) -> Result<(), Error> {
    match (&settings.chap, &settings.mutual) {
        (None, Some(_)) => {
            let message =
                "an initiator is proved something only after it has proved itself: give chap as well";
            Err(Error::invalid("mutual", message))
        }
        // RFC 7143 §9.2.1: else a peer could have its own challenge answered.
        (Some(chap), Some(mutual)) if chap.secret == mutual.secret => {
            Err(Error::invalid("mutual", "both sides must not have the same secret (RFC 7143 §9.2.1)"))
        }
        _ => Ok(()),
    }
}

/// Settings as a client is shown them.
#[must_use]
pub fn shown(settings: &ExportSettings) -> api::ExportSettings {
    let user = |credential: &Credential| api::ChapUser { user: credential.user.clone() };
    let redirect =
        |redirect: Redirect| api::Redirect { to: redirect.to.to_string(), permanent: redirect.permanent };
    api::ExportSettings {
        initiators: settings.initiators.iter().map(ToString::to_string).collect(),
        addresses: settings.addresses.iter().map(ToString::to_string).collect(),
        chap: settings.chap.as_ref().map(user),
        mutual: settings.mutual.as_ref().map(user),
        redirect: settings.redirect.map(redirect),
        exclusive: settings.exclusive,
        write_cache: settings.write_cache,
        logical_block_bytes: settings.logical_block_bytes.bytes().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(json: &str) -> ExportChange {
        serde_json::from_str(json).unwrap()
    }

    fn made(json: &str) -> ExportSettings {
        apply(&ExportSettings::default(), &change(json)).unwrap()
    }

    fn fault(before: &ExportSettings, json: &str) -> (&'static str, String) {
        match apply(before, &change(json)).unwrap_err() {
            Error::Invalid { field, message } => (field, message),
            other => panic!("{other}"),
        }
    }

    const BOTH: &str = r#"{"initiators": ["IQN.2026-01.a:b", "iqn.2026-01.a:b"], "addresses": ["10.0.0.1", "10.0.0.1/32"],
        "chap": {"user": "alice", "secret": "alice-secret-12"}, "mutual": {"user": "osvol", "secret": "osvol-secret-34"},
        "redirect": {"to": "10.0.0.2:3260", "permanent": true}, "exclusive": true, "writeCache": false, "logicalBlockBytes": 4096}"#;

    #[test]
    fn what_is_asked_for_is_told_but_for_secrets() {
        let told = serde_json::to_string(&shown(&made(BOTH))).unwrap();
        let expected = r#"{"initiators":["iqn.2026-01.a:b"],"addresses":["10.0.0.1/32"],"chap":{"user":"alice"},"mutual":{"user":"osvol"},"redirect":{"to":"10.0.0.2:3260","permanent":true},"exclusive":true,"writeCache":false,"logicalBlockBytes":4096}"#;
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_not_named_stays() {
        let before = made(BOTH);
        assert_eq!(apply(&before, &ExportChange::default()).unwrap(), before);
        let renamed = apply(&before, &change(r#"{"chap": {"user": "bob"}}"#)).unwrap();
        let chap = renamed.chap.as_ref().unwrap();
        assert_eq!((chap.user.as_str(), chap.secret.open()), ("bob", Some("alice-secret-12")));
        assert_eq!(renamed.mutual, before.mutual);
    }

    #[test]
    fn without_chap_there_is_no_mutual_chap() {
        let before = made(BOTH);
        let none = apply(&before, &change(r#"{"chap": null}"#)).unwrap();
        assert_eq!((none.chap, none.mutual), (None, None));
        let one_way = apply(&before, &change(r#"{"mutual": null}"#)).unwrap();
        assert!(one_way.chap.is_some() && one_way.mutual.is_none());
        let json = r#"{"mutual": {"user": "osvol", "secret": "osvol-secret-34"}}"#;
        assert_eq!(fault(&ExportSettings::default(), json).0, "mutual");
    }

    #[test]
    fn one_secret_for_both_directions_is_refused_however_it_comes_about() {
        let before = made(BOTH);
        for json in [
            r#"{"mutual": {"user": "osvol", "secret": "alice-secret-12"}}"#,
            r#"{"chap": {"secret": "osvol-secret-34"}}"#,
        ] {
            let (field, message) = fault(&before, json);
            assert_eq!(field, "mutual");
            assert!(message.contains("same secret") && !message.contains("secret-"), "{message}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_would_be_right() {
        let none = ExportSettings::default();
        for (json, wanted_field, words) in [
            (r#"{"initiators": ["web01"]}"#, "initiators", "no iSCSI name"),
            (r#"{"addresses": ["10.0.0.1/8"]}"#, "addresses", "10.0.0.0/8"),
            (r#"{"addresses": ["lab"]}"#, "addresses", "write it as"),
            (r#"{"chap": {"user": "a"}}"#, "chap", "needs a secret"),
            (r#"{"chap": {"secret": "alice-secret-12"}}"#, "chap", "needs a user"),
            (r#"{"chap": {"user": "a", "secret": "short"}}"#, "chap", "12 to 255"),
            (r#"{"chap": {"user": "", "secret": "alice-secret-12"}}"#, "chap", "1 to 255"),
            (r#"{"redirect": {"to": "10.0.0.2"}}"#, "redirect.to", "10.0.0.2:3260"),
            (r#"{"redirect": {"to": "0.0.0.0:3260"}}"#, "redirect.to", "cannot connect"),
            (r#"{"redirect": {"to": "10.0.0.2:0"}}"#, "redirect.to", "cannot connect"),
            (r#"{"redirect": {"to": "[ff02::1]:3260"}}"#, "redirect.to", "cannot connect"),
            (r#"{"redirect": {"to": "host:3260"}}"#, "redirect.to", "write it as"),
            (r#"{"logicalBlockBytes": 1024}"#, "logicalBlockBytes", "512 or 4096"),
        ] {
            let (field, message) = fault(&none, json);
            assert_eq!(field, wanted_field, "{json}");
            assert!(message.contains(words), "{json}: {message}");
        }
        let many = serde_json::json!({ "addresses": vec!["10.0.0.1"; ADDRESSES_MAX + 1] });
        assert!(fault(&none, &many.to_string()).1.contains("at most"));
    }

    #[test]
    fn a_mapped_address_is_redirected_to_as_ipv4() {
        let to = |text: &str| {
            made(&format!(r#"{{"redirect": {{"to": "{text}"}}}}"#)).redirect.unwrap().to.to_string()
        };
        assert_eq!(to("[::ffff:10.0.0.2]:3260"), "10.0.0.2:3260");
        assert_eq!(to("[fd00::2]:3260"), "[fd00::2]:3260");
    }
}
