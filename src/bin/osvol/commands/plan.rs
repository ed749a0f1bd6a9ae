//! `osvol plan`: deployment plans. Scripts and build plans have files of their own.

use api::{Collection, CustomAttribute, DeploymentPlan, GoldenImage, Title};
use serde_json::{Map, Value, json};

use super::named::{Named, said, set};
use super::{build_plan, facts, or_none, path, plan_work, script, seed};
use crate::args::artifacts::{PlanCommand, PlanWords};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{Column, Table};

const PLANS: Named = Named { collection: api::DEPLOYMENT_PLANS, words: "deployment plan" };

pub(crate) fn run(command: Option<&PlanCommand>, client: &Client, output: &Output) -> Result<(), Failure> {
    match command {
        None | Some(PlanCommand::List) => list(client, output),
        Some(PlanCommand::Create { name, build_plan, image, words }) => {
            let mut body = Map::new();
            set(&mut body, "name", Some(name.as_str()));
            set(&mut body, "oeBuildPlanURI", Some(build_plan));
            set(&mut body, "goldenImageURI", image.as_deref());
            say(&mut body, words)?;
            PLANS.create(&Value::Object(body), "created", client, output)
        }
        Some(PlanCommand::Show { name }) => show(name, client, output),
        Some(PlanCommand::Edit { name, rename, build_plan, image, words }) => {
            let mut said = Ok(());
            let change = |body: &mut Map<String, Value>| {
                set(body, "name", rename.as_deref());
                set(body, "oeBuildPlanURI", build_plan.as_deref());
                super::named::set_or_none(body, "goldenImageURI", image.as_deref());
                said = say(body, words);
            };
            let changed = PLANS.changed(name, change, client)?;
            said?;
            put(&PLANS, name, &changed, client, output)
        }
        Some(PlanCommand::Copy { name, copy }) => copied(&PLANS, name, copy, client, output),
        Some(PlanCommand::Remove { name }) => PLANS.remove(name, client, output),
        Some(PlanCommand::Try { name, set, hardware, keep }) => {
            plan_work::try_out(name, set, (hardware.as_deref(), keep.as_ref()), client, output)
        }
        Some(PlanCommand::Lint(words)) => plan_work::lint(words, client, output),
        Some(PlanCommand::Revise { name }) => plan_work::revise(&PLANS, name, false, client, output),
        Some(PlanCommand::Script(command)) => script::run(command, client, output),
        Some(PlanCommand::Build(command)) => build_plan::run(command, client, output),
    }
}

/// Sends a changed resource, and says so.
pub(super) fn put(
    kind: &Named,
    name: &str,
    changed: &Value,
    client: &Client,
    output: &Output,
) -> Result<(), Failure> {
    let reply = client.request("PUT", &kind.path(name), changed)?;
    let now = changed["name"].as_str().unwrap_or(name);
    said(output, &reply.body, &format!("{} {now} changed", kind.words))
}

/// Makes a resource like another one, which can be edited.
pub(super) fn copied(
    kind: &Named,
    name: &str,
    copy: &Title,
    client: &Client,
    output: &Output,
) -> Result<(), Failure> {
    let like = |body: &mut Map<String, Value>| {
        set(body, "name", Some(copy.as_str()));
        body.insert("hpProvided".to_owned(), Value::Bool(false));
        body.remove("eTag");
    };
    let new = kind.changed(name, like, client)?;
    kind.create(&new, "created", client, output)?;
    let secret = |one: &&Value| one["type"].as_str() == Some("password");
    let attributes = new["customAttributes"].as_array().into_iter().flatten().filter(secret);
    let names: Vec<_> = attributes.filter_map(|one| one["name"].as_str()).collect();
    if !names.is_empty() {
        eprintln!("osvol: passwords are not copied; the copy has none of its own for {}", names.join(", "));
    }
    Ok(())
}

/// `NAME=VALUE`, split.
pub(super) fn pair(text: &str) -> Result<(&str, &str), Failure> {
    text.split_once('=').ok_or_else(|| Failure::BadPair(text.to_owned()))
}

/// What was said of attributes and the rest.
fn say(body: &mut Map<String, Value>, words: &PlanWords) -> Result<(), Failure> {
    set(body, "description", words.description.as_deref());
    if let Some(keep) = words.keep {
        body.insert("keepGenerations".to_owned(), keep.into());
    }
    seed::say(body, &words.seed)?;
    let attributes = body.entry("customAttributes").or_insert_with(|| json!([]));
    let Value::Array(attributes) = attributes else { return Ok(()) };
    for text in &words.set {
        let (name, value) = pair(text)?;
        set_of(attributes, name, "value", value.into());
    }
    let mut flags = |names: &[String], visible: bool, editable: bool| {
        for name in names {
            set_of(attributes, name, "visible", visible.into());
            set_of(attributes, name, "editable", editable.into());
        }
    };
    flags(&words.hide, false, false);
    flags(&words.lock, true, false);
    flags(&words.open, true, true);
    Ok(())
}

/// Sets a field of an attribute of a list, which is added if it is not there.
pub(super) fn set_of(attributes: &mut Vec<Value>, name: &str, field: &str, value: Value) {
    let same = |one: &Value| one["name"].as_str().is_some_and(|known| known.eq_ignore_ascii_case(name));
    let at = attributes.iter().position(same).unwrap_or_else(|| {
        attributes.push(json!({ "name": name }));
        attributes.len() - 1
    });
    attributes[at][field] = value;
}

/// Names by paths, for tables.
fn names<T: serde::de::DeserializeOwned>(
    collection: &str,
    client: &Client,
    of: impl Fn(T) -> (String, String),
) -> Result<std::collections::HashMap<String, String>, Failure> {
    let all = client.get::<Collection<T>>(&format!("{collection}?start=0&count=-1"))?.value.members;
    Ok(all.into_iter().map(of).collect())
}

fn list(client: &Client, output: &Output) -> Result<(), Failure> {
    let answer = client.get::<Collection<DeploymentPlan>>(&PLANS.all())?;
    if output.json {
        return output.text(&answer.json);
    }
    let images = names(api::GOLDEN_IMAGES, client, |image: GoldenImage| (image.uri, image.name))?;
    let builds = names(api::BUILD_PLANS, client, |plan: api::BuildPlan| (plan.head.uri, plan.head.name))?;
    let mut table = Table::new(&[
        Column::Cut("NAME"),
        Column::Cut("GOLDEN IMAGE"),
        Column::Cut("BUILD PLAN"),
        Column::Right("KEEP"),
        Column::Left("READ-ONLY"),
        Column::Right("PROFILES"),
    ]);
    for plan in answer.value.members {
        let image = plan.golden_image_uri.map(|uri| images.get(&uri).cloned().unwrap_or(uri));
        table.row(vec![
            plan.head.name,
            or_none(image),
            builds.get(&plan.oe_build_plan_uri).cloned().unwrap_or(plan.oe_build_plan_uri),
            plan.keep_generations.to_string(),
            yes_no(plan.hp_provided),
            plan.dependent_artifacts.len().to_string(),
        ]);
    }
    output.table(&table)
}

pub(super) fn yes_no(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

fn show(name: &str, client: &Client, output: &Output) -> Result<(), Failure> {
    let answer = client.get::<DeploymentPlan>(&PLANS.path(name))?;
    if output.json {
        return output.text(&answer.json);
    }
    let plan = answer.value;
    let build_plan = client.get::<api::BuildPlan>(&path(api::BUILD_PLANS, &plan.oe_build_plan_uri))?.value;
    let image = match &plan.golden_image_uri {
        Some(uri) => Some(client.get::<GoldenImage>(&path(api::GOLDEN_IMAGES, uri))?.value.name),
        None => None,
    };
    let users: Vec<_> = plan.dependent_artifacts.into_iter().map(|user| user.name).collect();
    let mut text = facts(&[
        ("Name", plan.head.name),
        ("Id", plan.head.id),
        ("Description", plan.head.description),
        ("Golden image", or_none(image)),
        ("Build plan", build_plan.head.name),
        ("Keeps", format!("{} former generations", plan.keep_generations)),
        ("Seed", or_none(plan.cloud_init.as_ref().map(seed::told))),
        ("Read-only", yes_no(plan.hp_provided)),
        ("Revision", plan.revision.to_string()),
        ("Used by", if users.is_empty() { "no profile".to_owned() } else { users.join(", ") }),
        ("Changed", plan.head.modified),
    ]);
    text += &attributes(&plan.custom_attributes);
    output.text(&text)
}

/// A table of attributes.
pub(super) fn attributes(attributes: &[CustomAttribute]) -> String {
    if attributes.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        Column::Left("ATTRIBUTE"),
        Column::Left("TYPE"),
        Column::Left("VALUE"),
        Column::Left("PROFILES"),
        Column::Left("CONSTRAINTS"),
    ]);
    for one in attributes {
        let profiles = match (one.visible, one.editable) {
            (None, None) => "",
            (Some(false), _) => "do not see it",
            (_, Some(false)) => "see it",
            _ => "change it",
        };
        table.row(vec![
            one.name.clone(),
            one.kind.to_string(),
            one.value.clone().unwrap_or_default(),
            profiles.to_owned(),
            one.constraints.clone(),
        ]);
    }
    format!("\n{}", table.render(None))
}
