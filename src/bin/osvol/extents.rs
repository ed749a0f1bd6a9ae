//! A file as its extents of data, read with SEEK_DATA and SEEK_HOLE (lseek(2)), so that holes cost nothing.

use std::fs::{File, FileType};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use api::upload;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::client::UploadError;
use crate::failure::Failure;

/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;

/// A disk image that is open.
#[derive(Debug)]
pub(crate) struct Source {
    file: File,
    path: PathBuf,
    pub(crate) bytes: u64,
}

impl Source {
    /// Opens a regular file or a block device.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let metadata = std::fs::metadata(path).map_err(Failure::file("open", path))?;
        check_kind(path, metadata.file_type())?;
        let file = File::open(path).map_err(Failure::file("open", path))?;
        // The size of a block device is where its end is; its metadata says 0.
        let bytes = rustix::fs::seek(&file, SeekFrom::End(0))
            .map_err(|error| Failure::file("find the size of", path)(error.into()))?;
        if bytes == 0 {
            return Err(Failure::NotAnImage { path: path.to_owned(), what: "is empty" });
        }
        Ok(Self { file, path: path.to_owned(), bytes })
    }

    /// Bytes of data, without the holes: what there is to send.
    pub(crate) fn data_bytes(&self) -> Result<u64, Failure> {
        let mut at = 0;
        let mut total = 0;
        while let Some((start, end)) = self.next_data(at).map_err(Failure::file("read", &self.path))? {
            total += end - start;
            at = end;
        }
        Ok(total)
    }

    /// Writes all extents in the framing of [`api::upload`]; `sent` hears of each piece's length.
    pub(crate) fn send(&self, out: &mut dyn Write, mut sent: impl FnMut(u64)) -> Result<(), UploadError> {
        let mut buffer = vec![0; READ_BYTES];
        let source = |error| UploadError::Source(Failure::file("read", &self.path)(error));
        out.write_all(&upload::MAGIC).map_err(UploadError::Send)?;
        let mut at = 0;
        while let Some((mut start, end)) = self.next_data(at).map_err(source)? {
            while start < end {
                let wanted = usize::try_from(end - start).unwrap_or(READ_BYTES).min(READ_BYTES);
                self.file.read_exact_at(&mut buffer[..wanted], start).map_err(source)?;
                let length = u32::try_from(wanted).unwrap_or(upload::EXTENT_BYTES_MAX);
                out.write_all(&upload::extent_head(start, length)).map_err(UploadError::Send)?;
                out.write_all(&buffer[..wanted]).map_err(UploadError::Send)?;
                sent(wanted as u64);
                start += wanted as u64;
            }
            at = end;
        }
        out.write_all(&upload::end(self.bytes)).map_err(UploadError::Send)
    }

    /// The next extent of data at or after `at`, never past the size that was found at first.
    fn next_data(&self, at: u64) -> io::Result<Option<(u64, u64)>> {
        if at >= self.bytes {
            return Ok(None);
        }
        let start = match rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            // A block device or a file system that knows no holes: all of it is data.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((at, self.bytes))),
            Err(error) => return Err(error.into()),
        };
        if start >= self.bytes {
            return Ok(None);
        }
        let end = rustix::fs::seek(&self.file, SeekFrom::Hole(start))?;
        Ok(Some((start, end.min(self.bytes))))
    }
}

fn check_kind(path: &Path, kind: FileType) -> Result<(), Failure> {
    let what = match () {
        () if kind.is_file() || kind.is_block_device() => return Ok(()),
        () if kind.is_dir() => "is a directory, not a disk image",
        () if kind.is_fifo() => "is a pipe; a disk image must be a file or a block device",
        () => "is neither a file nor a block device",
    };
    Err(Failure::NotAnImage { path: path.to_owned(), what })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes what was sent into the file's bytes.
    fn received(source: &Source) -> (Vec<u8>, usize) {
        let mut stream = Vec::new();
        source.send(&mut stream, |_| ()).unwrap();
        let (mut decoder, mut input, mut file) = (upload::Decoder::default(), &stream[..], Vec::new());
        while let Some(piece) = decoder.next(&mut input).unwrap() {
            match piece {
                upload::Piece::Data { offset, bytes } => {
                    file.resize(usize::try_from(offset).unwrap(), 0);
                    file.extend_from_slice(bytes);
                }
                upload::Piece::End { file_bytes } => file.resize(usize::try_from(file_bytes).unwrap(), 0),
            }
        }
        decoder.finish().unwrap();
        (file, stream.len())
    }

    #[test]
    fn a_sparse_file_arrives_whole_and_its_holes_are_not_sent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk.raw");
        let file = File::create(&path).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(&[7; 5000], 3 << 20).unwrap();
        file.write_all_at(&[9; 100], (64 << 20) - 100).unwrap();
        let source = Source::open(&path).unwrap();
        let (content, travelled) = received(&source);
        assert!(content == std::fs::read(&path).unwrap());
        assert!(travelled < 1 << 20, "{travelled} bytes were sent");
        assert!(source.data_bytes().unwrap() < 1 << 20);
    }

    #[test]
    fn what_is_no_image_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let error = |path: &Path| Source::open(path).unwrap_err().to_string();
        assert!(error(directory.path()).ends_with("is a directory, not a disk image"));
        let empty = directory.path().join("empty");
        File::create(&empty).unwrap();
        assert!(error(&empty).ends_with("is empty"));
        assert!(error(&directory.path().join("none")).ends_with("No such file or directory"));
    }
}
