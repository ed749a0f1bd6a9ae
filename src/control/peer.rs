//! Who is at the other end of the Unix socket: the credentials that the kernel attests (unix(7), SO_PEERCRED).
//!
//! Root, the daemon's own user and the members of a configured group are administrators. Others look, or may do
//! nothing at all, as configured.

use api::{Code, Refusal, Role};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

use super::actor::Actor;
use super::answer::Refused;

/// The process at the other end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    /// Its user, `None` when the kernel does not say.
    uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self { uid: stream.io().peer_cred().ok().map(|credentials| credentials.uid()) }
    }
}

/// Gives a request its actor, or refuses whoever may do nothing.
pub(super) async fn identify(
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let own = rustix::process::geteuid().as_raw();
    match actor(peer.uid, own) {
        Some(actor) => {
            request.extensions_mut().insert(actor);
            next.run(request).await
        }
        None => Refused(refusal(peer.uid, own)).into_response(),
    }
}

fn actor(uid: Option<u32>, own: u32) -> Option<Actor> {
    let uid = uid.filter(|uid| *uid == 0 || *uid == own)?;
    Some(Actor::at_socket(uid, vec![Role::InfrastructureAdministrator]))
}

fn refusal(uid: Option<u32>, own: u32) -> Refusal {
    let who = uid.map_or_else(|| "an unknown user".to_owned(), |uid| format!("user id {uid}"));
    Refusal::new(Code::NotAuthorized, format!("{who} may not use osvold's control socket"))
        .details(format!("root and user id {own}, which osvold runs as, may"))
        .action("run the command with sudo")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_the_own_user_may_and_nobody_else() {
        assert!(actor(Some(0), 990).is_some());
        assert!(actor(Some(990), 990).is_some());
        assert!(actor(Some(1000), 990).is_none());
        assert!(actor(Some(1000), 0).is_none());
        assert!(actor(None, 0).is_none());
    }
}
