//! `SHA256SUM.sha256sum`, or `SHA1SUM.sha1sum` of older bundles: a digest of every other member.

use std::collections::HashMap;
use std::io::{self, Read};

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Bytes that are read at a time.
const PART_BYTES: usize = 64 << 10;

/// How members are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Sha256,
    Sha1,
}

impl Algorithm {
    /// All of them, the better one first.
    pub(super) const ALL: [Self; 2] = [Self::Sha256, Self::Sha1];

    /// Name of the member with the sums.
    pub(super) fn member(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA256SUM.sha256sum",
            Self::Sha1 => "SHA1SUM.sha1sum",
        }
    }

    /// The digest of all that a reader gives, in hex, and how much that is.
    pub(super) fn digest(self, reader: &mut impl Read) -> io::Result<(String, u64)> {
        match self {
            Self::Sha256 => digest::<Sha256>(reader),
            Self::Sha1 => digest::<Sha1>(reader),
        }
    }
}

fn digest<D: Digest>(reader: &mut impl Read) -> io::Result<(String, u64)> {
    let (mut hasher, mut part, mut bytes) = (D::new(), vec![0; PART_BYTES], 0);
    loop {
        match reader.read(&mut part) {
            Ok(0) => return Ok((hex(&hasher.finalize()), bytes)),
            Ok(read) => {
                hasher.update(&part[..read]);
                bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The sums by the names of members: `name<TAB>hex`, or as `sha256sum` writes them.
pub(super) fn parse(text: &str) -> HashMap<String, String> {
    let line = |line: &str| {
        let line = line.trim_end_matches('\r');
        let (name, sum) = match line.rsplit_once('\t') {
            Some((name, sum)) => (name, sum),
            None => line.split_once("  ").map(|(sum, name)| (name, sum))?,
        };
        Some((name.to_owned(), sum.trim().to_ascii_lowercase()))
    };
    text.lines().filter_map(line).collect()
}
