//! `osvol task`, and following the tasks of other commands.

use std::io::{IsTerminal, stderr};
use std::thread;
use std::time::Duration;

use api::{Code, Collection, Refusal, Task, TaskState};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{facts, path};
use crate::args::placement::TaskCommand;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{Column, Table};

/// Between two looks at a task: often at first, because most end at once.
pub(super) const LOOK_FIRST: Duration = Duration::from_millis(20);
pub(super) const LOOK_LAST: Duration = Duration::from_secs(1);
/// Digits of an id in a table; enough to tell tasks apart.
const ID_DIGITS: usize = 8;

pub(crate) fn run(command: &TaskCommand, client: &Client, output: &Output) -> Result<(), Failure> {
    match command {
        TaskCommand::List { running } => list(*running, client, output),
        TaskCommand::Show { id } => show(id, client, output),
        TaskCommand::Log { id } => {
            output.text(&client.text(&format!("{}/log", path(api::TASKS, &resolve(id, client)?)))?)
        }
        TaskCommand::Follow { id } => {
            let task = follow(&resolve(id, client)?, client, output)?;
            match output.json {
                true => print(&task, client, output),
                false => output.text(&format!("{}: {}", title(&task), task.task_state)),
            }
        }
    }
}

fn list(running: bool, client: &Client, output: &Output) -> Result<(), Failure> {
    let filter = if running { "&filter=taskState=Running" } else { "" };
    let query = format!("{}?start=0&count=-1&sort=created:descending{filter}", api::TASKS);
    let answer = client.get::<Collection<Task>>(&query)?;
    if output.json {
        return output.text(&answer.json);
    }
    let mut table = Table::new(&[
        Column::Left("ID"),
        Column::Left("TASK"),
        Column::Left("OF"),
        Column::Cut("NAME"),
        Column::Left("STATE"),
        Column::Right("DONE"),
        Column::Left("BY"),
        Column::Left("BEGAN"),
        Column::Cut("WHAT"),
    ]);
    for task in answer.value.members {
        table.row(vec![
            task.id.chars().take(ID_DIGITS).collect(),
            task.name,
            task.associated_resource.resource_category,
            task.associated_resource.resource_name,
            task.task_state.to_string(),
            format!("{}%", task.computed_percent_complete),
            task.owner,
            task.created,
            task.task_status,
        ]);
    }
    output.table(&table)
}

fn show(id: &str, client: &Client, output: &Output) -> Result<(), Failure> {
    let answer = client.get::<Task>(&path(api::TASKS, &resolve(id, client)?))?;
    if output.json {
        return output.text(&answer.json);
    }
    let task = answer.value;
    let mut text = facts(&[
        ("Task", title(&task)),
        ("Id", task.id.clone()),
        ("State", format!("{}, {}%", task.task_state, task.computed_percent_complete)),
        ("Asked by", task.owner.clone()),
        ("Began", task.created.clone()),
        ("Last heard of", task.modified.clone()),
    ]);
    for error in &task.task_errors {
        text += &format!("Error: {}\n", error.message);
        for line in error.details.iter().flat_map(|details| details.lines()) {
            text += &format!("  {line}\n");
        }
        for action in &error.recommended_actions {
            text += &format!("  what to do: {action}\n");
        }
    }
    if !task.progress_updates.is_empty() {
        text += "\n";
    }
    for line in &task.progress_updates {
        text += &format!("{}  {}\n", line.timestamp, line.status_update);
    }
    output.text(&text)
}

/// `Update server-profiles web01`
fn title(task: &Task) -> String {
    let about = &task.associated_resource;
    format!("{} {} {:?}", task.name, about.resource_category, about.resource_name)
}

fn print(task: &Task, client: &Client, output: &Output) -> Result<(), Failure> {
    output.text(&serde_json::to_string(task).map_err(|error| client.protocol(error.to_string()))?)
}

/// A whole id of the start of one.
fn resolve(id: &str, client: &Client) -> Result<String, Failure> {
    let id = id.strip_prefix(api::TASKS).and_then(|rest| rest.strip_prefix('/')).unwrap_or(id);
    if id.len() >= 32 {
        return Ok(id.to_owned());
    }
    let all = client.get::<Collection<Task>>(&format!("{}?start=0&count=-1", api::TASKS))?.value.members;
    let mut found = all.into_iter().filter(|task| !id.is_empty() && task.id.starts_with(id));
    match (found.next(), found.next()) {
        (Some(task), None) => Ok(task.id),
        (Some(_), Some(_)) => {
            Err(refused(Code::InvalidValue, format!("several tasks begin with {id:?}; give more of the id")))
        }
        (None, _) => Err(refused(Code::NotFound, format!("there is no task {id:?}"))),
    }
}

fn refused(code: Code, message: String) -> Failure {
    Failure::Refused(Box::new(Refusal::new(code, message).action("osvol task list shows what there is")))
}

/// Waits for a task's end; one that failed is a refusal.
pub(crate) fn follow(id: &str, client: &Client, output: &Output) -> Result<Task, Failure> {
    let meter = Meter::new(output.json);
    let mut pause = LOOK_FIRST;
    loop {
        let task = client.get::<Task>(&path(api::TASKS, id))?.value;
        meter.at(&task);
        if task.task_state.is_over() {
            meter.finish();
            return outcome(task);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LOOK_LAST);
    }
}

pub(super) fn outcome(task: Task) -> Result<Task, Failure> {
    match task.task_state {
        TaskState::Completed | TaskState::Warning => Ok(task),
        TaskState::Error | TaskState::Terminated | TaskState::Running | TaskState::Unknown => {
            let show = format!("osvol task show {} shows what happened", task.id);
            let refusal = match task.task_errors.into_iter().next() {
                Some(error) => {
                    let mut refusal = Refusal::new(error.error_code, error.message);
                    refusal.details = error.details;
                    refusal.recommended_actions = error.recommended_actions;
                    refusal
                }
                None => Refusal::new(Code::Unknown, task.task_status),
            };
            Err(Failure::Refused(Box::new(refusal.action(show))))
        }
    }
}

/// How far a task is: a bar on a terminal, nothing elsewhere.
struct Meter(Option<ProgressBar>);

impl Meter {
    fn new(silent: bool) -> Self {
        if silent || !stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::new(100);
        bar.set_draw_target(ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("[{bar:30}] {percent:>3}% {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(Some(bar))
    }

    fn at(&self, task: &Task) {
        if let Some(bar) = &self.0 {
            bar.set_position(task.computed_percent_complete.into());
            bar.set_message(task.task_status.clone());
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
