//! The OpenAPI document (3.1), made of the table of endpoints and of the types' own schemas.

use std::sync::{Arc, OnceLock};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::endpoint::{Access, Content, Endpoint, get, schema_of};
use super::routes;
use super::state::Control;

/// Where the document keeps its schemas.
const SCHEMAS: &str = "/components/schemas";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![get(api::OPENAPI, Access::Open, "This document", show).answers_media("application/json")]
}

async fn show(State(_): State<Arc<Control>>) -> Answer {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    let document = DOCUMENT.get_or_init(openapi).as_str();
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], document).into_response())
}

/// The document as it is served, and as it is in docs/api/openapi.json.
#[must_use]
pub fn openapi() -> String {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = SCHEMAS.into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let refusal = schema_of::<api::Refusal>(&mut generator);
    let paths = paths(&routes::endpoints(), &mut generator);
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "osvold",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Image Streamer's resources and a part of OneView's, and what osvold adds to them. Over TLS \
                            every request but a login names its session; over the Unix socket the kernel says who asks.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" }
        },
        "security": [{ "session": [] }],
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "responses": {
                "Refused": {
                    "description": "Why it was not done, and what to do",
                    "content": { "application/json": { "schema": refusal } }
                }
            },
            "securitySchemes": {
                "session": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "auth",
                    "description": "The sessionID of POST /rest/login-sessions"
                }
            }
        }
    });
    // A value of ours can always be written.
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

fn paths(table: &[Endpoint], generator: &mut SchemaGenerator) -> Map<String, Value> {
    let mut paths = Map::new();
    for endpoint in table {
        for path in std::iter::once(endpoint.path).chain(endpoint.also) {
            let operation = operation(endpoint, path, generator);
            let methods = paths.entry(path).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(methods) = methods {
                methods.insert(endpoint.method.as_str().to_ascii_lowercase(), operation);
            }
        }
    }
    paths
}

fn operation(endpoint: &Endpoint, path: &str, generator: &mut SchemaGenerator) -> Value {
    let mut operation = json!({
        "operationId": operation_id(endpoint, path),
        "summary": endpoint.sentence,
        "description": access(endpoint.access),
        "tags": [tag(path)],
        "parameters": parameters(endpoint, path),
        "responses": responses(endpoint, generator),
    });
    if endpoint.access == Access::Open {
        operation["security"] = json!([]);
    }
    if !endpoint.takes.is_empty() {
        let content: Map<String, Value> =
            endpoint.takes.iter().map(|content| media(*content, generator)).collect();
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

fn access(access: Access) -> &'static str {
    match access {
        Access::Open => "Open to all.",
        Access::View => "For every role.",
        Access::EditArtifacts => "For infrastructure and software administrators.",
        Access::EditProfiles => "For infrastructure and server administrators.",
        Access::Administer => "For infrastructure administrators.",
    }
}

/// Method and path as one word.
fn operation_id(endpoint: &Endpoint, path: &str) -> String {
    let words =
        path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty() && *word != "rest");
    words.fold(endpoint.method.as_str().to_ascii_lowercase(), |id, word| format!("{id}_{word}"))
        + if path.len() > 1 && path.ends_with('/') { "_" } else { "" }
}

/// The collection that a path belongs to.
fn tag(path: &str) -> &str {
    path.split('/').find(|part| !matches!(*part, "" | "rest" | "osvol")).unwrap_or("osvol")
}

fn parameters(endpoint: &Endpoint, path: &str) -> Vec<Value> {
    let inside = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let of_path = inside.map(|name| {
        let name = name.trim_start_matches('*');
        json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } })
    });
    let of_query = endpoint.query.iter().map(|(name, about)| {
        let schema = match *name {
            "start" => json!({ "type": "integer", "minimum": 0 }),
            "count" => json!({ "type": "integer", "minimum": -1 }),
            "filter" => json!({ "type": "array", "items": { "type": "string" } }),
            _ => json!({ "type": "string" }),
        };
        json!({ "name": name, "in": "query", "description": about, "schema": schema })
    });
    of_path.chain(of_query).collect()
}

fn responses(endpoint: &Endpoint, generator: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    for (status, content) in &endpoint.answers {
        let words = StatusCode::from_u16(*status).ok().and_then(|status| status.canonical_reason());
        let response = responses
            .entry(status.to_string())
            .or_insert_with(|| json!({ "description": words.unwrap_or("Done") }));
        let (media_type, media) = media(*content, generator);
        response["content"][media_type] = media;
    }
    if responses.is_empty() {
        responses.insert("204".to_owned(), json!({ "description": "No Content" }));
    }
    responses.insert("default".to_owned(), json!({ "$ref": "#/components/responses/Refused" }));
    Value::Object(responses)
}

fn media(content: Content, generator: &mut SchemaGenerator) -> (String, Value) {
    match content {
        Content::Json(schema) => ("application/json".to_owned(), json!({ "schema": schema(generator) })),
        Content::Media(media_type) => (media_type.to_owned(), json!({})),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn document() -> Value {
        serde_json::from_str(&openapi()).unwrap()
    }

    #[test]
    fn the_committed_document_is_the_one_that_is_served() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api/openapi.json");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == openapi(),
            "docs/api/openapi.json is old: cargo run --bin osvold -- --openapi > docs/api/openapi.json"
        );
    }

    #[test]
    fn every_endpoint_is_in_the_document_with_a_name_of_its_own() {
        let document = document();
        let mut names = HashSet::new();
        for endpoint in routes::endpoints() {
            let method = endpoint.method.as_str().to_ascii_lowercase();
            let operation = &document["paths"][endpoint.path][&method];
            assert_eq!(operation["summary"], endpoint.sentence, "{method} {}", endpoint.path);
            assert!(names.insert(operation["operationId"].to_string()), "{operation}");
        }
    }

    #[test]
    fn every_reference_leads_to_something() {
        fn check(value: &Value, document: &Value) {
            match value {
                Value::Object(object) => {
                    if let Some(Value::String(reference)) = object.get("$ref") {
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                    }
                    object.values().for_each(|value| check(value, document));
                }
                Value::Array(values) => values.iter().for_each(|value| check(value, document)),
                _ => {}
            }
        }
        let document = document();
        check(&document, &document);
        assert!(document["components"]["schemas"]["OsVolume"]["properties"]["iscsiName"].is_object());
    }

    #[test]
    fn what_is_open_needs_no_session() {
        let document = document();
        assert_eq!(document["paths"]["/rest/login-sessions"]["post"]["security"], json!([]));
        assert_eq!(document["paths"]["/rest/os-volumes"]["get"]["security"], Value::Null);
    }
}
