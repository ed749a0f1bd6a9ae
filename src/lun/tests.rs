//! A whole unit on a store in memory that waits and fails where a test wants it to.

#![expect(clippy::cast_possible_truncation, reason = "offsets in a store of a few MiB")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cow::{Kind, Wait};
use parking_lot::Mutex;
use scsi::{InitiatorPort, NexusId, Response, Status, StatusRun, UnitConfig, Usage};

use super::store::StoreError;
use super::{BlockStore, BufferPool, Execution, Lun, LunConfig};

const SIZE: usize = 4 << 20;
const BLOCK: usize = 4096;

/// Bytes, which blocks are mapped, and what the next calls do.
#[derive(Default)]
struct MemoryStore {
    state: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    bytes: Vec<u8>,
    mapped: BTreeSet<usize>,
    cold: bool,
    fail: Option<Kind>,
    flushes: u32,
}

type Result<T> = std::result::Result<T, StoreError>;

impl MemoryStore {
    fn change<T>(&self, wait: Wait, change: impl FnOnce(&mut Memory) -> T) -> Result<T> {
        let mut state = self.state.lock();
        match (state.fail, state.cold, wait) {
            (Some(kind), _, _) => Err(StoreError(kind)),
            (None, true, Wait::No) => Err(StoreError(Kind::WouldBlock)),
            _ => Ok(change(&mut state)),
        }
    }
}

impl Memory {
    fn write(&mut self, offset: u64, data: &[&[u8]]) {
        let mut at = offset as usize;
        for piece in data {
            self.bytes[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
        self.mapped.extend(offset as usize / BLOCK..at.div_ceil(BLOCK));
    }
}

impl BlockStore for MemoryStore {
    fn size_bytes(&self) -> u64 {
        SIZE as u64
    }
    fn usage(&self) -> Usage {
        Usage { available_bytes: 3 << 20, used_bytes: 1 << 20, ..Usage::default() }
    }
    fn read(&self, offset: u64, out: &mut [u8], wait: Wait) -> Result<()> {
        let at = offset as usize;
        self.change(wait, |m| out.copy_from_slice(&m.bytes[at..at + out.len()]))
    }
    fn write(&self, offset: u64, data: &[&[u8]], wait: Wait) -> Result<()> {
        self.change(wait, |m| m.write(offset, data))
    }
    fn write_atomic(&self, offset: u64, data: &[&[u8]], wait: Wait) -> Result<()> {
        self.write(offset, data, wait)
    }
    fn compare_and_write(&self, offset: u64, expected: &[u8], new: &[u8], wait: Wait) -> Result<Option<u64>> {
        let at = offset as usize;
        self.change(wait, |m| {
            let differs = expected.iter().zip(&m.bytes[at..]).position(|(a, b)| a != b);
            if differs.is_none() {
                m.write(offset, &[new]);
            }
            differs.map(|at| at as u64)
        })
    }
    fn update(&self, offset: u64, bytes: u64, wait: Wait, change: &mut dyn FnMut(&mut [u8])) -> Result<()> {
        let at = offset as usize;
        self.change(wait, |m| change(&mut m.bytes[at..at + bytes as usize]))
    }
    fn trim(&self, offset: u64, bytes: u64, wait: Wait) -> Result<()> {
        let (at, len) = (offset as usize, bytes as usize);
        self.change(wait, |m| {
            m.bytes[at..at + len].fill(0);
            m.mapped.retain(|block| !(at..at + len).contains(&(block * BLOCK)));
        })
    }
    fn write_zeroes(&self, offset: u64, bytes: u64, wait: Wait) -> Result<()> {
        self.trim(offset, bytes, wait)
    }
    fn block_status(&self, offset: u64, bytes: u64) -> Result<Vec<StatusRun>> {
        self.change(Wait::Yes, |m| {
            let mut runs = vec![];
            let mut at = offset as usize;
            while at < (offset + bytes) as usize {
                let end = (at + 1).next_multiple_of(BLOCK).min((offset + bytes) as usize);
                runs.push(StatusRun { len: (end - at) as u64, mapped: m.mapped.contains(&(at / BLOCK)) });
                at = end;
            }
            runs
        })
    }
    fn flush(&self) -> Result<()> {
        self.change(Wait::Yes, |m| m.flushes += 1)
    }
    fn reclaim(&self) {}
}

struct Rig {
    store: Arc<MemoryStore>,
    lun: Arc<Lun>,
    nexus: NexusId,
    pool: BufferPool,
}

fn port(n: u8) -> InitiatorPort {
    InitiatorPort::iscsi("iqn.2026-01.io.osvol:host", [0, 0, 0, 0, 0, n])
}

impl Rig {
    fn new() -> Self {
        Self::with_reservations(None)
    }

    fn with_reservations(reservations: Option<std::path::PathBuf>) -> Self {
        let store = Arc::new(MemoryStore::default());
        store.state.lock().bytes = vec![0; SIZE];
        let unit = UnitConfig::volume([7; 16], "iqn.2026-01.io.osvol:disk", 0);
        let lun = Lun::open(LunConfig { unit, reservations, room: None }, store.clone()).unwrap();
        let nexus = lun.attach(port(1), 1).unwrap();
        let rig = Self { store, lun, nexus, pool: BufferPool::default() };
        assert_eq!(rig.run(&[0; 6], &[]).status, Status::CheckCondition, "a new nexus hears of power on");
        rig
    }

    fn start(&self, cdb: &[u8], data_out: &[u8]) -> Execution {
        // Cut where no block ends, as data arrives from a network.
        let (head, tail) = data_out.split_at(data_out.len() / 3);
        let pieces = [Bytes::copy_from_slice(head), Bytes::copy_from_slice(tail)];
        let pieces = if data_out.is_empty() { &pieces[..0] } else { &pieces[..] };
        self.lun.execute(self.nexus, [0; 8], cdb, pieces, &self.pool)
    }

    fn run(&self, cdb: &[u8], data_out: &[u8]) -> Response {
        match self.start(cdb, data_out) {
            Execution::Done(response) => response,
            Execution::Blocked(job) => job.run(),
        }
    }

    fn good(&self, cdb: &[u8], data_out: &[u8]) -> Bytes {
        let response = self.run(cdb, data_out);
        assert_eq!(response.status, Status::Good, "{:02x?}", response.sense);
        response.data_in
    }

    /// Key, code and qualifier.
    fn sense(&self, cdb: &[u8], data_out: &[u8]) -> (u8, u8, u8) {
        let response = self.run(cdb, data_out);
        assert_eq!(response.status, Status::CheckCondition);
        (response.sense[2] & 0x0F, response.sense[12], response.sense[13])
    }
}

fn cdb10(opcode: u8, flags: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let [a, b, c, d] = lba.to_be_bytes();
    let [high, low] = blocks.to_be_bytes();
    [opcode, flags, a, b, c, d, 0, high, low, 0]
}

fn read10(lba: u32, blocks: u16) -> [u8; 10] {
    cdb10(0x28, 0, lba, blocks)
}

fn write10(lba: u32, blocks: u16) -> [u8; 10] {
    cdb10(0x2A, 0, lba, blocks)
}

fn cdb16(opcode: u8, flags: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    cdb[1] = flags;
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

#[test]
fn what_is_written_is_read_without_a_job() {
    let rig = Rig::new();
    let data: Vec<u8> = (0..1024).map(|n| (n % 251) as u8).collect();
    assert!(matches!(rig.start(&write10(3, 2), &data), Execution::Done(r) if r.transfer_bytes == 1024));
    let Execution::Done(response) = rig.start(&read10(3, 2), &[]) else { panic!("a warm read waits") };
    assert_eq!(response.data_in, data);
}

#[test]
fn a_cold_read_becomes_a_job() {
    let rig = Rig::new();
    rig.store.state.lock().bytes[0] = 9;
    rig.store.state.lock().cold = true;
    let Execution::Blocked(job) = rig.start(&read10(0, 1), &[]) else { panic!("a cold read did not wait") };
    assert_eq!(job.run().data_in[0], 9);
}

#[test]
fn a_flush_and_a_forced_write_reach_the_medium() {
    let rig = Rig::new();
    rig.good(&cdb10(0x35, 0, 0, 0), &[]);
    assert_eq!(rig.store.state.lock().flushes, 1);
    rig.good(&cdb10(0x2A, 0x08, 0, 1), &[1; 512]);
    assert_eq!(rig.store.state.lock().flushes, 2);
    rig.good(&write10(0, 1), &[1; 512]);
    assert_eq!(rig.store.state.lock().flushes, 2);
}

#[test]
fn errors_of_the_store_have_honest_sense_codes() {
    let rig = Rig::new();
    let cases = [
        (Kind::NoSpace, &write10(0, 1)[..], (0x7, 0x27, 0x07)),
        (Kind::Poisoned, &cdb10(0x35, 0, 0, 0), (0x3, 0x0C, 0x00)),
        (Kind::Io, &read10(0, 1), (0x3, 0x11, 0x00)),
        (Kind::Io, &write10(0, 1), (0x3, 0x0C, 0x00)),
        (Kind::Invalid, &read10(0, 1), (0x4, 0x44, 0x00)),
    ];
    for (kind, cdb, sense) in cases {
        rig.store.state.lock().fail = Some(kind);
        assert_eq!(rig.sense(cdb, &[1; 512]), sense, "{kind:?}");
    }
    rig.store.state.lock().fail = Some(Kind::Corrupt { offset: 4096 });
    let response = rig.run(&read10(0, 16), &[]);
    assert_eq!(response.sense[..7], [0xF0, 0, 3, 0, 0, 0, 8], "the LBA of the damage is told");
}

#[test]
fn compare_and_write_writes_only_what_matches() {
    let rig = Rig::new();
    let mut cdb = cdb16(0x89, 0, 5, 0);
    cdb[13] = 1;
    assert_eq!(rig.run(&cdb, &[[0; 512], [1; 512]].concat()).transfer_bytes, 1024);
    let response = rig.run(&cdb, &[[0; 512], [2; 512]].concat());
    assert_eq!((response.sense[2], response.sense[12]), (0x0E, 0x1D));
    assert_eq!(rig.good(&read10(5, 1), &[])[..], [1; 512]);
}

#[test]
fn verify_tells_where_the_medium_differs() {
    let rig = Rig::new();
    let mut data = vec![5; 2 << 20];
    rig.good(&write10(0, 4096), &data);
    rig.good(&cdb10(0x2F, 0x02, 0, 4096), &data);
    data[(1 << 20) + 77] = 6;
    let response = rig.run(&cdb10(0x2F, 0x02, 0, 4096), &data);
    assert_eq!(response.sense[..7], [0xF0, 0, 0x0E, 0, 0x10, 0, 77]);
    rig.good(&cdb10(0x2F, 0x06, 0, 4096), &[5; 512]);
    rig.good(&cdb10(0x2F, 0x00, 0, 4096), &[]);
}

#[test]
fn write_same_and_unmap_change_what_is_mapped() {
    let rig = Rig::new();
    rig.good(&cdb10(0x41, 0, 0, 64), &[3; 512]);
    assert_eq!(rig.good(&read10(63, 1), &[])[..], [3; 512]);
    let list =
        [&[0, 22, 0, 16, 0, 0, 0, 0][..], &8_u64.to_be_bytes(), &16_u32.to_be_bytes(), &[0; 4]].concat();
    let mut unmap = [0; 10];
    (unmap[0], unmap[8]) = (0x42, 24);
    rig.good(&unmap, &list);
    assert_eq!(rig.good(&read10(8, 1), &[])[..], [0; 512]);
    let mut status = cdb16(0x9E, 0x12, 0, 0);
    status[13] = 8 + 3 * 16;
    let data = rig.good(&status, &[]);
    let runs: Vec<_> = data[8..].chunks(16).map(|d| (d[7], d[11], d[12])).collect();
    assert_eq!(runs, [(0, 8, 0), (8, 16, 1), (24, 40, 0)]);
}

#[test]
fn orwrite_sets_bits() {
    let rig = Rig::new();
    rig.good(&write10(0, 1), &[0x0F; 512]);
    rig.good(&cdb16(0x8B, 0, 0, 1), &[0xF0; 512]);
    assert_eq!(rig.good(&read10(0, 1), &[])[..], [0xFF; 512]);
}

#[test]
fn sanitize_leaves_zeros_and_no_mapping() {
    let rig = Rig::new();
    rig.good(&write10(0, 8), &[3; 4096]);
    rig.good(&[0x48, 0x02, 0, 0, 0, 0, 0, 0, 0, 0], &[]);
    assert_eq!(rig.good(&read10(0, 8), &[])[..], [0; 4096]);
    assert!(rig.store.state.lock().mapped.is_empty());
}

/// The unit takes no writes once SANITIZE was decided, but one that had to wait may be under way still.
#[test]
fn sanitize_waits_for_writes_that_were_decided_before_it() {
    let rig = Rig::new();
    rig.store.state.lock().cold = true;
    let Execution::Blocked(write) = rig.start(&write10(0, 8), &[3; 4096]) else { panic!("a cold store") };
    let sanitize = [0x48, 0x02, 0, 0, 0, 0, 0, 0, 0, 0];
    let Execution::Blocked(sanitize) = rig.start(&sanitize, &[]) else { panic!("a long command") };
    let sanitize = std::thread::spawn(move || sanitize.run());
    let begin = Instant::now();
    while !sanitize.is_finished() && begin.elapsed() < Duration::from_millis(150) {
        std::thread::yield_now();
    }
    assert_eq!(write.run().status, Status::Good);
    assert_eq!(sanitize.join().unwrap().status, Status::Good);
    assert!(
        rig.store.state.lock().bytes.iter().all(|byte| *byte == 0),
        "the write landed on what was erased"
    );
}

#[test]
fn a_failed_sanitize_keeps_the_medium_closed() {
    let rig = Rig::new();
    rig.store.state.lock().fail = Some(Kind::Io);
    rig.sense(&[0x48, 0x02, 0, 0, 0, 0, 0, 0, 0, 0], &[]);
    rig.store.state.lock().fail = None;
    assert_eq!(rig.sense(&read10(0, 1), &[]), (0x3, 0x31, 0x03));
    rig.good(&[0x48, 0x02, 0, 0, 0, 0, 0, 0, 0, 0], &[]);
    rig.good(&read10(0, 1), &[]);
}

#[test]
fn reservations_with_aptpl_survive_a_restart() {
    let directory = std::env::temp_dir().join(format!("osvol-lun-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("reservations");
    let rig = Rig::with_reservations(Some(path.clone()));
    let mut register = [0; 24];
    (register[15], register[20]) = (42, 1);
    rig.good(&[0x5F, 0, 0, 0, 0, 0, 0, 0, 24, 0], &register);
    let mut reserve = [0; 24];
    reserve[7] = 42;
    rig.good(&[0x5F, 1, 1, 0, 0, 0, 0, 0, 24, 0], &reserve);
    let again = Rig::with_reservations(Some(path));
    let keys = again.good(&[0x5E, 1, 0, 0, 0, 0, 0, 0, 255, 0], &[]);
    assert_eq!((keys[15], keys[21]), (42, 1));
    let stranger = again.lun.attach(port(2), 1).unwrap();
    let write = |nexus| {
        let data = [Bytes::from_static(&[0; 512])];
        again.lun.execute(nexus, [0; 8], &write10(0, 1), &data, &again.pool)
    };
    drop(write(stranger));
    assert!(matches!(write(stranger), Execution::Done(r) if r.status == Status::ReservationConflict));
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn damaged_reservations_are_set_aside_and_the_disk_opens() {
    let directory = std::env::temp_dir().join(format!("osvol-lun-damaged-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("reservations");
    let nonsense = [7; 9];
    let sealed = [&crc32c::crc32c(&nonsense).to_be_bytes()[..], &nonsense].concat();
    for damaged in [&b"xyz"[..], &[0; 40], &sealed] {
        std::fs::write(&path, damaged).unwrap();
        let rig = Rig::with_reservations(Some(path.clone()));
        let aside = rig.lun.damaged_reservations().unwrap().to_owned();
        assert_eq!(std::fs::read(aside).unwrap(), damaged);
        assert!(!path.exists());
        let keys = rig.good(&[0x5E, 0, 0, 0, 0, 0, 0, 0, 255, 0], &[]);
        assert_eq!(keys[4..8], [0; 4], "no keys");
        rig.good(&write10(0, 1), &[1; 512]);
    }
    assert_eq!(Rig::with_reservations(Some(path)).lun.damaged_reservations(), None);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn other_logical_units_do_not_exist() {
    let rig = Rig::new();
    let inquiry = [0x12, 0, 0, 0, 36, 0];
    let run = rig.lun.execute(rig.nexus, [0, 5, 0, 0, 0, 0, 0, 0], &inquiry, &[], &rig.pool);
    assert!(matches!(run, Execution::Done(r) if r.data_in[0] == 0x7F));
}

#[test]
fn a_dropped_job_does_nothing_and_lets_others_go_on() {
    let rig = Rig::new();
    rig.store.state.lock().cold = true;
    drop(rig.start(&write10(0, 1), &[1; 512]));
    rig.lun.quiesce();
    rig.store.state.lock().cold = false;
    assert_eq!(rig.good(&read10(0, 1), &[])[..], [0; 512]);
}
