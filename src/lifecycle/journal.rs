//! What an operation writes down before it begins, so that a crash leaves nothing half done.

use serde::{Deserialize, Serialize};

/// How far an operation was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "camelCase")]
pub(super) enum Journal {
    /// Nothing has happened yet but, perhaps, a new volume in the store: it is undone.
    Begun {
        /// Name of the volume that it makes.
        volume: Option<String>,
        /// Name of the snapshot that it takes to make it.
        #[serde(default)]
        snapshot: Option<String>,
    },
    /// It has happened; volumes that it condemned may still be in the store: it is carried on.
    Committed,
}

impl Journal {
    pub(super) fn text(&self) -> String {
        // Two variants with a text: serde_json has nothing to refuse.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_reads_as_it_was_written() {
        for journal in [
            Journal::Begun { volume: Some("OSVolume-7".into()), snapshot: Some("scratch-1".into()) },
            Journal::Begun { volume: None, snapshot: None },
            Journal::Committed,
        ] {
            assert_eq!(Journal::parse(&journal.text()), Some(journal));
        }
        assert_eq!(Journal::parse("{}"), None);
        // As it was written before there were snapshots in it.
        let old = Journal::parse(r#"{"phase":"begun","volume":"OSVolume-7"}"#);
        assert_eq!(old, Some(Journal::Begun { volume: Some("OSVolume-7".into()), snapshot: None }));
    }
}
