//! A segment file as it is found: whatever of its header and records can be read, chained or not.

use std::{io, path::Path, sync::Arc};

use super::mend;
use crate::{
    context::Context,
    disk::{File, Wait},
    format::{
        Damage,
        record::{self, Body, Found},
        segment::SegmentHeader,
    },
    ids::{BootId, LayerId},
    limits::{BLOCK_BYTES, BLOCK_LEN, HEADER_BYTES, SEGMENT_DATA_OFFSET},
};

/// What the medium writes whole or not at all.
const SECTOR: usize = 512;

/// A record that was found where it says it is.
#[derive(Debug, Clone)]
pub(crate) struct FoundRecord {
    pub offset: u32,
    pub found: Found,
}

/// Where the chain of records is taken up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChainStart {
    pub offset: u32,
    /// `None`: not known, for the header that begins the chain cannot be read.
    pub chain: Option<u32>,
}

/// Where blocks lie in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub data_offset: u32,
    pub blocks: u32,
}

/// One segment file.
pub(crate) struct SegmentScan {
    pub number: u64,
    pub file: Arc<dyn File>,
    pub file_bytes: u64,
    pub header: Result<SegmentHeader, Damage>,
    /// What is wrong with a header that could be put right all the same.
    pub mended: Option<Damage>,
    /// The checksum of the header's frame, if it is sound.
    pub chain: Option<u32>,
    /// From the header, or taken over from a segment beside it.
    pub layout: Layout,
    /// Everything that is a record of this segment, in order of place.
    pub records: Vec<FoundRecord>,
    /// Header and records as bytes.
    pub summary: Vec<u8>,
}

impl SegmentScan {
    /// Reads header and summary of `path`, which is segment `number` of `layer`.
    pub(crate) fn read(
        context: &Context,
        layer: LayerId,
        number: u64,
        path: &Path,
        layout: Layout,
    ) -> io::Result<Self> {
        let file = context.disk.open(path, false)?;
        let mut summary = vec![0; SEGMENT_DATA_OFFSET as usize];
        let read = file.read_at(0, &mut summary, Wait::Yes)?;
        summary.truncate(read);
        let mut unpacked = SegmentHeader::unpack(&summary, layer, number);
        let mut mended = None;
        if let Err(damage) = unpacked {
            let head = &summary[..summary.len().min(SegmentHeader::FRAME_BYTES)];
            if let Some(found) = mend::frame(head, |bytes| SegmentHeader::unpack(bytes, layer, number).ok()) {
                (unpacked, mended) = (Ok(found), Some(damage));
            }
        }
        let chain = unpacked.as_ref().ok().map(|(_, chain)| *chain);
        let header = unpacked.map(|(header, _)| header);
        let layout =
            header.map_or(layout, |header| Layout { data_offset: header.data_offset, blocks: header.blocks });
        summary.truncate(layout.data_offset as usize);
        let records = scan(&summary, record::segment_salt(layer, number));
        let file_bytes = file.len()?;
        Ok(Self { number, file, file_bytes, header, mended, chain, layout, records, summary })
    }

    /// The boot in which it was written, if that can be read.
    pub(crate) fn boot(&self) -> Option<BootId> {
        self.header.as_ref().ok().map(|header| header.boot)
    }

    /// The records from `start` on: those the chain reaches, and those beyond its end.
    pub(crate) fn chained(&self, start: ChainStart) -> (&[FoundRecord], &[FoundRecord]) {
        let first = self.records.partition_point(|record| record.offset < start.offset);
        let after = &self.records[first..];
        let mut at = start;
        let reach = after.iter().take_while(|record| {
            let fits = record.offset == at.offset && at.chain.is_none_or(|chain| chain == record.found.chain);
            at = next(record);
            fits
        });
        after.split_at(reach.count())
    }

    /// Where a block begins in the file.
    pub(crate) fn block_offset(&self, block: u32) -> u64 {
        u64::from(self.layout.data_offset) + u64::from(block) * BLOCK_BYTES
    }

    /// How many whole blocks the file has from this one on.
    pub(crate) fn blocks_from(&self, block: u32) -> u64 {
        self.file_bytes.saturating_sub(self.block_offset(block)) / BLOCK_BYTES
    }

    /// Sequence numbers of its records.
    pub(crate) fn seqs(&self) -> impl Iterator<Item = u64> + '_ {
        self.records.iter().map(|record| record.found.record.seq)
    }

    /// Whether it may have been begun just before a power cut: its header was never written, which takes one sector,
    /// and none of its records says that one of them had been durable.
    pub(crate) fn was_never_durable(&self) -> bool {
        let records = || self.records.iter().map(|record| &record.found.record);
        let first = records().map(|record| record.seq).min().unwrap_or(u64::MAX);
        let claims = records().map(|record| record.durable_seq).max().unwrap_or(0);
        let blank = self.summary.iter().take(SECTOR).all(|byte| *byte == 0);
        blank && claims < first
    }

    /// Blocks that hold anything behind the last block that a record tells of.
    pub(crate) fn data_behind_records(&self) -> u64 {
        let ends = self.records.iter().map(|record| match &record.found.record.body {
            Body::Write { block, crcs, .. } => *block + u32::try_from(crcs.len()).unwrap_or(0),
            Body::Trim { .. } | Body::Marker => 0,
        });
        let first = ends.max().unwrap_or(0);
        let inside = u32::try_from(self.blocks_from(first)).unwrap_or(u32::MAX);
        let last = first.saturating_add(inside).min(self.layout.blocks);
        let mut block = vec![0; BLOCK_LEN];
        let mut holds =
            |n: &u32| self.read_blocks(*n, &mut block).is_ok() && block.iter().any(|byte| *byte != 0);
        (first..last).filter(|n| holds(n)).count() as u64
    }

    /// Reads whole blocks; what the file does not have reads zeros.
    pub(crate) fn read_blocks(&self, block: u32, out: &mut [u8]) -> io::Result<()> {
        let read = self.file.read_at(self.block_offset(block), out, Wait::Yes)?;
        out[read..].fill(0);
        Ok(())
    }

    /// Whether these blocks have these checksums, one answer a block.
    pub(crate) fn verify(&self, block: u32, crcs: &[u32], buffer: &mut Vec<u8>) -> Vec<bool> {
        buffer.resize(crcs.len() * BLOCK_LEN, 0);
        if self.read_blocks(block, buffer).is_ok() {
            return matches(buffer, crcs);
        }
        // Some of it cannot be read: one block after the other.
        let one_by_one = crcs.iter().zip(block..).zip(buffer.chunks_mut(BLOCK_LEN));
        one_by_one
            .map(|((crc, block), out)| self.read_blocks(block, out).is_ok() && crc32c::crc32c(out) == *crc)
            .collect()
    }
}

fn matches(data: &[u8], crcs: &[u32]) -> Vec<bool> {
    data.chunks(BLOCK_LEN).zip(crcs).map(|(block, crc)| crc32c::crc32c(block) == *crc).collect()
}

/// Where the record behind `record` begins, and what it is chained to.
pub(crate) fn next(record: &FoundRecord) -> ChainStart {
    let bytes = u32::try_from(record.found.bytes).unwrap_or(u32::MAX);
    ChainStart { offset: record.offset.saturating_add(bytes), chain: Some(record.found.crc) }
}

/// Everything in a summary that is a record of this segment at its own place.
fn scan(summary: &[u8], salt: u32) -> Vec<FoundRecord> {
    let mut records = Vec::new();
    let mut at = HEADER_BYTES as usize;
    while let Some(rest) = summary.get(at..)
        && !rest.is_empty()
    {
        let offset = u32::try_from(at).unwrap_or(u32::MAX);
        match record::unpack(rest, salt, offset) {
            Ok(found) => {
                at += found.bytes;
                records.push(FoundRecord { offset, found });
            }
            Err(_) => at += record::ALIGN,
        }
    }
    records
}
