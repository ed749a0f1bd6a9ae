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

    /// Forgets all images but these.
    pub(super) fn keep(&self, there: &[ImageInfo]) {
        self.0.lock().retain(|known| there.iter().any(|image| image.id == known.id));
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
