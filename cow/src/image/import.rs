//! Importing a golden image: staged aside, hashed, synced, and only then given its place. All or nothing.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest, Sha256};

use super::{content_dir, digests::Digests};
use crate::{
    context::Context,
    disk::{File, Wait},
    error::{Error, Kind, Result},
    limits::{BLOCK_BYTES, CHUNK_BYTES, SECTOR_BYTES, VOLUME_BYTES_MAX},
};

/// An image on its way in. Dropped before it is finished, it leaves nothing behind.
pub struct Import {
    pub(crate) context: Arc<Context>,
    pub(crate) name: String,
    dir: PathBuf,
    file: Arc<dyn File>,
}

/// Called with bytes done and bytes in all; `Break` cancels.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>;

impl Import {
    pub(crate) fn begin(context: &Arc<Context>, name: &str) -> Result<Self> {
        let dir = context.staging_path()?;
        context.disk.create_dir(&dir).map_err(|error| Error::io("create", &dir, error))?;
        let path = dir.join("image.raw");
        let file = context.disk.create(&path).map_err(|error| Error::io("create", &path, error))?;
        Ok(Self { context: context.clone(), name: name.to_owned(), dir, file })
    }

    /// The staged raw file, for a converter that writes it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.join("image.raw")
    }

    /// A directory for files that are needed until the import is finished; whatever is in it goes with it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes bytes of the raw image. What is never written is a hole and reads zeros.
    pub fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.take_room(data.len() as u64)?;
        self.file.write_at(offset, &[data]).map_err(|error| Error::io("write", &self.path(), error))
    }

    /// Takes room for bytes that are written beside the raw image; an error when only the reserve is left.
    pub fn take_room(&self, bytes: u64) -> Result<()> {
        self.context.take_room(bytes.div_ceil(BLOCK_BYTES))
    }

    /// Sets the size of the raw image.
    pub fn set_len(&self, bytes: u64) -> Result<()> {
        self.file.set_len(bytes).map_err(|error| Error::io("resize", &self.path(), error))
    }

    /// Makes the content durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| Error::io("sync", &self.path(), error))
    }

    /// Size in bytes, and digests of all chunks; the content is durable afterwards.
    pub(crate) fn digest(&self, progress: Progress<'_>) -> Result<(u64, Digests)> {
        let path = self.path();
        let io = |error| Error::io("read", &path, error);
        let size_bytes = self.file.len().map_err(io)?;
        check_size(size_bytes)?;
        let mut digests = Digests::new(size_bytes);
        let mut buffer = Vec::new();
        let mut chunk = 0;
        while let Some(range) = self.file.next_data(chunk * CHUNK_BYTES).map_err(io)? {
            chunk = chunk.max(range.offset / CHUNK_BYTES);
            let end = (range.offset + range.bytes).div_ceil(CHUNK_BYTES);
            while chunk < end {
                let start = chunk * CHUNK_BYTES;
                buffer.resize(usize::try_from(CHUNK_BYTES.min(size_bytes - start)).unwrap_or(0), 0);
                let read = self.file.read_at(start, &mut buffer, Wait::Yes).map_err(io)?;
                buffer.truncate(read);
                if buffer.iter().any(|byte| *byte != 0) {
                    digests.push(chunk, Sha256::digest(&buffer).into());
                }
                chunk += 1;
                if progress((chunk * CHUNK_BYTES).min(size_bytes), size_bytes).is_break() {
                    return Err(Error::new(Kind::Cancelled, "the import was cancelled"));
                }
            }
        }
        self.file.sync_data().map_err(|error| Error::io("sync", &path, error))?;
        Ok((size_bytes, digests))
    }

    /// Puts the content in its place, unless the same content is there already.
    pub(crate) fn place(&self, digests: &Digests) -> Result<()> {
        let disk = &self.context.disk;
        let root = digests.root();
        let target = content_dir(&self.context, &root);
        let io = |error| Error::io("write", &target, error);
        for entry in disk.list(&self.dir).map_err(io)? {
            if entry.name != "image.raw" {
                disk.remove_file(&self.dir.join(entry.name)).map_err(io)?;
            }
        }
        let file = disk.create(&self.dir.join("digests")).map_err(io)?;
        file.write_at(0, &[&digests.bytes()]).map_err(io)?;
        file.sync_data().map_err(io)?;
        disk.sync_dir(&self.dir).map_err(io)?;
        match disk.rename(&self.dir, &target) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => self.sweep(),
            Err(error) => return Err(io(error)),
        }
        disk.sync_dir(&self.context.golden_dir()).map_err(io)
    }

    fn sweep(&self) {
        // What cannot be removed now is swept when the store is opened next.
        drop(remove_tree(&self.context, &self.dir));
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        self.sweep();
    }
}

fn check_size(size_bytes: u64) -> Result<()> {
    if size_bytes == 0 {
        return Err(Error::new(Kind::Invalid, "the image is empty"));
    }
    if !size_bytes.is_multiple_of(SECTOR_BYTES) {
        let message = format!(
            "the image has {size_bytes} bytes, which is no multiple of {SECTOR_BYTES}: is it cut short?"
        );
        return Err(Error::new(Kind::Invalid, message));
    }
    if size_bytes > VOLUME_BYTES_MAX {
        return Err(Error::new(
            Kind::Invalid,
            format!("the image has {size_bytes} bytes, more than {VOLUME_BYTES_MAX}"),
        ));
    }
    Ok(())
}

/// Removes a directory and what is in it.
pub(crate) fn remove_tree(context: &Context, dir: &Path) -> Result<()> {
    let disk = &context.disk;
    for entry in disk.list(dir).map_err(|error| Error::io("list", dir, error))? {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            remove_tree(context, &path)?;
        } else {
            disk.remove_file(&path).map_err(|error| Error::io("remove", &path, error))?;
        }
    }
    disk.remove_dir(dir).map_err(|error| Error::io("remove", dir, error))
}
