//! `/rest/iscsi-sessions`: who is logged in.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use api::{Code, IscsiSession, Page, Refusal, iso8601, page_of};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use cow::VolumeId;

use super::answer::{Answer, json};
use super::endpoint::{Access, Endpoint, delete, get};
use super::state::Control;
use crate::exports::LoggedIn;

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Access::{EditProfiles, View};
    const ONE: &str = "/rest/iscsi-sessions/{tsih}";
    vec![
        get(api::ISCSI_SESSIONS, View, "Initiators that are logged in", list)
            .paged()
            .answers::<api::Collection<IscsiSession>>(),
        get(ONE, View, "An initiator that is logged in", show).answers::<IscsiSession>(),
        delete(ONE, EditProfiles, "Asks an initiator to log out, and ends its session", end),
    ]
}

impl Control {
    /// All sessions as resources.
    async fn iscsi_sessions(&self) -> Result<Vec<IscsiSession>, Refusal> {
        let sessions = self.exports.logged_in();
        let names = match sessions.iter().any(|(_, volume)| volume.is_some()) {
            true => self.blocking(cow::Store::volumes).await?,
            false => Vec::new(),
        };
        let names: HashMap<VolumeId, String> = names.into_iter().map(|info| (info.id, info.name)).collect();
        Ok(sessions.into_iter().map(|(session, volume)| resource(session, volume, &names)).collect())
    }

    async fn find_iscsi_session(&self, wanted: &str) -> Result<IscsiSession, Refusal> {
        let tsih = wanted.parse::<u16>().ok();
        let mut all = self.iscsi_sessions().await?.into_iter();
        all.find(|session| Some(session.tsih) == tsih).ok_or_else(|| {
            let message = format!("there is no session {wanted:?}");
            Refusal::new(Code::NotFound, message).action("osvol session list shows who is logged in")
        })
    }
}

fn resource(session: LoggedIn, volume: Option<VolumeId>, names: &HashMap<VolumeId, String>) -> IscsiSession {
    let tsih = session.tsih.0;
    let agreed = session.agreed.as_ref();
    IscsiSession {
        kind: IscsiSession::KIND.to_owned(),
        category: IscsiSession::CATEGORY.to_owned(),
        tsih,
        uri: format!("{}/{tsih}", api::ISCSI_SESSIONS),
        initiator_name: session.listing.initiator.to_string(),
        isid: session.listing.isid.to_string(),
        address: session.listing.address.to_string(),
        portal: session.portal.to_string(),
        target_name: session.target.map(|name| name.to_string()),
        volume_uri: volume.map(|volume| format!("{}/{volume}", api::OS_VOLUMES)),
        volume_name: volume.and_then(|volume| names.get(&volume).cloned()),
        chap_name: agreed.and_then(|agreed| agreed.chap_name.clone()),
        header_digest: agreed.is_some_and(|agreed| agreed.header_digest),
        data_digest: agreed.is_some_and(|agreed| agreed.data_digest),
        created: iso8601(unix_ms(session.listing.since)),
    }
}

fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(0)
}

async fn list(State(control): State<Arc<Control>>, query: Result<Query<Page>, QueryRejection>) -> Answer {
    let Query(mut query) = query?;
    query.sort.get_or_insert_with(|| "created:ascending".to_owned());
    let kind = ("IscsiSessionCollection", IscsiSession::CATEGORY, api::ISCSI_SESSIONS);
    let found = page_of(kind, &query, control.iscsi_sessions().await?);
    let found = found.map_err(|error| Refusal::new(Code::MalformedRequest, error.to_string()))?;
    Ok(json(StatusCode::OK, &found))
}

async fn show(State(control): State<Arc<Control>>, Path(tsih): Path<String>) -> Answer {
    Ok(json(StatusCode::OK, &control.find_iscsi_session(&tsih).await?))
}

/// The initiator may log in again at once, if it still may: to keep it out is a matter of the volume's access.
async fn end(State(control): State<Arc<Control>>, Path(tsih): Path<String>) -> Answer {
    let session = control.find_iscsi_session(&tsih).await?;
    tracing::info!(initiator = session.initiator_name, tsih = session.tsih, "a session is ended on request");
    control.exports.end_session(iscsi::Tsih(session.tsih)).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}
