//! A disk as a file: raw with holes, or qcow2. Offsets come in order, zeros are left out, and the file is durable
//! when it is finished.

mod qcow2;

use std::{io, ops::Range, sync::Arc};

use qcow2::Qcow2;

use crate::{disk::File, limits::BLOCK_LEN};

/// What the file is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// The disk byte for byte; what was never written is a hole.
    Raw,
    /// QEMU's format, version 3, without compression.
    Qcow2,
}

/// A file that a disk is being written to.
pub struct DiskWriter {
    sink: Box<dyn Sink>,
    size_bytes: u64,
    data_bytes: u64,
}

/// Where the disk goes, in order of offsets.
trait Sink {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    fn finish(&mut self) -> io::Result<()>;
}

struct Raw(Arc<dyn File>);

impl Sink for Raw {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, &[bytes])
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

impl DiskWriter {
    /// Begins a disk of this size in an empty file.
    pub fn new(file: Arc<dyn File>, format: ExportFormat, size_bytes: u64) -> io::Result<Self> {
        let sink: Box<dyn Sink> = match format {
            ExportFormat::Raw => {
                file.set_len(size_bytes)?;
                Box::new(Raw(file))
            }
            ExportFormat::Qcow2 => Box::new(Qcow2::new(file, size_bytes)),
        };
        Ok(Self { sink, size_bytes, data_bytes: 0 })
    }

    /// Writes what is not zeros, and lies inside the disk. Offsets must not go down.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let inside = usize::try_from(self.size_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let data = &data[..data.len().min(inside)];
        for part in nonzero(data) {
            let at = offset + part.start as u64;
            let bytes = &data[part];
            self.sink.write(at, bytes)?;
            self.data_bytes += bytes.len() as u64;
        }
        Ok(())
    }

    /// Makes the file whole and durable; gives the bytes of data in it.
    pub fn finish(mut self) -> io::Result<u64> {
        self.sink.finish()?;
        Ok(self.data_bytes)
    }
}

/// The parts that are not zeros, in blocks.
fn nonzero(data: &[u8]) -> Vec<Range<usize>> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    for (n, block) in data.chunks(BLOCK_LEN).enumerate() {
        let here = n * BLOCK_LEN..n * BLOCK_LEN + block.len();
        match parts.last_mut() {
            _ if block.iter().all(|byte| *byte == 0) => {}
            Some(last) if last.end == here.start => last.end = here.end,
            _ => parts.push(here),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_between_data_are_left_out() {
        let mut data = vec![0; 5 * BLOCK_LEN + 512];
        data[BLOCK_LEN] = 1;
        data[2 * BLOCK_LEN + 7] = 1;
        data[5 * BLOCK_LEN] = 1;
        assert_eq!(nonzero(&data), [BLOCK_LEN..3 * BLOCK_LEN, 5 * BLOCK_LEN..data.len()]);
    }
}
