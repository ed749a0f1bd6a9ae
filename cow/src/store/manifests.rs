//! Numbered manifests in a directory of their own: the highest number counts, a new one never replaces a file.

use std::path::{Path, PathBuf};

use crate::{
    context::Context,
    disk::Wait,
    error::{Error, Kind, Result},
    format::frame::framed_bytes,
    image::import::remove_tree,
    layer::put,
    limits::MANIFEST_BYTES_MAX,
};

pub(crate) fn manifest_path(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("manifest-{generation:016x}"))
}

/// Creates the directory with its first manifest. Durable when it returns. It is made aside and renamed: what is
/// seen in `parent` is whole and durable, but for its name there.
pub(crate) fn create(
    context: &Context,
    parent: &Path,
    dir: &Path,
    bytes: &[u8],
) -> std::result::Result<(), Unreplaced> {
    let disk = &context.disk;
    let sync_parent = || disk.sync_dir(parent).map_err(|error| Error::io("sync", parent, error));
    let make = |staged: &Path| {
        disk.create_dir(staged).map_err(|error| Error::io("create", staged, error))?;
        put(context, staged, &manifest_path(staged, 1), bytes)?;
        disk.rename(staged, dir).map_err(|error| Error::io("create", dir, error))?;
        sync_parent()
    };
    let staged = context.staging_path().map_err(|error| Unreplaced { error, unsure: false })?;
    let Err(error) = make(&staged) else { return Ok(()) };
    // What cannot be taken back now is swept at the next opening, or is there then.
    let taken_back =
        remove_tree(context, &staged).or_else(|_| remove_tree(context, dir).and_then(|()| sync_parent()));
    // Where neither is there, nothing was made.
    let unsure = taken_back.is_err_and(|left| left.kind() != Kind::NotFound);
    Err(Unreplaced { error, unsure })
}

/// A manifest that was not put in its place.
pub(crate) struct Unreplaced {
    pub error: Error,
    /// Whether it counts is not known: nothing may be built on that until the store is opened anew.
    pub unsure: bool,
}

impl From<Unreplaced> for Error {
    fn from(failed: Unreplaced) -> Self {
        failed.error
    }
}

/// Puts the manifest after `generation` in its place. Durable when it returns. The one before it stays: see
/// [`forget_older`]. When that fails half-way, and the new one may count after all, `old` is put behind it.
pub(super) fn replace(
    context: &Context,
    dir: &Path,
    generation: &mut u64,
    new: &dyn Fn(u64) -> Vec<u8>,
    old: &dyn Fn(u64) -> Vec<u8>,
) -> std::result::Result<(), Unreplaced> {
    *generation += 1;
    let path = manifest_path(dir, *generation);
    let Err(error) = put(context, dir, &path, &new(*generation)) else { return Ok(()) };
    let missing = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    if context.disk.open(&path, false).is_err_and(|error| missing(&error)) {
        return Err(Unreplaced { error, unsure: false });
    }
    *generation += 1;
    let unsure = put(context, dir, &manifest_path(dir, *generation), &old(*generation)).is_err();
    Err(Unreplaced { error, unsure })
}

/// Removes a directory whose newest manifest is durable and says that it is deleted, if it is there. An older
/// manifest must be gone for good before the newest goes, or else a power cut might bring back what is deleted.
pub(super) fn discard(context: &Context, dir: &Path, generation: u64) -> Result<()> {
    let disk = &context.disk;
    match disk.list(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        _ => forget_older(context, dir, generation)?,
    }
    disk.sync_dir(dir).map_err(|error| Error::io("sync", dir, error))?;
    remove_tree(context, dir)
}

/// Removes the manifests before `generation`, which is durable.
pub(super) fn forget_older(context: &Context, dir: &Path, generation: u64) -> Result<()> {
    for old in numbers(context, dir)?.into_iter().filter(|number| *number < generation) {
        let path = manifest_path(dir, old);
        context.disk.remove_file(&path).map_err(|error| Error::io("remove", &path, error))?;
    }
    Ok(())
}

fn numbers(context: &Context, dir: &Path) -> Result<Vec<u64>> {
    let names = context.disk.list(dir).map_err(|error| Error::io("list", dir, error))?;
    let number = |name: &str| u64::from_str_radix(name.strip_prefix("manifest-")?, 16).ok();
    Ok(names.iter().filter_map(|entry| number(&entry.name)).collect())
}

/// The newest manifest of a directory.
pub(super) struct Newest {
    pub generation: u64,
    pub bytes: Vec<u8>,
    /// Numbers of those before it.
    pub older: Vec<u64>,
}

/// The newest manifest; `None` where there is none. It is durable, also when a kill came while it was being put in
/// its place.
pub(super) fn newest(context: &Context, dir: &Path) -> Result<Option<Newest>> {
    let mut older = numbers(context, dir)?;
    older.sort_unstable();
    let Some(generation) = older.pop() else { return Ok(None) };
    if !older.is_empty() {
        context.disk.sync_dir(dir).map_err(|error| Error::io("sync", dir, error))?;
    }
    let bytes = read(context, dir, generation)?;
    Ok(Some(Newest { generation, bytes, older }))
}

/// The bytes of a manifest.
pub(super) fn read(context: &Context, dir: &Path, generation: u64) -> Result<Vec<u8>> {
    let path = manifest_path(dir, generation);
    let io = |error| Error::io("read", &path, error);
    let file = context.disk.open(&path, false).map_err(io)?;
    let length = file.len().map_err(io)?.min(MANIFEST_BYTES_MAX as u64);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(MANIFEST_BYTES_MAX)];
    let read = file.read_at(0, &mut bytes, Wait::Yes).map_err(io)?;
    bytes.truncate(framed_bytes(&bytes[..read]).unwrap_or(read).min(read));
    Ok(bytes)
}
