//! What the configuration file says of who may discover targets, and of CHAP.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use config::Authentication;
use iscsi::IscsiName;
use iscsi::auth::{AuthenticationPolicy, ChapAlgorithm, ChapCredential, ChapPolicy};

use super::{check_secret, check_user};
use crate::exports::Access;

/// Most that is read of a file with a secret: more than any secret has.
const SECRET_FILE_BYTES_MAX: u64 = 4096;

/// What "others" may do with a file, in its mode.
const OTHERS: u32 = 0o007;

/// The terms of discovery sessions.
///
/// # Errors
/// What in it cannot be, by its key.
pub fn discovery(configured: &config::Discovery) -> anyhow::Result<Access> {
    let name = |text: &String| {
        IscsiName::parse(text)
            .with_context(|| format!("iscsi.discovery.initiators: {text:?} is no iSCSI name"))
    };
    let own = || credential("iscsi.discovery", "", &configured.user, &configured.secret_file);
    let mutual =
        || credential("iscsi.discovery", "mutual_", &configured.mutual_user, &configured.mutual_secret_file);
    let (users, mutual) = match configured.authentication {
        Authentication::None => (Vec::new(), None),
        Authentication::Chap => (vec![own()?], None),
        Authentication::MutualChap => (vec![own()?], Some(mutual()?)),
    };
    if let (Some(user), Some(mutual)) = (users.first(), &mutual) {
        // RFC 7143 §9.2.1.
        ensure!(
            user.secret != mutual.secret,
            "iscsi.discovery.mutual_secret_file: both sides must not have the same secret (RFC 7143 §9.2.1)"
        );
    }
    let authentication = match users.is_empty() {
        true => AuthenticationPolicy::None,
        false => AuthenticationPolicy::Chap(ChapPolicy { users, mutual, algorithms: Vec::new() }),
    };
    let initiators = configured.initiators.iter().map(name).collect::<anyhow::Result<_>>()?;
    Ok(Access { initiators, addresses: configured.addresses.clone(), authentication })
}

/// The algorithms of CHAP that are allowed.
#[must_use]
pub fn algorithms(configured: &[config::ChapAlgorithm]) -> Vec<ChapAlgorithm> {
    let of = |algorithm: &config::ChapAlgorithm| match algorithm {
        config::ChapAlgorithm::Sha3_256 => ChapAlgorithm::Sha3_256,
        config::ChapAlgorithm::Sha256 => ChapAlgorithm::Sha256,
        config::ChapAlgorithm::Sha1 => ChapAlgorithm::Sha1,
        config::ChapAlgorithm::Md5 => ChapAlgorithm::Md5,
    };
    configured.iter().map(of).collect()
}

fn credential(section: &str, side: &str, user: &str, file: &Path) -> anyhow::Result<ChapCredential> {
    let (user_key, file_key) = (format!("{section}.{side}user"), format!("{section}.{side}secret_file"));
    check_user(&user_key, user).map_err(anyhow::Error::msg)?;
    let secret = secret_in(file).with_context(|| file_key.clone())?;
    check_secret(&format!("{file_key}: the secret in {}", file.display()), &secret)
        .map_err(anyhow::Error::msg)?;
    Ok(ChapCredential { name: user.to_owned(), secret: secret.into_bytes() })
}

/// A file's text, without the line end that editors put there. Nobody but its owner and its group may have it.
fn secret_in(path: &Path) -> anyhow::Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let about = file.metadata().with_context(|| format!("cannot read {}", path.display()))?;
    if about.mode() & OTHERS != 0 {
        bail!("everybody can read {}, or write it: chmod 600 {0}, and choose another secret", path.display());
    }
    let mut text = String::new();
    let read = (&mut file).take(SECRET_FILE_BYTES_MAX).read_to_string(&mut text);
    read.with_context(|| format!("cannot read {}", path.display()))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    fn secret(directory: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    fn mutual(user: PathBuf, own: PathBuf) -> config::Discovery {
        config::Discovery {
            authentication: Authentication::MutualChap,
            user: "alice".into(),
            secret_file: user,
            mutual_user: "osvol".into(),
            mutual_secret_file: own,
            ..config::Discovery::default()
        }
    }

    #[test]
    fn discovery_asks_for_what_is_configured() {
        let directory = tempfile::tempdir().unwrap();
        let user = secret(directory.path(), "user", "alice-secret-12\n", 0o600);
        let own = secret(directory.path(), "own", "osvol-secret-34\r\n", 0o640);
        let configured = config::Discovery {
            initiators: vec!["IQN.2026-01.a:b".into()],
            addresses: vec!["10.0.0.0/8".parse().unwrap()],
            ..mutual(user, own)
        };
        let access = discovery(&configured).unwrap();
        let AuthenticationPolicy::Chap(policy) = &access.authentication else { panic!("no CHAP") };
        assert_eq!(policy.users[0].secret, b"alice-secret-12");
        assert_eq!(policy.mutual.as_ref().unwrap().secret, b"osvol-secret-34");
        let name = IscsiName::parse("iqn.2026-01.a:b").unwrap();
        assert!(access.permits(&name, [10, 0, 0, 1].into()) && !access.permits(&name, [11, 0, 0, 1].into()));
        let one_way = config::Discovery { authentication: Authentication::Chap, ..configured };
        let AuthenticationPolicy::Chap(policy) = discovery(&one_way).unwrap().authentication else {
            panic!()
        };
        assert!(policy.mutual.is_none());
    }

    #[test]
    fn secrets_that_everybody_could_read_that_are_short_or_the_same_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let good = secret(directory.path(), "good", "alice-secret-12", 0o600);
        let fault = |own: PathBuf| format!("{:#}", discovery(&mutual(good.clone(), own)).unwrap_err());
        for (name, text, mode, words) in [
            ("open", "osvol-secret-34", 0o604, "chmod 600"),
            ("written", "osvol-secret-34", 0o602, "chmod 600"),
            ("short", "short", 0o600, "12 to 255"),
            ("same", "alice-secret-12\n", 0o600, "same secret"),
        ] {
            let fault = fault(secret(directory.path(), name, text, mode));
            assert!(fault.contains(words) && fault.contains("mutual_secret_file"), "{fault}");
            assert!(!fault.contains(text) || text == "short", "{fault}");
        }
        assert!(fault(directory.path().join("none")).contains("cannot read"));
    }
}
