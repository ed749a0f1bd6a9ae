//! `/rest/tasks`.

use std::sync::Arc;

use api::{
    AssociatedResource, Code, Page, ProgressUpdate, Refusal, Task, TaskError, TaskState, iso8601, page_of,
};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;

use super::answer::{Answer, json};
use super::endpoint::{Access, Endpoint, get};
use super::refusals;
use super::state::Control;
use crate::catalog::{self, tasks, tasks::TaskRecord};
use crate::lifecycle::tasks::Tasks;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        get(api::TASKS, Access::View, "Tasks, the newest first", list)
            .paged()
            .answers::<api::Collection<Task>>(),
        get("/rest/tasks/{id}", Access::View, "A task", show).answers::<Task>(),
    ]
}

impl Control {
    /// Asks the tasks, which are further than what the catalog has of them, on a thread that may wait.
    async fn ask_tasks<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Tasks) -> catalog::Result<T> + Send + 'static,
    ) -> Result<T, Refusal> {
        let tasks = self.lifecycle.tasks().clone();
        match tokio::task::spawn_blocking(move || ask(&tasks)).await {
            Ok(answer) => answer.map_err(|error| refusals::of_catalog(&error)),
            Err(error) => Err(refusals::internal("the tasks", &error)),
        }
    }
}

/// A task as a resource: also the body of a 202.
pub(super) fn resource(task: TaskRecord) -> Task {
    let subject = task.subject;
    let status = match task.status.as_str() {
        "" => None,
        words => Some(words.to_owned()),
    };
    Task {
        kind: Task::KIND.to_owned(),
        category: Task::CATEGORY.to_owned(),
        id: task.id.to_string(),
        uri: format!("{}/{}", api::TASKS, task.id),
        name: task.name,
        owner: task.owner,
        task_state: state(task.state),
        task_status: task.status,
        state_reason: status,
        percent_complete: task.percent,
        computed_percent_complete: task.percent,
        task_errors: task.errors.into_iter().map(error).collect(),
        progress_updates: task
            .log
            .into_iter()
            .map(|line| ProgressUpdate { timestamp: iso8601(line.at_ms), status_update: line.text })
            .collect(),
        associated_resource: AssociatedResource {
            resource_uri: subject.id.map(|id| subject.kind.uri(id)),
            resource_name: subject.name,
            resource_category: subject.kind.category().to_owned(),
            association_type: "MANAGES".to_owned(),
        },
        created: iso8601(task.created_ms),
        modified: iso8601(task.modified_ms),
        e_tag: format!("{}/{}", task.modified_ms, task.revision),
    }
}

fn state(state: tasks::TaskState) -> TaskState {
    match state {
        tasks::TaskState::Running => TaskState::Running,
        tasks::TaskState::Completed => TaskState::Completed,
        tasks::TaskState::Warning => TaskState::Warning,
        tasks::TaskState::Error => TaskState::Error,
        tasks::TaskState::Terminated => TaskState::Terminated,
    }
}

fn error(refusal: Refusal) -> TaskError {
    TaskError {
        error_code: refusal.error_code,
        message: refusal.message.into(),
        details: refusal.details,
        recommended_actions: refusal.recommended_actions,
    }
}

async fn list(State(control): State<Arc<Control>>, query: Result<Query<Page>, QueryRejection>) -> Answer {
    let Query(mut query) = query?;
    let all = control.ask_tasks(Tasks::list).await?.into_iter().map(resource).collect();
    query.sort.get_or_insert_with(|| "created:descending".to_owned());
    let found = page_of(("TaskResourceCollection", Task::CATEGORY, api::TASKS), &query, all);
    let found = found.map_err(|error| Refusal::new(Code::MalformedRequest, error.to_string()))?;
    Ok(json(StatusCode::OK, &found))
}

async fn show(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    let task = control.ask_tasks(move |tasks| tasks.find(&id)).await?;
    Ok(json(StatusCode::OK, &resource(task)))
}
