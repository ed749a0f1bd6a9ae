//! The attachments there are, and what they mean to those who export and remove volumes.
//!
//! A volume that is attached as it is counts as in use: whoever wants it gone is refused, or, where that is asked for,
//! the attachment ends first. One that is attached as it was does not hold its volume.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use api::{Code, Refusal, SessionSummary};
use cow::{VolumeId, VolumeInfo};
use iscsi::Tsih;
use parking_lot::Mutex;
use uuid::Uuid;

use super::exports::{EndSessions, Exports, Withdrawal};
use crate::door::{Door, Verdict};
use crate::exports::{Access, LoggedIn};
use crate::portal::ReadOnlyTargets;
use crate::settings::Shelf;

/// Attachments at a time.
const ATTACHMENTS_MAX: usize = 64;

/// What is known of an attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct About {
    pub(super) id: Uuid,
    pub(super) volume: VolumeId,
    pub(super) volume_name: String,
    pub(super) socket: PathBuf,
    pub(super) writable: bool,
    pub(super) snapshot: bool,
    pub(super) created_ms: u64,
}

/// An attachment at one moment: what is known, what its door has seen, and how many are connected.
pub(super) type Seen = (About, Verdict, usize);

struct Entry {
    about: About,
    /// None while it is being opened or closed.
    door: Option<Door>,
}

/// All attachments.
#[derive(Default)]
pub(super) struct Attached {
    directory: OnceLock<PathBuf>,
    entries: Mutex<BTreeMap<Uuid, Entry>>,
}

impl Attached {
    /// Where sockets are made whose path nobody has chosen.
    pub(super) fn set_directory(&self, directory: PathBuf) {
        let _ = self.directory.set(directory);
    }

    pub(super) fn directory(&self) -> Option<&PathBuf> {
        self.directory.get()
    }

    /// Takes a place for an attachment that is to be opened.
    pub(super) fn begin(&self, about: &About) -> Result<(), Refusal> {
        let mut entries = self.entries.lock();
        if entries.len() >= ATTACHMENTS_MAX {
            let message = format!("{ATTACHMENTS_MAX} attachments are open already");
            return Err(Refusal::new(Code::Busy, message).action("osvol volume attachments shows them"));
        }
        let other = entries.values().find(|entry| {
            entry.about.volume == about.volume
                && (entry.about.writable || about.writable)
                && !entry.about.snapshot
        });
        if let Some(other) = other.filter(|_| !about.snapshot) {
            let message = format!("volume {:?} is attached already", about.volume_name);
            return Err(Refusal::new(Code::InUse, message)
                .details(format!("at {}", other.about.socket.display()))
                .action(format!("osvol volume detach {}", about.volume_name)));
        }
        entries.insert(about.id, Entry { about: about.clone(), door: None });
        Ok(())
    }

    /// It is open.
    pub(super) fn opened(&self, id: Uuid, door: Door) {
        if let Some(entry) = self.entries.lock().get_mut(&id) {
            entry.door = Some(door);
        }
    }

    /// It could not be opened.
    pub(super) fn forget(&self, id: Uuid) {
        self.entries.lock().remove(&id);
    }

    /// Closes one; `None` where there is none, or it is being opened or closed.
    pub(super) async fn close(&self, id: Uuid) -> Option<Seen> {
        let (about, door) = {
            let mut entries = self.entries.lock();
            let entry = entries.get_mut(&id)?;
            (entry.about.clone(), entry.door.take()?)
        };
        let verdict = door.close().await;
        self.forget(id);
        tracing::info!(volume = about.volume_name, socket = %about.socket.display(), "volume detached");
        Some((about, verdict, 0))
    }

    /// Those of a volume, or all.
    pub(super) fn seen(&self, volume: Option<VolumeId>) -> Vec<Seen> {
        let entries = self.entries.lock();
        let wanted = |entry: &&Entry| volume.is_none_or(|volume| entry.about.volume == volume);
        let seen = |entry: &Entry| {
            let door = entry.door.as_ref()?;
            Some((entry.about.clone(), door.seen(), door.clients()))
        };
        let mut all: Vec<Seen> = entries.values().filter(wanted).filter_map(seen).collect();
        all.sort_by_key(|(about, ..)| about.created_ms);
        all
    }

    /// Those that hold a volume.
    pub(super) fn holding(&self, volume: VolumeId) -> Vec<About> {
        let seen = self.seen(Some(volume)).into_iter().map(|(about, ..)| about);
        seen.filter(|about| !about.snapshot).collect()
    }

    /// Closes all.
    pub(super) async fn close_all(&self) {
        let ids: Vec<Uuid> = self.entries.lock().keys().copied().collect();
        for id in ids {
            self.close(id).await;
        }
    }
}

fn summary(about: &About) -> SessionSummary {
    SessionSummary { initiator_name: format!("NBD at {}", about.socket.display()), address: None }
}

/// The exports, with those attachments that hold a volume among its sessions.
pub(super) struct WithAttachments {
    pub(super) exports: Arc<dyn Exports>,
    pub(super) attached: Arc<Attached>,
}

impl Exports for WithAttachments {
    fn portals(&self) -> Vec<SocketAddr> {
        self.exports.portals()
    }

    fn target_name(&self, volume: VolumeId, name: &str) -> String {
        self.exports.target_name(volume, name)
    }

    fn sessions(&self, volume: VolumeId) -> Vec<SessionSummary> {
        let mut sessions = self.exports.sessions(volume);
        sessions.extend(self.attached.holding(volume).iter().map(summary));
        sessions
    }

    fn all_sessions(&self) -> HashMap<VolumeId, Vec<SessionSummary>> {
        let mut all = self.exports.all_sessions();
        for (about, ..) in self.attached.seen(None).iter().filter(|(about, ..)| !about.snapshot) {
            all.entry(about.volume).or_default().push(summary(about));
        }
        all
    }

    fn logged_in(&self) -> Vec<(LoggedIn, Option<VolumeId>)> {
        self.exports.logged_in()
    }

    fn end_session(&self, tsih: Tsih) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        self.exports.end_session(tsih)
    }

    fn warning(&self, volume: VolumeId) -> Option<String> {
        self.exports.warning(volume)
    }

    fn changed(&self, volume: VolumeId) {
        self.exports.changed(volume);
    }

    fn session_count(&self) -> usize {
        self.exports.session_count()
    }

    fn logins(&self, volume: VolumeId) -> u64 {
        self.exports.logins(volume)
    }

    fn settings(&self) -> &Arc<Shelf> {
        self.exports.settings()
    }

    fn read_only(&self) -> &Arc<ReadOnlyTargets> {
        self.exports.read_only()
    }

    fn settings_changed(
        &self,
        volume: &VolumeInfo,
        end_sessions: EndSessions,
    ) -> Pin<Box<dyn Future<Output = usize> + Send + '_>> {
        self.exports.settings_changed(volume, end_sessions)
    }

    fn publish(&self, volume: &VolumeInfo) {
        self.exports.publish(volume);
    }

    fn publish_to(&self, volume: &VolumeInfo, access: Access) {
        self.exports.publish_to(volume, access);
    }

    fn withdraw(
        &self,
        volume: VolumeId,
        force: bool,
    ) -> Pin<Box<dyn Future<Output = Withdrawal> + Send + '_>> {
        Box::pin(async move {
            let holding = self.attached.holding(volume);
            if !force && !holding.is_empty() {
                return Withdrawal::InUse(self.sessions(volume));
            }
            for about in holding {
                self.attached.close(about.id).await;
            }
            self.exports.withdraw(volume, force).await
        })
    }
}
