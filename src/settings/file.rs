//! The file of settings: JSON, all of it or nothing. A field that is missing or not known is no default but damage; only
//! fields that came later may be missing.

use config::AddressRange;
use iscsi::IscsiName;
use serde::{Deserialize, Serialize};

use super::{BlockBytes, Credential, ExportSettings, Secret, redirect_address};
use crate::exports::Redirect;

/// The version that is written.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    version: u32,
    initiators: Vec<String>,
    addresses: Vec<AddressRange>,
    #[serde(deserialize_with = "given")]
    chap: Option<Sealed>,
    #[serde(deserialize_with = "given")]
    mutual: Option<Sealed>,
    #[serde(deserialize_with = "given")]
    redirect: Option<To>,
    /// Came later than the rest: files that do not have it are of volumes that any number of initiators may use.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    exclusive: bool,
    write_cache: bool,
    logical_block_bytes: u64,
}

/// A field that may be `null`, and may not be absent.
fn given<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    Option::<T>::deserialize(from)
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    user: String,
    secret: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct To {
    to: String,
    permanent: bool,
}

/// The bytes of a file; `seal` seals a secret of the field that it is told.
pub(super) fn write<E>(
    settings: &ExportSettings,
    seal: impl Fn(&str, &str) -> Result<String, E>,
) -> Result<Vec<u8>, E> {
    let credential = |field: &str, credential: &Option<Credential>| {
        let Some(Credential { user, secret }) = credential else { return Ok(None) };
        let secret = match secret {
            Secret::Open(text) => seal(field, text)?,
            Secret::Sealed(sealed) => sealed.clone(),
        };
        Ok(Some(Sealed { user: user.clone(), secret }))
    };
    let redirect = settings.redirect.map(|Redirect { to, permanent }| To { to: to.to_string(), permanent });
    let file = File {
        version: VERSION,
        initiators: settings.initiators.iter().map(ToString::to_string).collect(),
        addresses: settings.addresses.clone(),
        chap: credential("chap", &settings.chap)?,
        mutual: credential("mutual", &settings.mutual)?,
        redirect,
        exclusive: settings.exclusive,
        write_cache: settings.write_cache,
        logical_block_bytes: settings.logical_block_bytes.bytes().into(),
    };
    // Texts, numbers and lists of them always have a form in JSON.
    let mut bytes = serde_json::to_vec_pretty(&file).unwrap_or_default();
    bytes.push(b'\n');
    Ok(bytes)
}

/// What a file says; `open` opens a secret of the field that it is told.
pub(super) fn read(
    bytes: &[u8],
    open: impl Fn(&str, &str) -> Option<String>,
) -> Result<ExportSettings, String> {
    let file: File = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if file.version != VERSION {
        return Err(format!("it has version {}; this osvold knows version {VERSION}", file.version));
    }
    let name = |name: &String| IscsiName::parse(name).map_err(|error| format!("{name:?}: {error}"));
    let credential = |field: &str, sealed: Option<Sealed>| {
        let Sealed { user, secret } = sealed?;
        let secret = open(field, &secret).map_or(Secret::Sealed(secret), Secret::Open);
        Some(Credential { user, secret })
    };
    let redirect = file
        .redirect
        .map(|To { to, permanent }| Ok::<_, String>(Redirect { to: redirect_address(&to)?, permanent }));
    if file.mutual.is_some() && file.chap.is_none() {
        return Err("it has a mutual CHAP user, and none to prove itself first".to_owned());
    }
    Ok(ExportSettings {
        initiators: file.initiators.iter().map(name).collect::<Result<_, _>>()?,
        addresses: file.addresses,
        chap: credential("chap", file.chap),
        mutual: credential("mutual", file.mutual),
        redirect: redirect.transpose()?,
        exclusive: file.exclusive,
        write_cache: file.write_cache,
        logical_block_bytes: BlockBytes::of(file.logical_block_bytes)
            .ok_or_else(|| format!("blocks of {} bytes are not known", file.logical_block_bytes))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> ExportSettings {
        let credential = |user: &str, secret: &str| {
            Some(Credential { user: user.to_owned(), secret: Secret::Open(secret.to_owned()) })
        };
        ExportSettings {
            initiators: vec![IscsiName::parse("iqn.2026-01.a:b").unwrap()],
            addresses: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            chap: credential("alice", "alice-secret-12"),
            mutual: credential("osvol", "osvol-secret-34"),
            redirect: Some(Redirect { to: "[fd00::2]:3260".parse().unwrap(), permanent: true }),
            exclusive: true,
            write_cache: false,
            logical_block_bytes: BlockBytes::B4096,
        }
    }

    /// Not a cipher: it turns the text around and says where it was.
    fn seal(field: &str, text: &str) -> Result<String, std::convert::Infallible> {
        Ok(format!("{field}:{}", text.chars().rev().collect::<String>()))
    }

    fn open(field: &str, sealed: &str) -> Option<String> {
        Some(sealed.strip_prefix(field)?.strip_prefix(':')?.chars().rev().collect())
    }

    fn written(settings: &ExportSettings) -> String {
        String::from_utf8(write(settings, seal).unwrap()).unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_has_no_secret_in_clear() {
        for settings in [settings(), ExportSettings::default()] {
            let text = written(&settings);
            assert!(!text.contains("secret-"), "{text}");
            assert_eq!(read(text.as_bytes(), open).unwrap(), settings);
        }
    }

    #[test]
    fn a_secret_that_does_not_open_stays_as_it_is() {
        let text = written(&settings());
        let lost = read(text.as_bytes(), |_, _| None).unwrap();
        assert!(lost.access().is_err());
        assert_eq!(written(&lost), text);
        assert_eq!(read(written(&lost).as_bytes(), open).unwrap(), settings());
    }

    /// Fields that the first files did not have.
    const LATER: [&str; 1] = ["exclusive"];

    #[test]
    fn a_file_of_before_there_were_exclusive_volumes_is_of_one_that_all_may_use() {
        let first = r#"{"version": 1, "initiators": [], "addresses": [], "chap": null, "mutual": null,
            "redirect": null, "writeCache": true, "logicalBlockBytes": 512}"#;
        assert_eq!(read(first.as_bytes(), open).unwrap(), ExportSettings::default());
        // And the other way round: an older osvold reads what it can still obey.
        assert!(!written(&ExportSettings::default()).contains("exclusive"));
        assert!(written(&settings()).contains("exclusive"));
    }

    /// Nothing that is missing is taken for "everybody".
    #[test]
    fn a_file_with_anything_missing_changed_or_cut_short_is_damage() {
        let text = written(&settings());
        assert!(read(b"{}", open).is_err());
        let whole: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
        for field in whole.keys() {
            if !LATER.contains(&field.as_str()) {
                let mut less = whole.clone();
                less.remove(field);
                assert!(read(&serde_json::to_vec(&less).unwrap(), open).is_err(), "without {field}");
            }
            let mut other = whole.clone();
            other.insert(field.clone(), serde_json::json!("?"));
            assert!(read(&serde_json::to_vec(&other).unwrap(), open).is_err(), "another {field}");
        }
        for end in 0..text.trim_end().len() {
            assert!(read(&text.as_bytes()[..end], open).is_err(), "the first {end} bytes");
        }
        let more = text.replacen('{', "{\"allow\": [],", 1);
        assert!(read(more.as_bytes(), open).is_err());
        for (from, to) in [("\"version\": 1", "\"version\": 2"), ("4096", "1024"), ("iqn.", "iqm.")] {
            assert!(read(text.replacen(from, to, 1).as_bytes(), open).is_err(), "{to}");
        }
    }
}
