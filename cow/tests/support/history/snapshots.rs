//! Snapshots come, go, and become volumes.

use super::{History, Outcome};
use crate::support::model::{Pending, Presence, Snapshot, Volume as VolumeModel};

impl History {
    pub(super) fn snapshot(&mut self, volume: usize) -> Outcome {
        if self.model.snapshots_there().len() > 6 {
            return self.remove_snapshot();
        }
        let name = self.name("s");
        self.note(|| format!("snapshot `{name}` of volume {volume}"));
        let model = &self.model.volumes[volume];
        let (id, image) = (model.id.ok_or("no id")?, model.image);
        let snapshot = Snapshot {
            name: name.clone(),
            id: None,
            volume,
            image,
            presence: Presence::Maybe,
            tags: model.live(),
        };
        self.model.snapshots.push(snapshot);
        let info = self.store()?.snapshot(id, &name).map_err(|error| self.refused(error))?;
        self.check_forks()?;
        if let Some(snapshot) = self.model.snapshots.last_mut() {
            (snapshot.presence, snapshot.id) = (Presence::Yes, Some(info.id));
        }
        self.model.flushed(volume);
        Ok(())
    }

    pub(super) fn any_snapshot(&mut self) -> Option<usize> {
        let snapshots = self.model.snapshots_there();
        if snapshots.is_empty() { None } else { Some(snapshots[self.rng.index(snapshots.len())]) }
    }

    pub(super) fn remove_snapshot(&mut self) -> Outcome {
        let Some(snapshot) = self.any_snapshot() else { return Ok(()) };
        self.note(|| format!("remove snapshot {snapshot}"));
        self.model.snapshots[snapshot].presence = Presence::Maybe;
        let id = self.model.snapshots[snapshot].id.ok_or("no id")?;
        self.store()?.remove_snapshot(id).map_err(|error| self.refused(error))?;
        self.check_forks()?;
        self.model.snapshots[snapshot].presence = Presence::No;
        Ok(())
    }

    pub(super) fn clone_snapshot(&mut self) -> Outcome {
        let Some(snapshot) = self.any_snapshot() else { return Ok(()) };
        let name = self.name("c");
        self.note(|| format!("clone snapshot {snapshot} as `{name}`"));
        let from = &self.model.snapshots[snapshot];
        let id = from.id.ok_or("no id")?;
        let mut volume = VolumeModel {
            name: name.clone(),
            id: None,
            image: from.image,
            presence: Presence::Maybe,
            sectors: vec![Default::default(); from.tags.len()],
            groups: Vec::new(),
            suspect: false,
            reserve: 0,
        };
        volume.become_snapshot(&from.tags);
        self.model.volumes.push(volume);
        let info = self.store()?.clone_snapshot(id, &name).map_err(|error| self.refused(error))?;
        self.check_forks()?;
        if let Some(volume) = self.model.volumes.last_mut() {
            (volume.presence, volume.id) = (Presence::Yes, Some(info.id));
        }
        Ok(())
    }

    pub(super) fn roll_back(&mut self, volume: usize) -> Outcome {
        let snapshots: Vec<usize> = self
            .model
            .snapshots_there()
            .into_iter()
            .filter(|at| self.model.snapshots[*at].volume == volume)
            .collect();
        if snapshots.is_empty() {
            return Ok(());
        }
        let snapshot = snapshots[self.rng.index(snapshots.len())];
        self.note(|| format!("roll volume {volume} back to snapshot {snapshot}"));
        self.handles.retain(|(at, _)| *at != volume);
        let (id, to) = (
            self.model.volumes[volume].id.ok_or("no id")?,
            self.model.snapshots[snapshot].id.ok_or("no id")?,
        );
        self.model.pending = Pending::RollBack { volume, snapshot };
        self.store()?.roll_back(id, to).map_err(|error| self.refused(error))?;
        self.check_forks()?;
        self.model.done();
        Ok(())
    }
}
