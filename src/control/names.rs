//! Names of volumes in memory: looked up at once, and unique without regard to case.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use cow::{VolumeId, VolumeInfo};
use parking_lot::Mutex;

/// All names that are taken. `None` stands for a volume that is being created.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<HashMap<String, Option<VolumeId>>>);

impl Names {
    pub(super) fn new(volumes: &[VolumeInfo]) -> Self {
        let names = volumes.iter().map(|volume| (key(&volume.name), Some(volume.id)));
        Self(Mutex::new(names.collect()))
    }

    pub(super) fn find(&self, name: &str) -> Option<VolumeId> {
        self.0.lock().get(&key(name)).copied().flatten()
    }

    pub(super) fn nearest(&self, name: &str) -> Option<String> {
        let names = self.0.lock();
        api::nearest(name, names.keys().map(String::as_str)).map(str::to_owned)
    }

    /// Takes a name; `false` when somebody has it.
    pub(super) fn take(&self, name: &str) -> bool {
        match self.0.lock().entry(key(name)) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(None);
                true
            }
        }
    }

    /// The volume for which the name was taken is there.
    pub(super) fn settle(&self, name: &str, id: VolumeId) {
        self.0.lock().insert(key(name), Some(id));
    }

    pub(super) fn release(&self, name: &str) {
        self.0.lock().remove(&key(name));
    }
}

impl crate::lifecycle::VolumeNames for Names {
    fn is_taken(&self, name: &str) -> bool {
        self.0.lock().contains_key(&key(name))
    }

    fn appeared(&self, name: &str, id: VolumeId) {
        self.settle(name, id);
    }

    fn went(&self, name: &str) {
        self.release(name);
    }
}

fn key(name: &str) -> String {
    name.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_once_whatever_its_case() {
        let names = Names::default();
        assert!(names.take("Web01"));
        assert!(!names.take("web01"));
        assert_eq!(names.find("web01"), None, "not there before it is settled");
        names.settle("Web01", VolumeId([7; 16]));
        assert_eq!(names.find("WEB01"), Some(VolumeId([7; 16])));
        assert_eq!(names.nearest("web10").as_deref(), Some("web01"));
        names.release("web01");
        assert!(names.take("web01"));
    }
}
