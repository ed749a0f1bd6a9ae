//! Directories: read as a whole, entries added where Linux would add them.

use super::super::overlay::Overlay;
use super::super::trouble::{Errno, Result, Trouble};
use super::Fat;
use super::entry::{self, Entry, SLOT_BYTES, Slot};
use super::geometry::ENTRY_BYTES;
use super::name::{NewName, REMOVED, stripped};

/// Longest directory, as for Linux.
const DIRECTORY_BYTES_MAX: u64 = 2 << 20;

/// Where a directory begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Directory {
    Root,
    At(u32),
}

impl Fat {
    fn first_cluster_of(&self, directory: Directory) -> Option<u32> {
        match directory {
            Directory::At(cluster) => Some(cluster),
            Directory::Root => (self.geometry.root_cluster != 0).then_some(self.geometry.root_cluster),
        }
    }

    /// What `..` of a directory's children says.
    pub(super) fn parent_cluster(directory: Directory) -> u32 {
        match directory {
            Directory::Root => 0,
            Directory::At(cluster) => cluster,
        }
    }

    /// All slots, with their places on the disk.
    fn slots(&self, disk: &mut Overlay<'_>, directory: Directory) -> Result<Vec<(u64, Slot)>> {
        let mut slots = Vec::new();
        let mut extent = |disk: &mut Overlay<'_>, at: u64, bytes: u64| {
            for place in (at..at + bytes).step_by(SLOT_BYTES) {
                slots.push((place, disk.array(place)?));
            }
            Ok::<(), Trouble>(())
        };
        match self.first_cluster_of(directory) {
            None => extent(disk, self.geometry.root_at, self.geometry.root_bytes)?,
            Some(first) => {
                let chain = self.table.chain(disk, first)?;
                let cluster_bytes = u64::from(self.geometry.cluster_bytes);
                if chain.len() as u64 * cluster_bytes > DIRECTORY_BYTES_MAX {
                    return Err(Trouble::doubt("a directory is very long"));
                }
                for cluster in chain {
                    extent(disk, self.geometry.cluster_at(cluster)?, cluster_bytes)?;
                }
            }
        }
        Ok(slots)
    }

    pub(super) fn entries(&self, disk: &mut Overlay<'_>, directory: Directory) -> Result<Vec<Entry>> {
        entry::entries(&self.slots(disk, directory)?)
    }

    pub(super) fn find(
        &self,
        disk: &mut Overlay<'_>,
        directory: Directory,
        name: &str,
    ) -> Result<Option<Entry>> {
        let name = stripped(name);
        Ok(self.entries(disk, directory)?.into_iter().find(|entry| entry.is_named(name)))
    }

    /// Adds an entry that is not there yet.
    pub(super) fn add(
        &mut self,
        disk: &mut Overlay<'_>,
        directory: Directory,
        name: &str,
        attributes: u8,
        first_cluster: u32,
    ) -> Result<Entry> {
        let taken: Vec<_> = self.entries(disk, directory)?.iter().map(Entry::short).collect();
        let name = NewName::choose(name, |short| taken.contains(short))?;
        let mut slots = name.long.as_ref().map_or_else(Vec::new, |long| entry::long_slots(long, &name.short));
        slots.push(entry::new_slot(&name.short, attributes, first_cluster, self.now));
        let places = self.free_places(disk, directory, slots.len())?;
        for (place, slot) in places.iter().zip(&slots) {
            disk.write(*place, slot)?;
        }
        let slot = slots.pop().unwrap_or([0; SLOT_BYTES]);
        let long = name.long.map(|units| String::from_utf16_lossy(&units));
        Ok(Entry { slot, long, places })
    }

    /// Places in a row for as many slots; the directory grows if it must.
    fn free_places(
        &mut self,
        disk: &mut Overlay<'_>,
        directory: Directory,
        count: usize,
    ) -> Result<Vec<u64>> {
        let slots = self.slots(disk, directory)?;
        let mut run: Vec<u64> = Vec::new();
        for (place, slot) in &slots {
            if !matches!(slot[0], 0 | REMOVED) {
                run.clear();
                continue;
            }
            run.push(*place);
            if run.len() == count {
                return Ok(run);
            }
        }
        let first = self.first_cluster_of(directory).ok_or(Errno::NoSpace)?;
        let mut last = self.table.chain(disk, first)?.last().copied();
        let mut bytes = slots.len() as u64 * ENTRY_BYTES;
        while run.len() < count {
            bytes += u64::from(self.geometry.cluster_bytes);
            if bytes > DIRECTORY_BYTES_MAX {
                return Err(Errno::NoSpace.into());
            }
            let cluster = self.table.take(disk, last)?;
            let at = self.clear_cluster(disk, cluster)?;
            run.extend((at..at + u64::from(self.geometry.cluster_bytes)).step_by(SLOT_BYTES));
            last = Some(cluster);
        }
        run.truncate(count);
        Ok(run)
    }

    pub(super) fn clear_cluster(&self, disk: &mut Overlay<'_>, cluster: u32) -> Result<u64> {
        let at = self.geometry.cluster_at(cluster)?;
        disk.write(at, &vec![0; usize::try_from(self.geometry.cluster_bytes).unwrap_or(0)])?;
        Ok(at)
    }

    /// Writes an entry's own slot.
    pub(super) fn update(disk: &mut Overlay<'_>, entry: &Entry) -> Result<()> {
        entry.places.last().map_or(Ok(()), |place| disk.write(*place, &entry.slot))
    }

    /// Takes an entry away; what it leads to stays.
    pub(super) fn remove_entry(disk: &mut Overlay<'_>, entry: &Entry) -> Result<()> {
        entry.places.iter().try_for_each(|place| disk.write(*place, &[REMOVED]))
    }
}
