//! What `create`, `edit`, `show` and `remove` of named resources have in common. A resource is read, changed and sent as it
//! came, so that nothing that this command line does not know is lost.

use serde_json::{Map, Value};

use super::path;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;

/// A kind of resource that this command line names.
pub(crate) struct Named {
    pub(crate) collection: &'static str,
    /// What people call one.
    pub(crate) words: &'static str,
}

impl Named {
    pub(crate) fn path(&self, name: &str) -> String {
        path(self.collection, name)
    }

    /// All of them, as they came.
    pub(crate) fn all(&self) -> String {
        format!("{}?start=0&count=-1", self.collection)
    }

    /// Makes one, and says so.
    pub(crate) fn create(
        &self,
        body: &Value,
        done: &str,
        client: &Client,
        output: &Output,
    ) -> Result<(), Failure> {
        let made = client.post::<Value>(self.collection, body)?;
        let name = made.value["name"].as_str().unwrap_or_default();
        said(output, &made.json, &format!("{} {name} {done}", self.words))
    }

    /// Reads one, changes it and sends it back.
    pub(crate) fn edit(
        &self,
        name: &str,
        change: impl FnOnce(&mut Map<String, Value>),
        client: &Client,
        output: &Output,
    ) -> Result<(), Failure> {
        let changed = self.changed(name, change, client)?;
        let reply = client.request("PUT", &self.path(name), &changed)?;
        let now = changed["name"].as_str().unwrap_or(name);
        said(output, &reply.body, &format!("{} {now} changed", self.words))
    }

    /// One as it would be when it was changed.
    pub(crate) fn changed(
        &self,
        name: &str,
        change: impl FnOnce(&mut Map<String, Value>),
        client: &Client,
    ) -> Result<Value, Failure> {
        match client.get::<Value>(&self.path(name))?.value {
            Value::Object(mut resource) => {
                change(&mut resource);
                Ok(Value::Object(resource))
            }
            _ => Err(client.protocol("a resource that is no JSON object")),
        }
    }

    pub(crate) fn remove(&self, name: &str, client: &Client, output: &Output) -> Result<(), Failure> {
        client.delete(&self.path(name))?;
        match output.json {
            true => Ok(()),
            false => output.text(&format!("{} {name} removed", self.words)),
        }
    }
}

/// The answer for programs, or words for people.
pub(crate) fn said(output: &Output, json: &str, words: &str) -> Result<(), Failure> {
    match output.json {
        true => output.text(json),
        false => output.text(words),
    }
}

/// Sets a field that was given.
pub(crate) fn set(resource: &mut Map<String, Value>, field: &str, value: Option<&str>) {
    if let Some(value) = value {
        resource.insert(field.to_owned(), value.into());
    }
}

/// Sets a field that was given, where `none` takes it away.
pub(crate) fn set_or_none(resource: &mut Map<String, Value>, field: &str, value: Option<&str>) {
    match value {
        Some("none") => resource.insert(field.to_owned(), Value::Null),
        Some(value) => resource.insert(field.to_owned(), value.into()),
        None => None,
    };
}
