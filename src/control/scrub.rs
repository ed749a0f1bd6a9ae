//! `/rest/osvol/scrub`.

use std::sync::Arc;

use api::{Code, Refusal};
use axum::extract::State;
use axum::http::StatusCode;

use super::answer::{Answer, json};
use super::endpoint::{Access, Endpoint, get, post};
use super::refusals;
use super::state::Control;
use crate::service::Scrubber;

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Access::{Administer, View};
    vec![
        get(api::SCRUB, View, "How the scrub stands", show).answers::<api::Scrub>(),
        post("/rest/osvol/scrub/start", Administer, "Begins a pass of the scrub", start)
            .answers::<api::Scrub>(),
        post("/rest/osvol/scrub/stop", Administer, "Stops the pass that runs", stop).answers::<api::Scrub>(),
    ]
}

impl Control {
    /// Asks the scrub on a thread that may wait for it.
    pub(super) async fn ask_scrub<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Scrubber) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let scrub = self.scrub.clone();
        let asked = tokio::task::spawn_blocking(move || ask(&scrub)).await;
        asked.map_err(|error| refusals::internal("the scrub", &error))
    }
}

pub(super) async fn show(State(control): State<Arc<Control>>) -> Answer {
    Ok(json(StatusCode::OK, &control.ask_scrub(Scrubber::status).await?))
}

pub(super) async fn start(State(control): State<Arc<Control>>) -> Answer {
    if !control.ask_scrub(Scrubber::begin).await? {
        let refusal = Refusal::new(Code::InUse, "a pass of the scrub runs already");
        return Err(refusal.action("osvol scrub status shows how far it is").into());
    }
    tracing::info!("scrub: a pass was asked for");
    show(State(control)).await
}

pub(super) async fn stop(State(control): State<Arc<Control>>) -> Answer {
    if !control.ask_scrub(Scrubber::stop).await? {
        return Err(Refusal::new(Code::InvalidValue, "no pass of the scrub runs").into());
    }
    show(State(control)).await
}
