//! docs/SCSI.md shows the table of commands as it is in the code.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failing test panics")]

use std::fmt::Write;
use std::path::Path;

use scsi::{Allowed, COMMANDS, CommandInfo, Medium};

const BEGIN: &str = "<!-- commands -->\n";
const END: &str = "<!-- /commands -->";

fn row(info: &CommandInfo) -> String {
    let action = info.service_action.map_or(String::new(), |action| format!("/{action:02X}"));
    let allowed = match info.allowed {
        Allowed::Always => "all",
        Allowed::AnyPersistent => "all persistent ones",
        Allowed::Reads => "Write Exclusive",
        Allowed::HolderOnly => "none",
    };
    let usage: String = info.usage.iter().skip(1).fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02X} ").unwrap();
        text
    });
    let (writes, name, opcode) =
        (if info.medium == Medium::Writing { "yes" } else { "" }, info.name, info.opcode);
    format!(
        "| {name} | {opcode:02X}{action} | {writes} | {allowed} | `{}` | {} |",
        usage.trim(),
        info.standard
    )
}

fn table() -> String {
    let head = "| command | code | writes | others' reservations | CDB bits known, from byte 1 | specified in |\n\
                |---|---|---|---|---|---|\n";
    COMMANDS.iter().fold(head.to_owned(), |text, info| text + &row(info) + "\n")
}

#[test]
fn the_table_in_the_document_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/SCSI.md");
    let text = std::fs::read_to_string(&path).expect("docs/SCSI.md");
    let (before, rest) = text.split_once(BEGIN).expect("the mark where the table begins");
    let (_, after) = rest.split_once(END).expect("the mark where it ends");
    let current = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("SCSI_MD").is_some_and(|value| value == "write") {
        std::fs::write(&path, &current).unwrap();
        return;
    }
    assert!(text == current, "docs/SCSI.md is not current: SCSI_MD=write cargo test -p scsi --test document");
}
