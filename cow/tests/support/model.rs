//! The dumbest right thing: for every sector the contents that are allowed now.

use std::borrow::Cow;

use cow::{ImageId, SnapshotId, VolumeId};

use super::tags::Tag;

/// Whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Yes,
    /// It was being made or removed when something came in between.
    Maybe,
    No,
}

/// What ended the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Kill,
    Cut,
}

/// One sector of a volume.
#[derive(Debug, Clone, Default)]
pub struct Sector {
    /// What a read gives.
    pub live: Tag,
    /// What a kill may bring as well: the rest of changes that failed.
    pub maybes: Vec<Tag>,
    /// What a power cut may bring as well: whatever was acknowledged since the last flush, and what was there then.
    pub olds: Vec<Tag>,
}

impl Sector {
    fn new(live: Tag) -> Self {
        Self { live, ..Self::default() }
    }

    fn write(&mut self, tag: Tag) {
        self.olds.append(&mut self.maybes);
        self.olds.push(self.live);
        self.live = tag;
    }

    fn settle(&mut self) {
        self.olds.clear();
        self.maybes.clear();
    }

    pub fn allows(&self, tag: Tag, end: End) -> bool {
        tag == self.live || self.maybes.contains(&tag) || (end == End::Cut && self.olds.contains(&tag))
    }

    /// This is what was found after the end of a process.
    pub fn found(&mut self, tag: Tag, end: End) {
        if end == End::Cut {
            self.settle();
        } else {
            self.maybes.clear();
            if tag != self.live {
                self.olds.push(self.live);
            }
        }
        self.live = tag;
    }
}

/// A change that is whole after a crash, or not there.
#[derive(Debug, Clone)]
pub struct Group {
    pub first: usize,
    pub tags: Vec<Tag>,
}

#[derive(Debug, Clone)]
pub struct Volume {
    pub name: String,
    pub id: Option<VolumeId>,
    pub image: Option<usize>,
    pub presence: Presence,
    pub sectors: Vec<Sector>,
    /// Atomic changes since the last flush.
    pub groups: Vec<Group>,
    /// A sync of it failed: what was not flushed may be lost, and the loss may be found.
    pub suspect: bool,
    /// Bytes that are guaranteed to it.
    pub reserve: u64,
}

#[derive(Debug, Clone)]
pub struct Image {
    pub name: String,
    pub id: Option<ImageId>,
    pub presence: Presence,
    pub tags: Vec<Tag>,
}

#[derive(Debug, Clone)]
pub struct Snapshot {
    pub name: String,
    pub id: Option<SnapshotId>,
    pub volume: usize,
    pub image: Option<usize>,
    pub presence: Presence,
    pub tags: Vec<Tag>,
}

/// What is being done to a volume when a crash comes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Pending {
    #[default]
    Nothing,
    /// Sectors from `first` on become these.
    Change { volume: usize, first: usize, tags: Vec<Tag>, atomic: bool },
    /// All of it becomes what the snapshot is.
    RollBack { volume: usize, snapshot: usize },
    /// It gets more sectors.
    Grow { volume: usize, sectors: usize },
    /// So many bytes are guaranteed to it.
    Reserve { volume: usize, bytes: u64 },
    /// It gets this name.
    Rename { volume: usize, name: String },
}

#[derive(Debug, Clone, Default)]
pub struct Model {
    pub volumes: Vec<Volume>,
    pub images: Vec<Image>,
    pub snapshots: Vec<Snapshot>,
    pub pending: Pending,
    last_tag: Tag,
}

impl Model {
    pub fn new_tags(&mut self, sectors: usize) -> Vec<Tag> {
        (0..sectors)
            .map(|_| {
                self.last_tag += 1;
                self.last_tag
            })
            .collect()
    }

    /// What a volume of so many sectors holds that was just made of this image.
    pub fn fresh(&self, image: Option<usize>, sectors: usize) -> Vec<Sector> {
        let tags = image.map_or(&[][..], |image| &self.images[image].tags[..]);
        (0..sectors).map(|at| Sector::new(tags.get(at).copied().unwrap_or(0))).collect()
    }

    /// What is pending was acknowledged.
    pub fn done(&mut self) {
        match std::mem::take(&mut self.pending) {
            Pending::Nothing => {}
            Pending::Change { volume, first, tags, atomic } => {
                let volume = &mut self.volumes[volume];
                volume.sectors[first..first + tags.len()]
                    .iter_mut()
                    .zip(&tags)
                    .for_each(|(sector, tag)| sector.write(*tag));
                if atomic {
                    volume.groups.push(Group { first, tags });
                }
            }
            Pending::RollBack { volume, snapshot } => {
                let tags = self.snapshots[snapshot].tags.clone();
                let volume = &mut self.volumes[volume];
                volume.become_snapshot(&tags);
            }
            Pending::Reserve { volume, bytes } => self.volumes[volume].reserve = bytes,
            Pending::Rename { volume, name } => self.volumes[volume].name = name,
            Pending::Grow { volume, sectors } => {
                self.volumes[volume].sectors.resize(sectors, Sector::default())
            }
        }
    }

    /// What is pending failed, and the process goes on: reads gave `live` for the sectors of a change.
    pub fn failed(&mut self, live: &[Tag]) {
        if let Pending::Change { volume, first, tags, .. } = std::mem::take(&mut self.pending) {
            let sectors = &mut self.volumes[volume].sectors[first..first + tags.len()];
            for ((sector, tag), live) in sectors.iter_mut().zip(&tags).zip(live) {
                if *live == *tag {
                    sector.write(*tag);
                } else {
                    sector.maybes.push(*tag);
                }
            }
        }
    }

    /// A volume's flush was acknowledged.
    pub fn flushed(&mut self, volume: usize) {
        let volume = &mut self.volumes[volume];
        volume.sectors.iter_mut().for_each(Sector::settle);
        volume.groups.clear();
        volume.suspect = false;
    }

    /// The same, with the new name where a volume was being renamed and that is found.
    pub fn known_by(&self, names: &[String]) -> Cow<'_, Self> {
        match &self.pending {
            Pending::Rename { volume, name } if names.contains(name) => {
                let mut renamed = self.clone();
                renamed.volumes[*volume].name.clone_from(name);
                Cow::Owned(renamed)
            }
            _ => Cow::Borrowed(self),
        }
    }

    pub fn volumes_there(&self) -> Vec<usize> {
        (0..self.volumes.len()).filter(|at| self.volumes[*at].presence == Presence::Yes).collect()
    }

    pub fn images_there(&self) -> Vec<usize> {
        (0..self.images.len()).filter(|at| self.images[*at].presence == Presence::Yes).collect()
    }

    pub fn snapshots_there(&self) -> Vec<usize> {
        (0..self.snapshots.len()).filter(|at| self.snapshots[*at].presence == Presence::Yes).collect()
    }

    /// Something lives, or may live, on this image.
    pub fn image_is_used(&self, image: usize) -> bool {
        let may = |presence| presence != Presence::No;
        self.volumes.iter().any(|volume| volume.image == Some(image) && may(volume.presence))
            || self.snapshots.iter().any(|snapshot| snapshot.image == Some(image) && may(snapshot.presence))
    }
}

impl Volume {
    pub fn live(&self) -> Vec<Tag> {
        self.sectors.iter().map(|sector| sector.live).collect()
    }

    pub fn become_snapshot(&mut self, tags: &[Tag]) {
        for (at, sector) in self.sectors.iter_mut().enumerate() {
            *sector = Sector::new(tags.get(at).copied().unwrap_or(0));
        }
        self.groups.clear();
    }
}
