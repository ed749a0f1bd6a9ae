//! Golden images come and go.

use std::ops::ControlFlow;

use cow::Kind;

use super::{History, Outcome, Trouble};
use crate::support::{
    model::{Image, Presence},
    tags::{self, SECTOR},
};

impl History {
    pub(super) fn import(&mut self) -> Outcome {
        let old = self.model.images.len();
        let tags = if old > 0 && self.rng.one_in(3) {
            // The same content as another image, which may be gone by now.
            self.model.images[self.rng.index(old)].tags.clone()
        } else {
            let long = if self.rng.one_in(3) { 400 } else { 40 };
            let sectors = 1 + self.rng.index(long);
            let mut tags = self.model.new_tags(sectors);
            let (from, to) = (self.rng.index(sectors), self.rng.index(sectors));
            tags.iter_mut().take(to).skip(from).for_each(|tag| *tag = 0);
            tags
        };
        let name = self.name("i");
        self.note(|| format!("import image {old} `{name}` of {} sectors", tags.len()));
        self.needs_space = true;
        self.model.images.push(Image {
            name: name.clone(),
            id: None,
            presence: Presence::Maybe,
            tags: tags.clone(),
        });
        let store = self.store()?;
        let import = store.begin_import(&name).map_err(|error| self.refused(error))?;
        import.set_len((tags.len() * SECTOR) as u64).map_err(|error| self.refused(error))?;
        let mut at = 0;
        while at < tags.len() {
            let count = (1 + self.rng.index(100)).min(tags.len() - at);
            if tags[at..at + count].iter().any(|tag| *tag != 0) {
                let written = import.write_at((at * SECTOR) as u64, &tags::bytes(&tags[at..at + count]));
                written.map_err(|error| self.refused(error))?;
            }
            at += count;
        }
        let info = store.finish_import(import, "raw", &mut |_, _| ControlFlow::Continue(()));
        let info = info.map_err(|error| self.refused(error))?;
        self.check_forks()?;
        (self.model.images[old].presence, self.model.images[old].id) = (Presence::Yes, Some(info.id));
        Ok(())
    }

    pub(super) fn remove_image(&mut self) -> Outcome {
        let images = self.model.images_there();
        if images.is_empty() {
            return Ok(());
        }
        let image = images[self.rng.index(images.len())];
        let id = self.model.images[image].id.ok_or("no id")?;
        let used = self.model.image_is_used(image);
        self.note(|| format!("remove image {image}, used: {used}"));
        if used {
            return match self.store()?.remove_image(id) {
                Err(error) if error.kind() == Kind::InUse => Ok(()),
                // Only something that may be there uses it.
                result if self.plan.fault_one_in > 0 => {
                    self.model.images[image].presence = Presence::Maybe;
                    result.map_err(|error| self.refused(error))
                }
                result => Err(Trouble::Wrong(format!("an image that is in use was removed: {result:?}"))),
            };
        }
        self.model.images[image].presence = Presence::Maybe;
        self.store()?.remove_image(id).map_err(|error| self.refused(error))?;
        self.check_forks()?;
        self.model.images[image].presence = Presence::No;
        Ok(())
    }
}
