//! Heredocs: `upload -<<END /etc/motd`, the lines of a file, `END`.

/// The word that ends the heredoc which a command line begins. guestfish looks for an argument that begins with `-<<`.
pub(crate) fn terminator(command: &str) -> Option<&str> {
    let is_quiet = command.trim_start().starts_with(['#', '!']) || command.trim_start().starts_with("<!");
    if is_quiet {
        return None;
    }
    let word = command.split_ascii_whitespace().find_map(|word| word.strip_prefix("-<<"))?;
    (!word.is_empty()).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_that_ends_a_heredoc_is_found() {
        assert_eq!(terminator("upload -<<END /x"), Some("END"));
        assert_eq!(terminator("-upload -<<_end_ /x"), Some("_end_"));
        for none in ["upload - /x", "# upload -<<END /x", "!cat -<<END", "echo << END", "upload -<< /x"] {
            assert_eq!(terminator(none), None, "{none}");
        }
    }
}
