//! `/rest/deployment-groups`: there is one, this server, and it cannot be changed.

use std::sync::Arc;

use api::{Code, Collection, DeploymentGroup, Head, Health, Page, Refusal, iso8601, page_of};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;

use super::answer::{Answer, json};
use super::endpoint::{Access, Endpoint, get};
use super::state::Control;

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Access::View;
    vec![
        get(api::DEPLOYMENT_GROUPS, View, "Deployment groups: there is one", list)
            .paged()
            .answers::<Collection<DeploymentGroup>>(),
        get("/rest/deployment-groups/{id}", View, "A deployment group", show).answers::<DeploymentGroup>(),
    ]
}

fn the_one() -> DeploymentGroup {
    DeploymentGroup {
        head: Head {
            kind: DeploymentGroup::KIND.to_owned(),
            category: DeploymentGroup::CATEGORY.to_owned(),
            id: DeploymentGroup::ID.to_owned(),
            uri: uri(),
            name: DeploymentGroup::NAME.to_owned(),
            description: "This server".to_owned(),
            status: Health::OK,
            state: "Normal".to_owned(),
            created: iso8601(0),
            modified: iso8601(0),
            e_tag: "0/1".to_owned(),
        },
        management_network_name: None,
        management_network_uri: None,
    }
}

fn uri() -> String {
    format!("{}/{}", api::DEPLOYMENT_GROUPS, DeploymentGroup::ID)
}

/// Refuses a reference to any other group than the one there is.
pub(super) fn check(reference: Option<&str>) -> Result<(), Refusal> {
    match reference {
        None => Ok(()),
        Some(reference) => {
            let key = reference.rsplit('/').next().unwrap_or_default();
            match key == DeploymentGroup::ID || key.eq_ignore_ascii_case(DeploymentGroup::NAME) {
                true => Ok(()),
                false => {
                    Err(Refusal::new(Code::NotFound, format!("there is no deployment group {reference:?}"))
                        .action(format!("there is one: {}", uri())))
                }
            }
        }
    }
}

async fn list(State(_): State<Arc<Control>>, query: Result<Query<Page>, QueryRejection>) -> Answer {
    let Query(query) = query?;
    let kind = ("DeploymentGroupCollection", DeploymentGroup::CATEGORY, api::DEPLOYMENT_GROUPS);
    let found = page_of(kind, &query, vec![the_one()]);
    let found = found.map_err(|error| Refusal::new(Code::MalformedRequest, error.to_string()))?;
    Ok(json(StatusCode::OK, &found))
}

async fn show(State(_): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    check(Some(&id))?;
    Ok(json(StatusCode::OK, &the_one()))
}
