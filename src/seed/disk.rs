//! The disk that holds a seed: a small FAT file system without a partition table, the same bytes whenever it is made.

use std::io::{self, Cursor, Write};

use api::Datasource;
use sha2::{Digest, Sha256};

use super::Seed;

/// Least and most bytes of a disk.
const BYTES_MIN: usize = 1 << 20;
const BYTES_MAX: usize = 4 << 20;
/// What a file takes beside its content, at most: its entry in the directory, and the rest of its last cluster.
const FILE_OVERHEAD: usize = 16 << 10;

impl Seed {
    /// The bytes of the disk. `volume` is the id of the volume that it stands beside.
    ///
    /// # Errors
    /// When the files do not fit.
    pub fn disk(&self, volume: [u8; 16]) -> io::Result<Vec<u8>> {
        let content: usize = self.files.iter().map(|file| file.text.len() + FILE_OVERHEAD).sum();
        let bytes = (content * 5 / 4).next_power_of_two().max(BYTES_MIN);
        if bytes > BYTES_MAX {
            return Err(io::Error::other("the seed does not fit its disk"));
        }
        let mut disk = Cursor::new(vec![0; bytes]);
        let [a, b, c, d, ..] = unit_id(volume);
        let options = fatfs::FormatVolumeOptions::new()
            .volume_id(u32::from_be_bytes([a, b, c, d]))
            .volume_label(self.label());
        fatfs::format_volume(&mut disk, options)?;
        {
            // Without a clock of its own the crate writes 1980: the same bytes whenever they are made.
            let system = fatfs::FileSystem::new(&mut disk, fatfs::FsOptions::new())?;
            let root = system.root_dir();
            for file in &self.files {
                if let Some((directory, _)) = file.name.split_once('/') {
                    root.create_dir(directory)?;
                }
                root.create_file(&file.name)?.write_all(file.text.as_bytes())?;
            }
            drop(root);
            system.unmount()?;
        }
        let mut disk = disk.into_inner();
        mend_directories(&mut disk);
        Ok(disk)
    }

    fn label(&self) -> [u8; 11] {
        match self.datasource {
            Datasource::NoCloud => *b"CIDATA     ",
            Datasource::Ignition => *b"ignition   ",
        }
    }
}

/// The crate gives a directory's `.` and `..` long names, which they must not have: Linux minds little, `fsck.vfat` does.
/// A seed's directories fit one sector.
fn mend_directories(disk: &mut [u8]) {
    const ENTRY: usize = 32;
    const SECTOR: usize = 512;
    let is = |sector: &[u8], entry: usize, name: &[u8; 11]| {
        sector
            .get(entry * ENTRY..)
            .is_some_and(|entry| entry.starts_with(name) && entry.get(11) == Some(&0x10))
    };
    for sector in disk.chunks_exact_mut(SECTOR) {
        if is(sector, 1, b".          ") && is(sector, 3, b"..         ") {
            sector.copy_within(ENTRY..2 * ENTRY, 0);
            sector.copy_within(3 * ENTRY..4 * ENTRY, ENTRY);
            sector.copy_within(4 * ENTRY.., 2 * ENTRY);
            if let Some(rest) = sector.len().checked_sub(2 * ENTRY).and_then(|at| sector.get_mut(at..)) {
                rest.fill(0);
            }
        }
    }
}

/// The id of the logical unit that holds a volume's seed: its designators must not be the volume's.
#[must_use]
pub fn unit_id(volume: [u8; 16]) -> [u8; 16] {
    let digest = Sha256::new().chain_update(b"osvol seed\0").chain_update(volume).finalize();
    let mut id = [0; 16];
    id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    id
}
