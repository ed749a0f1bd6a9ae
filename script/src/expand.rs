//! Fills values in for placeholders, and refuses what must not be filled in.

use std::collections::HashSet;

use crate::mask::mask;
use crate::parse::{LINE_BYTES_MAX, is_blank, parse, reads_on, terminator};
use crate::place::Place;
use crate::placeholder::{self, Placeholder};
use crate::values::{Value, Values};

/// Most bytes of all scripts with values filled in: short names can stand for long values very often.
pub const EXPANDED_BYTES_MAX: usize = 16 << 20;

/// A step of a build plan: its script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Name of the script.
    pub name: String,
    /// The script as it was written.
    pub content: String,
    /// Whether it has attributes: scripts that deploy do, those that capture and general ones are taken as they are.
    pub has_attributes: bool,
}

/// All steps of a build plan with values filled in.
#[derive(Clone, PartialEq, Eq)]
pub struct Expanded {
    steps: Vec<ExpandedStep>,
    secrets: Vec<String>,
}

/// A step with values filled in. Its lines are those of the script, one for one.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ExpandedStep {
    pub(crate) name: String,
    pub(crate) lines: Vec<String>,
}

/// It has passwords in it: it is not for logs.
impl std::fmt::Debug for Expanded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expanded").field("steps", &self.steps.len()).finish_non_exhaustive()
    }
}

/// Why a script cannot be filled in, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("step {step} ({script:?}), line {line}: {message}")]
pub struct Fault {
    /// Number of the step, from 1.
    pub step: usize,
    /// Name of its script.
    pub script: String,
    /// Line of the script, from 1.
    pub line: usize,
    /// The attribute at fault, as it is written, if it is one.
    pub attribute: Option<String>,
    /// What is wrong. Never repeats a value.
    pub message: String,
}

/// Fills values in.
///
/// # Errors
/// All that is wrong: attributes without a value, values that would break out of their place, heredocs without an end.
pub fn expand(steps: &[Step], values: &Values) -> Result<Expanded, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut expanded = Vec::new();
    let mut room = EXPANDED_BYTES_MAX;
    for (index, step) in steps.iter().enumerate() {
        let mut filling = Filling { step, number: index + 1, values, faults: &mut faults, room: &mut room };
        expanded.push(ExpandedStep { name: step.name.clone(), lines: filling.fill() });
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut secrets: Vec<String> = values.secrets().map(str::to_owned).collect();
    secrets.sort_unstable();
    secrets.dedup();
    Ok(Expanded { steps: expanded, secrets })
}

impl Expanded {
    /// Names of the steps in order.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = &str> {
        self.steps.iter().map(|step| step.name.as_str())
    }

    /// Lines of a step, by its index, with values filled in.
    #[must_use]
    pub fn lines_of(&self, step: usize) -> &[String] {
        self.steps.get(step).map_or(&[], |step| &step.lines)
    }

    /// These steps, and those after them.
    #[must_use]
    pub fn followed_by(&self, others: &Self) -> Self {
        let steps = self.steps.iter().chain(&others.steps).cloned().collect();
        let mut secrets: Vec<String> = self.secrets.iter().chain(&others.secrets).cloned().collect();
        secrets.sort_unstable();
        secrets.dedup();
        Self { steps, secrets }
    }

    /// Whether there is nothing to be run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        parse(self).is_empty()
    }

    /// All of it as people may see it: steps, lines, no passwords.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut text = String::new();
        for (index, step) in self.steps.iter().enumerate() {
            text += &format!("--- step {}: {}\n", index + 1, step.name);
            for line in &step.lines {
                text += &self.mask(line);
                text.push('\n');
            }
        }
        text
    }

    /// A text without the passwords that may be in it.
    #[must_use]
    pub fn mask(&self, text: &str) -> String {
        mask(text, &self.secrets)
    }

    pub(crate) fn expanded_steps(&self) -> &[ExpandedStep] {
        &self.steps
    }
}

struct Filling<'a> {
    step: &'a Step,
    number: usize,
    values: &'a Values,
    faults: &'a mut Vec<Fault>,
    /// Bytes that all scripts may still have.
    room: &'a mut usize,
}

impl Filling<'_> {
    fn fill(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut open: Option<(String, usize)> = None;
        let mut unresolved = HashSet::new();
        for (index, raw) in self.step.content.lines().enumerate() {
            let number = index + 1;
            let raw = raw.strip_suffix('\r').unwrap_or(raw);
            let word = open.as_ref().map(|(word, _)| word.as_str());
            let line = self.fill_line(raw, number, word, &mut unresolved);
            self.check_length(&line, number, word);
            let Some(left) = self.room.checked_sub(line.len() + 1) else {
                let message =
                    format!("with their values the scripts have more than {EXPANDED_BYTES_MAX} bytes");
                self.fault(number, None, message);
                return lines;
            };
            *self.room = left;
            open = match open {
                // The author's own line ends it; one that a value made was refused.
                Some((word, _)) if line == word => None,
                Some(open) => Some(open),
                None if self.reads_on(raw, &line, number) => None,
                None => terminator(&line).map(|word| (word, number)),
            };
            lines.push(line);
        }
        if let Some((word, begun)) = open {
            self.fault(
                begun,
                None,
                format!("the heredoc that begins here has no line {word:?} that ends it"),
            );
        }
        lines
    }

    /// A line with its values. In a heredoc `terminator` is the word that ends it.
    fn fill_line(
        &mut self,
        raw: &str,
        number: usize,
        terminator: Option<&str>,
        unresolved: &mut HashSet<String>,
    ) -> String {
        if !self.step.has_attributes {
            return raw.to_owned();
        }
        let is_comment = terminator.is_none() && raw.trim_start_matches(is_blank).starts_with('#');
        let (mut line, mut from) = (String::with_capacity(raw.len()), 0);
        let mut last = None;
        for found in placeholder::of_line(raw) {
            line += &raw[from..found.at];
            from = found.end;
            let full = found.full_name();
            match self.text(&found) {
                Some(value) => {
                    self.check_one_line(&full, &value, number);
                    if terminator.is_none() && !is_comment {
                        self.check_place(&line, &full, &value, number);
                    }
                    line += &value.text;
                }
                None if is_comment => line += &raw[found.at..found.end],
                None => {
                    if unresolved.insert(full.to_ascii_lowercase()) {
                        let message = format!("the attribute {full:?} has no value, and no default here");
                        self.fault(number, Some(full.clone()), message);
                    }
                }
            }
            last = Some(full);
        }
        line += &raw[from..];
        if let (Some(word), Some(name)) = (terminator, last)
            && line == word
        {
            let message = format!("the value of {name:?} would end the heredoc: the line becomes {word:?}");
            self.fault(number, Some(name), message);
        }
        line
    }

    fn text(&self, found: &Placeholder<'_>) -> Option<Value> {
        let given = self.values.get(&found.full_name()).cloned();
        // An author's default is a part of the script.
        given.or_else(|| found.default.map(|text| Value { text: text.to_owned(), secret: false }))
    }

    /// A line end makes a command of what follows it, in a comment and in a heredoc as well.
    fn check_one_line(&mut self, name: &str, value: &Value, number: usize) {
        if value.text.chars().any(char::is_control) {
            let message = format!("the value of {name:?} has a line end or another control character");
            self.fault(number, Some(name.to_owned()), message);
        }
    }

    fn check_place(&mut self, before: &str, name: &str, value: &Value, number: usize) {
        if self.values.get(name).is_none() {
            return;
        }
        if let Some(c) = Place::behind(before).breaks_out(&value.text) {
            let message = format!(
                "the value of {name:?} would break out of its place: it has the character {c:?}; choose another value, or \
                 let the script write it by a heredoc"
            );
            self.fault(number, Some(name.to_owned()), message);
        }
    }

    /// guestfish takes what is left of a long line for another one: in a comment as well, that is a command.
    fn check_length(&mut self, line: &str, number: usize, terminator: Option<&str>) {
        if line.len() <= LINE_BYTES_MAX {
            return;
        }
        let message = match terminator {
            None => format!(
                "the line has {} bytes: guestfish reads {LINE_BYTES_MAX} at once, and takes the rest for another command; \
                 write the text by a heredoc, or to several files",
                line.len()
            ),
            Some(word)
                if line.as_bytes().chunks(LINE_BYTES_MAX + 1).any(|piece| piece == word.as_bytes()) =>
            {
                format!(
                    "guestfish reads the line in pieces, one of which is {word:?} and ends the heredoc: break the line"
                )
            }
            Some(_) => return,
        };
        self.fault(number, None, message);
    }

    /// Whether a value makes a command read the lines behind it, or says where they end: it must not.
    fn reads_on(&mut self, raw: &str, line: &str, number: usize) -> bool {
        let file = reads_on(line).filter(|file| line != raw && !raw.contains(file.as_str()));
        if file.is_some() {
            let name = placeholder::of_line(raw).next().map(|found| found.full_name());
            let message = "a value makes the command read the lines behind it as its file, or says where they end: choose \
                           another value, or write - or -<<END in the script";
            self.fault(number, name, message.to_owned());
        }
        file.is_some()
    }

    fn fault(&mut self, line: usize, attribute: Option<String>, message: String) {
        let script = self.step.name.clone();
        self.faults.push(Fault { step: self.number, script, line, attribute, message });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(content: &str) -> Step {
        Step { name: "s".into(), content: content.into(), has_attributes: true }
    }

    fn values(pairs: &[(&str, &str)]) -> Values {
        let mut values = Values::new();
        for (name, text) in pairs {
            values.set(name, *text, name.starts_with("pw"));
        }
        values
    }

    fn lines(content: &str, pairs: &[(&str, &str)]) -> Vec<String> {
        expand(&[step(content)], &values(pairs)).unwrap().lines_of(0).to_vec()
    }

    fn faults(content: &str, pairs: &[(&str, &str)]) -> Vec<(usize, Option<String>)> {
        let faults = expand(&[step(content)], &values(pairs)).unwrap_err();
        faults.into_iter().map(|fault| (fault.line, fault.attribute)).collect()
    }

    #[test]
    fn values_go_before_defaults_and_the_case_of_names_does_not_matter() {
        assert_eq!(lines("echo @A:x@ @b@ @C:d e@", &[("a", "1"), ("B", "2")]), ["echo 1 2 d e"]);
        assert_eq!(lines("echo @NIC1.ipaddress@", &[("NIC1.ipaddress", "10.0.0.1")]), ["echo 10.0.0.1"]);
    }

    #[test]
    fn an_attribute_without_a_value_is_named_once() {
        assert_eq!(faults("echo @A@\necho @A@ @B@", &[]), [(1, Some("A".into())), (2, Some("B".into()))]);
    }

    #[test]
    fn comments_need_no_values() {
        assert_eq!(lines("# about @A@ and @B@", &[("B", "x")]), ["# about @A@ and x"]);
    }

    #[test]
    fn a_value_stays_in_its_place() {
        assert_eq!(faults("!echo @A@ >> ./x", &[("A", "a; rm -rf .")]), [(1, Some("A".into()))]);
        for script in ["echo @A@", "# @A@", "upload -<<E /x\n@A@\nE"] {
            let line = script.lines().position(|line| line.contains('@')).unwrap() + 1;
            assert_eq!(faults(script, &[("A", "a\nrm x")]), [(line, Some("A".into()))], "{script}");
        }
        // The author may write what a value may not be.
        assert_eq!(lines("!echo @A:$(date)@", &[]), ["!echo $(date)"]);
    }

    #[test]
    fn a_heredoc_takes_any_text_but_the_line_that_ends_it() {
        let script = "upload -<<END /x\n@A@\n!@A@ | sh\nEND\necho";
        assert_eq!(lines(script, &[("A", "a;\"b")])[1..3], ["a;\"b", "!a;\"b | sh"]);
        assert_eq!(faults(script, &[("A", "END")]), [(2, Some("A".into()))]);
        assert_eq!(faults("upload -<<END /x\nE@A@D\nEND", &[("A", "N")]), [(2, Some("A".into()))]);
    }

    #[test]
    fn a_heredoc_without_an_end_is_refused_where_it_begins() {
        assert_eq!(faults("echo\nupload -<<END /x\nend\n", &[]), [(2, None)]);
    }

    #[test]
    fn a_heredoc_is_one_however_its_command_is_written() {
        for begin in ["UPLOAD -<<END /x", "--upload -<<END /x", "upload \"-<<END\" /x"] {
            let script = format!("{begin}\n@A@\n# @B@\nEND\n@B:echo@");
            assert_eq!(faults(&script, &[("A", "END"), ("B", "x")]), [(2, Some("A".into()))], "{begin}");
            assert_eq!(lines(&script, &[("A", "$(x)"), ("B", "x")])[1], "$(x)", "{begin}");
            assert_eq!(faults(&format!("{begin}\nx"), &[]), [(1, None)], "{begin}");
        }
        // What is no heredoc for guestfish is commands.
        assert_eq!(faults("upload -<<END\n@A@\nEND", &[("A", "!x")]), [(2, Some("A".into()))]);
    }

    #[test]
    fn a_value_does_not_swallow_the_lines_behind_it() {
        for (file, value) in [("@A@", "-"), ("@A@", "-<<END"), ("-<<@A@", "END")] {
            let script = format!("upload {file} /x\nupload -<<END /y\nEND");
            assert_eq!(faults(&script, &[("A", value)]), [(1, Some("A".into()))], "{file} {value}");
        }
        assert_eq!(lines("upload - /@A@", &[("A", "x")]), ["upload - /x"]);
    }

    #[test]
    fn a_line_that_guestfish_would_cut_in_two_is_refused() {
        let long = "x".repeat(LINE_BYTES_MAX + 1);
        for line in [format!("echo {long}"), format!("# {long}"), format!("!echo {long}")] {
            assert_eq!(faults(&line, &[]), [(1, None)]);
        }
        let heredoc = format!("upload -<<END /x\n{long}END\nEND");
        assert_eq!(faults(&heredoc, &[]), [(2, None)]);
        assert_eq!(lines(&heredoc.replace("xEND", "x-END"), &[]).len(), 3);
    }

    #[test]
    fn scripts_that_have_no_attributes_are_taken_as_they_are() {
        let step = Step { has_attributes: false, ..step("echo @A@") };
        assert_eq!(expand(&[step], &Values::new()).unwrap().lines_of(0), ["echo @A@"]);
    }

    #[test]
    fn passwords_are_in_nothing_that_is_shown() {
        let expanded = expand(
            &[step("upload -<<END /x\n@pw@ @pw2@\nEND")],
            &values(&[("pw", "abc"), ("pw2", "abcdef")]),
        );
        let expanded = expanded.unwrap();
        assert_eq!(expanded.lines_of(0)[1], "abc abcdef");
        assert!(expanded.shown().contains("******** ********"), "{}", expanded.shown());
        assert!(!format!("{expanded:?}").contains("abc"));
    }

    #[test]
    fn scripts_do_not_grow_past_a_bound() {
        let value = "x".repeat(250);
        let script = format!("upload -<<E /x\n{}E", "@A@@A@@A@@A@@A@@A@@A@@A@\n".repeat(10_000));
        assert_eq!(faults(&script, &[("A", &value)]), [(8386, None)]);
    }

    #[test]
    fn nothing_but_comments_is_nothing() {
        assert!(expand(&[step("# x\n\n  ")], &Values::new()).unwrap().is_empty());
        assert!(!expand(&[step("echo")], &Values::new()).unwrap().is_empty());
    }
}
