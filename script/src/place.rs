//! Where in a line a value lands, and which characters would break out of there.
//!
//! A value is text that a user of a plan gives; the plan's author decides where it goes. It must stay a text there: it must
//! not end a quotation, begin another command, or end a heredoc.

use crate::parse::is_blank;

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
        let command = before.trim_start_matches(|c| is_blank(c) || c == '-');
        let first = matches!(command, "" | "<");
        let shell = ["<!", "!"].into_iter().find_map(|sign| command.strip_prefix(sign));
        let (reader, quotation) = match shell {
            Some(shell) => (Reader::Shell, in_shell(shell)),
            None => in_guestfish(command),
        };
        Self { reader, quotation, first }
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
        let begins = value.trim_start_matches(|c| is_blank(c) || c == '-').chars().next();
        begins
            .filter(|c| self.first && matches!(c, '!' | '<' | '#'))
            .or_else(|| value.chars().find(|c| forbidden.contains(c)))
    }
}

/// For guestfish a quotation begins where an argument does: `it's` is a word. A `|` there hands the rest to the shell.
fn in_guestfish(command: &str) -> (Reader, Quotation) {
    let blanks = [' ', '\t'];
    let behind_word =
        |text: &str| text.find(blanks).and_then(|at| text.get(at..)).unwrap_or_default().to_owned();
    let mut rest = behind_word(command);
    loop {
        let argument = rest.trim_start_matches(blanks);
        let text = argument.get(1..).unwrap_or_default();
        let end = match argument.as_bytes().first() {
            None => return (Reader::Guestfish, Quotation::None),
            Some(b'|') => return (Reader::Shell, in_shell(text)),
            Some(b'"') => match end_of_double(text) {
                None => return (Reader::Guestfish, Quotation::Double),
                end => end,
            },
            Some(b'\'') => match text.find('\'') {
                None => return (Reader::Guestfish, Quotation::Single),
                end => end,
            },
            Some(_) => None,
        };
        rest = behind_word(end.map_or(argument, |end| text.get(end + 1..).unwrap_or_default()));
    }
}

/// Where the quote is that ends a text in double quotes.
fn end_of_double(text: &str) -> Option<usize> {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some(at),
            '\\' => drop(chars.next()),
            _ => {}
        }
    }
    None
}

/// For a shell they begin anywhere. Within a substitution, and in `$'…'`, there are others that are not followed here: behind
/// one of them no place counts as quoted.
fn in_shell(command: &str) -> Quotation {
    let mut quotation = Quotation::None;
    let mut chars = command.chars().peekable();
    while let Some(c) = chars.next() {
        match (quotation, c) {
            (Quotation::None, '\'') => quotation = Quotation::Single,
            (Quotation::None, '"') => quotation = Quotation::Double,
            (Quotation::Single, '\'') | (Quotation::Double, '"') => quotation = Quotation::None,
            (Quotation::None | Quotation::Double, '\\') => drop(chars.next()),
            (Quotation::None | Quotation::Double, '`') => return Quotation::None,
            (Quotation::None | Quotation::Double, '$') if chars.peek() == Some(&'(') => {
                return Quotation::None;
            }
            (Quotation::None, '$') if chars.peek() == Some(&'\'') => return Quotation::None,
            _ => {}
        }
    }
    quotation
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
            // A quotation of guestfish begins with an argument.
            ("echo it's ", "a | sh", Some('|')),
            ("echo a\"b ", "| sh", Some('|')),
            ("echo a|\"b ", "| sh", Some('|')),
            ("echo \\\" ", "| sh", Some('|')),
            ("echo 'it' \"s ", "| sh", None),
            ("echo \"a\\\"b ", "| sh", None),
            ("echo x| \"", "$x", None),
            ("echo x | cat \"", "$x", Some('$')),
            // Blanks and dashes before a command are none of it.
            ("", " !reboot", Some('!')),
            ("", "-!reboot", Some('!')),
            ("--", "!reboot", Some('!')),
            ("--! '", ";", None),
            ("--! ", ";", Some(';')),
            ("<", "!reboot", Some('!')),
            // A shell's substitutions have quotations of their own.
            ("!echo \"$(cat '", "'; reboot; '", Some('\'')),
            ("!echo \"$(cat ", "; reboot", Some(';')),
            ("!echo \"`cat ", "; reboot", Some(';')),
            ("!echo $'it\\'s' ", "; reboot", Some(';')),
            ("!echo '$(x `' \"", "; reboot", None),
        ] {
            assert_eq!(Place::behind(before).breaks_out(value), broken, "{before:?} {value:?}");
        }
    }
}
