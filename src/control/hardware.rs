//! `/rest/server-hardware`. osvold switches no machine: the power state is what somebody has recorded.

use std::sync::Arc;

use api::{
    AvailableTarget, AvailableTargets, Code, Collection, Health, Page, PowerStateChange, Refusal,
    ResourceNames, ServerHardware, ServerHardwareSpec,
};
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use uuid::Uuid;

use super::actor::Actor;
use super::answer::{Answer, Refused, json, parse};
use super::asking::AskQuery;
use super::endpoint::{Access, Content, Endpoint, delete, get, patch, post, put, schema_of};
use super::placement::{Operation, body_of, created, head, head_field, if_match, listed, named, patched};
use super::state::Control;
use crate::catalog::hardware::{self, HardwareFacts};
use crate::catalog::{self, Envelope, Error, Kind, Tx, hardware_types, logical_enclosures};
use crate::lifecycle::Request;

const KIND: Kind = Kind::ServerHardware;
/// The locator light, which OneView's clients switch by PATCH.
const UID_STATE: &str = "uidState";

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Access::{EditProfiles, View};
    const ALL: &str = api::SERVER_HARDWARE;
    const ONE: &str = "/rest/server-hardware/{id}";
    vec![
        get(ALL, View, "Server hardware", list).paged().answers::<Collection<ServerHardware>>(),
        post(ALL, EditProfiles, "Adds a server", create)
            .takes::<ServerHardwareSpec>()
            .creates::<ServerHardware>(),
        get(
            "/rest/server-profiles/available-targets",
            View,
            "Servers that have no profile",
            available_targets,
        )
        .query("serverHardwareTypeUri", "Only servers of this type")
        .query("enclosureGroupUri", "Only servers in enclosures of this group")
        .answers::<AvailableTargets>(),
        get(
            "/rest/server-profiles/available-servers",
            View,
            "Servers that have no profile, as a list",
            available_servers,
        )
        .query("serverHardwareTypeUri", "Only servers of this type")
        .query("enclosureGroupUri", "Only servers in enclosures of this group")
        .answers::<Vec<AvailableTarget>>(),
        get(ONE, View, "A server", show).answers::<ServerHardware>(),
        put(ONE, EditProfiles, "Changes a server, but for its power state", change)
            .takes::<ServerHardwareSpec>()
            .answers::<ServerHardware>(),
        patch(ONE, EditProfiles, "Changes fields of a server", change_fields)
            .takes::<Vec<Operation>>()
            .answers::<ServerHardware>(),
        put(
            "/rest/server-hardware/{id}/powerState",
            EditProfiles,
            "Records whether a server runs; it is not switched",
            set_power,
        )
        .takes::<PowerStateChange>()
        .answers::<ServerHardware>(),
        put(
            "/rest/server-hardware/{id}/refreshState",
            EditProfiles,
            "Reads a server's state again, which is what was recorded",
            refresh,
        )
        .answers::<ServerHardware>(),
        AskQuery::describe(delete(
            ONE,
            EditProfiles,
            "Removes a server that no profile is assigned to",
            remove,
        ))
        .answers::<api::Impact>()
        .answers_with(202, Content::Json(schema_of::<api::Task>)),
    ]
}

pub(super) fn resource(tx: &Tx<'_>, row: hardware::ServerHardware) -> catalog::Result<ServerHardware> {
    let facts = &row.facts;
    let profile = hardware::profile_of(tx, row.envelope.id)?;
    let enclosure = facts.logical_enclosure.map(|id| logical_enclosures::get(tx, id)).transpose()?;
    let hardware_type = hardware_types::get(tx, facts.hardware_type)?;
    let location = facts.logical_enclosure.map(|id| Kind::LogicalEnclosure.uri(id));
    let state = if profile.is_some() { "ProfileApplied" } else { "NoProfileApplied" };
    Ok(ServerHardware {
        head: head(KIND, ServerHardware::KIND, &row.envelope, (Health::OK, state)),
        uuid: facts.uuid.to_string(),
        serial_number: facts.serial_number.clone(),
        model: hardware_type.model,
        power_state: row.power_state,
        server_hardware_type_uri: Kind::ServerHardwareType.uri(facts.hardware_type),
        server_profile_uri: profile.as_ref().map(|(id, _)| Kind::ServerProfile.uri(id)),
        server_group_uri: enclosure.as_ref().map(|row| Kind::EnclosureGroup.uri(row.enclosure_group)),
        location_uri: location.clone(),
        logical_enclosure_uri: location,
        position: facts.position,
        initiator_name: facts.initiator_name.clone(),
        mac_addresses: facts.mac_addresses.clone(),
        resource_names: ResourceNames {
            server_hardware_type: Some(hardware_type.envelope.name),
            logical_enclosure: enclosure.map(|row| row.envelope.name),
            server_profile: profile.map(|(_, name)| name),
            ..ResourceNames::default()
        },
        uid_state: row.extra.get(UID_STATE).and_then(|state| state.as_str()).map(str::to_owned),
    })
}

/// What a list can be filtered and sorted by.
fn field(tx: &Tx<'_>, row: &hardware::ServerHardware, field: &str) -> Option<String> {
    let facts = &row.facts;
    match field {
        "uuid" => Some(facts.uuid.to_string()),
        "serialNumber" => facts.serial_number.clone(),
        "powerState" => Some(row.power_state.as_str().to_owned()),
        "position" => facts.position.map(|bay| bay.to_string()),
        "initiatorName" => facts.initiator_name.clone(),
        "serverHardwareTypeUri" => Some(Kind::ServerHardwareType.uri(facts.hardware_type)),
        "locationUri" | "logicalEnclosureUri" => {
            facts.logical_enclosure.map(|id| Kind::LogicalEnclosure.uri(id))
        }
        "macAddresses" => facts.mac_addresses.first().cloned(),
        "state" | "status" | "model" | "serverProfileUri" | "serverGroupUri" => {
            let full = resource(tx, row.clone()).ok()?;
            match field {
                "state" => Some(full.head.state),
                "status" => Some(full.head.status.to_string()),
                "model" => Some(full.model),
                "serverProfileUri" => full.server_profile_uri,
                _ => full.server_group_uri,
            }
        }
        _ => None,
    }
}

/// What a body says of a server, with its references looked up. What it leaves out of a server that is there stays.
fn facts(
    tx: &Tx<'_>,
    spec: &ServerHardwareSpec,
    old: Option<&HardwareFacts>,
) -> catalog::Result<HardwareFacts> {
    let hardware_type = hardware_types::find(tx, &spec.server_hardware_type_uri);
    let enclosure = spec.logical_enclosure_uri.as_deref();
    let enclosure = enclosure.map(|reference| logical_enclosures::find(tx, reference)).transpose();
    let uuid = match (&spec.uuid, old) {
        (Some(text), _) => {
            Uuid::try_parse(text).map_err(|_| Error::invalid("uuid", format!("{text:?} is no UUID")))?
        }
        (None, Some(old)) => old.uuid,
        (None, None) => Uuid::new_v4(),
    };
    Ok(HardwareFacts {
        hardware_type: named("serverHardwareTypeUri", hardware_type)?.envelope.id,
        logical_enclosure: named("logicalEnclosureUri", enclosure)?.map(|row| row.envelope.id),
        position: spec.position,
        uuid,
        serial_number: spec.serial_number.clone(),
        initiator_name: spec.initiator_name.clone(),
        mac_addresses: spec.mac_addresses.clone(),
    })
}

async fn list(State(control): State<Arc<Control>>, query: Result<Query<Page>, QueryRejection>) -> Answer {
    let Query(query) = query?;
    let found = control.read(move |tx| {
        let rows = hardware::envelopes(tx)?;
        let field = |row: &Envelope, name: &str| {
            head_field(KIND, row, name).or_else(|| field(tx, &hardware::get(tx, row.id).ok()?, name))
        };
        let full = |row: Envelope| resource(tx, hardware::get(tx, row.id)?);
        listed(("ServerHardwareList", KIND), &query, rows, field, full)
    });
    Ok(json(StatusCode::OK, &found.await?))
}

async fn find(control: &Control, reference: String) -> Result<ServerHardware, Refusal> {
    control.read(move |tx| resource(tx, hardware::find(tx, &reference)?)).await
}

async fn show(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    Ok(json(StatusCode::OK, &find(&control, id).await?))
}

async fn refresh(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    Ok(json(StatusCode::OK, &find(&control, id).await?))
}

/// Which servers a profile could be assigned to.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Wanted {
    server_hardware_type_uri: Option<String>,
    enclosure_group_uri: Option<String>,
}

async fn available(control: &Control, wanted: Wanted) -> Result<Vec<AvailableTarget>, Refusal> {
    let found = control.read(move |tx| {
        let mut free = Vec::new();
        for row in hardware::envelopes(tx)? {
            let server = resource(tx, hardware::get(tx, row.id)?)?;
            let is = |wanted: &Option<String>, own: Option<&String>| {
                wanted.as_ref().is_none_or(|wanted| wanted.is_empty() || Some(wanted) == own)
            };
            let fits = is(&wanted.server_hardware_type_uri, Some(&server.server_hardware_type_uri))
                && is(&wanted.enclosure_group_uri, server.server_group_uri.as_ref());
            if fits && server.server_profile_uri.is_none() {
                free.push(server);
            }
        }
        Ok(free)
    });
    let target = |server: ServerHardware| AvailableTarget {
        server_hardware_name: server.head.name,
        server_hardware_uri: server.head.uri,
        server_hardware_type_uri: server.server_hardware_type_uri,
        server_hardware_type_name: server.resource_names.server_hardware_type,
        enclosure_group_uri: server.server_group_uri,
        enclosure_uri: server.location_uri,
        enclosure_name: server.resource_names.logical_enclosure,
        enclosure_bay: server.position,
        power_state: server.power_state,
    };
    Ok(found.await?.into_iter().map(target).collect())
}

async fn available_targets(
    State(control): State<Arc<Control>>,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Answer {
    let Query(wanted) = query?;
    let targets = available(&control, wanted).await?;
    Ok(json(StatusCode::OK, &AvailableTargets { kind: AvailableTargets::KIND.to_owned(), targets }))
}

async fn available_servers(
    State(control): State<Arc<Control>>,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Answer {
    let Query(wanted) = query?;
    Ok(json(StatusCode::OK, &available(&control, wanted).await?))
}

async fn create(State(control): State<Arc<Control>>, body: Result<Bytes, BytesRejection>) -> Answer {
    let spec: ServerHardwareSpec = parse(body)?;
    let made = control.write(move |tx| {
        let facts = facts(tx, &spec, None)?;
        let power = spec.power_state.unwrap_or_default();
        resource(tx, hardware::insert(tx, (&spec.name, &spec.description), power, facts)?)
    });
    let made = made.await?;
    tracing::info!(name = made.head.name, "server added");
    Ok(created(&made.head.uri, &made))
}

async fn change(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    put_spec(&control, id, &headers, parse(body)?).await
}

async fn put_spec(
    control: &Control,
    id: String,
    headers: &HeaderMap,
    mut spec: ServerHardwareSpec,
) -> Answer {
    let if_match = if_match(headers, spec.e_tag.take());
    let changed = control.write(move |tx| {
        let old = hardware::find(tx, &id)?;
        let facts = facts(tx, &spec, Some(&old.facts))?;
        let names = (spec.name.as_str(), spec.description.as_str());
        resource(tx, hardware::update(tx, old.envelope.id, if_match.as_deref(), names, facts)?)
    });
    Ok(json(StatusCode::OK, &changed.await?))
}

/// The power state and the locator light alone, or anything that a PUT changes.
async fn change_fields(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let operations: Vec<Operation> = parse(body)?;
    if let Some(power_state) = Operation::only(&operations, "/powerState") {
        return record_power(&control, id, body_of(power_state)?).await;
    }
    if let Some(state) = Operation::only(&operations, "/uidState") {
        if !matches!(state.as_str(), Some("On" | "Off")) {
            let refusal = Refusal::new(Code::InvalidValue, format!("uidState is On or Off, not {state}"));
            return Err(Refused(refusal.source("/uidState")));
        }
        let changed = control.write(move |tx| {
            let row = hardware::find(tx, &id)?;
            resource(tx, hardware::set_extra(tx, row.envelope.id, UID_STATE, state)?)
        });
        return Ok(json(StatusCode::OK, &changed.await?));
    }
    let spec = body_of(patched(&find(&control, id.clone()).await?, &operations)?)?;
    put_spec(&control, id, &headers, spec).await
}

async fn set_power(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let change: PowerStateChange = parse(body)?;
    record_power(&control, id, change.power_state).await
}

async fn record_power(control: &Control, id: String, power_state: api::PowerState) -> Answer {
    let changed = control.write(move |tx| {
        let row = hardware::find(tx, &id)?;
        resource(tx, hardware::set_power(tx, row.envelope.id, power_state)?)
    });
    let changed = changed.await?;
    tracing::info!(name = changed.head.name, power = power_state.as_str(), "power state recorded");
    Ok(json(StatusCode::OK, &changed))
}

async fn remove(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
    query: Result<Query<AskQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Answer {
    let Query(query) = query?;
    let ask = query.ask(&actor, if_match(&headers, None))?;
    control.begin(Request::DeleteHardware(id), ask).await
}
