//! What is printed, and how: tables and words for people, the API's JSON for programs.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use crate::failure::Failure;
use crate::table::Table;

/// Where results and failures go.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// One result, with a line end.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let text = if out.is_terminal() { plain(text) } else { Cow::Borrowed(text) };
        out.write_all(text.as_bytes())
            .and_then(|()| if text.ends_with('\n') { Ok(()) } else { out.write_all(b"\n") })
            .and_then(|()| out.flush())
            .map_err(|error| match error.kind() {
                io::ErrorKind::BrokenPipe => Failure::OutputClosed,
                _ => Failure::Output(error),
            })
    }

    pub(crate) fn table(&self, table: &Table) -> Result<(), Failure> {
        self.text(&table.render(self.width()))
    }

    /// A failure, on standard error.
    pub(crate) fn failure(&self, failure: &Failure) {
        let mut err = io::stderr().lock();
        // Nobody is left to tell when standard error is closed.
        let _ = match self.json {
            true => writeln!(err, "{}", failure.as_json()),
            false if err.is_terminal() => err.write_all(plain(&words(failure)).as_bytes()),
            false => err.write_all(words(failure).as_bytes()),
        };
    }

    /// Columns of the terminal, `None` when there is none: then nothing is cut.
    fn width(&self) -> Option<usize> {
        let out = io::stdout();
        if !out.is_terminal() {
            return None;
        }
        rustix::termios::tcgetwinsize(out)
            .ok()
            .map(|size| usize::from(size.ws_col))
            .filter(|columns| *columns > 0)
    }
}

/// For a terminal, which obeys control characters: those in a stranger's bundle, or in what a script printed, are shown.
fn plain(text: &str) -> Cow<'_, str> {
    let is_command = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    match text.contains(is_command) {
        false => Cow::Borrowed(text),
        true => {
            let shown = |c: char| if is_command(c) { c.escape_default().to_string() } else { c.to_string() };
            Cow::Owned(text.chars().map(shown).collect())
        }
    }
}

fn words(failure: &Failure) -> String {
    let mut text = format!("osvol: {failure}\n");
    for detail in failure.details().iter().flat_map(|d| d.lines()) {
        text += &format!("  {detail}\n");
    }
    for action in failure.actions() {
        text += &format!("  what to do: {action}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_terminal_obeys_what_a_stranger_wrote() {
        assert_eq!(plain("a\tb\n"), "a\tb\n");
        assert_eq!(plain("x\u{1b}]0;y\u{7}\r\u{9b}2J"), r"x\u{1b}]0;y\u{7}\r\u{9b}2J");
    }
}
