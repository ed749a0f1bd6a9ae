//! A session: a disk, what is mounted of it, and one operation after the other.

use super::fat::{Destination, Directory, Fat, FatEntry, Node, Stamp, Target};
use super::overlay::{Disk, Overlay};
use super::partitions::{Partition, partitions};
use super::probe;
use super::trouble::{Errno, Result, Trouble};
use crate::fit::Operation;

/// guestfish prints no longer file.
const CAT_BYTES_MAX: usize = 2 << 20;
/// Names that the one disk goes by.
const DISKS: [&str; 3] = ["/dev/sda", "/dev/vda", "/dev/hda"];

/// Why an operation was not done: what guestfish would print, or what keeps this engine from it.
pub(super) enum Refusal {
    /// guestfish's message.
    Message(String),
    /// Not a matter of the script.
    Trouble(Trouble),
}

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

type Done = std::result::Result<(), Refusal>;

struct Mounted {
    partition: u32,
    fat: Fat,
}

/// What a session works on.
pub(super) struct Session<'d> {
    disk: Overlay<'d>,
    mounted: Option<Mounted>,
    now: Stamp,
    output: Vec<u8>,
}

/// A message for what Linux refuses; other troubles stay what they are.
fn message(trouble: Trouble, text: impl FnOnce(Errno) -> String) -> Refusal {
    match trouble {
        Trouble::Errno(errno) => Refusal::Message(text(errno)),
        trouble => Refusal::Trouble(trouble),
    }
}

fn says(text: String) -> Done {
    Err(Refusal::Message(text))
}

impl<'d> Session<'d> {
    pub(super) fn new(disk: &'d dyn Disk, now: Stamp) -> Self {
        Self { disk: Overlay::new(disk), mounted: None, now, output: Vec::new() }
    }

    /// What was printed since the last time.
    pub(super) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Unmounts what is mounted, and gives all changes.
    pub(super) fn end(mut self) -> Result<Vec<(u64, Vec<u8>)>> {
        self.unmount()?;
        Ok(self.disk.into_changes())
    }

    fn unmount(&mut self) -> Result<()> {
        self.mounted.take().map_or(Ok(()), |mounted| mounted.fat.unmount(&mut self.disk))
    }

    fn print(&mut self, line: &[u8]) -> Done {
        self.output.extend_from_slice(line);
        self.output.push(b'\n');
        Ok(())
    }

    pub(super) fn run(&mut self, operation: &Operation) -> Done {
        match operation {
            Operation::Print(line) => self.print(line),
            Operation::Refuse(message) => says(message.clone()),
            Operation::ListDevices => self.print(b"/dev/sda"),
            Operation::ListPartitions => self.list_partitions(),
            Operation::ListFilesystems => self.list_filesystems(),
            Operation::ListNothing => self.filesystems().map(drop).map_err(Refusal::from),
            Operation::Mount { device } => self.mount(device),
            Operation::Unmount { what } => self.unmount_one(what),
            Operation::UnmountAll => self.unmount().map_err(Refusal::from),
            Operation::Sync => Ok(()),
            Operation::Upload { path, content } => self.upload(path, content),
            Operation::Write { path, content, append } => self.write(path, content, *append),
            Operation::Mkdir(path) => self.mkdir(path),
            Operation::MkdirParents(path) => self.mkdir_parents(path),
            Operation::Remove { path, force } => self.remove(path, *force),
            Operation::RemoveAll(path) => self.remove_all(path),
            Operation::Rmdir(path) => self.rmdir(path),
            Operation::Move(from, to) => self.move_one(from, to),
            Operation::Copy(from, to) => self.copy(from, to),
            Operation::Touch(path) => self.touch(path),
            Operation::Cat(path) => self.cat(path),
            Operation::List(path) => self.list(path),
            Operation::Exists(path) => self.tell("exists", path, |_| true),
            Operation::IsFile(path) => self.tell("is_file", path, |node| node.directory().is_none()),
            Operation::IsDirectory(path) => self.tell("is_dir", path, |node| node.directory().is_some()),
            Operation::Chmod { mode, path } => self.chmod(*mode, path),
        }
    }

    // Devices.

    fn list_partitions(&mut self) -> Done {
        for partition in partitions(&mut self.disk)? {
            self.print(format!("/dev/sda{}", partition.number).as_bytes())?;
        }
        Ok(())
    }

    /// What there is on the disk; all of it is recognized.
    fn filesystems(&mut self) -> Result<Vec<(String, &'static str)>> {
        let found = partitions(&mut self.disk)?;
        if found.is_empty() {
            let len = self.disk.size_bytes();
            return Ok(vec![("/dev/sda".to_owned(), probe::kind(&mut self.disk, 0, len)?)]);
        }
        let kind = |one: &Partition| {
            Ok((format!("/dev/sda{}", one.number), probe::kind(&mut self.disk, one.start, one.len)?))
        };
        found.iter().map(kind).collect()
    }

    fn list_filesystems(&mut self) -> Done {
        for (device, kind) in self.filesystems()? {
            self.print(format!("{device}: {kind}").as_bytes())?;
        }
        Ok(())
    }

    /// The number that follows the disk's name; 0 for all of it. Nothing for the name of a disk that is not there.
    fn partition_of(device: &str) -> Result<Option<u32>> {
        for disk in DISKS {
            match device.strip_prefix(disk) {
                Some("") => return Ok(Some(0)),
                Some(number) if !number.starts_with(['0', '+']) => {
                    if let Ok(number) = number.parse() {
                        return Ok(Some(number));
                    }
                }
                _ => {}
            }
        }
        let letters = device.strip_prefix("/dev/").and_then(|name| name.get(..2));
        match letters {
            Some("sd" | "vd" | "hd") => Ok(None),
            _ => Err(Trouble::doubt("it names a device that is no partition of the disk")),
        }
    }

    fn mount(&mut self, device: &str) -> Done {
        let number = Self::partition_of(device)?;
        if self.mounted.is_some() {
            return Err(Trouble::doubt("it mounts over what is mounted").into());
        }
        let found = partitions(&mut self.disk)?;
        let extent = match number {
            Some(0) if found.is_empty() => Some((0, self.disk.size_bytes())),
            Some(0) => return Err(Trouble::doubt("it mounts the whole of a disk that has partitions").into()),
            number => found.iter().find(|one| Some(one.number) == number).map(|one| (one.start, one.len)),
        };
        let Some((start, len)) = extent else {
            return says(format!("mount: mount_stub: {device}: No such file or directory"));
        };
        match Fat::mount(&mut self.disk, start, len, self.now)? {
            Some(fat) => {
                self.mounted = Some(Mounted { partition: number.unwrap_or(0), fat });
                Ok(())
            }
            None => Err(Trouble::doubt(format!("the file system of {device} is not FAT")).into()),
        }
    }

    fn unmount_one(&mut self, what: &str) -> Done {
        if what == "/" {
            self.fat("umount")?;
            return Ok(self.unmount()?);
        }
        let Some(number) = Self::partition_of(what)? else {
            return Err(Trouble::doubt("it unmounts a device that is not there").into());
        };
        if self.mounted.as_ref().is_some_and(|mounted| mounted.partition == number) {
            return Ok(self.unmount()?);
        }
        if !partitions(&mut self.disk)?.iter().any(|one| one.number == number) {
            return Err(Trouble::doubt("it unmounts a device that is not there").into());
        }
        says(format!("umount: {what}: umount: {what}: not mounted."))
    }

    /// The mounted file system, and the disk under it.
    fn fat(&mut self, function: &str) -> std::result::Result<(&mut Fat, &mut Overlay<'d>), Refusal> {
        match &mut self.mounted {
            Some(mounted) => Ok((&mut mounted.fat, &mut self.disk)),
            None => Err(Refusal::Message(format!(
                "{function}: {function}_stub: you must call 'mount' first to mount the root filesystem"
            ))),
        }
    }

    // Files.

    fn upload(&mut self, path: &str, content: &[u8]) -> Done {
        let (fat, disk) = self.fat("upload")?;
        let mut entry = opened(fat, disk, path, true)
            .map_err(|trouble| message(trouble, |errno| format!("upload: {path}: {errno}")))?;
        fat.append(disk, &mut entry, content)
            .map_err(|trouble| message(trouble, |errno| format!("upload: write error: {path}: {errno}")))
    }

    fn write(&mut self, path: &str, content: &[u8], append: bool) -> Done {
        let function = if append { "internal_write_append" } else { "internal_write" };
        let (fat, disk) = self.fat(function)?;
        let mut entry = opened(fat, disk, path, !append)
            .map_err(|trouble| message(trouble, |errno| format!("{function}: open: {path}: {errno}")))?;
        fat.append(disk, &mut entry, content)
            .map_err(|trouble| message(trouble, |errno| format!("{function}: write: {errno}")))
    }

    fn touch(&mut self, path: &str) -> Done {
        let (fat, disk) = self.fat("touch")?;
        match fat.walk(disk, path) {
            Ok(Target::There(node)) => match node.file() {
                Some(mut entry) => {
                    entry.set_modified(fat.now());
                    Ok(Fat::update_entry(disk, &entry)?)
                }
                None => says(format!("touch: {path}: touch can only be used on a regular files")),
            },
            Ok(Target::Missing(parent, name)) => fat
                .make_file(disk, parent, &name)
                .map(drop)
                .map_err(|trouble| message(trouble, |errno| format!("touch: open: {path}: {errno}"))),
            Err(Trouble::Errno(Errno::NoEntry)) => says(format!("touch: open: {path}: {}", Errno::NoEntry)),
            Err(trouble) => Err(message(trouble, |errno| format!("touch: lstat: {path}: {errno}"))),
        }
    }

    fn cat(&mut self, path: &str) -> Done {
        let (fat, disk) = self.fat("download")?;
        let node = there(fat, disk, path)
            .map_err(|trouble| message(trouble, |errno| format!("download: {path}: {errno}")))?;
        let Some(entry) = node.file() else {
            return says(format!("download: {path}: is a directory"));
        };
        let content = fat.read_file(disk, &entry)?;
        if content.len() > CAT_BYTES_MAX || content.contains(&0) {
            return Err(Trouble::doubt("it prints a file that is long, or no text").into());
        }
        self.print(&content)
    }

    fn chmod(&mut self, mode: u32, path: &str) -> Done {
        let (fat, disk) = self.fat("chmod")?;
        let says = |trouble| message(trouble, |errno| format!("chmod: {path}: 0{mode:o}: {errno}"));
        match there(fat, disk, path).map_err(says)?.entry() {
            Some(mut entry) => Fat::change_mode(disk, &mut entry, mode).map_err(says),
            None => Err(Trouble::doubt("it changes the mode of the root directory").into()),
        }
    }

    // Directories.

    fn mkdir(&mut self, path: &str) -> Done {
        let (fat, disk) = self.fat("mkdir")?;
        let made = match fat.walk(disk, path) {
            Ok(Target::There(_)) => Err(Errno::Exists.into()),
            Ok(Target::Missing(parent, name)) => fat.make_directory(disk, parent, &name),
            Err(trouble) => Err(trouble),
        };
        made.map_err(|trouble| message(trouble, |errno| format!("mkdir: {path}: {errno}")))
    }

    fn mkdir_parents(&mut self, path: &str) -> Done {
        let (fat, disk) = self.fat("mkdir_p")?;
        let says_errno = |trouble| message(trouble, |errno| format!("mkdir_p: {path}: {errno}"));
        let mut way = String::new();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            way = format!("{way}/{name}");
            if let Target::Missing(parent, name) = fat.walk(disk, &way).map_err(says_errno)? {
                fat.make_directory(disk, parent, &name).map_err(says_errno)?;
            }
        }
        match fat.walk(disk, path).map_err(says_errno)? {
            Target::There(node) if node.directory().is_some() => Ok(()),
            _ if path.ends_with('/') => says(format!("mkdir_p: {path}: {}", Errno::NotDirectory)),
            _ => says(format!("mkdir_p: {path}: a path element was not a directory")),
        }
    }

    fn rmdir(&mut self, path: &str) -> Done {
        let (fat, disk) = self.fat("rmdir")?;
        let removed = there(fat, disk, path).and_then(|node| match node.entry() {
            Some(entry) if entry.is_directory() => fat.remove(disk, &entry),
            Some(_) => Err(Errno::NotDirectory.into()),
            None => Err(Trouble::doubt("it removes the root directory")),
        });
        removed.map_err(|trouble| message(trouble, |errno| format!("rmdir: {path}: {errno}")))
    }

    fn remove(&mut self, path: &str, force: bool) -> Done {
        let function = if force { "rm_f" } else { "rm" };
        let (fat, disk) = self.fat(function)?;
        let removed = there(fat, disk, path).and_then(|node| match node.file() {
            Some(entry) => fat.remove(disk, &entry),
            None => Err(Errno::IsDirectory.into()),
        });
        match removed {
            Err(Trouble::Errno(Errno::NoEntry)) if force => Ok(()),
            removed => {
                removed.map_err(|trouble| message(trouble, |errno| format!("{function}: {path}: {errno}")))
            }
        }
    }

    fn remove_all(&mut self, path: &str) -> Done {
        let (fat, disk) = self.fat("rm_rf")?;
        match there(fat, disk, path).map(Node::entry) {
            Ok(Some(entry)) => Ok(fat.remove_all(disk, &entry)?),
            Ok(None) => says("rm_rf: cannot remove root directory".to_owned()),
            Err(Trouble::Errno(Errno::NoEntry)) => Ok(()),
            Err(Trouble::Errno(_)) => Err(Trouble::doubt("a part of the path is no directory").into()),
            Err(trouble) => Err(trouble.into()),
        }
    }

    fn list(&mut self, path: &str) -> Done {
        let (fat, disk) = self.fat("ls0")?;
        let names = there(fat, disk, path).and_then(|node| match node.directory() {
            Some(directory) => fat.names(disk, directory),
            None => Err(Errno::NotDirectory.into()),
        });
        let mut names =
            names.map_err(|trouble| message(trouble, |errno| format!("ls0: opendir: {path}: {errno}")))?;
        names.sort_unstable();
        names.iter().try_for_each(|name| self.print(name.as_bytes()))
    }

    fn tell(&mut self, function: &str, path: &str, question: impl FnOnce(&Node) -> bool) -> Done {
        let (fat, disk) = self.fat(function)?;
        let answer = match there(fat, disk, path) {
            Ok(node) => question(&node),
            Err(Trouble::Errno(Errno::NoEntry | Errno::NotDirectory)) => false,
            Err(trouble) => return Err(trouble.into()),
        };
        self.print(if answer { b"true" } else { b"false" })
    }

    // From one place to another, as coreutils do.

    fn move_one(&mut self, from: &str, to: &str) -> Done {
        let (fat, disk) = self.fat("mv")?;
        let entry = source(fat, disk, "mv", from)?;
        let into_itself = to.get(..from.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(from));
        if entry.is_directory() && into_itself {
            return Err(Trouble::doubt("it moves a directory into itself").into());
        }
        match destination(fat, disk, from, to) {
            Ok(Target::Missing(parent, name)) => {
                let moved = fat.rename(disk, &entry, parent, Destination::Name(&name));
                moved.map_err(|trouble| {
                    message(trouble, |errno| match errno {
                        // coreutils knows one reason for this only.
                        Errno::Invalid => {
                            format!(
                                "mv: mv: cannot move '/sysroot{from}' to a subdirectory of itself, '/sysroot{to}'"
                            )
                        }
                        errno => format!("mv: mv: cannot move '/sysroot{from}' to '/sysroot{to}': {errno}"),
                    })
                })
            }
            Ok(Target::There(Node::Entry(parent, file)))
                if !file.is_directory() && !entry.is_directory() && file.places != entry.places =>
            {
                Ok(fat.rename(disk, &entry, parent, Destination::File(&file))?)
            }
            Ok(Target::There(_)) => Err(Trouble::doubt("it moves over something").into()),
            Err(Trouble::Errno(_)) => Err(Trouble::doubt("it moves to where no directory is").into()),
            Err(trouble) => Err(trouble.into()),
        }
    }

    fn copy(&mut self, from: &str, to: &str) -> Done {
        let (fat, disk) = self.fat("cp")?;
        let entry = source(fat, disk, "cp", from)?;
        if entry.is_directory() {
            return says(format!("cp: cp: -r not specified; omitting directory '/sysroot{from}'"));
        }
        if entry.is_read_only() {
            return Err(Trouble::doubt("it copies a read-only file").into());
        }
        let mut copy = match destination(fat, disk, from, to) {
            Ok(Target::Missing(parent, name)) => fat.make_file(disk, parent, &name).map_err(|trouble| {
                message(trouble, |errno| {
                    format!("cp: cp: cannot create regular file '/sysroot{to}': {errno}")
                })
            })?,
            Ok(Target::There(Node::Entry(_, mut file)))
                if !file.is_directory() && file.places != entry.places =>
            {
                fat.truncate(disk, &mut file)?;
                file
            }
            Ok(Target::There(_)) => return Err(Trouble::doubt("it copies over something").into()),
            Err(Trouble::Errno(errno)) => {
                let what = if errno == Errno::NoEntry { "create regular file" } else { "stat" };
                return says(format!("cp: cp: cannot {what} '/sysroot{to}': {errno}"));
            }
            Err(trouble) => return Err(trouble.into()),
        };
        let content = fat.read_file(disk, &entry)?;
        fat.append(disk, &mut copy, &content).map_err(|trouble| {
            message(trouble, |errno| format!("cp: cp: error writing '/sysroot{to}': {errno}"))
        })
    }
}

/// What is at a path.
fn there(fat: &Fat, disk: &mut Overlay<'_>, path: &str) -> Result<Node> {
    match fat.walk(disk, path)? {
        Target::There(node) => Ok(node),
        Target::Missing(..) => Err(Errno::NoEntry.into()),
    }
}

/// A file to be written to: made if it is not there, emptied if it is.
fn opened(fat: &mut Fat, disk: &mut Overlay<'_>, path: &str, empty: bool) -> Result<FatEntry> {
    match fat.walk(disk, path)? {
        Target::Missing(parent, name) => fat.make_file(disk, parent, &name),
        Target::There(node) => {
            let mut entry = node.file().ok_or(Errno::IsDirectory)?;
            if empty {
                fat.truncate(disk, &mut entry)?;
            }
            Ok(entry)
        }
    }
}

fn source(
    fat: &Fat,
    disk: &mut Overlay<'_>,
    program: &str,
    path: &str,
) -> std::result::Result<FatEntry, Refusal> {
    let node = there(fat, disk, path).map_err(|trouble| {
        message(trouble, |errno| format!("{program}: {program}: cannot stat '/sysroot{path}': {errno}"))
    })?;
    node.entry().ok_or_else(|| Trouble::doubt("it moves or copies the root directory").into())
}

/// Where a copy goes: into a directory under the name that the source was called by, else to the path itself.
fn destination(fat: &Fat, disk: &mut Overlay<'_>, from: &str, to: &str) -> Result<Target> {
    let target = fat.walk(disk, to)?;
    let Target::There(node) = &target else { return Ok(target) };
    let Some(directory): Option<Directory> = node.directory() else { return Ok(target) };
    let name = from.rsplit('/').next().unwrap_or(from);
    Ok(match fat.look_up(disk, directory, name)? {
        Some(node) => Target::There(node),
        None => Target::Missing(directory, name.to_owned()),
    })
}
