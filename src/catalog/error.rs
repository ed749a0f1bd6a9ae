//! Why the catalog does not do what it is asked.

use std::fmt;

use super::Kind;

/// Result of the catalog.
pub type Result<T> = std::result::Result<T, Error>;

/// A resource that uses another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind, self.name)
    }
}

/// A refusal or a failure of the catalog.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing has this path, id or name.
    #[error("there is no {kind} {reference:?}")]
    NotFound {
        /// What was asked for.
        kind: Kind,
        /// How it was named.
        reference: String,
        /// A name that is like it.
        near: Option<String>,
    },
    /// The name is taken.
    #[error("{} {kind} named {name:?} exists", kind.article())]
    NameExists {
        /// Of what.
        kind: Kind,
        /// The name.
        name: String,
    },
    /// Something uses it.
    #[error("{kind} {name:?} is in use by {}", list(by))]
    InUse {
        /// What is used.
        kind: Kind,
        /// Its name.
        name: String,
        /// By these.
        by: Vec<Use>,
    },
    /// It was changed since the client read it.
    #[error("{kind} {name:?} was changed by somebody else")]
    Stale {
        /// What.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// It may be copied, not edited.
    #[error("{kind} {name:?} is read-only")]
    ReadOnly {
        /// What.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// An operation is under way on it.
    #[error("{kind} {name:?} is being changed by task {task}")]
    Busy {
        /// What.
        kind: Kind,
        /// Its name or id.
        name: String,
        /// Id of the task.
        task: String,
    },
    /// A value that cannot be.
    #[error("{message}")]
    Invalid {
        /// The JSON field, or what else is at fault.
        field: String,
        /// What is wrong with it.
        message: String,
    },
    /// The catalog cannot be trusted: it is read, as far as that goes, and not written.
    #[error("the catalog is damaged: {0}")]
    Damaged(String),
    /// The catalog was written by a newer osvold.
    #[error("the catalog has version {found}; this osvold knows versions up to {known}")]
    Newer {
        /// Its version.
        found: i64,
        /// The newest one known here.
        known: i64,
    },
    /// The database or the disk under it.
    #[error("the catalog's database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// The file system under it.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl Error {
    /// A value that cannot be.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), message: message.into() }
    }

    /// A failed INSERT or UPDATE: the name is taken, or worse.
    #[must_use]
    pub fn of_write(error: rusqlite::Error, kind: Kind, name: &str) -> Self {
        match &error {
            rusqlite::Error::SqliteFailure(failure, Some(message))
                if failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE
                    && message.ends_with(".name") =>
            {
                Self::NameExists { kind, name: name.to_owned() }
            }
            _ => Self::Sqlite(error),
        }
    }
}

/// The first few users, and how many more.
fn list(by: &[Use]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<_> = by.iter().take(SHOWN).map(ToString::to_string).collect();
    match by.len().checked_sub(SHOWN) {
        None | Some(0) => shown.join(", "),
        Some(more) => format!("{} and {more} more", shown.join(", ")),
    }
}
