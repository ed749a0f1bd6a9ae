//! A logical unit on a real store, used by several initiators at once.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use cow::{NewVolume, Store};
use osvold::lun::{BufferPool, Execution, Lun, LunConfig};
use scsi::{InitiatorPort, NexusId, Response, Status, UnitConfig};

const LUN: [u8; 8] = [0; 8];
const BLOCK: usize = 512;

struct Disk {
    lun: Arc<Lun>,
    directory: PathBuf,
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Disk {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("osvol-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let store = Store::open(&directory).unwrap();
        let new = NewVolume { name: name.to_owned(), image: None, size_bytes: Some(16 << 20) };
        let volume = store.open_volume(store.create_volume(new).unwrap().id).unwrap();
        let unit = UnitConfig::volume(volume.id().0, "iqn.2026-01.io.osvol:disk", 0);
        let lun = Lun::open(LunConfig { unit, reservations: None, room: None }, volume).unwrap();
        Self { lun, directory }
    }

    /// A session that has heard of power on.
    fn session(&self, number: u8) -> Session {
        let port = InitiatorPort::iscsi("iqn.2026-01.io.osvol:host", [0, 0, 0, 0, 0, number]);
        let nexus = self.lun.attach(port, 1).unwrap();
        let session = Session { lun: self.lun.clone(), nexus, pool: BufferPool::default() };
        assert_eq!(session.run(&[0; 6], vec![]).status, Status::CheckCondition);
        session
    }
}

struct Session {
    lun: Arc<Lun>,
    nexus: NexusId,
    pool: BufferPool,
}

impl Session {
    fn start(&self, cdb: &[u8], data_out: Vec<u8>) -> Execution {
        self.lun.execute(self.nexus, LUN, cdb, &[Bytes::from(data_out)], &self.pool)
    }

    fn run(&self, cdb: &[u8], data_out: Vec<u8>) -> Response {
        match self.start(cdb, data_out) {
            Execution::Done(response) => response,
            Execution::Blocked(job) => job.run(),
        }
    }

    fn read(&self, lba: u8, blocks: u8) -> Bytes {
        let response = self.run(&[0x28, 0, 0, 0, 0, lba, 0, 0, blocks, 0], vec![]);
        assert_eq!(response.status, Status::Good);
        response.data_in
    }

    fn write(&self, lba: u8, data: Vec<u8>) -> Status {
        let blocks = u8::try_from(data.len() / BLOCK).unwrap();
        self.run(&[0x2A, 0, 0, 0, 0, lba, 0, 0, blocks, 0], data).status
    }

    /// Whether the block was `old` and is `new` now.
    fn compare_and_write(&self, lba: u8, old: &[u8], new: &[u8]) -> bool {
        let cdb = [0x89, 0, 0, 0, 0, 0, 0, 0, 0, lba, 0, 0, 0, 1, 0, 0];
        self.run(&cdb, [old, new].concat()).status == Status::Good
    }

    fn reserve_out(&self, action: u8, kind: u8, key: u8, action_key: u8) -> Execution {
        let mut list = vec![0; 24];
        (list[7], list[15]) = (key, action_key);
        self.start(&[0x5F, action, kind, 0, 0, 0, 0, 0, 24, 0], list)
    }
}

fn counter(block: &[u8]) -> u64 {
    u64::from_be_bytes(block[..8].try_into().unwrap())
}

fn with_counter(count: u64) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    block[..8].copy_from_slice(&count.to_be_bytes());
    block
}

#[test]
fn compare_and_write_is_one_step_for_every_initiator() {
    let disk = Disk::new("counter");
    let won = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (session, won) = (disk.session(number), &won);
            scope.spawn(move || {
                for _ in 0..500 {
                    // The neighbour block of the same 4 KiB is written meanwhile, and must not get lost either.
                    assert_eq!(session.write(1 + number, vec![number + 1; BLOCK]), Status::Good);
                    let old = session.read(0, 1);
                    if session.compare_and_write(0, &old, &with_counter(counter(&old) + 1)) {
                        won.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let session = disk.session(9);
    assert_eq!(counter(&session.read(0, 1)), won.load(Ordering::Relaxed));
    for number in 0..4 {
        assert_eq!(session.read(1 + number, 1)[..], [number + 1; BLOCK]);
    }
}

#[test]
fn a_write_of_several_blocks_is_never_seen_in_part() {
    let disk = Disk::new("parts");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (writer, stop) = (disk.session(1), &stop);
        scope.spawn(move || {
            for round in 0..2000_u32 {
                assert_eq!(writer.write(8, vec![round.to_le_bytes()[0]; 8 * BLOCK]), Status::Good);
            }
            stop.store(true, Ordering::Relaxed);
        });
        let reader = disk.session(2);
        while !stop.load(Ordering::Relaxed) {
            let data = reader.read(8, 8);
            assert!(data.iter().all(|byte| *byte == data[0]));
        }
    });
}

#[test]
fn nothing_is_written_by_a_preempted_initiator_after_preempt_and_abort() {
    let disk = Disk::new("fence");
    let (victim, fencer) = (disk.session(1), disk.session(2));
    for round in 0..20 {
        for (session, key) in [(&victim, 1), (&fencer, 2)] {
            assert!(
                matches!(session.reserve_out(6, 0, 0, key), Execution::Done(r) if r.status == Status::Good)
            );
        }
        assert!(matches!(victim.reserve_out(1, 5, 1, 0), Execution::Done(r) if r.status == Status::Good));
        std::thread::scope(|scope| {
            let victim = &victim;
            let writer = scope.spawn(move || {
                let mut written = 0_u64;
                // A forced write is a job: it is decided at one time and done at another.
                loop {
                    let cdb = [0x2A, 0x08, 0, 0, 0, 0, 0, 0, 1, 0];
                    match victim.run(&cdb, with_counter(written + 1)).status {
                        Status::Good => written += 1,
                        Status::CheckCondition | Status::ReservationConflict => return,
                        other => panic!("{other:?}"),
                    }
                }
            });
            while round % 2 == 0 && counter(&fencer.read(0, 1)) == 0 {
                std::thread::yield_now();
            }
            let Execution::Blocked(job) = fencer.reserve_out(5, 5, 2, 1) else { panic!("no job") };
            assert_eq!(job.run().status, Status::Good);
            let fenced = fencer.read(0, 1);
            writer.join().unwrap();
            assert_eq!(fencer.read(0, 1), fenced);
        });
        assert_eq!(fencer.write(0, vec![0; BLOCK]), Status::Good);
        assert!(matches!(fencer.reserve_out(3, 0, 2, 0), Execution::Done(_)));
        while victim.run(&[0; 6], vec![]).status != Status::Good {}
    }
}

#[test]
fn after_detach_and_quiesce_no_write_of_the_old_session_arrives() {
    let disk = Disk::new("reinstated");
    let old = disk.session(1);
    let cdb = [0x2A, 0x08, 0, 0, 0, 0, 0, 0, 1, 0];
    let jobs: Vec<_> = (0..8).map(|_| old.start(&cdb, vec![7; BLOCK])).collect();
    std::thread::scope(|scope| {
        for job in jobs {
            scope.spawn(move || match job {
                Execution::Blocked(job) => job.run().status,
                Execution::Done(response) => response.status,
            });
        }
        disk.lun.detach(old.nexus);
        disk.lun.quiesce();
        let new = disk.session(1);
        assert_eq!(new.write(0, vec![8; BLOCK]), Status::Good);
        assert_eq!(old.run(&cdb, vec![7; BLOCK]).status, Status::TaskAborted);
        assert_eq!(new.read(0, 1)[..], [8; BLOCK]);
    });
    assert_eq!(disk.session(2).read(0, 1)[..], [8; BLOCK]);
}
