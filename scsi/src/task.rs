//! What the unit asks the executor to do, and what the executor says came of it.
//!
//! `LogicalUnit::start` decides under the unit's lock and gives either a response or a `Task`; the executor performs
//! the task's `Action` without the lock, and `Task::finish` turns the `Outcome` into the response without it.
//! Offsets and lengths are bytes, already checked against the capacity and the advertised limits.

use bytes::Bytes;

use crate::response::{Response, Status};
use crate::sense::{Asc, Sense, SenseFormat, SenseKey};

/// A run of bytes of the medium, aligned to logical blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

/// What VERIFY compares the medium with (SBC-3, BYTCHK).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// Nothing: the medium must only be readable.
    Nothing,
    /// The first `len` bytes of data-out.
    DataOut,
    /// One block, against every block of the range.
    Block(Bytes),
}

/// What SANITIZE does to every block of the medium (SBC-3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sanitize {
    /// Write this logical block everywhere.
    Overwrite {
        /// One logical block.
        block: Bytes,
    },
    /// Deallocate: everything reads as zeros.
    BlockErase,
}

/// The work of one command. "Data-out" is the data-out buffer the command came with, which the executor still holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Read the range, answer `Outcome::Data`. With `fua`, what is read must first be durable.
    Read {
        /** What. */
        range: Range,
        /** FUA. */
        fua: bool,
    },
    /// Write the first `range.len` bytes of data-out; with `fua`, durable before the answer.
    Write {
        /** Where. */
        range: Range,
        /** FUA. */
        fua: bool,
    },
    /// As `Write`, all or nothing across any failure.
    WriteAtomic {
        /** Where. */
        range: Range,
        /** FUA. */
        fua: bool,
    },
    /// Write data-out, make it durable, then read it back (and compare when `compare`).
    WriteAndVerify {
        /** Where. */
        range: Range,
        /** BYTCHK. */
        compare: bool,
    },
    /// Data-out OR what is on the medium, atomically.
    OrWrite {
        /** Where. */
        range: Range,
        /** FUA. */
        fua: bool,
    },
    /// Write one block over and over.
    WriteSame {
        /** Where. */
        range: Range,
        /** One logical block. */
        block: Bytes,
    },
    /// Make the range read as zeros; deallocate where `deallocate`.
    Zero {
        /** Where. */
        range: Range,
        /** UNMAP=1. */
        deallocate: bool,
    },
    /// Deallocate the ranges; they read as zeros afterwards.
    Unmap {
        /** Where. */
        ranges: Vec<Range>,
    },
    /// If the range equals the first half of data-out, replace it by the second half, atomically.
    CompareAndWrite {
        /** Where; data-out is twice as long. */
        range: Range,
        /** FUA. */
        fua: bool,
    },
    /// Read and compare.
    Verify {
        /** Where. */
        range: Range,
        /** With what. */
        compare: Compare,
    },
    /// Make everything acknowledged so far durable.
    Flush,
    /// Bring the range into the cache; failure does not matter.
    Prefetch {
        /** What. */
        range: Range,
    },
    /// Say which blocks are mapped, answer `Outcome::BlockStatus`, at most `descriptors_max` runs.
    BlockStatus {
        /** What. */
        range: Range,
        /** Most runs wanted. */
        descriptors_max: usize,
    },
    /// Erase the whole medium, durably; the golden image under it is not touched. Needs settling.
    Sanitize {
        /** How. */
        method: Sanitize,
        /** IMMED: answer at once, erase behind it. */
        immediate: bool,
    },
    /// Copy ranges within this volume, in order (EXTENDED COPY). Needs settling.
    Copy {
        /** (from, to offset). */
        segments: Vec<(Range, u64)>,
    },
    /// Wait until no other command of this unit is at work that began before this one; then, where asked, do as for
    /// `SaveReservations` (PREEMPT AND ABORT).
    Quiesce {
        /** APTPL. */
        save_reservations: bool,
    },
    /// Store `LogicalUnit::reservations_to_save` durably before the answer (APTPL).
    SaveReservations,
}

/// One run of `Outcome::BlockStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRun {
    /// Length in bytes.
    pub len: u64,
    /// Whether the blocks are mapped (anything but zeros may be there).
    pub mapped: bool,
}

/// How the work ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; nothing to hand back.
    Done,
    /// What was read, exactly as long as asked.
    Data(Bytes),
    /// Runs from the start of the range on, in order.
    BlockStatus(Vec<StatusRun>),
    /// The first byte that differed, counted from the start of the range.
    Miscompare {
        /** Byte offset. */
        offset: u64,
    },
    /// It failed.
    Failed(Failure),
}

/// Why work failed; each has one honest sense code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Too much to do right now; nothing was done: BUSY.
    Busy,
    /// No space left in the store: DATA PROTECT 27h/07h.
    NoSpace,
    /// Stored bytes at this offset of the medium do not match their checksum: MEDIUM ERROR 11h/00h with the LBA.
    Corrupt {
        /** Byte offset in the medium. */
        offset: u64,
    },
    /// Reading failed at this offset of the medium: MEDIUM ERROR 11h/00h with the LBA.
    ReadError {
        /** Byte offset in the medium. */
        offset: u64,
    },
    /// Writing or making durable failed; the volume takes no more writes: MEDIUM ERROR 0Ch/00h.
    WriteError,
    /// The volume is read-only: DATA PROTECT 27h/00h.
    ReadOnly,
    /// Anything else: HARDWARE ERROR 44h/00h.
    Internal,
}

/// A decided command: do `action`, then `finish`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a task that is not finished leaves its initiator waiting"]
pub struct Task {
    /// What to do.
    pub action: Action,
    pub(crate) completion: Completion,
}

/// What `finish` needs to know of the command and of the unit when it was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Completion {
    /// Bytes of data-out the command takes.
    pub(crate) data_out_bytes: u64,
    /// Allocation length of the answer, where it has one.
    pub(crate) allocation: usize,
    /// First LBA of the command.
    pub(crate) lba: u64,
    /// log2 of the logical block length.
    pub(crate) block_shift: u32,
    /// D_SENSE at the time.
    pub(crate) format: SenseFormat,
}

/// What the unit decided.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a command must be answered"]
pub enum Plan {
    /// Answer this; there is nothing to do.
    Done(Response),
    /// Do this first.
    Perform(Task),
}

impl Task {
    /// The response to send, now that the work ended so.
    #[must_use]
    pub fn finish(&self, outcome: Outcome) -> Response {
        let completion = &self.completion;
        match outcome {
            Outcome::Done => Response::consumed(completion.data_out_bytes),
            Outcome::Data(data) => Response::data(data),
            Outcome::BlockStatus(runs) => Response::data(crate::provisioning::lba_status(&runs, completion)),
            Outcome::Miscompare { offset } => self.check(
                Sense::new(SenseKey::Miscompare, Asc::MISCOMPARE_DURING_VERIFY)
                    .with_information(self.miscompare_information(offset)),
            ),
            Outcome::Failed(failure) => self.failed(failure),
        }
    }

    /// Whether `LogicalUnit::settle` must be called between the work and the response.
    #[must_use]
    pub fn needs_settling(&self) -> bool {
        matches!(self.action, Action::Sanitize { .. } | Action::Copy { .. })
    }

    /// The response when the executor took the command back before doing anything of it, since it has no room.
    #[must_use]
    pub fn refuse_for_now(&self) -> Response {
        Response::status(Status::TaskSetFull)
    }

    /// COMPARE AND WRITE and VERIFY with data report the byte offset into data-out (SBC-3).
    fn miscompare_information(&self, offset: u64) -> u64 {
        offset
    }

    fn failed(&self, failure: Failure) -> Response {
        let sense = match failure {
            Failure::Busy => return Response::status(Status::Busy),
            Failure::NoSpace => Sense::new(SenseKey::DataProtect, Asc::SPACE_ALLOCATION_FAILED),
            Failure::Corrupt { offset } | Failure::ReadError { offset } => {
                Sense::new(SenseKey::MediumError, Asc::UNRECOVERED_READ_ERROR)
                    .with_information(offset >> self.completion.block_shift)
            }
            Failure::WriteError => Sense::new(SenseKey::MediumError, Asc::WRITE_ERROR),
            Failure::ReadOnly => Sense::new(SenseKey::DataProtect, Asc::WRITE_PROTECTED),
            Failure::Internal => Sense::new(SenseKey::HardwareError, Asc::INTERNAL_TARGET_FAILURE),
        };
        self.check(sense)
    }

    fn check(&self, sense: Sense) -> Response {
        Response::check(&sense, self.completion.format)
    }
}
