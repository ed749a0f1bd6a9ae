//! The file allocation table: chains of clusters. Free clusters are taken in the order in which Linux takes them.

use super::super::overlay::Overlay;
use super::super::trouble::{Errno, Result, Trouble};
use super::geometry::{FIRST_CLUSTER, Geometry, Width};

/// Longest chain that is followed.
const CHAIN_MAX: usize = 1 << 20;
const INFO_SIGNATURES: [(u64, u32); 3] = [(0, 0x4161_5252), (484, 0x6141_7272), (508, 0xAA55_0000)];
const INFO_FREE: u64 = 488;
const INFO_NEXT: u64 = 492;

/// What a chain goes on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Free,
    Cluster(u32),
    End,
}

/// The table, and what is known of its free clusters.
#[derive(Debug)]
pub(super) struct Table {
    geometry: Geometry,
    /// The cluster that was taken last.
    last_taken: u32,
    /// How many are free, where that is written down.
    free: Option<u32>,
    changed: bool,
}

impl Table {
    pub(super) fn open(disk: &mut Overlay<'_>, geometry: Geometry) -> Result<Self> {
        let mut table = Self { geometry, last_taken: FIRST_CLUSTER, free: None, changed: false };
        if let Some(at) = geometry.info_at {
            for (offset, signature) in INFO_SIGNATURES {
                if u32::from_le_bytes(disk.array(at + offset)?) != signature {
                    return Err(Trouble::doubt("the file system has no valid FSInfo sector"));
                }
            }
            let free = u32::from_le_bytes(disk.array(at + INFO_FREE)?);
            table.free = Some(free).filter(|&free| free <= geometry.cluster_end - FIRST_CLUSTER);
            let last = u32::from_le_bytes(disk.array(at + INFO_NEXT)?) % geometry.cluster_end;
            table.last_taken = last.max(FIRST_CLUSTER);
        }
        let first = table.raw(disk, 1)?;
        let clean = match geometry.width {
            Width::Fat12 => 0,
            Width::Fat16 => 0xC000,
            Width::Fat32 => 0x0C00_0000,
        };
        if first & clean != clean {
            return Err(Trouble::doubt("the file system was not unmounted cleanly"));
        }
        Ok(table)
    }

    /// Writes down what is known of free clusters.
    pub(super) fn close(&mut self, disk: &mut Overlay<'_>) -> Result<()> {
        if let Some(at) = self.geometry.info_at
            && std::mem::take(&mut self.changed)
        {
            if let Some(free) = self.free {
                disk.write(at + INFO_FREE, &free.to_le_bytes())?;
            }
            disk.write(at + INFO_NEXT, &self.last_taken.to_le_bytes())?;
        }
        Ok(())
    }

    /// All clusters of a chain.
    pub(super) fn chain(&self, disk: &mut Overlay<'_>, first: u32) -> Result<Vec<u32>> {
        let mut chain = Vec::new();
        let mut next = Next::Cluster(first);
        while let Next::Cluster(cluster) = next {
            self.geometry.cluster_at(cluster)?;
            if chain.len() == CHAIN_MAX {
                return Err(Trouble::doubt("a chain of clusters is very long, or has no end"));
            }
            chain.push(cluster);
            next = self.next(disk, cluster)?;
        }
        if next == Next::Free {
            return Err(Trouble::doubt("a chain of clusters ends in a free one"));
        }
        Ok(chain)
    }

    /// Takes a free cluster, behind the last one of a chain if there is one.
    pub(super) fn take(&mut self, disk: &mut Overlay<'_>, behind: Option<u32>) -> Result<u32> {
        let count = self.geometry.cluster_end - FIRST_CLUSTER;
        let from = self.last_taken + 1 - FIRST_CLUSTER;
        for step in 0..count {
            let cluster = FIRST_CLUSTER + (from + step) % count;
            if self.next(disk, cluster)? == Next::Free {
                self.set(disk, cluster, self.end_mark())?;
                if let Some(behind) = behind {
                    self.set(disk, behind, cluster)?;
                }
                self.last_taken = cluster;
                self.free = self.free.and_then(|free| free.checked_sub(1));
                self.changed = true;
                return Ok(cluster);
            }
        }
        self.free = Some(0);
        self.changed = true;
        Err(Errno::NoSpace.into())
    }

    /// Gives the clusters of a chain back.
    pub(super) fn free_chain(&mut self, disk: &mut Overlay<'_>, first: u32) -> Result<()> {
        for cluster in self.chain(disk, first)? {
            self.set(disk, cluster, 0)?;
            self.free = self.free.map(|free| free.saturating_add(1));
            self.changed = true;
        }
        Ok(())
    }

    fn end_mark(&self) -> u32 {
        match self.geometry.width {
            Width::Fat12 => 0xFFF,
            Width::Fat16 => 0xFFFF,
            Width::Fat32 => 0x0FFF_FFFF,
        }
    }

    fn next(&self, disk: &mut Overlay<'_>, cluster: u32) -> Result<Next> {
        let value = self.raw(disk, cluster)?;
        match value {
            0 => Ok(Next::Free),
            value if value >= self.end_mark() - 7 => Ok(Next::End),
            value if (FIRST_CLUSTER..self.geometry.cluster_end).contains(&value) => Ok(Next::Cluster(value)),
            // Bad clusters are never free.
            value if value == self.end_mark() - 8 => Ok(Next::End),
            _ => Err(Trouble::doubt("the allocation table has an entry that means nothing")),
        }
    }

    /// Where an entry is in the first table, and how many bytes it touches.
    fn place(&self, cluster: u32) -> u64 {
        let cluster = u64::from(cluster);
        self.geometry.table_at
            + match self.geometry.width {
                Width::Fat12 => cluster * 3 / 2,
                Width::Fat16 => cluster * 2,
                Width::Fat32 => cluster * 4,
            }
    }

    fn raw(&self, disk: &mut Overlay<'_>, cluster: u32) -> Result<u32> {
        let at = self.place(cluster);
        Ok(match self.geometry.width {
            Width::Fat12 => {
                let two = u32::from(u16::from_le_bytes(disk.array(at)?));
                if cluster.is_multiple_of(2) { two & 0xFFF } else { two >> 4 }
            }
            Width::Fat16 => u32::from(u16::from_le_bytes(disk.array(at)?)),
            Width::Fat32 => u32::from_le_bytes(disk.array(at)?) & 0x0FFF_FFFF,
        })
    }

    fn set(&self, disk: &mut Overlay<'_>, cluster: u32, value: u32) -> Result<()> {
        let at = self.place(cluster);
        for table in 0..u64::from(self.geometry.tables) {
            let at = at + table * self.geometry.table_bytes;
            match self.geometry.width {
                Width::Fat12 => {
                    let two = u16::from_le_bytes(disk.array(at)?);
                    let value = u16::try_from(value & 0xFFF).unwrap_or(0xFFF);
                    let two = if cluster.is_multiple_of(2) {
                        two & 0xF000 | value
                    } else {
                        two & 0x000F | value << 4
                    };
                    disk.write(at, &two.to_le_bytes())?;
                }
                Width::Fat16 => {
                    disk.write(at, &u16::try_from(value & 0xFFFF).unwrap_or(0xFFFF).to_le_bytes())?;
                }
                Width::Fat32 => {
                    // The upper four bits are not ours.
                    let kept = u32::from_le_bytes(disk.array(at)?) & 0xF000_0000;
                    disk.write(at, &(kept | value).to_le_bytes())?;
                }
            }
        }
        Ok(())
    }
}
