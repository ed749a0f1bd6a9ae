//! A reader as a body: what lies in a file goes the same way as what is uploaded.

use std::io::{self, Read};

use axum::body::{Body, Bytes};
use http_body_util::channel::Channel;
use tokio::runtime::Handle;

/// Bytes that are read at a time.
const PART_BYTES: usize = 256 << 10;
/// Parts that wait to be taken.
const PARTS_WAITING_MAX: usize = 2;

/// A body of all that a reader gives. It is read on a thread that may wait, and ends with the reader's error if it has
/// one.
pub(crate) fn body_of(mut reader: impl Read + Send + 'static) -> Body {
    let (mut sender, body) = Channel::<Bytes, io::Error>::new(PARTS_WAITING_MAX);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let mut part = vec![0; PART_BYTES];
        loop {
            match reader.read(&mut part) {
                Ok(0) => return,
                Ok(read) => {
                    let sent = sender.send_data(Bytes::copy_from_slice(&part[..read]));
                    if runtime.block_on(sent).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return sender.abort(error),
            }
        }
    });
    Body::new(body)
}
