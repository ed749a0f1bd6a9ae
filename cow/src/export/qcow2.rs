//! Writing a qcow2 image (version 3) as it comes: clusters one after the other, tables behind them, the header
//! last, so that a file that was cut short is none. Offsets must not go down. Numbers are big-endian.
//!
//! After QEMU's docs/interop/qcow2.txt: header, L1 and L2 tables, refcount table and blocks; no backing file, no
//! compression, no snapshots.

use std::sync::Arc;

use super::Sink;
use crate::disk::File;

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
const CLUSTER_LEN: usize = 1 << CLUSTER_BITS;
/// Entries of 8 bytes in a cluster.
const ENTRIES: u64 = CLUSTER / 8;
/// Refcounts of 16 bits in a cluster.
const REFCOUNTS: u64 = CLUSTER / 2;
/// The cluster has exactly one user.
const COPIED: u64 = 1 << 63;

/// A qcow2 file that is being written.
pub(super) struct Qcow2 {
    file: Arc<dyn File>,
    size_bytes: u64,
    next_cluster: u64,
    l1: Vec<u64>,
    /// The L2 table that is being filled, and which one it is.
    l2: Vec<u64>,
    l2_index: u64,
    /// The cluster that is being filled, and which one of the disk it is.
    data: Vec<u8>,
    data_index: Option<u64>,
}

impl Qcow2 {
    pub(super) fn new(file: Arc<dyn File>, size_bytes: u64) -> Self {
        let tables = size_bytes.div_ceil(CLUSTER * ENTRIES);
        Self {
            file,
            size_bytes,
            next_cluster: 1,
            l1: vec![0; usize::try_from(tables).unwrap_or(0)],
            l2: vec![0; CLUSTER_LEN / 8],
            l2_index: 0,
            data: vec![0; CLUSTER_LEN],
            data_index: None,
        }
    }

    /// Puts bytes behind all that was written, at whole clusters; gives where they lie.
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<u64> {
        let at = self.next_cluster * CLUSTER;
        self.file.write_at(at, &[bytes])?;
        self.next_cluster += (bytes.len() as u64).div_ceil(CLUSTER);
        Ok(at)
    }

    fn flush_data(&mut self) -> std::io::Result<()> {
        let Some(index) = self.data_index.take() else { return Ok(()) };
        if index / ENTRIES != self.l2_index {
            self.flush_l2()?;
            self.l2_index = index / ENTRIES;
        }
        let data = std::mem::take(&mut self.data);
        let at = self.append(&data)?;
        self.data = data;
        self.data.fill(0);
        if let Some(entry) = usize::try_from(index % ENTRIES).ok().and_then(|n| self.l2.get_mut(n)) {
            *entry = at | COPIED;
        }
        Ok(())
    }

    fn flush_l2(&mut self) -> std::io::Result<()> {
        if self.l2.iter().all(|entry| *entry == 0) {
            return Ok(());
        }
        let at = self.append(&big_endian(&self.l2))?;
        if let Some(entry) = usize::try_from(self.l2_index).ok().and_then(|n| self.l1.get_mut(n)) {
            *entry = at | COPIED;
        }
        self.l2.fill(0);
        Ok(())
    }

    /// Refcount blocks and table; gives where the table lies and its clusters.
    fn refcounts(&mut self) -> std::io::Result<(u64, u64)> {
        let used = self.next_cluster;
        let (mut blocks, mut table) = (0, 0);
        loop {
            let total = used + blocks + table;
            let wanted = total.div_ceil(REFCOUNTS);
            let wanted = (wanted, (wanted * 8).div_ceil(CLUSTER));
            if wanted == (blocks, table) {
                break;
            }
            (blocks, table) = wanted;
        }
        let total = used + blocks + table;
        let mut entries = vec![0; usize::try_from(table * ENTRIES).unwrap_or(0)];
        for (n, entry) in (0..blocks).zip(&mut entries) {
            let here = REFCOUNTS.min(total - n * REFCOUNTS);
            let mut block = [0, 1].repeat(usize::try_from(here).unwrap_or(0));
            block.resize(CLUSTER_LEN, 0);
            *entry = self.append(&block)?;
        }
        Ok((self.append(&big_endian(&entries))?, table))
    }

    fn header(&self, l1_offset: u64, refcounts: (u64, u64)) -> Vec<u8> {
        let mut out = Vec::with_capacity(112);
        out.extend(b"QFI\xfb");
        out.extend(3_u32.to_be_bytes());
        out.extend([0; 12]); // no backing file: offset, length
        out.extend(CLUSTER_BITS.to_be_bytes());
        out.extend(self.size_bytes.to_be_bytes());
        out.extend(0_u32.to_be_bytes()); // not encrypted
        out.extend(u32::try_from(self.l1.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend(l1_offset.to_be_bytes());
        out.extend(refcounts.0.to_be_bytes());
        out.extend(u32::try_from(refcounts.1).unwrap_or(u32::MAX).to_be_bytes());
        out.extend([0; 12]); // no snapshots: count, offset
        out.extend([0; 24]); // no features: incompatible, compatible, autoclear
        out.extend(4_u32.to_be_bytes()); // refcounts of 2^4 bits
        out.extend(104_u32.to_be_bytes()); // length of the header
        out.extend([0; 8]); // the end of the header's extensions
        out
    }
}

impl Sink for Qcow2 {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let skip = usize::try_from(at % CLUSTER).unwrap_or(0);
            let here = rest.len().min(CLUSTER_LEN - skip);
            if self.data_index != Some(at / CLUSTER) {
                self.flush_data()?;
                self.data_index = Some(at / CLUSTER);
            }
            self.data[skip..skip + here].copy_from_slice(&rest[..here]);
            at += here as u64;
            rest = &rest[here..];
        }
        Ok(())
    }

    fn finish(&mut self) -> std::io::Result<()> {
        self.flush_data()?;
        self.flush_l2()?;
        let l1 = big_endian(&self.l1);
        let l1_offset = self.append(&l1)?;
        let refcounts = self.refcounts()?;
        // Whole clusters, to the last one.
        self.file.set_len(self.next_cluster * CLUSTER)?;
        self.file.sync_data()?;
        self.file.write_at(0, &[&self.header(l1_offset, refcounts)])?;
        self.file.sync_data()
    }
}

fn big_endian(entries: &[u64]) -> Vec<u8> {
    entries.iter().flat_map(|entry| entry.to_be_bytes()).collect()
}
