//! Whether KVM really runs a guest. On some machines `/dev/kvm` opens, QEMU says that it is enabled, and the guest never
//! gets anywhere; guestfish would wait for it for ever. So the appliance is booted once, with a limit, and what came of
//! it is remembered for as long as the machine is not booted anew and nothing is replaced.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Longest boot of the appliance under KVM. Where it works it takes a few seconds.
pub(super) const TIME_MAX: std::time::Duration = std::time::Duration::from_secs(45);
/// Largest file that is read back.
const FILE_BYTES_MAX: u64 = 4 << 10;

/// What is known of KVM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Kvm {
    /// Nothing yet.
    #[default]
    Unknown,
    /// It is being found out.
    Trying,
    /// A guest ran, after so many milliseconds.
    Works(u64),
    /// None ran, and why.
    Fails(String),
}

/// An answer that is kept in a file.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Remembered {
    /// What it holds for.
    key: String,
    works_ms: Option<u64>,
    why: String,
}

/// Whether this process may open KVM's device.
pub(super) fn device() -> std::io::Result<()> {
    fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").map(drop)
}

/// What an answer holds for: this boot of the machine, this libguestfs and appliance.
pub(super) fn key(appliance: &str, version: &str) -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    format!("{} {version} {appliance}", boot.trim())
}

/// The answer of an earlier process.
pub(super) fn recall(file: &Path, key: &str) -> Option<Kvm> {
    if fs::metadata(file).ok()?.len() > FILE_BYTES_MAX {
        return None;
    }
    let remembered: Remembered = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    if remembered.key != key {
        return None;
    }
    Some(remembered.works_ms.map_or(Kvm::Fails(remembered.why), Kvm::Works))
}

/// Keeps an answer. Where it cannot be kept it is found out again.
pub(super) fn remember(file: &Path, key: &str, kvm: &Kvm) -> std::io::Result<()> {
    let (works_ms, why) = match kvm {
        Kvm::Works(took) => (Some(*took), String::new()),
        Kvm::Fails(why) => (None, why.clone()),
        Kvm::Unknown | Kvm::Trying => return Ok(()),
    };
    let text = serde_json::to_vec(&Remembered { key: key.to_owned(), works_ms, why })?;
    let new = PathBuf::from(format!("{}.new", file.display()));
    fs::write(&new, text)?;
    fs::rename(&new, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_remembered_for_what_it_holds_for() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("kvm.json");
        assert_eq!(recall(&file, "a"), None);
        for kvm in [Kvm::Works(3210), Kvm::Fails("it hung".into())] {
            remember(&file, "a", &kvm).unwrap();
            assert_eq!(recall(&file, "a"), Some(kvm));
            assert_eq!(recall(&file, "b"), None);
        }
        remember(&file, "b", &Kvm::Trying).unwrap();
        assert_eq!(recall(&file, "b"), None);
        fs::write(&file, "{").unwrap();
        assert_eq!(recall(&file, "a"), None);
    }
}
