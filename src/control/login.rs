//! `/rest/login-sessions`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::{Code, Login, LoginSession, Refusal};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};

use super::actor::{Actor, Via};
use super::answer::{Answer, json, parse};
use super::auth::Caller;
use super::connections::Origin;
use super::conventions::empty;
use super::endpoint::{Access, Endpoint, delete, post, put};
use super::sessions::token_of;
use super::state::Control;
use crate::catalog::{self, users};

/// Whoever is not logged in may send this much, in this time.
const BODY_BYTES_MAX: usize = 16 << 10;
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Access::{Open, View};
    let path = api::LOGIN_SESSIONS;
    vec![
        post(path, Open, "Logs a user in", begin).takes::<Login>().answers::<LoginSession>(),
        put(path, View, "Takes up the login session of the header auth", resume).answers::<LoginSession>(),
        delete(path, Open, "Ends the login session of the header auth", end),
    ]
}

async fn begin(
    State(control): State<Arc<Control>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Answer {
    let read = axum::body::to_bytes(body, BODY_BYTES_MAX);
    let body = match tokio::time::timeout(BODY_TIME_MAX, read).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => {
            let refusal = Refusal::new(Code::TooLarge, "the body cannot be read");
            return Err(refusal.details(error.to_string()).into());
        }
        Err(_) => {
            let message = format!("the body did not come within {} s", BODY_TIME_MAX.as_secs());
            return Err(Refusal::new(Code::TimedOut, message).into());
        }
    };
    let login: Login = parse(Ok(body))?;
    let attempt = control.attempts.begin(origin(&caller), Instant::now())?;
    let name = login.user_name.clone();
    let user = control.read(move |tx| match users::find(tx, &name) {
        Ok(user) => Ok(Some(user)),
        Err(catalog::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    });
    // Found by its name only, though a reference may be an id as well.
    let same_name = |user: &users::User| user.envelope.name.eq_ignore_ascii_case(&login.user_name);
    let user = user.await?.filter(same_name);
    let hash = user.as_ref().filter(|user| user.settings.enabled).map(|user| user.password_hash.clone());
    let right = control.passwords.verify(login.password, hash).await?;
    match user {
        Some(user) if right => {
            let (name, roles) = (&user.envelope.name, user.settings.roles);
            let session_id = control.sessions.begin(user.envelope.id, name, roles, Instant::now())?;
            tracing::info!(user = name, "logged in");
            Ok(json(StatusCode::OK, &LoginSession { session_id }))
        }
        _ => {
            attempt.failed();
            // The name is not logged: people type their passwords there.
            tracing::warn!(from = ?caller.address(), "a login failed");
            Err(wrong().into())
        }
    }
}

/// One answer for all that can be wrong, so that nobody learns which users there are.
fn wrong() -> Refusal {
    Refusal::new(Code::NotAuthenticated, "user name or password is wrong, or the user is disabled")
        .action("osvol user list, run as root on osvold's machine, shows which users there are")
}

fn origin(caller: &Caller) -> Origin {
    match caller {
        Caller::At(address) => (*address).into(),
        Caller::Known(actor) => match actor.via {
            Via::Socket { uid } => Origin::User(uid),
            Via::Login | Via::Nobody => Origin::User(u32::MAX),
        },
        Caller::Refused(_) => Origin::User(u32::MAX),
    }
}

async fn resume(Extension(_): Extension<Actor>, headers: HeaderMap) -> Answer {
    let token =
        token_of(&headers).ok_or_else(|| Refusal::new(Code::NotAuthenticated, "no session is named"))?;
    Ok(json(StatusCode::OK, &LoginSession { session_id: api::Secret(token.to_owned()) }))
}

async fn end(State(control): State<Arc<Control>>, headers: HeaderMap) -> Answer {
    match token_of(&headers).is_some_and(|token| control.sessions.end(token)) {
        true => Ok(empty(StatusCode::NO_CONTENT)),
        false => Err(Refusal::new(Code::NotFound, "there is no such login session").into()),
    }
}
