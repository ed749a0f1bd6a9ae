//! Heredocs: `upload -<<END /etc/motd`, the lines of a file, `END`.

/// The commands that read a file of the host: they alone take a heredoc in its place.
const READ_A_FILE: [&str; 7] =
    ["base64-in", "tar-in", "tgz-in", "txz-in", "upload", "upload-offset", "yara-load"];

/// The word that ends the heredoc which a command line begins: guestfish looks for an argument that begins with `-<<`.
pub(crate) fn terminator(command: &str) -> Option<&str> {
    let command = command.trim_start();
    let command = command.strip_prefix('-').unwrap_or(command);
    let mut words = command.split_ascii_whitespace();
    let name = words.next()?.replace('_', "-");
    let word = words.find_map(|word| word.strip_prefix("-<<"))?;
    (READ_A_FILE.contains(&name.as_str()) && !word.is_empty()).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_that_ends_a_heredoc_is_found() {
        assert_eq!(terminator("upload -<<END /x"), Some("END"));
        assert_eq!(terminator("-upload -<<_end_ /x"), Some("_end_"));
        assert_eq!(terminator("- tar_in -<<E /x"), Some("E"));
        for none in [
            "echo -<<END",
            "upload - /x",
            "# upload -<<END /x",
            "!cat -<<END",
            "echo << END",
            "upload -<< /x",
        ] {
            assert_eq!(terminator(none), None, "{none}");
        }
    }
}
