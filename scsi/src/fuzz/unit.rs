//! A logical unit with several nexuses, told a sequence of commands with data, resets, losses of a nexus and growth.
//!
//! ```text
//!   kind of the unit, then for each step
//!   nexus (2 bits), how the CDB is made (6 bits) · row of the table, or a CDB of its own · its fields
//!   kind and length of data-out, a fault · its bytes
//! ```

use super::Source;
use super::disk::{CANARY, Disk, SENT};
use crate::cdb::Cdb;
use crate::command::Command;
use crate::commands::COMMANDS;
use crate::config::{BlockSize, TargetPort, UnitConfig};
use crate::limits::{LBA_STATUS_DESCRIPTORS_MAX, REGISTRATIONS_MAX};
use crate::log::Usage;
use crate::nexus::{InitiatorPort, NexusId};
use crate::response::{Response, Status};
use crate::table::{self, Lookup};
use crate::task::{Action, Outcome, Plan};
use crate::unit::LogicalUnit;
use bytes::Bytes;
use std::sync::OnceLock;

const STEPS_MAX: usize = 48;
const BLOCKS: u64 = 16;
const NEXUSES: usize = 4;
/// No answer of this unit but a READ's is longer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

static SENT_BYTES: [u8; 2 * 16 * 4096 + 512] = [SENT; 2 * 16 * 4096 + 512];

pub(super) fn run(input: &[u8]) {
    let mut source = Source(input);
    let Some(mut rig) = Rig::new(source.byte()) else { return };
    let mut steps = 0;
    while !source.is_empty() && steps < STEPS_MAX {
        let what = source.byte();
        match what & 0x3f {
            0x3f => rig.happen(source.byte()),
            how => rig.command(usize::from(what >> 6), how, &mut source),
        }
        steps += 1;
    }
    rig.finish();
}

struct Rig {
    unit: LogicalUnit,
    disk: Disk,
    block: u64,
    nexuses: [NexusId; NEXUSES],
    kind: u8,
}

fn ports() -> &'static [InitiatorPort; NEXUSES] {
    static PORTS: OnceLock<[InitiatorPort; NEXUSES]> = OnceLock::new();
    PORTS.get_or_init(|| {
        ["a", "b", "c", "d"]
            .map(|name| InitiatorPort::iscsi(&format!("iqn.2026-01.fuzz:{name}"), [0, 0, 0, 0, 0, 1]))
    })
}

fn config(kind: u8) -> UnitConfig {
    let block_size = if kind & 1 == 0 { BlockSize::Emulated512 } else { BlockSize::Native4096 };
    let mut config =
        UnitConfig::volume([0x5A; 16], "iqn.2026-01.fuzz:disk", BLOCKS * u64::from(block_size.bytes()));
    config.block_size = block_size;
    config.read_only = kind & 6 == 6;
    config.write_cache = kind & 8 == 0;
    if kind & 16 != 0 {
        config.target_ports.push(TargetPort { relative_id: 2, group: 2, name: "t,0x0002".to_owned() });
        config.numbers = vec![0, 1];
    }
    config
}

impl Rig {
    fn new(kind: u8) -> Option<Self> {
        let config = config(kind);
        let block = u64::from(config.block_size.bytes());
        let mut unit = LogicalUnit::new(config).ok()?;
        let nexuses = ports().clone().map(|port| unit.attach(port, 1));
        let nexuses = [nexuses[0]?, nexuses[1]?, nexuses[2]?, nexuses[3]?];
        let mut rig = Self { unit, disk: Disk::new(BLOCKS, block), block, nexuses, kind };
        if kind & 0x80 == 0 {
            // Everybody has heard of power on.
            for nexus in rig.nexuses {
                let _ = rig.unit.start(nexus, &[0; 6], &[]);
            }
        }
        Some(rig)
    }

    /// What is no command.
    fn happen(&mut self, what: u8) {
        let who = usize::from(what >> 6);
        match what & 7 {
            0 => self.unit.logical_unit_reset(),
            1 => self.unit.target_reset(),
            2 => self.unit.commands_cleared(self.nexuses[who]),
            3 | 4 => {
                self.unit.detach(self.nexuses[who]);
                let port = ports()[who].clone();
                let target_port = if self.kind & 16 != 0 && what & 8 != 0 { 2 } else { 1 };
                if let Some(nexus) = self.unit.attach(port, target_port) {
                    self.nexuses[who] = nexus;
                }
            }
            5 if self.disk.size_bytes() < 64 * self.block => {
                self.disk.grow(u64::from(what >> 3 & 7));
                assert_eq!(self.unit.grow(self.disk.size_bytes()), Ok(()));
            }
            6 => {
                let bytes = u64::from(what) * 4096;
                let usage = Usage { available_bytes: bytes, ..Usage::default() };
                let _ = self.unit.set_usage(usage);
            }
            _ => assert!(self.unit.grow(self.block).is_err() || self.disk.size_bytes() == self.block),
        }
    }

    fn command(&mut self, who: usize, how: u8, source: &mut Source<'_>) {
        let cdb = cdb(how, source);
        let (kind, fault) = (source.byte(), source.byte());
        let data_out = self.data_out(kind, source);
        let cut = usize::from(fault).min(data_out.len());
        let pieces = [data_out.slice(..cut), data_out.slice(cut..)];
        let wide = self.expectation(&cdb);
        let (response, moved) = match self.unit.start(self.nexuses[who], &cdb, &pieces) {
            Plan::Done(response) => (response, false),
            Plan::Perform(task) => {
                let outcome = self.disk.perform(&task, &data_out, fault);
                let failed = matches!(outcome, Outcome::Failed(_));
                if task.needs_settling() {
                    self.unit.settle(&task, !failed);
                }
                let saved = matches!(task.action, Action::SaveReservations);
                if saved {
                    self.restore();
                }
                (task.finish(outcome), !failed)
            }
        };
        check(&response, &cdb, moved, wide);
    }

    /// What a GOOD command of this CDB moves: data-in, or data-out.
    fn expectation(&self, cdb: &[u8]) -> Expectation {
        let parsed = Cdb::new(cdb);
        let Lookup::Found(info) = table::lookup(&parsed) else { return Expectation::Nothing };
        match info.parse(&parsed) {
            Ok(Command::Read(transfer)) => Expectation::Read(u64::from(transfer.blocks) * self.block),
            Ok(Command::Write(transfer)) => Expectation::Write(u64::from(transfer.blocks) * self.block),
            Ok(Command::CompareAndWrite(transfer)) => {
                Expectation::Write(2 * u64::from(transfer.blocks) * self.block)
            }
            Ok(Command::OrWrite(transfer) | Command::WriteAtomic(transfer)) => {
                Expectation::Write(u64::from(transfer.blocks) * self.block)
            }
            Ok(_) => Expectation::Any,
            Err(_) => Expectation::Nothing,
        }
    }

    /// Data-out of a kind: none, what an initiator would send, or the fuzzer's own.
    fn data_out(&self, kind: u8, source: &mut Source<'_>) -> Bytes {
        let block = usize::try_from(self.block).unwrap_or(0);
        match kind >> 5 {
            0 => Bytes::new(),
            1 => Bytes::from_static(&SENT_BYTES[..usize::from(kind & 31) * block]),
            2 => Bytes::from_static(&[0; 4096][..block]),
            3 => reserve_parameters(kind, source),
            4 => unmap_parameters(source),
            5 => Bytes::from_static(&SENT_BYTES[..usize::from(kind & 31) * block + 1]),
            6 => Bytes::copy_from_slice(source.bytes(usize::from(kind & 31))),
            _ => Bytes::copy_from_slice(source.bytes(usize::from(kind & 31) * 8)),
        }
    }

    /// What is to be stored can be read back.
    fn restore(&self) {
        let saved = self.unit.reservations_to_save();
        let restored =
            LogicalUnit::new(UnitConfig { reservations: Some(saved.clone()), ..config(self.kind) });
        match restored {
            Ok(unit) => assert_eq!(unit.reservations_to_save(), saved),
            Err(error) => unreachable!("reservations that were saved do not come back: {error}"),
        }
    }

    fn finish(&mut self) {
        self.restore();
        // Nobody is locked out for ever, and the unit still answers everybody.
        for nexus in self.nexuses {
            let plan = self.unit.start(nexus, &[0x12, 0, 0, 0, 96, 0], &[]);
            assert!(matches!(plan, Plan::Done(Response { status: Status::Good, .. })), "INQUIRY is refused");
            for attempt in 0.. {
                let plan = self.unit.start(nexus, &[0x03, 0, 0, 0, 18, 0], &[]);
                let Plan::Done(response) = plan else { unreachable!("REQUEST SENSE has work to do") };
                assert_eq!(response.status, Status::Good);
                if response.data_in[2] & 0x0f != 0x06 {
                    break;
                }
                assert!(attempt < 10, "unit attentions without end");
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Expectation {
    Nothing,
    Any,
    Read(u64),
    Write(u64),
}

/// A CDB: of the table, with only bits that it knows or with any; or raw.
fn cdb(how: u8, source: &mut Source<'_>) -> Vec<u8> {
    if how & 0x3c == 0x3c {
        return source.bytes(usize::from(how & 3) * 5 + 6).to_vec();
    }
    let row = usize::from(source.byte()) % COMMANDS.len();
    let info = &COMMANDS[row];
    let mut cdb = vec![0; info.usage.len()];
    cdb[0] = info.opcode;
    match how & 3 {
        // A small address and length, and one byte of flags, which is how most commands get done.
        0 | 1 => {
            let (flags, lba, length) = (source.byte(), source.byte() & 0x1f, source.byte());
            let (lba_at, length_at) = match cdb.len() {
                6 => (3, 4),
                10 => (5, 8),
                12 => (5, 9),
                _ => (9, 13),
            };
            cdb[lba_at] = lba;
            cdb[length_at] = length;
            cdb[1] = flags & info.usage[1];
            if how & 4 != 0 {
                cdb[2] = source.byte() & info.usage[2];
            }
        }
        _ => {
            let own = source.bytes(cdb.len() - 1);
            cdb[1..=own.len()].copy_from_slice(own);
            if how & 4 == 0 {
                cdb.iter_mut().zip(info.usage).skip(1).for_each(|(byte, usage)| *byte &= usage);
            }
        }
    }
    if let Some(action) = info.service_action {
        cdb[1] = cdb[1] & 0xE0 | action;
    }
    cdb
}

/// The parameter list of PERSISTENT RESERVE OUT: two of a few keys.
fn reserve_parameters(kind: u8, source: &mut Source<'_>) -> Bytes {
    let (keys, flags) = (source.byte(), source.byte());
    let mut list = vec![0; 24];
    (list[7], list[15], list[20]) = (keys & 3, keys >> 2 & 3, flags & 0x0d);
    if kind & 1 != 0 {
        // REGISTER AND MOVE, and SPEC_I_PT: a TransportID behind.
        list[17] = flags & 3;
        let id = ports()[usize::from(keys >> 4 & 3)].transport_id();
        list[23] = u8::try_from(id.len()).unwrap_or(0);
        if kind & 2 != 0 {
            list.extend([0, 0, 0, list[23]]);
        }
        list.extend_from_slice(id);
    }
    list.into()
}

/// The parameter list of UNMAP: a few descriptors.
fn unmap_parameters(source: &mut Source<'_>) -> Bytes {
    let count = usize::from(source.byte() & 3);
    let mut list = vec![0; 8 + 16 * count];
    list[1] = u8::try_from(6 + 16 * count).unwrap_or(0);
    list[3] = u8::try_from(16 * count).unwrap_or(0);
    for descriptor in list[8..].chunks_mut(16) {
        (descriptor[7], descriptor[11]) = (source.byte() & 0x1f, source.byte() & 0x1f);
    }
    list.into()
}

/// Bytes of ALLOCATION LENGTH in each command that has one.
fn allocation(cdb: &[u8]) -> Option<usize> {
    let field = match cdb.first()? {
        0x03 | 0x1A => 4..5,
        0x12 => 3..5,
        0x37 | 0x4D | 0x5A | 0x5E => 7..9,
        0x84 | 0x9E => 10..14,
        0xA0 | 0xA3 | 0xB7 => 6..10,
        _ => return None,
    };
    let byte = |at: usize| usize::from(cdb.get(at).copied().unwrap_or(0));
    Some(field.fold(0, |sum, at| sum << 8 | byte(at)))
}

/// What holds of every answer.
fn check(response: &Response, cdb: &[u8], moved: bool, expectation: Expectation) {
    let is_check = response.status == Status::CheckCondition;
    assert_eq!(is_check, !response.sense.is_empty(), "{cdb:02x?}");
    assert!(response.data_in.is_empty() || response.status == Status::Good, "{cdb:02x?}");
    if is_check {
        check_sense(&response.sense);
    }
    if let Some(allocation) = allocation(cdb) {
        assert!(response.data_in.len() <= allocation, "{cdb:02x?}: more than was asked for");
    }
    if !response.data_in.is_empty() {
        assert_eq!(response.transfer_bytes, response.data_in.len() as u64, "{cdb:02x?}");
    }
    let is_good = response.status == Status::Good;
    match expectation {
        Expectation::Nothing => assert!(response.data_in.is_empty() && !moved || !is_good, "{cdb:02x?}"),
        Expectation::Read(bytes) if is_good => assert_eq!(response.data_in.len() as u64, bytes, "{cdb:02x?}"),
        Expectation::Write(bytes) if is_good => assert_eq!(response.transfer_bytes, bytes, "{cdb:02x?}"),
        Expectation::Read(_) | Expectation::Write(_) => {}
        Expectation::Any => {
            assert!(response.data_in.len() <= ANSWER_BYTES_MAX.max(LBA_STATUS_DESCRIPTORS_MAX * 16 + 8));
            // Neither the medium nor what another command brought is in an answer that is no READ's.
            let is_foreign = |run: &[u8]| run == [CANARY; 4] || run == [SENT; 4];
            assert!(!response.data_in.windows(4).any(is_foreign), "{cdb:02x?}: foreign bytes");
        }
    }
    const { assert!(REGISTRATIONS_MAX < 4096) };
}

/// Sense of a known format, key and code.
fn check_sense(sense: &[u8]) {
    let (key, asc) = match sense {
        [0x70 | 0xF0, 0, key, _, _, _, _, 10, ..] if sense.len() == 18 => {
            (key & 0x0F, (sense[12], sense[13]))
        }
        [0x72, key, asc, ascq, 0, 0, 0, rest, ..] if usize::from(*rest) == sense.len() - 8 => {
            (*key, (*asc, *ascq))
        }
        _ => unreachable!("sense of no known format: {sense:02x?}"),
    };
    assert!([0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0xA, 0xB, 0xE].contains(&key), "{sense:02x?}");
    assert_ne!(asc, (0, 0), "a CHECK CONDITION that says nothing: {sense:02x?}");
}
