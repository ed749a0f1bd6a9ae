//! Golden images in memory, as far as volumes ask for them: a volume is created and listed without asking the disk for
//! its image.

use api::{Code, Refusal};
use cow::{ImageId, ImageInfo};
use parking_lot::Mutex;

/// What does not change of a golden image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownImage {
    pub(super) id: ImageId,
    pub(super) name: String,
    pub(super) size_bytes: u64,
}

impl From<&ImageInfo> for KnownImage {
    fn from(info: &ImageInfo) -> Self {
        Self { id: info.id, name: info.name.clone(), size_bytes: info.size_bytes }
    }
}

/// All golden images.
#[derive(Debug, Default)]
pub(super) struct KnownImages(Mutex<Vec<KnownImage>>);

impl KnownImages {
    pub(super) fn new(images: &[ImageInfo]) -> Self {
        Self(Mutex::new(images.iter().map(KnownImage::from).collect()))
    }

    pub(super) fn add(&self, image: &ImageInfo) {
        self.0.lock().push(image.into());
    }

    pub(super) fn remove(&self, id: ImageId) {
        self.0.lock().retain(|image| image.id != id);
    }

    pub(super) fn name_of(&self, id: ImageId) -> Option<String> {
        self.0.lock().iter().find(|image| image.id == id).map(|image| image.name.clone())
    }

    pub(super) fn size_of(&self, id: ImageId) -> Option<u64> {
        self.0.lock().iter().find(|image| image.id == id).map(|image| image.size_bytes)
    }

    pub(super) fn is_taken(&self, name: &str) -> bool {
        self.0.lock().iter().any(|image| image.name.eq_ignore_ascii_case(name))
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
