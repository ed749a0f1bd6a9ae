//! Progress of long work, streamed as JSON lines. The last line is the result or a refusal.

use serde::{Deserialize, Serialize};

use crate::{GoldenImage, Refusal};

/// What an import is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// The client sends the file.
    Uploading,
    /// A compressed file is unpacked.
    Unpacking,
    /// The file's own structure is checked.
    Checking,
    /// The file is turned into a raw disk.
    Converting,
    /// A disk is read and written elsewhere, byte for byte.
    Copying,
    /// Checksums are computed and the image is made durable.
    Sealing,
    /// A phase of a newer daemon.
    #[serde(other)]
    Working,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Uploading => "uploading",
            Self::Unpacking => "unpacking",
            Self::Checking => "checking",
            Self::Converting => "converting",
            Self::Copying => "copying",
            Self::Sealing => "sealing",
            Self::Working => "working",
        })
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Progress {
    /// Work goes on.
    #[serde(rename_all = "camelCase")]
    Step {
        /// What is being done.
        phase: Phase,
        /// How much of it is done.
        done_bytes: u64,
        /// How much there is; 0 while unknown.
        total_bytes: u64,
    },
    /// Done: the last line.
    GoldenImage(Box<GoldenImage>),
    /// Not done, and nothing is left behind: the last line.
    Error(Refusal),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_tagged_by_what_they_are() {
        let step = Progress::Step { phase: Phase::Converting, done_bytes: 1, total_bytes: 2 };
        let line = serde_json::to_string(&step).unwrap();
        assert_eq!(line, r#"{"step":{"phase":"converting","doneBytes":1,"totalBytes":2}}"#);
        assert_eq!(serde_json::from_str::<Progress>(&line).unwrap(), step);
    }
}
