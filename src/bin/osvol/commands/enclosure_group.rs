//! `osvol enclosure-group`.

use api::{Collection, EnclosureGroup};
use serde_json::{Map, Value, json};

use super::facts;
use super::named::{Named, set};
use crate::args::placement::EnclosureGroupCommand;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{Column, Table};

const GROUPS: Named = Named { collection: api::ENCLOSURE_GROUPS, words: "enclosure group" };

pub(crate) fn run(command: &EnclosureGroupCommand, client: &Client, output: &Output) -> Result<(), Failure> {
    match command {
        EnclosureGroupCommand::Create { name, no_deployment, description } => {
            let mut body = Map::new();
            set(&mut body, "name", Some(name));
            set(&mut body, "description", description.as_deref());
            set_deployment(&mut body, Some(!no_deployment));
            GROUPS.create(&Value::Object(body), "created", client, output)
        }
        EnclosureGroupCommand::List => list(client, output),
        EnclosureGroupCommand::Show { name } => show(name, client, output),
        EnclosureGroupCommand::Edit { name, rename, deployment, description } => {
            let change = |body: &mut Map<String, Value>| {
                set(body, "name", rename.as_deref());
                set(body, "description", description.as_deref());
                set_deployment(body, *deployment);
            };
            GROUPS.edit(name, change, client, output)
        }
        EnclosureGroupCommand::Remove { name } => GROUPS.remove(name, client, output),
    }
}

fn set_deployment(body: &mut Map<String, Value>, manages: Option<bool>) {
    let Some(manages) = manages else { return };
    let settings = body.entry("osDeploymentSettings").or_insert_with(|| json!({}));
    settings["manageOSDeployment"] = manages.into();
}

fn words(group: &EnclosureGroup) -> String {
    match group.os_deployment_settings.manage_os_deployment {
        true => "yes".to_owned(),
        false => "no".to_owned(),
    }
}

fn list(client: &Client, output: &Output) -> Result<(), Failure> {
    let answer = client.get::<Collection<EnclosureGroup>>(&GROUPS.all())?;
    if output.json {
        return output.text(&answer.json);
    }
    let mut table =
        Table::new(&[Column::Left("NAME"), Column::Left("OS DEPLOYMENT"), Column::Cut("DESCRIPTION")]);
    for group in answer.value.members {
        let deployment = words(&group);
        table.row(vec![group.head.name, deployment, group.head.description]);
    }
    output.table(&table)
}

fn show(name: &str, client: &Client, output: &Output) -> Result<(), Failure> {
    let answer = client.get::<EnclosureGroup>(&GROUPS.path(name))?;
    if output.json {
        return output.text(&answer.json);
    }
    let deployment = words(&answer.value);
    let head = answer.value.head;
    output.text(&facts(&[
        ("Name", head.name),
        ("Id", head.id),
        ("OS deployment", deployment),
        ("Description", head.description),
        ("Created", head.created),
    ]))
}
