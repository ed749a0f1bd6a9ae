//! Sessions as the directory has them: the hold on each, what is told of it, why one is not admitted.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use iscsi::{AsyncNotice, ConnectionId, IscsiName, Isid, LoginStatus, SessionEstablished, SessionKey, Tsih};
use tokio::sync::watch;

use crate::portal::Mailbox;

/// The directory's hold on a session.
#[derive(Clone)]
pub(crate) struct SessionHandle {
    pub(crate) address: SocketAddr,
    /// Our end.
    pub(crate) portal: SocketAddr,
    /// Set when full feature phase begins.
    pub(crate) agreed: Arc<OnceLock<SessionEstablished>>,
    pub(crate) since: SystemTime,
    pub(crate) connection_id: ConnectionId,
    pub(crate) mailbox: Mailbox,
    /// Closes when none of the session's commands can have an effect any more.
    pub(crate) ended: watch::Receiver<()>,
}

impl SessionHandle {
    /// Ends the session and waits until it has no more effect.
    pub(crate) async fn end(mut self) {
        self.mailbox.end();
        while self.ended.changed().await.is_ok() {}
    }
}

/// Asks initiators to log out (§11.9.1), which lets them finish what they have begun, and ends what is left after
/// `grace`. Returns when no command of these sessions has an effect any more.
pub(crate) async fn end_all(sessions: Vec<SessionHandle>, grace: Duration) {
    let seconds = u16::try_from(grace.as_secs()).unwrap_or(u16::MAX).max(1);
    for session in &sessions {
        session.mailbox.notify(AsyncNotice::RequestLogout { seconds });
    }
    let all_ended = async {
        for session in &sessions {
            let mut ended = session.ended.clone();
            while ended.changed().await.is_ok() {}
        }
    };
    let _ = tokio::time::timeout(grace, all_ended).await;
    for session in &sessions {
        session.mailbox.end();
    }
    for session in sessions {
        session.end().await;
    }
}

/// A session, for people to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionListing {
    /// Name of the initiator.
    pub initiator: IscsiName,
    /// ISID.
    pub isid: Isid,
    /// Where it comes from.
    pub address: SocketAddr,
    /// When it logged in.
    pub since: SystemTime,
}

/// A session with all that there is to tell of it.
#[derive(Clone, Debug)]
pub struct LoggedIn {
    /// Its handle.
    pub tsih: Tsih,
    /// Who it is.
    pub listing: SessionListing,
    /// The address of ours that it came to.
    pub portal: SocketAddr,
    /// Its target; none in a discovery session.
    pub target: Option<IscsiName>,
    /// What was agreed; none while it is still on its way in.
    pub agreed: Option<SessionEstablished>,
}

/// Why a session is not admitted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotAdmitted {
    /// What the login is refused with says it all.
    Because(LoginStatus),
    /// This initiator has the target for itself.
    HeldBy(SessionListing),
}

impl NotAdmitted {
    /// What the login is refused with. An exclusive target has the sessions of one initiator and no more to give, and
    /// may have some later: that is class 3, which initiators try again, not class 2, which they give up on (§11.13.5).
    pub(crate) fn status(&self) -> LoginStatus {
        match self {
            Self::Because(status) => *status,
            Self::HeldBy(_) => LoginStatus::OutOfResources,
        }
    }
}

impl From<LoginStatus> for NotAdmitted {
    fn from(status: LoginStatus) -> Self {
        Self::Because(status)
    }
}

/// A removal that was not done, and because of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse(pub Vec<SessionListing>);

pub(super) fn listing(key: &SessionKey, handle: &SessionHandle) -> SessionListing {
    SessionListing {
        initiator: key.initiator_name.clone(),
        isid: key.isid,
        address: handle.address,
        since: handle.since,
    }
}
