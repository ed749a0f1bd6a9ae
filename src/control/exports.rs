//! What the control API asks of the iSCSI side.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use api::SessionSummary;
use cow::{VolumeId, VolumeInfo};
use iscsi::Tsih;

use crate::exports::{Access, LoggedIn};
use crate::portal::ReadOnlyTargets;
use crate::settings::Shelf;

/// The targets under which volumes are exported.
pub trait Exports: Send + Sync + 'static {
    /// Addresses that initiators are told.
    fn portals(&self) -> Vec<SocketAddr>;

    /// Name of a volume's target.
    fn target_name(&self, volume: VolumeId, name: &str) -> String;

    /// Who is logged in to a volume.
    fn sessions(&self, volume: VolumeId) -> Vec<SessionSummary>;

    /// Who is logged in to any volume; volumes to which nobody is are left out.
    fn all_sessions(&self) -> HashMap<VolumeId, Vec<SessionSummary>>;

    /// Everybody who is logged in, with their volumes; discovery sessions have none.
    fn logged_in(&self) -> Vec<(LoggedIn, Option<VolumeId>)>;

    /// Asks an initiator to log out, and ends its session; false when there is no such session.
    fn end_session(&self, tsih: Tsih) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;

    /// What there is to worry about a volume that the store knows nothing of, in words.
    fn warning(&self, volume: VolumeId) -> Option<String>;

    /// A volume has another size or quota: whoever is logged in is told.
    fn changed(&self, volume: VolumeId);

    /// Number of sessions to all volumes.
    fn session_count(&self) -> usize;

    /// How often somebody has logged in to a volume since the daemon started.
    fn logins(&self, volume: VolumeId) -> u64;

    /// What everything is exported with.
    fn settings(&self) -> &Arc<Shelf>;

    /// Golden images and snapshots that are served as disks of their own.
    fn read_only(&self) -> &Arc<ReadOnlyTargets>;

    /// The settings of a volume have changed: they count for logins to come, and sessions are ended as asked for. Gives
    /// how many were.
    fn settings_changed(
        &self,
        volume: &VolumeInfo,
        end_sessions: EndSessions,
    ) -> Pin<Box<dyn Future<Output = usize> + Send + '_>>;

    /// Makes a volume known to whom its settings let in: from now on they can log in to it. A profile's volume is never
    /// made known so: the lifecycle alone exports it.
    fn publish(&self, volume: &VolumeInfo);

    /// Makes a profile's volume known to some; the rest is as its settings say.
    fn publish_to(&self, volume: &VolumeInfo, access: Access);

    /// Takes a volume away before it is removed: nobody can log in any more and nothing holds it open. Without
    /// `force` it is left as it was while somebody is logged in.
    fn withdraw(
        &self,
        volume: VolumeId,
        force: bool,
    ) -> Pin<Box<dyn Future<Output = Withdrawal> + Send + '_>>;
}

/// Which sessions a change of settings ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndSessions {
    /// None.
    None,
    /// Those of initiators that may not log in any more.
    NotPermitted,
    /// All: whoever may comes back by itself.
    All,
}

/// What became of a withdrawal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withdrawal {
    /// It is exported no more.
    Done,
    /// These are logged in; nothing was changed.
    InUse(Vec<SessionSummary>),
}
