//! A whole store, or one layer of it, made of any bytes: opened on a simulated disk, used, checked, closed and opened
//! again. Errors are fine; a panic is not, and what was read before it was closed reads the same afterwards.

use std::{
    collections::BTreeSet,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest, Sha256};

use super::{Archive, reseal_frame, reseal_frames, reseal_record};
use crate::{
    Geometry, Store, Volume, VolumeId, Wait,
    disk::{
        Disk,
        sim::{Cut, Rng, SimDisk},
    },
    format::{
        frame::{self, FrameKind, Location},
        record,
    },
    ids::LayerId,
    limits::{BLOCK_BYTES, BLOCK_LEN},
    offline::{Offline, Selection},
};

/// Flags of an archive: checksums stay as they are; blocks keep the checksums that their records tell; it is still the
/// boot that wrote it; the store is not opened but checked, dumped and repaired.
const FLAG_UNSEALED: u8 = 1;
const FLAG_SUMS_AS_TOLD: u8 = 2;
const FLAG_SAME_BOOT: u8 = 4;
const FLAG_OFFLINE: u8 = 8;
/// Seed of the simulated machine whose first boot the corpus was written in.
pub const MACHINE: u64 = 1;

const ROOT: &str = "/store";
const READ_BYTES: u64 = 1 << 20;
/// Larger volumes are not merged: it takes a step for every so many blocks.
const MERGE_SIZE_MAX: u64 = 1 << 30;

/// Sizes of the segments that the corpus has, and that are written to it.
#[must_use]
pub fn small() -> Geometry {
    Geometry {
        segment_blocks: 4,
        data_offset: 4096 + 1024,
        record_blocks_max: 3,
        summary_ahead_bytes: 256,
        summary_reserve_bytes: 64,
        data_ahead_blocks: 1,
        ..Geometry::default()
    }
}

/// A store of all the files of an archive.
pub fn store_files(bytes: &[u8]) {
    use_files(Archive::parse(bytes));
}

/// A store of one volume, whose one layer has the files of an archive (`<layer>/seg-…`, `<layer>/ckpt-…`).
pub fn layer_files(bytes: &[u8]) {
    let mut archive = Archive::parse(bytes);
    let named = archive.files.first().and_then(|(name, _)| name.split('/').next()?.parse().ok());
    let layer = named.unwrap_or(LayerId([2; 16]));
    archive.files.iter_mut().for_each(|(name, _)| *name = format!("layers/{name}"));
    let at = Location { owner: [1; 16], number: 1 };
    // A manifest as version 1 of the format has it: flags, name, size, time, image, parent, quota, one layer.
    let mut manifest = vec![0, 1, b'v'];
    manifest.extend((64 * BLOCK_BYTES).to_le_bytes());
    manifest.extend([0; 8 + 16 + 16 + 8]);
    manifest.extend(1_u16.to_le_bytes());
    manifest.extend(layer.0);
    let path = format!("volumes/{}/manifest-{:016x}", VolumeId([1; 16]), 1);
    archive.files.push((path, frame::pack(FrameKind::Volume, at, &manifest)));
    let store = frame::pack(FrameKind::Store, Location { owner: [0; 16], number: 0 }, &[9; 16]);
    archive.files.push(("STORE".into(), store));
    use_files(archive);
}

fn use_files(mut archive: Archive) {
    if archive.flags & FLAG_UNSEALED == 0 {
        reseal(&mut archive);
    }
    let disk = SimDisk::new(MACHINE);
    lay_out(&disk, &archive);
    let disk = if archive.flags & FLAG_SAME_BOOT == 0 {
        disk.power_cut(&mut Rng::new(1), Cut::Everything)
    } else {
        disk.kill()
    };
    if archive.flags & FLAG_OFFLINE != 0 {
        return offline(&disk);
    }
    let before = open_and_change(&disk, Path::new(ROOT));
    compare(&disk.kill(), &before);
}

/// Puts the files in their places; what cannot be there is not.
fn lay_out(disk: &SimDisk, archive: &Archive) {
    drop(disk.create_dir(Path::new(ROOT)));
    for (name, content) in &archive.files {
        if name.split('/').any(|part| matches!(part, "" | "." | ".." | "LOCK")) || name.contains('\0') {
            continue;
        }
        let path = Path::new(ROOT).join(name);
        let parents: Vec<PathBuf> = path.ancestors().skip(1).map(Path::to_owned).collect();
        parents.iter().rev().filter(|dir| dir.starts_with(ROOT)).for_each(|dir| drop(disk.create_dir(dir)));
        if let Ok(file) = disk.create(&path) {
            drop(file.write_at(0, &[content]));
            drop(file.sync_data());
        }
        parents.iter().for_each(|dir| drop(disk.sync_dir(dir)));
    }
}

fn reseal(archive: &mut Archive) {
    let told = archive.flags & FLAG_SUMS_AS_TOLD != 0;
    let mut digests = Vec::new();
    for (name, content) in &mut archive.files {
        let mut parts: Vec<String> = name.split('/').map(str::to_owned).collect();
        match &parts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [.., layer, file] if file.starts_with("seg-") => {
                let number = u64::from_str_radix(&file[4..], 16).unwrap_or(0);
                let layer = layer.parse::<LayerId>().map_or([0; 16], |id| id.0);
                reseal_segment(content, layer, number, told);
            }
            ["golden", old, "digests"] => {
                let new: [u8; 32] = Sha256::digest(&*content).into();
                digests.push((old.to_string(), new));
            }
            _ => {}
        }
        if let Some((_, new)) = digests.iter().find(|(old, _)| parts.get(1) == Some(old)) {
            parts[1] = crate::image::hex(new);
            *name = parts.join("/");
        }
    }
    for (name, content) in &mut archive.files {
        if name.starts_with("images/") {
            digests.iter().for_each(|(old, new)| rename_digest(content, &unhex(old), new));
        }
        if !name.contains("seg-") {
            reseal_frames(content);
        }
    }
}

/// The golden content has another name now: its image is to find it.
fn rename_digest(manifest: &mut [u8], old: &[u8; 32], new: &[u8; 32]) {
    let at = (0..manifest.len()).find(|at| manifest[*at..].starts_with(old));
    if let Some(place) = at.and_then(|at| manifest.get_mut(at..at + 32)) {
        place.copy_from_slice(new);
    }
}

/// The digest that the directory of golden content is named after.
fn unhex(text: &str) -> [u8; 32] {
    let byte = |at: usize| text.get(at * 2..at * 2 + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
    std::array::from_fn(|at| byte(at).unwrap_or(0))
}

fn reseal_segment(bytes: &mut [u8], layer: [u8; 16], number: u64, told: bool) -> Option<()> {
    let end = reseal_frame(bytes)?;
    let mut chain = crc32c::crc32c(bytes.get(..end)?);
    let data_offset = le_u32(bytes, frame::HEAD_BYTES + 40)? as usize;
    let mut at = BLOCK_LEN;
    while bytes.get(at..at + 4)? == b"OVr1" {
        bytes.get_mut(at + 32..at + 36)?.copy_from_slice(&chain.to_le_bytes());
        if !told && bytes.get(at + 8..at + 10)? == [1, 0] {
            let count = usize::from(u16::from_le_bytes(bytes.get(at + 10..at + 12)?.try_into().ok()?));
            let first = le_u32(bytes, at + 36)? as usize;
            for n in 0..count.min(256) {
                let from = data_offset.saturating_add(first.saturating_add(n).saturating_mul(BLOCK_LEN));
                let sum = bytes.get(from..from.saturating_add(BLOCK_LEN)).map(crc32c::crc32c);
                let place = bytes.get_mut(at + 48 + 4 * n..at + 52 + 4 * n)?;
                sum.into_iter().for_each(|sum| place.copy_from_slice(&sum.to_le_bytes()));
            }
        }
        let bytes_here = reseal_record(bytes.get_mut(at..)?, layer, number)?;
        chain = le_u32(bytes, at + 4)?;
        at += bytes_here.max(record::ALIGN);
    }
    Some(())
}

fn le_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// Check, dump and repair, each as far as it gets.
fn offline(disk: &SimDisk) {
    let Ok(store) = Offline::open_with(Arc::new(disk.clone()), Path::new(ROOT), small()) else { return };
    drop(store.check(true, &mut |_, _| ControlFlow::Continue(())));
    drop(store.dump(&Selection { records: true, ..Selection::default() }, &mut |_| Ok(())));
    if store.repair(Path::new("/repaired"), &mut |_, _| ControlFlow::Continue(())).is_ok() {
        drop(store);
        drop(open_and_change(disk, Path::new("/repaired")));
    }
}

/// What could be read of each volume: where, and what.
type Seen = Vec<(VolumeId, u64, Vec<u8>)>;

fn look(volume: &Volume) -> Seen {
    let size = volume.size_bytes();
    let at = [0, size.saturating_sub(READ_BYTES / 16) / BLOCK_BYTES * BLOCK_BYTES];
    let mut seen = Seen::new();
    for offset in BTreeSet::from(at) {
        for block in (offset..size.min(offset + READ_BYTES / 4)).step_by(BLOCK_LEN) {
            let mut out = vec![0; usize::try_from((size - block).min(BLOCK_BYTES)).unwrap_or(0)];
            if volume.read(block, &mut out, Wait::Yes).is_ok() {
                seen.push((volume.id(), block, out));
            }
        }
    }
    drop(volume.block_status(0, size.min(1 << 30)));
    seen
}

fn open_and_change(disk: &SimDisk, root: &Path) -> Seen {
    let Ok(store) = Store::open_with(Arc::new(disk.clone()), root, small()) else { return Seen::new() };
    drop(store.images());
    for (n, snapshot) in store.snapshots().into_iter().take(3).enumerate() {
        drop(store.clone_snapshot(snapshot.id, &format!("look{n}")));
    }
    let mut seen = Seen::new();
    for info in store.volumes().into_iter().take(6) {
        let Ok(volume) = store.open_volume(info.id) else { continue };
        let read = look(&volume);
        drop(volume.write(BLOCK_BYTES, &[&[1; 3 * BLOCK_LEN]], Wait::Yes));
        drop(volume.write(512, &[&[2; 1024]], Wait::Yes));
        drop(volume.trim(5 * BLOCK_BYTES, 3 * BLOCK_BYTES, Wait::Yes));
        drop(store.snapshot(info.id, "now"));
        drop(volume.write(7 * BLOCK_BYTES, &[&[3; BLOCK_LEN]], Wait::Yes));
        drop(volume.reclaim());
        if volume.size_bytes() <= MERGE_SIZE_MAX {
            drop(store.maintain());
        }
        // What nobody wrote has not changed.
        let after = look(&volume);
        for (_, block, content) in read.iter().filter(|(_, block, _)| *block >= 8 * BLOCK_BYTES) {
            let again = after.iter().find(|(_, at, _)| at == block);
            assert!(again.is_some_and(|(_, _, again)| again == content), "block at {block} has changed");
        }
        if volume.flush().is_ok() {
            seen.extend(after);
        }
    }
    drop(store.close());
    seen
}

/// What was read reads the same in the next process.
fn compare(disk: &SimDisk, before: &Seen) {
    let Ok(store) = Store::open_with(Arc::new(disk.clone()), Path::new(ROOT), small()) else {
        assert!(before.is_empty(), "a store that was used does not open again");
        return;
    };
    let volumes: BTreeSet<VolumeId> = before.iter().map(|(id, ..)| *id).collect();
    for id in volumes {
        let volume = match store.open_volume(id) {
            Ok(volume) => volume,
            Err(error) => unreachable!("a volume that was used does not open again: {error:?}"),
        };
        let after = look(&volume);
        for (_, block, content) in before.iter().filter(|(of, ..)| *of == id) {
            let again = after.iter().find(|(_, at, _)| at == block);
            assert!(again.is_some_and(|(_, _, again)| again == content), "block at {block} reads otherwise");
        }
    }
}
