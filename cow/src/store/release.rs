//! Layers that nothing needs any more. Whatever releases some only says so, in a manifest: removing a volume takes no
//! longer because it is large. Their files are unlinked afterwards, a bounded number at a time, by upkeep.
//!
//! A manifest that tells why layers go (one that says *deleted*, or the one before a newer one that no longer names
//! them) stays until they are gone for good. So a layer that no manifest accounts for is no left-over: it holds what
//! somebody wrote, and it is never removed, only told of.

use std::{collections::BTreeSet, path::PathBuf};

use super::{Store, manifests};
use crate::{
    context::Context,
    error::{Error, Result},
    format::{
        frame::{FrameKind, Location},
        manifest::VolumeManifest,
    },
    ids::LayerId,
    limits::RELEASE_FILES_AT_ONCE,
};

/// Layers that went out of use together.
#[derive(Debug, Clone)]
pub(super) struct Released {
    /// Directory of the manifests that tell why.
    pub dir: PathBuf,
    /// The manifest that released them: older ones name them.
    pub generation: u64,
    /// It says that its volume or snapshot is deleted.
    pub deleted: bool,
    pub layers: Vec<LayerId>,
}

/// How far sweeping something came.
enum Swept {
    All,
    /// There is more of it than may be unlinked now.
    Part,
    /// Layers that were released earlier, under the same manifests, must go first.
    Later,
}

impl Store {
    /// Layers with data that no manifest accounts for: the volume that they belong to has lost its manifest. They
    /// stay where they are; `osvol store check` tells more, and a repair makes volumes of them.
    #[must_use]
    pub fn orphans(&self) -> &[LayerId] {
        &self.orphans
    }

    /// Layers whose files are still to be unlinked.
    #[must_use]
    pub fn layers_to_sweep(&self) -> usize {
        self.released.lock().iter().map(|released| released.layers.len()).sum()
    }

    /// Takes note of layers that may go, and sweeps what can be swept quickly.
    pub(super) fn release(&self, released: Released) {
        self.released.lock().push_back(released);
        // It is released already; what is not swept now is swept by upkeep.
        drop(self.sweep_released(RELEASE_FILES_AT_ONCE));
    }

    /// Unlinks at most so many files of released layers. What fails is tried again the next time.
    pub(super) fn sweep_released(&self, files_max: usize) -> Result<()> {
        let Some(_one_at_a_time) = self.sweeping.try_lock() else { return Ok(()) };
        let (mut files, mut failed) = (files_max, None);
        let waiting = self.released.lock().len();
        for _ in 0..waiting {
            // It stays in the queue meanwhile: the manifests of what is in there are not touched.
            let Some(mut released) = self.released.lock().front().cloned() else { break };
            let swept = self.sweep_one(&mut released, &mut files);
            let mut queue = self.released.lock();
            queue.pop_front();
            match swept {
                Ok(Swept::All) => {}
                Ok(Swept::Later) => queue.push_back(released),
                Ok(Swept::Part) => {
                    queue.push_front(released);
                    break;
                }
                Err(error) => {
                    queue.push_back(released);
                    failed = failed.or(Some(error));
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn sweep_one(&self, released: &mut Released, files: &mut usize) -> Result<Swept> {
        let context = &self.context;
        while let Some(layer) = released.layers.last() {
            match unlink(context, *layer, files)? {
                Unlinked::Part => return Ok(Swept::Part),
                Unlinked::All => released.layers.pop(),
            };
        }
        let is_earlier =
            |other: &Released| other.dir == released.dir && other.generation < released.generation;
        if self.released.lock().iter().any(is_earlier) {
            return Ok(Swept::Later);
        }
        // Whoever unlinked them: a process that was killed before it synced, or an earlier round that failed here.
        let dir = context.layers_dir();
        context.disk.sync_dir(&dir).map_err(|error| Error::io("sync", &dir, error))?;
        match released.deleted {
            true => manifests::discard(context, &released.dir, released.generation)?,
            false => manifests::forget_older(context, &released.dir, released.generation)?,
        }
        Ok(Swept::All)
    }

    /// Removes the manifests before this one, unless they tell why layers are going, or will have to go once all
    /// manifests can be read.
    pub(super) fn forget_older_manifests(&self, dir: &std::path::Path, generation: u64) {
        let is_certain = self.catalogue.lock().is_certain();
        if is_certain && !self.released.lock().iter().any(|released| released.dir == dir) {
            // The newest one counts, whether or not older ones can be removed.
            drop(manifests::forget_older(&self.context, dir, generation));
        }
    }
}

enum Unlinked {
    All,
    Part,
}

/// Unlinks the files of a layer, and its directory.
fn unlink(context: &Context, layer: LayerId, files: &mut usize) -> Result<Unlinked> {
    let dir = context.layer_dir(layer);
    let entries = match context.disk.list(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Unlinked::All),
        Err(error) => return Err(Error::io("list", &dir, error)),
    };
    for entry in entries {
        if *files == 0 {
            return Ok(Unlinked::Part);
        }
        *files -= 1;
        let path = dir.join(&entry.name);
        context.disk.remove_file(&path).map_err(|error| Error::io("remove", &path, error))?;
    }
    context.disk.remove_dir(&dir).map_err(|error| Error::io("remove", &dir, error))?;
    Ok(Unlinked::All)
}

/// What the manifests in a directory released, as far as they tell: the layers that older ones name, and all of them
/// once it says *deleted*. Some of them may be in use elsewhere.
pub(super) fn told_by(
    context: &Context,
    (kind, owner): (FrameKind, [u8; 16]),
    dir: PathBuf,
    newest: &manifests::Newest,
    manifest: Option<&VolumeManifest>,
) -> Option<Released> {
    let manifest = manifest?;
    if newest.older.is_empty() && !manifest.deleted {
        return None;
    }
    let older = newest.older.iter().filter_map(|number| {
        let bytes = manifests::read(context, &dir, *number).ok()?;
        VolumeManifest::unpack(kind, Location { owner, number: *number }, &bytes).ok()
    });
    let mut layers: BTreeSet<LayerId> = older.flat_map(|manifest| manifest.layers).collect();
    match manifest.deleted {
        true => layers.extend(&manifest.layers),
        false => layers.retain(|layer| !manifest.layers.contains(layer)),
    }
    let layers = layers.into_iter().collect();
    Some(Released { dir, generation: newest.generation, deleted: manifest.deleted, layers })
}
