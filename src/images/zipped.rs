//! A disk as the one file of a zip archive: how Image Streamer hands golden images out, and how they lie in bundles.
//!
//! The archive is written as a stream, so that nothing of it is held. Holes are read as zeros and deflate to nothing.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use api::Refusal;
use axum::body::{Body, Bytes};
use cow::{Still, Subject};
use http_body_util::channel::{Channel, Sender};
use tokio::runtime::Handle;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::add::{Importer, SILENCE_MAX};
use crate::control::refusals;

/// Bytes that are read, and zeros that are written, at a time.
const PART_BYTES: usize = 1 << 20;
/// Parts that wait for the client.
const PARTS_WAITING_MAX: usize = 2;
/// Bytes of the archive that are sent at a time.
const SENT_BYTES: usize = 256 << 10;
/// zlib's fastest level: most of a disk is zeros, or is packed already.
const LEVEL: i64 = 1;

static ZEROS: [u8; PART_BYTES] = [0; PART_BYTES];

/// Writes a still as an archive with one file of this name. `step` hears how many bytes of the disk are done.
///
/// # Errors
/// The writer's; and the store's, as an error of kind `InvalidData`.
pub(crate) fn write(
    still: &Still,
    name: &str,
    out: impl Write,
    step: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut archive = ZipWriter::new_stream(out);
    let options = SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated)
        .compression_level(Some(LEVEL))
        .large_file(true);
    archive.start_file(name, options).map_err(io::Error::other)?;
    write_disk(still, &mut archive, step)?;
    archive.finish().map_err(io::Error::other)?.into_inner().flush()
}

fn write_disk(
    still: &Still,
    out: &mut impl Write,
    step: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> io::Result<()> {
    let total = still.size_bytes();
    let (mut at, mut failed) = (0, Ok(()));
    let read = still.for_each_part(PART_BYTES, &mut |offset, part| {
        failed = zeros(out, at, offset).and_then(|()| out.write_all(part));
        at = offset + part.len() as u64;
        let stop = failed.is_err() || step(at, total).is_break();
        match stop {
            false => Ok(()),
            true => Err(cow::Error::new(cow::Kind::Cancelled, "nobody wants the rest")),
        }
    });
    failed?;
    read.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    zeros(out, at, total)
}

fn zeros(out: &mut impl Write, from: u64, to: u64) -> io::Result<()> {
    let mut left = to.saturating_sub(from);
    while left > 0 {
        let bytes = usize::try_from(left).unwrap_or(PART_BYTES).min(PART_BYTES);
        out.write_all(&ZEROS[..bytes])?;
        left -= bytes as u64;
    }
    Ok(())
}

impl Importer {
    /// Begins to read a disk out as a zip archive with one file of this name.
    pub(crate) async fn zip(&self, subject: Subject, name: String) -> Result<Body, Refusal> {
        let reading = self.reading.clone().acquire_owned().await.map_err(|_| refusals::stopping())?;
        let (sender, body) = Channel::<Bytes, io::Error>::new(PARTS_WAITING_MAX);
        let (store, runtime) = (self.store.clone(), Handle::current());
        let still = tokio::task::spawn_blocking(move || store.still(subject)).await;
        let still = still.map_err(|error| refusals::internal("reading the disk", &error))?;
        let still = still.map_err(|error| refusals::of_store(&error))?;
        tokio::task::spawn_blocking(move || {
            let _reading = reading;
            let mut out = BufWriter::with_capacity(SENT_BYTES, ToClient { sender, runtime });
            let written = write(&still, &name, &mut out, &mut |_, _| ControlFlow::Continue(()));
            let (client, unsent) = out.into_parts();
            drop(unsent);
            if let Err(error) = written {
                tracing::error!("a disk is not read out whole: {error}");
                client.sender.abort(error);
            }
        });
        Ok(Body::new(body))
    }
}

/// Where what is written goes to the client, who may be slow, and may be gone.
pub(crate) struct ToClient {
    sender: Sender<Bytes, io::Error>,
    runtime: Handle,
}

impl Write for ToClient {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        let bytes = Bytes::copy_from_slice(part);
        let sender = &mut self.sender;
        let sent =
            self.runtime.block_on(async { tokio::time::timeout(SILENCE_MAX, sender.send_data(bytes)).await });
        match sent {
            Ok(Ok(())) => Ok(part.len()),
            Ok(Err(_)) | Err(_) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
