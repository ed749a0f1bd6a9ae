//! Who may ask: the credentials that the kernel attests for the other end of the socket (unix(7), SO_PEERCRED).

use api::{Code, Refusal};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

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

/// Root and the daemon's own user may do everything; nobody else may do anything.
pub(super) async fn authorize(
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let own = rustix::process::geteuid().as_raw();
    match may_do_everything(peer.uid, own) {
        true => next.run(request).await,
        false => Refused(refusal(peer.uid, own)).into_response(),
    }
}

fn may_do_everything(uid: Option<u32>, own: u32) -> bool {
    uid.is_some_and(|uid| uid == 0 || uid == own)
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
        assert!(may_do_everything(Some(0), 990));
        assert!(may_do_everything(Some(990), 990));
        assert!(!may_do_everything(Some(1000), 990));
        assert!(!may_do_everything(Some(1000), 0));
        assert!(!may_do_everything(None, 0));
    }
}
