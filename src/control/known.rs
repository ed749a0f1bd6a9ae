//! Golden images in memory, as far as volumes ask for them: a volume is created and listed without asking the disk for
//! its image.

use api::{Code, Refusal};
use cow::{ImageId, ImageInfo};
use parking_lot::Mutex;

/// What volumes need to know of a golden image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownImage {
    pub(super) id: ImageId,
    pub(super) name: String,
    pub(super) size_bytes: u64,
}

/// All golden images.
#[derive(Debug, Default)]
pub(super) struct KnownImages(Mutex<Vec<KnownImage>>);

impl KnownImages {
    /// The store's images, under the names that the catalog has for them.
    pub(super) fn new(images: &[ImageInfo], name_of: impl Fn(ImageId) -> Option<String>) -> Self {
        let known = |image: &ImageInfo| {
            let name = name_of(image.id).unwrap_or_else(|| image.name.clone());
            KnownImage { id: image.id, name, size_bytes: image.size_bytes }
        };
        Self(Mutex::new(images.iter().map(known).collect()))
    }

    pub(super) fn add(&self, image: &ImageInfo, name: &str) {
        let (id, size_bytes) = (image.id, image.size_bytes);
        self.0.lock().push(KnownImage { id, name: name.to_owned(), size_bytes });
    }

    pub(super) fn rename(&self, id: ImageId, name: &str) {
        let mut images = self.0.lock();
        if let Some(image) = images.iter_mut().find(|image| image.id == id) {
            name.clone_into(&mut image.name);
        }
    }

    pub(super) fn remove(&self, id: ImageId) {
        self.0.lock().retain(|image| image.id != id);
    }

    /// All that there are now.
    pub(super) fn ids(&self) -> Vec<ImageId> {
        self.0.lock().iter().map(|image| image.id).collect()
    }

    /// Forgets those of `before` that are not there any more. What was added since then stays, whether it was seen or not.
    pub(super) fn forget_gone(&self, before: &[ImageId], there: &[ImageInfo]) {
        let is_gone = |id: ImageId| before.contains(&id) && !there.iter().any(|image| image.id == id);
        self.0.lock().retain(|known| !is_gone(known.id));
    }

    pub(super) fn name_of(&self, id: ImageId) -> Option<String> {
        self.0.lock().iter().find(|image| image.id == id).map(|image| image.name.clone())
    }

    pub(super) fn size_of(&self, id: ImageId) -> Option<u64> {
        self.0.lock().iter().find(|image| image.id == id).map(|image| image.size_bytes)
    }

    /// A golden image by path, id or name.
    pub(super) fn find(&self, reference: &str) -> Result<KnownImage, Refusal> {
        let prefix = format!("{}/", api::GOLDEN_IMAGES);
        let wanted = reference.strip_prefix(&prefix).unwrap_or(reference);
        let id = wanted.parse::<ImageId>().ok();
        let images = self.0.lock();
        let same = |image: &&KnownImage| Some(image.id) == id || image.name.eq_ignore_ascii_case(wanted);
        if let Some(image) = images.iter().find(same) {
            return Ok(image.clone());
        }
        let near = api::nearest(wanted, images.iter().map(|image| image.name.as_str()));
        let refusal = Refusal::new(Code::NotFound, format!("there is no golden image {wanted:?}"));
        Err(match near {
            Some(near) => refusal.action(format!("did you mean {near:?}?")),
            None => refusal.action("osvol image list shows what there is"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_while_it_is_looked_what_has_gone_stays() {
        let directory = tempfile::tempdir().unwrap();
        let store = cow::Store::open(directory.path()).unwrap();
        let image = |name: &str| {
            let import = store.begin_import(name).unwrap();
            import.write_at(0, &[1; 512]).unwrap();
            let go_on = &mut |_, _| std::ops::ControlFlow::Continue(());
            store.finish_import(import, "raw", go_on).unwrap()
        };
        let (stays, goes) = (image("stays"), image("goes"));
        let known = KnownImages::new(&[stays.clone(), goes.clone()], |_| None);
        store.remove_image(goes.id).unwrap();
        let (before, there) = (known.ids(), store.images().unwrap());
        let late = image("late");
        known.add(&late, "late");
        known.forget_gone(&before, &there);
        assert_eq!(known.ids(), [stays.id, late.id]);
    }
}
