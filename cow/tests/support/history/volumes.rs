//! Volumes come, go, are closed and grow.

use std::sync::Arc;

use cow::{NewVolume, Volume};

use super::{History, Outcome, Trouble};
use crate::support::{
    check::read_tags,
    model::{Pending, Presence, Volume as VolumeModel},
    tags::SECTOR,
};

impl History {
    pub(super) fn open_volume(&mut self, volume: usize) -> Result<Arc<Volume>, Trouble> {
        if let Some(open) = self.handle(volume) {
            return Ok(open);
        }
        let id = self.model.volumes[volume].id.ok_or("no id")?;
        let store = self.store()?;
        let mut open = store.open_volume(id).map_err(|error| self.refused(error))?;
        if open.is_poisoned() && self.plan.fault_one_in > 0 {
            // By a neighbour that shares a frozen layer with it, or by upkeep, while nobody here had it open.
            self.model.volumes[volume].suspect = true;
            drop(open);
            open = store
                .close_volume(id)
                .and_then(|()| store.open_volume(id))
                .map_err(|error| self.refused(error))?;
        }
        if self.model.volumes[volume].suspect {
            let sectors = self.model.volumes[volume].sectors.len();
            let tags = read_tags(&open, 0, sectors).map_err(|error| self.refused(error))?;
            self.found_after_failed_sync(volume, &tags)?;
        }
        self.handles.push((volume, open.clone()));
        Ok(open)
    }

    pub(super) fn handle(&self, volume: usize) -> Option<Arc<Volume>> {
        self.handles.iter().find(|(at, _)| *at == volume).map(|(_, open)| open.clone())
    }

    pub(super) fn close_or_reopen(&mut self, volume: usize) -> Outcome {
        if self.handle(volume).is_none() {
            return self.open_volume(volume).map(drop);
        }
        self.note(|| format!("close volume {volume}"));
        self.handles.retain(|(at, _)| *at != volume);
        self.closing = Some(volume);
        let id = self.model.volumes[volume].id.ok_or("no id")?;
        self.store()?.close_volume(id).map_err(|error| self.refused(error))?;
        self.closing = None;
        self.check_forks()?;
        self.model.flushed(volume);
        Ok(())
    }

    pub(super) fn create_volume(&mut self) -> Outcome {
        let images = self.model.images_there();
        let image = if images.is_empty() || self.rng.one_in(3) {
            None
        } else {
            Some(images[self.rng.index(images.len())])
        };
        let least = image.map_or(1, |image| self.model.images[image].tags.len());
        let sectors = if self.rng.one_in(3) && image.is_some() { least } else { least + self.rng.index(200) };
        let name = self.name("v");
        self.note(|| format!("create volume `{name}` of {sectors} sectors on image {image:?}"));
        let volume = VolumeModel {
            name: name.clone(),
            id: None,
            image,
            presence: Presence::Maybe,
            sectors: self.model.fresh(image, sectors),
            groups: Vec::new(),
            suspect: false,
            reserve: 0,
        };
        self.model.volumes.push(volume);
        let new = NewVolume {
            name,
            image: image.and_then(|image| self.model.images[image].id),
            size_bytes: Some((sectors * SECTOR) as u64),
        };
        let info = self.store()?.create_volume(new).map_err(|error| self.refused(error))?;
        self.check_forks()?;
        if let Some(volume) = self.model.volumes.last_mut() {
            (volume.presence, volume.id) = (Presence::Yes, Some(info.id));
        }
        Ok(())
    }

    pub(super) fn remove_volume(&mut self, volume: usize) -> Outcome {
        self.note(|| format!("remove volume {volume}"));
        self.handles.retain(|(at, _)| *at != volume);
        self.model.volumes[volume].presence = Presence::Maybe;
        let id = self.model.volumes[volume].id.ok_or("no id")?;
        self.store()?.remove_volume(id).map_err(|error| self.refused(error))?;
        self.check_forks()?;
        self.model.volumes[volume].presence = Presence::No;
        Ok(())
    }

    pub(super) fn rename(&mut self, volume: usize) -> Outcome {
        let name = self.name("r");
        self.note(|| format!("rename volume {volume} to `{name}`"));
        let id = self.model.volumes[volume].id.ok_or("no id")?;
        self.model.pending = Pending::Rename { volume, name: name.clone() };
        self.store()?.rename_volume(id, &name).map_err(|error| self.refused(error))?;
        self.check_forks()?;
        self.model.done();
        Ok(())
    }

    pub(super) fn grow(&mut self, volume: usize) -> Outcome {
        let sectors = self.model.volumes[volume].sectors.len() + self.rng.index(40);
        self.note(|| format!("grow volume {volume} to {sectors} sectors"));
        let id = self.model.volumes[volume].id.ok_or("no id")?;
        self.model.pending = Pending::Grow { volume, sectors };
        self.store()?.grow_volume(id, (sectors * SECTOR) as u64).map_err(|error| self.refused(error))?;
        self.check_forks()?;
        self.model.done();
        Ok(())
    }
}
