//! What each command is, in calls of the store, and what the ledger is told of it.

use cow::{Kind, Wait};
use nbd::{Command, ErrorCode, Extent, Outcome};

use super::Shared;
use super::limits::{AT_ONCE_BYTES_MAX, STATUS_BYTES_MAX, STATUS_STEP_BYTES};
use crate::lun::StoreError;

/// Does what needs no waiting. `None` when it would wait, or is long; then nothing has changed.
pub(super) fn at_once(shared: &Shared, command: &Command) -> Option<Outcome> {
    let quick = match command {
        Command::Read { bytes, .. } => *bytes as usize <= AT_ONCE_BYTES_MAX,
        Command::Write { data, fua, .. } => data.len() <= AT_ONCE_BYTES_MAX && !fua,
        Command::Flush | Command::Trim { .. } | Command::WriteZeroes { .. } | Command::BlockStatus { .. } => {
            false
        }
    };
    if !quick || shared.injected.hangs() {
        return None;
    }
    match perform(shared, command, Wait::No) {
        Err(StoreError(Kind::WouldBlock)) => None,
        done => Some(outcome(shared, command, done)),
    }
}

/// Does it, waiting as long as it takes.
pub(super) fn waiting(shared: &Shared, command: &Command) -> Outcome {
    outcome(shared, command, perform(shared, command, Wait::Yes))
}

/// A request that ended by a panic of the store.
pub(super) fn panicked(shared: &Shared) -> Outcome {
    shared.ledger.fault("a request ended by a panic of osvold".to_owned());
    Outcome::Failed(ErrorCode::Io, "internal error".to_owned())
}

fn outcome(shared: &Shared, command: &Command, done: Result<Outcome, StoreError>) -> Outcome {
    done.unwrap_or_else(|StoreError(kind)| {
        let why = format!("{}: {}", describe(command), words(kind));
        shared.ledger.fault(why.clone());
        Outcome::Failed(ErrorCode::Io, why)
    })
}

fn perform(shared: &Shared, command: &Command, wait: Wait) -> Result<Outcome, StoreError> {
    let disk = &*shared.disk;
    match command {
        Command::Read { offset, bytes } => {
            let mut data = vec![0; *bytes as usize];
            disk.read(*offset, &mut data, wait)?;
            Ok(Outcome::Data(data.into()))
        }
        Command::Write { offset, data, fua } => {
            change(shared, || disk.write(*offset, &[data], wait))?;
            durable(shared, *fua)
        }
        Command::Trim { offset, bytes, fua } => {
            change(shared, || disk.trim(*offset, u64::from(*bytes), wait))?;
            durable(shared, *fua)
        }
        // What is zeroed takes no space in this store, whether the client would like it to or not.
        Command::WriteZeroes { offset, bytes, fua, no_hole: _ } => {
            change(shared, || disk.write_zeroes(*offset, u64::from(*bytes), wait))?;
            durable(shared, *fua)
        }
        Command::Flush => durable(shared, true),
        Command::BlockStatus { offset, bytes, one } => extents(shared, *offset, u64::from(*bytes), *one),
    }
}

fn change(shared: &Shared, act: impl FnOnce() -> Result<(), StoreError>) -> Result<(), StoreError> {
    let change = shared.ledger.change();
    let done = shared.injected.before_change().and_then(|()| act());
    if done == Err(StoreError(Kind::WouldBlock)) {
        change.undone();
    }
    done
}

/// The end of a change: with `fua` it waits for the medium.
fn durable(shared: &Shared, fua: bool) -> Result<Outcome, StoreError> {
    if fua && !shared.injected.swallows_flush() {
        let mark = shared.ledger.mark();
        shared.disk.flush()?;
        shared.ledger.flushed(mark);
    }
    Ok(Outcome::Done)
}

/// Extents from `offset` on, equal neighbours joined; of a long range, or of very many, the first ones.
fn extents(shared: &Shared, offset: u64, bytes: u64, one: bool) -> Result<Outcome, StoreError> {
    let most = if one { 1 } else { nbd::limits::EXTENTS_MAX };
    let end = offset + bytes.min(STATUS_BYTES_MAX);
    let (mut at, mut found) = (offset, Vec::<Extent>::new());
    while at < end && found.len() <= most {
        let step = STATUS_STEP_BYTES.min(end - at);
        for run in shared.disk.block_status(at, step)? {
            let bytes = u32::try_from(run.len).unwrap_or(u32::MAX);
            match found.last_mut() {
                Some(last) if last.allocated == run.mapped && last.bytes.checked_add(bytes).is_some() => {
                    last.bytes += bytes;
                }
                _ => found.push(Extent { bytes, allocated: run.mapped }),
            }
        }
        at += step;
    }
    found.truncate(most);
    match found.is_empty() {
        true => Err(StoreError(Kind::OutOfRange)),
        false => Ok(Outcome::Extents(found)),
    }
}

/// A command in words.
fn describe(command: &Command) -> String {
    match command {
        Command::Read { offset, bytes } => format!("read of {bytes} bytes at {offset}"),
        Command::Write { offset, data, .. } => format!("write of {} bytes at {offset}", data.len()),
        Command::Flush => "flush".to_owned(),
        Command::Trim { offset, bytes, .. } => format!("trim of {bytes} bytes at {offset}"),
        Command::WriteZeroes { offset, bytes, .. } => format!("write of {bytes} zeros at {offset}"),
        Command::BlockStatus { offset, bytes, .. } => format!("block status of {bytes} bytes at {offset}"),
    }
}

/// Why the store did not do it, in words.
fn words(kind: Kind) -> String {
    match kind {
        Kind::NoSpace => "no space is left for the volume".to_owned(),
        Kind::Corrupt { offset } => format!("stored data is damaged at byte {offset}"),
        Kind::Poisoned => "an earlier write or sync failed, and nothing more is written".to_owned(),
        Kind::OutOfRange => "it is outside the volume".to_owned(),
        Kind::Io
        | Kind::WouldBlock
        | Kind::InUse
        | Kind::NotFound
        | Kind::Exists
        | Kind::Invalid
        | Kind::Locked
        | Kind::Format
        | Kind::Cancelled => "the disk under the store failed".to_owned(),
    }
}
