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
fn a_dot_is_in_directories_only() {
    let mut disk = Memory::new(formatted(16));
    let plan = "mount /dev/sda /\nwrite /f x\n-mkdir /new/.\n-write /new/. x\n-rm /f/.\nexists /f/.\nls /.\n-mkdir-p /f/";
    let printed = done(&mut disk, plan);
    let said: Vec<&str> =
        printed.lines().map(|line| line.trim_start_matches("libguestfs: error: ")).collect();
    let expected = [
        "mkdir: /new/.: No such file or directory",
        "internal_write: open: /new/.: No such file or directory",
        "rm: /f/.: Not a directory",
        "false",
        "f",
        "mkdir_p: /f/: Not a directory",
    ];
    assert_eq!(said, expected);
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
fn directories_that_name_each_other_are_not_kept_many_times() {
    // A directory of 2 MiB with 65,536 entries, each of which is that directory.
    let mut disk = Memory::new(formatted(32));
    done(&mut disk, "mount /dev/sda /\nmkdir /D\nmkdir /D/SUB\n");
    let slot = |disk: &Memory, name: &[u8]| disk.bytes.windows(11).position(|one| one == name).unwrap();
    let (own, sub) = (slot(&disk, b"D          "), slot(&disk, b"SUB        "));
    let cluster = u32::from(u16::from_le_bytes(disk.bytes[own + 26..own + 28].try_into().unwrap()));
    let data = 32 + 2 * 520;
    let at = |cluster: u32| (data + cluster as usize - 2) * SECTOR;
    put(&mut disk.bytes, sub + 26, &cluster.to_le_bytes()[..2]);
    let entry: [u8; 32] = disk.bytes[sub..sub + 32].try_into().unwrap();
    for index in 0..4096u32 {
        for table in [32, 32 + 520] {
            let next = if index == 4095 { 0x0FFF_FFFF } else { cluster + index + 1 };
            put(&mut disk.bytes, table * SECTOR + (cluster + index) as usize * 4, &next.to_le_bytes());
        }
        for place in 0..SECTOR / 32 {
            let place = at(cluster + index) + place * 32;
            put(&mut disk.bytes, place, &entry);
        }
    }
    assert!(unfit(&disk, "mount /dev/sda /\nrm-rf /D").contains("very many"));
}

#[test]
fn a_file_with_clusters_that_its_size_does_not_need_is_guestfishs() {
    let mut disk = Memory::new(formatted(16));
    done(&mut disk, &format!("mount /dev/sda /\nwrite /F {}\n", "x".repeat(3000)));
    let entry = disk.bytes.windows(11).position(|name| name == b"F          ").unwrap();
    put(&mut disk.bytes, entry + 28, &600u32.to_le_bytes());
    assert!(unfit(&disk, "mount /dev/sda /\nwrite-append /F y").contains("more clusters"));
    put(&mut disk.bytes, entry + 28, &6000u32.to_le_bytes());
    assert!(unfit(&disk, "mount /dev/sda /\ncat /F").contains("or fewer"));
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

/// A file system in the first partition of a GPT.
fn in_gpt(last_usable: u64) -> Vec<u8> {
    let inner = formatted(16);
    let mut disk = vec![0; SECTOR * 34];
    disk.extend(&inner);
    disk.extend(vec![0; SECTOR * 34]);
    let last = 33 + (inner.len() / SECTOR) as u64;
    put(&mut disk, 446 + 4, &[0xEE]);
    put(&mut disk, 446 + 8, &1u32.to_le_bytes());
    put(&mut disk, 446 + 12, &u32::MAX.to_le_bytes());
    put(&mut disk, 510, &[0x55, 0xAA]);
    put(&mut disk, 2 * SECTOR, b"some type of it!");
    for (at, number) in [(32, 34), (40, last)] {
        put(&mut disk, 2 * SECTOR + at, &number.to_le_bytes());
    }
    let header = SECTOR;
    put(&mut disk, header, b"EFI PART\0\0\x01\0\x5C\0\0\0");
    for (at, number) in [(24, 1), (40, 34), (48, last_usable), (72, 2)] {
        put(&mut disk, header + at, &number.to_le_bytes());
    }
    put(&mut disk, header + 80, &128u32.to_le_bytes());
    put(&mut disk, header + 84, &128u32.to_le_bytes());
    let table = crc32fast::hash(&disk[2 * SECTOR..34 * SECTOR]);
    put(&mut disk, header + 88, &table.to_le_bytes());
    let sum = crc32fast::hash(&disk[header..header + 92]);
    put(&mut disk, header + 16, &sum.to_le_bytes());
    disk
}

#[test]
fn a_gpt_is_read_where_linux_takes_it_for_one() {
    let sectors = (in_gpt(0).len() / SECTOR) as u64;
    let mut disk = Memory::new(in_gpt(sectors - 1));
    assert_eq!(done(&mut disk, "list-filesystems\nmount /dev/sda1 /\nls /"), "/dev/sda1: vfat\n");
    // It was made for a larger disk.
    assert!(unfit(&Memory::new(in_gpt(sectors)), "list-partitions").contains("GPT is damaged"));
    // The MBR does not protect it.
    put(&mut disk.bytes, 446 + 8, &2u32.to_le_bytes());
    assert!(unfit(&disk, "list-partitions").contains("damaged, or no longer in use"));
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
