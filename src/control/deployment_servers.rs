//! `/rest/deployment-servers`: OneView's view of whoever deploys volumes. There is one: this daemon.

use std::sync::Arc;

use api::{Code, Collection, Head, Health, Page, Refusal, iso8601, page_of};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;

use super::answer::{Answer, json};
use super::endpoint::{Access, Endpoint, get};
use super::state::Control;

const ALL: &str = "/rest/deployment-servers";
const CATEGORY: &str = "deployment-servers";
const NAME: &str = "osvold";
/// Never changes.
const ID: &str = "00000000-0000-4000-8000-000000000056";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        get(ALL, Access::View, "Servers that deploy OS volumes: there is one", list)
            .paged()
            .answers::<Collection<Head>>(),
        get("/rest/deployment-servers/{id}", Access::View, "A server that deploys OS volumes", show)
            .answers::<Head>(),
    ]
}

fn the_one() -> Head {
    Head {
        kind: "DeploymentManager".to_owned(),
        category: CATEGORY.to_owned(),
        id: ID.to_owned(),
        uri: format!("{ALL}/{ID}"),
        name: NAME.to_owned(),
        description: "This server".to_owned(),
        status: Health::OK,
        state: "Connected".to_owned(),
        created: iso8601(0),
        modified: iso8601(0),
        e_tag: "0/1".to_owned(),
    }
}

async fn list(State(_): State<Arc<Control>>, query: Result<Query<Page>, QueryRejection>) -> Answer {
    let Query(query) = query?;
    let found = page_of(("DeploymentManagerCollection", CATEGORY, ALL), &query, vec![the_one()]);
    let found = found.map_err(|error| Refusal::new(Code::MalformedRequest, error.to_string()))?;
    Ok(json(StatusCode::OK, &found))
}

async fn show(State(_): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    match id == ID || id.eq_ignore_ascii_case(NAME) {
        true => Ok(json(StatusCode::OK, &the_one())),
        false => Err(Refusal::new(Code::NotFound, format!("there is no deployment server {id:?}")).into()),
    }
}
