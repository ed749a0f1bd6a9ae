//! `osvol plan script`.

use std::fs;
use std::io::{Read, stdin};
use std::path::Path;

use api::{Collection, PlanScript, ScriptDifferences};
use serde_json::{Map, Value};

use super::named::{Named, set};
use super::plan::{copied, yes_no};
use super::{facts, path, plan_work};
use crate::args::artifacts::{ScriptCommand, ScriptType};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{Column, Table};

const SCRIPTS: Named = Named { collection: api::PLAN_SCRIPTS, words: "plan script" };

pub(crate) fn run(command: &ScriptCommand, client: &Client, output: &Output) -> Result<(), Failure> {
    match command {
        ScriptCommand::Create { name, file, kind, read_only, description } => {
            let mut body = Map::new();
            set(&mut body, "name", Some(name.as_str()));
            set(&mut body, "planType", Some(word(*kind)));
            set(&mut body, "content", Some(&content(file)?));
            set(&mut body, "description", description.as_deref());
            body.insert("hpProvided".to_owned(), Value::Bool(*read_only));
            SCRIPTS.create(&Value::Object(body), "created", client, output)
        }
        ScriptCommand::List => list(client, output),
        ScriptCommand::Show { name, content } => show(name, *content, client, output),
        ScriptCommand::Edit { name, rename, file, kind, description } => {
            let content = file.as_deref().map(content).transpose()?;
            let change = |body: &mut Map<String, Value>| {
                set(body, "name", rename.as_deref());
                set(body, "content", content.as_deref());
                set(body, "planType", kind.map(word));
                set(body, "description", description.as_deref());
            };
            SCRIPTS.edit(name, change, client, output)
        }
        ScriptCommand::Diff { name, file } => diff(name, &content(file)?, client, output),
        ScriptCommand::Revise { name, with_users } => {
            plan_work::revise(&SCRIPTS, name, *with_users, client, output)
        }
        ScriptCommand::Copy { name, copy } => copied(&SCRIPTS, name, copy, client, output),
        ScriptCommand::Remove { name } => SCRIPTS.remove(name, client, output),
    }
}

fn word(kind: ScriptType) -> &'static str {
    match kind {
        ScriptType::Deploy => "deploy",
        ScriptType::Capture => "capture",
        ScriptType::General => "general",
    }
}

/// The text of a file, or of standard input.
pub(super) fn content(file: &Path) -> Result<String, Failure> {
    if file != Path::new("-") {
        return fs::read_to_string(file).map_err(Failure::file("read", file));
    }
    let mut text = String::new();
    stdin().read_to_string(&mut text).map_err(Failure::file("read", file))?;
    Ok(text)
}

fn list(client: &Client, output: &Output) -> Result<(), Failure> {
    let answer = client.get::<Collection<PlanScript>>(&SCRIPTS.all())?;
    if output.json {
        return output.text(&answer.json);
    }
    let mut table = Table::new(&[
        Column::Cut("NAME"),
        Column::Left("TYPE"),
        Column::Right("BYTES"),
        Column::Left("READ-ONLY"),
        Column::Right("BUILD PLANS"),
        Column::Cut("DESCRIPTION"),
    ]);
    for one in answer.value.members {
        table.row(vec![
            one.head.name,
            one.plan_type.to_string(),
            one.content.len().to_string(),
            yes_no(one.hp_provided),
            one.dependent_artifacts.len().to_string(),
            one.head.description.lines().next().unwrap_or_default().to_owned(),
        ]);
    }
    output.table(&table)
}

fn show(name: &str, only_content: bool, client: &Client, output: &Output) -> Result<(), Failure> {
    let answer = client.get::<PlanScript>(&SCRIPTS.path(name))?;
    if output.json {
        return output.text(&answer.json);
    }
    let one = answer.value;
    if only_content {
        return output.text(&one.content);
    }
    let users: Vec<_> = one.dependent_artifacts.into_iter().map(|user| user.name).collect();
    let text = facts(&[
        ("Name", one.head.name),
        ("Id", one.head.id),
        ("Description", one.head.description),
        ("Type", one.plan_type.to_string()),
        ("Read-only", yes_no(one.hp_provided)),
        ("Used by", if users.is_empty() { "no build plan".to_owned() } else { users.join(", ") }),
        ("Changed", one.head.modified),
    ]);
    output.text(&format!("{text}\n{}", one.content))
}

fn diff(name: &str, content: &str, client: &Client, output: &Output) -> Result<(), Failure> {
    let at = path(&format!("{}/differences", api::PLAN_SCRIPTS), name);
    let answer = client.post::<ScriptDifferences>(&at, &content)?;
    if output.json {
        return output.text(&answer.json);
    }
    let found = answer.value;
    let listed = |names: Vec<String>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    output.text(&facts(&[
        ("Content", if found.content_changed { "another" } else { "the same" }.to_owned()),
        ("Attributes added", listed(found.ca_added)),
        ("Attributes removed", listed(found.ca_removed)),
        ("Defaults changed", listed(found.default_value_changed)),
    ]))
}
