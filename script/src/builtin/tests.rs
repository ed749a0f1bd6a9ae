//! Whole sessions on disks in memory: what a plan does, and what no disk can make the engine do.
//!
//! That it does what guestfish does is tests/engines.py's to show.

use std::cell::Cell;

use proptest::prelude::*;

use super::{Disk, Outcome, Run, run};
use crate::{Step, Values, expand};

const SECTOR: usize = 512;
const NOW: u64 = 1_800_000_000;

/// A disk in memory that counts its reads.
struct Memory {
    bytes: Vec<u8>,
    reads: Cell<usize>,
    late_after: usize,
}

impl Memory {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, reads: Cell::new(0), late_after: usize::MAX }
    }
}

impl Disk for Memory {
    fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        assert!(
            offset.is_multiple_of(SECTOR as u64) && out.len().is_multiple_of(SECTOR),
            "{offset} {}",
            out.len()
        );
        self.reads.set(self.reads.get() + 1);
        let at = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.bytes[at..at + out.len()]);
        Ok(())
    }

    fn is_late(&self) -> bool {
        self.reads.get() > self.late_after
    }
}

fn put(bytes: &mut [u8], at: usize, data: &[u8]) {
    bytes[at..at + data.len()].copy_from_slice(data);
}

/// An empty file system that is the whole disk: FAT12, FAT16 or FAT32 with clusters of a sector.
fn formatted(bits: usize) -> Vec<u8> {
    let (sectors, table_sectors, root_entries, reserved): (usize, usize, usize, usize) = match bits {
        12 => (2048, 8, 512, 1),
        16 => (8192, 34, 512, 1),
        _ => (67_000, 520, 0, 32),
    };
    let mut disk = vec![0; sectors * SECTOR];
    put(&mut disk, 0, &[0xEB, 0x58, 0x90]);
    put(&mut disk, 11, &512u16.to_le_bytes());
    put(&mut disk, 13, &[1]);
    put(&mut disk, 14, &u16::try_from(reserved).unwrap().to_le_bytes());
    put(&mut disk, 16, &[2]);
    put(&mut disk, 17, &u16::try_from(root_entries).unwrap().to_le_bytes());
    put(&mut disk, 21, &[0xF8]);
    put(&mut disk, 32, &u32::try_from(sectors).unwrap().to_le_bytes());
    put(&mut disk, 510, &[0x55, 0xAA]);
    let media: &[u8] = match bits {
        12 => &[0xF8, 0xFF, 0xFF],
        16 => &[0xF8, 0xFF, 0xFF, 0xFF],
        _ => &[0xF8, 0xFF, 0xFF, 0x0F, 0xFF, 0xFF, 0xFF, 0x0F, 0xF8, 0xFF, 0xFF, 0x0F],
    };
    for table in 0..2 {
        put(&mut disk, (reserved + table * table_sectors) * SECTOR, media);
    }
    if bits == 32 {
        put(&mut disk, 36, &u32::try_from(table_sectors).unwrap().to_le_bytes());
        put(&mut disk, 44, &2u32.to_le_bytes());
        put(&mut disk, 48, &1u16.to_le_bytes());
        for (at, value) in
            [(0, 0x4161_5252u32), (484, 0x6141_7272), (488, 65_927), (492, 2), (508, 0xAA55_0000)]
        {
            put(&mut disk, SECTOR + at, &value.to_le_bytes());
        }
    } else {
        put(&mut disk, 22, &u16::try_from(table_sectors).unwrap().to_le_bytes());
    }
    disk
}

fn run_on(disk: &Memory, plan: &str) -> Run {
    let step = Step { name: "s".into(), content: plan.into(), has_attributes: false };
    run(&expand(&[step], &Values::new()).unwrap(), disk, NOW, &mut |_| {})
}

/// Runs a plan that must succeed, and changes the disk.
fn done(disk: &mut Memory, plan: &str) -> String {
    let run = run_on(disk, plan);
    let Outcome::Done(changes) = run.outcome else { panic!("{plan}: {:?}", run.outcome) };
    for (offset, bytes) in changes {
        put(&mut disk.bytes, usize::try_from(offset).unwrap(), &bytes);
    }
    run.output
}

fn unfit(disk: &Memory, plan: &str) -> String {
    match run_on(disk, plan).outcome {
        Outcome::Unfit(unfit) => unfit.reason,
        outcome => panic!("{plan}: {outcome:?}"),
    }
}

const PLAN: &str = "mount /dev/sda /\nmkdir-p /EFI/a/b\nupload -<<E \"/EFI/a/A long name.txt\"\nhello\nE\n\
    cp \"/EFI/a/A long name.txt\" /EFI/copy\nmv /EFI/copy /EFI/a/b\nwrite-append /EFI/a/b/copy more\nls /EFI/a\n\
    cat /EFI/a/b/COPY\nrm-rf /EFI/a/b\nls /EFI/a\numount /\n";

#[test]
fn files_are_there_in_the_next_session_on_every_kind_of_fat() {
    for bits in [12, 16, 32] {
        let mut disk = Memory::new(formatted(bits));
        let printed = done(&mut disk, PLAN);
        assert_eq!(printed, "A long name.txt\nb\nhello\nmore\nA long name.txt\n", "FAT{bits}");
        let printed = done(&mut disk, "mount /dev/sda /\ncat \"/efi/A/alongn~1.TXT\"\nlist-filesystems\n");
        assert_eq!(printed, "hello\n\n/dev/sda: vfat\n", "FAT{bits}");
    }
}

#[test]
fn free_clusters_are_counted_right() {
    let mut disk = Memory::new(formatted(32));
    let free = |disk: &Memory| u32::from_le_bytes(disk.bytes[SECTOR + 488..SECTOR + 492].try_into().unwrap());
    let before = free(&disk);
    done(&mut disk, &format!("mount /dev/sda /\nmkdir /d\nwrite /d/f {}\n", "x".repeat(1000)));
    assert_eq!(free(&disk), before - 3);
    done(&mut disk, "mount /dev/sda /\nrm-rf /d\n");
    assert_eq!(free(&disk), before);
}

#[test]
fn a_failing_command_ends_the_session_unless_it_may_fail() {
    let disk = Memory::new(formatted(16));
    let run = run_on(&disk, "mount /dev/sda /\n-mkdir /a/b\necho on\nmkdir /a/b\necho never\n");
    let Outcome::Failed { step: 0, line: 4, message } = run.outcome else { panic!("{:?}", run.outcome) };
    assert_eq!(message, "mkdir: /a/b: No such file or directory");
    assert_eq!(run.output, "libguestfs: error: mkdir: /a/b: No such file or directory\non\n");
}

#[test]
fn every_step_is_told_once_and_in_order() {
    let step = |content: &str| Step { name: "s".into(), content: content.into(), has_attributes: false };
    let steps = [step("# nothing"), step("echo a\necho b"), step(""), step("echo c"), step("")];
    let mut told = Vec::new();
    let disk = Memory::new(formatted(12));
    run(&expand(&steps, &Values::new()).unwrap(), &disk, NOW, &mut |step| told.push(step));
    assert_eq!(told, [0, 1, 2, 3, 4]);
}

#[test]
fn what_guestfish_might_do_otherwise_is_guestfishs() {
    let mut dirty = Memory::new(formatted(16));
    dirty.bytes[0x25] = 1;
    assert!(unfit(&dirty, "mount /dev/sda /").contains("not unmounted cleanly"));
    let mut info = Memory::new(formatted(32));
    info.bytes[SECTOR] = 0;
    assert!(unfit(&info, "mount /dev/sda /").contains("FSInfo"));
    let mut other = Memory::new(vec![0; 4 << 20]);
    assert!(unfit(&other, "mount /dev/sda /").contains("not FAT"));
    assert_eq!(done(&mut other, "list-filesystems\nvgs\n"), "/dev/sda: unknown\n");
    other.bytes[..4].copy_from_slice(b"????");
    assert!(unfit(&other, "list-filesystems").contains("not recognized"));
}

#[test]
fn a_chain_without_an_end_is_found_out() {
    let mut disk = Memory::new(formatted(16));
    done(&mut disk, &format!("mount /dev/sda /\nwrite /f {}\n", "x".repeat(3000)));
    // Cluster 8 goes on with cluster 3, in both tables.
    for table in [SECTOR, SECTOR * 35] {
        put(&mut disk.bytes, table + 16, &3u16.to_le_bytes());
    }
    assert!(unfit(&disk, "mount /dev/sda /\nrm /f").contains("no end"));
}

#[test]
fn a_directory_that_is_in_itself_is_not_removed_for_ever() {
    let mut disk = Memory::new(formatted(16));
    done(&mut disk, "mount /dev/sda /\nmkdir /D\nmkdir /D/SUB\n");
    let entry = disk.bytes.windows(11).position(|name| name == b"SUB        ").unwrap();
    let own = disk.bytes.windows(11).position(|name| name == b"D          ").unwrap();
    let cluster = disk.bytes[own + 26..own + 28].to_vec();
    put(&mut disk.bytes, entry + 26, &cluster);
    assert!(!unfit(&disk, "mount /dev/sda /\nrm-rf /D").is_empty());
}

#[test]
fn there_is_an_end_to_the_time() {
    let mut disk = Memory::new(formatted(32));
    disk.late_after = 0;
    let plan = format!("mount /dev/sda /\nwrite /f {}\n", "x".repeat(8000));
    let plan = plan + &"write-append /f x\n".repeat(5000);
    assert!(matches!(run_on(&disk, &plan).outcome, Outcome::Late { .. }));
}

#[test]
fn partitions_of_an_mbr_are_found() {
    let mut disk = vec![0; SECTOR * 64];
    disk.extend(formatted(12));
    disk.extend(vec![0; 2 << 20]);
    let len = u32::try_from(formatted(12).len() / SECTOR).unwrap();
    put(&mut disk, 446 + 4, &[0x0C]);
    put(&mut disk, 446 + 8, &64u32.to_le_bytes());
    put(&mut disk, 446 + 12, &len.to_le_bytes());
    put(&mut disk, 510, &[0x55, 0xAA]);
    let mut disk = Memory::new(disk);
    let printed = done(
        &mut disk,
        "list-partitions\nlist-filesystems\nmount /dev/vda1 /\nwrite /x y\numount /dev/sda1\n",
    );
    assert_eq!(printed, "/dev/sda1\n/dev/sda1: vfat\n");
    let run = run_on(&disk, "mount /dev/sda2 /");
    assert!(matches!(run.outcome, Outcome::Failed { line: 1, .. }), "{:?}", run.outcome);
    put(&mut disk.bytes, 446 + 16 + 4, &[0x05]);
    assert!(unfit(&disk, "list-partitions").contains("unusual"));
    // A partition beyond the end.
    put(&mut disk.bytes, 446 + 16 + 4, &[0x0C]);
    put(&mut disk.bytes, 446 + 16 + 12, &u32::MAX.to_le_bytes());
    assert!(unfit(&disk, "list-partitions").contains("beyond the end"));
}

/// Where damage hurts: boot sector, FSInfo, tables, root directory and the first clusters.
fn damage() -> impl Strategy<Value = Vec<(usize, u8)>> {
    prop::collection::vec((prop_oneof![0..96usize, 512..2048usize, 0..40_000usize], any::<u8>()), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_disk_makes_it_panic_or_go_on_for_ever(bits in prop::sample::select(vec![12, 16]), damage in damage(), again in damage()) {
        let mut disk = Memory::new(formatted(bits));
        for (at, byte) in damage {
            disk.bytes[at] = byte;
        }
        disk.late_after = 100_000;
        if let Outcome::Done(changes) = run_on(&disk, PLAN).outcome {
            for (offset, bytes) in changes {
                put(&mut disk.bytes, usize::try_from(offset).unwrap(), &bytes);
            }
        }
        for (at, byte) in again {
            disk.bytes[at] = byte;
        }
        drop(run_on(&disk, PLAN));
        drop(run_on(&disk, "list-filesystems\nlvs\nmount /dev/sda /\n-ls /EFI/a\n-cat \"/EFI/a/A long name.txt\"\nrm-rf /EFI"));
    }
}
