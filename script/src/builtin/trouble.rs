//! Why a command was not done.

/// What Linux would say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errno {
    Exists,
    Invalid,
    IsDirectory,
    NameTooLong,
    NoEntry,
    NoSpace,
    NotDirectory,
    NotEmpty,
    NotPermitted,
}

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Exists => "File exists",
            Self::Invalid => "Invalid argument",
            Self::IsDirectory => "Is a directory",
            Self::NameTooLong => "File name too long",
            Self::NoEntry => "No such file or directory",
            Self::NoSpace => "No space left on device",
            Self::NotDirectory => "Not a directory",
            Self::NotEmpty => "Directory not empty",
            Self::NotPermitted => "Operation not permitted",
        })
    }
}

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Linux refuses it, and so do we.
    Errno(Errno),
    /// We cannot be sure to do what guestfish would do.
    Doubt(String),
    /// There is no time left.
    Late,
    /// The disk cannot be read.
    Disk(std::io::Error),
}

impl Trouble {
    pub(super) fn doubt(reason: impl Into<String>) -> Self {
        Self::Doubt(reason.into())
    }
}

impl From<Errno> for Trouble {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

pub(super) type Result<T> = std::result::Result<T, Trouble>;
