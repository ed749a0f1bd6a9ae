//! Which commands the built-in engine does: those of which it is sure to do what guestfish does. All others are guestfish's.

use crate::commands;
use crate::expand::Expanded;
use crate::parse::{Argument, Call, Command, Kind, LINE_BYTES_MAX, parse};
use crate::shell_echo;

/// Why a plan does not fit the built-in engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("step {}, line {line}: {reason}", step + 1)]
pub struct Unfit {
    /// Index of the step, from 0.
    pub step: usize,
    /// Line of its script, from 1.
    pub line: usize,
    /// What guestfish is needed for.
    pub reason: String,
}

/// What the built-in engine does for a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Prints a line.
    Print(Vec<u8>),
    /// guestfish refuses the command without looking at the disk.
    Refuse(String),
    ListDevices,
    ListPartitions,
    ListFilesystems,
    /// Of LVM; there is none where the engine works.
    ListNothing,
    Mount {
        device: String,
    },
    Unmount {
        what: String,
    },
    UnmountAll,
    Sync,
    Upload {
        path: String,
        content: Vec<u8>,
    },
    Write {
        path: String,
        content: Vec<u8>,
        append: bool,
    },
    Mkdir(String),
    MkdirParents(String),
    Remove {
        path: String,
        force: bool,
    },
    RemoveAll(String),
    Rmdir(String),
    Move(String, String),
    Copy(String, String),
    Touch(String),
    Cat(String),
    List(String),
    Exists(String),
    IsFile(String),
    IsDirectory(String),
    Chmod {
        mode: u32,
        path: String,
    },
}

/// What a command needs guestfish for. It repeats nothing of the command: that may have passwords in it.
type Reason = String;

/// Whether a plan could be done by the built-in engine, as far as that can be said without a disk.
///
/// # Errors
/// The first command that it does not do.
pub fn fit(script: &Expanded) -> Result<(), Unfit> {
    operations(script).map(drop)
}

/// The operations of a plan, each with its command.
pub(crate) fn operations(script: &Expanded) -> Result<Vec<(Command, Operation)>, Unfit> {
    for step in 0..script.steps().len() {
        for (index, line) in script.lines_of(step).iter().enumerate() {
            if line.len() > LINE_BYTES_MAX || line.contains('\0') {
                let reason = "the line is longer than guestfish reads at once, or has a NUL in it".to_owned();
                return Err(Unfit { step, line: index + 1, reason });
            }
        }
    }
    let typed = |command: Command| {
        let unfit = |reason| Unfit { step: command.step, line: command.line, reason };
        let operation = operation(&command.kind).map_err(unfit)?;
        Ok((command, operation))
    };
    parse(script).into_iter().map(typed).collect()
}

/// What a command is to the built-in engine.
pub(crate) fn operation(kind: &Kind) -> Result<Operation, Reason> {
    match kind {
        Kind::Shell(command) => shell_echo::printed(command)
            .map(|text| Operation::Print(text.into_bytes()))
            .ok_or_else(|| "`!` runs a shell command that is more than an echo of plain words".to_owned()),
        Kind::Inline(_) => Err("`<!` runs a shell command".to_owned()),
        Kind::Malformed(message) => Ok(Operation::Refuse(message.clone())),
        Kind::Call(call) => of_call(call),
    }
}

fn of_call(call: &Call) -> Result<Operation, Reason> {
    if call.pipe.is_some() {
        return Err("its output goes to a shell command".to_owned());
    }
    if call.arguments.iter().any(|argument| argument.has_home) {
        return Err("`~` stands for a home directory".to_owned());
    }
    let Some(known) = commands::known(&call.name) else {
        return Ok(Operation::Refuse(format!("{}: unknown command", call.name)));
    };
    if !known.takes(call.arguments.len()) {
        // Lines that were meant for a heredoc would be commands.
        return match known.heredoc_argument() {
            None => Ok(Operation::Refuse(format!("{}: incorrect number of arguments", call.name))),
            Some(_) => Err(format!("{} has a wrong number of arguments", call.name)),
        };
    }
    let arguments: Vec<&Argument> = call.arguments.iter().collect();
    match (known.name, &arguments[..]) {
        ("echo", words) => {
            let words: Vec<&[u8]> = words.iter().map(|word| word.bytes.as_slice()).collect();
            Ok(Operation::Print(words.join(b" ".as_slice())))
        }
        ("launch", _) => {
            Ok(Operation::Refuse("launch: this function can only be called in the config state".to_owned()))
        }
        ("list-devices", []) => Ok(Operation::ListDevices),
        ("list-partitions", []) => Ok(Operation::ListPartitions),
        ("list-filesystems", []) => Ok(Operation::ListFilesystems),
        ("vgs" | "lvs" | "pvs", []) => Ok(Operation::ListNothing),
        ("umount-all", []) => Ok(Operation::UnmountAll),
        ("sync", []) => Ok(Operation::Sync),
        ("mount", [device, at]) => match at.text() {
            Some("/") => Ok(Operation::Mount { device: text(device)? }),
            _ => Err("it mounts elsewhere than on /".to_owned()),
        },
        ("umount", [what]) => Ok(Operation::Unmount { what: text(what)? }),
        ("upload", [_, path]) => match &call.heredoc {
            Some(heredoc) if heredoc.ended => {
                Ok(Operation::Upload { path: file(path)?, content: heredoc.body.clone().into_bytes() })
            }
            _ => Err("it uploads a file of the scratch directory".to_owned()),
        },
        ("write" | "write-append", [path, content]) => Ok(Operation::Write {
            path: file(path)?,
            content: content.bytes.clone(),
            append: known.name == "write-append",
        }),
        ("chmod", [mode, path]) => Ok(Operation::Chmod { mode: number(&text(mode)?)?, path: file(path)? }),
        ("cp", [from, to]) => Ok(Operation::Copy(straight(from)?, straight(to)?)),
        ("mv", [from, to]) => Ok(Operation::Move(straight(from)?, straight(to)?)),
        (name, [path]) => of_path(name, path),
        (name, _) => Err(not_built_in(name)),
    }
}

fn of_path(name: &str, argument: &Argument) -> Result<Operation, Reason> {
    match name {
        "mkdir" => Ok(Operation::Mkdir(path(argument)?)),
        "mkdir-p" => Ok(Operation::MkdirParents(without_dots(path(argument)?)?)),
        "rm" => Ok(Operation::Remove { path: file(argument)?, force: false }),
        "rm-f" => Ok(Operation::Remove { path: file(argument)?, force: true }),
        "rm-rf" => Ok(Operation::RemoveAll(match argument.text() {
            Some("/") => "/".to_owned(),
            _ => straight(argument)?,
        })),
        "rmdir" => Ok(Operation::Rmdir(straight(argument)?)),
        "touch" => Ok(Operation::Touch(file(argument)?)),
        "cat" => Ok(Operation::Cat(file(argument)?)),
        "ls" => Ok(Operation::List(path(argument)?)),
        "exists" => Ok(Operation::Exists(file(argument)?)),
        "is-file" => Ok(Operation::IsFile(file(argument)?)),
        "is-dir" => Ok(Operation::IsDirectory(path(argument)?)),
        _ => Err(not_built_in(name)),
    }
}

fn not_built_in(name: &str) -> Reason {
    format!("the built-in engine does not do {name}")
}

fn text(argument: &Argument) -> Result<String, Reason> {
    argument.text().map(str::to_owned).ok_or_else(|| "an argument is not valid UTF-8".to_owned())
}

/// A path of the mounted root.
fn path(argument: &Argument) -> Result<String, Reason> {
    const NAME_BYTES_MAX: usize = 255;
    const PATH_BYTES_MAX: usize = 4000;
    let path = text(argument)?;
    let is_win = path.get(..4).is_some_and(|begin| begin.eq_ignore_ascii_case("win:"));
    if is_win || !path.starts_with('/') {
        return Err("a path does not begin with /".to_owned());
    }
    if path.starts_with("/dev/") {
        return Err("a path below /dev may mean a device".to_owned());
    }
    if path.len() > PATH_BYTES_MAX || path.split('/').any(|name| name.len() > NAME_BYTES_MAX) {
        return Err("a path is very long".to_owned());
    }
    Ok(path)
}

/// A path that does not say that it is a directory's.
fn file(argument: &Argument) -> Result<String, Reason> {
    let path = path(argument)?;
    if path.ends_with('/') && path != "/" {
        return Err("the path ends with /".to_owned());
    }
    Ok(path)
}

/// A path of a file or directory below the root, without detours.
fn straight(argument: &Argument) -> Result<String, Reason> {
    let path = without_dots(file(argument)?)?;
    if path == "/" { Err("the path is /".to_owned()) } else { Ok(path) }
}

fn without_dots(path: String) -> Result<String, Reason> {
    match path.split('/').any(|name| name == "." || name == "..") {
        true => Err("the path has . or .. in it".to_owned()),
        false => Ok(path),
    }
}

/// A number as C writes it.
fn number(text: &str) -> Result<u32, Reason> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (text.get(2..).unwrap_or_default(), 16),
        [b'0', _, ..] => (text, 8),
        _ => (text, 10),
    };
    let is_number = digits.chars().all(|c| c.is_digit(radix));
    let number = is_number.then(|| u32::from_str_radix(digits, radix).ok()).flatten();
    number.filter(|&number| number < 1 << 30).ok_or_else(|| "a mode is not a plain number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Step, Values, expand};

    fn unfit(content: &str) -> Option<(usize, String)> {
        let step = Step { name: "s".into(), content: content.into(), has_attributes: true };
        fit(&expand(&[step], &Values::new()).unwrap()).err().map(|unfit| (unfit.line, unfit.reason))
    }

    #[test]
    fn plans_of_the_efi_system_partition_fit() {
        let plan = "# comment\n!echo \"File Systems in Golden Image:\"\nlist-filesystems\nmount /dev/sda1 /\n\
            -mkdir-p /EFI/HPE/isdeploy/scripts/\nupload -<<EOF /EFI/BOOT/message.txt\n\n!not a command | sh\nEOF\n\
            chmod 0755 /EFI/BOOT/message.txt\ncat /EFI/BOOT/message.txt\nno_such_command x\n-Rm_F /x\nunmount /\n";
        assert_eq!(unfit(plan), None);
    }

    #[test]
    fn what_doubts_is_guestfishs() {
        for line in [
            "!touch x",
            "!echo a >> x",
            "<!cat x",
            "cat /x | grep y",
            "upload x /y",
            "upload - /y",
            "glob rm /x*",
            "mount /dev/sda1 /boot",
            "ll /",
            "download /x y",
            "command ls",
            "cat x",
            "cat ~/x",
            "write win:x y",
            "cat /x/",
            "upload -<<END /dev/sda\nEND",
            "cp /a/../b /c",
            "quit",
            "umount / force:true",
            "echo ~root",
            "upload -<<END\nEND",
            "chmod u+x /y",
            "rm-rf /x/..",
            "statvfs /",
            "inspect-os",
            "ls \"/\\xff\"",
        ] {
            assert_eq!(unfit(line).map(|(line, _)| line), Some(1), "{line}");
        }
        assert_eq!(unfit(&format!("upload -<<E /x\n{}\nE", "x".repeat(9000))).unwrap().0, 2);
    }

    #[test]
    fn numbers_are_read_as_c_does() {
        assert_eq!(
            (number("0755"), number("755"), number("0x1fF"), number("0")),
            (Ok(0o755), Ok(755), Ok(511), Ok(0))
        );
        for text in ["", "08", "u+x", "-1", "1k", "0x", "+5", "99999999999"] {
            assert!(number(text).is_err(), "{text}");
        }
    }
}
