//! All steps as one session of guestfish, and where each of its lines comes from.
//!
//! guestfish counts the lines of a file that it reads commands from, but not those of heredocs: the number in its error
//! messages is neither the file's nor the script's.

use crate::expand::Expanded;
use crate::parse::terminator;

/// A line of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Index of the step, from 0.
    pub step: usize,
    /// Line of its script, from 1.
    pub line: usize,
}

/// A session.
pub struct Session {
    text: String,
    /// By the number that guestfish gives a line, from 1.
    counted: Vec<Option<Origin>>,
}

impl Session {
    /// A session in which `run` comes first, and `mark` gives the line that announces a step, by its index.
    #[must_use]
    pub fn new(expanded: &Expanded, mark: impl Fn(usize) -> String) -> Self {
        let mut session = Self { text: String::new(), counted: Vec::new() };
        session.push("run", None);
        for (step, one) in expanded.expanded_steps().iter().enumerate() {
            session.push(&mark(step), None);
            let mut open: Option<String> = None;
            for (index, line) in one.lines.iter().enumerate() {
                match &open {
                    Some(word) => {
                        session.text += line;
                        session.text.push('\n');
                        if line == word {
                            open = None;
                        }
                    }
                    None => {
                        session.push(line, Some(Origin { step, line: index + 1 }));
                        open = terminator(line);
                    }
                }
            }
        }
        session
    }

    fn push(&mut self, line: &str, origin: Option<Origin>) {
        self.text += line;
        self.text.push('\n');
        self.counted.push(origin);
    }

    /// What guestfish is given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The line that guestfish means by a number.
    #[must_use]
    pub fn origin(&self, counted: usize) -> Option<Origin> {
        self.counted.get(counted.checked_sub(1)?).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Step, Values, expand};

    #[test]
    fn a_number_of_guestfish_is_a_line_of_a_script() {
        let step = |name: &str, content: &str| Step {
            name: name.into(),
            content: content.into(),
            has_attributes: true,
        };
        let steps = [step("a", "# first\nupload -<<E /x\n1\n2\nE\nmkdir /y"), step("b", "cat /z\n")];
        let expanded = expand(&steps, &Values::new()).unwrap();
        let session = Session::new(&expanded, |index| format!("echo step {index}"));
        let text = "run\necho step 0\n# first\nupload -<<E /x\n1\n2\nE\nmkdir /y\necho step 1\ncat /z\n";
        assert_eq!(session.text(), text);
        // run, the mark, the comment, upload, mkdir, the mark, cat
        assert_eq!(session.origin(4), Some(Origin { step: 0, line: 2 }));
        assert_eq!(session.origin(5), Some(Origin { step: 0, line: 6 }));
        assert_eq!(session.origin(7), Some(Origin { step: 1, line: 1 }));
        for outside in [0, 1, 2, 6, 8] {
            assert_eq!(session.origin(outside), None, "{outside}");
        }
    }
}
