//! The key that the catalog's passwords are sealed with: a file beside the database, for the daemon's eyes only.
//!
//! Whoever gets the database, or a copy of it, gets no password without the file. Without it, or with another one, the
//! catalog is read as far as that goes and not written: nothing is lost before the file is put back.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};

use super::{Error, Result};

/// The key's file.
pub(super) const FILE: &str = "secret.key";
const UNFINISHED: &str = "secret.key.unfinished";
const UNUSABLE: &str = "secret.key.unusable";

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// What a sealed text begins with: the way it was sealed.
const SCHEME: &str = "xc20p:";

/// Seals and opens texts.
pub(super) struct Sealer {
    cipher: XChaCha20Poly1305,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

/// What is found in the key's place.
pub(super) enum Found {
    /// A key.
    Key(Sealer),
    /// No file.
    Nothing,
    /// A file that is no key.
    Unusable,
}

impl Sealer {
    /// With a key that nobody will ever have again.
    pub(super) fn ephemeral() -> Result<Self> {
        let mut key = [0; KEY_BYTES];
        random(&mut key)?;
        Ok(Self::of(key))
    }

    fn of(key: [u8; KEY_BYTES]) -> Self {
        Self { cipher: XChaCha20Poly1305::new(&Key::from(key)) }
    }

    /// Seals a text. It opens in the same place only: `place` is a table, a row, a field.
    pub(super) fn seal(&self, place: &str, text: &str) -> Result<String> {
        let mut nonce = [0; NONCE_BYTES];
        random(&mut nonce)?;
        let payload = Payload { msg: text.as_bytes(), aad: place.as_bytes() };
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| Error::invalid("password", "a password cannot be sealed"))?;
        let mut out = SCHEME.to_owned();
        for byte in nonce.iter().chain(&sealed) {
            // Writing to a text does not fail.
            let _ = write!(out, "{byte:02x}");
        }
        Ok(out)
    }

    /// Opens a text; `None` when it was sealed with another key, or elsewhere, or was changed.
    pub(super) fn open(&self, place: &str, sealed: &str) -> Option<String> {
        let bytes = of_hex(sealed.strip_prefix(SCHEME)?)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_BYTES)?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().ok()?;
        let payload = Payload { msg: sealed, aad: place.as_bytes() };
        String::from_utf8(self.cipher.decrypt(&XNonce::from(nonce), payload).ok()?).ok()
    }
}

fn random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes)
        .map_err(|error| Error::Io { what: "no randomness".to_owned(), source: io::Error::other(error) })
}

fn of_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some((digit(*pair.first()?)? << 4) | digit(*pair.get(1)?)?)).collect()
}

/// The key in a directory.
///
/// # Errors
/// When there is a file that cannot be read.
pub(super) fn load(directory: &Path) -> Result<Found> {
    let path = directory.join(FILE);
    let failed = |source| Error::Io { what: format!("cannot read {}", path.display()), source };
    let mut bytes = Vec::new();
    match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(failed(error)),
        Ok(file) => file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?,
    };
    Ok(match <[u8; KEY_BYTES]>::try_from(bytes) {
        Ok(key) => Found::Key(Sealer::of(key)),
        Err(_) => Found::Unusable,
    })
}

/// Makes a key, durable before anything is sealed with it. What is in its place and is no key is put aside.
///
/// # Errors
/// The disk's.
pub(super) fn make(directory: &Path) -> Result<Sealer> {
    let failed = |source| Error::Io {
        what: format!("cannot make the key {}", directory.join(FILE).display()),
        source,
    };
    let mut key = [0; KEY_BYTES];
    random(&mut key)?;
    write(directory, &key).map_err(failed)?;
    Ok(Sealer::of(key))
}

fn write(directory: &Path, key: &[u8; KEY_BYTES]) -> io::Result<()> {
    let (path, unfinished) = (directory.join(FILE), directory.join(UNFINISHED));
    match fs::rename(&path, directory.join(UNUSABLE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(key)?;
    file.sync_all()?;
    fs::rename(&unfinished, &path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_key_in_its_place_only() {
        let sealer = Sealer::ephemeral().unwrap();
        for text in ["", "s3cret", "Ä\n"] {
            let sealed = sealer.seal("a/1", text).unwrap();
            assert!(text.is_empty() || !sealed.contains(text));
            assert_eq!(sealer.open("a/1", &sealed).as_deref(), Some(text));
            assert_eq!(sealer.open("a/2", &sealed), None);
            assert_eq!(Sealer::ephemeral().unwrap().open("a/1", &sealed), None);
            assert_ne!(sealer.seal("a/1", text).unwrap(), sealed);
        }
    }

    #[test]
    fn what_was_changed_does_not_open() {
        let sealer = Sealer::ephemeral().unwrap();
        let sealed = sealer.seal("p", "s3cret").unwrap();
        let mut last = sealed.clone();
        let digit = last.pop().unwrap();
        last.push(if digit == '0' { '1' } else { '0' });
        for broken in ["", "s3cret", "xc20p:", "xc20p:zz", &sealed[..20], &last, &sealed[..sealed.len() - 1]]
        {
            assert_eq!(sealer.open("p", broken), None, "{broken}");
        }
    }

    #[test]
    fn a_key_is_private_and_stays_what_it_is() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(load(directory.path()).unwrap(), Found::Nothing));
        let sealed = make(directory.path()).unwrap().seal("p", "s3cret").unwrap();
        let path = directory.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let Found::Key(again) = load(directory.path()).unwrap() else { panic!("no key") };
        assert_eq!(again.open("p", &sealed).as_deref(), Some("s3cret"));
        fs::write(&path, "short").unwrap();
        assert!(matches!(load(directory.path()).unwrap(), Found::Unusable));
        make(directory.path()).unwrap();
        assert_eq!(fs::read(directory.path().join(UNUSABLE)).unwrap(), b"short");
    }
}
