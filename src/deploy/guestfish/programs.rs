//! The programs that plan scripts need, and which packages bring them.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where the sandbox shows programs.
const SHOWN: &str = "/usr";
/// Looked through after `PATH`: services have a short one.
const MORE_DIRECTORIES: [&str; 2] = ["/usr/bin", "/usr/sbin"];

/// A program, and the package of Debian that it is in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needed {
    pub(super) path: &'static str,
    pub(super) package: &'static str,
    /// What does not work without it.
    pub(super) for_what: &'static str,
    /// Nothing works without it.
    pub(super) is_vital: bool,
}

/// What a sandbox and guestfish call by their paths.
pub(super) const NEEDED: [Needed; 7] = [
    Needed { path: "/usr/bin/bash", package: "bash", for_what: "shell commands of scripts", is_vital: true },
    Needed { path: "/usr/bin/prlimit", package: "util-linux", for_what: "limits of a job", is_vital: true },
    Needed { path: "/usr/bin/choom", package: "util-linux", for_what: "limits of a job", is_vital: true },
    Needed { path: "/usr/bin/setpriv", package: "util-linux", for_what: "osvold as root", is_vital: true },
    Needed { path: "/usr/bin/stdbuf", package: "coreutils", for_what: "output in its order", is_vital: true },
    Needed {
        path: HYPERVISOR,
        package: "qemu-system-x86",
        for_what: "the appliance's virtual machine",
        is_vital: true,
    },
    Needed { path: "/usr/bin/gawk", package: "gawk", for_what: "scripts that call gawk", is_vital: false },
];

/// The virtual machine that libguestfs starts.
#[cfg(target_arch = "aarch64")]
const HYPERVISOR: &str = "/usr/bin/qemu-system-aarch64";
/// The virtual machine that libguestfs starts.
#[cfg(not(target_arch = "aarch64"))]
const HYPERVISOR: &str = "/usr/bin/qemu-system-x86_64";

/// Why a program cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Absent {
    /// It is not installed.
    NotFound,
    /// It is where the sandbox does not show it.
    Outside(PathBuf),
}

/// Finds a program as a shell would, to where all links lead.
pub(super) fn find(program: &Path, path: Option<&OsStr>) -> Result<PathBuf, Absent> {
    let is_named = program.components().count() > 1;
    let found = match is_named {
        true => Some(program.to_owned()).filter(|file| is_program(file)),
        false => {
            let listed = path.map(std::env::split_paths).into_iter().flatten();
            let more = MORE_DIRECTORIES.into_iter().map(PathBuf::from);
            listed.chain(more).map(|directory| directory.join(program)).find(|file| is_program(file))
        }
    };
    let found = found.and_then(|file| file.canonicalize().ok()).ok_or(Absent::NotFound)?;
    if found.starts_with(SHOWN) { Ok(found) } else { Err(Absent::Outside(found)) }
}

pub(super) fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_as_a_shell_would() {
        assert_eq!(
            find(Path::new("bash"), None).unwrap(),
            Path::new("/usr/bin/bash").canonicalize().unwrap()
        );
        assert_eq!(find(Path::new("no-such-program"), None), Err(Absent::NotFound));
        assert_eq!(find(Path::new("/usr/bin/no-such"), None), Err(Absent::NotFound));
        // A directory is no program.
        assert_eq!(find(Path::new("/usr/bin"), None), Err(Absent::NotFound));
    }

    #[test]
    fn a_program_that_the_sandbox_does_not_show_is_of_no_use() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("guestfish");
        std::fs::write(&file, "").unwrap();
        assert_eq!(find(&file, None), Err(Absent::NotFound));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let found = find(Path::new("guestfish"), Some(directory.path().as_os_str()));
        assert_eq!(found, Err(Absent::Outside(file.canonicalize().unwrap())));
    }
}
