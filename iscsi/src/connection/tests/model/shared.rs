//! What initiators, driver and oracle share.

use super::random::Random;
use crate::event::{ScsiResponse, TaskAttribute};
use crate::serial::SerialNumber;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// What was done, so that a run that did nothing is no success.
#[derive(Default, Debug, Clone, Copy)]
pub(super) struct Stats {
    pub(super) answered: u64,
    pub(super) managed: u64,
    pub(super) texts: u64,
    pub(super) logouts: u64,
    pub(super) r2ts: u64,
    pub(super) r2ts_at_once: u64,
    pub(super) sessions: u64,
    pub(super) reinstated: u64,
    pub(super) cut: u64,
    pub(super) buried: u64,
}

/// What was sent under an id that no other command has; the CDB carries it.
pub(super) struct Issued {
    pub(super) link: usize,
    pub(super) lun: u8,
    pub(super) slot: u8,
    pub(super) reads: bool,
    pub(super) writes: bool,
    pub(super) expected: u32,
    pub(super) expected_in: usize,
    pub(super) attribute: TaskAttribute,
    pub(super) tail: Bytes,
    pub(super) data: Bytes,
    /// None when it was immediate.
    pub(super) cmd_sn: Option<SerialNumber>,
    pub(super) is_stray: bool,
}

impl Default for Issued {
    fn default() -> Self {
        Self {
            link: 0,
            lun: 0,
            slot: 0,
            reads: true,
            writes: false,
            expected: 0,
            expected_in: 0,
            attribute: TaskAttribute::Simple,
            tail: Bytes::new(),
            data: Bytes::new(),
            cmd_sn: None,
            is_stray: false,
        }
    }
}

/// What initiators, driver and oracle share.
pub(super) struct Shared {
    pub(super) random: Random,
    pub(super) issued: BTreeMap<u32, Issued>,
    pub(super) handed_out: BTreeSet<u32>,
    /// How the logical unit ended commands that were not heard of yet.
    pub(super) outcomes: BTreeMap<u32, ScsiResponse>,
    /// Commands that must have no effect any more.
    pub(super) buried: BTreeSet<u32>,
    /// The last connection of each port that was told that its session is there.
    pub(super) established: Vec<usize>,
    pub(super) immediate_jobs: usize,
    pub(super) trace: Option<Vec<String>>,
    pub(super) stats: Stats,
    pub(super) last_id: u32,
}

impl Stats {
    pub(super) fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.managed += other.managed;
        self.texts += other.texts;
        self.logouts += other.logouts;
        self.r2ts += other.r2ts;
        self.r2ts_at_once = self.r2ts_at_once.max(other.r2ts_at_once);
        self.sessions += other.sessions;
        self.reinstated += other.reinstated;
        self.cut += other.cut;
        self.buried += other.buried;
    }
}

impl Shared {
    pub(super) fn next_id(&mut self) -> u32 {
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn bury(&mut self, id: u32) {
        self.buried.insert(id);
        self.stats.buried += 1;
    }
}
