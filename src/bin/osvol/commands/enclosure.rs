//! `osvol enclosure`: logical enclosures.

use api::{Collection, LogicalEnclosure};
use serde_json::{Map, Value};

use super::asking::{Asked, Came, ask};
use super::facts;
use super::named::{Named, said, set};
use crate::args::placement::{Consent, EnclosureCommand};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{Column, Table};

const ENCLOSURES: Named = Named { collection: api::LOGICAL_ENCLOSURES, words: "enclosure" };

pub(crate) fn run(command: &EnclosureCommand, client: &Client, output: &Output) -> Result<(), Failure> {
    match command {
        EnclosureCommand::Create { name, group, description } => {
            let mut body = Map::new();
            set(&mut body, "name", Some(name));
            set(&mut body, "enclosureGroupUri", Some(group));
            set(&mut body, "description", description.as_deref());
            ENCLOSURES.create(&Value::Object(body), "created", client, output)
        }
        EnclosureCommand::List => list(client, output),
        EnclosureCommand::Show { name } => show(name, client, output),
        EnclosureCommand::Edit { name, rename, description } => {
            let change = |body: &mut Map<String, Value>| {
                set(body, "name", rename.as_deref());
                set(body, "description", description.as_deref());
            };
            ENCLOSURES.edit(name, change, client, output)
        }
        EnclosureCommand::Move { name, to, consent } => shift(name, to, *consent, client, output),
        EnclosureCommand::Remove { name, consent } => remove(name, *consent, client, output),
    }
}

fn shift(name: &str, to: &str, consent: Consent, client: &Client, output: &Output) -> Result<(), Failure> {
    let change = |body: &mut Map<String, Value>| set(body, "enclosureGroupUri", Some(to));
    let body = ENCLOSURES.changed(name, change, client)?;
    let asked = Asked { method: "PUT", path: &ENCLOSURES.path(name), body: &body };
    let words = format!("enclosure {name} is in group {to} now; its volumes are as they were");
    match ask(&asked, consent, client, output)? {
        Came::Shown => Ok(()),
        Came::Body(body) => said(output, &body, &words),
        Came::Task(_) => said(output, &client.get::<Value>(&ENCLOSURES.path(name))?.json, &words),
    }
}

fn remove(name: &str, consent: Consent, client: &Client, output: &Output) -> Result<(), Failure> {
    let asked = Asked { method: "DELETE", path: &ENCLOSURES.path(name), body: &Value::Null };
    match ask(&asked, consent, client, output)? {
        Came::Shown => Ok(()),
        Came::Body(_) | Came::Task(_) if output.json => Ok(()),
        Came::Body(_) | Came::Task(_) => output.text(&format!("enclosure {name} removed")),
    }
}

fn list(client: &Client, output: &Output) -> Result<(), Failure> {
    let answer = client.get::<Collection<LogicalEnclosure>>(&ENCLOSURES.all())?;
    if output.json {
        return output.text(&answer.json);
    }
    let mut table = Table::new(&[Column::Left("NAME"), Column::Left("GROUP"), Column::Cut("DESCRIPTION")]);
    for one in answer.value.members {
        let group = one.resource_names.enclosure_group.unwrap_or_default();
        table.row(vec![one.head.name, group, one.head.description]);
    }
    output.table(&table)
}

fn show(name: &str, client: &Client, output: &Output) -> Result<(), Failure> {
    let answer = client.get::<LogicalEnclosure>(&ENCLOSURES.path(name))?;
    if output.json {
        return output.text(&answer.json);
    }
    let one = answer.value;
    output.text(&facts(&[
        ("Name", one.head.name),
        ("Id", one.head.id),
        ("Enclosure group", one.resource_names.enclosure_group.unwrap_or_default()),
        ("Description", one.head.description),
        ("Created", one.head.created),
    ]))
}
