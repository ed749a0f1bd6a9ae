//! What is in a partition, as `list-filesystems` says it; whatever is not recognized for sure is a doubt.

use super::fat::Geometry;
use super::overlay::Overlay;
use super::trouble::{Result, Trouble};

/// A partition that begins and ends with so many zeros has nothing in it that anybody recognizes.
const BLANK_BYTES: u64 = 1 << 20;
const SMALL_BYTES: u64 = 65_536;
const EXT_AT: u64 = 1024;
const EXT_HAS_JOURNAL: u32 = 0x4;
/// Features that ext3 has too.
const EXT3_INCOMPATIBLE: u32 = 0x2 | 0x4 | 0x10;
const EXT3_READ_ONLY: u32 = 0x1 | 0x2 | 0x4;
const EXT_JOURNAL_DEVICE: u32 = 0x8;

/// The type of file system.
pub(super) fn kind(disk: &mut Overlay<'_>, start: u64, len: u64) -> Result<&'static str> {
    if len < SMALL_BYTES * 2 {
        return Err(Trouble::doubt("a partition is very small"));
    }
    if Geometry::read(disk, start, len)?.is_some() {
        return Ok("vfat");
    }
    if disk.array(start)? == *b"XFSB" {
        return Ok("xfs");
    }
    if disk.array(start + 4086)? == *b"SWAPSPACE2" {
        return Ok("swap");
    }
    if u16::from_le_bytes(disk.array(start + EXT_AT + 56)?) == 0xEF53 {
        return ext(disk, start + EXT_AT);
    }
    match is_blank(disk, start, len)? {
        true => Ok("unknown"),
        false => Err(Trouble::doubt("a partition has something in it that is not recognized")),
    }
}

fn ext(disk: &mut Overlay<'_>, at: u64) -> Result<&'static str> {
    let compatible = u32::from_le_bytes(disk.array(at + 92)?);
    let incompatible = u32::from_le_bytes(disk.array(at + 96)?);
    let read_only = u32::from_le_bytes(disk.array(at + 100)?);
    if incompatible & EXT_JOURNAL_DEVICE != 0 {
        return Err(Trouble::doubt("a partition is the journal of another one"));
    }
    Ok(if incompatible & !EXT3_INCOMPATIBLE != 0 || read_only & !EXT3_READ_ONLY != 0 {
        "ext4"
    } else if compatible & EXT_HAS_JOURNAL != 0 {
        "ext3"
    } else {
        "ext2"
    })
}

fn is_blank(disk: &mut Overlay<'_>, start: u64, len: u64) -> Result<bool> {
    let edge = BLANK_BYTES.min(len);
    let mut buffer = vec![0; usize::try_from(edge).unwrap_or(0)];
    for at in [start, start + len - edge] {
        disk.read(at, &mut buffer)?;
        if buffer.iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}
