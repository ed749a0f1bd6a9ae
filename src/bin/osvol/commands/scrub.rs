//! `osvol scrub`.

use api::{Scrub, ScrubPass, ScrubResult, ScrubState};
use config::Size;

use super::{counted, facts, time};
use crate::args::ScrubCommand;
use crate::client::{Answer, Client};
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{Column, Table};

pub(crate) fn run(command: ScrubCommand, client: &Client, output: &Output) -> Result<(), Failure> {
    let post = |verb: &str| client.post::<Scrub>(&format!("{}/{verb}", api::SCRUB), &serde_json::Value::Null);
    match command {
        ScrubCommand::Status => show(&client.get::<Scrub>(api::SCRUB)?, output),
        ScrubCommand::Start => {
            told(&post("start")?, output, "the scrub has begun; osvol scrub status shows it")
        }
        ScrubCommand::Stop => told(&post("stop")?, output, "the scrub has been stopped"),
    }
}

fn told(answer: &Answer<Scrub>, output: &Output, words: &str) -> Result<(), Failure> {
    output.text(if output.json { &answer.json } else { words })
}

fn show(answer: &Answer<Scrub>, output: &Output) -> Result<(), Failure> {
    if output.json {
        return output.text(&answer.json);
    }
    let scrub = &answer.value;
    let pace = format!(
        "{} a second, {} between two passes",
        Size::from_bytes(scrub.pace_bytes_per_second),
        time(scrub.interval_seconds)
    );
    let none = || "none".to_owned();
    output.text(&facts(&[
        ("Scrub", state(scrub).to_owned()),
        ("Pace", pace),
        ("Next pass", scrub.next.clone().unwrap_or_else(|| "-".to_owned())),
        ("This pass", scrub.current.as_ref().map_or_else(none, pass)),
        ("Last pass", scrub.last.as_ref().map_or_else(none, pass)),
        ("All was read", scrub.completed.clone().unwrap_or_else(|| "never yet".to_owned())),
        ("Damaged", damaged(scrub.damaged)),
    ]))?;
    if scrub.findings.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&[
        Column::Left("WHAT"),
        Column::Left("NAME"),
        Column::Right("OFFSET"),
        Column::Cut("DAMAGE"),
        Column::Left("FOUND"),
    ]);
    for finding in &scrub.findings {
        table.row(vec![
            what(&finding.category).to_owned(),
            finding.name.clone(),
            finding.offset.to_string(),
            finding.reason.clone(),
            finding.found.clone(),
        ]);
    }
    output.text("")?;
    output.table(&table)
}

/// One line, for `osvol status`.
pub(crate) fn brief(scrub: &Scrub) -> String {
    let damage = match scrub.damaged {
        0 => String::new(),
        count => format!("; {}: see osvol scrub status", damaged(count)),
    };
    let words = match (&scrub.current, &scrub.completed) {
        (Some(current), _) => format!("running, {}", progress(current)),
        (None, Some(completed)) => format!("{}; all was read {completed}", state(scrub)),
        (None, None) => format!("{}; no pass has been completed yet", state(scrub)),
    };
    words + &damage
}

fn state(scrub: &Scrub) -> &'static str {
    match scrub.state {
        ScrubState::Running => "running",
        ScrubState::Waiting => "waiting",
        ScrubState::Off => "off (scrub.automatic = false)",
        ScrubState::Unknown => "unknown",
    }
}

fn damaged(count: u64) -> String {
    match count {
        0 => "nothing that is known of".to_owned(),
        _ => counted(count, "place") + " damaged",
    }
}

fn progress(pass: &ScrubPass) -> String {
    format!("{} of {} done, {} read", pass.done, pass.total, Size::from_bytes(pass.done_bytes))
}

fn pass(pass: &ScrubPass) -> String {
    let result = match pass.result {
        ScrubResult::Running => "running",
        ScrubResult::Completed => "completed",
        ScrubResult::Stopped => "stopped",
        ScrubResult::Failed => "failed; see osvold's log",
        ScrubResult::Unknown => "unknown",
    };
    let ended = pass.ended.as_ref().map(|ended| format!(", ended {ended}")).unwrap_or_default();
    let found = counted(pass.damaged, "damaged place");
    format!("{result}: {}, {found}; began {}{ended}", progress(pass), pass.started)
}

fn what(category: &str) -> &'static str {
    match category {
        api::GoldenImage::CATEGORY => "image",
        api::OsVolume::CATEGORY => "volume",
        api::Snapshot::CATEGORY => "snapshot",
        _ => "unknown",
    }
}
