//! FAT12, FAT16 and FAT32, changed as Linux changes them: the same clusters, the same short names, the same order.
//!
//! Its own, because the crate at hand does not do: `fatfs` 0.3 writes a long name for `.`, gives children of a FAT32 root
//! a `..` that `fsck.vfat` refuses, chooses other short names than Linux, never moves a `..`, and panics or goes round in
//! circles on a damaged disk. Every number that the disk gives is looked at before it is used; whatever is odd is a doubt.

mod codepage;
mod directory;
mod entry;
mod geometry;
mod name;
mod table;

use super::overlay::Overlay;
use super::trouble::{Errno, Result, Trouble};
pub(super) use directory::Directory;
pub(super) use entry::Stamp;
use entry::{ARCHIVE, DIRECTORY, Entry, READ_ONLY};
pub(super) use geometry::Geometry;
use table::Table;

/// Longest file that is read, or written to.
const FILE_BYTES_MAX: u32 = 16 << 20;
/// Deepest directory that is removed with all that is in it, and how much that may be: entries of a directory are kept while
/// what is below them goes.
const DEPTH_MAX: usize = 64;
const REMOVED_MAX: usize = 1 << 17;

/// A mounted file system.
#[derive(Debug)]
pub(super) struct Fat {
    geometry: Geometry,
    table: Table,
    now: Stamp,
}

/// What a path leads to.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Root,
    Entry(Directory, Entry),
}

/// Where a path leads.
#[derive(Debug, Clone)]
pub(super) enum Target {
    There(Node),
    /// Nothing yet: the directory that it would be in, and its name.
    Missing(Directory, String),
}

impl Node {
    pub(super) fn directory(&self) -> Option<Directory> {
        match self {
            Self::Root => Some(Directory::Root),
            Self::Entry(_, entry) if entry.is_directory() => Some(Directory::At(entry.first_cluster())),
            Self::Entry(..) => None,
        }
    }
}

impl Fat {
    /// Mounts the file system in a part of the disk; nothing if it is no FAT.
    pub(super) fn mount(disk: &mut Overlay<'_>, start: u64, len: u64, now: Stamp) -> Result<Option<Self>> {
        let Some(geometry) = Geometry::read(disk, start, len)? else { return Ok(None) };
        if geometry.is_dirty(disk, start)? {
            return Err(Trouble::doubt("the file system was not unmounted cleanly"));
        }
        Ok(Some(Self { geometry, table: Table::open(disk, geometry)?, now }))
    }

    pub(super) fn unmount(mut self, disk: &mut Overlay<'_>) -> Result<()> {
        self.table.close(disk)
    }

    /// Follows a path from the root; `..` stays below it, and `.` is in directories only.
    pub(super) fn walk(&self, disk: &mut Overlay<'_>, path: &str) -> Result<Target> {
        let mut way: Vec<Node> = Vec::new();
        let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = names.next() {
            let directory = way.last().unwrap_or(&Node::Root).directory().ok_or(Errno::NotDirectory)?;
            if name == "." {
                continue;
            }
            if name == ".." {
                way.pop();
                continue;
            }
            match self.find(disk, directory, name)? {
                Some(entry) => way.push(Node::Entry(directory, entry)),
                None if names.peek().is_none() => return Ok(Target::Missing(directory, name.to_owned())),
                None => return Err(Errno::NoEntry.into()),
            }
        }
        Ok(Target::There(way.pop().unwrap_or(Node::Root)))
    }

    /// What a directory has under a name.
    pub(super) fn look_up(
        &self,
        disk: &mut Overlay<'_>,
        directory: Directory,
        name: &str,
    ) -> Result<Option<Node>> {
        Ok(self.find(disk, directory, name)?.map(|entry| Node::Entry(directory, entry)))
    }

    /// The time that files get.
    pub(super) fn now(&self) -> Stamp {
        self.now
    }

    /// Writes an entry that was changed.
    pub(super) fn update_entry(disk: &mut Overlay<'_>, entry: &Entry) -> Result<()> {
        Self::update(disk, entry)
    }

    pub(super) fn names(&self, disk: &mut Overlay<'_>, directory: Directory) -> Result<Vec<String>> {
        Ok(self.entries(disk, directory)?.iter().map(Entry::name).collect())
    }

    pub(super) fn make_directory(
        &mut self,
        disk: &mut Overlay<'_>,
        parent: Directory,
        name: &str,
    ) -> Result<()> {
        let cluster = self.table.take(disk, None)?;
        let at = self.clear_cluster(disk, cluster)?;
        disk.write(at, &entry::new_slot(b".          ", DIRECTORY, cluster, self.now))?;
        let up = entry::new_slot(b"..         ", DIRECTORY, Self::parent_cluster(parent), self.now);
        disk.write(at + entry::SLOT_BYTES as u64, &up)?;
        match self.add(disk, parent, name, DIRECTORY, cluster) {
            Ok(_) => Ok(()),
            Err(trouble) => {
                self.table.free_chain(disk, cluster)?;
                Err(trouble)
            }
        }
    }

    /// Makes an empty file.
    pub(super) fn make_file(
        &mut self,
        disk: &mut Overlay<'_>,
        parent: Directory,
        name: &str,
    ) -> Result<Entry> {
        self.add(disk, parent, name, ARCHIVE, 0)
    }

    /// All of a file.
    pub(super) fn read_file(&self, disk: &mut Overlay<'_>, entry: &Entry) -> Result<Vec<u8>> {
        let size = small(entry.size())?;
        let mut content = vec![0; size];
        let clusters = self.clusters_of(disk, entry)?;
        let pieces = content.chunks_mut(usize::try_from(self.geometry.cluster_bytes).unwrap_or(usize::MAX));
        for (piece, cluster) in pieces.zip(clusters) {
            disk.read(self.geometry.cluster_at(cluster)?, piece)?;
        }
        Ok(content)
    }

    /// The clusters of a file: as many as its size needs.
    fn clusters_of(&self, disk: &mut Overlay<'_>, entry: &Entry) -> Result<Vec<u32>> {
        let chain = match entry.first_cluster() {
            0 => Vec::new(),
            first => self.table.chain(disk, first)?,
        };
        if chain.len() as u64 != u64::from(entry.size().div_ceil(self.geometry.cluster_bytes)) {
            return Err(Trouble::doubt("a file has more clusters than its size needs, or fewer"));
        }
        Ok(chain)
    }

    /// Empties a file, if it is not empty.
    pub(super) fn truncate(&mut self, disk: &mut Overlay<'_>, entry: &mut Entry) -> Result<()> {
        if entry.first_cluster() != 0 {
            self.table.free_chain(disk, entry.first_cluster())?;
        }
        entry.set_content(0, 0);
        self.touch(disk, entry)
    }

    pub(super) fn touch(&self, disk: &mut Overlay<'_>, entry: &mut Entry) -> Result<()> {
        entry.set_modified(self.now);
        entry.set_attributes(entry.attributes() | ARCHIVE);
        Self::update(disk, entry)
    }

    /// Writes behind what a file has.
    pub(super) fn append(&mut self, disk: &mut Overlay<'_>, entry: &mut Entry, data: &[u8]) -> Result<()> {
        let cluster_bytes = u64::from(self.geometry.cluster_bytes);
        let mut chain = self.clusters_of(disk, entry)?;
        let size = small(entry.size())? + data.len();
        let end = u32::try_from(size).ok().filter(|&size| size <= FILE_BYTES_MAX);
        let end = end.ok_or_else(|| Trouble::doubt("a file becomes very long"))?;
        let mut at = u64::from(entry.size());
        let mut rest = data;
        while !rest.is_empty() {
            let index = usize::try_from(at / cluster_bytes).unwrap_or(usize::MAX);
            let cluster = match chain.get(index) {
                Some(cluster) => *cluster,
                None => {
                    let taken = self.table.take(disk, chain.last().copied())?;
                    chain.push(taken);
                    taken
                }
            };
            let within = at % cluster_bytes;
            let room = usize::try_from(cluster_bytes - within).unwrap_or(usize::MAX);
            let (piece, later) = rest.split_at(room.min(rest.len()));
            disk.write(self.geometry.cluster_at(cluster)? + within, piece)?;
            at += piece.len() as u64;
            rest = later;
        }
        if let Some(last) = chain.last() {
            self.clear_sector_end(disk, *last, at)?;
        }
        entry.set_content(chain.first().copied().unwrap_or(0), end);
        self.touch(disk, entry)
    }

    /// Nothing old is left in the last sector of a file.
    fn clear_sector_end(&self, disk: &mut Overlay<'_>, last: u32, end: u64) -> Result<()> {
        let sector = u64::from(self.geometry.sector_bytes);
        let left = end.next_multiple_of(sector) - end;
        if left > 0 {
            let within = end % u64::from(self.geometry.cluster_bytes);
            let zeros = vec![0; usize::try_from(left).unwrap_or(0)];
            disk.write(self.geometry.cluster_at(last)? + within, &zeros)?;
        }
        Ok(())
    }

    /// Removes a file, or an empty directory.
    pub(super) fn remove(&mut self, disk: &mut Overlay<'_>, entry: &Entry) -> Result<()> {
        if entry.is_directory() && !self.entries(disk, Directory::At(entry.first_cluster()))?.is_empty() {
            return Err(Errno::NotEmpty.into());
        }
        Self::remove_entry(disk, entry)?;
        match entry.first_cluster() {
            0 => Ok(()),
            first => self.table.free_chain(disk, first),
        }
    }

    /// Removes a file, or a directory with all that is in it.
    pub(super) fn remove_all(&mut self, disk: &mut Overlay<'_>, entry: &Entry) -> Result<()> {
        self.remove_below(disk, entry, 0, &mut { REMOVED_MAX })
    }

    fn remove_below(
        &mut self,
        disk: &mut Overlay<'_>,
        entry: &Entry,
        depth: usize,
        room: &mut usize,
    ) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(Trouble::doubt("directories lie very deep"));
        }
        if entry.is_directory() {
            let children = self.entries(disk, Directory::At(entry.first_cluster()))?;
            let left = room.checked_sub(children.len());
            *room = left.ok_or_else(|| Trouble::doubt("it removes very many files"))?;
            for child in children {
                self.remove_below(disk, &child, depth + 1, room)?;
            }
        }
        self.remove(disk, entry)
    }

    /// Moves a file or directory: to a new name, or into the place of a file.
    pub(super) fn rename(
        &mut self,
        disk: &mut Overlay<'_>,
        entry: &Entry,
        parent: Directory,
        to: Destination<'_>,
    ) -> Result<()> {
        let (mut moved, replaced) = match to {
            Destination::Name(name) => {
                let kind = if entry.is_directory() { DIRECTORY } else { ARCHIVE };
                (self.add(disk, parent, name, kind, 0)?, 0)
            }
            Destination::File(file) => (file.clone(), file.first_cluster()),
        };
        moved.take_from(entry);
        Self::update(disk, &moved)?;
        Self::remove_entry(disk, entry)?;
        if entry.is_directory() {
            let up = self.geometry.cluster_at(entry.first_cluster())? + entry::SLOT_BYTES as u64;
            let mut slot: entry::Slot = disk.array(up)?;
            if !slot.starts_with(b"..         ") {
                return Err(Trouble::doubt("a directory does not know its parent"));
            }
            entry::set_first_cluster(&mut slot, Self::parent_cluster(parent));
            disk.write(up, &slot)?;
        }
        match replaced {
            0 => Ok(()),
            first => self.table.free_chain(disk, first),
        }
    }

    /// Sets the one permission that FAT has, if a mode asks for it in a way that Linux takes.
    pub(super) fn change_mode(disk: &mut Overlay<'_>, entry: &mut Entry, mode: u32) -> Result<()> {
        const UMASK: u32 = 0o022;
        const READ_EXECUTE: u32 = 0o555;
        const WRITE: u32 = 0o222;
        if mode & !0o777 != 0 {
            return Err(Errno::NotPermitted.into());
        }
        // A directory cannot be read-only; what cannot be kept is not refused, and not done.
        if entry.is_directory() || mode & READ_EXECUTE != READ_EXECUTE {
            return Ok(());
        }
        let attributes = match mode & WRITE & !UMASK {
            0 => entry.attributes() | READ_ONLY,
            _ => entry.attributes() & !READ_ONLY,
        };
        entry.set_attributes(attributes);
        Self::update(disk, entry)
    }
}

/// Where something is moved to.
pub(super) enum Destination<'a> {
    Name(&'a str),
    File(&'a Entry),
}

fn small(size: u32) -> Result<usize> {
    if size > FILE_BYTES_MAX {
        return Err(Trouble::doubt("a file is very long"));
    }
    usize::try_from(size).map_err(|_| Trouble::doubt("a file is very long"))
}

/// Entries are handed around as what they are found by.
impl Node {
    /// The file's entry; the root and directories have none.
    pub(super) fn file(self) -> Option<Entry> {
        match self {
            Self::Entry(_, entry) if !entry.is_directory() => Some(entry),
            Self::Root | Self::Entry(..) => None,
        }
    }

    /// The entry, of whatever it is.
    pub(super) fn entry(self) -> Option<Entry> {
        match self {
            Self::Entry(_, entry) => Some(entry),
            Self::Root => None,
        }
    }
}

pub(super) use entry::Entry as FatEntry;
