//! What the handlers of OneView's resources share.

use api::{Code, Collection, Extra, Head, Health, Page, Refusal, iso8601};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer::json;
use crate::catalog::{self, Envelope, Error, Kind, Tx};

/// Fields of every resource that the server fills in, and that are no input when they come back.
const FILLED: [&str; 8] = ["type", "category", "id", "uri", "status", "state", "created", "modified"];
/// Most operations of one PATCH.
const OPERATIONS_MAX: usize = 64;

/// The first fields of a resource.
pub(super) fn head(
    kind: Kind,
    type_name: &str,
    envelope: &Envelope,
    (status, state): (Health, &str),
) -> Head {
    Head {
        kind: type_name.to_owned(),
        category: kind.category().to_owned(),
        id: envelope.id.to_string(),
        uri: kind.uri(envelope.id),
        name: envelope.name.clone(),
        description: envelope.description.clone(),
        status,
        state: state.to_owned(),
        created: iso8601(envelope.created_ms),
        modified: iso8601(envelope.modified_ms),
        e_tag: envelope.e_tag(),
    }
}

/// What every list can be filtered and sorted by.
pub(super) fn head_field(kind: Kind, envelope: &Envelope, field: &str) -> Option<String> {
    match field {
        "name" => Some(envelope.name.clone()),
        "description" => Some(envelope.description.clone()),
        "id" => Some(envelope.id.to_string()),
        "uri" => Some(kind.uri(envelope.id)),
        "created" => Some(iso8601(envelope.created_ms)),
        "modified" => Some(iso8601(envelope.modified_ms)),
        "category" => Some(kind.category().to_owned()),
        _ => None,
    }
}

/// A client's own field, where it is a plain value.
pub(super) fn extra_field(extra: &Extra, field: &str) -> Option<String> {
    match extra.get(field)? {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Takes out of a client's fields what the server fills in.
pub(super) fn without_filled(mut extra: Extra, also: &[&str]) -> Extra {
    for field in FILLED.iter().chain(also) {
        extra.remove(*field);
    }
    extra
}

/// A page of rows as resources. Only those of the page are made.
pub(super) fn listed<T: Clone, R>(
    (type_name, kind): (&str, Kind),
    query: &Page,
    rows: Vec<T>,
    field: impl Fn(&T, &str) -> Option<String>,
    resource: impl FnMut(T) -> catalog::Result<R>,
) -> catalog::Result<Collection<R>> {
    let uri = format!("/rest/{}", kind.category());
    let found = api::page((type_name, kind.category(), &uri), query, rows, field);
    found.map_err(|error| Error::invalid("filter", error.to_string()))?.try_map(resource)
}

/// The eTag that a change is made to: the header's, or else the body's own. `*` asks for no check.
pub(super) fn if_match(headers: &HeaderMap, body: Option<String>) -> Option<String> {
    let header = headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok());
    header.map(str::to_owned).or(body)
}

/// 201 with a resource that was made.
pub(super) fn created(uri: &str, resource: &impl Serialize) -> Response {
    ([(header::LOCATION, uri.to_owned())], json(StatusCode::CREATED, resource)).into_response()
}

/// The id that a reference in a body means, with the field at fault if it means none.
pub(super) fn named<T>(field: &str, found: catalog::Result<T>) -> catalog::Result<T> {
    found.map_err(|error| match error {
        Error::NotFound { kind, reference, near } => {
            let near = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
            Error::invalid(field, format!("there is no {kind} {reference:?}{near}"))
        }
        other => other,
    })
}

/// An operation of a PATCH (RFC 6902), as many of them as OneView's clients send.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(super) struct Operation {
    /// What to do.
    op: Op,
    /// Where: `/description`, `/osDeploymentSettings/forceOsDeployment`.
    path: String,
    /// The new value; none for `remove`.
    #[serde(default)]
    value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Op {
    Add,
    Replace,
    Remove,
}

impl Operation {
    /// The value that a PATCH gives to one field, if that is all that it does.
    pub(super) fn only(operations: &[Self], path: &str) -> Option<Value> {
        match operations {
            [one] if one.path == path && one.op != Op::Remove => Some(one.value.clone()),
            _ => None,
        }
    }
}

/// A resource as a PATCH would have it, to be read like the body of a PUT.
pub(super) fn patched(resource: &impl Serialize, operations: &[Operation]) -> Result<Value, Refusal> {
    let internal = |error: serde_json::Error| Refusal::new(Code::Internal, error.to_string());
    let mut body = serde_json::to_value(resource).map_err(internal)?;
    if operations.len() > OPERATIONS_MAX {
        let message = format!("a PATCH has at most {OPERATIONS_MAX} operations");
        return Err(Refusal::new(Code::InvalidValue, message));
    }
    for operation in operations {
        apply(&mut body, operation)?;
    }
    Ok(body)
}

fn apply(body: &mut Value, operation: &Operation) -> Result<(), Refusal> {
    let refuse =
        |message: String| Err(Refusal::new(Code::InvalidValue, message).source(operation.path.as_str()));
    let Some((parent, field)) = operation.path.rsplit_once('/') else {
        return refuse(format!("{:?} is no path; it begins with '/'", operation.path));
    };
    let field = field.replace("~1", "/").replace("~0", "~");
    let Some(Value::Object(parent)) = body.pointer_mut(parent) else {
        return refuse(format!("there is no {:?} to change", operation.path));
    };
    match operation.op {
        Op::Add | Op::Replace => parent.insert(field, operation.value.clone()),
        Op::Remove => parent.remove(&field),
    };
    Ok(())
}

/// A body that a PATCH has made, as its type.
pub(super) fn body_of<T: serde::de::DeserializeOwned>(body: Value) -> Result<T, Refusal> {
    serde_json::from_value(body).map_err(|error| {
        Refusal::new(Code::InvalidValue, format!("the resource would not be what is expected: {error}"))
    })
}

/// The name of a resource, for references that are answered with names.
pub(super) fn name_of(tx: &Tx<'_>, table: &'static str, id: uuid::Uuid) -> catalog::Result<Option<String>> {
    use rusqlite::OptionalExtension;
    let sql = format!("SELECT name FROM {table} WHERE id = ?1");
    Ok(tx.prepare_cached(&sql)?.query_row([id.to_string()], |row| row.get(0)).optional()?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn operations(json: Value) -> Vec<Operation> {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else() {
        let resource = json!({"name": "web01", "settings": {"force": false}});
        let change = operations(json!([
            {"op": "replace", "path": "/settings/force", "value": true},
            {"op": "add", "path": "/description", "value": "x"},
            {"op": "remove", "path": "/name"},
        ]));
        let changed = patched(&resource, &change).unwrap();
        assert_eq!(changed, json!({"settings": {"force": true}, "description": "x"}));
        for path in ["", "name", "/none/field", "/name/field"] {
            let change = operations(json!([{"op": "replace", "path": path, "value": 1}]));
            assert!(patched(&resource, &change).is_err(), "{path:?}");
        }
        assert!(serde_json::from_value::<Operation>(json!({"op": "move", "path": "/a"})).is_err());
    }

    #[test]
    fn the_header_goes_before_the_body() {
        let mut headers = HeaderMap::new();
        assert_eq!(if_match(&headers, Some("1/2".into())).as_deref(), Some("1/2"));
        headers.insert(header::IF_MATCH, "*".parse().unwrap());
        assert_eq!(if_match(&headers, Some("1/2".into())).as_deref(), Some("*"));
    }
}
