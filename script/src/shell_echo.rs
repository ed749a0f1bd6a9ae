//! `!echo some words`: the one shell command that needs no shell.

/// Characters that mean nothing to a shell, wherever they stand in a word.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "@%_-+=:,./^".contains(c) || !c.is_ascii()
}

/// What bash prints for a command, without its line end, if it is an `echo` of words in which nothing is replaced.
pub(crate) fn printed(command: &str) -> Option<String> {
    let rest = command.trim_start_matches([' ', '\t']).strip_prefix("echo")?;
    if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
        return None;
    }
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' => words.extend(word.take()),
            '"' => word.get_or_insert_default().push_str(&quoted(&mut chars, '"', "$`\\")?),
            '\'' => word.get_or_insert_default().push_str(&quoted(&mut chars, '\'', "")?),
            c if is_plain(c) => word.get_or_insert_default().push(c),
            _ => return None,
        }
    }
    words.extend(word);
    // An option would change what is printed.
    let has_option = words.first().is_some_and(|first| first.starts_with('-'));
    (!has_option).then(|| words.join(" "))
}

/// The text up to the quote that ends it, unless there is one of the characters in it that are special there.
fn quoted(chars: &mut std::str::Chars<'_>, end: char, special: &str) -> Option<String> {
    let mut text = String::new();
    loop {
        match chars.next()? {
            c if c == end => return Some(text),
            c if special.contains(c) || c.is_control() => return None,
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_are_printed_as_bash_prints_them() {
        for (command, expected) in [
            ("echo", ""),
            ("echo  a   b", "a b"),
            (" echo \"File Systems in Golden Image:\"", "File Systems in Golden Image:"),
            ("echo 'a $b' c\"d e\"f", "a $b cd ef"),
            ("echo \"\" x", " x"),
            ("echo a=b/c.d:é", "a=b/c.d:é"),
        ] {
            assert_eq!(printed(command).as_deref(), Some(expected), "{command}");
        }
    }

    #[test]
    fn whatever_a_shell_would_replace_is_left_to_a_shell() {
        for command in [
            "echo a >> x",
            "echo $x",
            "echo \"$x\"",
            "echo `x`",
            "echo a; b",
            "echo a | b",
            "echo -n a",
            "echo '-e' a",
            "echo *",
            "echo a?",
            "echo [a]",
            "echo {a,b}",
            "echo ~",
            "echo a #b",
            "echo a\\b",
            "echo \"a\\b\"",
            "echo \"a",
            "echo a&",
            "echo (a)",
            "echox",
            "ls",
            "",
            "echo !x",
        ] {
            assert_eq!(printed(command), None, "{command}");
        }
    }
}
