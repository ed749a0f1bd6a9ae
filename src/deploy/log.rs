//! What people read of a job: its log, and why it failed.

use std::fmt::Write;
use std::time::Duration;

use api::Refusal;
use script::Expanded;

use super::job::{Ended, Engine, Stop};

/// The log: the scripts with values, what they printed, how long it took. Without passwords.
pub(super) fn text(script: &Expanded, engine: Engine, ended: &Ended, took: Duration) -> String {
    let mut text = format!("=== scripts, with values\n{}=== output ({})\n", script.shown(), engine.as_str());
    text += &ended.output;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text += "=== end\n";
    for step in &ended.steps {
        // A String takes every text.
        let _ = writeln!(text, "step {} {:?}: {} ms", step.step + 1, step.name, step.took.as_millis());
    }
    let outcome = match &ended.outcome {
        Ok(()) => "succeeded".to_owned(),
        Err(stop) => format!("failed: {}", said(script, stop)),
    };
    let _ = writeln!(text, "{outcome}, after {} ms", took.as_millis());
    text.lines().map(|line| without_controls(line) + "\n").collect()
}

/// A line for people: what control characters may do to somebody's terminal is not for a log.
pub(super) fn without_controls(line: &str) -> String {
    line.trim_end_matches('\r').replace(|c: char| c.is_control() && c != '\t', "\u{fffd}")
}

/// Why a job failed, as its task says it.
pub(super) fn refusal(script: &Expanded, stop: &Stop) -> Refusal {
    Refusal::new(stop.code, said(script, stop))
        .action("see the log of the deployment (osvol task show), and mend the script or the values")
}

/// `step 2 "Configure", line 7: mkdir: …`
fn said(script: &Expanded, stop: &Stop) -> String {
    let message = without_controls(&script.mask(stop.message.trim_end()));
    let Some(step) = stop.step else { return message };
    let name = script.steps().nth(step).unwrap_or_default();
    match stop.line {
        Some(line) => format!("step {} {name:?}, line {line}: {message}", step + 1),
        None => format!("step {} {name:?}: {message}", step + 1),
    }
}

#[cfg(test)]
mod tests {
    use script::{Step, Values, expand};

    use super::*;
    use crate::deploy::job::StepTime;

    #[test]
    fn a_failure_names_step_script_line_and_message() {
        let step = Step { name: "Configure".into(), content: "echo @pw@".into(), has_attributes: true };
        let mut values = Values::new();
        values.set("pw", "s3cret", true);
        let script = expand(&[step], &values).unwrap();
        let message = "nosuch: s3cret: unknown command\n".to_owned();
        let stop = Stop { step: Some(0), line: Some(7), message, code: api::Code::ScriptFailed };
        let refusal = refusal(&script, &stop);
        assert_eq!(&*refusal.message, "step 1 \"Configure\", line 7: nosuch: ********: unknown command");
        let steps = vec![StepTime { step: 0, name: "Configure".into(), took: Duration::from_millis(12) }];
        let ended = Ended { outcome: Err(stop), steps, output: "said".into() };
        let text = text(&script, Engine::Guestfish, &ended, Duration::from_secs(1));
        assert!(text.contains("echo ********\n") && !text.contains("s3cret"), "{text}");
        assert!(text.contains("\nsaid\n=== end\nstep 1 \"Configure\": 12 ms\nfailed: step 1"), "{text}");
    }
    #[test]
    fn a_log_does_nothing_to_a_terminal() {
        let step = Step { name: "s".into(), content: "echo \x1b[2J\tx".into(), has_attributes: false };
        let script = expand(&[step], &Values::new()).unwrap();
        let message = "rm: /\x1b[2J: No such file".to_owned();
        let stop = Stop { step: Some(0), line: Some(1), message, code: api::Code::ScriptFailed };
        assert!(!refusal(&script, &stop).message.contains('\x1b'));
        let ended = Ended { outcome: Err(stop), steps: Vec::new(), output: "a\x1b[2J\r\n\tb\n".into() };
        let text = text(&script, Engine::Builtin, &ended, Duration::ZERO);
        assert!(!text.contains('\x1b') && text.contains("\na\u{fffd}[2J\n\tb\n=== end\n"), "{text:?}");
    }
}
