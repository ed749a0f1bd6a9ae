//! What a command answers: status, sense, data-in and how much it wanted to move.

use bytes::Bytes;

use crate::sense::{Sense, SenseFormat};

/// Status codes of SAM-5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// The command completed.
    Good = 0x00,
    /// Sense data says what happened.
    CheckCondition = 0x02,
    /// Try again later; nothing was done.
    Busy = 0x08,
    /// Another I_T nexus holds a reservation that excludes this command.
    ReservationConflict = 0x18,
    /// The unit has no room for another task.
    TaskSetFull = 0x28,
    /// Another I_T nexus aborted the task (TAS=1).
    TaskAborted = 0x40,
}

/// The answer to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// SCSI status.
    pub status: Status,
    /// Sense data, empty unless the status is CHECK CONDITION. Without any transport's own length prefix.
    pub sense: Bytes,
    /// Data-in, never longer than the command's allocation or transfer length.
    pub data_in: Bytes,
    /// Bytes the command moves in its own direction (`data_in.len()` for reads, the length taken from data-out for
    /// writes); the transport compares it with the initiator's expectation to compute residuals.
    /// Zero where the command ended before it moved anything.
    pub transfer_bytes: u64,
}

impl Response {
    /// GOOD with nothing moved.
    #[must_use]
    pub fn good() -> Self {
        Self { status: Status::Good, sense: Bytes::new(), data_in: Bytes::new(), transfer_bytes: 0 }
    }

    /// GOOD with data for the initiator.
    #[must_use]
    pub fn data(data_in: Bytes) -> Self {
        let transfer_bytes = data_in.len() as u64;
        Self { data_in, transfer_bytes, ..Self::good() }
    }

    /// GOOD after `transfer_bytes` of data-out were used.
    #[must_use]
    pub fn consumed(transfer_bytes: u64) -> Self {
        Self { transfer_bytes, ..Self::good() }
    }

    /// A status that carries no sense data.
    #[must_use]
    pub fn status(status: Status) -> Self {
        Self { status, ..Self::good() }
    }

    /// CHECK CONDITION.
    #[must_use]
    pub fn check(sense: &Sense, format: SenseFormat) -> Self {
        Self { sense: sense.encode(format), ..Self::status(Status::CheckCondition) }
    }
}
