//! HTTP/1.1 on any stream: the Unix socket, TLS, or plain TCP for boot scripts.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::response::Response;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower_service::Service;

use super::connections::{Busy, Slot};
use super::unread::Unread;

/// Longest wait for a request's head, from the end of the answer before it: idle connections end by it, too.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// Largest head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Most headers of a request.
const HEADERS_MAX: usize = 100;
/// Longest wait for answers that are being given when the daemon stops.
const LAST_ANSWERS_TIME_MAX: Duration = Duration::from_secs(4);
/// Wait after an `accept` that failed for want of something, such as open files.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves one connection to its end: the client's, or when it is told to leave, or when the daemon stops. `caller` is put
/// into every request's extensions.
pub(super) async fn serve<S, C>(
    stream: S,
    slot: Slot,
    router: Router,
    caller: C,
    mut stopped: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    C: Clone + Send + Sync + 'static,
{
    let slot = Arc::new(slot);
    let place = Place(slot.clone());
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(caller.clone());
        request.extensions_mut().insert(place.clone());
        let (head, body) = request.into_parts();
        let (unread, body) = Unread::lend(body, &head.headers);
        answer(router.clone(), Request::from_parts(head, body), unread)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // How a connection ends is its client's business.
        _ = connection.as_mut() => return,
        () = slot.evicted() => return,
        _ = stopped.wait_for(|stopped| *stopped) => connection.as_mut().graceful_shutdown(),
    }
    let _ = tokio::time::timeout(LAST_ANSWERS_TIME_MAX, connection).await;
}

/// The place of a request's connection.
#[derive(Debug, Clone)]
pub(super) struct Place(Arc<Slot>);

/// Keeps a connection busy for as long as a response that has it among its extensions is being sent.
#[derive(Debug, Clone)]
pub(super) struct Held {
    _busy: Arc<Busy>,
}

impl Place {
    /// The connection is busy from now on. Only for those who are known: whoever is not, and is slow, makes way for others.
    pub(super) fn hold(&self) -> Held {
        Held { _busy: Arc::new(self.0.busy()) }
    }
}

/// The router's answer.
async fn answer(
    mut router: Router,
    request: Request,
    unread: Unread,
) -> Result<Response, std::convert::Infallible> {
    let mut response = Service::call(&mut router, request).await?;
    if response.status().is_client_error() || response.status().is_server_error() {
        unread.drain().await;
    }
    let held = response.extensions_mut().remove::<Held>();
    Ok(response.map(|body| Body::new(BusyBody { body, _held: held })))
}

/// A body that keeps its connection busy.
struct BusyBody {
    body: Body,
    _held: Option<Held>,
}

impl HttpBody for BusyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Lets the connections of a listener that has stopped end.
pub(super) async fn finish(mut connections: JoinSet<()>) {
    while connections.join_next().await.is_some() {}
}
