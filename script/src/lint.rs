//! What is wrong with a plan, or may be, before anybody runs it.

use std::collections::HashSet;

use crate::commands::{self, Known};
use crate::expand::{Expanded, Step, expand};
use crate::fit;
use crate::parse::{Argument, Call, Command, Kind, parse, terminator};
use crate::place::Place;
use crate::placeholder;
use crate::values::Values;

/// What stands for the value that a user will give.
const ANY_VALUE: &str = "value";
/// Programs that need a network, which no script has.
const NETWORK_PROGRAMS: [&str; 10] =
    ["wget", "curl", "ssh", "scp", "rsync", "ping", "tftp", "ftp", "nslookup", "nc"];
/// Commands for which it is too late once the machine runs, which it does before the first line.
const TOO_LATE: [&str; 9] = [
    "add-drive",
    "add-drive-ro",
    "add-drive-with-if",
    "add-drive-ro-with-if",
    "add-drive-scratch",
    "add-cdrom",
    "add-domain",
    "add-libvirt-dom",
    "config",
];
/// Names that are no more alike than this are not proposed.
const ALIKE_MIN: f64 = 0.8;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It is good to know.
    Note,
    /// It may not do what its author means.
    Warning,
    /// It will fail.
    Error,
}

impl Severity {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Number of the step, from 1; 0 if it is about the plan as a whole.
    pub step: usize,
    /// Line of its script, from 1; 0 if it is about no line.
    pub line: usize,
    /// How bad it is.
    pub severity: Severity,
    /// What it is, and what to do.
    pub message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.step, self.line) {
            (0, _) => {}
            (step, 0) => write!(f, "step {step}: ")?,
            (step, line) => write!(f, "step {step}, line {line}: ")?,
        }
        write!(f, "{}: {}", self.severity.as_str(), self.message)
    }
}

/// Looks through a plan. Without `values`, attributes that have no default are named as what a user must give, and stand
/// for some plain text. The last finding says which engine will run the plan.
#[must_use]
pub fn lint(steps: &[Step], values: Option<&Values>) -> Vec<Finding> {
    let mut linter = Linter { findings: Vec::new() };
    linter.written(steps);
    let filled = match values {
        Some(values) => values.clone(),
        None => linter.stand_ins(steps),
    };
    match expand(steps, &filled) {
        Ok(script) => {
            let written = linter.findings.len();
            linter.commands(&script);
            // Names of commands are told, and a value may have become one.
            for finding in linter.findings.iter_mut().skip(written) {
                finding.message = script.mask(&finding.message);
            }
            linter.findings.sort_by_key(|finding| (finding.step, finding.line));
            linter.engine(&script);
        }
        Err(faults) => {
            for fault in faults {
                linter.find(fault.step, fault.line, Severity::Error, fault.message);
            }
            linter.findings.sort_by_key(|finding| (finding.step, finding.line));
        }
    }
    linter.findings
}

struct Linter {
    findings: Vec<Finding>,
}

impl Linter {
    fn find(&mut self, step: usize, line: usize, severity: Severity, message: impl Into<String>) {
        self.findings.push(Finding { step, line, severity, message: message.into() });
    }

    // The scripts as they are written.

    fn written(&mut self, steps: &[Step]) {
        for (number, step) in (1..).zip(steps) {
            if step.content.contains("\r\n") {
                let message = "its lines end with CR LF; they are run, and uploaded, with LF alone";
                self.find(number, 0, Severity::Note, message);
            }
            let mut open: Option<String> = None;
            for (line, text) in (1..).zip(step.content.lines()) {
                match &open {
                    Some(word) if text == word => open = None,
                    Some(word) => self.heredoc_line(number, line, text, word),
                    None => {
                        open = terminator(text);
                        if step.has_attributes {
                            self.shell_values(number, line, text);
                        }
                    }
                }
            }
        }
    }

    fn heredoc_line(&mut self, step: usize, line: usize, text: &str, word: &str) {
        if text.trim() == word {
            let message = format!("blanks stand around {word:?}: it does not end the heredoc");
            self.find(step, line, Severity::Warning, message);
        }
    }

    /// Values of users on a line that the shell reads.
    fn shell_values(&mut self, step: usize, line: usize, text: &str) {
        for found in placeholder::of_line(text) {
            let before = text.get(..found.at).unwrap_or_default();
            let is_bare = Place::behind(before).breaks_out(";").is_some();
            if is_bare && !text.trim_start().starts_with('#') {
                let name = found.full_name();
                let message = format!(
                    "the shell reads the value of {name:?}: put the placeholder in single quotes ('@{name}@'), or many values \
                     will be refused"
                );
                self.find(step, line, Severity::Warning, message);
            }
        }
    }

    /// Values for all attributes that have none; each of them is named.
    fn stand_ins(&mut self, steps: &[Step]) -> Values {
        let mut values = Values::new();
        let mut named = HashSet::new();
        for (number, step) in (1..).zip(steps).filter(|(_, step)| step.has_attributes) {
            for (line, text) in (1..).zip(step.content.lines()) {
                let is_comment = text.trim_start().starts_with('#');
                for found in placeholder::of_line(text).filter(|found| found.default.is_none()) {
                    let name = found.full_name();
                    if !is_comment && !found.name.starts_with('_') && named.insert(name.to_ascii_lowercase())
                    {
                        let message = format!("the attribute {name:?} has no default here: it needs a value");
                        self.find(number, line, Severity::Note, message);
                    }
                    values.set(&name, ANY_VALUE, false);
                }
            }
        }
        values
    }

    // The commands.

    fn commands(&mut self, script: &Expanded) {
        let mut mounted: Option<(usize, usize)> = None;
        for command in parse(script) {
            let at = (command.step + 1, command.line);
            self.command(at, &command);
            if let Kind::Call(call) = &command.kind
                && let Some(known) = commands::known(&call.name)
            {
                match known.name {
                    "mount" | "mount-ro" | "mount-options" | "mount-vfs" => mounted = mounted.or(Some(at)),
                    "umount" | "umount-all" => mounted = None,
                    _ => {}
                }
            }
        }
        if let Some((step, line)) = mounted {
            let message = "what is mounted here is never unmounted; at the end it is, but say `umount-all`";
            self.find(step, line, Severity::Warning, message);
        }
    }

    fn command(&mut self, at: (usize, usize), command: &Command) {
        // What may fail is no error.
        let severity = if command.quiet { Severity::Warning } else { Severity::Error };
        match &command.kind {
            Kind::Malformed(message) => self.find(at.0, at.1, severity, message),
            Kind::Shell(text) | Kind::Inline(text) => self.shell(at, text),
            Kind::Call(call) => {
                if let Some(pipe) = &call.pipe {
                    self.shell(at, pipe);
                }
                match commands::known(&call.name) {
                    None => self.find(at.0, at.1, severity, unknown(&call.name)),
                    Some(known) => self.call(at, severity, call, known),
                }
            }
        }
    }

    fn call(&mut self, at: (usize, usize), severity: Severity, call: &Call, known: Known) {
        if !known.takes(call.arguments.len()) {
            self.find(at.0, at.1, severity, wrong_count(call, known));
        } else if known.name == "launch" {
            let message = format!("{} is implied, and fails here: leave it out", call.name);
            self.find(at.0, at.1, severity, message);
        } else if TOO_LATE.contains(&known.name) {
            let message =
                format!("{} fails: the volume is /dev/sda, and no other disk can be added", call.name);
            self.find(at.0, at.1, severity, message);
        }
        let is_host = |index: usize| call.arguments.get(index).is_some_and(is_absolute);
        let reads_host = match known.name {
            "upload" | "tar-in" | "tgz-in" | "txz-in" => is_host(0),
            "copy-in" => call.arguments.iter().rev().skip(1).any(is_absolute),
            "download" | "tar-out" | "tgz-out" => is_host(1),
            _ => false,
        };
        if reads_host {
            let message = "a path of the machine that runs the script: there is nothing but the scratch directory, by relative paths";
            self.find(at.0, at.1, Severity::Warning, message);
        }
    }

    fn shell(&mut self, at: (usize, usize), text: &str) {
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
        if let Some(program) = words.find(|word| NETWORK_PROGRAMS.contains(word)) {
            let message = format!("{program} needs a network, and scripts have none");
            self.find(at.0, at.1, Severity::Warning, message);
        }
    }

    fn engine(&mut self, script: &Expanded) {
        let message = match fit::fit(script) {
            _ if script.is_empty() => "nothing is run".to_owned(),
            Ok(()) => {
                "the built-in engine runs it, in milliseconds, where all that it mounts is FAT".to_owned()
            }
            Err(unfit) => format!("guestfish runs it: {unfit}"),
        };
        self.find(0, 0, Severity::Note, message);
    }
}

fn is_absolute(argument: &Argument) -> bool {
    argument.bytes.starts_with(b"/") && !argument.bytes.starts_with(b"/tmp/")
}

fn unknown(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let likeness = |known: &&str| strsim::jaro_winkler(&lower, known);
    let nearest = commands::names().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest.filter(|nearest| likeness(nearest) >= ALIKE_MIN) {
        Some(nearest) => format!("{name}: unknown command; is {nearest} meant?"),
        None => format!("{name}: unknown command"),
    }
}

fn wrong_count(call: &Call, known: Known) -> String {
    let (given, min) = (call.arguments.len(), known.arguments_min);
    let takes = match known.arguments_max {
        Some(max) if max == min => min.to_string(),
        Some(max) => format!("{min} to {max}"),
        None => format!("{min} or more"),
    };
    format!("{} takes {takes} argument(s), and has {given}", call.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(content: &str, values: Option<&Values>) -> Vec<(usize, Severity, String)> {
        let step = Step { name: "s".into(), content: content.into(), has_attributes: true };
        let findings = lint(&[step], values);
        findings.into_iter().map(|finding| (finding.line, finding.severity, finding.message)).collect()
    }

    /// The finding of line 1, its severity and a part of its message.
    fn has(content: &str, severity: Severity, part: &str) {
        let all = found(content, None);
        let has =
            all.iter().any(|(line, is, message)| *line == 1 && *is == severity && message.contains(part));
        assert!(has, "{content:?}: {all:?}");
    }

    #[test]
    fn what_will_fail_is_an_error() {
        for (line, part) in [
            ("uplaod -<<END /x\nEND", "is upload meant?"),
            ("Fail_OS_Deployment", "unknown command"),
            ("mkdir", "mkdir takes 1 argument(s), and has 0"),
            ("run", "implied"),
            ("add-drive /x", "no other disk"),
            ("echo \"x", "unterminated double quote"),
            ("upload -<<END /x\nend", "has no line \"END\""),
        ] {
            has(line, Severity::Error, part);
        }
        has("-nosuch", Severity::Warning, "unknown command");
    }

    #[test]
    fn what_may_fail_is_a_warning() {
        for (line, part) in [
            ("mount /dev/sda1 /", "never unmounted"),
            ("!wget http://x", "wget needs a network"),
            ("cat /x | curl x", "curl needs a network"),
            ("upload /etc/passwd /x", "the scratch directory"),
            ("!echo @A@ > x", "put the placeholder in single quotes"),
        ] {
            has(line, Severity::Warning, part);
        }
        let all = found("upload -<<END /x\n END\nEND", None);
        assert!(all.iter().any(|(line, _, message)| *line == 2 && message.contains("blanks")), "{all:?}");
    }

    #[test]
    fn a_good_plan_has_only_a_word_on_its_engine() {
        let plan = "mount /dev/sda1 /\nupload -<<END /x\n@A:default@ @B:@\nEND\n!echo '@A:x@'\nunmount /\n";
        let all = found(plan, None);
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(all[0].2.starts_with("the built-in engine runs it"), "{all:?}");
        let last = found("echo\n!date\n", None).pop().unwrap();
        assert!(last.2.starts_with("guestfish runs it: step 1, line 2"), "{last:?}");
    }

    #[test]
    fn attributes_without_values_are_named() {
        has("echo @A@ @A@", Severity::Note, "\"A\" has no default");
        let all = found("echo @A@", Some(&Values::new()));
        assert_eq!((all[0].0, all[0].1), (1, Severity::Error));
        let mut values = Values::new();
        values.set("a", "x", false);
        assert_eq!(found("echo @A@", Some(&values)).len(), 1);
    }

    #[test]
    fn no_finding_tells_a_password() {
        let mut values = Values::new();
        values.set("pw", "hunter2\"x", true);
        for script in [
            "'@pw@' /x",
            "mkdir '@pw@'",
            "mkdir @pw@",
            "chmod '@pw@' /x",
            "- '@pw@'",
            "@pw@ /x",
            "upload -<<'@pw@' /x",
        ] {
            for (_, _, message) in found(script, Some(&values)) {
                assert!(!message.contains("hunter2"), "{script}: {message}");
            }
        }
        values.set("pw", "hunter2", true);
        for script in
            ["@pw@ /x", "mkdir @pw@", "chmod @pw@ /x", "upload -<<@pw@ /x", "upload -<<@pw@ /x\n@pw@\n"]
        {
            for (_, _, message) in found(script, Some(&values)) {
                assert!(!message.contains("hunter2"), "{script}: {message}");
            }
        }
    }

    #[test]
    fn a_finding_says_where_it_is() {
        let finding = Finding { step: 2, line: 7, severity: Severity::Error, message: "no".into() };
        assert_eq!(finding.to_string(), "step 2, line 7: error: no");
        assert_eq!(Finding { step: 0, line: 0, ..finding }.to_string(), "error: no");
    }
}
