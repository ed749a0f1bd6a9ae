//! What a volume is exported with, as the API makes, changes and shows it.

use api::{Code, ExportChange, Refusal};
use cow::{Store, VolumeId, VolumeInfo};

use super::claims::Claim;
use super::exports::EndSessions;
use super::refusals;
use super::state::Control;
use crate::settings::{self, ExportSettings, Shelf};

/// Settings that a volume is made with. They are durable before the volume is, under the id that it gets: whatever
/// happens in between, it is never there without them, open to everybody.
pub(super) struct Initial(Option<ExportSettings>);

impl Initial {
    /// What a new volume is asked to be exported with.
    pub(super) fn of(asked: &ExportChange) -> Result<Self, Refusal> {
        let defaults = ExportSettings::default();
        let settings = settings::apply(&defaults, asked).map_err(|error| refusal(&error))?;
        Ok(Self((settings != defaults).then_some(settings)))
    }

    /// Makes the volume. May wait for the disk.
    pub(super) fn create(
        self,
        store: &Store,
        shelf: &Shelf,
        create: impl FnOnce(VolumeId) -> cow::Result<VolumeInfo>,
    ) -> Result<VolumeInfo, Refusal> {
        let id = store.new_volume_id().map_err(|error| refusals::of_store(&error))?;
        if let Some(settings) = self.0 {
            shelf.keep(id, settings).map_err(|error| refusal(&error))?;
        }
        let created = create(id);
        // What may be there after all keeps its settings.
        if created.is_err() && store.volume_info(id).is_err_and(|error| error.kind() == cow::Kind::NotFound) {
            forget(shelf, id);
        }
        created.map_err(|error| refusals::of_store(&error))
    }
}

/// Forgets the settings of a volume that is gone.
pub(super) fn forget(shelf: &Shelf, volume: VolumeId) {
    if let Err(error) = shelf.remove(volume) {
        tracing::warn!(%volume, %error, "the settings of a volume that is gone are left");
    }
}

impl Control {
    /// Checks a change of settings without making it.
    pub(super) async fn check_export(&self, info: &VolumeInfo, change: &ExportChange) -> Result<(), Refusal> {
        let names_access = change.initiators.is_some()
            || change.addresses.is_some()
            || change.chap.is_some()
            || change.mutual.is_some();
        if names_access && self.claim(info).await? != Claim::Direct {
            let message = format!("who may log in to volume {:?} is its profile's to say", info.name);
            return Err(Refusal::new(Code::InvalidValue, message).action("osvol profile edit changes it"));
        }
        let before = self.exports.settings().get(info.id).map_err(|error| refusal(&error))?;
        let after = settings::apply(&before, change).map_err(|error| refusal(&error))?;
        if after.logical_block_bytes != before.logical_block_bytes {
            let message = format!(
                "volume {:?} has blocks of {} bytes, as it was made: what is on it would not be found with others",
                info.name,
                before.logical_block_bytes.bytes()
            );
            let refusal = Refusal::new(Code::InvalidValue, message).source("logicalBlockBytes");
            return Err(refusal.action("make another volume, and copy what is in its file systems"));
        }
        Ok(())
    }

    /// Changes what a volume is exported with, for logins to come; ends sessions if asked to.
    pub(super) async fn change_export(
        &self,
        info: &VolumeInfo,
        change: ExportChange,
        end_sessions: bool,
    ) -> Result<(), Refusal> {
        if change == ExportChange::default() && !end_sessions {
            return Ok(());
        }
        let (shelf, id) = (self.exports.settings().clone(), info.id);
        let kept = move |_: &Store| shelf.change(id, |before| settings::apply(before, &change));
        let [before, after] = self.blocking(kept).await?.map_err(|error| refusal(&error))?;
        let ended = match end_sessions {
            false => EndSessions::None,
            // What they have proved, or where they are, is not what would be asked for now.
            true if (&before.chap, before.redirect) != (&after.chap, after.redirect) => EndSessions::All,
            true => EndSessions::NotPermitted,
        };
        if before.access().is_err() && after.access().is_ok() && self.attached.holding(id).is_empty() {
            // Until now it was exported to nobody.
            self.exports.publish(info);
        }
        let ended = self.exports.settings_changed(info, ended).await;
        tracing::info!(
            volume = info.name,
            sessions_ended = ended,
            "what the volume is exported with has changed"
        );
        Ok(())
    }

    /// Why a volume is exported to nobody, if it is for want of settings.
    pub(super) fn export_fault(&self, info: &VolumeInfo) -> Option<String> {
        let settings = match self.exports.settings().get(info.id) {
            Ok(settings) => settings,
            Err(error) => return Some(error.to_string()),
        };
        settings.access().err().map(|error| error.to_string())
    }
}

/// A fault of settings as a refusal that says what to do.
pub(super) fn refusal(error: &settings::Error) -> Refusal {
    use settings::Error;
    let refusal = |code| Refusal::new(code, error.to_string());
    match error {
        Error::Invalid { field, .. } => refusal(Code::InvalidValue).source(*field),
        Error::Unreadable(_) => refusal(Code::Corrupt)
            .action("put the file back from a backup of the store, and start osvold again")
            .action("or remove it and start osvold again: then everybody may log in, until osvol volume access says who may"),
        Error::Sealed => refusal(Code::Corrupt)
            .action("put the catalog's secret.key back, and start osvold again")
            .action("or give new secrets (osvol volume access)"),
        Error::NotKept(_) => refusals::internal("keeping settings", error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cow::NewVolume;

    use super::*;
    use crate::catalog::Catalog;

    struct Rig {
        store: Arc<Store>,
        shelf: Arc<Shelf>,
        directory: tempfile::TempDir,
    }

    fn rig() -> Rig {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let catalog = Catalog::open(&directory.path().join("catalog")).unwrap();
        let shelf = Shelf::open(directory.path(), catalog).unwrap();
        Rig { store, shelf, directory }
    }

    impl Rig {
        /// What a daemon that begins now would know.
        fn after_a_crash(&self) -> Arc<Shelf> {
            let catalog = Catalog::open(&self.directory.path().join("catalog")).unwrap();
            Shelf::open(self.directory.path(), catalog).unwrap()
        }

        fn volume(&self, id: VolumeId, size_bytes: u64) -> cow::Result<VolumeInfo> {
            let name = "web01".to_owned();
            self.store.create_volume_as(id, NewVolume { name, image: None, size_bytes: Some(size_bytes) })
        }
    }

    fn closed() -> Initial {
        let initiators = Some(vec!["iqn.2026-01.x:a".to_owned()]);
        Initial::of(&ExportChange { initiators, ..ExportChange::default() }).unwrap()
    }

    /// Whenever the daemon dies, a volume that is there is not open to everybody.
    #[test]
    fn the_settings_are_durable_before_the_volume_is_there() {
        let rig = rig();
        let made = closed().create(&rig.store, &rig.shelf, |id| {
            assert_eq!(rig.after_a_crash().get(id).unwrap().initiators.len(), 1);
            rig.volume(id, 1 << 20)
        });
        let id = made.unwrap().id;
        assert_eq!(rig.after_a_crash().get(id).unwrap().initiators.len(), 1);
        forget(&rig.shelf, id);
        assert!(!rig.after_a_crash().has(id));
    }

    #[test]
    fn a_volume_that_is_not_made_leaves_no_settings() {
        let rig = rig();
        closed().create(&rig.store, &rig.shelf, |id| rig.volume(id, 0)).unwrap_err();
        assert_eq!(rig.after_a_crash().ids(), []);
        assert_eq!(rig.shelf.ids(), []);
    }

    #[test]
    fn settings_that_cannot_be_kept_make_no_volume() {
        let rig = rig();
        std::fs::write(rig.directory.path().join("exports"), "in the way").unwrap();
        closed().create(&rig.store, &rig.shelf, |id| rig.volume(id, 1 << 20)).unwrap_err();
        assert!(rig.store.volumes().is_empty());
    }

    #[test]
    fn a_volume_that_asks_for_nothing_has_no_file() {
        let rig = rig();
        let open = Initial::of(&ExportChange::default()).unwrap();
        open.create(&rig.store, &rig.shelf, |id| rig.volume(id, 1 << 20)).unwrap();
        assert_eq!(rig.after_a_crash().ids(), []);
    }
}
