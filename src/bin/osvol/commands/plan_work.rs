//! `osvol plan try`, `lint` and `revise`.

use std::collections::HashSet;
use std::path::Path;
use std::thread;

use api::{Name, PlanFinding, PlanTrial, ProfileAttribute, Revision, RevisionBody, Task};
use script::{Severity, Step, Values, placeholder};

use super::named::{Named, said};
use super::plan::pair;
use super::script::content;
use super::task::{LOOK_FIRST, LOOK_LAST, outcome};
use super::{counted, path};
use crate::args::artifacts::LintWords;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;

/// What stands for a value that a profile will give.
const STAND_IN: &str = "value";

/// Runs a plan, shows what happens as it does, and what the scripts printed.
pub(crate) fn try_out(
    name: &str,
    set: &[String],
    (hardware, keep): (Option<&str>, Option<&Name>),
    client: &Client,
    output: &Output,
) -> Result<(), Failure> {
    let attribute = |text: &String| {
        let (name, value) = pair(text)?;
        Ok(ProfileAttribute { name: name.to_owned(), value: Some(value.to_owned()) })
    };
    let trial = PlanTrial {
        os_custom_attributes: set.iter().map(attribute).collect::<Result<_, Failure>>()?,
        server_hardware_uri: hardware.map(str::to_owned),
        keep_as: keep.cloned(),
    };
    let begun = client.post::<Task>(&format!("{}/try", path(api::DEPLOYMENT_PLANS, name)), &trial)?;
    let at = path(api::TASKS, &begun.value.id);
    let task = watch(&at, client, output)?;
    if output.json {
        output.text(&client.get::<Task>(&at)?.json)?;
    } else {
        output.text(&script_log(&client.text(&format!("{at}/log"))?))?;
    }
    outcome(task).map(drop)
}

/// Follows a task to its end, its lines as they come.
fn watch(at: &str, client: &Client, output: &Output) -> Result<Task, Failure> {
    let (mut shown, mut pause) = (0, LOOK_FIRST);
    loop {
        let task = client.get::<Task>(at)?.value;
        for line in task.progress_updates.iter().skip(shown).filter(|_| !output.json) {
            output.text(&format!("{}  {}", line.timestamp, line.status_update))?;
        }
        shown = shown.max(task.progress_updates.len());
        if task.task_state.is_over() {
            return Ok(task);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LOOK_LAST);
    }
}

/// What of a task's log has not been shown yet.
fn script_log(log: &str) -> String {
    log.find("\n=== ").map(|at| log[at + 1..].to_owned()).unwrap_or_default()
}

/// Looks through scripts.
pub(crate) fn lint(words: &LintWords, client: &Client, output: &Output) -> Result<(), Failure> {
    let findings = match (&words.plan, &words.build_plan) {
        (Some(plan), _) => remote(api::DEPLOYMENT_PLANS, plan, client)?,
        (None, Some(plan)) => remote(api::BUILD_PLANS, plan, client)?,
        (None, None) => of_files(words)?,
    };
    match output.json {
        true => output.text(&serde_json::to_string_pretty(&findings).unwrap_or_default())?,
        false => findings.iter().try_for_each(|one| output.text(&line(one)))?,
    }
    let errors = findings.iter().filter(|one| one.severity == Severity::Error.as_str()).count();
    match u64::try_from(errors).unwrap_or(u64::MAX) {
        0 => Ok(()),
        errors => Err(Failure::Findings(format!("{} found", counted(errors, "error")))),
    }
}

fn remote(collection: &str, name: &str, client: &Client) -> Result<Vec<PlanFinding>, Failure> {
    Ok(client.get(&format!("{}/findings", path(collection, name)))?.value)
}

fn line(one: &PlanFinding) -> String {
    let place = match (one.step, one.line) {
        (0, _) => String::new(),
        (step, 0) => format!("step {step} ({}): ", one.script),
        (step, line) => format!("step {step} ({}), line {line}: ", one.script),
    };
    format!("{place}{}: {}", one.severity, one.message)
}

/// Without the daemon.
fn of_files(words: &LintWords) -> Result<Vec<PlanFinding>, Failure> {
    let step = |file: &std::path::PathBuf| {
        Ok(Step { name: named(file), content: content(file)?, has_attributes: !words.plain })
    };
    let steps: Vec<Step> = words.files.iter().map(step).collect::<Result<_, Failure>>()?;
    let mut values = Values::new();
    for text in &words.set {
        let (name, value) = pair(text)?;
        values.set(name, value, false);
    }
    if !words.set.is_empty() {
        fill_in(&steps, &mut values);
    }
    let values = (!words.set.is_empty()).then_some(values);
    let finding = |one: script::Finding| PlanFinding {
        step: one.step,
        script: one
            .step
            .checked_sub(1)
            .and_then(|at| steps.get(at))
            .map_or(String::new(), |s| s.name.clone()),
        line: one.line,
        severity: one.severity.as_str().to_owned(),
        message: one.message,
    };
    Ok(script::lint(&steps, values.as_ref()).into_iter().map(finding).collect())
}

/// What is not said has a value of some kind.
fn fill_in(steps: &[Step], values: &mut Values) {
    let used: HashSet<String> = steps
        .iter()
        .flat_map(|step| step.content.lines())
        .flat_map(placeholder::of_line)
        .filter(|one| one.default.is_none())
        .map(|one| one.full_name())
        .collect();
    for name in used {
        if values.get(&name).is_none() {
            values.set(&name, STAND_IN, false);
        }
    }
}

fn named(file: &Path) -> String {
    match file.file_name() {
        Some(name) if file != Path::new("-") => name.to_string_lossy().into_owned(),
        _ => "standard input".to_owned(),
    }
}

/// Makes a successor.
pub(crate) fn revise(
    kind: &Named,
    name: &str,
    with_users: bool,
    client: &Client,
    output: &Output,
) -> Result<(), Failure> {
    let at = format!("{}/revisions", kind.path(name));
    let made = client.post::<Vec<Revision>>(&at, &RevisionBody { with_users })?;
    let line = |one: &Revision| format!("{} succeeds {}", one.artifact.name, one.revision_of.name);
    let lines: Vec<String> = made.value.iter().map(line).collect();
    said(output, &made.json, &lines.join("\n"))
}
