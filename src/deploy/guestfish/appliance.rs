//! The fixed appliance, as it lies in its directory: whether it is there, and whether it is current.
//!
//! `osvol appliance build` makes it and leaves a stamp. One that was made by hand (libguestfs-make-fixed-appliance) is
//! taken too; whether it fits the installed libguestfs is then not known before it is booted.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use api::ApplianceStamp;

/// What libguestfs boots.
const FILES: [&str; 3] = ["kernel", "initrd", "root"];
/// Where Linux for x86 has the address of its version, and what is added to it (Documentation/arch/x86/boot.rst).
const VERSION_POINTER_AT: u64 = 0x20e;
const VERSION_BASE: u64 = 0x200;
/// Longest version that is read.
const VERSION_BYTES_MAX: usize = 128;
/// Largest stamp that is read.
const STAMP_BYTES_MAX: u64 = 4 << 10;

/// How the appliance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Appliance {
    /// A file of it cannot be read.
    Missing(String),
    /// It was made for another libguestfs, whose protocol it speaks.
    Foreign(String),
    /// It works, and should be made anew.
    Old(String),
    /// As it should be: in words.
    Current(String),
}

/// Looks at the appliance in `directory`, with an installed libguestfs of `version`.
pub(super) fn look(directory: &Path, version: Option<&str>) -> Appliance {
    for name in FILES {
        let file = directory.join(name);
        if let Err(error) = File::open(&file) {
            return Appliance::Missing(format!("{}: {error}", file.display()));
        }
    }
    let kernel = kernel_version(&directory.join("kernel")).ok().flatten();
    judge(stamp(directory).as_ref(), version, kernel.as_deref(), newest_kernel(Path::new("/boot")).as_deref())
}

fn judge(
    stamp: Option<&ApplianceStamp>,
    version: Option<&str>,
    kernel: Option<&str>,
    installed: Option<&str>,
) -> Appliance {
    let kernel = kernel.unwrap_or("unknown");
    let Some(stamp) = stamp else {
        return Appliance::Current(format!(
            "kernel {kernel}; made by hand, so for which libguestfs is not known"
        ));
    };
    let about = format!("kernel {kernel}, libguestfs {}, built {}", stamp.libguestfs, stamp.built);
    if let Some(version) = version
        && version != stamp.libguestfs
    {
        return Appliance::Foreign(format!("{about}; installed is libguestfs {version}"));
    }
    match installed {
        // Kernels of several flavours may be installed: one that is newer is only told.
        Some(installed) if installed != kernel => {
            Appliance::Old(format!("{about}; kernel {installed} is installed"))
        }
        _ => Appliance::Current(about),
    }
}

fn stamp(directory: &Path) -> Option<ApplianceStamp> {
    let mut text = String::new();
    let file = File::open(directory.join(ApplianceStamp::FILE)).ok()?;
    file.take(STAMP_BYTES_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// The version in a kernel's own header, if it has one.
fn kernel_version(file: &Path) -> io::Result<Option<String>> {
    let mut kernel = File::open(file)?;
    let mut pointer = [0; 2];
    kernel.seek(SeekFrom::Start(VERSION_POINTER_AT))?;
    kernel.read_exact(&mut pointer)?;
    let pointer = u64::from(u16::from_le_bytes(pointer));
    if pointer == 0 {
        return Ok(None);
    }
    kernel.seek(SeekFrom::Start(VERSION_BASE + pointer))?;
    let mut text = [0; VERSION_BYTES_MAX];
    let read = kernel.read(&mut text)?;
    let text = String::from_utf8_lossy(&text[..read]);
    // "6.1.0-56-cloud-amd64 (debian-kernel@…) #1 SMP …"
    let version = text.split([' ', '\0']).next().unwrap_or_default();
    Ok((!version.is_empty() && version.chars().all(|c| c.is_ascii_graphic())).then(|| version.to_owned()))
}

/// The newest kernel that is installed.
fn newest_kernel(boot: &Path) -> Option<String> {
    let names =
        std::fs::read_dir(boot).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let versions = names.filter_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned));
    versions.max_by_key(|version| numbers(version))
}

/// `6.1.0-56-cloud-amd64` as 6, 1, 0, 56, 64: ordered by their numbers.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(libguestfs: &str) -> ApplianceStamp {
        ApplianceStamp { libguestfs: libguestfs.into(), built: "2026-01-02T03:04:05Z".into() }
    }

    #[test]
    fn an_appliance_for_another_libguestfs_is_not_used() {
        let judged = |version, kernel, installed| judge(Some(&stamp("1.48.6")), version, kernel, installed);
        assert!(matches!(judged(Some("1.48.6"), Some("6.1"), Some("6.1")), Appliance::Current(_)));
        assert!(matches!(judged(Some("1.48.6"), Some("6.1"), None), Appliance::Current(_)));
        assert!(matches!(judged(Some("1.48.6"), Some("6.1"), Some("6.2")), Appliance::Old(_)));
        assert!(matches!(judged(Some("1.50.1"), Some("6.1"), Some("6.2")), Appliance::Foreign(_)));
        assert!(matches!(judge(None, Some("1.50.1"), Some("6.1"), Some("6.2")), Appliance::Current(_)));
    }

    #[test]
    fn the_newest_kernel_is_newest_by_its_numbers() {
        let boot = tempfile::tempdir().unwrap();
        for name in ["vmlinuz-6.1.0-9-amd64", "vmlinuz-6.1.0-56-amd64", "config-7.0.0-1-amd64"] {
            std::fs::write(boot.path().join(name), "").unwrap();
        }
        assert_eq!(newest_kernel(boot.path()).as_deref(), Some("6.1.0-56-amd64"));
    }

    #[test]
    fn a_kernel_names_its_version() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("kernel");
        let mut kernel = vec![0; 0x400];
        kernel[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        kernel[0x300..0x315].copy_from_slice(b"6.1.0-56-amd64 (a@b) ");
        std::fs::write(&file, &kernel).unwrap();
        assert_eq!(kernel_version(&file).unwrap().as_deref(), Some("6.1.0-56-amd64"));
        // Not a kernel, and one cut short.
        std::fs::write(&file, vec![0; 0x400]).unwrap();
        assert_eq!(kernel_version(&file).unwrap(), None);
        std::fs::write(&file, "short").unwrap();
        assert!(kernel_version(&file).is_err());
    }

    #[test]
    fn what_is_missing_is_named() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("kernel"), "").unwrap();
        let Appliance::Missing(why) = look(directory.path(), None) else { panic!("it is not there") };
        assert!(why.contains("/initrd: No such file"), "{why}");
    }
}
