//! Who asks, and whether they may. Each endpoint's own access is checked before its handler, and before its body is read.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use api::{Code, Refusal};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::actor::{Actor, Via};
use super::answer::Refused;
use super::endpoint::Access;
use super::serve::Place;
use super::sessions::token_of;
use super::state::Control;

/// What a listener knows of whoever is connected.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    /// Who it is.
    Known(Actor),
    /// That it may ask nothing.
    Refused(Refusal),
    /// Only where it is: each request must name its login session.
    At(IpAddr),
}

impl Caller {
    /// Its address, where it has one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::At(address) => Some(*address),
            Self::Known(_) | Self::Refused(_) => None,
        }
    }
}

/// Gives a request its actor.
pub(super) async fn identify(
    State(control): State<Arc<Control>>,
    mut request: Request,
    next: Next,
) -> Response {
    let actor = match request.extensions().get::<Caller>() {
        Some(Caller::Known(actor)) => actor.clone(),
        Some(Caller::Refused(refusal)) => return Refused(refusal.clone()).into_response(),
        Some(Caller::At(_)) => token_of(request.headers())
            .and_then(|token| control.sessions.actor(token, Instant::now()))
            .unwrap_or_else(Actor::nobody),
        None => Actor::nobody(),
    };
    let known = actor.via != Via::Nobody;
    let held = request.extensions().get::<Place>().filter(|_| known).map(Place::hold);
    request.extensions_mut().insert(actor);
    let mut response = next.run(request).await;
    if let Some(held) = held {
        response.extensions_mut().insert(held);
    }
    response
}

/// Lets a request through to its handler, or refuses it. A request that nobody has given an actor is nobody's.
pub(super) async fn authorize(access: Access, request: Request, next: Next) -> Response {
    let may = request.extensions().get::<Actor>().is_some_and(|actor| actor.may(access));
    if may || access == Access::Open {
        return next.run(request).await;
    }
    let nobody = Actor::nobody();
    let actor = request.extensions().get().unwrap_or(&nobody);
    Refused(refusal(actor, access)).into_response()
}

fn refusal(actor: &Actor, access: Access) -> Refusal {
    if actor.via == Via::Nobody {
        let message = "this needs a login session; none was named, or the one that was has ended";
        return Refusal::new(Code::NotAuthenticated, message)
            .action("log in by POST /rest/login-sessions, and send the sessionID as the header auth");
    }
    let what = match access {
        Access::Open | Access::View => "see this",
        Access::EditArtifacts => "change artifacts (golden images, plans, bundles)",
        Access::EditProfiles => "change profiles, servers and volumes",
        Access::Administer => "administer osvold",
    };
    let roles: Vec<_> = actor.roles.iter().map(|role| role.name()).collect();
    let roles = if roles.is_empty() { "none".to_owned() } else { roles.join(", ") };
    let refusal = Refusal::new(Code::NotAuthorized, format!("{} may not {what}", actor.name))
        .details(format!("roles: {roles}"));
    match actor.via {
        Via::Socket { .. } => refusal.action("run the command with sudo, or join the group of control.group"),
        Via::Login | Via::Nobody => refusal.action("log in as a user with another role"),
    }
}
