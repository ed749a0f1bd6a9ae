//! `/rest/server-hardware-types`.

use std::sync::Arc;

use api::{Collection, Health, Page, ServerHardwareType, ServerHardwareTypeSpec};
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};

use super::answer::{Answer, json, parse};
use super::conventions::empty;
use super::endpoint::{Access, Endpoint, delete, get, post, put};
use super::placement::{created, extra_field, head, head_field, if_match, listed, without_filled};
use super::state::Control;
use crate::catalog::hardware_types::{self, NewServerHardwareType};
use crate::catalog::{self, Kind};

const KIND: Kind = Kind::ServerHardwareType;

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Access::{EditProfiles, View};
    const ALL: &str = api::SERVER_HARDWARE_TYPES;
    const ONE: &str = "/rest/server-hardware-types/{id}";
    vec![
        get(ALL, View, "Server hardware types", list).paged().answers::<Collection<ServerHardwareType>>(),
        post(ALL, EditProfiles, "Makes a server hardware type", create)
            .takes::<ServerHardwareTypeSpec>()
            .creates::<ServerHardwareType>(),
        get(ONE, View, "A server hardware type", show).answers::<ServerHardwareType>(),
        put(ONE, EditProfiles, "Changes a server hardware type", change)
            .takes::<ServerHardwareTypeSpec>()
            .answers::<ServerHardwareType>(),
        delete(ONE, EditProfiles, "Removes a server hardware type that nothing is of", remove),
    ]
}

fn resource(row: hardware_types::ServerHardwareType) -> ServerHardwareType {
    ServerHardwareType {
        head: head(KIND, ServerHardwareType::KIND, &row.envelope, (Health::OK, "Normal")),
        model: row.model,
        extra: row.extra,
    }
}

fn new(spec: ServerHardwareTypeSpec) -> NewServerHardwareType {
    NewServerHardwareType {
        name: spec.name,
        description: spec.description,
        model: spec.model,
        extra: without_filled(spec.extra, &[]),
    }
}

async fn list(State(control): State<Arc<Control>>, query: Result<Query<Page>, QueryRejection>) -> Answer {
    let Query(query) = query?;
    let found = control.read(move |tx| {
        let rows = hardware_types::list(tx)?;
        let field = |row: &hardware_types::ServerHardwareType, field: &str| match field {
            "model" => Some(row.model.clone()),
            _ => head_field(KIND, &row.envelope, field).or_else(|| extra_field(&row.extra, field)),
        };
        listed(("ServerHardwareTypeList", KIND), &query, rows, field, |row| Ok(resource(row)))
    });
    Ok(json(StatusCode::OK, &found.await?))
}

async fn show(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    let found = control.read(move |tx| hardware_types::find(tx, &id)).await?;
    Ok(json(StatusCode::OK, &resource(found)))
}

async fn create(State(control): State<Arc<Control>>, body: Result<Bytes, BytesRejection>) -> Answer {
    let spec: ServerHardwareTypeSpec = parse(body)?;
    let made = resource(control.write(move |tx| hardware_types::insert(tx, new(spec))).await?);
    tracing::info!(name = made.head.name, "server hardware type made");
    Ok(created(&made.head.uri, &made))
}

async fn change(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let mut spec: ServerHardwareTypeSpec = parse(body)?;
    let if_match = if_match(&headers, spec.e_tag.take());
    let changed = control.write(move |tx| -> catalog::Result<_> {
        let id = hardware_types::find(tx, &id)?.envelope.id;
        hardware_types::update(tx, id, if_match.as_deref(), new(spec))
    });
    Ok(json(StatusCode::OK, &resource(changed.await?)))
}

async fn remove(State(control): State<Arc<Control>>, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    let if_match = if_match(&headers, None);
    let removed = control.write(move |tx| {
        let row = hardware_types::find(tx, &id)?;
        hardware_types::remove(tx, row.envelope.id, if_match.as_deref())?;
        Ok(row.envelope.name)
    });
    let name = removed.await?;
    tracing::info!(name, "server hardware type removed");
    Ok(empty(StatusCode::NO_CONTENT))
}
