//! `/rest/users`.

use std::sync::Arc;

use api::{Code, Page, PasswordChange, Permission, Refusal, Role, User, UserSpec, iso8601, page_of};
use axum::Extension;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;

use super::actor::{Actor, Via};
use super::answer::{Answer, json, parse};
use super::conventions::{empty, if_match};
use super::endpoint::{Access, Endpoint, delete, get, post, put};
use super::state::Control;
use crate::catalog::Kind;
use crate::catalog::users::{self, UserSettings};

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Access::{Administer, View};
    const ONE: &str = "/rest/users/{id}";
    let password = "Changes a password: anybody's own, or as an administrator";
    vec![
        get(api::USERS, Administer, "Users", list).paged().answers::<api::Collection<User>>(),
        post(api::USERS, Administer, "Makes a user", create).takes::<UserSpec>().creates::<User>(),
        get(ONE, Administer, "A user", show).answers::<User>(),
        put(ONE, Administer, "Changes a user; a password that is not there stays", change)
            .takes::<UserSpec>()
            .answers::<User>(),
        delete(ONE, Administer, "Removes a user", remove),
        put("/rest/users/{id}/password", View, password, set_password).takes::<PasswordChange>(),
    ]
}

fn resource(user: users::User) -> User {
    let (envelope, settings) = (user.envelope, user.settings);
    let permission = |role: &Role| Permission { role_name: *role, scope_uri: None };
    User {
        kind: User::KIND.to_owned(),
        category: User::CATEGORY.to_owned(),
        id: envelope.id.to_string(),
        uri: Kind::User.uri(envelope.id),
        user_name: envelope.name.clone(),
        e_tag: envelope.e_tag(),
        name: envelope.name,
        full_name: settings.full_name,
        description: envelope.description,
        permissions: settings.roles.iter().map(permission).collect(),
        roles: settings.roles,
        enabled: settings.enabled,
        created: iso8601(envelope.created_ms),
        modified: iso8601(envelope.modified_ms),
    }
}

/// What a body says, and its password.
fn settings(spec: &mut UserSpec) -> UserSettings {
    let of_permissions =
        |list: Vec<Permission>| list.into_iter().map(|permission| permission.role_name).collect();
    let mut roles: Vec<Role> =
        spec.roles.take().or_else(|| spec.permissions.take().map(of_permissions)).unwrap_or_default();
    roles.sort_unstable();
    roles.dedup();
    UserSettings {
        full_name: spec.full_name.take().unwrap_or_default(),
        roles,
        enabled: spec.enabled.unwrap_or(true),
    }
}

async fn list(State(control): State<Arc<Control>>, query: Result<Query<Page>, QueryRejection>) -> Answer {
    let Query(query) = query?;
    let all = control.read(users::list).await?.into_iter().map(resource).collect();
    let found = page_of(("UserCollection", User::CATEGORY, api::USERS), &query, all);
    let found = found.map_err(|error| Refusal::new(Code::MalformedRequest, error.to_string()))?;
    Ok(json(StatusCode::OK, &found))
}

async fn show(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    let user = control.read(move |tx| users::find(tx, &id)).await?;
    Ok(json(StatusCode::OK, &resource(user)))
}

async fn create(State(control): State<Arc<Control>>, body: Result<Bytes, BytesRejection>) -> Answer {
    let mut spec: UserSpec = parse(body)?;
    let Some(password) = spec.password.take() else {
        return Err(Refusal::new(Code::InvalidValue, "a new user needs a password")
            .source("password")
            .into());
    };
    let hash = control.passwords.hash(password).await?;
    let settings = settings(&mut spec);
    let description = spec.description.unwrap_or_default();
    let made =
        control.write(move |tx| users::insert(tx, (&spec.user_name, &description), settings, hash)).await?;
    tracing::info!(user = made.envelope.name, "user made");
    let user = resource(made);
    let location = [(header::LOCATION, user.uri.clone())];
    Ok((location, json(StatusCode::CREATED, &user)).into_response())
}

async fn change(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let mut spec: UserSpec = parse(body)?;
    let hash = match spec.password.take() {
        Some(password) => Some(control.passwords.hash(password).await?),
        None => None,
    };
    let if_match = if_match(&headers).or(spec.e_tag.take());
    let settings = settings(&mut spec);
    let description = spec.description.unwrap_or_default();
    let changed = control.write(move |tx| {
        let id = users::find(tx, &id)?.envelope.id;
        let changed = users::update(tx, id, if_match.as_deref(), (&spec.user_name, &description), settings)?;
        match hash {
            Some(hash) => users::set_password(tx, id, hash),
            None => Ok(changed),
        }
    });
    let changed = changed.await?;
    control.sessions.end_all_of(changed.envelope.id);
    tracing::info!(user = changed.envelope.name, "user changed");
    Ok(json(StatusCode::OK, &resource(changed)))
}

async fn remove(State(control): State<Arc<Control>>, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    let if_match = if_match(&headers);
    let removed = control.write(move |tx| {
        let user = users::find(tx, &id)?;
        users::remove(tx, user.envelope.id, if_match.as_deref())?;
        Ok(user)
    });
    let removed = removed.await?;
    control.sessions.end_all_of(removed.envelope.id);
    tracing::info!(user = removed.envelope.name, "user removed");
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Who administers sets any password; others their own, if they know it.
async fn set_password(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let change: PasswordChange = parse(body)?;
    let administers = actor.may(Access::Administer);
    let named = id.clone();
    let found = control.read(move |tx| users::find(tx, &named)).await;
    if !administers {
        let own = matches!(&found, Ok(user) if actor.via == Via::Login && user.envelope.name == actor.name);
        if !own {
            let message = "only an administrator changes the password of somebody else";
            return Err(Refusal::new(Code::NotAuthorized, message).into());
        }
    }
    let user = found?;
    if !administers {
        check_current(&control, &user, change.current_password).await?;
    }
    let hash = control.passwords.hash(change.password).await?;
    let id = user.envelope.id;
    control.write(move |tx| users::set_password(tx, id, hash)).await?;
    control.sessions.end_all_of(id);
    tracing::info!(user = user.envelope.name, "password changed");
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn check_current(
    control: &Control,
    user: &users::User,
    current: Option<api::Secret>,
) -> Result<(), Refusal> {
    let refuse = |message: &str| Err(Refusal::new(Code::NotAuthorized, message).source("currentPassword"));
    let Some(current) = current else { return refuse("the current password is needed as well") };
    match control.passwords.verify(current, Some(user.password_hash.clone())).await? {
        true => Ok(()),
        false => refuse("the current password is wrong"),
    }
}
