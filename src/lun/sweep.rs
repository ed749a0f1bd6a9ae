//! Actions over long ranges, a piece at a time, so that none needs more than a mebibyte of memory.

use bytes::Bytes;
use cow::Wait;
use scsi::{Compare, Outcome, Range, Sanitize, StatusRun};

use super::perform::{Ended, Performed, Pieces, durable, while_reading, while_writing};
use super::pool::BufferPool;
use super::store::BlockStore;

/// Bytes moved in one call of the store.
const STEP_BYTES: u64 = 1 << 20;
/// Bytes whose status one call of the store gives, and one command looks at.
const STATUS_STEP_BYTES: u64 = 1 << 30;
const STATUS_BYTES_MAX: u64 = 64 << 30;

/// The range in steps: (range of the step, its offset from the start).
fn steps(range: Range, step: u64) -> impl Iterator<Item = (Range, u64)> {
    (0..range.len.div_ceil(step)).map(move |index| {
        let from = index * step;
        (Range { offset: range.offset + from, len: step.min(range.len - from) }, from)
    })
}

/// VERIFY: reads all of it, and compares as asked.
pub(super) fn verify(
    store: &dyn BlockStore,
    range: Range,
    compare: &Compare,
    data_out: &[Bytes],
    pool: &BufferPool,
    wait: Wait,
) -> Performed {
    for (step, from) in steps(range, STEP_BYTES) {
        let mut buffer = pool.take(usize::try_from(step.len).unwrap_or(0));
        store.read(step.offset, buffer.as_mut(), wait).map_err(while_reading(step))?;
        let medium = buffer.as_ref();
        let differs = match compare {
            Compare::Nothing => None,
            Compare::DataOut => first_difference(medium, Pieces::new(data_out, from, step.len).slices()),
            // Steps are whole blocks, so each begins with the block's first byte.
            Compare::Block(block) => {
                medium.chunks(block.len().max(1)).enumerate().find_map(|(index, have)| {
                    first_difference(have, &[block]).map(|at| (index * block.len()) as u64 + at)
                })
            }
        };
        if let Some(at) = differs {
            return Ok(Outcome::Miscompare { offset: from + at });
        }
    }
    Ok(Outcome::Done)
}

fn first_difference(medium: &[u8], pieces: &[&[u8]]) -> Option<u64> {
    let mut at = 0;
    for piece in pieces {
        let here = medium.get(at..at + piece.len()).unwrap_or_default();
        if here != *piece {
            let index = here.iter().zip(*piece).position(|(a, b)| a != b).unwrap_or(here.len());
            return Some((at + index) as u64);
        }
        at += piece.len();
    }
    None
}

/// WRITE AND VERIFY: on the medium first, then read back.
pub(super) fn write_and_verify(
    store: &dyn BlockStore,
    range: Range,
    compare: bool,
    data_out: &[Bytes],
    pool: &BufferPool,
) -> Performed {
    let pieces = Pieces::new(data_out, 0, range.len);
    store.write(range.offset, pieces.slices(), Wait::Yes).map_err(while_writing)?;
    durable(store, true)?;
    let compare = if compare { Compare::DataOut } else { Compare::Nothing };
    verify(store, range, &compare, data_out, pool, Wait::Yes)
}

/// WRITE SAME with a block that is not all zeros.
pub(super) fn write_same(store: &dyn BlockStore, range: Range, block: &Bytes) -> Performed {
    let step = range.len.min(STEP_BYTES);
    let pattern: Vec<u8> = block.iter().copied().cycle().take(usize::try_from(step).unwrap_or(0)).collect();
    for (step, _) in steps(range, STEP_BYTES) {
        let data = pattern.get(..usize::try_from(step.len).unwrap_or(0)).unwrap_or_default();
        store.write(step.offset, &[data], Wait::Yes).map_err(while_writing)?;
    }
    Ok(Outcome::Done)
}

/// PRE-FETCH: brings it into the page cache; what cannot be read now is said when it is read.
pub(super) fn prefetch(store: &dyn BlockStore, range: Range, pool: &BufferPool) {
    for (step, _) in steps(range, STEP_BYTES) {
        let mut buffer = pool.take(usize::try_from(step.len).unwrap_or(0));
        if store.read(step.offset, buffer.as_mut(), Wait::Yes).is_err() {
            return;
        }
    }
}

/// GET LBA STATUS: as many runs as are wanted, equal neighbours joined.
pub(super) fn block_status(store: &dyn BlockStore, range: Range, runs_max: usize) -> Performed {
    let mut runs: Vec<StatusRun> = vec![];
    let range = Range { len: range.len.min(STATUS_BYTES_MAX), ..range };
    for (step, _) in steps(range, STATUS_STEP_BYTES) {
        for run in store.block_status(step.offset, step.len).map_err(while_reading(step))? {
            match runs.last_mut() {
                Some(last) if last.mapped == run.mapped => last.len += run.len,
                _ => runs.push(run),
            }
        }
        if runs.len() > runs_max {
            break;
        }
    }
    runs.truncate(runs_max);
    Ok(Outcome::BlockStatus(runs))
}

/// SANITIZE: every block of the volume, durably, and the space given back. The golden image is not written to.
pub(super) fn sanitize(store: &dyn BlockStore, method: &Sanitize) -> Performed {
    let whole = Range { offset: 0, len: store.size_bytes() };
    match method {
        Sanitize::Overwrite { block } if block.iter().any(|&byte| byte != 0) => {
            write_same(store, whole_blocks(whole, block), block)?;
        }
        Sanitize::Overwrite { .. } | Sanitize::BlockErase => {
            store.trim(whole.offset, whole.len, Wait::Yes).map_err(while_writing)?;
        }
    }
    durable(store, true)?;
    store.reclaim();
    Ok(Outcome::Done)
}

fn whole_blocks(range: Range, block: &Bytes) -> Range {
    Range { len: range.len - range.len % (block.len().max(1) as u64), ..range }
}

/// EXTENDED COPY: one segment after the other; one that overlaps its source is copied from its end.
pub(super) fn copy(store: &dyn BlockStore, segments: &[(Range, u64)], pool: &BufferPool) -> Performed {
    for &(from, to) in segments {
        let mut steps: Vec<(Range, u64)> = steps(from, STEP_BYTES).collect();
        if to > from.offset {
            steps.reverse();
        }
        for (step, at) in steps {
            copy_step(store, step, to + at, pool)?;
        }
    }
    Ok(Outcome::Done)
}

fn copy_step(store: &dyn BlockStore, from: Range, to: u64, pool: &BufferPool) -> Result<(), Ended> {
    let mut buffer = pool.take(usize::try_from(from.len).unwrap_or(0));
    store.read(from.offset, buffer.as_mut(), Wait::Yes).map_err(while_reading(from))?;
    store.write(to, &[buffer.as_ref()], Wait::Yes).map_err(while_writing)
}
