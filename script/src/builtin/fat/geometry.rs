//! Where everything lies in a FAT file system: its boot sector, read with suspicion.

use super::super::overlay::Overlay;
use super::super::trouble::{Result, Trouble};

pub(super) const FIRST_CLUSTER: u32 = 2;
const FAT12_CLUSTERS_MAX: u32 = 0xFF4;
const FAT16_CLUSTERS_MAX: u32 = 0xFFF4;
const FAT32_CLUSTERS_MAX: u32 = 0x0FFF_FFF4;
pub(super) const ENTRY_BYTES: u64 = 32;

/// Width of an entry of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Width {
    Fat12,
    Fat16,
    Fat32,
}

/// Offsets are bytes of the disk.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Geometry {
    pub(super) width: Width,
    pub(super) sector_bytes: u32,
    pub(super) cluster_bytes: u32,
    pub(super) table_at: u64,
    pub(super) table_bytes: u64,
    pub(super) tables: u8,
    /// Of FAT12 and FAT16: where the root directory is, and how long.
    pub(super) root_at: u64,
    pub(super) root_bytes: u64,
    /// Of FAT32.
    pub(super) root_cluster: u32,
    pub(super) info_at: Option<u64>,
    pub(super) data_at: u64,
    /// The first number that no cluster has.
    pub(super) cluster_end: u32,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|two| two.try_into().ok()).map_or(0, u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// Nothing, if it is not so.
fn only_if(condition: bool) -> Option<()> {
    condition.then_some(())
}

impl Geometry {
    /// Of the file system in a part of the disk; nothing if it is none, or an odd one.
    pub(in super::super) fn read(disk: &mut Overlay<'_>, start: u64, len: u64) -> Result<Option<Self>> {
        if len < 512 {
            return Ok(None);
        }
        let boot: [u8; 512] = disk.array(start)?;
        Ok(Self::parse(&boot, start, len))
    }

    fn parse(boot: &[u8; 512], start: u64, len: u64) -> Option<Self> {
        only_if(matches!(boot, [0xEB, _, 0x90, ..] | [0xE9, ..]) && u16_at(boot, 510) == 0xAA55)?;
        let sector_bytes = u32::from(u16_at(boot, 11));
        let cluster_sectors = u32::from(boot[13]);
        let (reserved, tables) = (u16_at(boot, 14), boot[16]);
        only_if((512..=4096).contains(&sector_bytes) && sector_bytes.is_power_of_two())?;
        only_if(cluster_sectors.is_power_of_two() && cluster_sectors * sector_bytes <= 65_536)?;
        only_if(reserved > 0 && (1..=2).contains(&tables) && (boot[21] >= 0xF8 || boot[21] == 0xF0))?;
        let is_fat32 = u16_at(boot, 22) == 0;
        let table_sectors = if is_fat32 { u32_at(boot, 36) } else { u32::from(u16_at(boot, 22)) };
        let sectors = match u16_at(boot, 19) {
            0 => u32_at(boot, 32),
            sectors => u32::from(sectors),
        };
        let root_entries = u64::from(u16_at(boot, 17));
        let sector = u64::from(sector_bytes);
        only_if((root_entries * ENTRY_BYTES).is_multiple_of(sector) && (root_entries == 0) == is_fat32)?;
        let table_bytes = u64::from(table_sectors) * sector;
        let root_from = u64::from(reserved) * sector + u64::from(tables) * table_bytes;
        let data_from = root_from + root_entries * ENTRY_BYTES;
        let all = u64::from(sectors) * sector;
        only_if(all <= len && data_from < all && table_sectors > 0)?;
        let clusters = (all - data_from) / (sector * u64::from(cluster_sectors));
        let clusters = u32::try_from(clusters).ok()?;
        let (width, bits, max) = match (is_fat32, clusters) {
            (true, _) => (Width::Fat32, 32, FAT32_CLUSTERS_MAX),
            (false, ..=FAT12_CLUSTERS_MAX) => (Width::Fat12, 12, FAT12_CLUSTERS_MAX),
            (false, _) => (Width::Fat16, 16, FAT16_CLUSTERS_MAX),
        };
        let cluster_end = clusters + FIRST_CLUSTER;
        // Where readers of FAT differ in what they take it for, it is none of ours.
        only_if(clusters > 0 && clusters <= max && (!is_fat32 || clusters > FAT16_CLUSTERS_MAX))?;
        only_if(u64::from(cluster_end) * bits <= table_bytes * 8)?;
        let (mut root_cluster, mut info_at) = (0, None);
        if is_fat32 {
            // Mirrored tables, version 0.
            only_if(u16_at(boot, 40) == 0 && u16_at(boot, 42) == 0)?;
            root_cluster = u32_at(boot, 44);
            only_if((FIRST_CLUSTER..cluster_end).contains(&root_cluster))?;
            let info = u16_at(boot, 48);
            only_if(info > 0 && info < reserved)?;
            info_at = Some(start + u64::from(info) * sector);
        }
        Some(Self {
            width,
            sector_bytes,
            cluster_bytes: cluster_sectors * sector_bytes,
            table_at: start + u64::from(reserved) * sector,
            table_bytes,
            tables,
            root_at: start + root_from,
            root_bytes: root_entries * ENTRY_BYTES,
            root_cluster,
            info_at,
            data_at: start + data_from,
            cluster_end,
        })
    }

    /// Whether it was left without being unmounted.
    pub(super) fn is_dirty(&self, disk: &mut Overlay<'_>, start: u64) -> Result<bool> {
        let flags_at = if self.width == Width::Fat32 { 0x41 } else { 0x25 };
        let [flags] = disk.array(start + flags_at)?;
        Ok(flags & 3 != 0)
    }

    /// Where a cluster is.
    pub(super) fn cluster_at(&self, cluster: u32) -> Result<u64> {
        if !(FIRST_CLUSTER..self.cluster_end).contains(&cluster) {
            return Err(Trouble::doubt("a cluster of the file system does not exist"));
        }
        Ok(self.data_at + u64::from(cluster - FIRST_CLUSTER) * u64::from(self.cluster_bytes))
    }
}
