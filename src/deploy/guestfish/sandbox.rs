//! The command line of bubblewrap. Pure: paths and choices in, words out.
//!
//! ```text
//!  osvold, its own user:   bwrap (user, mount, pid, net, ipc, uts, cgroup namespaces) ── limits ── guestfish
//!  osvold, root:           bwrap (all but the user namespace) ── setpriv to user 65534 ── bwrap (user namespace) ── …
//! ```
//! Root makes the mounts as root, since nobody else may read the paths, and steps down before anything is run: a job is
//! user 65534 outside of its namespaces too, and the limit of processes, which root is exempt from, holds.
//!
//! Inside there is `/usr` (read-only), links to it, `/etc/alternatives`, the appliance, the job's socket, an own `/proc` and
//! `/dev`, and `/tmp`: the only place that can be written, of a limited size. guestfish interprets its scripts on this
//! side of the virtual machine: `!`, pipes, `<!`, `upload` and `download` reach what is here and nothing else.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The user and group of a job: nobody.
pub(super) const NOBODY: u32 = 65534;
/// Where a job finds its disk.
pub(super) const SOCKET: &str = "/disk.sock";
/// Where it finds the appliance.
const APPLIANCE: &str = "/appliance";
/// Its working directory.
const HOME: &str = "/tmp/job";
/// Temporary files of libguestfs and QEMU; scripts clean their own directory with `rm -rf ./*`.
const TEMPORARY: &str = "/tmp/own";
/// Host name inside.
const HOST_NAME: &str = "plan";

/// How a virtual machine is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accelerator {
    /// In software.
    Tcg,
    /// By the kernel.
    Kvm,
}

/// What there is on the host that the sandbox has to show.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Host {
    /// Links at the root, such as `/lib` to `usr/lib`.
    pub(super) links: Vec<(PathBuf, PathBuf)>,
    /// The same as directories, where `/usr` has not been merged.
    pub(super) directories: Vec<PathBuf>,
    /// osvold is root.
    pub(super) is_root: bool,
    /// The group of `/dev/kvm`, which opens it to its members.
    pub(super) kvm_group: Option<u32>,
}

impl Host {
    /// Looks at this machine.
    pub(super) fn look() -> Self {
        let mut host = Self { is_root: rustix::process::geteuid().is_root(), ..Self::default() };
        host.kvm_group = std::fs::metadata("/dev/kvm").ok().map(|device| device.gid());
        for name in ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"] {
            match (std::fs::read_link(name), Path::new(name).is_dir()) {
                (Ok(target), _) => host.links.push((target, name.into())),
                (Err(_), true) => host.directories.push(name.into()),
                (Err(_), false) => {}
            }
        }
        host
    }
}

/// A sandbox.
#[derive(Debug, Clone)]
pub(super) struct Sandbox<'a> {
    pub(super) bwrap: &'a Path,
    pub(super) host: &'a Host,
    /// No user namespace can be made inside; not every kernel and container lets bubblewrap see to that.
    pub(super) disable_userns: bool,
    pub(super) appliance: Option<&'a Path>,
    pub(super) socket: Option<&'a Path>,
    pub(super) accelerator: Accelerator,
    pub(super) scratch_bytes_max: u64,
    pub(super) appliance_mib: u64,
}

impl Sandbox<'_> {
    /// All words, the program first, that run `command` inside.
    pub(super) fn words(&self, command: &[String]) -> Vec<OsString> {
        let mut words = Words(vec![self.bwrap.as_os_str().to_owned()]);
        words.add(&[
            "--unshare-ipc",
            "--unshare-pid",
            "--unshare-net",
            "--unshare-uts",
            "--unshare-cgroup-try",
        ]);
        words.add(&["--die-with-parent", "--new-session", "--hostname", HOST_NAME]);
        if !self.host.is_root {
            self.user_namespace(&mut words);
        }
        self.mounts(&mut words);
        self.environment(&mut words);
        words.add(&["--cap-drop", "ALL"]);
        if self.host.is_root {
            // What setpriv needs to give everything up.
            for capability in ["CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"] {
                words.add(&["--cap-add", capability]);
            }
            self.step_down(&mut words);
        }
        words.add(&["--chdir", HOME, "--"]);
        words.0.extend(command.iter().map(OsString::from));
        words.0
    }

    fn user_namespace(&self, words: &mut Words) {
        let nobody = NOBODY.to_string();
        words.add(&["--unshare-user", "--uid", &nobody, "--gid", &nobody]);
        if self.disable_userns {
            words.add(&["--disable-userns"]);
        }
    }

    fn step_down(&self, words: &mut Words) {
        let nobody = NOBODY.to_string();
        words.add(&["--", "/usr/bin/setpriv", "--reuid", &nobody, "--regid", &nobody]);
        match (self.accelerator, self.host.kvm_group) {
            // By its number: there is no /etc/group inside. The group of root opens more than this device.
            (Accelerator::Kvm, Some(group @ 1..)) => words.add(&["--groups", &group.to_string()]),
            (Accelerator::Kvm | Accelerator::Tcg, _) => words.add(&["--clear-groups"]),
        }
        words.add(&["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--"]);
        words.0.push(self.bwrap.as_os_str().to_owned());
        words.add(&["--die-with-parent"]);
        self.user_namespace(words);
        words.add(&["--dev-bind", "/", "/", "--cap-drop", "ALL"]);
    }

    fn mounts(&self, words: &mut Words) {
        words.add(&["--ro-bind", "/usr", "/usr"]);
        for (target, link) in &self.host.links {
            words.bind("--symlink", target, link);
        }
        for directory in &self.host.directories {
            words.bind("--ro-bind", directory, directory);
        }
        // Plans are written for a shell that knows `source`.
        words.add(&["--ro-bind", "/usr/bin/bash", "/usr/bin/sh"]);
        // Directories that are not named are made for their owner alone.
        words.add(&["--dir", "/etc", "--ro-bind-try", "/etc/alternatives", "/etc/alternatives"]);
        if let Some(appliance) = self.appliance {
            words.bind("--ro-bind", appliance, Path::new(APPLIANCE));
        }
        if let Some(socket) = self.socket {
            words.bind("--ro-bind", socket, Path::new(SOCKET));
        }
        words.add(&["--proc", "/proc", "--dev", "/dev"]);
        if self.accelerator == Accelerator::Kvm {
            words.add(&["--dev-bind", "/dev/kvm", "/dev/kvm"]);
        }
        let size = self.scratch_bytes_max.to_string();
        words.add(&["--perms", "1777", "--size", &size, "--tmpfs", "/tmp"]);
        for directory in [HOME, TEMPORARY] {
            words.add(&["--perms", "0777", "--dir", directory]);
        }
        // QEMU takes /var/tmp for snapshots whatever TMPDIR says.
        words.add(&["--dir", "/var", "--symlink", "../tmp", "/var/tmp"]);
        // Both are file systems in memory without a limit.
        words.add(&["--remount-ro", "/dev", "--remount-ro", "/"]);
    }

    fn environment(&self, words: &mut Words) {
        words.add(&["--clearenv"]);
        let settings = match self.accelerator {
            Accelerator::Tcg => "force_tcg",
            Accelerator::Kvm => "force_kvm",
        };
        let size = self.appliance_mib.to_string();
        let variables = [
            ("PATH", "/usr/sbin:/usr/bin"),
            ("LANG", "C.UTF-8"),
            ("TERM", "dumb"),
            ("HOME", HOME),
            ("TMPDIR", TEMPORARY),
            ("PAGER", "cat"),
            ("LIBGUESTFS_BACKEND", "direct"),
            ("LIBGUESTFS_BACKEND_SETTINGS", settings),
            ("LIBGUESTFS_PATH", APPLIANCE),
            ("LIBGUESTFS_CACHEDIR", TEMPORARY),
            ("LIBGUESTFS_MEMSIZE", &size),
        ];
        for (name, value) in variables {
            words.add(&["--setenv", name, value]);
        }
    }
}

struct Words(Vec<OsString>);

impl Words {
    fn add(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(OsString::from));
    }

    fn bind(&mut self, how: &str, from: &Path, to: &Path) {
        self.0.extend([how.into(), from.as_os_str().to_owned(), to.as_os_str().to_owned()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(is_root: bool, accelerator: Accelerator) -> Vec<String> {
        let host = Host {
            links: vec![("usr/lib".into(), "/lib".into())],
            directories: vec!["/lib32".into()],
            is_root,
            kvm_group: Some(105),
        };
        let sandbox = Sandbox {
            bwrap: Path::new("/usr/bin/bwrap"),
            host: &host,
            disable_userns: true,
            appliance: Some(Path::new("/var/lib/appliance")),
            socket: Some(Path::new("/run/osvol/jobs/7/disk.sock")),
            accelerator,
            scratch_bytes_max: 1 << 20,
            appliance_mib: 768,
        };
        let words = sandbox.words(&["/usr/bin/true".to_owned(), "x y".to_owned()]);
        words.into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    fn has(words: &[String], wanted: &[&str]) -> bool {
        words.windows(wanted.len()).any(|window| window.iter().zip(wanted).all(|(a, b)| a == b))
    }

    #[test]
    fn a_job_sees_its_socket_and_nothing_of_the_host_that_it_could_write() {
        let words = words(false, Accelerator::Tcg);
        let mounts: Vec<_> = words.windows(3).filter(|w| w[0].contains("bind")).collect();
        let shown: Vec<_> = mounts.iter().map(|w| (w[0].as_str(), w[1].as_str(), w[2].as_str())).collect();
        let expected = [
            ("--ro-bind", "/usr", "/usr"),
            ("--ro-bind", "/lib32", "/lib32"),
            ("--ro-bind", "/usr/bin/bash", "/usr/bin/sh"),
            ("--ro-bind-try", "/etc/alternatives", "/etc/alternatives"),
            ("--ro-bind", "/var/lib/appliance", "/appliance"),
            ("--ro-bind", "/run/osvol/jobs/7/disk.sock", "/disk.sock"),
        ];
        assert_eq!(shown, expected);
        assert!(has(&words, &["--size", "1048576", "--tmpfs", "/tmp"]));
        // Written last: nothing can be put beside what was shown.
        assert!(has(&words, &["--remount-ro", "/dev", "--remount-ro", "/", "--clearenv"]));
    }

    #[test]
    fn every_namespace_is_its_own_and_every_capability_is_gone() {
        for is_root in [false, true] {
            let words = words(is_root, Accelerator::Tcg);
            for namespace in ["ipc", "pid", "net", "uts", "user"] {
                assert!(words.contains(&format!("--unshare-{namespace}")), "{namespace}, root {is_root}");
            }
            assert!(has(&words, &["--unshare-user", "--uid", "65534", "--gid", "65534", "--disable-userns"]));
            assert!(
                words.contains(&"--die-with-parent".to_owned())
                    && words.contains(&"--new-session".to_owned())
            );
            // Behind the last of them nothing is added.
            let last = words.iter().rposition(|word| word == "--cap-drop").unwrap();
            assert!(!words[last..].contains(&"--cap-add".to_owned()));
            assert!(words.ends_with(&["--".into(), "/usr/bin/true".into(), "x y".into()]));
        }
    }

    #[test]
    fn root_steps_down_before_anything_is_run() {
        assert!(!words(false, Accelerator::Tcg).contains(&"/usr/bin/setpriv".to_owned()));
        let words = words(true, Accelerator::Tcg);
        let at = |word: &str| words.iter().position(|one| one == word).unwrap();
        assert!(at("/usr/bin/setpriv") < at("--unshare-user") && at("--unshare-user") < at("/usr/bin/true"));
        assert!(has(&words, &["--reuid", "65534", "--regid", "65534", "--clear-groups"]));
        assert!(words.contains(&"--no-new-privs".to_owned()));
    }

    #[test]
    fn kvm_is_there_only_for_those_who_use_it() {
        assert!(!words(true, Accelerator::Tcg).contains(&"/dev/kvm".to_owned()));
        assert!(has(&words(false, Accelerator::Tcg), &["LIBGUESTFS_BACKEND_SETTINGS", "force_tcg"]));
        assert!(has(&words(true, Accelerator::Kvm), &["--groups", "105"]));
        let words = words(false, Accelerator::Kvm);
        assert!(has(&words, &["--dev-bind", "/dev/kvm", "/dev/kvm"]));
        assert!(has(&words, &["LIBGUESTFS_BACKEND_SETTINGS", "force_kvm"]));
    }
}
