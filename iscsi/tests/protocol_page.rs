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

mod support;
use support::{root, sources};

fn page() -> PathBuf {
    root().join("docs/PROTOCOL.md")
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

/// What is bounded, by how much, what happens there, and a test of it.
fn bounds() -> String {
    let config = ConnectionConfig::default();
    let policy = &config.negotiation;
    let kib = |bytes: usize| format!("{} KiB", bytes / 1024);
    let mib = |bytes: usize| format!("{} MiB", bytes >> 20);
    let seconds = |time: std::time::Duration| format!("{} s", time.as_secs());
    let dead = limits::KEEPALIVE_IDLE + limits::KEEPALIVE_INTERVAL * limits::KEEPALIVE_PROBES;
    let rows = [
        (
            "data segment that we take in full feature phase",
            kib(limits::RECEIVE_SEGMENT_BYTES_MAX),
            "the session ends",
            "a_segment_longer_than_ours_ends_the_connection_before_it_is_kept",
        ),
        (
            "data segment that we take during login",
            kib(limits::LOGIN_SEGMENT_BYTES_MAX),
            "the connection ends",
            "a_segment_of_just_the_limit_passes_and_one_byte_more_does_not",
        ),
        (
            "MaxBurstLength offered",
            kib(policy.burst_bytes_max as usize),
            "negotiated down",
            "every_rule_of_the_table",
        ),
        (
            "FirstBurstLength offered",
            kib(policy.first_burst_bytes_max as usize),
            "negotiated down",
            "a_first_burst_is_never_longer_than_a_burst",
        ),
        (
            "MaxOutstandingR2T offered",
            limits::OUTSTANDING_R2T_MAX.to_string(),
            "negotiated down",
            "every_rule_of_the_table",
        ),
        (
            "command window of a session",
            config.tasks_max.to_string(),
            "the window closes",
            "the_window_closes_when_it_is_full_and_opens_with_a_response",
        ),
        (
            "immediate commands beside it",
            limits::IMMEDIATE_TASKS_MAX.to_string(),
            "Reject 06h",
            "immediate_commands_go_past_the_window_up_to_their_own_limit",
        ),
        (
            "task management requests at a time",
            limits::TASK_MANAGEMENT_MAX.to_string(),
            "Reject",
            "too_many_requests_are_rejected",
        ),
        (
            "data of one write",
            kib(limits::WRITE_BYTES_MAX),
            "no more is solicited; the SCSI layer refuses longer commands",
            "of_a_write_above_the_cap_no_more_than_that_is_solicited",
        ),
        (
            "write data of one connection",
            kib(config.buffered_bytes_max),
            "the window closes",
            "unsolicited_writes_close_the_window_before_they_fill_memory",
        ),
        (
            "responses of one connection that wait",
            kib(limits::TRANSMIT_BYTES_MAX),
            "nothing more is read from it",
            "a_flood_of_pings_stops_at_the_transmit_limit",
        ),
        (
            "text of one request, over its continuations",
            kib(limits::TEXT_BYTES_MAX),
            "status 03 02, or Reject",
            "a_text_without_end_is_cut_off",
        ),
        ("keys in it", limits::TEXT_KEYS_MAX.to_string(), "status 02 00, or Reject", "malformed_texts"),
        (
            "key name, value",
            format!("{}, {} bytes", limits::TEXT_KEY_BYTES_MAX, limits::TEXT_VALUE_BYTES_MAX),
            "status 02 00, or Reject",
            "a_key_of_63_bytes_passes_and_of_64_does_not",
        ),
        (
            "decoded CHAP value",
            format!("{} bytes", limits::CHAP_BINARY_BYTES_MAX),
            "the login is refused",
            "the_longest_binary_passes_and_one_byte_more_does_not",
        ),
        (
            "additional header segments",
            format!("{} bytes", limits::AHS_BYTES_MAX),
            "the connection ends",
            "a_segment_of_just_the_limit_passes_and_one_byte_more_does_not",
        ),
        (
            "requests of one login",
            limits::LOGIN_ROUNDS_MAX.to_string(),
            "status 02 00",
            "a_peer_that_plays_for_time_is_refused",
        ),
        (
            "time for a login",
            seconds(limits::LOGIN_TIME),
            "the connection ends",
            "a_login_that_does_not_come_times_out",
        ),
        (
            "sessions of a daemon",
            limits::SESSIONS_MAX.to_string(),
            "status 03 02",
            "a_full_table_refuses_the_newest_but_still_reinstates",
        ),
        (
            "connections of a daemon",
            limits::CONNECTIONS_MAX.to_string(),
            "the newest is closed",
            "connections_are_limited_in_all_and_the_newest_is_refused",
        ),
        (
            "connections from one address",
            limits::CONNECTIONS_PER_ADDRESS_MAX.to_string(),
            "the newest is closed",
            "one_address_never_has_all_connections",
        ),
        (
            "connections in login, in all",
            limits::HALF_OPEN_MAX.to_string(),
            "the address with the most makes room",
            "who_has_most_half_open_connections_makes_room_for_others",
        ),
        (
            "connections in login, from one address",
            limits::HALF_OPEN_PER_ADDRESS_MAX.to_string(),
            "the oldest that has not said a word makes room",
            "the_oldest_that_said_nothing_makes_room",
        ),
        (
            "write data and waiting responses of all connections",
            mib(limits::DATA_BYTES_HIGH),
            "each connection gets 1 MiB for writes, and windows close",
            "shares_shrink_above_the_first_limit_and_grow_again",
        ),
        (
            "the same, where windows are open still",
            mib(limits::DATA_BYTES_MAX),
            "each connection may bring one write at a time, others get TASK SET FULL",
            "while_there_is_no_memory_one_write_is_taken_at_a_time",
        ),
        (
            "commands of one connection that wait for the disk",
            limits::JOBS_PER_CONNECTION_MAX.to_string(),
            "further ones wait",
            "a_connection_has_so_many_threads_and_few_when_all_have_many",
        ),
        (
            "such commands of all connections",
            limits::JOBS_HIGH.to_string(),
            "each connection gets 4",
            "a_connection_has_so_many_threads_and_few_when_all_have_many",
        ),
        ("silence of a host that has died", seconds(dead), "the session ends", "hostile.py"),
        ("the same, with data on its way", seconds(limits::USER_TIMEOUT), "the session ends", "hostile.py"),
        (
            "lines of the log about sessions that come and go",
            format!(
                "{} at once, then {} a second",
                limits::SESSION_LINES,
                1000 / limits::SESSION_LINES_EVERY.as_millis()
            ),
            "`unsaid` of the next counts what was left out",
            "a_flood_is_cut_down_and_counted",
        ),
        (
            "lines about refused logins and broken sessions",
            format!(
                "{} at once, then {} a second",
                limits::FAULT_LINES,
                1000 / limits::FAULT_LINES_EVERY.as_millis()
            ),
            "the same",
            "a_flood_is_cut_down_and_counted",
        ),
    ];
    let mut table = String::from("| what | limit | there | tested by |\n|---|---|---|---|\n");
    for (what, limit, there, test) in rows {
        writeln!(table, "| {what} | {limit} | {there} | `{test}` |").unwrap();
    }
    table
}

/// A limit without a test is a promise.
#[test]
fn every_limit_names_a_test_that_exists() {
    let root = root();
    let sources = sources(&root.join("iscsi/src")) + &sources(&root.join("src"));
    for row in bounds().lines().skip(2) {
        let test = row.split('`').rev().nth(1).unwrap();
        let exists = sources.contains(&format!("fn {test}(")) || root.join("tests").join(test).is_file();
        assert!(exists, "{row}");
    }
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
