//! `osvol hardware-type`.

use api::{Collection, ServerHardwareType};
use serde_json::{Map, Value};

use super::facts;
use super::named::{Named, set};
use crate::args::placement::HardwareTypeCommand;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{Column, Table};

const TYPES: Named = Named { collection: api::SERVER_HARDWARE_TYPES, words: "hardware type" };

pub(crate) fn run(command: &HardwareTypeCommand, client: &Client, output: &Output) -> Result<(), Failure> {
    match command {
        HardwareTypeCommand::Create { name, model, description } => {
            let mut body = Map::new();
            set(&mut body, "name", Some(name));
            set(&mut body, "model", model.as_deref());
            set(&mut body, "description", description.as_deref());
            TYPES.create(&Value::Object(body), "created", client, output)
        }
        HardwareTypeCommand::List => list(client, output),
        HardwareTypeCommand::Show { name } => show(name, client, output),
        HardwareTypeCommand::Edit { name, rename, model, description } => {
            let change = |body: &mut Map<String, Value>| {
                set(body, "name", rename.as_deref());
                set(body, "model", model.as_deref());
                set(body, "description", description.as_deref());
            };
            TYPES.edit(name, change, client, output)
        }
        HardwareTypeCommand::Remove { name } => TYPES.remove(name, client, output),
    }
}

fn list(client: &Client, output: &Output) -> Result<(), Failure> {
    let answer = client.get::<Collection<ServerHardwareType>>(&TYPES.all())?;
    if output.json {
        return output.text(&answer.json);
    }
    let mut table = Table::new(&[Column::Left("NAME"), Column::Left("MODEL"), Column::Cut("DESCRIPTION")]);
    for one in answer.value.members {
        table.row(vec![one.head.name, one.model, one.head.description]);
    }
    output.table(&table)
}

fn show(name: &str, client: &Client, output: &Output) -> Result<(), Failure> {
    let answer = client.get::<ServerHardwareType>(&TYPES.path(name))?;
    if output.json {
        return output.text(&answer.json);
    }
    let one = answer.value;
    output.text(&facts(&[
        ("Name", one.head.name),
        ("Id", one.head.id),
        ("Model", one.model),
        ("Description", one.head.description),
        ("Created", one.head.created),
    ]))
}
