//! Tasks: long work, in OneView's shape.

use serde::{Deserialize, Serialize};

/// A task (`/rest/tasks/{id}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// `TaskResourceV2`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `tasks`.
    pub category: String,
    /// The id, a UUID.
    pub id: String,
    /// Path of this resource.
    pub uri: String,
    /// `Create`, `Update`, `Delete`, …
    pub name: String,
    /// Who asked for it.
    pub owner: String,
    /// How it stands.
    pub task_state: TaskState,
    /// What it is at, or what came of it, in words.
    pub task_status: String,
    /// The same; clients read either.
    pub state_reason: Option<String>,
    /// How much is done.
    pub percent_complete: u8,
    /// The same.
    pub computed_percent_complete: u8,
    /// Why it failed.
    pub task_errors: Vec<TaskError>,
    /// What happened, line by line.
    pub progress_updates: Vec<ProgressUpdate>,
    /// What it is about.
    pub associated_resource: AssociatedResource,
    /// When it began.
    pub created: String,
    /// When it was last heard of.
    pub modified: String,
    /// Changes whenever the resource does.
    #[serde(rename = "eTag")]
    pub e_tag: String,
}

impl Task {
    /// The value of [`Task::kind`].
    pub const KIND: &'static str = "TaskResourceV2";
    /// The value of [`Task::category`].
    pub const CATEGORY: &'static str = "tasks";
}

/// State of a task, in OneView's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum TaskState {
    /// Under way.
    Running,
    /// Done.
    Completed,
    /// Done, with something to look at.
    Warning,
    /// Not done; its errors say why.
    Error,
    /// Ended because somebody asked.
    Terminated,
    /// A word of a newer daemon.
    #[serde(other)]
    Unknown,
}

impl TaskState {
    /// Whether nothing more comes of it.
    #[must_use]
    pub fn is_over(self) -> bool {
        match self {
            Self::Running | Self::Unknown => false,
            Self::Completed | Self::Warning | Self::Error | Self::Terminated => true,
        }
    }
}

impl std::fmt::Display for TaskState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Running => "Running",
            Self::Completed => "Completed",
            Self::Warning => "Warning",
            Self::Error => "Error",
            Self::Terminated => "Terminated",
            Self::Unknown => "Unknown",
        })
    }
}

/// Why a task failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskError {
    /// The kind, for programs.
    pub error_code: crate::Code,
    /// One sentence, for people.
    pub message: String,
    /// More of it.
    #[serde(default)]
    pub details: Option<String>,
    /// What to do.
    #[serde(default)]
    pub recommended_actions: Vec<String>,
}

/// A line of a task's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProgressUpdate {
    /// When.
    pub timestamp: String,
    /// What happened.
    pub status_update: String,
}

/// What a task is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssociatedResource {
    /// Its path; `null` before there is one.
    pub resource_uri: Option<String>,
    /// Its name.
    pub resource_name: String,
    /// Its collection.
    pub resource_category: String,
    /// `MANAGES`, as in OneView.
    pub association_type: String,
}
