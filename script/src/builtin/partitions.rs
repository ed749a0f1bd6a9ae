//! Partitions of a disk, where Linux would see the same: a sound GPT, or an MBR without extended partitions.

use super::overlay::Overlay;
use super::trouble::{Result, Trouble};

const SECTOR: u64 = 512;
const ENTRIES_MAX: u32 = 128;
const ENTRY_BYTES: u32 = 128;
const PROTECTIVE: u8 = 0xEE;
/// Extended partitions, and what Windows keeps dynamic disks in.
const UNUSUAL_KINDS: [u8; 4] = [0x05, 0x0F, 0x85, 0x42];
/// Types of GPT partitions that `list-filesystems` leaves out: Microsoft's reserved, dynamic and snapshot ones. The first
/// four bytes tell them apart.
const UNUSUAL_TYPES: [[u8; 4]; 4] =
    [[0xAA, 0xC8, 0x08, 0x58], [0xA0, 0x60, 0x9B, 0xAF], [0x16, 0xE3, 0xC9, 0xE3], [0xF1, 0xEB, 0xDD, 0xCA]];

/// A partition, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Partition {
    pub(super) number: u32,
    pub(super) start: u64,
    pub(super) len: u64,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// The partitions of a disk by number; none if it has no table.
pub(super) fn partitions(disk: &mut Overlay<'_>) -> Result<Vec<Partition>> {
    if disk.size_bytes() < 4 * SECTOR || !disk.size_bytes().is_multiple_of(SECTOR) {
        return Err(Trouble::doubt("the disk is very small"));
    }
    let boot: [u8; 512] = disk.array(0)?;
    let header: [u8; 512] = disk.array(SECTOR)?;
    let slots = boot.get(446..510).unwrap_or_default().chunks(16);
    // Linux looks for a GPT where one begins behind the MBR.
    let protects = |slot: &[u8]| slot.get(4) == Some(&PROTECTIVE) && u32_at(slot, 8) == 1;
    let is_protected = boot.ends_with(&[0x55, 0xAA]) && slots.clone().any(protects);
    if header.starts_with(b"EFI PART") != is_protected {
        return Err(Trouble::doubt("the partition table is damaged, or no longer in use"));
    }
    if is_protected {
        return gpt(disk, &header);
    }
    if !boot.ends_with(&[0x55, 0xAA]) {
        return Ok(Vec::new());
    }
    mbr(slots, disk.size_bytes())
}

fn mbr<'a>(slots: impl Iterator<Item = &'a [u8]>, size: u64) -> Result<Vec<Partition>> {
    let mut partitions = Vec::new();
    for (number, slot) in (1..).zip(slots) {
        let kind = slot.get(4).copied().unwrap_or(0);
        let (start, len) = (u64::from(u32_at(slot, 8)) * SECTOR, u64::from(u32_at(slot, 12)) * SECTOR);
        if !matches!(slot.first(), Some(0 | 0x80)) || UNUSUAL_KINDS.contains(&kind) {
            return Err(Trouble::doubt("the partition table is of an unusual kind"));
        }
        if len > 0 {
            partitions.push(within(Partition { number, start, len }, size)?);
        }
    }
    Ok(partitions)
}

fn gpt(disk: &mut Overlay<'_>, header: &[u8; 512]) -> Result<Vec<Partition>> {
    let damaged = || Trouble::doubt("the GPT is damaged, or of an unusual kind");
    let header_bytes = usize::try_from(u32_at(header, 12)).ok().filter(|len| (92..=512).contains(len));
    let mut summed = header.get(..header_bytes.ok_or_else(damaged)?).unwrap_or_default().to_vec();
    summed.iter_mut().skip(16).take(4).for_each(|byte| *byte = 0);
    let (count, entry_bytes) = (u32_at(header, 80), u32_at(header, 84));
    let is_sound = crc32fast::hash(&summed) == u32_at(header, 16)
        && u64_at(header, 24) == 1
        && entry_bytes == ENTRY_BYTES
        && (1..=ENTRIES_MAX).contains(&count)
        && u64_at(header, 48) < disk.size_bytes() / SECTOR;
    if !is_sound {
        return Err(damaged());
    }
    let mut table = vec![0; usize::try_from(count * ENTRY_BYTES).map_err(|_| damaged())?];
    disk.read(u64_at(header, 72).checked_mul(SECTOR).ok_or_else(damaged)?, &mut table)?;
    if crc32fast::hash(&table) != u32_at(header, 88) {
        return Err(damaged());
    }
    let (first_usable, last_usable) = (u64_at(header, 40), u64_at(header, 48));
    let mut partitions = Vec::new();
    for (number, entry) in (1..).zip(table.chunks(128)) {
        let kind = entry.get(..16).unwrap_or_default();
        if kind.iter().all(|&byte| byte == 0) {
            continue;
        }
        let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
        if UNUSUAL_TYPES.iter().any(|unusual| kind.starts_with(unusual))
            || first < first_usable
            || last > last_usable
            || first > last
        {
            return Err(damaged());
        }
        let start = first.checked_mul(SECTOR).ok_or_else(damaged)?;
        let len = (last - first + 1).checked_mul(SECTOR).ok_or_else(damaged)?;
        partitions.push(within(Partition { number, start, len }, disk.size_bytes())?);
    }
    Ok(partitions)
}

fn within(partition: Partition, size: u64) -> Result<Partition> {
    match partition.start.checked_add(partition.len) {
        Some(end) if end <= size && partition.start >= SECTOR => Ok(partition),
        _ => Err(Trouble::doubt("a partition lies beyond the end of the disk")),
    }
}
