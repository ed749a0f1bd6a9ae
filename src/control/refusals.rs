//! Faults of the layers below as refusals that say what to do.

use std::fmt::Display;
use std::io;

use api::{Code, Refusal};

use crate::bundles::BundleError;
use crate::catalog;

/// Users that the message itself names; of more, the details name all.
const USERS_TOLD_MAX: usize = 5;

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

/// An error of the catalog.
pub(crate) fn of_catalog(error: &catalog::Error) -> Refusal {
    use catalog::Error;
    let refusal = |code| Refusal::new(code, error.to_string());
    match error {
        Error::NotFound { near: Some(near), .. } => {
            refusal(Code::NotFound).action(format!("did you mean {near:?}?"))
        }
        Error::NotFound { kind, near: None, .. } => {
            refusal(Code::NotFound).action(format!("{} shows what there is", lister(*kind)))
        }
        Error::NameExists { .. } => refusal(Code::NameExists).source("name").action("choose another name"),
        Error::InUse { by, .. } => {
            let refusal = refusal(Code::InUse).action("change or remove what uses it first");
            match by.len() > USERS_TOLD_MAX {
                true => {
                    let all: Vec<_> = by.iter().map(ToString::to_string).collect();
                    refusal.details(format!("used by {}", all.join(", ")))
                }
                false => refusal,
            }
        }
        Error::Stale { .. } => refusal(Code::Stale)
            .source("eTag")
            .action("read it again, and repeat the change if it is still wanted"),
        Error::ReadOnly { .. } => refusal(Code::ReadOnly).action("copy it, and change the copy"),
        Error::Busy { task, .. } => {
            refusal(Code::Busy).action(format!("try again when the task has ended (osvol task show {task})"))
        }
        Error::Invalid { field, .. } => refusal(Code::InvalidValue).source(field.as_str()),
        Error::Damaged(_) => refusal(Code::Corrupt)
            .action("volumes are served as before, and nothing is changed")
            .action("stop osvold and put a sound catalog in its place; see docs/OPERATING.md"),
        Error::Newer { .. } | Error::Sqlite(_) | Error::Io { .. } => of_database(error),
    }
}

/// What lists the resources of a kind.
fn lister(kind: catalog::Kind) -> String {
    use catalog::Kind;
    let noun = match kind {
        Kind::GoldenImage => "image",
        Kind::ServerHardwareType => "hardware-type",
        Kind::ServerHardware => "hardware",
        Kind::EnclosureGroup => "enclosure-group",
        Kind::LogicalEnclosure => "enclosure",
        Kind::ServerProfile => "profile",
        Kind::OsVolume => "volume",
        Kind::Snapshot => "snapshot",
        Kind::Task => "task",
        Kind::User => "user",
        Kind::PlanScript => "plan script",
        Kind::BuildPlan => "plan build",
        Kind::DeploymentPlan => "plan",
        Kind::ArtifactBundle => "bundle",
    };
    format!("osvol {noun} list")
}

/// The disk under the catalog may be full: then there is something to do about it.
fn of_database(error: &catalog::Error) -> Refusal {
    use rusqlite::ErrorCode;
    match error {
        catalog::Error::Sqlite(source) if source.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
            no_space().details(with_cause(error))
        }
        catalog::Error::Io { what, source } => of_io(what, source),
        _ => internal("the catalog", &with_cause(error)),
    }
}

/// An error of the store that an image's own content causes.
pub(crate) fn of_image(error: &cow::Error) -> Refusal {
    match error.kind() {
        cow::Kind::Invalid => Refusal::new(Code::BadImage, sentence(&error.to_string()))
            .action("get the file again; if it is no raw disk, convert it with qemu-img"),
        _ => of_store(error),
    }
}

/// Why a bundle's archive is not taken.
pub(crate) fn of_bundle(error: &BundleError) -> Refusal {
    let refusal = |code| Refusal::new(code, error.to_string());
    match error {
        BundleError::Io(error) if error.kind() != io::ErrorKind::InvalidData => {
            of_io("read the bundle", error)
        }
        BundleError::TooLarge { .. } => {
            refusal(Code::TooLarge).action("raise images.size_max in osvold's configuration")
        }
        BundleError::Zip(error) => refusal(Code::BadBundle).action(error.action()),
        BundleError::Sum(_) | BundleError::Io(_) => {
            refusal(Code::BadBundle).action("get the bundle again, and compare its check sum")
        }
        BundleError::Name(_)
        | BundleError::Twice(_)
        | BundleError::Overlap
        | BundleError::Missing(_)
        | BundleError::Json { .. }
        | BundleError::TwoArtifacts(_) => {
            refusal(Code::BadBundle).action("send an artifact bundle as Image Streamer or osvold makes them")
        }
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
