//! What a client goes on sending after it was refused.
//!
//! Clients that send all of a body before they read the answer (HPE's SDK does) never see a refusal when the connection
//! is closed under them. So the rest of a refused body is read and thrown away first, within limits. A client that asked
//! for leave to send (`Expect: 100-continue`, RFC 9110 §10.1.1) and has not got it sends nothing, and is not waited for.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};
use parking_lot::Mutex;

/// Most that is thrown away of one body.
const BYTES_MAX: u64 = 1 << 30;
/// Longest time that it may take.
const TIME_MAX: Duration = Duration::from_secs(10);

/// A request's body, which can be taken back from whoever did not want it.
pub(super) struct Unread<B = Incoming> {
    shared: Arc<Shared<B>>,
    asks_for_leave: bool,
}

struct Shared<B> {
    body: Mutex<Option<B>>,
    /// Somebody has begun to read it: the client has its leave.
    begun: AtomicBool,
}

struct Lent<B>(Arc<Shared<B>>);

impl<B> Unread<B>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<axum::BoxError>,
{
    /// Lends a body to a handler.
    pub(super) fn lend(body: B, headers: &HeaderMap) -> (Self, Body) {
        let shared = Arc::new(Shared { body: Mutex::new(Some(body)), begun: AtomicBool::new(false) });
        let asks_for_leave = headers.contains_key(header::EXPECT);
        (Self { shared: shared.clone(), asks_for_leave }, Body::new(Lent(shared)))
    }

    /// Reads and throws away what is left of it.
    pub(super) async fn drain(self) {
        if self.asks_for_leave && !self.shared.begun.load(Ordering::Relaxed) {
            return;
        }
        let Some(mut body) = self.shared.body.lock().take() else { return };
        let rest = async {
            let mut bytes = 0;
            while let Some(Ok(frame)) = body.frame().await {
                bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                if bytes > BYTES_MAX {
                    return;
                }
            }
        };
        // Whoever takes longer does not hear why it was refused.
        let _ = tokio::time::timeout(TIME_MAX, rest).await;
    }
}

impl<B> HttpBody for Lent<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.0.begun.store(true, Ordering::Relaxed);
        match self.0.body.lock().as_mut() {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.body.lock().as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.body.lock().as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    fn lent(expects: bool) -> (Unread<Full<Bytes>>, Body) {
        let mut headers = HeaderMap::new();
        if expects {
            headers.insert(header::EXPECT, header::HeaderValue::from_static("100-continue"));
        }
        Unread::lend(Full::new(Bytes::from_static(b"body")), &headers)
    }

    #[tokio::test]
    async fn what_was_not_wanted_is_thrown_away() {
        let (unread, body) = lent(false);
        let shared = unread.shared.clone();
        drop(body);
        unread.drain().await;
        assert!(shared.body.lock().is_none());
    }

    #[tokio::test]
    async fn a_client_that_waits_for_leave_is_not_given_it_by_the_way() {
        let (unread, body) = lent(true);
        let shared = unread.shared.clone();
        drop(body);
        unread.drain().await;
        assert!(shared.body.lock().is_some() && !shared.begun.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn whoever_wants_it_reads_it() {
        let (_unread, body) = lent(true);
        assert_eq!(axum::body::to_bytes(body, 10).await.unwrap(), "body");
    }
}
