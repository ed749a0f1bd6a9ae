//! Why a command did not do what was asked, in words that say what to do.

use std::io;
use std::path::{Path, PathBuf};

use api::Refusal;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The daemon said no.
    #[error("{}", .0.message)]
    Refused(Box<Refusal>),
    /// The socket cannot be connected to.
    #[error("cannot connect to osvold at {}: {}", socket.display(), reason(source))]
    Connect { socket: PathBuf, source: io::Error },
    /// The connection broke.
    #[error("the connection to osvold at {} broke: {source}", socket.display())]
    Broken { socket: PathBuf, source: io::Error },
    /// What came back is not what osvold says.
    #[error("what listens at {} does not answer as osvold: {what}", socket.display())]
    Protocol { socket: PathBuf, what: String },
    /// A file of the user's.
    #[error("cannot {operation} {}: {}", path.display(), reason(source))]
    File { operation: &'static str, path: PathBuf, source: io::Error },
    /// A file of the user's that cannot be an image.
    #[error("{} {what}", path.display())]
    NotAnImage { path: PathBuf, what: &'static str },
    /// A name of a file that cannot be written.
    #[error("{} {what}", path.display())]
    NotAPlace { path: PathBuf, what: &'static str },
    /// A name in the command line.
    #[error("{0:?} is neither a name nor an id")]
    BadName(String),
    /// A value of an attribute in the command line.
    #[error("{0:?} is not NAME=VALUE")]
    BadPair(String),
    /// An attribute in the command line.
    #[error(
        "{0:?} is not NAME:TYPE or NAME:TYPE=VALUE; types are string, number, option, password, fqdn, hostname, ipv4, nic"
    )]
    BadAttribute(String),
    /// Nobody is there who could be asked, and there is more to it than a profile.
    #[error("{0}; say --yes to proceed")]
    NeedsYesPlain(String),
    /// A password that cannot be had.
    #[error("no password: {0}")]
    Password(String),
    /// A store holds damage, which was told on standard output.
    #[error("{0}")]
    Damage(String),
    /// A plan with mistakes, which were told on standard output.
    #[error("{0}")]
    Findings(String),
    /// A store that cannot be read, or a file that cannot be written from it.
    #[error("{}", store_words(.0))]
    Store(#[from] cow::Error),
    /// The machine lacks something, which was told on standard output.
    #[error("{0}")]
    Unfit(String),
    /// The appliance cannot be built: why, and what to do.
    #[error("the appliance cannot be built: {0}")]
    Appliance(String, String),
    /// Somebody was asked whether to proceed, and said no.
    #[error("cancelled; nothing was changed")]
    Cancelled,
    /// Nobody is there who could be asked.
    #[error("{}", needs_yes(.0))]
    NeedsYes(Box<Refusal>),
    /// What would happen changes faster than it can be confirmed.
    #[error("things keep changing; nothing was changed by this command")]
    Unsteady,
    /// Standard output was closed by whoever reads it, who has seen enough.
    #[error("standard output is closed")]
    OutputClosed,
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
}

/// An error of the system without its number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

impl Failure {
    pub(crate) fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { operation, path, source }
    }

    /// Something was changed since it was read: the resource (`eTag`) or what was confirmed (`confirmationToken`).
    pub(crate) fn is_stale(&self, source: &str) -> bool {
        match self {
            Self::Refused(refusal) => {
                refusal.error_code == api::Code::Stale && refusal.error_source.as_deref() == Some(source)
            }
            _ => false,
        }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::BadName(_) | Self::BadPair(_) | Self::BadAttribute(_) => 2,
            Self::Store(error) if !matches!(error.kind(), cow::Kind::Corrupt { .. }) => 3,
            Self::Refused(_)
            | Self::Connect { .. }
            | Self::Broken { .. }
            | Self::Protocol { .. }
            | Self::File { .. }
            | Self::NotAnImage { .. }
            | Self::NotAPlace { .. }
            | Self::Damage(_)
            | Self::Findings(_)
            | Self::Unfit(_)
            | Self::Appliance(..)
            | Self::Password(_)
            | Self::Store(_)
            | Self::Cancelled
            | Self::NeedsYes(_)
            | Self::NeedsYesPlain(_)
            | Self::Unsteady
            | Self::OutputClosed
            | Self::Output(_) => 1,
        }
    }

    /// More of what happened, a line each.
    pub(crate) fn details(&self) -> Vec<String> {
        match self {
            Self::Refused(refusal) => refusal.details.iter().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// What to do about it, a line each.
    pub(crate) fn actions(&self) -> Vec<String> {
        match self {
            Self::Refused(refusal) => refusal.recommended_actions.clone(),
            Self::Connect { source, .. } => vec![connect_action(source.kind()).to_owned()],
            Self::Broken { .. } => vec!["see osvold's log (journalctl -u osvold)".to_owned()],
            Self::Protocol { .. } => vec!["check --control and OSVOL_CONTROL".to_owned()],
            Self::BadName(_) => vec!["a name is made of letters, digits, '.', '_' and '-'".to_owned()],
            Self::Store(error) => store_action(error.kind()).map(str::to_owned).into_iter().collect(),
            Self::NeedsYes(_) => {
                vec!["give --yes to proceed, or run it on a terminal to be asked".to_owned()]
            }
            Self::Appliance(_, action) => vec![action.clone()],
            Self::Unsteady => vec!["look at the impact (--dry-run), and try again".to_owned()],
            Self::File { .. }
            | Self::BadPair(_)
            | Self::BadAttribute(_)
            | Self::NeedsYesPlain(_)
            | Self::Cancelled
            | Self::NotAnImage { .. }
            | Self::NotAPlace { .. }
            | Self::Damage(_)
            | Self::Findings(_)
            | Self::Unfit(_)
            | Self::Password(_)
            | Self::OutputClosed
            | Self::Output(_) => Vec::new(),
        }
    }

    /// The same as a refusal, for `--json`.
    pub(crate) fn as_json(&self) -> serde_json::Value {
        match self {
            Self::Refused(refusal) | Self::NeedsYes(refusal) => {
                serde_json::to_value(refusal).unwrap_or_default()
            }
            _ => serde_json::json!({
                "errorCode": "CLIENT",
                "message": self.to_string(),
                "details": null,
                "recommendedActions": self.actions(),
                "nestedErrors": [],
            }),
        }
    }
}

/// `server profile "web01": data would be lost; nothing was changed`
fn needs_yes(refusal: &Refusal) -> String {
    let message = refusal.message.strip_suffix("; proceed or cancel").unwrap_or(&refusal.message);
    format!("{message}; nothing was changed")
}

/// An error of the store with the system's reason.
fn store_words(error: &cow::Error) -> String {
    match std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>()) {
        Some(source) => format!("cannot {error}: {}", reason(source)),
        None => error.to_string(),
    }
}

fn store_action(kind: cow::Kind) -> Option<&'static str> {
    match kind {
        cow::Kind::Corrupt { .. } => Some(
            "`osvol store check --data` says what else is lost; --skip-damage goes on and lists what it leaves out",
        ),
        cow::Kind::Exists => Some("give a name that is not taken: nothing is ever overwritten"),
        cow::Kind::Format => Some("give the directory that osvold has as `state` (it holds a file STORE)"),
        _ => None,
    }
}

fn connect_action(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound => {
            "is osvold running? (systemctl status osvold); if its socket is elsewhere, give --control or OSVOL_CONTROL"
        }
        io::ErrorKind::ConnectionRefused => {
            "the socket is left from an osvold that has ended; start it again"
        }
        io::ErrorKind::PermissionDenied => {
            "run osvol as root, or as the user that osvold runs as (sudo -u osvol osvol …)"
        }
        _ => "check --control and OSVOL_CONTROL",
    }
}
