//! Proceed or cancel: what may lose data is asked in one way.
//!
//! The request is sent as it is. If it would lose something, the daemon refuses it with the impact and a token; that is
//! shown, and the same request with the token is the answer "proceed". When anything has changed in between, the daemon
//! refuses the token, and the new impact is shown.

use std::io::{BufRead, IsTerminal, Write, stderr, stdin};

use api::{Code, Impact, Refusal, Task};
use serde_json::Value;

use super::task;
use crate::args::placement::Consent;
use crate::client::{Client, Reply};
use crate::failure::Failure;
use crate::impact;
use crate::output::Output;

/// How often an impact that changes is shown to somebody who has said yes beforehand.
const ROUNDS_MAX: u32 = 3;

/// A request that may lose data.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'static str,
    pub(crate) path: &'a str,
    pub(crate) body: &'a Value,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Came {
    /// Only the impact was wanted, and it was printed.
    Shown,
    /// Done, by a task.
    Task(Box<Task>),
    /// Done at once: the answer's body.
    Body(String),
}

/// Asks, and follows the task to its end.
pub(crate) fn ask(
    asked: &Asked<'_>,
    consent: Consent,
    client: &Client,
    output: &Output,
) -> Result<Came, Failure> {
    if consent.dry_run {
        return show(asked, consent, client, output);
    }
    let mut token = None;
    for _ in 0..ROUNDS_MAX {
        let (refusal, impact) = match send(asked, consent, token.as_deref(), client) {
            Ok(reply) => return came(reply, client, output),
            Err(Failure::Refused(refusal)) => match confirmable(&refusal) {
                Some(impact) => (refusal, impact),
                None => return Err(Failure::Refused(refusal)),
            },
            Err(failure) => return Err(failure),
        };
        if !output.json {
            tell(&refusal, &impact);
        }
        match (consent.yes, can_ask()) {
            (true, _) => {}
            (false, true) => match proceed(&mut stdin().lock(), &mut stderr())? {
                true => {}
                false => return Err(Failure::Cancelled),
            },
            (false, false) => return Err(Failure::NeedsYes(refusal)),
        }
        token = impact.confirmation_token;
    }
    Err(Failure::Unsteady)
}

/// The impact of what can be confirmed.
fn confirmable(refusal: &Refusal) -> Option<Impact> {
    let stale =
        refusal.error_code == Code::Stale && refusal.error_source.as_deref() == Some("confirmationToken");
    let asks = refusal.error_code == Code::ConfirmationRequired || stale;
    refusal.impact.as_deref().cloned().filter(|impact| asks && impact.confirmation_token.is_some())
}

fn send(asked: &Asked<'_>, consent: Consent, token: Option<&str>, client: &Client) -> Result<Reply, Failure> {
    let mut query = Vec::new();
    if consent.dry_run {
        query.push("dryRun=true".to_owned());
    }
    if consent.while_in_use {
        query.push("whileInUse=true".to_owned());
    }
    if let Some(token) = token {
        query.push(format!("confirmationToken={token}"));
    }
    let path = match query.is_empty() {
        true => asked.path.to_owned(),
        false => format!("{}?{}", asked.path, query.join("&")),
    };
    client.request(asked.method, &path, asked.body)
}

fn show(asked: &Asked<'_>, consent: Consent, client: &Client, output: &Output) -> Result<Came, Failure> {
    let reply = send(asked, consent, None, client)?;
    let impact: Impact = client.read(&reply.body)?;
    match output.json {
        true => output.text(&reply.body)?,
        false => output.text(&format!("{}Nothing was changed.\n", impact::words(&impact)))?,
    }
    Ok(Came::Shown)
}

fn came(reply: Reply, client: &Client, output: &Output) -> Result<Came, Failure> {
    match reply.status {
        202 => {
            let begun: Task = client.read(&reply.body)?;
            Ok(Came::Task(Box::new(task::follow(&begun.id, client, output)?)))
        }
        _ => Ok(Came::Body(reply.body)),
    }
}

fn tell(refusal: &Refusal, impact: &Impact) {
    let mut err = stderr().lock();
    let changed = match refusal.error_code {
        Code::Stale => "Things have changed since that was shown. Now:\n",
        _ => "",
    };
    // Nobody is left to tell when standard error is closed; then nobody can say proceed either.
    let _ = write!(err, "{changed}{}", impact::words(impact));
}

fn can_ask() -> bool {
    stdin().is_terminal() && stderr().is_terminal()
}

/// Asks until it is answered. No answer is a no.
pub(super) fn proceed(answers: &mut impl BufRead, questions: &mut impl Write) -> Result<bool, Failure> {
    loop {
        write!(questions, "proceed or cancel? ").and_then(|()| questions.flush()).map_err(Failure::Output)?;
        let mut answer = String::new();
        let read = answers.read_line(&mut answer).map_err(Failure::Output)?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "proceed" => return Ok(true),
            "cancel" => return Ok(false),
            _ if read == 0 => return Ok(false),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_word_proceeds() {
        let answer = |text: &str| {
            let mut asked = Vec::new();
            let answer = proceed(&mut text.as_bytes(), &mut asked).unwrap();
            (answer, asked.len() / "proceed or cancel? ".len())
        };
        assert_eq!(answer("proceed\n"), (true, 1));
        assert_eq!(answer("cancel\n"), (false, 1));
        assert_eq!(answer("y\nyes\n\nProceed\n"), (true, 4));
        assert_eq!(answer("y\n"), (false, 2), "the end of the input is a no");
    }

    #[test]
    fn only_an_impact_with_a_token_is_asked_about() {
        let impact = Impact {
            outcome: api::ImpactOutcome::Delete,
            lossy: true,
            summary: String::new(),
            volumes: Vec::new(),
            confirmation_token: Some("t".into()),
            expires: None,
        };
        let refusal = |code| Refusal::new(code, "x").impact(impact.clone());
        assert!(confirmable(&refusal(Code::ConfirmationRequired)).is_some());
        assert!(confirmable(&refusal(Code::InUse)).is_none());
        assert!(confirmable(&refusal(Code::Stale)).is_none(), "the profile itself has changed");
        assert!(confirmable(&refusal(Code::Stale).source("confirmationToken")).is_some());
        assert!(confirmable(&Refusal::new(Code::ConfirmationRequired, "x")).is_none());
    }
}
