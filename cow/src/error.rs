//! What can go wrong, as one small kind with its context and its source.

use std::{fmt, io, path::Path};

/// What went wrong, as far as a caller has to tell cases apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The data is not in memory and the caller did not want to wait.
    WouldBlock,
    /// The range lies outside the volume.
    OutOfRange,
    /// No space for this write; the volume is otherwise well.
    NoSpace,
    /// Stored bytes do not match their checksum. `offset` is the byte in the volume or image.
    Corrupt {
        /// First byte, in the volume, image or file, that cannot be trusted.
        offset: u64,
    },
    /// An earlier sync failed: nothing more is written until the volume is reopened.
    Poisoned,
    /// The system refused an operation.
    Io,
    /// Something still uses it.
    InUse,
    /// Nothing of that name or identifier.
    NotFound,
    /// The name is taken.
    Exists,
    /// The request makes no sense.
    Invalid,
    /// Another process has the store.
    Locked,
    /// What the store holds is not what this version can read.
    Format,
    /// The caller asked to stop.
    Cancelled,
}

/// An error of the store: its kind, what was being done, and the system's own error if there is one.
#[derive(Debug, thiserror::Error)]
pub struct Error {
    kind: Kind,
    context: String,
    #[source]
    source: Option<io::Error>,
}

/// The result of an operation of the store.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with the words that explain it.
    pub fn new(kind: Kind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    /// The system's error while doing `operation` on `path`.
    pub fn io(operation: &str, path: &Path, source: io::Error) -> Self {
        Self {
            kind: kind_of(&source),
            context: format!("{operation} {}", path.display()),
            source: Some(source),
        }
    }

    /// The small kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn would_block() -> Self {
        Self { kind: Kind::WouldBlock, context: String::new(), source: None }
    }

    pub(crate) fn corrupt(offset: u64, context: impl Into<String>) -> Self {
        Self::new(Kind::Corrupt { offset }, context)
    }
}

fn kind_of(error: &io::Error) -> Kind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Kind::NoSpace
        }
        io::ErrorKind::NotFound => Kind::NotFound,
        io::ErrorKind::AlreadyExists => Kind::Exists,
        io::ErrorKind::WouldBlock => Kind::WouldBlock,
        _ => Kind::Io,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::WouldBlock => f.write_str("would block"),
            Kind::Corrupt { offset } => write!(f, "checksum mismatch at byte {offset}: {}", self.context),
            _ => f.write_str(&self.context),
        }
    }
}
