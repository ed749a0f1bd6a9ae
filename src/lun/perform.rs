//! What each action is, in calls of the store.

use bytes::Bytes;
use cow::{Kind, Wait};
use scsi::{Action, Failure, Outcome, Range};

use super::pool::BufferPool;
use super::store::{BlockStore, StoreError};
use super::sweep;

/// Longest range that is verified, and longest range that is trimmed or zeroed, on the connection's own task.
const AT_ONCE_BYTES_MAX: u64 = 1 << 20;
const TRIM_AT_ONCE_BYTES_MAX: u64 = 64 << 20;

/// Does what needs no waiting. `None` when it would wait, or is long; then nothing has changed.
pub(super) fn at_once(
    store: &dyn BlockStore,
    action: &Action,
    data_out: &[Bytes],
    pool: &BufferPool,
) -> Option<Outcome> {
    let quick = match action {
        Action::Read { fua, .. }
        | Action::Write { fua, .. }
        | Action::WriteAtomic { fua, .. }
        | Action::OrWrite { fua, .. }
        | Action::CompareAndWrite { fua, .. } => !fua,
        Action::Verify { range, .. } => range.len <= AT_ONCE_BYTES_MAX,
        Action::Zero { range, .. } => range.len <= TRIM_AT_ONCE_BYTES_MAX,
        // Of several ranges the first could be done and the second wait: one at a time keeps it simple.
        Action::Unmap { ranges } => {
            matches!(ranges.as_slice(), [range] if range.len <= TRIM_AT_ONCE_BYTES_MAX)
        }
        _ => false,
    };
    if !quick {
        return None;
    }
    match perform(store, action, data_out, pool, Wait::No) {
        Err(Ended::WouldBlock) => None,
        Err(Ended::Failed(failure)) => Some(Outcome::Failed(failure)),
        Ok(outcome) => Some(outcome),
    }
}

/// Does it, waiting as long as it takes.
pub(super) fn waiting(
    store: &dyn BlockStore,
    action: &Action,
    data_out: &[Bytes],
    pool: &BufferPool,
) -> Outcome {
    match perform(store, action, data_out, pool, Wait::Yes) {
        Err(Ended::WouldBlock) => Outcome::Failed(Failure::Busy),
        Err(Ended::Failed(failure)) => Outcome::Failed(failure),
        Ok(outcome) => outcome,
    }
}

/// Why an action did not reach its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    WouldBlock,
    Failed(Failure),
}

pub(super) type Performed = Result<Outcome, Ended>;

fn perform(
    store: &dyn BlockStore,
    action: &Action,
    data_out: &[Bytes],
    pool: &BufferPool,
    wait: Wait,
) -> Performed {
    match action {
        Action::Read { range, fua } => {
            if *fua {
                store.flush().map_err(while_writing)?;
            }
            read(store, *range, pool, wait)
        }
        Action::Write { range, fua } => {
            let pieces = Pieces::new(data_out, 0, range.len);
            store.write(range.offset, pieces.slices(), wait).map_err(while_writing)?;
            durable(store, *fua)
        }
        Action::WriteAtomic { range, fua } => {
            let pieces = Pieces::new(data_out, 0, range.len);
            store.write_atomic(range.offset, pieces.slices(), wait).map_err(while_writing)?;
            durable(store, *fua)
        }
        Action::WriteAndVerify { range, compare } => {
            sweep::write_and_verify(store, *range, *compare, data_out, pool)
        }
        Action::OrWrite { range, fua } => {
            let pieces = Pieces::new(data_out, 0, range.len);
            let mut or = |medium: &mut [u8]| {
                let data = pieces.slices().iter().flat_map(|piece| piece.iter());
                medium.iter_mut().zip(data).for_each(|(to, from)| *to |= from);
            };
            store.update(range.offset, range.len, wait, &mut or).map_err(while_writing)?;
            durable(store, *fua)
        }
        Action::CompareAndWrite { range, fua } => compare_and_write(store, *range, *fua, data_out, wait),
        Action::WriteSame { range, block } => sweep::write_same(store, *range, block),
        Action::Zero { range, deallocate } => {
            let zero = if *deallocate { BlockStore::trim } else { BlockStore::write_zeroes };
            zero(store, range.offset, range.len, wait).map_err(while_writing)?;
            Ok(Outcome::Done)
        }
        Action::Unmap { ranges } => {
            for range in ranges {
                store.trim(range.offset, range.len, wait).map_err(while_writing)?;
            }
            Ok(Outcome::Done)
        }
        Action::Verify { range, compare } => sweep::verify(store, *range, compare, data_out, pool, wait),
        Action::Flush => durable(store, true),
        Action::Prefetch { range } => {
            sweep::prefetch(store, *range, pool);
            Ok(Outcome::Done)
        }
        Action::BlockStatus { range, descriptors_max } => {
            sweep::block_status(store, *range, *descriptors_max)
        }
        Action::Sanitize { method, .. } => sweep::sanitize(store, method),
        Action::Copy { segments } => sweep::copy(store, segments, pool),
        // These are the job's own: they are no work of the store.
        _ => Err(Ended::Failed(Failure::Internal)),
    }
}

fn read(store: &dyn BlockStore, range: Range, pool: &BufferPool, wait: Wait) -> Performed {
    let mut buffer = pool.take(usize::try_from(range.len).map_err(|_| Ended::Failed(Failure::Internal))?);
    store.read(range.offset, buffer.as_mut(), wait).map_err(while_reading(range))?;
    Ok(Outcome::Data(buffer.into_bytes()))
}

fn compare_and_write(
    store: &dyn BlockStore,
    range: Range,
    fua: bool,
    data_out: &[Bytes],
    wait: Wait,
) -> Performed {
    let expected = joined(data_out, 0, range.len);
    let new = joined(data_out, range.len, range.len);
    match store.compare_and_write(range.offset, &expected, &new, wait).map_err(while_writing)? {
        Some(offset) => Ok(Outcome::Miscompare { offset }),
        None => durable(store, fua),
    }
}

/// The end of a write: with `fua` it waits for the medium.
pub(super) fn durable(store: &dyn BlockStore, fua: bool) -> Performed {
    if fua {
        store.flush().map_err(while_writing)?;
    }
    Ok(Outcome::Done)
}

pub(super) fn while_reading(range: Range) -> impl Fn(StoreError) -> Ended {
    move |StoreError(kind)| match kind {
        Kind::Io => Ended::Failed(Failure::ReadError { offset: range.offset }),
        _ => ended(kind),
    }
}

pub(super) fn while_writing(StoreError(kind): StoreError) -> Ended {
    ended(kind)
}

/// One honest sense for each kind of error. What the unit has already checked cannot be the initiator's fault.
fn ended(kind: Kind) -> Ended {
    Ended::Failed(match kind {
        Kind::WouldBlock => return Ended::WouldBlock,
        Kind::NoSpace => Failure::NoSpace,
        Kind::Corrupt { offset } => Failure::Corrupt { offset },
        Kind::Poisoned | Kind::Io => Failure::WriteError,
        Kind::OutOfRange
        | Kind::InUse
        | Kind::NotFound
        | Kind::Exists
        | Kind::Invalid
        | Kind::Locked
        | Kind::Format
        | Kind::Cancelled => Failure::Internal,
    })
}

/// A part of data-out as slices. One piece, the common case, needs no list.
pub(super) enum Pieces<'a> {
    One([&'a [u8]; 1]),
    Many(Vec<&'a [u8]>),
}

impl<'a> Pieces<'a> {
    pub(super) fn new(data_out: &'a [Bytes], skip: u64, len: u64) -> Self {
        let (mut skip, mut left) =
            (usize::try_from(skip).unwrap_or(usize::MAX), usize::try_from(len).unwrap_or(0));
        if let (Some(only), 0) = (data_out.first().and_then(|first| first.get(..left)), skip) {
            return Self::One([only]);
        }
        let mut pieces = vec![];
        for piece in data_out {
            let (skipped, piece) = piece.split_at(skip.min(piece.len()));
            skip -= skipped.len();
            let piece = piece.get(..left.min(piece.len())).unwrap_or_default();
            left -= piece.len();
            if !piece.is_empty() {
                pieces.push(piece);
            }
        }
        Self::Many(pieces)
    }

    pub(super) fn slices(&self) -> &[&'a [u8]] {
        match self {
            Self::One(one) => one,
            Self::Many(many) => many,
        }
    }
}

/// A part of data-out in one piece.
pub(super) fn joined(data_out: &[Bytes], skip: u64, len: u64) -> Vec<u8> {
    Pieces::new(data_out, skip, len).slices().concat()
}
