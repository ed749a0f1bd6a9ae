//! Opening a store after the end of a process, and comparing all of it.

use std::sync::Arc;

use cow::{
    Geometry, Kind, Store, Volume, Wait,
    disk::sim::{Rng, SimDisk},
};

use super::{
    model::{End, Group, Model, Pending, Presence, Sector, Volume as VolumeModel},
    root,
    tags::{self, SECTOR, Tag},
};

/// Why what was found is wrong.
pub type Wrong = String;

/// What recovery found, to be taken over by the model.
pub struct Recovered {
    pub store: Arc<Store>,
    /// Whether each image, volume and snapshot is there, and what the volumes hold.
    images: Vec<bool>,
    pub volumes: Vec<Found>,
    snapshots: Vec<bool>,
}

/// What became of a volume.
pub enum Found {
    Gone,
    Tags(Vec<Tag>),
    /// After a failed sync: an error that says so.
    Damaged,
}

pub fn open(disk: &SimDisk, geometry: Geometry) -> cow::Result<Arc<Store>> {
    Store::open_with(Arc::new(disk.clone()), root(), geometry)
}

/// Opens the store and compares everything in it.
pub fn recover(
    model: &Model,
    disk: &SimDisk,
    geometry: Geometry,
    end: End,
    rng: &mut Rng,
) -> Result<Recovered, Wrong> {
    let store = open(disk, geometry).map_err(|error| format!("the store does not open: {error:?}"))?;
    if !store.orphans().is_empty() {
        return Err(format!("nothing accounts for layers {:?}", store.orphans()));
    }
    let images = present(
        model.images.iter().map(|image| (&image.name, image.presence)),
        &store
            .images()
            .map_err(|error| format!("no list of images: {error:?}"))?
            .into_iter()
            .map(|info| info.name)
            .collect::<Vec<_>>(),
    )?;
    let infos = store.volumes();
    let names: Vec<String> = infos.iter().map(|info| info.name.clone()).collect();
    let model = &*model.known_by(&names);
    let there = present(model.volumes.iter().map(|volume| (&volume.name, volume.presence)), &names)?;
    let snapshot_infos = store.snapshots();
    let names: Vec<String> = snapshot_infos.iter().map(|info| info.name.clone()).collect();
    let snapshots =
        present(model.snapshots.iter().map(|snapshot| (&snapshot.name, snapshot.presence)), &names)?;
    let mut volumes = Vec::new();
    for (at, there) in there.iter().enumerate() {
        let info = infos.iter().find(|info| info.name == model.volumes[at].name);
        volumes.push(match info {
            Some(info) if *there => {
                reserve(model, at, info.reserve_bytes.unwrap_or(0))?;
                volume(model, at, &store, info.id, end)?
            }
            _ => Found::Gone,
        });
    }
    for (at, snapshot) in model.snapshots.iter().enumerate().filter(|(at, _)| snapshots[*at]) {
        if rng.one_in(3) {
            let info = snapshot_infos.iter().find(|info| info.name == snapshot.name);
            let id = info.ok_or("the snapshot is gone")?.id;
            compare_snapshot(&store, id, &snapshot.tags)
                .map_err(|wrong| format!("snapshot {at}: {wrong}"))?;
        }
    }
    Ok(Recovered { store, images, volumes, snapshots })
}

/// Which of the expected names are there. All that must be there are, and no other.
fn present<'a>(
    expected: impl Iterator<Item = (&'a String, Presence)>,
    names: &[String],
) -> Result<Vec<bool>, Wrong> {
    let mut found = Vec::new();
    let mut known = 0;
    for (name, presence) in expected {
        let times = names.iter().filter(|other| *other == name).count();
        let right = match presence {
            Presence::Yes => times == 1,
            Presence::Maybe => times <= 1,
            Presence::No => times == 0,
        };
        if !right {
            return Err(format!("`{name}` should be there: {presence:?}, and is there {times} times"));
        }
        known += times;
        found.push(times == 1);
    }
    if known != names.len() {
        return Err(format!("there are others than expected: {names:?}"));
    }
    Ok(found)
}

pub fn read_tags(volume: &Volume, first: usize, sectors: usize) -> cow::Result<Vec<Option<Tag>>> {
    let mut bytes = vec![0xee; sectors * SECTOR];
    volume.read((first * SECTOR) as u64, &mut bytes, Wait::Yes)?;
    Ok(bytes.chunks_exact(SECTOR).map(tags::tag).collect())
}

pub fn whole(volume: &Volume, first: usize, sectors: usize) -> Result<Vec<Tag>, Wrong> {
    let tags = read_tags(volume, first, sectors).map_err(|error| format!("reading failed: {error:?}"))?;
    let mut out = Vec::with_capacity(tags.len());
    for (at, tag) in tags.into_iter().enumerate() {
        out.push(tag.ok_or_else(|| format!("sector {} holds garbage", first + at))?);
    }
    Ok(out)
}

fn volume(model: &Model, at: usize, store: &Store, id: cow::VolumeId, end: End) -> Result<Found, Wrong> {
    let volume = &model.volumes[at];
    let wrong = |what: String| format!("volume {at} `{}`: {what}", volume.name);
    let detected = |error: &cow::Error| volume.suspect && matches!(error.kind(), Kind::Corrupt { .. });
    let open = match store.open_volume(id) {
        Ok(open) => open,
        Err(error) if detected(&error) => return Ok(Found::Damaged),
        Err(error) => return Err(wrong(format!("it does not open: {error:?}"))),
    };
    let sectors = (open.size_bytes() / SECTOR as u64) as usize;
    let grown = match &model.pending {
        Pending::Grow { volume, sectors } if *volume == at => Some(*sectors),
        _ => None,
    };
    if sectors != volume.sectors.len() && Some(sectors) != grown {
        return Err(wrong(format!("{sectors} sectors instead of {}", volume.sectors.len())));
    }
    if volume.suspect
        && let Err(error) = read_tags(&open, 0, sectors)
        && detected(&error)
    {
        return Ok(Found::Damaged);
    }
    let tags = whole(&open, 0, sectors).map_err(wrong)?;
    match (compare(model, at, &tags, end), &model.pending) {
        (Ok(()), _) => Ok(Found::Tags(tags)),
        (Err(_), Pending::RollBack { volume: rolled, snapshot }) if *rolled == at => {
            let want = &model.snapshots[*snapshot].tags;
            let right = tags.iter().enumerate().all(|(at, tag)| *tag == want.get(at).copied().unwrap_or(0));
            if right {
                Ok(Found::Tags(tags))
            } else {
                Err(wrong("neither rolled back nor as it was".to_owned()))
            }
        }
        (Err(what), _) => Err(wrong(what)),
    }
}

fn reserve(model: &Model, at: usize, found: u64) -> Result<(), Wrong> {
    let pending = model.pending == Pending::Reserve { volume: at, bytes: found };
    if found == model.volumes[at].reserve || pending {
        return Ok(());
    }
    Err(format!("{found} bytes are guaranteed to volume {at}, not {}", model.volumes[at].reserve))
}

fn compare(model: &Model, at: usize, tags: &[Tag], end: End) -> Result<(), Wrong> {
    let volume = &model.volumes[at];
    // After a failed sync the host knows that nothing since the last good one is sure.
    let end = if volume.suspect { End::Cut } else { end };
    let change = match &model.pending {
        Pending::Change { volume, first, tags, atomic } if *volume == at => Some((*first, tags, *atomic)),
        _ => None,
    };
    let fresh = Sector::default();
    for (sector, tag) in tags.iter().enumerate() {
        let model = volume.sectors.get(sector).unwrap_or(&fresh);
        let changing = change.is_some_and(|(first, tags, _)| {
            sector.checked_sub(first).and_then(|at| tags.get(at)) == Some(tag)
        });
        if !model.allows(*tag, end) && !changing {
            return Err(format!(
                "sector {sector} holds {tag}, not {model:?} (changing: {})",
                change.is_some()
            ));
        }
    }
    if let Some((first, new, true)) = change {
        atomic(volume, tags, &Group { first, tags: new.clone() })?;
    }
    if end == End::Cut {
        volume.groups.iter().try_for_each(|group| atomic(volume, tags, group))?;
    }
    Ok(())
}

/// All of an atomic change is there, or nothing of it; sectors that changed again later tell nothing.
fn atomic(volume: &VolumeModel, tags: &[Tag], group: &Group) -> Result<(), Wrong> {
    let (mut new, mut old) = (None, None);
    for (at, want) in (group.first..).zip(&group.tags) {
        let have = tags[at];
        if have == 0 || *want == 0 || volume.sectors[at].maybes.contains(&have) {
            continue;
        }
        if have == *want {
            new = Some(at);
        } else if have < *want {
            old = Some(at);
        }
    }
    match (new, old) {
        (Some(new), Some(old)) => Err(format!("an atomic change is torn: sector {new} is new, {old} is old")),
        _ => Ok(()),
    }
}

pub fn compare_snapshot(store: &Store, id: cow::SnapshotId, want: &[Tag]) -> Result<(), Wrong> {
    let text = |error: cow::Error| format!("{error:?}");
    let clone = store.clone_snapshot(id, "look").map_err(text)?;
    let open = store.open_volume(clone.id).map_err(text)?;
    let have = whole(&open, 0, want.len())?;
    drop(open);
    store.remove_volume(clone.id).map_err(text)?;
    match have.iter().zip(want).position(|(have, want)| have != want) {
        Some(at) => Err(format!("sector {at} holds {} instead of {}", have[at], want[at])),
        None => Ok(()),
    }
}

impl Recovered {
    /// The model knows from now on what was found.
    pub fn settle(self, model: &mut Model, end: End) -> Arc<Store> {
        let presence = |there: bool| if there { Presence::Yes } else { Presence::No };
        let infos = self.store.volumes();
        let names: Vec<String> = infos.iter().map(|info| info.name.clone()).collect();
        *model = model.known_by(&names).into_owned();
        for (volume, found) in model.volumes.iter_mut().zip(self.volumes) {
            volume.id = infos.iter().find(|info| info.name == volume.name).map(|info| info.id);
            match found {
                Found::Gone | Found::Damaged => {
                    volume.presence = presence(volume.id.is_some());
                    if let Some(id) = volume.id {
                        // It is known to be damaged; nobody uses it any more.
                        self.store.remove_volume(id).unwrap();
                        volume.presence = Presence::No;
                    }
                }
                Found::Tags(tags) => {
                    volume.presence = Presence::Yes;
                    let info = infos.iter().find(|info| info.name == volume.name);
                    volume.reserve = info.and_then(|info| info.reserve_bytes).unwrap_or(0);
                    volume.sectors.resize(tags.len(), Sector::default());
                    let end = if volume.suspect { End::Kill } else { end };
                    volume.sectors.iter_mut().zip(&tags).for_each(|(sector, tag)| sector.found(*tag, end));
                    if end == End::Cut {
                        volume.groups.clear();
                        volume.suspect = false;
                    }
                }
            }
        }
        let infos = self.store.images().unwrap();
        for (image, there) in model.images.iter_mut().zip(self.images) {
            image.presence = presence(there);
            image.id = infos.iter().find(|info| info.name == image.name).map(|info| info.id);
        }
        let infos = self.store.snapshots();
        for (snapshot, there) in model.snapshots.iter_mut().zip(self.snapshots) {
            snapshot.presence = presence(there);
            snapshot.id = infos.iter().find(|info| info.name == snapshot.name).map(|info| info.id);
        }
        model.pending = Pending::Nothing;
        self.store
    }
}
