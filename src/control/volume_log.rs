//! `/rest/os-volumes/archive/{x}`: what happened when a volume was deployed, and `/rest/tasks/{id}/log`: what its scripts said;
//! and the servers that volumes are said to be of.

use std::sync::Arc;

use api::{Code, StatelessServer, iso8601};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::answer::{Answer, json};
use super::claims::Claim;
use super::endpoint::{Access, Endpoint, get};
use super::refusals;
use super::state::Control;
use crate::catalog::deployment_logs::DeploymentLog;
use crate::catalog::tasks::LogLine;
use crate::catalog::{Kind, Result, Tx, deployment_logs, os_volumes, profiles};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        get(
            "/rest/os-volumes/archive/{id}",
            Access::View,
            "Log of an OS volume's deployment; the volume by name, id or path",
            archive,
        )
        .answers_media("text/plain"),
        get(
            "/rest/tasks/{id}/log",
            Access::View,
            "Log of a task, and of the plan scripts that it ran",
            task_log,
        )
        .answers_media("text/plain"),
        get(
            "/rest/stateless-servers/{id}",
            Access::View,
            "The server that an OS volume is of, as Image Streamer calls a profile",
            stateless_server,
        )
        .answers::<StatelessServer>(),
    ]
}

async fn archive(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    let info = match control.find_volume(&id).await {
        Ok(info) => info,
        // Its deployment may have failed.
        Err(refusal) if refusal.error_code == Code::NotFound => {
            let name = id.clone();
            let logs = control.read(move |tx| deployment_logs::of_name(tx, &name)).await?;
            return match logs.is_empty() {
                true => Err(refusal.into()),
                false => Ok(as_file(&id, scripts_of(&logs))),
            };
        }
        Err(refusal) => return Err(refusal.into()),
    };
    let claim = control.claim(&info).await?;
    let name = info.name.clone();
    let mut text = match claim {
        Claim::Profile(owner) => {
            let profile = owner.profile.map(|(id, _)| id.to_string()).unwrap_or_default();
            control.read(move |tx| log(tx, &profile, &name)).await?
        }
        Claim::InTheMaking(task) => format!("{name} is being made by task {task}\n"),
        Claim::Unclaimed => format!("{name} belongs to no profile, and nothing is known of its deployment\n"),
        Claim::Direct => format!("{name} was made directly at {}\n", iso8601(info.created_unix_ms)),
    };
    let volume = info.id.to_string();
    text += &scripts_of(&control.read(move |tx| deployment_logs::of_volume(tx, &volume)).await?);
    Ok(as_file(&info.name, text))
}

fn as_file(name: &str, text: String) -> Response {
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = name.chars().filter(plain).collect();
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.log\"")),
    ];
    (StatusCode::OK, headers, text).into_response()
}

/// What plan scripts said, the oldest first.
fn scripts_of(logs: &[DeploymentLog]) -> String {
    let one = |log: &DeploymentLog| {
        let end = if log.text.ends_with('\n') { "" } else { "\n" };
        let (at, volume, task) = (iso8601(log.at_ms), &log.volume_name, &log.task);
        format!("\n=== plan scripts on {volume}, ended {at}, task {task} ===\n{}{end}", log.text)
    };
    logs.iter().map(one).collect()
}

/// The task's own lines, and what its scripts said.
async fn task_log(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    let tasks = control.lifecycle.tasks().clone();
    let found = tokio::task::spawn_blocking(move || tasks.find(&id)).await;
    let found = found.map_err(|error| refusals::internal("the tasks", &error))?;
    let task = found.map_err(|error| refusals::of_catalog(&error))?;
    let id = task.id.to_string();
    let logs = control.read(move |tx| deployment_logs::of_task(tx, &id)).await?;
    let (at, state) = (iso8601(task.created_ms), task.state.as_str());
    let mut text = format!("{at} {} {:?}, asked by {}: {state}\n", task.name, task.subject.name, task.owner);
    for line in &task.log {
        text += &format!("  {} {}\n", iso8601(line.at_ms), line.text);
    }
    for error in &task.errors {
        text += &format!("  error: {}\n", error.message);
    }
    text += &scripts_of(&logs);
    Ok(as_file(&format!("task-{}", task.id), text))
}

/// The logs of the profile's tasks that speak of the volume, the oldest first.
fn log(tx: &Tx<'_>, profile: &str, volume: &str) -> Result<String> {
    let sql = "SELECT name, owner, state, created_ms, log FROM tasks
               WHERE resource_category = ?1 AND resource_id = ?2 AND instr(log, ?3) > 0 ORDER BY created_ms";
    let mut statement = tx.prepare_cached(sql)?;
    let mut rows = statement.query((Kind::ServerProfile.category(), profile, volume))?;
    let mut text = String::new();
    while let Some(row) = rows.next()? {
        let (name, owner, state): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        text += &format!("{} {name}, asked by {owner}: {state}\n", iso8601(row.get(3)?));
        let lines: Vec<LogLine> = serde_json::from_str(&row.get::<_, String>(4)?).unwrap_or_default();
        for line in lines {
            text += &format!("  {} {}\n", iso8601(line.at_ms), line.text);
        }
    }
    match text.is_empty() {
        true => Ok(format!("the log of {volume}'s deployment is not kept any more\n")),
        false => Ok(text),
    }
}

async fn stateless_server(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    let found = control.read(move |tx| {
        let profile = profiles::find(tx, &id)?;
        let volume = os_volumes::current(tx, profile.envelope.id)?;
        let id = profile.envelope.id;
        Ok(StatelessServer {
            kind: StatelessServer::KIND.to_owned(),
            category: StatelessServer::CATEGORY.to_owned(),
            uri: format!("{}/{id}", api::STATELESS_SERVERS),
            id: id.to_string(),
            name: profile.envelope.name.clone(),
            server_profile_name: profile.envelope.name,
            server_profile_uri: Kind::ServerProfile.uri(id),
            os_volume_uri: volume.map(|volume| Kind::OsVolume.uri(volume.id)),
        })
    });
    Ok(json(StatusCode::OK, &found.await?))
}
