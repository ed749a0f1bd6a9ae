//! A target, and its logical units once somebody has asked for them.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use iscsi::IscsiName;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::Terms;
use crate::lun::Lun;

/// Makes a target's logical units ready. May take its time: it is called where waiting is allowed.
pub type OpenLuns = dyn Fn() -> anyhow::Result<Luns> + Send + Sync;

/// The logical units of a target.
#[derive(Clone, Debug)]
pub struct Luns {
    /// The volume, LUN 0.
    pub volume: Arc<Lun>,
    /// The seed of a cloud image beside it, LUN 1, which is only read.
    pub seed: Option<Arc<Lun>>,
}

impl From<Arc<Lun>> for Luns {
    fn from(volume: Arc<Lun>) -> Self {
        Self { volume, seed: None }
    }
}

/// One exported volume.
pub struct Target {
    pub(super) name: IscsiName,
    /// They may change while it is exported.
    pub(super) terms: Mutex<Arc<Terms>>,
    open: Box<OpenLuns>,
    luns: OnceCell<Luns>,
    /// Sessions that were ever admitted.
    pub(super) logins: AtomicU64,
}

impl Target {
    pub(super) fn new(name: IscsiName, terms: Terms, open: Box<OpenLuns>) -> Arc<Self> {
        let terms = Mutex::new(Arc::new(terms));
        Arc::new(Self { name, terms, open, luns: OnceCell::new(), logins: AtomicU64::new(0) })
    }

    /// Its iSCSI name.
    #[must_use]
    pub fn name(&self) -> &IscsiName {
        &self.name
    }

    /// Who may log in, and where.
    #[must_use]
    pub fn terms(&self) -> Arc<Terms> {
        self.terms.lock().clone()
    }

    pub(super) fn permits(&self, initiator: &IscsiName, from: IpAddr) -> bool {
        self.terms.lock().access.permits(initiator, from)
    }

    /// The logical units, opened by the first who asks. They stay open while the target is there: reservations and
    /// attentions outlive sessions.
    ///
    /// # Errors
    /// When they do not open.
    pub async fn luns(self: &Arc<Self>) -> anyhow::Result<Luns> {
        let target = self.clone();
        let open = || async move { tokio::task::spawn_blocking(move || (target.open)()).await? };
        let luns = self.luns.get_or_try_init(open).await?.clone();
        // It may have grown while it was being opened, when nobody could be told.
        luns.volume.resized()?;
        Ok(luns)
    }

    /// The volume's logical unit, if somebody has asked for it yet.
    #[must_use]
    pub fn opened_lun(&self) -> Option<Arc<Lun>> {
        self.luns.get().map(|luns| luns.volume.clone())
    }
}
