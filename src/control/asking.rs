//! What may lose data is asked in one form: as a dry run, with a confirmation, or as it is. Answers are the impact, a task,
//! or a refusal that has the impact.

use std::sync::Arc;

use api::{Code, Impact, Refusal, truth};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;

use super::actor::Actor;
use super::answer::{Answer, json};
use super::endpoint::Endpoint;
use super::state::Control;
use super::{refusals, tasks};
use crate::catalog::Kind;
use crate::catalog::tasks::TaskState;
use crate::lifecycle::{self, Ask, Consent, Request};

/// The query of everything that may lose data.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct AskQuery {
    dry_run: String,
    confirmation_token: Option<String>,
    force: String,
    while_in_use: String,
}

/// What came of something that was waited for.
pub(super) enum Done {
    /// Nothing was changed: this would happen.
    Preview(Impact),
    /// It is done.
    Finished,
}

impl AskQuery {
    /// Names the parameters in an endpoint's entry.
    pub(super) fn describe(endpoint: Endpoint) -> Endpoint {
        endpoint
            .query("dryRun", "true: only the impact, and nothing is changed")
            .query("confirmationToken", "Of the impact: proceed, if things are as they were then")
            .query("force", "True: proceed, although data is lost")
            .query("whileInUse", "true: also while initiators are logged in or the server runs")
    }

    /// Whether only the impact is wanted.
    pub(super) fn dry_run(&self) -> Result<bool, Refusal> {
        flag("dryRun", &self.dry_run)
    }

    /// As the lifecycle service takes it.
    pub(super) fn ask(self, actor: &Actor, if_match: Option<String>) -> Result<Ask, Refusal> {
        Ok(Ask {
            actor: actor.name.clone(),
            dry_run: flag("dryRun", &self.dry_run)?,
            consent: Consent {
                force: flag("force", &self.force)?,
                token: self.confirmation_token.filter(|token| !token.is_empty()),
                while_in_use: flag("whileInUse", &self.while_in_use)?,
            },
            if_match,
        })
    }
}

fn flag(name: &str, text: &str) -> Result<bool, Refusal> {
    match text {
        "" => Ok(false),
        text => truth::parse(text)
            .map_err(|error| Refusal::new(Code::InvalidValue, format!("{name}: {error}")).source(name)),
    }
}

impl Control {
    /// Asks for something, and answers with its task as soon as it has begun.
    pub(super) async fn begin(&self, request: Request, ask: Ask) -> Answer {
        match self.lifecycle.ask(request, ask).await? {
            lifecycle::Answer::Preview(impact) => Ok(json(StatusCode::OK, &impact)),
            lifecycle::Answer::Begun { task, .. } => {
                let location = [(header::LOCATION, Kind::Task.uri(task))];
                let tasks = self.lifecycle.tasks().clone();
                let found = tokio::task::spawn_blocking(move || tasks.find(&task.to_string())).await;
                let record = found.map_err(|error| refusals::internal("the tasks", &error))?;
                let record = record.map_err(|error| refusals::of_catalog(&error))?;
                Ok((location, json(StatusCode::ACCEPTED, &tasks::resource(record))).into_response())
            }
        }
    }

    /// Asks for something, and waits until it is done.
    pub(super) async fn carry_out(self: &Arc<Self>, request: Request, ask: Ask) -> Result<Done, Refusal> {
        match self.lifecycle.ask(request, ask).await? {
            lifecycle::Answer::Preview(impact) => Ok(Done::Preview(impact)),
            lifecycle::Answer::Begun { task, .. } => {
                let record = self.lifecycle.finished(task).await?;
                match (record.state, record.errors.into_iter().next()) {
                    (TaskState::Completed | TaskState::Warning, _) => Ok(Done::Finished),
                    (_, Some(refusal)) => Err(refusal),
                    (_, None) => Err(refusals::internal("the task", &record.status)),
                }
            }
        }
    }
}

/// Another way to say proceed, beside the query.
pub(super) fn forced_by(mut ask: Ask, forced: bool) -> Ask {
    ask.consent.force |= forced;
    ask
}
