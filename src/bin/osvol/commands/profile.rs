//! `osvol profile`.

use std::fs;
use std::path::Path;

use api::{ChapLevel, Collection, Generation, ServerProfile, Task};
use config::Size;
use serde_json::{Map, Value, json};

use super::asking::{Asked, Came, ask};
use super::named::{Named, set, set_or_none};
use super::{facts, health, or_none};
use crate::args::placement::{Consent, ProfileCommand, ProfileSettings};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{Column, Table};

const PROFILES: Named = Named { collection: api::SERVER_PROFILES, words: "profile" };
/// How often a profile is read again that somebody else changes at the same time.
const READ_AGAIN_MAX: u32 = 5;
/// Largest file of a value or a secret.
const VALUE_BYTES_MAX: u64 = 64 << 10;

pub(crate) fn run(command: &ProfileCommand, client: &Client, output: &Output) -> Result<(), Failure> {
    match command {
        ProfileCommand::Create { name, hardware, plan, settings, consent } => {
            let mut body = Map::new();
            set(&mut body, "name", Some(name));
            set(&mut body, "serverHardwareUri", hardware.as_deref());
            set_plan(&mut body, plan.as_deref());
            set_settings(&mut body, settings)?;
            let asked = Asked { method: "POST", path: api::SERVER_PROFILES, body: &Value::Object(body) };
            told(ask(&asked, *consent, client, output)?, name, "created", client, output)
        }
        ProfileCommand::Assign { name, hardware, consent } => {
            let change = |body: &mut Map<String, Value>| {
                set(body, "serverHardwareUri", Some(hardware));
                Ok(())
            };
            put(name, change, *consent, &format!("assigned to {hardware}"), client, output)
        }
        ProfileCommand::Unassign { name, consent } => {
            let change = |body: &mut Map<String, Value>| {
                body.insert("serverHardwareUri".to_owned(), Value::Null);
                Ok(())
            };
            put(name, change, *consent, "unassigned", client, output)
        }
        ProfileCommand::Edit { name, rename, plan, no_attribute, settings, consent } => {
            let change = |body: &mut Map<String, Value>| {
                set(body, "name", rename.as_deref());
                set_plan(body, plan.as_deref());
                drop_attributes(body, no_attribute);
                set_settings(body, settings)
            };
            put(name, change, *consent, "changed", client, output)
        }
        ProfileCommand::List => list(client, output),
        ProfileCommand::Show { name } => show(name, client, output),
        ProfileCommand::Generations { name } => generations(name, client, output),
        ProfileCommand::Rollback { name, generation, consent } => {
            let path = format!("{}/generations/{generation}/rollback", PROFILES.path(name));
            let asked = Asked { method: "POST", path: &path, body: &Value::Null };
            let what = format!("rolled back to generation {generation}");
            told(ask(&asked, *consent, client, output)?, name, &what, client, output)
        }
        ProfileCommand::Redeploy { name, consent } => {
            let path = format!("{}/redeploy", PROFILES.path(name));
            let asked = Asked { method: "POST", path: &path, body: &Value::Null };
            told(ask(&asked, *consent, client, output)?, name, "deployed anew", client, output)
        }
        ProfileCommand::Remove { name, consent } => {
            let asked = Asked { method: "DELETE", path: &PROFILES.path(name), body: &Value::Null };
            match ask(&asked, *consent, client, output)? {
                Came::Shown => Ok(()),
                Came::Body(_) | Came::Task(_) if output.json => Ok(()),
                Came::Body(_) | Came::Task(_) => output.text(&format!("profile {name} removed")),
            }
        }
    }
}

/// Reads the profile, changes it, and asks for what comes of it. The eTag that was read goes along, so that nobody's change
/// in between is overwritten: then it is read anew, and what comes of it is shown anew.
fn put(
    name: &str,
    change: impl Fn(&mut Map<String, Value>) -> Result<(), Failure>,
    consent: Consent,
    what: &str,
    client: &Client,
    output: &Output,
) -> Result<(), Failure> {
    let mut last = Failure::Unsteady;
    for _ in 0..READ_AGAIN_MAX {
        let mut changed = Ok(());
        let body = PROFILES.changed(name, |body| changed = change(body), client)?;
        changed?;
        let asked = Asked { method: "PUT", path: &PROFILES.path(name), body: &body };
        let now = body["name"].as_str().unwrap_or(name);
        match ask(&asked, consent, client, output) {
            Ok(came) => return told(came, now, what, client, output),
            Err(failure) if failure.is_stale("eTag") => last = failure,
            Err(failure) => return Err(failure),
        }
    }
    Err(last)
}

/// What came of it: the profile as it is now.
fn told(came: Came, name: &str, what: &str, client: &Client, output: &Output) -> Result<(), Failure> {
    let path = match &came {
        Came::Shown => return Ok(()),
        Came::Task(task) => task_subject(task).unwrap_or_else(|| PROFILES.path(name)),
        Came::Body(_) => PROFILES.path(name),
    };
    let now = client.get::<ServerProfile>(&path)?;
    if output.json {
        return output.text(&now.json);
    }
    let volume = now.value.resource_names.os_volume;
    let volume = match (volume, &now.value.status_reason) {
        (Some(volume), _) => format!("; its volume is {volume}"),
        (None, Some(reason)) => format!("; {reason}"),
        (None, None) => String::new(),
    };
    output.text(&format!("profile {} {what}{volume}", now.value.head.name))
}

fn task_subject(task: &Task) -> Option<String> {
    task.associated_resource.resource_uri.clone()
}

fn settings_of(body: &mut Map<String, Value>) -> &mut Value {
    let settings = body.entry("osDeploymentSettings").or_insert_with(|| json!({}));
    if !settings.is_object() {
        *settings = json!({});
    }
    settings
}

/// Another plan has other attributes: those of the old one go with it.
fn set_plan(body: &mut Map<String, Value>, plan: Option<&str>) {
    match plan {
        None => {}
        Some("none") => {
            body.insert("osDeploymentSettings".to_owned(), Value::Null);
        }
        Some(plan) => {
            body.insert("osDeploymentSettings".to_owned(), json!({ "osDeploymentPlanUri": plan }));
        }
    }
}

fn drop_attributes(body: &mut Map<String, Value>, names: &[String]) {
    if names.is_empty() {
        return;
    }
    if let Some(values) = settings_of(body)["osCustomAttributes"].as_array_mut() {
        let dropped = |value: &Value| {
            names.iter().any(|name| value["name"].as_str().is_some_and(|n| n.eq_ignore_ascii_case(name)))
        };
        values.retain(|value| !dropped(value));
    }
}

fn set_settings(body: &mut Map<String, Value>, settings: &ProfileSettings) -> Result<(), Failure> {
    set(body, "description", settings.description.as_deref());
    set(body, "serverHardwareTypeUri", settings.hardware_type.as_deref());
    set(body, "enclosureGroupUri", settings.enclosure_group.as_deref());
    match settings.initiator.as_deref() {
        Some("auto") => {
            body.insert("iscsiInitiatorName".to_owned(), Value::Null);
            body.insert("iscsiInitiatorNameType".to_owned(), "AutoGenerated".into());
        }
        Some(name) => {
            body.insert("iscsiInitiatorNameType".to_owned(), "UserDefined".into());
            set_or_none(body, "iscsiInitiatorName", Some(name));
        }
        None => {}
    }
    for (name, value) in &settings.attribute {
        set_attribute(body, name, value);
    }
    for (name, file) in &settings.attribute_file {
        set_attribute(body, name, &value_in(Path::new(file))?);
    }
    set_chap(body, settings)
}

fn set_attribute(body: &mut Map<String, Value>, name: &str, value: &str) {
    let values = &mut settings_of(body)["osCustomAttributes"];
    if !values.is_array() {
        *values = json!([]);
    }
    if let Some(values) = values.as_array_mut() {
        values.retain(|old| !old["name"].as_str().is_some_and(|old| old.eq_ignore_ascii_case(name)));
        values.push(json!({ "name": name, "value": value }));
    }
}

fn set_chap(body: &mut Map<String, Value>, settings: &ProfileSettings) -> Result<(), Failure> {
    let level = match (settings.chap.as_deref(), &settings.mutual_chap) {
        (Some("none"), _) => {
            body.insert("iscsiChap".to_owned(), json!({ "chapLevel": "None" }));
            return Ok(());
        }
        (None, None) if settings.chap_secret_file.is_none() && settings.mutual_chap_secret_file.is_none() => {
            return Ok(());
        }
        (_, Some(_)) => Some("MutualChap"),
        (Some(_), None) => Some("Chap"),
        (None, None) => None,
    };
    let chap = body.entry("iscsiChap").or_insert_with(|| json!({}));
    if let Some(level) = level {
        chap["chapLevel"] = level.into();
    }
    if let Some(name) = &settings.chap {
        chap["chapName"] = name.as_str().into();
    }
    if let Some(name) = &settings.mutual_chap {
        chap["mutualChapName"] = name.as_str().into();
    }
    if let Some(file) = &settings.chap_secret_file {
        chap["chapSecret"] = value_in(file)?.into();
    }
    if let Some(file) = &settings.mutual_chap_secret_file {
        chap["mutualChapSecret"] = value_in(file)?.into();
    }
    Ok(())
}

/// A file's text, without the line end that editors put there.
fn value_in(path: &Path) -> Result<String, Failure> {
    use std::io::Read;
    let mut text = String::new();
    let file = fs::File::open(path).map_err(Failure::file("read", path))?;
    file.take(VALUE_BYTES_MAX).read_to_string(&mut text).map_err(Failure::file("read", path))?;
    Ok(text
        .strip_suffix('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
        .unwrap_or(&text)
        .to_owned())
}

fn list(client: &Client, output: &Output) -> Result<(), Failure> {
    let answer = client.get::<Collection<ServerProfile>>(&PROFILES.all())?;
    if output.json {
        return output.text(&answer.json);
    }
    let mut table = Table::new(&[
        Column::Left("NAME"),
        Column::Left("STATE"),
        Column::Left("HEALTH"),
        Column::Left("HARDWARE"),
        Column::Cut("PLAN"),
        Column::Left("VOLUME"),
        Column::Cut("INITIATOR"),
    ]);
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    for one in answer.value.members {
        let names = one.resource_names;
        table.row(vec![
            one.head.name,
            one.head.state,
            one.head.status.to_string(),
            or_dash(names.server_hardware),
            or_dash(names.deployment_plan),
            or_dash(names.os_volume),
            one.effective_initiator_name,
        ]);
    }
    output.table(&table)
}

fn show(name: &str, client: &Client, output: &Output) -> Result<(), Failure> {
    let answer = client.get::<ServerProfile>(&PROFILES.path(name))?;
    if output.json {
        return output.text(&answer.json);
    }
    let one = answer.value;
    let names = one.resource_names;
    let state = match &one.status_reason {
        Some(reason) => format!("{} ({reason})", one.head.state),
        None => one.head.state.clone(),
    };
    let mut text = facts(&[
        ("Name", one.head.name.clone()),
        ("Id", one.head.id.clone()),
        ("State", state),
        ("Health", health(one.head.status, None)),
        ("Hardware", names.server_hardware.unwrap_or_else(|| "none: unassigned".to_owned())),
        ("Hardware type", or_none(names.server_hardware_type)),
        ("Enclosure", or_none(names.logical_enclosure)),
        ("Enclosure group", or_none(names.enclosure_group)),
        ("Plan", or_none(names.deployment_plan)),
        ("Volume", or_none(names.os_volume)),
        ("Initiator", one.effective_initiator_name.clone()),
        ("CHAP", chap_words(&one.iscsi_chap)),
        ("Description", one.head.description.clone()),
    ]);
    let attributes = one.os_deployment_settings.map(|settings| settings.os_custom_attributes);
    for attribute in attributes.into_iter().flatten() {
        let value = attribute.value.unwrap_or_else(|| "(not shown)".to_owned());
        text += &format!("Attribute:       {} = {value}\n", attribute.name);
    }
    output.text(&text)
}

fn chap_words(chap: &api::IscsiChap) -> String {
    let name = chap.chap_name.as_deref().unwrap_or_default();
    match chap.chap_level {
        ChapLevel::None => "none".to_owned(),
        ChapLevel::Chap => format!("the server proves that it is {name}"),
        ChapLevel::MutualChap => {
            let target = chap.mutual_chap_name.as_deref().unwrap_or_default();
            format!("the server proves that it is {name}, and the target that it is {target}")
        }
    }
}

fn generations(name: &str, client: &Client, output: &Output) -> Result<(), Failure> {
    let answer = client.get::<Vec<Generation>>(&format!("{}/generations", PROFILES.path(name)))?;
    if output.json {
        return output.text(&answer.json);
    }
    let mut table = Table::new(&[
        Column::Right("GENERATION"),
        Column::Left("VOLUME"),
        Column::Left("STATE"),
        Column::Right("ALLOCATED"),
        Column::Left("DEPLOYED"),
    ]);
    for one in answer.value {
        table.row(vec![
            one.generation.to_string(),
            one.volume_name,
            if one.current { "current" } else { "kept" }.to_owned(),
            one.allocated_bytes.map_or_else(|| "-".to_owned(), |bytes| Size::from_bytes(bytes).to_string()),
            one.created,
        ]);
    }
    output.table(&table)
}
