//! `osvol image export` and `osvol volume export`: a disk of a running daemon as a file.

use std::io::{ErrorKind, Read};

use api::{Phase, upload};
use config::Size;
use cow::export::{DiskWriter, ExportFormat};
use serde_json::json;

use crate::args::{DiskFormat, ExportTo};
use crate::client::Client;
use crate::failure::Failure;
use crate::newfile::NewFile;
use crate::output::Output;
use crate::progress::Meter;

/// Bytes that are taken from the daemon at a time.
const READ_BYTES: usize = 256 << 10;

/// Writes the disk at an API path to a file; `what` is its name in words.
pub(crate) fn run(
    path: &str,
    what: &str,
    to: &ExportTo,
    client: &Client,
    output: &Output,
) -> Result<(), Failure> {
    let file = NewFile::new(&to.file, to.force)?;
    let (disk_bytes, body) = client.download(path)?;
    let writer = DiskWriter::new(file.create()?, format(to.format), disk_bytes);
    let mut export = Export {
        writer: writer.map_err(Failure::file("write", &to.file))?,
        client,
        to,
        disk_bytes,
        meter: Meter::new(output.json),
    };
    let received = export.receive(body);
    export.meter.finish();
    received?;
    let data_bytes = export.writer.finish().map_err(Failure::file("write", &to.file))?;
    file.place()?;
    match output.json {
        true => output
            .text(&json!({ "file": to.file, "sizeBytes": disk_bytes, "dataBytes": data_bytes }).to_string()),
        false => output.text(&format!(
            "{what} exported to {}: {}, {} of data",
            to.file.display(),
            Size::from_bytes(disk_bytes),
            Size::from_bytes(data_bytes)
        )),
    }
}

pub(crate) fn format(format: DiskFormat) -> ExportFormat {
    match format {
        DiskFormat::Raw => ExportFormat::Raw,
        DiskFormat::Qcow2 => ExportFormat::Qcow2,
    }
}

struct Export<'a> {
    writer: DiskWriter,
    client: &'a Client,
    to: &'a ExportTo,
    disk_bytes: u64,
    meter: Meter,
}

impl Export<'_> {
    fn receive(&mut self, mut body: impl Read) -> Result<(), Failure> {
        let mut decoder = upload::Decoder::default();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = match body.read(&mut buffer) {
                // Chunks that end early are a body that was cut off; the decoder knows whether it was whole.
                Ok(0) => break,
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read.map_err(|error| self.client.broken(error))?,
            };
            self.take(&mut decoder, &buffer[..read])?;
        }
        decoder.finish().map_err(|error| self.fault(error))
    }

    fn take(&mut self, decoder: &mut upload::Decoder, mut input: &[u8]) -> Result<(), Failure> {
        while let Some(piece) = decoder.next(&mut input).map_err(|error| self.fault(error))? {
            match piece {
                upload::Piece::Data { offset, bytes } => {
                    self.writer.write(offset, bytes).map_err(Failure::file("write", &self.to.file))?;
                    self.meter.at(Phase::Copying, offset + bytes.len() as u64, self.disk_bytes);
                }
                upload::Piece::End { file_bytes } if file_bytes == self.disk_bytes => {
                    self.meter.at(Phase::Copying, file_bytes, file_bytes);
                }
                upload::Piece::End { .. } => return Err(self.client.protocol("the disk has another size")),
            }
        }
        Ok(())
    }

    fn fault(&self, error: upload::FrameError) -> Failure {
        match error {
            upload::FrameError::Fault(refusal) => Failure::Refused(refusal),
            error => self.client.protocol(format!("the disk did not come whole: {error}")),
        }
    }
}
