//! Certificate and private key of the API's listener: from files, read again when they change, or self-signed and made
//! at the first start.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

/// Largest file that is taken for a certificate or a key.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Directory of the self-signed certificate, in the store's.
const DIRECTORY: &str = "tls";

/// Certificate and key, as they were last read.
#[derive(Debug)]
pub(super) struct TlsKeys {
    certificate: PathBuf,
    key: PathBuf,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    seen: Seen,
}

/// What tells one version of the files from the next.
type Seen = [Option<(i64, i64, u64, u64)>; 2];

impl TlsKeys {
    /// Reads the configured files, or those of the self-signed certificate, which are made if they are not there.
    pub(super) fn open(config: &config::Tls, store: &Path) -> anyhow::Result<Arc<Self>> {
        let own = store.join(DIRECTORY);
        let (certificate, key) = match config.certificate.as_os_str().is_empty() {
            true => (own.join("certificate.pem"), own.join("key.pem")),
            false => (config.certificate.clone(), config.key.clone()),
        };
        if certificate.starts_with(&own) && !(certificate.exists() && key.exists()) {
            make(config, &own, &certificate, &key)?;
        }
        let seen = seen(&certificate, &key);
        let loaded = load(&certificate, &key)?;
        Ok(Arc::new(Self { certificate, key, current: Mutex::new(Current { config: loaded, seen }) }))
    }

    /// For the next handshake.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.current.lock().config.clone()
    }

    /// Reads the files again if they have changed. What cannot be read or does not fit together leaves things as they
    /// were: whoever renews writes one file after the other.
    pub(super) fn reload(&self) {
        let seen = seen(&self.certificate, &self.key);
        if self.current.lock().seen == seen {
            return;
        }
        match load(&self.certificate, &self.key) {
            Ok(config) => {
                *self.current.lock() = Current { config, seen };
                tracing::info!(file = %self.certificate.display(), "the certificate was read again");
            }
            Err(error) => {
                self.current.lock().seen = seen;
                tracing::warn!("the certificate stays as it was: {error:#}");
            }
        }
    }
}

fn seen(certificate: &Path, key: &Path) -> Seen {
    [certificate, key].map(|path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.mtime(), metadata.mtime_nsec(), metadata.ino(), metadata.len()))
    })
}

fn load(certificate: &Path, key: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    for path in [certificate, key] {
        let bytes = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
        if bytes > FILE_BYTES_MAX {
            bail!("{} has {bytes} bytes; a PEM file of a certificate or key has fewer", path.display());
        }
    }
    let shown = certificate.display();
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| anyhow::anyhow!("{shown} is not a PEM file of a certificate: {error}"))?;
    let Some(first) = chain.first() else {
        bail!("{shown} has no certificate (-----BEGIN CERTIFICATE-----)")
    };
    let fingerprint = fingerprint(first);
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| anyhow::anyhow!("{} is not a PEM file of a private key: {error}", key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("no version of TLS can be spoken")?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .with_context(|| format!("{shown} and {} do not fit together", key.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    tracing::info!(file = %shown, sha256 = fingerprint, "certificate of the API");
    Ok(Arc::new(config))
}

/// SHA-256 as `openssl x509 -fingerprint -sha256` writes it.
fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let digest = Sha256::digest(certificate);
    let mut text = digest.iter().fold(String::new(), |mut text, byte| {
        // Writing into a text cannot fail.
        let _ = write!(text, "{byte:02X}:");
        text
    });
    text.pop();
    text
}

/// Makes a self-signed certificate. The key is written first and is never readable by others, not for a moment.
fn make(config: &config::Tls, directory: &Path, certificate: &Path, key: &Path) -> anyhow::Result<()> {
    let pair = rcgen::KeyPair::generate().context("cannot make a private key")?;
    let mut parameters = rcgen::CertificateParams::new(names(config))
        .context("control.tls.names: a name cannot be in a certificate")?;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "osvold");
    // Whoever trusts it has compared its fingerprint; a date would only lock everybody out one day.
    parameters.not_before = rcgen::date_time_ymd(2025, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2049, 12, 31);
    let made = parameters.self_signed(&pair).context("cannot sign the certificate")?;
    let failed = || format!("cannot write the self-signed certificate in {}", directory.display());
    DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(failed)?;
    write_file(key, 0o600, &pair.serialize_pem()).with_context(failed)?;
    write_file(certificate, 0o644, &made.pem()).with_context(failed)?;
    File::open(directory).and_then(|open| open.sync_all()).with_context(failed)
}

/// Wholly there, or not at all.
fn write_file(path: &Path, mode: u32, text: &str) -> std::io::Result<()> {
    let unfinished = path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

/// What the machine is called and reached by, as far as it knows.
fn names(config: &config::Tls) -> Vec<String> {
    let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let listening = config.listen.iter().map(|address| address.ip()).filter(|ip| !ip.is_unspecified());
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    names.extend(Some(own).filter(|name| !name.is_empty() && name.is_ascii()));
    names.extend(listening.map(|ip| ip.to_string()));
    names.extend(config.names.iter().cloned());
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_first_start_makes_a_certificate_and_the_next_finds_it() {
        let store = tempfile::tempdir().unwrap();
        let tls = config::Tls {
            names: vec!["osvol.example.com".into(), "10.0.0.9".into()],
            ..config::Tls::default()
        };
        TlsKeys::open(&tls, store.path()).unwrap();
        let mode = |name: &str| {
            fs::metadata(store.path().join("tls").join(name)).unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode("."), mode("key.pem"), mode("certificate.pem")), (0o700, 0o600, 0o644));
        let read = || fs::read(store.path().join("tls/certificate.pem")).unwrap();
        let first = read();
        TlsKeys::open(&tls, store.path()).unwrap();
        assert_eq!(first, read());
    }

    #[test]
    fn files_that_change_are_read_again_and_nonsense_is_not_taken() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let keys = TlsKeys::open(&config::Tls::default(), first.path()).unwrap();
        TlsKeys::open(&config::Tls::default(), second.path()).unwrap();
        let before = keys.config();
        keys.reload();
        assert!(Arc::ptr_eq(&before, &keys.config()), "nothing has changed");
        let copy = |name: &str| {
            fs::copy(second.path().join("tls").join(name), first.path().join("tls").join(name)).unwrap();
        };
        copy("certificate.pem");
        keys.reload();
        assert!(Arc::ptr_eq(&before, &keys.config()), "the key is another certificate's");
        copy("key.pem");
        keys.reload();
        assert!(!Arc::ptr_eq(&before, &keys.config()));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let store = tempfile::tempdir().unwrap();
        let (certificate, key) = (store.path().join("c.pem"), store.path().join("k.pem"));
        let tls =
            config::Tls { certificate: certificate.clone(), key: key.clone(), ..config::Tls::default() };
        let fault = || format!("{:#}", TlsKeys::open(&tls, store.path()).unwrap_err());
        assert!(fault().contains("cannot read") && fault().contains("c.pem"), "{}", fault());
        fs::write(&certificate, "nonsense").unwrap();
        fs::write(&key, "nonsense").unwrap();
        assert!(fault().contains("has no certificate"), "{}", fault());
        TlsKeys::open(&config::Tls::default(), store.path()).unwrap();
        fs::copy(store.path().join("tls/certificate.pem"), &certificate).unwrap();
        assert!(fault().contains("k.pem is not a PEM file of a private key"), "{}", fault());
    }
}
