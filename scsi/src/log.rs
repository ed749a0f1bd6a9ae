//! LOG SENSE (SPC-4): what thin provisioning has left, and whether there is something to complain of.

use bytes::BufMut;

use crate::attention::Attention;
use crate::emit::{set_length16, truncated};
use crate::response::Response;
use crate::sense::{Asc, Sense};
use crate::task::Plan;
use crate::thresholds::Thresholds;
use crate::unit::{Decision, LogicalUnit};
use crate::vpd::THRESHOLD_SHIFT;

const SUPPORTED_PAGES: u8 = 0x00;
const PROVISIONING: u8 = 0x0C;
const EXCEPTIONS: u8 = 0x2F;
const ALL_SUBPAGES: u8 = 0xFF;
const PAGES: [u8; 3] = [SUPPORTED_PAGES, PROVISIONING, EXCEPTIONS];

/// DU 0, TSD 0, FORMAT AND LINKING 11b: binary list parameter.
const BINARY_LIST: u8 = 0x03;

/// What the store says of this volume: its space, and whether it still takes writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes this volume may still allocate.
    pub available_bytes: u64,
    /// Bytes this volume has allocated.
    pub used_bytes: u64,
    /// Bytes available at which each of the two soft thresholds is reached.
    pub thresholds_bytes: [u64; 2],
    /// A write or a flush failed, and no more are taken.
    pub writes_failed: bool,
}

impl LogicalUnit {
    /// Takes the store's figures for LOG SENSE, and for the mode page of the thresholds. Gives whether the thresholds
    /// were known and are others now.
    pub fn set_usage(&mut self, usage: Usage) -> bool {
        self.usage = usage;
        self.mode.set_thresholds(Thresholds::of_bytes(usage.thresholds_bytes))
    }

    /// The same after somebody has set other thresholds: every nexus is told (SBC-3, logical block provisioning mode
    /// page).
    pub fn set_limits(&mut self, usage: Usage) {
        if self.set_usage(usage) {
            self.nexuses.announce(Attention::ModeChanged, None);
        }
    }

    pub(crate) fn log_sense(&self, log: LogSense) -> Decision {
        let LogSense { page, subpage, parameter, allocation, .. } = log;
        let mut data = vec![page, subpage, 0, 0];
        match (page, subpage) {
            (SUPPORTED_PAGES, 0) => data.extend(PAGES),
            (SUPPORTED_PAGES, ALL_SUBPAGES) => supported_subpages(&mut data),
            (PROVISIONING, 0) => self.provisioning_parameters(&mut data, parameter),
            (EXCEPTIONS, 0) => self.exceptions(&mut data),
            (_, 0) => return Err(Sense::cdb_field(2, Some(5)).into()),
            (_, _) => return Err(Sense::cdb_field(3, Some(7)).into()),
        }
        if subpage != 0 {
            data[0] |= 0x40; // SPF
        }
        set_length16(&mut data, 2, 4);
        Ok(Plan::Done(Response::data(truncated(data, allocation))))
    }

    /// Logical block provisioning log page (SBC-3), in units of the threshold exponent.
    fn provisioning_parameters(&self, data: &mut Vec<u8>, first: u16) {
        const AVAILABLE: u16 = 0x0001;
        const USED: u16 = 0x0002;
        /// SCOPE: what is available, other units may take as well; what is used, this one has.
        const SHARED: u8 = 0x02;
        const THIS_UNIT: u8 = 0x01;
        let usage = self.usage;
        for (code, bytes, scope) in
            [(AVAILABLE, usage.available_bytes, SHARED), (USED, usage.used_bytes, THIS_UNIT)]
        {
            if code < first {
                continue;
            }
            data.put_u16(code);
            data.put_u8(BINARY_LIST);
            data.put_u8(8);
            data.put_u32(u32::try_from(bytes >> THRESHOLD_SHIFT).unwrap_or(u32::MAX));
            data.put_u8(scope);
            data.put_bytes(0, 3);
        }
    }

    /// Informational exceptions log page (SPC-4): what a monitor such as smartctl takes for the disk's health. There is no
    /// temperature.
    fn exceptions(&self, data: &mut Vec<u8>) {
        let Asc(code, qualifier) =
            if self.usage.writes_failed { Asc::FAILURE_PREDICTION_THRESHOLD_EXCEEDED } else { Asc::NONE };
        data.extend([0x00, 0x00, BINARY_LIST, 0x04, code, qualifier, 0xFF, 0x00]);
    }
}

fn supported_subpages(data: &mut Vec<u8>) {
    for page in PAGES {
        data.extend([page, 0]);
        if page == SUPPORTED_PAGES {
            data.extend([page, ALL_SUBPAGES]);
        }
    }
}

/// The fields of LOG SENSE. Every value is cumulative and current at once, so PC does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogSense {
    pub(crate) page: u8,
    pub(crate) subpage: u8,
    pub(crate) parameter: u16,
    pub(crate) allocation: usize,
}
