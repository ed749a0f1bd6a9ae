//! What guestfish knows: names and numbers of arguments of its commands, from a table made from its own help.

use std::collections::HashMap;
use std::sync::LazyLock;

const TABLE: &str = include_str!("commands.tsv");

/// Commands that read a file of the machine they run on, which may be a heredoc, and which argument that is.
const READS_FILE: [(&str, usize); 8] = [
    ("upload", 0),
    ("upload-offset", 0),
    ("tar-in", 0),
    ("tgz-in", 0),
    ("txz-in", 0),
    ("base64-in", 0),
    ("ntfsclone-in", 0),
    ("yara-load", 0),
];

/// A command of guestfish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its own name, with dashes.
    pub name: &'static str,
    /// Fewest arguments.
    pub arguments_min: usize,
    /// Most arguments, where there is a limit.
    pub arguments_max: Option<usize>,
}

impl Known {
    /// Which of its arguments may begin a heredoc.
    pub(crate) fn heredoc_argument(&self) -> Option<usize> {
        READS_FILE.iter().find(|(name, _)| *name == self.name).map(|(_, index)| *index)
    }

    /// Whether it takes as many arguments.
    #[must_use]
    pub fn takes(&self, arguments: usize) -> bool {
        arguments >= self.arguments_min && self.arguments_max.is_none_or(|max| arguments <= max)
    }
}

static COMMANDS: LazyLock<HashMap<&'static str, Known>> = LazyLock::new(|| {
    let rows: Vec<Vec<&str>> =
        TABLE.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect()).collect();
    let mut commands = HashMap::new();
    for row in &rows {
        if let [name, min, max] = row[..]
            && let Ok(arguments_min) = min.parse()
        {
            commands.insert(name, Known { name, arguments_min, arguments_max: max.parse().ok() });
        }
    }
    for row in &rows {
        if let [alias, "=", name] = row[..]
            && let Some(known) = commands.get(name).copied()
        {
            commands.insert(alias, known);
        }
    }
    commands
});

/// The command of a name, as guestfish looks it up: the case does not matter, and `_` may stand for `-`, all of them.
#[must_use]
pub fn known(name: &str) -> Option<Known> {
    let name = name.to_ascii_lowercase();
    COMMANDS.get(name.as_str()).copied().or_else(|| {
        let dashed = (!name.contains('-')).then(|| name.replace('_', "-"))?;
        // Aliases have one spelling.
        COMMANDS.get(dashed.as_str()).copied().filter(|known| known.name == dashed)
    })
}

/// All names.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.keys().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_as_guestfish_finds_them() {
        for (name, found) in [
            ("upload", Some("upload")),
            ("MKDIR-P", Some("mkdir-p")),
            ("Mkdir_P", Some("mkdir-p")),
            ("unmount", Some("umount")),
            ("unmount-all", Some("umount-all")),
            ("unmount_all", None),
            ("run", Some("launch")),
            ("q", Some("quit")),
            ("mkd", None),
            ("", None),
        ] {
            assert_eq!(known(name).map(|known| known.name), found, "{name:?}");
        }
    }

    #[test]
    fn numbers_of_arguments_are_known() {
        let takes = |name: &str, count| known(name).unwrap().takes(count);
        assert!(takes("mkdir", 1) && !takes("mkdir", 0) && !takes("mkdir", 2));
        assert!(takes("umount", 1) && takes("umount", 3) && !takes("umount", 4));
        assert!(takes("echo", 0) && takes("echo", 99));
    }
}
