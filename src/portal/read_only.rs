//! Golden images and snapshots as targets of their own: write-protected disks that any number of initiators may read
//! at a time.
//!
//! What is served has a file of settings under its own id (see `settings`), and that is all that there is of it: the
//! file is what a restart finds it by. Its target's name is made of its id alone, for an image may be renamed.

use std::sync::Arc;

use anyhow::Context;
use api::SessionSummary;
use cow::{ImageId, SnapshotId, Store, Subject};
use iscsi::IscsiName;
use scsi::UnitConfig;
use tokio::sync::{Mutex, MutexGuard};

use super::volumes::summary;
use crate::control::Withdrawal;
use crate::door::StillDisk;
use crate::exports::{Directory, InUse, Luns, Terms};
use crate::lun::{BlockStore, Lun, LunConfig};
use crate::settings::{ExportId, Shelf};

/// Digits of the id that are part of a target's name.
const ID_DIGITS: usize = 12;

/// Something that is only read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadOnlyDisk {
    /// A golden image.
    Image(ImageId),
    /// A snapshot of a volume.
    Snapshot(SnapshotId),
}

impl ReadOnlyDisk {
    fn subject(self) -> Subject {
        match self {
            Self::Image(id) => Subject::Image(id),
            Self::Snapshot(id) => Subject::Snapshot(id),
        }
    }

    fn bytes(self) -> [u8; 16] {
        match self {
            Self::Image(id) => id.0,
            Self::Snapshot(id) => id.0,
        }
    }

    /// As the target's name has it.
    fn word(self) -> &'static str {
        match self {
            Self::Image(_) => "image",
            Self::Snapshot(_) => "snapshot",
        }
    }

    /// As INQUIRY has it.
    fn product(self) -> &'static str {
        match self {
            Self::Image(_) => "OS golden image",
            Self::Snapshot(_) => "OS snapshot",
        }
    }
}

impl From<ReadOnlyDisk> for ExportId {
    fn from(disk: ReadOnlyDisk) -> Self {
        match disk {
            ReadOnlyDisk::Image(id) => id.into(),
            ReadOnlyDisk::Snapshot(id) => id.into(),
        }
    }
}

/// The targets of what is served read-only.
pub struct ReadOnlyTargets {
    store: Arc<Store>,
    directory: Arc<Directory>,
    settings: Arc<Shelf>,
    prefix: String,
    changing: Mutex<()>,
}

impl ReadOnlyTargets {
    /// Nothing is exported yet.
    #[must_use]
    pub fn new(
        store: Arc<Store>,
        directory: Arc<Directory>,
        settings: Arc<Shelf>,
        prefix: &str,
    ) -> Arc<Self> {
        let prefix = prefix.to_owned();
        Arc::new(Self { store, directory, settings, prefix, changing: Mutex::default() })
    }

    /// To be held from looking whether something is served to having done what depends on it.
    pub async fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// Is it served, be it to nobody because its settings cannot be read?
    #[must_use]
    pub fn serves(&self, disk: ReadOnlyDisk) -> bool {
        self.settings.has(disk)
    }

    /// Name of its target.
    #[must_use]
    pub fn target_name(&self, disk: ReadOnlyDisk) -> String {
        let id = ExportId::from(disk).to_string();
        format!("{}:{}-{:.ID_DIGITS$}", self.prefix, disk.word(), id)
    }

    fn iscsi_name(&self, disk: ReadOnlyDisk) -> anyhow::Result<IscsiName> {
        let text = self.target_name(disk);
        IscsiName::parse(&text).with_context(|| format!("{text:?} is no iSCSI name"))
    }

    /// Exports everything that is served. What cannot be is told in the log, and in its own health.
    ///
    /// # Errors
    /// When it cannot be known which golden images there are.
    pub fn publish_all(&self) -> anyhow::Result<()> {
        let images = self.store.images().context("cannot read the golden images")?;
        let images = images.iter().map(|image| ReadOnlyDisk::Image(image.id));
        let snapshots = self.store.snapshots();
        let snapshots = snapshots.iter().map(|snapshot| ReadOnlyDisk::Snapshot(snapshot.id));
        for disk in images.chain(snapshots).filter(|disk| self.serves(*disk)) {
            if let Err(error) = self.publish(disk) {
                tracing::error!(?disk, error = format!("{error:#}"), "the disk is not exported");
            }
        }
        Ok(())
    }

    /// Exports a disk as its settings say; one that is exported already takes them over for logins to come.
    ///
    /// # Errors
    /// When its settings cannot be read.
    pub fn publish(&self, disk: ReadOnlyDisk) -> anyhow::Result<()> {
        let settings = self.settings.get(disk)?;
        let terms = Terms { access: settings.access()?, redirect: settings.redirect, exclusive: false };
        let name = self.iscsi_name(disk)?;
        let new = terms.clone();
        if self.directory.set_terms(&name, |terms| *terms = new).is_some() {
            return Ok(());
        }
        let (store, target_name) = (self.store.clone(), name.to_string());
        let open = move || {
            let still = StillDisk(store.still(disk.subject()).context("cannot open the disk")?);
            let unit = UnitConfig {
                read_only: true,
                write_cache: false,
                product: disk.product(),
                block_size: settings.logical_block_bytes.into(),
                ..UnitConfig::volume(disk.bytes(), &target_name, still.size_bytes())
            };
            let config = LunConfig { unit, reservations: None, room: None };
            Ok(Luns::from(Lun::open(config, Arc::new(still)).context("cannot make a disk of it")?))
        };
        self.directory.add(name, terms, Box::new(open));
        Ok(())
    }

    /// Exports a disk no more. Without `force` it is left as it was while somebody is logged in.
    pub async fn withdraw(&self, disk: ReadOnlyDisk, force: bool) -> Withdrawal {
        let Ok(name) = self.iscsi_name(disk) else { return Withdrawal::Done };
        match self.directory.remove(&name, force).await {
            Ok(()) => Withdrawal::Done,
            Err(InUse(sessions)) => Withdrawal::InUse(sessions.into_iter().map(summary).collect()),
        }
    }

    /// Who is logged in.
    #[must_use]
    pub fn sessions(&self, disk: ReadOnlyDisk) -> Vec<SessionSummary> {
        let sessions = self.iscsi_name(disk).map(|name| self.directory.sessions(&name));
        sessions.unwrap_or_default().into_iter().map(summary).collect()
    }
}
