//! What others want of a connection's task: commands that ended elsewhere, aborts, the end.
//!
//! A mailbox has no limit of its own: each letter answers something that has one (commands, task management), or comes
//! from the daemon itself.

use iscsi::{AsyncNotice, LoginStatus, TaskId, TaskManagementId, TaskManagementResponse, TaskScope};
use tokio::sync::{mpsc, oneshot};

use super::session::Session;

/// A letter to a connection.
pub(super) enum Letter {
    /// A command ended on the blocking pool.
    Completed(TaskId, scsi::Response),
    /// A session is ready, or the login is refused.
    SessionReady(Result<Box<Session>, LoginStatus>),
    /// The logical unit's part of a task management function is done.
    TaskManagementDone(TaskManagementId, TaskManagementResponse),
    /// Stop tasks for another connection; `done` is dropped when none of them has an effect any more.
    Abort {
        /// Which.
        scope: TaskScope,
        /// The initiator is to hear that another one cleared its commands.
        tell_initiator: bool,
        /// Dropped at the end.
        done: oneshot::Sender<()>,
    },
    /// Tell the initiator.
    Notify(AsyncNotice),
    /// End the connection when everything is sent.
    Close,
    /// End the connection at once.
    End,
}

/// Where a connection takes letters.
#[derive(Clone)]
pub(crate) struct Mailbox(mpsc::UnboundedSender<Letter>);

impl Mailbox {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Letter>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Sends a letter; gives it back when the connection is gone.
    pub(super) fn send(&self, letter: Letter) -> Result<(), Letter> {
        self.0.send(letter).map_err(|error| error.0)
    }

    /// Ends the connection.
    pub(crate) fn end(&self) {
        let _ = self.send(Letter::End);
    }

    /// Tells the initiator something.
    pub(crate) fn notify(&self, notice: AsyncNotice) {
        let _ = self.send(Letter::Notify(notice));
    }

    /// Stops tasks, and returns when none of them has an effect any more.
    pub(super) async fn abort(&self, scope: TaskScope, tell_initiator: bool) {
        let (done, ended) = oneshot::channel();
        if self.send(Letter::Abort { scope, tell_initiator, done }).is_ok() {
            let _ = ended.await;
        }
    }
}
