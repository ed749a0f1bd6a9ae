//! `osvol appliance build`: the fixed appliance of guestfish, made of this machine's packages.
//!
//! It is made beside its place and takes it in one step: jobs find the old one or the new one, whole.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use api::ApplianceStamp;
use config::Config;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::args::{ApplianceCommand, CONFIGURATION};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;

/// Makes it; a script that comes with libguestfs.
const MAKER: &str = "libguestfs-make-fixed-appliance";
/// Longest time that it may take. Ten seconds are usual.
const BUILD_TIME_MAX: Duration = Duration::from_secs(600);
/// From one look at it to the next.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// What it leaves, all of which is needed.
const FILES: [&str; 3] = ["kernel", "initrd", "root"];
/// Lines of its complaints that are shown.
const COMPLAINTS_MAX: usize = 12;
/// What is missing where it cannot be made.
const PACKAGES: &str = "apt install guestfish libguestfs-tools libguestfs-xfs supermin qemu-system-x86, and a kernel: \
    linux-image-amd64 or linux-image-cloud-amd64";

pub(crate) fn run(command: &ApplianceCommand, client: &Client, output: &Output) -> Result<(), Failure> {
    match command {
        ApplianceCommand::Build { directory, config } => {
            let directory = place(directory.as_deref(), config)?;
            build(&directory, output)
        }
        ApplianceCommand::Status => super::doctor::appliance(client, output),
    }
}

/// Where it goes. Without a configuration in its usual place it goes where the daemon looks without one.
fn place(directory: Option<&Path>, config: &Path) -> Result<PathBuf, Failure> {
    if let Some(directory) = directory {
        return std::path::absolute(directory).map_err(Failure::file("find", directory));
    }
    if config == Path::new(CONFIGURATION) && !config.exists() {
        return Ok(Config::default().plans.appliance);
    }
    let read = Config::load(config)
        .map_err(|error| failed(error.to_string(), "mend the configuration, or give --directory"))?;
    Ok(read.plans.appliance)
}

fn build(directory: &Path, output: &Output) -> Result<(), Failure> {
    kernel_is_there()?;
    let version = version()?;
    let began = Instant::now();
    let work = Work::new(directory)?;
    let made = work.path("appliance");
    make(&made, &work)?;
    for name in FILES {
        let file = made.join(name);
        fs::set_permissions(&file, Permissions::from_mode(0o644)).map_err(Failure::file("finish", &file))?;
        synced(&file)?;
    }
    let stamp = ApplianceStamp { libguestfs: version, built: now() };
    let file = made.join(ApplianceStamp::FILE);
    fs::write(&file, serde_json::to_vec(&stamp).unwrap_or_default())
        .map_err(Failure::file("write", &file))?;
    synced(&file)?;
    fs::set_permissions(&made, Permissions::from_mode(0o755)).map_err(Failure::file("finish", &made))?;
    synced(&made)?;
    replace(&made, directory)?;
    synced(directory.parent().unwrap_or(Path::new("/")))?;
    let seconds = began.elapsed().as_secs();
    match output.json {
        true => output.text(&serde_json::to_string(&stamp).unwrap_or_default()),
        false => output.text(&format!(
            "appliance built in {} with libguestfs {}, in {seconds} s",
            directory.display(),
            stamp.libguestfs
        )),
    }
}

/// A power cut must not leave the new one's name with nothing in it.
fn synced(path: &Path) -> Result<(), Failure> {
    File::open(path).and_then(|file| file.sync_all()).map_err(Failure::file("sync", path))
}

/// A directory beside the appliance's, on the same file system, that goes in the end.
struct Work(PathBuf);

impl Work {
    fn new(directory: &Path) -> Result<Self, Failure> {
        let parent = directory.parent().unwrap_or(Path::new("/"));
        let name = directory.file_name().unwrap_or_default().to_string_lossy();
        let work = Self(parent.join(format!(".{name}.{}", std::process::id())));
        for path in [work.0.clone(), work.path("cache"), work.path("tmp")] {
            fs::create_dir_all(&path).map_err(Failure::file("make the directory", &path))?;
        }
        Ok(work)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // Nothing is lost with it, and there is nobody to tell.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn make(made: &Path, work: &Work) -> Result<(), Failure> {
    let log = work.path("log");
    let file = File::create(&log).map_err(Failure::file("write", &log))?;
    let errors = file.try_clone().map_err(Failure::file("write", &log))?;
    let mut command = Command::new(MAKER);
    command.arg(made).stdin(Stdio::null()).stdout(file).stderr(errors).process_group(0);
    // It boots what it has made. A KVM that opens and never runs a guest would hold it up for ever.
    command.env("LIBGUESTFS_BACKEND", "direct").env("LIBGUESTFS_BACKEND_SETTINGS", "force_tcg");
    command.env("LIBGUESTFS_CACHEDIR", work.path("cache")).env("TMPDIR", work.path("tmp"));
    // supermin is told by its own variables (SUPERMIN_KERNEL and others) where no kernel is installed: they are passed on.
    command.env_remove("LIBGUESTFS_PATH").env_remove("LIBGUESTFS_DEBUG").env("PATH", search_path());
    let child = command.spawn().map_err(|error| failed(format!("{MAKER}: {error}"), PACKAGES))?;
    match wait(child) {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(failed(format!("{MAKER}: {status}\n{}", complaints(&log)), PACKAGES)),
        Ok(None) => {
            let seconds = BUILD_TIME_MAX.as_secs();
            Err(failed(format!("{MAKER} took longer than {seconds} s"), "try it when the machine is idle"))
        }
        Err(error) => Err(failed(format!("{MAKER}: {error}"), PACKAGES)),
    }
}

/// Waits for a process; one that takes too long is ended with all of its group.
fn wait(mut child: Child) -> std::io::Result<Option<ExitStatus>> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if began.elapsed() > BUILD_TIME_MAX {
            if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK_INTERVAL);
    }
}

/// Puts the new one where the old one was, in one step.
fn replace(made: &Path, directory: &Path) -> Result<(), Failure> {
    let flags = match directory.is_dir() {
        // The old one goes with the directory that the new one was made in.
        true => RenameFlags::EXCHANGE,
        false => RenameFlags::NOREPLACE,
    };
    renameat_with(CWD, made, CWD, directory, flags)
        .map_err(|error| Failure::file("replace", directory)(error.into()))
}

/// supermin copies an installed kernel, which it must be able to read.
fn kernel_is_there() -> Result<(), Failure> {
    if std::env::var_os("SUPERMIN_KERNEL").is_some() {
        return Ok(());
    }
    let entries =
        fs::read_dir("/boot").map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let is_kernel =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinu"));
    let kernels: Vec<_> = entries.iter().map(fs::DirEntry::path).filter(is_kernel).collect();
    let Some(first) = kernels.first() else {
        let action = "apt install linux-image-cloud-amd64 (or linux-image-amd64); it need not be booted";
        return Err(failed("no kernel is installed in /boot".to_owned(), action));
    };
    match kernels.iter().any(|kernel| File::open(kernel).is_ok()) {
        true => Ok(()),
        false => {
            let action = "run osvol appliance build as root, or let everybody read the kernel: \
                dpkg-statoverride --update --add root root 0644 FILE";
            Err(failed(format!("{} cannot be read by this user", first.display()), action))
        }
    }
}

/// The version of libguestfs, by which the daemon judges whether the appliance still fits.
fn version() -> Result<String, Failure> {
    let said = Command::new("guestfish").arg("--version").env("PATH", search_path()).output();
    let said = said.map_err(|error| failed(format!("guestfish: {error}"), PACKAGES))?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let version = said.split_whitespace().nth(1).map(str::to_owned);
    version.ok_or_else(|| failed("guestfish does not say its version".to_owned(), PACKAGES))
}

/// `PATH` with the directories of the system: the script is in /usr/sbin.
fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/usr/bin:/sbin:/bin")
}

fn complaints(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(COMPLAINTS_MAX)..].join("\n")
}

fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    api::iso8601(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn failed(why: String, action: &str) -> Failure {
    Failure::Appliance(why, action.to_owned())
}
