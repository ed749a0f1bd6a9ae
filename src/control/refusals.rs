//! Faults of the layers below as refusals that say what to do.

use std::fmt::Display;
use std::io;

use api::{Code, Refusal};

/// An error of the store.
pub(crate) fn of_store(error: &cow::Error) -> Refusal {
    use cow::Kind;
    let code = match error.kind() {
        Kind::NoSpace => return no_space().details(with_cause(error)),
        Kind::NotFound => Code::NotFound,
        Kind::Exists => Code::NameExists,
        Kind::InUse => Code::InUse,
        Kind::Invalid | Kind::OutOfRange => Code::InvalidValue,
        Kind::Corrupt { .. } => Code::Corrupt,
        Kind::Cancelled => return stopping(),
        Kind::WouldBlock | Kind::Poisoned | Kind::Io | Kind::Locked | Kind::Format => {
            return internal("the store", error);
        }
    };
    Refusal::new(code, sentence(&error.to_string()))
}

/// An error of the store that an image's own content causes.
pub(crate) fn of_image(error: &cow::Error) -> Refusal {
    match error.kind() {
        cow::Kind::Invalid => Refusal::new(Code::BadImage, sentence(&error.to_string()))
            .action("get the file again; if it is no raw disk, convert it with qemu-img"),
        _ => of_store(error),
    }
}

/// An error of the system.
pub(crate) fn of_io(operation: &str, error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            no_space().details(format!("cannot {operation}: {error}"))
        }
        _ => internal(operation, error),
    }
}

/// The disk under the store is full.
pub(crate) fn no_space() -> Refusal {
    Refusal::new(Code::NoSpace, "there is no space left in the store; nothing was added")
        .action("remove golden images or volumes that are not needed (osvol status shows what is free)")
        .action("or make the file system under the store larger")
}

/// The daemon is going down.
pub(crate) fn stopping() -> Refusal {
    Refusal::new(Code::Stopping, "osvold is stopping; nothing was changed")
        .action("try again when it has started")
}

/// Something that should not happen: said to the client, and logged.
pub(crate) fn internal(what: &str, error: &dyn Display) -> Refusal {
    tracing::error!("{what} failed: {error}");
    Refusal::new(Code::Internal, format!("{what} failed"))
        .details(error.to_string())
        .action("see osvold's log (journalctl -u osvold)")
}

fn with_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn sentence(text: &str) -> String {
    text.replace('`', "\"")
}
