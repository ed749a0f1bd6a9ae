//! Looks at the machine: whether everything is there that running guestfish in its sandbox needs, by trying it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::appliance::{self, Appliance};
use super::contained::{self, Bounds, End};
use super::limits;
use super::programs::{self, Absent, NEEDED};
use super::readiness::Readiness;
use super::sandbox::{Accelerator, Host, Sandbox};

/// Longest run of a program that only says its version.
const TRY_TIME_MAX: Duration = Duration::from_secs(20);
/// Output of a trial that is read.
const TRY_OUTPUT_BYTES_MAX: u64 = 64 << 10;
/// Everything from Debian that plan scripts need.
pub(super) const PACKAGES: &str = "apt install guestfish libguestfs0 libguestfs-xfs libguestfs-tools supermin \
    qemu-system-x86 bubblewrap gawk, and a kernel for the appliance (linux-image-amd64 or linux-image-cloud-amd64)";

/// What guestfish is run with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) bwrap: PathBuf,
    pub(super) guestfish: PathBuf,
    pub(super) version: String,
    pub(super) appliance: PathBuf,
    /// In words.
    pub(super) about: String,
    pub(super) disable_userns: bool,
    pub(super) host: Host,
}

/// What a look found.
#[derive(Debug, Clone)]
pub(super) struct Looked {
    pub(super) readiness: Readiness,
    /// Everything, when nothing is missing.
    pub(super) found: Option<Found>,
}

/// Whether the programs are there at all. Costs nothing.
pub(super) fn is_installed(settings: &config::Plans) -> bool {
    program(&settings.guestfish).is_ok() && program(&settings.bwrap).is_ok()
}

/// Looks at everything. Takes about a tenth of a second where all is installed, nothing where it is not.
pub(super) fn look(settings: &config::Plans) -> Looked {
    let mut readiness = Readiness::default();
    let host = Host::look();
    let bwrap = named(&mut readiness, "bubblewrap", &settings.bwrap, "plans.bwrap", "bubblewrap");
    let guestfish = named(&mut readiness, "guestfish", &settings.guestfish, "plans.guestfish", "guestfish");
    needed(&mut readiness, &host, guestfish.is_some());
    let tried = bwrap.as_deref().and_then(|bwrap| try_sandbox(&mut readiness, bwrap, &host));
    let version = match (&bwrap, &guestfish, tried) {
        (Some(bwrap), Some(guestfish), Some(disable_userns)) => {
            try_guestfish(&mut readiness, guestfish, &plain(bwrap, &host, disable_userns))
        }
        _ => None,
    };
    let about = try_appliance(&mut readiness, &settings.appliance, version.as_deref());
    let found = (|| {
        Some(Found {
            bwrap: bwrap?,
            guestfish: guestfish?,
            version: version?,
            appliance: settings.appliance.clone(),
            about: about?,
            disable_userns: tried?,
            host,
        })
    })();
    Looked { found: found.filter(|_| readiness.is_ready()), readiness }
}

fn program(path: &Path) -> Result<PathBuf, Absent> {
    programs::find(path, std::env::var_os("PATH").as_deref())
}

fn named(readiness: &mut Readiness, name: &str, path: &Path, key: &str, package: &str) -> Option<PathBuf> {
    match program(path) {
        Ok(found) => return Some(found),
        Err(Absent::NotFound) => {
            let detail = format!("{} is not installed", path.display());
            readiness.wrong(
                name,
                detail,
                format!("{PACKAGES} ({package} brings it; {key} says where it is)"),
            );
        }
        Err(Absent::Outside(found)) => {
            let detail = format!("{} is not in /usr, and the sandbox shows nothing else", found.display());
            readiness.wrong(name, detail, format!("install it in /usr, and set {key}"));
        }
    }
    None
}

/// The smaller programs. Where there is no guestfish it has been said already what to install.
fn needed(readiness: &mut Readiness, host: &Host, has_guestfish: bool) {
    for program in NEEDED {
        let is_for_root = program.path.ends_with("/setpriv");
        if programs::is_program(Path::new(program.path)) || is_for_root && !host.is_root {
            continue;
        }
        let detail = format!("{} is not installed: {}", program.path, program.for_what);
        let action = format!("apt install {}", program.package);
        match program.is_vital && has_guestfish {
            true => readiness.wrong(program.package, detail, action),
            false => readiness.warning(program.package, detail, action),
        }
    }
}

/// A sandbox without a disk and an appliance.
fn plain<'a>(bwrap: &'a Path, host: &'a Host, disable_userns: bool) -> Sandbox<'a> {
    Sandbox {
        bwrap,
        host,
        disable_userns,
        appliance: None,
        socket: None,
        accelerator: Accelerator::Tcg,
        scratch_bytes_max: limits::SCRATCH_BYTES_MAX,
        appliance_mib: limits::APPLIANCE_MIB,
    }
}

/// Runs `true` as a job is run. Whether user namespaces could be forbidden inside, if it works at all.
fn try_sandbox(readiness: &mut Readiness, bwrap: &Path, host: &Host) -> Option<bool> {
    const NAME: &str = "sandbox";
    let attempt = |disable_userns| tried(&plain(bwrap, host, disable_userns), &["/usr/bin/true"]);
    let who = if host.is_root { "osvold is root; jobs run as user 65534" } else { "unprivileged" };
    let why = match attempt(true) {
        Ok(_) => {
            readiness.ok(NAME, format!("bubblewrap works ({who})"));
            return Some(true);
        }
        Err(why) => why,
    };
    match attempt(false) {
        Ok(_) => {
            readiness.ok(NAME, format!("bubblewrap works ({who}); user namespaces stay possible inside"));
            Some(false)
        }
        Err(_) => {
            let action = "let osvold make user namespaces: sysctl user.max_user_namespaces (and \
                kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns where there are such); \
                under systemd install the drop-in osvold.service.d/plans.conf; see OPERATING.md, \"Plan scripts\"";
            readiness.wrong(NAME, format!("bubblewrap cannot make a sandbox: {why}"), action);
            None
        }
    }
}

fn try_guestfish(readiness: &mut Readiness, guestfish: &Path, sandbox: &Sandbox<'_>) -> Option<String> {
    const NAME: &str = "guestfish";
    let said = guestfish.to_str().ok_or_else(|| "its path is not UTF-8".to_owned());
    let said = said.and_then(|guestfish| tried(sandbox, &[guestfish, "--version"]));
    let why = match said {
        // "guestfish 1.48.6", of a distribution "guestfish 1.50.1rhel=9,release=8"
        Ok(said) => match said.split_whitespace().nth(1) {
            Some(version) => {
                readiness.ok(NAME, format!("version {version}"));
                return Some(version.to_owned());
            }
            None => format!("it says {said:?} instead of its version"),
        },
        Err(why) => why,
    };
    readiness.wrong(NAME, format!("it does not run in the sandbox: {why}"), PACKAGES);
    None
}

fn try_appliance(readiness: &mut Readiness, directory: &Path, version: Option<&str>) -> Option<String> {
    const NAME: &str = "appliance";
    const BUILD: &str = "run osvol appliance build, as root";
    match appliance::look(directory, version) {
        Appliance::Current(about) => {
            readiness.ok(NAME, about.clone());
            Some(about)
        }
        Appliance::Old(about) => {
            readiness.warning(NAME, about.clone(), BUILD);
            Some(about)
        }
        Appliance::Foreign(about) => {
            readiness.wrong(NAME, about, BUILD);
            None
        }
        Appliance::Missing(why) => {
            readiness.wrong(NAME, why, format!("{BUILD} (plans.appliance says where it is)"));
            None
        }
    }
}

/// What a program says, run as a job is; or why it did not run.
fn tried(sandbox: &Sandbox<'_>, command: &[&str]) -> Result<String, String> {
    let mut words = limits::words(TRY_TIME_MAX);
    words.extend(command.iter().map(|word| (*word).to_owned()));
    let bounds =
        Bounds { output_bytes_max: TRY_OUTPUT_BYTES_MAX, ..Bounds::until(Instant::now() + TRY_TIME_MAX) };
    let mut printed = Vec::new();
    let mut run = || -> io::Result<End> {
        let input = File::open("/dev/null")?;
        let unwanted = AtomicBool::new(false);
        contained::run(&sandbox.words(&words), input, bounds, &unwanted, &mut |bytes| {
            printed.extend_from_slice(bytes)
        })
    };
    let end = run();
    let printed = String::from_utf8_lossy(&printed).trim().to_owned();
    match end {
        Ok(End::Exited(status)) if status.success() => Ok(printed),
        Ok(End::Exited(status)) => Err(if printed.is_empty() { status.to_string() } else { printed }),
        Ok(End::TimedOut) => Err(format!("it took longer than {} s", TRY_TIME_MAX.as_secs())),
        Ok(End::Memory(_) | End::Output | End::Unwanted) => Err("it was ended".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_anything_is_told_which_packages_it_lacks() {
        let directory = tempfile::tempdir().unwrap();
        let settings = config::Plans {
            guestfish: directory.path().join("guestfish"),
            bwrap: "no-such-bwrap".into(),
            appliance: directory.path().join("appliance"),
            ..config::Plans::default()
        };
        assert!(!is_installed(&settings));
        let looked = look(&settings);
        assert_eq!(looked.found, None);
        let refusal = format!("{:?}", looked.readiness.refusal().unwrap());
        for package in
            ["guestfish", "libguestfs-xfs", "qemu-system-x86", "bubblewrap", "gawk", "linux-image-"]
        {
            assert!(refusal.contains(package), "{package} in {refusal}");
        }
        assert!(
            refusal.contains("no-such-bwrap is not installed") && refusal.contains("osvol appliance build")
        );
    }
}
