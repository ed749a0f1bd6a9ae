//! The lines of scripts as guestfish reads them.
//!
//! No text makes this panic. What guestfish refuses is a command too, with guestfish's own words for it: whether the
//! session ends there is up to whoever runs it.

use crate::commands;
use crate::expand::Expanded;

/// guestfish reads this many bytes of a line at once, and takes what is left for another line.
pub(crate) const LINE_BYTES_MAX: usize = 8190;
/// guestfish takes so many arguments and not one more.
const ARGUMENTS_MAX: usize = 63;

/// A command, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Index of its step, from 0.
    pub step: usize,
    /// Its line in the step, from 1.
    pub line: usize,
    /// A `-` stands before it: what becomes of it does not end the session.
    pub quiet: bool,
    /// What it is.
    pub kind: Kind,
}

/// What a line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `!command`: for the shell.
    Shell(String),
    /// `<!command`: for the shell, and what it prints is read as commands.
    Inline(String),
    /// A command of guestfish, known or not.
    Call(Call),
    /// guestfish refuses the line with these words.
    Malformed(String),
}

/// A command of guestfish with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its name as it was written.
    pub name: String,
    /// What follows it, without quotations. Escapes can make any bytes.
    pub arguments: Vec<Argument>,
    /// The shell command that what it prints goes to.
    pub pipe: Option<String>,
    /// What is between `-<<END` and `END`.
    pub heredoc: Option<Heredoc>,
}

/// An argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// What it says.
    pub bytes: Vec<u8>,
    /// It begins with a `~` that guestfish replaces by somebody's home directory.
    pub has_home: bool,
}

impl Argument {
    /// Its text, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }
}

/// The lines of a heredoc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// All of them, each with its line end.
    pub body: String,
    /// The line that ends it was found.
    pub ended: bool,
}

/// All commands of all steps.
#[must_use]
pub fn parse(script: &Expanded) -> Vec<Command> {
    (0..script.steps().len()).flat_map(|step| parse_step(step, script.lines_of(step))).collect()
}

/// The commands of a step.
pub(crate) fn parse_step(step: usize, lines: &[String]) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut rest = lines.iter().enumerate();
    while let Some((index, line)) = rest.next() {
        let Some((quiet, mut kind)) = parse_line(line) else { continue };
        if let Kind::Call(call) = &mut kind
            && let Some(word) = heredoc_word(call)
        {
            call.heredoc = Some(take_heredoc(&word, rest.by_ref().map(|(_, line)| line.as_str())));
        }
        commands.push(Command { step, line: index + 1, quiet, kind });
    }
    commands
}

/// The file that a command reads: `-` is what follows it, `-<<END` what follows it as far as `END`. With a wrong number of
/// arguments guestfish does not come to read it.
fn file_read(call: &Call) -> Option<&[u8]> {
    let known = commands::known(&call.name)?;
    let argument = call.arguments.get(known.heredoc_argument()?)?;
    known.takes(call.arguments.len()).then_some(argument.bytes.as_slice())
}

/// The word that ends the heredoc of a command.
fn heredoc_word(call: &Call) -> Option<Vec<u8>> {
    let word = file_read(call)?.strip_prefix(b"-<<".as_slice())?;
    (!word.is_empty()).then(|| word.to_vec())
}

/// The word that ends the heredoc which a line begins.
pub(crate) fn terminator(line: &str) -> Option<String> {
    let Some((_, Kind::Call(call))) = parse_line(line) else { return None };
    String::from_utf8(heredoc_word(&call)?).ok()
}

/// What a line names as the file of a command that reads the lines behind it: `-` or `-<<END`.
pub(crate) fn reads_on(line: &str) -> Option<String> {
    let Some((_, Kind::Call(call))) = parse_line(line) else { return None };
    let file = file_read(&call).filter(|file| *file == b"-" || file.starts_with(b"-<<"))?;
    String::from_utf8(file.to_vec()).ok()
}

fn take_heredoc<'a>(word: &[u8], lines: impl Iterator<Item = &'a str>) -> Heredoc {
    let mut heredoc = Heredoc { body: String::new(), ended: false };
    for line in lines {
        if line.as_bytes() == word {
            heredoc.ended = true;
            break;
        }
        heredoc.body += line;
        heredoc.body.push('\n');
    }
    heredoc
}

/// What guestfish passes over before a command.
pub(crate) fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0B'
}

/// What a line is, and whether a `-` stands before it. Nothing for lines that say nothing.
pub(crate) fn parse_line(line: &str) -> Option<(bool, Kind)> {
    let mut quiet = false;
    let mut text = line.trim_start_matches(is_blank);
    while let Some(rest) = text.strip_prefix('-') {
        quiet = true;
        text = rest.trim_start_matches(is_blank);
    }
    if text.is_empty() || text.starts_with('#') {
        return None;
    }
    let kind = if let Some(command) = text.strip_prefix('!') {
        Kind::Shell(command.to_owned())
    } else if let Some(command) = text.strip_prefix("<!") {
        Kind::Inline(command.to_owned())
    } else {
        call(text).map_or_else(|message| Kind::Malformed(message.to_owned()), Kind::Call)
    };
    Some((quiet, kind))
}

fn call(text: &str) -> Result<Call, &'static str> {
    let (name, mut rest) = text.split_at(text.find([' ', '\t']).unwrap_or(text.len()));
    let mut call = Call { name: name.to_owned(), arguments: Vec::new(), pipe: None, heredoc: None };
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        let argument = match rest.as_bytes().first() {
            None => return Ok(call),
            Some(b'|') => {
                call.pipe = rest.strip_prefix('|').map(str::to_owned);
                return Ok(call);
            }
            Some(b'"') => double_quoted(&mut rest)?,
            Some(b'\'') => single_quoted(&mut rest)?,
            Some(_) => bare(&mut rest),
        };
        if call.arguments.len() == ARGUMENTS_MAX {
            return Err("too many arguments");
        }
        call.arguments.push(argument);
    }
}

fn bare(rest: &mut &str) -> Argument {
    let (word, after) = rest.split_at(rest.find([' ', '\t']).unwrap_or(rest.len()));
    *rest = after;
    Argument { bytes: word.as_bytes().to_vec(), has_home: word.starts_with('~') }
}

fn single_quoted(rest: &mut &str) -> Result<Argument, &'static str> {
    let (text, after) =
        rest.strip_prefix('\'').and_then(|rest| rest.split_once('\'')).ok_or("unterminated single quote")?;
    *rest = separated(after)?;
    Ok(Argument { bytes: text.as_bytes().to_vec(), has_home: false })
}

fn double_quoted(rest: &mut &str) -> Result<Argument, &'static str> {
    let text = rest.as_bytes();
    let (mut bytes, mut at) = (Vec::new(), 1);
    loop {
        match text.get(at..).unwrap_or_default() {
            [] => return Err("unterminated double quote"),
            [b'"', ..] => break,
            [b'\\', escape @ ..] => {
                let (byte, len) = unescape(escape).ok_or("invalid escape sequence in string")?;
                bytes.push(byte);
                at += 1 + len;
            }
            [byte, ..] => {
                bytes.push(*byte);
                at += 1;
            }
        }
    }
    // A quote is one byte: what follows it is the beginning of a character.
    *rest = separated(rest.get(at + 1..).unwrap_or_default())?;
    Ok(Argument { bytes, has_home: false })
}

/// What an escape stands for, and how many bytes behind the backslash it takes.
fn unescape(escape: &[u8]) -> Option<(u8, usize)> {
    let digit = |index: usize, radix| char::from(*escape.get(index)?).to_digit(radix);
    let number = |value: u32| u8::try_from(value).ok().filter(|&byte| byte != 0);
    let byte = match escape.first()? {
        b'\\' => b'\\',
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0C,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0B,
        b'"' => b'"',
        b'\'' => b'\'',
        b'?' => b'?',
        b'0'..=b'7' => {
            return Some((number(digit(0, 8)? * 64 + digit(1, 8)? * 8 + digit(2, 8)?)?, 3));
        }
        b'x' => return Some((number(digit(1, 16)? * 16 + digit(2, 16)?)?, 3)),
        _ => return None,
    };
    Some((byte, 1))
}

fn separated(after: &str) -> Result<&str, &'static str> {
    let is_separated = after.is_empty() || after.starts_with([' ', '\t']);
    is_separated.then_some(after).ok_or("command arguments not separated by whitespace")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(line: &str) -> Vec<String> {
        match parse_line(line) {
            Some((_, Kind::Call(call))) => {
                let arguments =
                    call.arguments.iter().map(|one| String::from_utf8_lossy(&one.bytes).into_owned());
                std::iter::once(call.name.clone()).chain(arguments).collect()
            }
            other => panic!("{line:?} is {other:?}"),
        }
    }

    /// All of these were put to guestfish 1.48.6, which printed them with `echo`.
    #[test]
    fn words_are_split_and_unquoted_as_guestfish_does() {
        for (line, expected) in [
            (
                r#"echo a  b "c  d" 'e"f' g'h' "\x41\101" "tab\there""#,
                &["echo", "a", "b", "c  d", "e\"f", "g'h'", "AA", "tab\there"][..],
            ),
            ("echo a|b", &["echo", "a|b"]),
            ("echo a\"b c\"", &["echo", "a\"b", "c\""]),
            ("  echo lead", &["echo", "lead"]),
            ("echo\ttab\tx ", &["echo", "tab", "x"]),
            ("echo x # y", &["echo", "x", "#", "y"]),
            ("echo \"\"", &["echo", ""]),
            ("echo -<<END x", &["echo", "-<<END", "x"]),
        ] {
            assert_eq!(words(line), expected, "{line}");
        }
    }

    #[test]
    fn what_guestfish_refuses_is_refused_with_its_words() {
        for (line, message) in [
            ("echo \"bad\\e\"", "invalid escape sequence in string"),
            ("echo \"\\0\"", "invalid escape sequence in string"),
            ("echo \"\\x00\"", "invalid escape sequence in string"),
            ("echo \"unterminated", "unterminated double quote"),
            ("echo 'unterminated", "unterminated single quote"),
            ("echo \"a\"b", "command arguments not separated by whitespace"),
            ("echo 'a'b", "command arguments not separated by whitespace"),
        ] {
            assert_eq!(parse_line(line), Some((false, Kind::Malformed(message.into()))), "{line}");
        }
    }

    #[test]
    fn a_dash_makes_a_command_quiet() {
        for (line, quiet) in [("echo", false), ("-echo", true), ("- echo", true), ("--echo", true)] {
            assert_eq!(parse_line(line).map(|(quiet, _)| quiet), Some(quiet), "{line}");
        }
        assert_eq!(parse_line("-!false"), Some((true, Kind::Shell("false".into()))));
        assert_eq!(parse_line("<!cat x"), Some((false, Kind::Inline("cat x".into()))));
        for nothing in ["", "  \t", "# x", "-", "-#x"] {
            assert_eq!(parse_line(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn a_pipe_takes_the_rest_of_the_line() {
        let Some((_, Kind::Call(call))) = parse_line("cat /x | grep 'y") else { panic!("no call") };
        assert_eq!((call.arguments.len(), call.pipe.as_deref()), (1, Some(" grep 'y")));
    }

    fn commands(text: &str) -> Vec<Command> {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        parse_step(0, &lines)
    }

    #[test]
    fn a_heredoc_belongs_to_its_command() {
        let found = commands("upload -<<END /x\n!a\n END\nEND\necho -<<END\nmkdir /y\n");
        let lines: Vec<usize> = found.iter().map(|command| command.line).collect();
        assert_eq!(lines, [1, 5, 6]);
        let Kind::Call(upload) = &found[0].kind else { panic!("no call") };
        assert_eq!(upload.heredoc.as_ref().unwrap().body, "!a\n END\n");
    }

    #[test]
    fn the_word_that_ends_a_heredoc_is_found() {
        for (line, word) in [
            ("upload -<<END /x", "END"),
            ("--upload -<<_end_ /x", "_end_"),
            ("- tar_in -<<E /x", "E"),
            ("UPLOAD \"-<<A B\" /x", "A B"),
        ] {
            assert_eq!(terminator(line).as_deref(), Some(word), "{line}");
        }
        for none in [
            "echo -<<END",
            "upload - /x",
            "# upload -<<END /x",
            "!cat -<<END",
            "upload /x -<<END",
            "upload -<< /x",
        ] {
            assert_eq!(terminator(none), None, "{none}");
        }
    }

    #[test]
    fn a_heredoc_that_guestfish_does_not_come_to_read_is_commands() {
        assert_eq!(commands("upload -<<END\nx\nEND").len(), 3);
        assert!(matches!(
            &commands("upload -<<END /x\nx")[0].kind,
            Kind::Call(Call { heredoc: Some(Heredoc { ended: false, .. }), .. })
        ));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(lines in prop::collection::vec("[ -~\t\\PC\"'\\\\]{0,40}", 0..8)) {
            drop(parse_step(0, &lines));
        }

        #[test]
        fn what_is_quoted_comes_back(words in prop::collection::vec("[ -~]{0,12}", 0..6)) {
            let quoted = words.iter().map(|word| {
                format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
            });
            let line = format!("echo {}", quoted.collect::<Vec<_>>().join(" "));
            let expected: Vec<String> = std::iter::once("echo".to_owned()).chain(words).collect();
            prop_assert_eq!(self::words(&line), expected);
        }
    }
}
