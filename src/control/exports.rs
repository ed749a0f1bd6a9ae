//! What the control API asks of the iSCSI side.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use api::SessionSummary;
use cow::{VolumeId, VolumeInfo};

use crate::catalog::os_volumes;
use crate::exports::Access;

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

    /// What there is to worry about a volume that the store knows nothing of, in words.
    fn warning(&self, volume: VolumeId) -> Option<String>;

    /// A volume has another size or quota: whoever is logged in is told.
    fn changed(&self, volume: VolumeId);

    /// Number of sessions to all volumes.
    fn session_count(&self) -> usize;

    /// How often somebody has logged in to a volume since the daemon started.
    fn logins(&self, volume: VolumeId) -> u64;

    /// Makes a volume known to everybody: from now on initiators can log in to it.
    /// A profile's volume is never known to everybody: the lifecycle alone exports it.
    fn publish(&self, volume: &VolumeInfo) {
        match os_volumes::number_of(&volume.name) {
            None => self.publish_to(volume, Access::default()),
            Some(_) => {
                tracing::error!(volume = volume.name, "a profile's volume is not exported to everybody")
            }
        }
    }

    /// Makes a volume known to some.
    fn publish_to(&self, volume: &VolumeInfo, access: Access);

    /// Takes a volume away before it is removed: nobody can log in any more and nothing holds it open. Without
    /// `force` it is left as it was while somebody is logged in.
    fn withdraw(
        &self,
        volume: VolumeId,
        force: bool,
    ) -> Pin<Box<dyn Future<Output = Withdrawal> + Send + '_>>;
}

/// What became of a withdrawal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withdrawal {
    /// It is exported no more.
    Done,
    /// These are logged in; nothing was changed.
    InUse(Vec<SessionSummary>),
}
