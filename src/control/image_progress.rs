//! Progress of an image on its way in, as lines of JSON for those who read them.

use std::time::Duration;

use api::{GoldenImage, NDJSON, Progress, Refusal};
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use tokio::sync::watch;

use super::answer::{Refused, json};
use crate::images::Step;

/// How often a client hears of progress at most.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// So many silent intervals are followed by a line that only shows that the client is still there.
const SILENT_INTERVALS_MAX: u32 = 10;

/// Answers once the body has been taken, with lines of progress and the result as the last.
///
/// A refusal before that is an answer of its own, so that a client need not look into the lines for it.
pub(super) async fn add_with_progress(
    adding: impl Future<Output = Result<GoldenImage, Refusal>> + Send + 'static,
    mut progress: watch::Receiver<Step>,
) -> Response {
    let mut adding = Box::pin(adding);
    tokio::select! {
        result = &mut adding => return match result {
            Ok(image) => json(StatusCode::CREATED, &Progress::GoldenImage(Box::new(image))).with_type(NDJSON),
            Err(refusal) => Refused(refusal).into_response(),
        },
        _ = progress.changed() => {}
    }
    let (sender, lines) = Channel::<Bytes>::new(1);
    tokio::spawn(tell(adding, progress, sender));
    (StatusCode::OK, [(header::CONTENT_TYPE, NDJSON)], Body::new(lines)).into_response()
}

trait WithType {
    fn with_type(self, media_type: &'static str) -> Self;
}

impl WithType for Response {
    fn with_type(mut self, media_type: &'static str) -> Self {
        self.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media_type));
        self
    }
}

/// Tells the client how it goes. When the client is gone, the import is dropped, and leaves nothing.
async fn tell(
    mut adding: impl Future<Output = Result<GoldenImage, Refusal>> + Unpin,
    progress: watch::Receiver<Step>,
    mut sender: Sender<Bytes>,
) {
    let mut silent = SILENT_INTERVALS_MAX;
    let mut told = None;
    loop {
        tokio::select! {
            result = &mut adding => {
                let last = result.map_or_else(Progress::Error, |image| Progress::GoldenImage(Box::new(image)));
                // Nobody left to hear it: the result stands all the same.
                let _ = sender.send_data(line(&last)).await;
                return;
            }
            () = tokio::time::sleep(PROGRESS_EVERY) => {}
        }
        let (phase, done_bytes, total_bytes) = *progress.borrow();
        silent += 1;
        if told == Some((phase, done_bytes)) && silent < SILENT_INTERVALS_MAX {
            continue;
        }
        silent = 0;
        told = Some((phase, done_bytes));
        if sender.send_data(line(&Progress::Step { phase, done_bytes, total_bytes })).await.is_err() {
            tracing::warn!("golden image not added: the client went away");
            return;
        }
    }
}

fn line(progress: &Progress) -> Bytes {
    let mut line = serde_json::to_vec(progress).unwrap_or_default();
    line.push(b'\n');
    line.into()
}
