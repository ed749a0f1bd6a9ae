//! Numbered manifests in a directory of their own: the highest number counts, a new one never replaces a file.

use std::path::{Path, PathBuf};

use crate::{
    context::Context,
    disk::Wait,
    error::{Error, Result},
    format::frame::framed_bytes,
    layer::put,
    limits::MANIFEST_BYTES_MAX,
};

pub(crate) fn manifest_path(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("manifest-{generation:016x}"))
}

/// Creates the directory with its first manifest. Durable when it returns.
pub(crate) fn create(context: &Context, parent: &Path, dir: &Path, bytes: &[u8]) -> Result<()> {
    let disk = &context.disk;
    disk.create_dir(dir).map_err(|error| Error::io("create", dir, error))?;
    if let Err(error) = put(context, dir, &manifest_path(dir, 1), bytes) {
        // An empty directory is swept at the next opening; the first error is the one to report.
        drop(disk.remove_dir(dir));
        return Err(error);
    }
    disk.sync_dir(parent).map_err(|error| Error::io("sync", parent, error))
}

/// Puts manifest `generation` in its place, then removes the one before it. Durable when it returns.
pub(super) fn replace(context: &Context, dir: &Path, generation: u64, bytes: &[u8]) -> Result<()> {
    put(context, dir, &manifest_path(dir, generation), bytes)?;
    let old = manifest_path(dir, generation - 1);
    context.disk.remove_file(&old).map_err(|error| Error::io("remove", &old, error))
}

/// Number and bytes of the newest manifest; `None` where there is none.
pub(super) fn newest(context: &Context, dir: &Path) -> Result<Option<(u64, Vec<u8>)>> {
    let names = context.disk.list(dir).map_err(|error| Error::io("list", dir, error))?;
    let numbers = names.iter().filter_map(|entry| {
        let digits = entry.name.strip_prefix("manifest-")?;
        u64::from_str_radix(digits, 16).ok()
    });
    let Some(generation) = numbers.max() else { return Ok(None) };
    let path = manifest_path(dir, generation);
    let io = |error| Error::io("read", &path, error);
    let file = context.disk.open(&path, false).map_err(io)?;
    let mut bytes = vec![0; MANIFEST_BYTES_MAX];
    let read = file.read_at(0, &mut bytes, Wait::Yes).map_err(io)?;
    bytes.truncate(framed_bytes(&bytes[..read]).unwrap_or(read).min(read));
    Ok(Some((generation, bytes)))
}
