//! `/rest/osvol/events`: the catalog's changes as server-sent events (WHATWG HTML §9.2).
//!
//! ```text
//!   event: change      data: {"changeType":"Updated","resourceCategory":"server-profiles",…}
//!   event: lagged      data: {"missed":17}       the client was too slow: it lists anew what it cares for
//!   : still here       every 15 s
//! ```

use std::sync::Arc;
use std::time::Duration;

use api::{Code, Event, EventKind, Refusal, iso8601};
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use http_body_util::channel::{Channel, Sender};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::actor::Actor;
use super::answer::Answer;
use super::endpoint::{Access, Endpoint, get};
use super::state::Control;
use crate::catalog::{Change, Changed, Kind};

/// A line that says nothing, so that whoever stands between does not take the stream for dead.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
/// Listeners at a time.
pub(super) const LISTENERS_MAX: usize = 256;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let sentence = "Changes of resources as they happen, as server-sent events: change and lagged";
    vec![get(api::EVENTS, Access::View, sentence, listen).answers_media("text/event-stream")]
}

async fn listen(State(control): State<Arc<Control>>, Extension(actor): Extension<Actor>) -> Answer {
    let Ok(place) = control.listeners.clone().try_acquire_owned() else {
        let message = format!("{LISTENERS_MAX} listen already; more cannot");
        return Err(Refusal::new(Code::TooMany, message).into());
    };
    let changes = control.catalog.subscribe();
    let (sender, lines) = Channel::<Bytes>::new(1);
    let sees_users = actor.may(Access::Administer);
    tokio::spawn(tell(changes, sender, control.stopping.subscribe(), sees_users, place));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    Ok((StatusCode::OK, headers, Body::new(lines)).into_response())
}

/// Tells a listener until it goes, or the daemon does.
async fn tell(
    mut changes: Receiver<Change>,
    mut sender: Sender<Bytes>,
    mut stopping: watch::Receiver<bool>,
    sees_users: bool,
    _place: OwnedSemaphorePermit,
) {
    loop {
        let line = tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            () = tokio::time::sleep(KEEP_ALIVE_EVERY) => Some(": still here\n\n".to_owned()),
            change = changes.recv() => match change {
                Ok(change) if change.kind == Kind::User && !sees_users => None,
                Ok(change) => Some(line(change)),
                Err(RecvError::Lagged(missed)) => Some(format!("event: lagged\ndata: {{\"missed\":{missed}}}\n\n")),
                Err(RecvError::Closed) => return,
            },
        };
        let Some(line) = line else { continue };
        // A client that does not read stops us here, and misses what is more than the catalog keeps.
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            sent = sender.send_data(line.into()) => if sent.is_err() { return },
        }
    }
}

fn line(change: Change) -> String {
    let event = Event {
        change_type: match change.changed {
            Changed::Created => EventKind::Created,
            Changed::Updated => EventKind::Updated,
            Changed::Deleted => EventKind::Deleted,
        },
        resource_category: change.kind.category().to_owned(),
        resource_uri: change.kind.uri(&change.id),
        resource_name: change.name,
        timestamp: iso8601(change.at_ms),
    };
    // JSON has no line feed outside of its texts, and none inside that is not escaped.
    let data = serde_json::to_string(&event).unwrap_or_default();
    format!("event: change\ndata: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_end_its_event() {
        let change = Change {
            kind: Kind::ServerProfile,
            id: "7".into(),
            name: "a\n\nevent: change".into(),
            changed: Changed::Created,
            at_ms: 0,
        };
        let text = line(change);
        assert_eq!(text.matches('\n').count(), 3, "{text}");
        assert!(text.starts_with(
            "event: change\ndata: {\"changeType\":\"Created\",\"resourceCategory\":\"server-profiles\""
        ));
        assert!(text.contains("\"resourceUri\":\"/rest/server-profiles/7\""));
    }
}
