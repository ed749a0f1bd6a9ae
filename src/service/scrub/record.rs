//! What of the scrub survives a restart: a small file in the store's directory, replaced as a whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use api::{Finding, ScrubPass};
use cow::Store;
use serde::{Deserialize, Serialize};

use super::FINDINGS_MAX;

/// The last pass and what is known to be damaged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Record {
    pub(super) last: Option<ScrubPass>,
    /// When that was, in milliseconds since 1970; only of a pass that read everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) completed_unix_ms: Option<u64>,
    pub(super) findings: Vec<Finding>,
    /// Number of findings, those included that are not kept.
    pub(super) damaged: u64,
}

pub(super) fn path(store: &Store) -> PathBuf {
    store.path().join("scrub.json")
}

impl Record {
    /// What was stored last. A file that cannot be read is as good as none: the next pass finds everything again.
    pub(super) fn load(path: &Path) -> Self {
        let read = fs::read(path).and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::other));
        match read {
            Ok(record) => record,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!("the result of the last scrub in {} is lost: {error}", path.display());
                }
                Self::default()
            }
        }
    }

    /// Stores it. On a full disk it is lost at the next restart, no more.
    pub(super) fn save(&self, path: &Path) {
        if let Err(error) = self.try_save(path) {
            tracing::warn!("cannot store the result of the scrub in {}: {error}", path.display());
        }
    }

    fn try_save(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    }

    /// Takes a place down, once; found again, it has the later time.
    pub(super) fn add(&mut self, finding: Finding) {
        if let Some(known) = self.findings.iter_mut().find(|known| known.is_same_place(&finding)) {
            *known = finding;
            return;
        }
        self.damaged += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(offset: u64) -> Finding {
        Finding {
            category: "os-volumes".into(),
            id: "00".into(),
            name: "web01".into(),
            offset,
            reason: "rotten".into(),
            found: api::iso8601(0),
        }
    }

    #[test]
    fn a_place_is_counted_once_and_few_are_kept() {
        let mut record = Record::default();
        (0..300).chain(0..5).for_each(|offset| record.add(finding(offset)));
        assert_eq!((record.damaged, record.findings.len()), (300, FINDINGS_MAX));
    }

    #[test]
    fn what_is_stored_is_read_back_and_garbage_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("scrub.json");
        assert_eq!(Record::load(&path), Record::default());
        let mut record = Record { completed_unix_ms: Some(7), ..Record::default() };
        record.add(finding(4096));
        record.save(&path);
        assert_eq!(Record::load(&path), record);
        fs::write(&path, b"{\"findings\": 7").unwrap();
        assert_eq!(Record::load(&path), Record::default());
    }
}
