//! `docs/PROTOCOL.md` tells the truth: its tables are made from the code's.
//!
//! `UPDATE_DOCS=1 cargo test -p iscsi --test protocol_page` writes them anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test may stop at the first surprise"
)]

use iscsi::text::{KEYS, Rule, Scope, Senders};
use iscsi::{ConnectionConfig, limits};
use std::fmt::Write as _;
use std::path::PathBuf;

fn page() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/PROTOCOL.md")
}

/// The page with the text between `<!-- name -->` and `<!-- /name -->` replaced.
fn with_table(page: &str, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = page.split_once(&begin).expect("a marker");
    let (_, after) = rest.split_once(&end).expect("a closing marker");
    format!("{before}{begin}{table}{end}{after}")
}

fn keys() -> String {
    let mut table = String::from(
        "| key | RFC 7143 | rule | holds for | sent by | default |\n|---|---|---|---|---|---|\n",
    );
    for row in KEYS {
        let rule = match row.rule {
            Rule::Declared => "declared".to_owned(),
            Rule::DeclaredNumber(low, high) => format!("declared, {low} to {high}"),
            Rule::Choice(values) => format!("the peer's first of {}", values.join(", ")),
            Rule::And => "Yes if both say Yes".to_owned(),
            Rule::Or => "Yes if one says Yes".to_owned(),
            Rule::Minimum(low, high) => format!("the smaller, {low} to {high}"),
            Rule::Maximum(low, high) => format!("the larger, {low} to {high}"),
            Rule::Obsolete(answer) => format!("obsolete: always {answer}"),
            Rule::Special => "an exchange of its own".to_owned(),
        };
        let scope = match row.scope {
            Scope::Session => "session",
            Scope::Connection => "connection",
        };
        let senders = match row.senders {
            Senders::Initiator => "initiator",
            Senders::Target => "target",
            Senders::Both => "both",
        };
        let default = if row.default.is_empty() { "-" } else { row.default };
        writeln!(table, "| {} | §{} | {rule} | {scope} | {senders} | {default} |", row.name, row.section)
            .unwrap();
    }
    table
}

fn bounds() -> String {
    let config = ConnectionConfig::default();
    let policy = &config.negotiation;
    let kib = |bytes: usize| format!("{} KiB", bytes / 1024);
    let rows = [
        ("data segment that we take in full feature phase", kib(limits::RECEIVE_SEGMENT_BYTES_MAX)),
        ("data segment that we take during login", kib(limits::LOGIN_SEGMENT_BYTES_MAX)),
        ("MaxBurstLength offered", kib(policy.burst_bytes_max as usize)),
        ("FirstBurstLength offered", kib(policy.first_burst_bytes_max as usize)),
        ("MaxOutstandingR2T offered", limits::OUTSTANDING_R2T_MAX.to_string()),
        ("command window of a session", config.tasks_max.to_string()),
        ("immediate commands beside it", limits::IMMEDIATE_TASKS_MAX.to_string()),
        ("task management requests at a time", limits::TASK_MANAGEMENT_MAX.to_string()),
        ("data of one write", kib(limits::WRITE_BYTES_MAX)),
        ("write data of one connection before its window closes", kib(config.buffered_bytes_max)),
        ("responses that wait before nothing more is read", kib(limits::TRANSMIT_BYTES_MAX)),
        ("text of one request, over its continuations", kib(limits::TEXT_BYTES_MAX)),
        ("keys in it", limits::TEXT_KEYS_MAX.to_string()),
        (
            "key name, value",
            format!("{}, {} bytes", limits::TEXT_KEY_BYTES_MAX, limits::TEXT_VALUE_BYTES_MAX),
        ),
        ("decoded CHAP value", format!("{} bytes", limits::CHAP_BINARY_BYTES_MAX)),
        ("additional header segments", format!("{} bytes", limits::AHS_BYTES_MAX)),
        ("requests of one login", limits::LOGIN_ROUNDS_MAX.to_string()),
        ("time for a login", format!("{} s", limits::LOGIN_TIME.as_secs())),
        ("sessions of a daemon", limits::SESSIONS_MAX.to_string()),
    ];
    let mut table = String::from("| what | limit |\n|---|---|\n");
    rows.iter().for_each(|(what, limit)| writeln!(table, "| {what} | {limit} |").unwrap());
    table
}

#[test]
fn the_tables_of_the_page_are_those_of_the_code() {
    let old = std::fs::read_to_string(page()).unwrap();
    let new = with_table(&with_table(&old, "keys", &keys()), "limits", &bounds());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(page(), &new).unwrap();
        return;
    }
    assert!(old == new, "docs/PROTOCOL.md is out of date: run with UPDATE_DOCS=1");
}
