//! A unit with two initiators, and short ways to ask it something.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

use bytes::Bytes;
use scsi::{InitiatorPort, LogicalUnit, NexusId, Outcome, Plan, Response, Status, Task, UnitConfig};

/// Logical blocks of the unit.
pub const BLOCKS: u32 = 1 << 20;

pub struct Rig {
    pub unit: LogicalUnit,
    pub a: NexusId,
    pub b: NexusId,
}

pub fn port(name: &str, isid: u8) -> InitiatorPort {
    InitiatorPort::iscsi(&format!("iqn.2026-01.io.osvol:{name}"), [0, 0, 0, 0, 0, isid])
}

pub fn config() -> UnitConfig {
    UnitConfig::volume([0x5A; 16], "iqn.2026-01.io.osvol:disk", u64::from(BLOCKS) * 512)
}

impl Rig {
    pub fn new() -> Self {
        Self::with(config())
    }

    /// Both have heard of power on.
    pub fn with(config: UnitConfig) -> Self {
        let mut unit = LogicalUnit::new(config).unwrap();
        let a = unit.attach(port("a", 1), 1).unwrap();
        let b = unit.attach(port("b", 2), 1).unwrap();
        let mut rig = Self { unit, a, b };
        for nexus in [a, b] {
            assert_eq!(rig.sense(nexus, &[0; 6], &[]), (0x6, 0x29, 0x00));
        }
        rig
    }

    pub fn start(&mut self, nexus: NexusId, cdb: &[u8], data_out: &[u8]) -> Plan {
        let pieces = [Bytes::copy_from_slice(data_out)];
        self.unit.start(nexus, cdb, if data_out.is_empty() { &[] } else { &pieces })
    }

    /// The response, with whatever work there is taken as done.
    pub fn run(&mut self, nexus: NexusId, cdb: &[u8], data_out: &[u8]) -> Response {
        match self.start(nexus, cdb, data_out) {
            Plan::Done(response) => response,
            Plan::Perform(task) => {
                if task.needs_settling() {
                    self.unit.settle(&task, true);
                }
                task.finish(Outcome::Done)
            }
        }
    }

    pub fn task(&mut self, nexus: NexusId, cdb: &[u8], data_out: &[u8]) -> Task {
        match self.start(nexus, cdb, data_out) {
            Plan::Perform(task) => task,
            Plan::Done(response) => panic!("nothing to do but {response:02x?}"),
        }
    }

    pub fn status(&mut self, nexus: NexusId, cdb: &[u8], data_out: &[u8]) -> Status {
        self.run(nexus, cdb, data_out).status
    }

    pub fn good(&mut self, nexus: NexusId, cdb: &[u8], data_out: &[u8]) -> Bytes {
        let response = self.run(nexus, cdb, data_out);
        assert_eq!(response.status, Status::Good, "{cdb:02x?}: {:02x?}", response.sense);
        response.data_in
    }

    /// Key, code and qualifier of fixed format sense.
    pub fn sense(&mut self, nexus: NexusId, cdb: &[u8], data_out: &[u8]) -> (u8, u8, u8) {
        let response = self.run(nexus, cdb, data_out);
        assert_eq!(response.status, Status::CheckCondition, "{cdb:02x?}");
        (response.sense[2] & 0x0F, response.sense[12], response.sense[13])
    }
}

pub fn cdb10(opcode: u8, flags: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let [a, b, c, d] = lba.to_be_bytes();
    let [high, low] = blocks.to_be_bytes();
    [opcode, flags, a, b, c, d, 0, high, low, 0]
}

pub fn cdb16(opcode: u8, flags: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1]) = (opcode, flags);
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// A generator of test data (xorshift64*): the same numbers for the same seed, everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[3]).collect()
    }
}
