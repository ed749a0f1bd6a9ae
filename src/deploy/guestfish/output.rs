//! What a job prints, line by line: passwords masked, marks taken out, the middle of very much left out.

use std::time::Instant;

use super::limits::{KEPT_BYTES_MAX, LINE_BYTES_MAX};
use crate::deploy::log::without_controls;

/// What is taken off the end of a line that was cut: a part of a password may be there, too short to be known.
const CUT_TAIL_BYTES: usize = 4 << 10;
/// Messages that are remembered, to find why a script stopped.
const MESSAGES_MAX: usize = 16;
/// Of the beginning and of the end of the output each.
const SIDE_BYTES_MAX: usize = KEPT_BYTES_MAX / 2;

/// A message of guestfish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// Steps that had been begun.
    pub(super) steps_begun: usize,
    /// As it was printed, passwords masked.
    pub(super) text: String,
}

/// Collects output.
pub(super) struct Output<'a> {
    mask: &'a dyn Fn(&str) -> String,
    /// Lines that begin a step end with this and its index.
    mark: String,
    marks_max: usize,
    line: Vec<u8>,
    line_is_cut: bool,
    begun: Vec<Instant>,
    head: String,
    tail: String,
    left_out: usize,
    messages: Vec<Message>,
}

impl<'a> Output<'a> {
    /// Nothing yet. `marks_max` marks are expected, in order: any other is output like all else.
    pub(super) fn new(mask: &'a dyn Fn(&str) -> String, mark: String, marks_max: usize) -> Self {
        Self {
            mask,
            mark,
            marks_max,
            line: Vec::new(),
            line_is_cut: false,
            begun: Vec::new(),
            head: String::new(),
            tail: String::new(),
            left_out: 0,
            messages: Vec::new(),
        }
    }

    /// Takes what was printed; `begins` hears of each mark.
    pub(super) fn take(&mut self, bytes: &[u8], begins: &mut dyn FnMut(usize)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, is_whole) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let room = LINE_BYTES_MAX - self.line.len();
            self.line_is_cut |= text.len() > room;
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if is_whole {
                self.end_line(begins);
            }
        }
    }

    /// When each step began, and the end of the last one if it came so far.
    pub(super) fn begun(&self) -> &[Instant] {
        &self.begun
    }

    /// The last messages of guestfish.
    pub(super) fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// All of it. The last line may lack its end.
    pub(super) fn finish(&mut self) -> String {
        if !self.line.is_empty() {
            self.end_line(&mut |_| ());
        }
        // A password of several lines is one only here.
        let (head, tail) = ((self.mask)(&self.head), (self.mask)(&self.tail));
        match self.left_out {
            0 => head + &tail,
            bytes => format!("{head}… {bytes} bytes of output are left out …\n{tail}"),
        }
    }

    fn end_line(&mut self, begins: &mut dyn FnMut(usize)) {
        let line = std::mem::take(&mut self.line);
        let is_cut = std::mem::take(&mut self.line_is_cut);
        let line = String::from_utf8_lossy(&line);
        let mark = format!("{}{}", self.mark, self.begun.len());
        if self.begun.len() < self.marks_max
            && let Some(before) = line.strip_suffix(&mark)
        {
            self.begun.push(Instant::now());
            // Of a line that the step before did not end.
            if !before.is_empty() {
                self.push_line(before, false);
            }
            return begins(self.begun.len() - 1);
        }
        self.push_line(&line, is_cut);
    }

    fn push_line(&mut self, line: &str, is_cut: bool) {
        let mut line = (self.mask)(line);
        if is_cut {
            let end = line.floor_char_boundary(line.len().saturating_sub(CUT_TAIL_BYTES));
            line.truncate(end);
            line += " …";
        }
        let line = without_controls(&line);
        if let Some(text) = message(&line) {
            if self.messages.len() == MESSAGES_MAX {
                self.messages.remove(0);
            }
            self.messages.push(Message { steps_begun: self.begun.len(), text: text.to_owned() });
        }
        self.keep(&line);
    }

    fn keep(&mut self, line: &str) {
        if self.tail.is_empty() && self.left_out == 0 && self.head.len() + line.len() < SIDE_BYTES_MAX {
            self.head += line;
            return self.head.push('\n');
        }
        self.tail += line;
        self.tail.push('\n');
        // Rarely, and much at once: each byte is moved about once.
        if self.tail.len() > 2 * SIDE_BYTES_MAX {
            let from = self.tail.len() - SIDE_BYTES_MAX;
            let from = self.tail.as_bytes()[from..]
                .iter()
                .position(|b| *b == b'\n')
                .map_or(from, |at| from + at + 1);
            self.left_out += from;
            self.tail.drain(..from);
        }
    }
}

/// guestfish says why it stops in these forms, the first one also behind a line that a command has not ended.
fn message(line: &str) -> Option<&str> {
    let is_other = line.starts_with("libguestfs: error:") || line.ends_with(": unknown command");
    line.find("*stdin*:").map(|at| &line[at..]).or_else(|| is_other.then_some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(text: &str) -> String {
        text.replace("secret", "***").replace("two\nlines", "***")
    }

    fn output() -> Output<'static> {
        Output::new(&mask, "mark-".to_owned(), 3)
    }

    fn take(output: &mut Output<'_>, text: &str) -> Vec<usize> {
        let mut begun = Vec::new();
        output.take(text.as_bytes(), &mut |step| begun.push(step));
        begun
    }

    #[test]
    fn marks_are_not_shown_and_come_in_order() {
        let mut output = output();
        assert_eq!(take(&mut output, "x\nmark-0\na\nmark-2\nb without endmark-1\nmark-1\nm"), [0, 1]);
        assert_eq!(take(&mut output, "ark-2\nend"), [2]);
        assert!(take(&mut output, "\nmark-3\n").is_empty());
        assert_eq!(output.begun().len(), 3);
        assert_eq!(output.finish(), "x\na\nmark-2\nb without end\nmark-1\nend\nmark-3\n");
    }

    #[test]
    fn a_password_is_masked_wherever_it_is_cut() {
        let mut output = output();
        take(&mut output, "a sec");
        take(&mut output, "ret\nsec");
        take(&mut output, "ret\ntwo\nlines\n");
        // On the edge of a line that is too long.
        let padding = "x".repeat(LINE_BYTES_MAX - 3);
        take(&mut output, &format!("{padding}secret\n"));
        let text = output.finish();
        assert!(text.starts_with("a ***\n***\n***\nxxx"), "{}", &text[..60]);
        assert!(!text.contains("sec") && text.ends_with("x …\n"));
    }

    #[test]
    fn of_very_much_the_beginning_and_the_end_are_kept() {
        let mut output = output();
        for number in 0..200_000 {
            take(&mut output, &format!("line {number}\n"));
        }
        let text = output.finish();
        assert!(text.len() < 2 * KEPT_BYTES_MAX, "{}", text.len());
        assert!(text.starts_with("line 0\n") && text.ends_with("line 199999\n"));
        assert!(text.contains(" bytes of output are left out …\nline "));
    }

    #[test]
    fn a_log_does_nothing_to_a_terminal() {
        let mut output = output();
        take(&mut output, "a\x1b[2J\tb\r\n\0\n");
        assert_eq!(output.finish(), "a\u{fffd}[2J\tb\n\u{fffd}\n");
    }

    #[test]
    fn messages_are_remembered_with_the_step() {
        let mut output = output();
        take(
            &mut output,
            "*stdin*:3: libguestfs: error: a\nmark-0\nx: unknown command\nelse\nno end*stdin*:4: b\n",
        );
        let steps: Vec<_> =
            output.messages().iter().map(|one| (one.steps_begun, one.text.as_str())).collect();
        assert_eq!(
            steps,
            [(0, "*stdin*:3: libguestfs: error: a"), (1, "x: unknown command"), (1, "*stdin*:4: b")]
        );
    }
}
