//! `osvol hardware`: servers.

use api::{Collection, PowerState, PowerStateChange, ServerHardware};
use serde_json::{Map, Value};

use super::asking::{Asked, Came, ask};
use super::named::{Named, said, set, set_or_none};
use super::{facts, or_none};
use crate::args::placement::{Consent, HardwareCommand, HardwareFacts, Power};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{Column, Table};

const HARDWARE: Named = Named { collection: api::SERVER_HARDWARE, words: "server" };

pub(crate) fn run(command: &HardwareCommand, client: &Client, output: &Output) -> Result<(), Failure> {
    match command {
        HardwareCommand::Add { name, hardware_type, facts, power } => {
            let mut body = Map::new();
            set(&mut body, "name", Some(name));
            set(&mut body, "serverHardwareTypeUri", Some(hardware_type));
            set(&mut body, "powerState", Some(power_state(*power).as_str()));
            set_facts(&mut body, facts);
            HARDWARE.create(&Value::Object(body), "added", client, output)
        }
        HardwareCommand::List => list(client, output),
        HardwareCommand::Show { name } => show(name, client, output),
        HardwareCommand::Edit { name, rename, hardware_type, facts } => {
            let change = |body: &mut Map<String, Value>| {
                set(body, "name", rename.as_deref());
                set(body, "serverHardwareTypeUri", hardware_type.as_deref());
                set_facts(body, facts);
            };
            HARDWARE.edit(name, change, client, output)
        }
        HardwareCommand::Power { name, power } => record_power(name, *power, client, output),
        HardwareCommand::Remove { name, consent } => remove(name, *consent, client, output),
    }
}

fn set_facts(body: &mut Map<String, Value>, facts: &HardwareFacts) {
    set_or_none(body, "logicalEnclosureUri", facts.enclosure.as_deref());
    set_or_none(body, "initiatorName", facts.initiator.as_deref());
    set(body, "uuid", facts.uuid.as_deref());
    set(body, "serialNumber", facts.serial.as_deref());
    set(body, "description", facts.description.as_deref());
    if let Some(bay) = facts.bay {
        body.insert("position".to_owned(), bay.into());
    }
    if !facts.mac.is_empty() {
        body.insert("macAddresses".to_owned(), facts.mac.clone().into());
    }
}

fn power_state(power: Power) -> PowerState {
    match power {
        Power::On => PowerState::On,
        Power::Off => PowerState::Off,
        Power::Unknown => PowerState::Unknown,
    }
}

fn record_power(name: &str, power: Power, client: &Client, output: &Output) -> Result<(), Failure> {
    let change = PowerStateChange { power_state: power_state(power), power_control: None };
    let body = serde_json::to_value(&change).map_err(|error| client.protocol(error.to_string()))?;
    let reply = client.request("PUT", &format!("{}/powerState", HARDWARE.path(name)), &body)?;
    said(output, &reply.body, &format!("server {name} is recorded as {}", change.power_state.as_str()))
}

fn remove(name: &str, consent: Consent, client: &Client, output: &Output) -> Result<(), Failure> {
    let asked = Asked { method: "DELETE", path: &HARDWARE.path(name), body: &Value::Null };
    match ask(&asked, consent, client, output)? {
        Came::Shown => Ok(()),
        Came::Body(_) | Came::Task(_) if output.json => Ok(()),
        Came::Body(_) | Came::Task(_) => output.text(&format!("server {name} removed")),
    }
}

fn list(client: &Client, output: &Output) -> Result<(), Failure> {
    let answer = client.get::<Collection<ServerHardware>>(&HARDWARE.all())?;
    if output.json {
        return output.text(&answer.json);
    }
    let mut table = Table::new(&[
        Column::Left("NAME"),
        Column::Left("TYPE"),
        Column::Left("ENCLOSURE"),
        Column::Right("BAY"),
        Column::Left("POWER"),
        Column::Left("PROFILE"),
        Column::Cut("MAC ADDRESSES"),
        Column::Cut("INITIATOR"),
    ]);
    for one in answer.value.members {
        let names = one.resource_names;
        table.row(vec![
            one.head.name,
            names.server_hardware_type.unwrap_or_default(),
            or_dash(names.logical_enclosure),
            or_dash(one.position.map(|bay| bay.to_string())),
            one.power_state.as_str().to_owned(),
            or_dash(names.server_profile),
            or_dash(Some(one.mac_addresses.join(" ")).filter(|macs| !macs.is_empty())),
            or_dash(one.initiator_name),
        ]);
    }
    output.table(&table)
}

fn or_dash(value: Option<String>) -> String {
    value.unwrap_or_else(|| "-".to_owned())
}

fn show(name: &str, client: &Client, output: &Output) -> Result<(), Failure> {
    let answer = client.get::<ServerHardware>(&HARDWARE.path(name))?;
    if output.json {
        return output.text(&answer.json);
    }
    let one = answer.value;
    let names = one.resource_names;
    output.text(&facts(&[
        ("Name", one.head.name),
        ("Id", one.head.id),
        ("UUID", one.uuid),
        ("Serial number", or_none(one.serial_number)),
        ("Hardware type", names.server_hardware_type.unwrap_or_default()),
        ("Enclosure", or_none(names.logical_enclosure)),
        ("Bay", or_none(one.position.map(|bay| bay.to_string()))),
        ("Power", one.power_state.as_str().to_owned()),
        ("Profile", or_none(names.server_profile)),
        ("MAC addresses", or_none(Some(one.mac_addresses.join(", ")).filter(|macs| !macs.is_empty()))),
        ("Initiator name", one.initiator_name.unwrap_or_else(|| "its profile's".to_owned())),
        ("Description", one.head.description),
    ]))
}
