//! Everything that the directories of a store name, sound or not.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use super::{
    mend,
    report::{ManifestRescue, Owner},
};
use crate::{
    context::Context,
    disk::Wait,
    error::{Error, Result},
    format::{
        Damage,
        frame::{self, FrameKind, Location},
        manifest::{ImageManifest, VolumeManifest},
    },
    ids::{ImageId, LayerId, SnapshotId, StoreId, VolumeId},
    limits::{BLOCK_LEN, MANIFEST_BYTES_MAX},
    store::manifest_path,
};

/// What a directory of manifests says.
#[derive(Debug, Clone)]
pub(crate) enum State<M> {
    Sound(M),
    /// The newest one is damaged; what can be had in its place.
    Damaged {
        damage: String,
        rescued: Option<(ManifestRescue, M)>,
    },
    /// No manifest: a creation that was cut short.
    Empty,
}

/// An image, a volume or a snapshot.
#[derive(Debug, Clone)]
pub(crate) struct Named<I, M> {
    pub id: I,
    /// The newest manifest, or the directory where there is none.
    pub path: PathBuf,
    pub state: State<M>,
    /// Those before a sound one that are still there: they name layers that are being removed.
    pub older: Vec<M>,
}

impl<I, M> Named<I, M> {
    /// The newest manifest that can be read.
    pub(crate) fn manifest(&self) -> Option<&M> {
        match &self.state {
            State::Sound(manifest) => Some(manifest),
            State::Damaged { rescued, .. } => rescued.as_ref().map(|(_, manifest)| manifest),
            State::Empty => None,
        }
    }

    /// Whether only an older manifest could be read.
    fn is_older(&self) -> bool {
        matches!(self.state, State::Damaged { rescued: Some((ManifestRescue::Older(_), _)), .. })
    }

    /// Whether there is a manifest, and nothing of it can be read.
    fn is_hopeless(&self) -> bool {
        matches!(self.state, State::Damaged { rescued: None, .. })
    }
}

/// All of it.
pub(crate) struct Catalogue {
    pub store: std::result::Result<StoreId, String>,
    pub images: Vec<Named<ImageId, ImageManifest>>,
    pub volumes: Vec<Named<VolumeId, VolumeManifest>>,
    pub snapshots: Vec<Named<SnapshotId, VolumeManifest>>,
    /// Directories of golden content.
    pub golden: BTreeSet<String>,
    pub layers: BTreeSet<LayerId>,
    /// Names in `staging`.
    pub staging: Vec<String>,
    /// Directories that a store has, and this one has not.
    pub missing: Vec<&'static str>,
}

/// A volume or a snapshot: whose it is, and what it is made of.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    pub owner: Owner,
    pub manifest: VolumeManifest,
}

/// Reads every manifest.
pub(crate) fn read(context: &Context) -> Result<Catalogue> {
    let mut missing = Vec::new();
    let mut names = |name: &'static str| -> Result<Vec<String>> {
        let dir = context.root.join(name);
        match context.disk.list(&dir) {
            Ok(entries) => Ok(entries.into_iter().map(|entry| entry.name).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                missing.push(name);
                Ok(Vec::new())
            }
            Err(error) => Err(Error::io("list", &dir, error)),
        }
    };
    let (images, volumes, snapshots) = (names("images")?, names("volumes")?, names("snapshots")?);
    let (golden, layers, staging) = (names("golden")?, names("layers")?, names("staging")?);
    Ok(Catalogue {
        store: identity(context),
        images: named(context, &images, |id| context.image_dir(id), |id: ImageId| id.0, unpack_image)?,
        volumes: named(context, &volumes, |id| context.volume_dir(id), |id: VolumeId| id.0, unpack_volume)?,
        snapshots: named(
            context,
            &snapshots,
            |id| context.snapshot_dir(id),
            |id: SnapshotId| id.0,
            unpack_snapshot,
        )?,
        golden: golden.into_iter().collect(),
        layers: layers.iter().filter_map(|name| name.parse().ok()).collect(),
        staging,
        missing,
    })
}

fn unpack_image(location: Location, bytes: &[u8]) -> std::result::Result<ImageManifest, Damage> {
    ImageManifest::unpack(location, bytes)
}

fn unpack_volume(location: Location, bytes: &[u8]) -> std::result::Result<VolumeManifest, Damage> {
    VolumeManifest::unpack(FrameKind::Volume, location, bytes)
}

fn unpack_snapshot(location: Location, bytes: &[u8]) -> std::result::Result<VolumeManifest, Damage> {
    VolumeManifest::unpack(FrameKind::Snapshot, location, bytes)
}

/// The file `STORE`.
fn identity(context: &Context) -> std::result::Result<StoreId, String> {
    let path = context.root.join("STORE");
    let bytes = read_file(context, &path, BLOCK_LEN).map_err(|error| error.to_string())?;
    let location = Location { owner: [0; 16], number: 0 };
    let (payload, _) =
        frame::unpack(FrameKind::Store, location, &bytes).map_err(|damage| damage.to_string())?;
    let id = payload.get(..16).and_then(|id| id.try_into().ok());
    id.map(StoreId).ok_or_else(|| Damage::Short.to_string())
}

fn named<I: std::str::FromStr + Copy, M>(
    context: &Context,
    names: &[String],
    dir: impl Fn(I) -> PathBuf,
    owner: impl Fn(I) -> [u8; 16],
    unpack: impl Fn(Location, &[u8]) -> std::result::Result<M, Damage>,
) -> Result<Vec<Named<I, M>>> {
    let mut all = Vec::new();
    for id in names.iter().filter_map(|name| name.parse::<I>().ok()) {
        let dir = dir(id);
        let read = |number| {
            let bytes = read_file(context, &manifest_path(&dir, number), MANIFEST_BYTES_MAX)
                .map_err(|error| (error.to_string(), Vec::new()))?;
            unpack(Location { owner: owner(id), number }, &bytes)
                .map_err(|damage| (damage.to_string(), bytes))
        };
        let numbers = numbers(context, &dir)?;
        let Some((newest, others)) = numbers.split_last() else {
            all.push(Named { id, path: relative(context, &dir), state: State::Empty, older: Vec::new() });
            continue;
        };
        let mut before = Vec::new();
        let state = match read(*newest) {
            Ok(manifest) => {
                before.extend(others.iter().filter_map(|number| read(*number).ok()));
                State::Sound(manifest)
            }
            Err((damage, bytes)) => {
                let location = Location { owner: owner(id), number: *newest };
                let mended = mend::frame(&bytes, |bytes| unpack(location, bytes).ok());
                let older =
                    || others.iter().rev().find_map(|n| Some((ManifestRescue::Older(*n), read(*n).ok()?)));
                let rescued = mended.map(|manifest| (ManifestRescue::OneByte, manifest)).or_else(older);
                State::Damaged { damage, rescued }
            }
        };
        let path = relative(context, &manifest_path(&dir, *newest));
        all.push(Named { id, path, state, older: before });
    }
    Ok(all)
}

/// Numbers of the manifests in a directory, from the oldest to the newest.
fn numbers(context: &Context, dir: &Path) -> Result<Vec<u64>> {
    let names = context.disk.list(dir).map_err(|error| Error::io("list", dir, error))?;
    let number = |name: &str| u64::from_str_radix(name.strip_prefix("manifest-")?, 16).ok();
    let found: BTreeSet<u64> = names.iter().filter_map(|entry| number(&entry.name)).collect();
    Ok(found.into_iter().collect())
}

/// A file's first bytes.
pub(crate) fn read_file(context: &Context, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let file = context.disk.open(path, false)?;
    let length = usize::try_from(file.len()?).unwrap_or(usize::MAX).min(bytes_max);
    let mut bytes = vec![0; length];
    let read = file.read_at(0, &mut bytes, Wait::Yes)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// A path from the store's directory on.
pub(crate) fn relative(context: &Context, path: &Path) -> PathBuf {
    path.strip_prefix(&context.root).unwrap_or(path).to_owned()
}

impl Catalogue {
    /// Golden images with a manifest that can be read, but for those that were removed.
    pub(crate) fn live_images(&self) -> impl Iterator<Item = (ImageId, &ImageManifest)> {
        let live = self.images.iter().filter_map(|image| Some((image.id, image.manifest()?)));
        live.filter(|(_, manifest)| !manifest.deleted)
    }

    /// The image `id`, if its manifest can be read.
    pub(crate) fn image(&self, id: ImageId) -> Option<&ImageManifest> {
        self.live_images().find(|(other, _)| *other == id).map(|(_, manifest)| manifest)
    }

    /// Volumes and snapshots with a manifest that can be read, but for those that were removed.
    pub(crate) fn disks(&self) -> Vec<Disk> {
        let volumes = self.volumes.iter().filter_map(|volume| {
            let manifest = volume.manifest()?.clone();
            Some(Disk { owner: Owner::Volume { id: volume.id, name: manifest.name.clone() }, manifest })
        });
        let names: BTreeMap<VolumeId, &str> = self
            .volumes
            .iter()
            .filter_map(|volume| Some((volume.id, volume.manifest()?.name.as_str())))
            .collect();
        let snapshots = self.snapshots.iter().filter_map(|snapshot| {
            let manifest = snapshot.manifest()?.clone();
            let of = manifest.parent.map_or_else(String::new, |parent| {
                names.get(&parent).map_or_else(|| parent.to_string(), |name| (*name).to_owned())
            });
            let name = format!("{of}/{}", manifest.name);
            Some(Disk { owner: Owner::Snapshot { id: snapshot.id, name }, manifest })
        });
        volumes.chain(snapshots).filter(|disk| !disk.manifest.deleted).collect()
    }

    /// Layers that some manifest names, also one that says that its volume was removed, or one before it.
    pub(crate) fn named_layers(&self) -> BTreeSet<LayerId> {
        let volumes =
            self.volumes.iter().flat_map(|volume| volume.manifest().into_iter().chain(&volume.older));
        let snapshots =
            self.snapshots.iter().flat_map(|other| other.manifest().into_iter().chain(&other.older));
        volumes.chain(snapshots).flat_map(|manifest| manifest.layers.iter().copied()).collect()
    }

    /// Layers that are there and that no manifest names.
    pub(crate) fn orphans(&self) -> Vec<LayerId> {
        let named = self.named_layers();
        self.layers.iter().copied().filter(|id| !named.contains(id)).collect()
    }

    /// The volume or snapshot that a user means by a name or an identifier; `volume/snapshot` for snapshots.
    pub(crate) fn find(&self, wanted: &str) -> Option<Disk> {
        let is = |disk: &Disk| match &disk.owner {
            Owner::Volume { id, name } => wanted == name || wanted == id.to_string(),
            Owner::Snapshot { id, name } => wanted == name || wanted == id.to_string(),
            Owner::Image { .. } | Owner::Layer { .. } => false,
        };
        self.disks().into_iter().find(is)
    }

    /// Whether what is known of it comes from an older manifest.
    pub(crate) fn is_older(&self, owner: &Owner) -> bool {
        match owner {
            Owner::Volume { id, .. } => self.volumes.iter().any(|other| other.id == *id && other.is_older()),
            Owner::Snapshot { id, .. } => {
                self.snapshots.iter().any(|other| other.id == *id && other.is_older())
            }
            Owner::Image { .. } | Owner::Layer { .. } => false,
        }
    }

    /// Manifests of which nothing can be read.
    pub(crate) fn hopeless(&self) -> Vec<PathBuf> {
        let images = self.images.iter().filter(|other| other.is_hopeless()).map(|other| &other.path);
        let volumes = self.volumes.iter().filter(|other| other.is_hopeless()).map(|other| &other.path);
        let snapshots = self.snapshots.iter().filter(|other| other.is_hopeless()).map(|other| &other.path);
        images.chain(volumes).chain(snapshots).cloned().collect()
    }
}
