//! What can be wrong with a configuration file, and where.

use std::path::PathBuf;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something in it is wrong.
    #[error("{}{}: {}", path.display(), line_suffix(fault.line), fault.message)]
    Fault {
        /// The file.
        path: PathBuf,
        /// What, and in which line.
        fault: Fault,
    },
}

fn line_suffix(line: Option<usize>) -> String {
    line.map(|line| format!(":{line}")).unwrap_or_default()
}

/// Something wrong in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Line, counted from 1; `None` when a default is at fault.
    pub line: Option<usize>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Fault {
    pub(crate) fn at(text: &str, offset: usize, message: impl Into<String>) -> Self {
        Self { line: Some(line_at(text, offset)), message: message.into() }
    }

    pub(crate) fn from_toml(text: &str, error: &toml::de::Error) -> Self {
        let message = error.message().trim_end().replace('\n', "; ");
        Self { line: error.span().map(|span| line_at(text, span.start)), message }
    }
}

/// Line of a byte offset, counted from 1.
pub(crate) fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|b| *b == b'\n').count()
}
