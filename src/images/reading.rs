//! A reader as a body: what lies in a file goes the same way as what is uploaded.

use std::io::{self, Read};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::channel::Channel;
use tokio::runtime::Handle;

use super::add::SILENCE_MAX;

/// Bytes that are read at a time.
const PART_BYTES: usize = 256 << 10;
/// Parts that wait to be taken.
const PARTS_WAITING_MAX: usize = 2;

/// A body of all that a reader gives. It is read on a thread that may wait, and ends with the reader's error if it has
/// one.
pub(crate) fn body_of(reader: impl Read + Send + 'static) -> Body {
    body_within(reader, None)
}

/// The same for a client, who may take nothing: then it ends, for the thread is one of few.
pub(crate) fn body_for_client(reader: impl Read + Send + 'static) -> Body {
    body_within(reader, Some(SILENCE_MAX))
}

fn body_within(mut reader: impl Read + Send + 'static, patience: Option<Duration>) -> Body {
    let (mut sender, body) = Channel::<Bytes, io::Error>::new(PARTS_WAITING_MAX);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let mut part = vec![0; PART_BYTES];
        loop {
            match reader.read(&mut part) {
                Ok(0) => return,
                Ok(read) => {
                    let sent = sender.send_data(Bytes::copy_from_slice(&part[..read]));
                    let is_sent = runtime.block_on(async {
                        match patience {
                            Some(patience) => {
                                tokio::time::timeout(patience, sent).await.is_ok_and(|sent| sent.is_ok())
                            }
                            None => sent.await.is_ok(),
                        }
                    });
                    if !is_sent {
                        return sender
                            .abort(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing"));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return sender.abort(error),
            }
        }
    });
    Body::new(body)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    /// Tells when it is dropped.
    struct Endless(std::sync::mpsc::Sender<()>);

    impl Read for Endless {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            Ok(out.len())
        }
    }

    impl Drop for Endless {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_takes_nothing_holds_no_thread_for_ever_and_gets_no_whole_body() {
        let (gone, waits) = std::sync::mpsc::channel();
        let mut body = body_within(Endless(gone), Some(Duration::from_millis(50)));
        tokio::task::spawn_blocking(move || waits.recv().unwrap()).await.unwrap();
        let mut last = None;
        while last != Some(false) {
            last = body.frame().await.map(|frame| frame.is_ok());
            assert!(last.is_some(), "it must not end as if it were whole");
        }
    }

    #[tokio::test]
    async fn all_that_is_read_is_in_the_body() {
        let content = vec![7; 3 * PART_BYTES + 1];
        let body = body_of(io::Cursor::new(content.clone())).collect().await.unwrap();
        assert_eq!(body.to_bytes(), content);
    }
}
