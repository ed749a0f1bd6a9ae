//! Where in a line a value lands, and which characters would break out of there.
//!
//! A value is text that a user of a plan gives; the plan's author decides where it goes. It must stay a text there: it must
//! not end a quotation, begin another command, or end a heredoc.

/// What reads a place of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// guestfish: words, quotations, `| command`.
    Guestfish,
    /// The shell, behind `!`, `<!` or `|`.
    Shell,
}

/// What stands around a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quotation {
    None,
    Single,
    Double,
}

/// A place in a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    reader: Reader,
    quotation: Quotation,
    /// Nothing but blanks stands before it.
    first: bool,
}

impl Place {
    /// The place behind what a command line begins with, values filled in.
    pub(crate) fn behind(before: &str) -> Self {
        let begin = before.trim_start();
        let command = begin.strip_prefix('-').unwrap_or(begin).trim_start();
        let shell = ["<!", "!"].into_iter().find_map(|sign| command.strip_prefix(sign));
        let mut place =
            Self { reader: Reader::Guestfish, quotation: Quotation::None, first: command.is_empty() };
        if shell.is_some() {
            place.reader = Reader::Shell;
        }
        let mut chars = shell.unwrap_or(command).chars();
        while let Some(c) = chars.next() {
            match (place.quotation, c) {
                (Quotation::None, '\'') => place.quotation = Quotation::Single,
                (Quotation::None, '"') => place.quotation = Quotation::Double,
                (Quotation::Single, '\'') | (Quotation::Double, '"') => place.quotation = Quotation::None,
                (Quotation::None | Quotation::Double, '\\') => drop(chars.next()),
                (Quotation::None, '|') => place.reader = Reader::Shell,
                _ => {}
            }
        }
        place
    }

    /// The first character of a value that would break out of the place.
    pub(crate) fn breaks_out(self, value: &str) -> Option<char> {
        let forbidden: &[char] = match (self.reader, self.quotation) {
            (_, Quotation::Single) => &['\''],
            (Reader::Guestfish, Quotation::Double) => &['"', '\\'],
            (Reader::Shell, Quotation::Double) => &['"', '\\', '$', '`'],
            (Reader::Guestfish, Quotation::None) => &['|', '"', '\'', '\\'],
            (Reader::Shell, Quotation::None) => {
                &['|', '"', '\'', '\\', '$', '`', ';', '&', '<', '>', '(', ')']
            }
        };
        let starts_a_shell = |c: char| self.first && matches!(c, '!' | '<' | '#');
        value
            .chars()
            .next()
            .filter(|c| starts_a_shell(*c))
            .or_else(|| value.chars().find(|c| forbidden.contains(c)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_a_text_where_it_lands() {
        for (before, value, broken) in [
            ("write /x ", "a b", None),
            ("write /x ", "a|sh", Some('|')),
            ("write /x \"", "it's | fine; $x", None),
            ("write /x \"", "a\" \"b", Some('"')),
            ("write /x '", "a\"b", None),
            ("write /x '", "a'b", Some('\'')),
            ("!echo ", "a b", None),
            ("!echo ", "a;reboot", Some(';')),
            ("!echo \"", "a;b", None),
            ("!echo \"", "$(reboot)", Some('$')),
            ("!echo \"\\\"", "a'b", None),
            ("-!echo '", "$(x)`y`", None),
            ("<! ", "`x`", Some('`')),
            ("cat /x | grep ", "$x", Some('$')),
            ("cat \"/x|y ", "$x", None),
            ("", "!reboot", Some('!')),
            ("-", "<!reboot", Some('<')),
            ("", "echo", None),
        ] {
            assert_eq!(Place::behind(before).breaks_out(value), broken, "{before:?} {value:?}");
        }
    }
}
