//! `osvol plan build`.

use api::{AttributeType, BuildPlan, Collection};
use serde_json::{Map, Value, json};

use super::named::{Named, set};
use super::plan::{attributes, copied, pair, put, set_of, yes_no};
use super::{facts, plan_work};
use crate::args::artifacts::{BuildCommand, BuildType, BuildWords};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{Column, Table};

const PLANS: Named = Named { collection: api::BUILD_PLANS, words: "build plan" };

pub(crate) fn run(command: &BuildCommand, client: &Client, output: &Output) -> Result<(), Failure> {
    match command {
        BuildCommand::Create { name, kind, words } => {
            let mut body = Map::new();
            set(&mut body, "name", Some(name.as_str()));
            let kind = match kind {
                BuildType::Deploy => "deploy",
                BuildType::Capture => "capture",
            };
            set(&mut body, "oeBuildPlanType", Some(kind));
            say(&mut body, words)?;
            PLANS.create(&Value::Object(body), "created", client, output)
        }
        BuildCommand::List => list(client, output),
        BuildCommand::Show { name } => show(name, client, output),
        BuildCommand::Edit { name, rename, words } => {
            let mut said = Ok(());
            let change = |body: &mut Map<String, Value>| {
                set(body, "name", rename.as_deref());
                said = say(body, words);
            };
            let changed = PLANS.changed(name, change, client)?;
            said?;
            put(&PLANS, name, &changed, client, output)
        }
        BuildCommand::Revise { name, with_users } => {
            plan_work::revise(&PLANS, name, *with_users, client, output)
        }
        BuildCommand::Copy { name, copy } => copied(&PLANS, name, copy, client, output),
        BuildCommand::Remove { name } => PLANS.remove(name, client, output),
    }
}

/// What was said of steps, attributes and the rest.
fn say(body: &mut Map<String, Value>, words: &BuildWords) -> Result<(), Failure> {
    set(body, "description", words.description.as_deref());
    if !words.script.is_empty() {
        let step = |(index, script): (usize, &String)| json!({ "serialNumber": (index + 1).to_string(), "planScriptUri": script, "parameters": null });
        let steps: Vec<_> = words.script.iter().enumerate().map(step).collect();
        body.insert("buildStep".to_owned(), steps.into());
    }
    let attributes = body.entry("customAttributes").or_insert_with(|| json!([]));
    let Value::Array(attributes) = attributes else { return Ok(()) };
    for text in &words.attribute {
        let (name, kind, value) = typed(text)?;
        set_of(attributes, name, "type", kind.as_str().into());
        match (kind, value) {
            (AttributeType::Nic, _) => set_of(attributes, name, "value", Value::Null),
            (_, Some(value)) => set_of(attributes, name, "value", value.into()),
            (_, None) => {}
        }
    }
    for text in &words.constraints {
        let (name, json) = pair(text)?;
        set_of(attributes, name, "constraints", json.into());
    }
    Ok(())
}

/// `NAME:TYPE=VALUE`, split.
fn typed(text: &str) -> Result<(&str, AttributeType, Option<&str>), Failure> {
    let bad = || Failure::BadAttribute(text.to_owned());
    let (name, rest) = text.split_once(':').ok_or_else(bad)?;
    let (kind, value) = match rest.split_once('=') {
        Some((kind, value)) => (kind, Some(value)),
        None => (rest, None),
    };
    Ok((name, AttributeType::from_word(kind).ok_or_else(bad)?, value))
}

fn list(client: &Client, output: &Output) -> Result<(), Failure> {
    let answer = client.get::<Collection<BuildPlan>>(&PLANS.all())?;
    if output.json {
        return output.text(&answer.json);
    }
    let mut table = Table::new(&[
        Column::Cut("NAME"),
        Column::Left("TYPE"),
        Column::Right("STEPS"),
        Column::Right("ATTRIBUTES"),
        Column::Left("READ-ONLY"),
        Column::Right("PLANS"),
    ]);
    for plan in answer.value.members {
        table.row(vec![
            plan.head.name,
            plan.oe_build_plan_type.to_string(),
            plan.build_step.len().to_string(),
            plan.custom_attributes.len().to_string(),
            yes_no(plan.hp_provided),
            plan.dependent_artifacts.len().to_string(),
        ]);
    }
    output.table(&table)
}

fn show(name: &str, client: &Client, output: &Output) -> Result<(), Failure> {
    let answer = client.get::<BuildPlan>(&PLANS.path(name))?;
    if output.json {
        return output.text(&answer.json);
    }
    let plan = answer.value;
    let users: Vec<_> = plan.dependent_artifacts.into_iter().map(|user| user.name).collect();
    let mut text = facts(&[
        ("Name", plan.head.name),
        ("Id", plan.head.id),
        ("Description", plan.head.description),
        ("Type", plan.oe_build_plan_type.to_string()),
        ("Read-only", yes_no(plan.hp_provided)),
        ("Used by", if users.is_empty() { "no deployment plan".to_owned() } else { users.join(", ") }),
        ("Changed", plan.head.modified),
    ]);
    for step in &plan.build_step {
        text += &format!("Step {}: {}\n", step.serial_number, step.plan_script_name);
    }
    text += &attributes(&plan.custom_attributes);
    output.text(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_has_a_name_a_type_and_maybe_a_value() {
        assert_eq!(typed("A:number=5").unwrap(), ("A", AttributeType::Number, Some("5")));
        assert_eq!(typed("A:option=a=b").unwrap(), ("A", AttributeType::Option, Some("a=b")));
        assert_eq!(typed("NIC1:nic").unwrap(), ("NIC1", AttributeType::Nic, None));
        assert!(typed("A").is_err() && typed("A:nonsense").is_err());
    }
}
