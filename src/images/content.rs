//! A disk as a stream of bytes: a golden image, a snapshot, or a volume as it is when it is asked for, in use or not.
//!
//! One thread that may wait reads it, with every checksum compared, and holds the still for as long; a client that
//! takes nothing for too long, or goes away, ends it.

use std::io;

use api::{Refusal, upload};
use axum::body::{Body, Bytes};
use cow::{Still, Subject};
use http_body_util::channel::{Channel, Sender};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::BodyFraming;
use super::add::{Importer, SILENCE_MAX};
use crate::control::refusals;

/// Bytes that are read at a time.
const PART_BYTES: usize = 1 << 20;
/// Parts that wait for the client.
const PARTS_WAITING_MAX: usize = 2;
/// What a hole is sent as where it must be sent.
static ZEROS: [u8; PART_BYTES] = [0; PART_BYTES];

/// A disk that is on its way.
pub(crate) struct Content {
    pub(crate) size_bytes: u64,
    pub(crate) body: Body,
}

/// Why no more is sent.
enum End {
    /// The client is gone, or takes nothing.
    Gone,
    /// The disk cannot be read.
    Unread(cow::Error),
}

impl From<cow::Error> for End {
    fn from(error: cow::Error) -> Self {
        Self::Unread(error)
    }
}

impl Importer {
    /// Begins to read a disk out.
    pub(crate) async fn content(&self, subject: Subject, framing: BodyFraming) -> Result<Content, Refusal> {
        let reading = self.reading.clone().acquire_owned().await.map_err(|_| refusals::stopping())?;
        let (sender, body) = Channel::<Bytes, io::Error>::new(PARTS_WAITING_MAX);
        let (begun, begins) = oneshot::channel();
        let (store, runtime) = (self.store.clone(), Handle::current());
        tokio::task::spawn_blocking(move || {
            let _reading = reading;
            match store.still(subject) {
                Ok(still) => {
                    // Nobody may be waiting any more: then the first part says so.
                    let _ = begun.send(Ok(still.size_bytes()));
                    Outgoing { still, sender, runtime, framing }.run();
                }
                Err(error) => drop(begun.send(Err(refusals::of_store(&error)))),
            }
        });
        let begun = begins.await.map_err(|error| refusals::internal("reading the disk", &error))?;
        Ok(Content { size_bytes: begun?, body: Body::new(body) })
    }
}

struct Outgoing {
    still: Still,
    sender: Sender<Bytes, io::Error>,
    runtime: Handle,
    framing: BodyFraming,
}

impl Outgoing {
    fn run(mut self) {
        let sent = match self.framing {
            BodyFraming::Extents => self.extents(),
            BodyFraming::Plain => self.plain(),
        };
        let error = match sent {
            Ok(()) => return,
            Err(End::Gone) => {
                tracing::info!("a disk was not read out whole: the client went away");
                return;
            }
            Err(End::Unread(error)) => error,
        };
        let refusal = refusals::of_store(&error);
        tracing::error!("a disk cannot be read out: {error}");
        match self.framing {
            // The client may be gone; there is nobody else to tell.
            BodyFraming::Extents => {
                drop(send(&self.runtime, &mut self.sender, upload::fault(&refusal).into()))
            }
            // A body that is shorter than its length is not whole.
            BodyFraming::Plain => self.sender.abort(io::Error::other(refusal.message.into_string())),
        }
    }

    fn extents(&mut self) -> Result<(), End> {
        let Self { still, sender, runtime, .. } = self;
        send(runtime, sender, Bytes::from_static(&upload::MAGIC))?;
        each_part(still, &mut |offset, part| {
            if part.iter().all(|byte| *byte == 0) {
                return Ok(());
            }
            let length = u32::try_from(part.len()).unwrap_or(upload::EXTENT_BYTES_MAX);
            send(runtime, sender, [&upload::extent_head(offset, length)[..], part].concat().into())
        })?;
        send(runtime, sender, upload::end(still.size_bytes()).to_vec().into())
    }

    fn plain(&mut self) -> Result<(), End> {
        let Self { still, sender, runtime, .. } = self;
        let mut at = 0;
        let fill = |from: u64, to: u64, sender: &mut _| {
            let mut left = to - from;
            while left > 0 {
                let bytes = usize::try_from(left).unwrap_or(PART_BYTES).min(PART_BYTES);
                send(runtime, sender, Bytes::from_static(&ZEROS[..bytes]))?;
                left -= bytes as u64;
            }
            Ok::<_, End>(())
        };
        each_part(still, &mut |offset, part| {
            fill(at, offset, sender)?;
            at = offset + part.len() as u64;
            send(runtime, sender, Bytes::copy_from_slice(part))
        })?;
        fill(at, still.size_bytes(), sender)
    }
}

/// All parts that may hold data, in order.
fn each_part(still: &Still, take: &mut impl FnMut(u64, &[u8]) -> Result<(), End>) -> Result<(), End> {
    let mut ended = Ok(());
    let read = still.for_each_part(PART_BYTES, &mut |offset, part| {
        ended = take(offset, part);
        match ended {
            Ok(()) => Ok(()),
            Err(_) => Err(cow::Error::new(cow::Kind::Cancelled, "the client went away")),
        }
    });
    ended?;
    Ok(read?)
}

fn send(runtime: &Handle, sender: &mut Sender<Bytes, io::Error>, part: Bytes) -> Result<(), End> {
    let sent = runtime.block_on(async { tokio::time::timeout(SILENCE_MAX, sender.send_data(part)).await });
    match sent {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(End::Gone),
    }
}
