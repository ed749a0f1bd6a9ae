//! Why a job stopped, and where: from how the process ended, and from what guestfish said.

use std::time::Duration;

use api::Code;
use config::Size;
use script::{Command, Expanded, Kind, Origin, commands, parse};

use super::contained::End;
use super::output::Message;
use super::text::Text;
use crate::deploy::job::Stop;

/// What is known of a job that has ended.
pub(super) struct Facts<'a> {
    pub(super) script: &'a Expanded,
    pub(super) text: &'a Text,
    pub(super) messages: &'a [Message],
    /// Marks that were seen: steps that were begun, and the end of the last one.
    pub(super) marks: usize,
    /// All of the output.
    pub(super) output: &'a str,
    pub(super) time_max: Duration,
}

impl Facts<'_> {
    /// Whether it succeeded, and if not, why.
    pub(super) fn outcome(&self, end: &End) -> Result<(), Stop> {
        let stop = match end {
            End::Exited(status) if status.success() => match self.skipped() {
                None => return Ok(()),
                Some(stop) => stop,
            },
            End::Exited(_) => self.failed(),
            End::TimedOut => {
                let seconds = self.time_max.as_secs();
                self.limit(
                    Code::TimedOut,
                    format!("it took longer than {seconds} s (plans.time_max), and was ended"),
                )
            }
            End::Memory(bytes) => {
                let bytes = Size::from_bytes(*bytes);
                self.limit(
                    Code::ScriptFailed,
                    format!("its processes took {bytes} of memory, and were ended"),
                )
            }
            End::Output => self.limit(Code::ScriptFailed, "it printed without end, and was ended".to_owned()),
            End::Unwanted => self.limit(Code::Stopping, "it was ended before it was done".to_owned()),
        };
        Err(stop)
    }

    /// The step that was begun last.
    fn step(&self) -> Option<usize> {
        self.marks.checked_sub(1).filter(|step| *step < self.script.steps().len())
    }

    fn limit(&self, code: Code, message: String) -> Stop {
        Stop { step: self.step(), line: None, message, code }
    }

    /// A script that ends the session takes the steps behind it away: that is no success.
    fn skipped(&self) -> Option<Stop> {
        let steps = self.script.steps().len();
        let left = steps.checked_sub(self.marks).filter(|left| *left > 0)?;
        let message = format!("it ended the session itself: {left} of {steps} steps were not run");
        Some(self.limit(Code::ScriptFailed, message))
    }

    fn failed(&self) -> Stop {
        if self.marks == 0 {
            let said = self.messages.last().map_or_else(|| self.last_line(), |message| message.text.clone());
            let message = format!("guestfish did not start: {}", bare(&said));
            return Stop { step: None, line: None, message, code: Code::Internal };
        }
        let said = self.messages.iter().rev().find_map(|message| self.stopped_by(message));
        let (origin, message) = said
            .or_else(|| self.refused_line())
            .or_else(|| self.shell_line())
            .unwrap_or_else(|| (None, self.last_line()));
        Stop {
            step: origin.map_or_else(|| self.step(), |origin| Some(origin.step)),
            line: origin.map(|origin| origin.line),
            message,
            code: Code::ScriptFailed,
        }
    }

    /// Where a message comes from, unless the script went on after it.
    fn stopped_by(&self, message: &Message) -> Option<(Option<Origin>, String)> {
        if message.steps_begun != self.marks {
            return None;
        }
        let origin = match number(&message.text) {
            Some(number) => self.text.origin(number),
            None => self.unknown_command(&message.text),
        };
        let ignored =
            origin.is_some_and(|origin| self.line(origin).is_some_and(|line| line.starts_with('-')));
        (!ignored).then(|| (origin, bare(&message.text).to_owned()))
    }

    /// `nosuch: unknown command` has no number: the step is searched for it.
    fn unknown_command(&self, message: &str) -> Option<Origin> {
        let command = message.strip_suffix(": unknown command")?;
        self.find(|line| line.split_ascii_whitespace().next() == Some(command))
    }

    /// A line that guestfish refuses as it reads it: it says why, and not where. It goes past none of them.
    fn refused_line(&self) -> Option<(Option<Origin>, String)> {
        let last = self.last_line();
        let refused = |command: &Command| match &command.kind {
            Kind::Malformed(why) => last.strip_prefix("guestfish: ")?.starts_with(why).then(|| why.clone()),
            Kind::Call(call) => {
                let known = commands::known(&call.name).filter(|known| !known.takes(call.arguments.len()))?;
                let is_said = last.ends_with(&format!("for more help on {}", known.name));
                is_said.then(|| format!("{}: incorrect number of arguments", call.name))
            }
            Kind::Shell(_) | Kind::Inline(_) => None,
        };
        self.commands().find_map(|command| Some((Some(origin(&command)), refused(&command)?)))
    }

    /// guestfish says nothing of a shell command that failed. Where there is only one, it was that.
    fn shell_line(&self) -> Option<(Option<Origin>, String)> {
        let is_shell = |command: &Command| match &command.kind {
            Kind::Shell(_) | Kind::Inline(_) => true,
            Kind::Call(call) => call.pipe.is_some(),
            Kind::Malformed(_) => false,
        };
        let mut found = self.commands().filter(is_shell);
        let first = found.next()?;
        let origin = found.next().is_none().then(|| origin(&first));
        let last = self.last_line();
        let said =
            if last.is_empty() { String::new() } else { format!("; the last that was printed: {last}") };
        Some((origin, format!("a shell command of the script failed{said}")))
    }

    /// The commands of the step that was begun last, but for those that may fail.
    fn commands(&self) -> impl Iterator<Item = Command> {
        let step = self.step();
        parse(self.script).into_iter().filter(move |command| Some(command.step) == step && !command.quiet)
    }

    fn find(&self, is_it: impl Fn(&str) -> bool) -> Option<Origin> {
        let step = self.step()?;
        let index = self.script.lines_of(step).iter().position(|line| is_it(line.trim_start()))?;
        Some(Origin { step, line: index + 1 })
    }

    fn line(&self, origin: Origin) -> Option<&str> {
        self.script.lines_of(origin.step).get(origin.line - 1).map(|line| line.trim_start())
    }

    fn last_line(&self) -> String {
        let line = self.output.lines().rev().find(|line| !line.trim().is_empty());
        line.unwrap_or_default().trim().to_owned()
    }
}

fn origin(command: &Command) -> Origin {
    Origin { step: command.step, line: command.line }
}

/// `*stdin*:7: libguestfs: error: …` is 7.
fn number(message: &str) -> Option<usize> {
    message.strip_prefix("*stdin*:")?.split(':').next()?.parse().ok()
}

/// A message without what every message begins with.
fn bare(message: &str) -> &str {
    let message = match number(message) {
        Some(_) => message.splitn(3, ':').nth(2).unwrap_or(message).trim_start(),
        None => message,
    };
    message.strip_prefix("libguestfs: error: ").unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use script::{Step, Values, expand};

    use super::*;

    fn script(contents: &[&str]) -> Expanded {
        let step =
            |content: &&str| Step { name: "s".into(), content: (*content).into(), has_attributes: true };
        expand(&contents.iter().map(step).collect::<Vec<_>>(), &Values::new()).unwrap()
    }

    fn outcome(contents: &[&str], messages: &[(usize, &str)], marks: usize, end: &End) -> Result<(), Stop> {
        outcome_of(contents, messages, marks, end, "a\nlast\n\n")
    }

    fn outcome_of(
        contents: &[&str],
        messages: &[(usize, &str)],
        marks: usize,
        end: &End,
        output: &str,
    ) -> Result<(), Stop> {
        let script = script(contents);
        let messages: Vec<_> = messages
            .iter()
            .map(|(steps_begun, text)| Message { steps_begun: *steps_begun, text: (*text).to_owned() })
            .collect();
        let facts = Facts {
            script: &script,
            text: &Text::new(&script, "m-", false),
            messages: &messages,
            marks,
            output,
            time_max: Duration::from_secs(9),
        };
        facts.outcome(end)
    }

    fn exited(code: i32) -> End {
        End::Exited(ExitStatus::from_raw(code << 8))
    }

    fn failed(
        contents: &[&str],
        messages: &[(usize, &str)],
        marks: usize,
    ) -> (Option<usize>, Option<usize>, String) {
        let stop = outcome(contents, messages, marks, &exited(1)).unwrap_err();
        (stop.step, stop.line, stop.message)
    }

    #[test]
    fn a_number_leads_to_the_line() {
        // add-drive, run, mark, mkdir, mark, upload (and its heredoc), cat
        let contents = ["mkdir /a", "upload -<<E /x\n1\n2\nE\ncat /b"];
        let said = "*stdin*:7: libguestfs: error: cat: open: /b: No such file or directory";
        let expected = (Some(1), Some(5), "cat: open: /b: No such file or directory".to_owned());
        assert_eq!(failed(&contents, &[(2, said)], 2), expected);
    }

    #[test]
    fn an_error_that_the_script_ignores_is_not_to_blame() {
        let contents = ["-mkdir /a\n\nnosuch x\n"];
        let ignored = "*stdin*:4: libguestfs: error: mkdir: /a: File exists";
        let unknown = failed(&contents, &[(1, "nosuch: unknown command"), (1, ignored)], 1);
        assert_eq!(unknown, (Some(0), Some(3), "nosuch: unknown command".to_owned()));
    }

    #[test]
    fn a_shell_command_that_fails_is_found_where_there_is_only_one() {
        let message = "a shell command of the script failed; the last that was printed: last";
        assert_eq!(failed(&["echo\n!false"], &[], 1), (Some(0), Some(2), message.to_owned()));
        assert_eq!(failed(&["!true\n!false"], &[], 1), (Some(0), None, message.to_owned()));
        // Of an earlier step nothing is said.
        assert_eq!(failed(&["nosuch", "!false"], &[(1, "nosuch: unknown command")], 2).0, Some(1));
        assert_eq!(failed(&["mkdir"], &[], 1), (Some(0), None, "last".to_owned()));
    }

    #[test]
    fn what_only_looks_like_a_shell_command_is_not_to_blame() {
        let script = "upload -<<E /x\na | b\n!c\nE\n# d | e\n-!false\necho \"|\"\n!false";
        assert_eq!(failed(&[script], &[], 1).1, Some(8));
        assert_eq!(
            failed(&["upload -<<E /x\na | b\nE\n-!false"], &[], 1),
            (Some(0), None, "last".to_owned())
        );
    }

    #[test]
    fn a_line_that_is_refused_as_it_is_read_is_found() {
        let script = "!true\n-mkdir\nupload -<<E /x\necho \"\nE\necho \"x\nmkdir a b";
        let stopped = |output: &str| outcome_of(&[script], &[], 1, &exited(1), output).unwrap_err();
        let stop = stopped("x\nguestfish: unterminated double quote\n");
        assert_eq!((stop.line, stop.message.as_str()), (Some(6), "unterminated double quote"));
        let usage = "error: incorrect number of arguments\nusage: mkdir path\ntype 'help mkdir' for more help on mkdir\n";
        let stop = stopped(usage);
        assert_eq!((stop.line, stop.message.as_str()), (Some(7), "mkdir: incorrect number of arguments"));
        assert!(stopped("no").message.starts_with("a shell command of the script failed"));
    }

    #[test]
    fn what_fails_before_the_first_step_is_not_the_scripts_fault() {
        let stop =
            outcome(&["a"], &[(0, "*stdin*:2: libguestfs: error: no qemu")], 0, &exited(1)).unwrap_err();
        assert_eq!((stop.step, stop.code), (None, Code::Internal));
        assert_eq!(stop.message, "guestfish did not start: no qemu");
    }

    #[test]
    fn a_session_that_ends_early_has_not_succeeded() {
        assert_eq!(outcome(&["exit", "echo"], &[], 3, &exited(0)), Ok(()));
        // In the last step nothing is skipped.
        assert_eq!(outcome(&["echo", "exit"], &[], 2, &exited(0)), Ok(()));
        let stop = outcome(&["exit", "echo", "echo"], &[], 1, &exited(0)).unwrap_err();
        assert_eq!((stop.step, stop.code), (Some(0), Code::ScriptFailed));
        assert_eq!(stop.message, "it ended the session itself: 2 of 3 steps were not run");
    }

    #[test]
    fn a_limit_names_itself_and_the_step() {
        let stop = outcome(&["a", "b"], &[], 2, &End::TimedOut).unwrap_err();
        assert_eq!((stop.step, stop.code), (Some(1), Code::TimedOut));
        assert_eq!(stop.message, "it took longer than 9 s (plans.time_max), and was ended");
        for end in [End::Memory(3 << 30), End::Output] {
            assert_eq!(outcome(&["a"], &[], 1, &end).unwrap_err().code, Code::ScriptFailed, "{end:?}");
        }
        assert_eq!(outcome(&["a"], &[], 2, &End::Unwanted).unwrap_err().code, Code::Stopping);
    }
}
