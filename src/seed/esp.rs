//! A seed on the EFI system partition: found by the partition table, written by a step of a plan script.

use script::Step;

use super::Seed;

/// Type of an EFI system partition, in an MBR and in a GPT (UEFI §5.2.2, §5.3.3; its GUID as it is stored).
const MBR_ESP: u8 = 0xEF;
const MBR_PROTECTIVE: u8 = 0xEE;
const GPT_ESP: [u8; 16] =
    [0x28, 0x73, 0x2A, 0xC1, 0x1F, 0xF8, 0xD2, 0x11, 0xBA, 0x4B, 0x00, 0xA0, 0xC9, 0x3E, 0xC9, 0x3B];
const SECTOR: usize = 512;
/// Most partitions of a GPT that are looked at.
const PARTITIONS_MAX: u32 = 128;
/// Name of the step.
const STEP: &str = "cloud-init seed";

/// Whether a path can be one on a FAT file system, and of a script.
///
/// # Errors
/// In words.
pub fn check_path(path: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
    let parts = || path.split('/').filter(|part| !part.is_empty());
    match path.starts_with('/')
        && path.len() <= 200
        && path.chars().all(allowed)
        && parts().all(|part| !part.starts_with('.') && !part.ends_with('.'))
        && parts().next().is_some()
    {
        true => Ok(()),
        false => Err(format!(
            "{path:?} is no path of a directory: it begins with /, and has letters, digits, '-', '_' and '.'"
        )),
    }
}

/// The number of the EFI system partition, from 1; `read` reads from the disk. `None` when there is none.
///
/// # Errors
/// The disk's.
pub fn partition<E>(mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>) -> Result<Option<u32>, E> {
    let mut head = [0; 2 * SECTOR];
    read(0, &mut head)?;
    let (mbr, gpt) = head.split_at(SECTOR);
    if !mbr.ends_with(&[0x55, 0xAA]) {
        return Ok(None);
    }
    let kinds = || (0..4).map(|index| mbr.get(446 + 16 * index + 4).copied().unwrap_or(0));
    if !kinds().any(|kind| kind == MBR_PROTECTIVE) || !gpt.starts_with(b"EFI PART") {
        let found = kinds().position(|kind| kind == MBR_ESP);
        return Ok(found.and_then(|index| u32::try_from(index + 1).ok()));
    }
    let (at, count, size) = (le64(gpt, 72), le32(gpt, 80), le32(gpt, 84));
    if !(128..=4096).contains(&size) || !size.is_multiple_of(128) {
        return Ok(None);
    }
    // One sector at a time: whoever reads takes offsets of whole sectors.
    let mut sector = [0; SECTOR];
    for index in 0..count.min(PARTITIONS_MAX) {
        let Some(offset) =
            at.checked_mul(512).and_then(|at| at.checked_add(u64::from(index) * u64::from(size)))
        else {
            return Ok(None);
        };
        let inside = usize::try_from(offset % 512).unwrap_or(0);
        read(offset - offset % 512, &mut sector)?;
        if sector.get(inside..inside + 16) == Some(&GPT_ESP[..]) {
            return Ok(Some(index + 1));
        }
    }
    Ok(None)
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    let part = bytes.get(at..at + 4).and_then(|part| part.try_into().ok());
    part.map_or(0, u32::from_le_bytes)
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    let part = bytes.get(at..at + 8).and_then(|part| part.try_into().ok());
    part.map_or(0, u64::from_le_bytes)
}

/// The step that writes a seed to a partition of the volume.
#[must_use]
pub fn step(seed: &Seed, partition: u32) -> Step {
    let path = seed.esp_path.as_deref().unwrap_or(api::ESP_PATH_DEFAULT).trim_end_matches('/');
    let mut content = format!("mount /dev/sda{partition} /\nmkdir-p {path}\n");
    for file in &seed.files {
        if let Some((directory, _)) = file.name.split_once('/') {
            content += &format!("mkdir-p {path}/{directory}\n");
        }
        let end = terminator(&file.text);
        let line_end = if file.text.ends_with('\n') { "" } else { "\n" };
        content += &format!("upload -<<{end} {path}/{}\n{}{line_end}{end}\n", file.name, file.text);
    }
    content += "umount /\n";
    Step { name: STEP.to_owned(), content, has_attributes: false }
}

/// A word that is no line of the text.
fn terminator(text: &str) -> String {
    let mut word = "END_OF_SEED".to_owned();
    while text.lines().any(|line| line == word) {
        word.push('_');
    }
    word
}
