//! `requirements.tsv` tells the truth: every MUST, MUST NOT, REQUIRED and SHALL of RFC 7143 and RFC 7144, met where and
//! tested where, or left out and why. `docs/REQUIREMENTS.md` is made from it.
//!
//! `UPDATE_DOCS=1 cargo test -p iscsi --test requirements` writes the page anew.
//!
//! A line of the table: RFC, section, whose it is (target, initiator, left out, nobody), how many statements of that
//! section it stands for, what is required in our words, the file that meets it, a test of it, a note or the reason.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;

mod support;
use support::{root, sources};

/// Statements with one of the four words: in RFC 7143 of April 2014, and in RFC 7144.
const STATEMENTS: [(&str, usize); 2] = [("7143", 531), ("7144", 27)];
/// Where tests are.
const TESTS: [&str; 6] = ["iscsi/src", "iscsi/tests", "src/portal", "src/lun", "scsi", "config"];

struct Row<'a> {
    rfc: &'a str,
    section: &'a str,
    whose: &'a str,
    statements: usize,
    requirement: &'a str,
    file: &'a str,
    test: &'a str,
    note: &'a str,
}

fn table() -> String {
    std::fs::read_to_string(root().join("iscsi/requirements.tsv")).unwrap()
}

fn rows(table: &str) -> Vec<Row<'_>> {
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let [rfc, section, whose, statements, requirement, file, test, note] = columns[..] else {
                panic!("eight columns: {line}")
            };
            let statements = statements.parse().unwrap_or_else(|_| panic!("a number of statements: {line}"));
            Row { rfc, section, whose, statements, requirement, file, test, note }
        })
        .collect()
}

/// Does the text cite the section, and not just one whose number begins like it?
fn cites(text: &str, section: &str) -> bool {
    if section.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return text.contains(&format!("Appendix {section}"));
    }
    text.match_indices(&format!("§{section}")).any(|(at, found)| {
        let rest = &text.as_bytes()[at + found.len()..];
        let goes_on = match rest {
            [b'.', next, ..] => next.is_ascii_digit(),
            [next, ..] => next.is_ascii_alphanumeric(),
            [] => false,
        };
        !goes_on
    })
}

/// A file of `wire/` is one PDU's, and cites its section (§11.4) for all of those below.
fn is_cited(row: &Row<'_>, text: &str) -> bool {
    let pdu: Vec<&str> = row.section.splitn(3, '.').take(2).collect();
    cites(text, row.section)
        || row.file.contains("/wire/") && row.rfc == "7143" && cites(text, &pdu.join("."))
}

#[test]
fn what_is_met_is_cited_beside_the_code_and_tested() {
    let (table, root) = (table(), root());
    let tests: String = TESTS.iter().map(|folder| sources(&root.join(folder))).collect();
    let mut wrong = String::new();
    for row in rows(&table).iter().filter(|row| row.whose == "target") {
        let place = format!("RFC {} §{} ({})", row.rfc, row.section, row.requirement);
        match std::fs::read_to_string(root.join(row.file)) {
            Ok(text) if is_cited(row, &text) => {}
            Ok(_) => writeln!(wrong, "{place}: {} does not cite it", row.file).unwrap(),
            Err(_) => writeln!(wrong, "{place}: there is no file {:?}", row.file).unwrap(),
        }
        // Tests of proptest have parameters.
        if row.test.is_empty() || !tests.contains(&format!("fn {}(", row.test)) {
            writeln!(wrong, "{place}: there is no test {:?}", row.test).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_is_left_out_has_a_reason() {
    let table = table();
    for row in rows(&table) {
        let place = format!("RFC {} §{}", row.rfc, row.section);
        let is_met = !row.file.is_empty() || !row.test.is_empty();
        match row.whose {
            "target" => assert!(!row.requirement.is_empty(), "{place}"),
            "left out" => {
                assert!(!is_met && !row.requirement.is_empty() && !row.note.is_empty(), "{place}");
            }
            "nobody" => assert!(!is_met && !row.requirement.is_empty(), "{place}"),
            "initiator" => assert!(!is_met, "{place}"),
            other => panic!("{place}: {other:?}"),
        }
    }
}

/// Nothing is missing, and nothing stands twice.
#[test]
fn all_statements_are_accounted_for() {
    let table = table();
    for (rfc, expected) in STATEMENTS {
        let rows: Vec<_> = rows(&table).into_iter().filter(|row| row.rfc == rfc).collect();
        assert_eq!(rows.iter().map(|row| row.statements).sum::<usize>(), expected, "RFC {rfc}");
        let mut seen = BTreeMap::new();
        for row in &rows {
            let again = seen.insert((row.section, row.whose, row.requirement), ());
            assert!(again.is_none(), "RFC {rfc} §{} {:?} stands twice", row.section, row.requirement);
        }
    }
}

/// §6.1 is not cited by §6.10, nor by §6.1.3.
#[test]
fn a_citation_is_of_the_whole_number() {
    assert!(cites("(§6.1)", "6.1") && cites("§6.1.\n", "6.1") && cites("§6.1", "6.1"));
    assert!(!cites("§6.10 §6.1.3", "6.1"));
    assert!(cites("RFC 7143 Appendix C", "C"));
}

const HEAD: &str = "# iSCSI: every requirement

Each MUST, MUST NOT, REQUIRED and SHALL of RFC 7143 (April 2014) and RFC 7144, in our own words: which file meets it, and
a test of it; or why it is left out. A test checks that each file is there and cites the section, that each test is there,
and that no statement of the standards is missing. Made from `iscsi/requirements.tsv`; do not edit here.

";

fn page() -> String {
    let table = table();
    let rows = rows(&table);
    let count =
        |whose| -> usize { rows.iter().filter(|row| row.whose == whose).map(|row| row.statements).sum() };
    let mut page = String::from(HEAD);
    page += "| statements | |\n|---|---|\n";
    for (whose, what) in [
        ("target", "met and tested"),
        ("left out", "left out, each with its reason"),
        ("initiator", "of initiators alone"),
        ("nobody", "of nobody here: words, makers of extensions, operators"),
    ] {
        writeln!(page, "| {} | {what} |", count(whose)).unwrap();
    }
    for (rfc, _) in STATEMENTS {
        let of_rfc =
            |whose: &'static str| rows.iter().filter(move |row| row.rfc == rfc && row.whose == whose);
        writeln!(page, "\n## RFC {rfc}: met\n\n| § | requirement | met in | tested by |\n|---|---|---|---|")
            .unwrap();
        for row in of_rfc("target") {
            let note = if row.note.is_empty() { String::new() } else { format!(" ({})", row.note) };
            writeln!(
                page,
                "| {} | {}{note} | `{}` | `{}` |",
                row.section, row.requirement, row.file, row.test
            )
            .unwrap();
        }
        if of_rfc("left out").next().is_some() {
            writeln!(page, "\n## RFC {rfc}: left out\n\n| § | requirement | why |\n|---|---|---|").unwrap();
        }
        for row in of_rfc("left out") {
            writeln!(page, "| {} | {} | {} |", row.section, row.requirement, row.note).unwrap();
        }
        let sections: Vec<&str> = of_rfc("initiator").map(|row| row.section).collect();
        writeln!(page, "\n## RFC {rfc}: of initiators\n\n§{}.", sections.join(", §")).unwrap();
        writeln!(page, "\n## RFC {rfc}: of nobody here\n").unwrap();
        for row in of_rfc("nobody") {
            writeln!(page, "- §{}: {}", row.section, row.requirement).unwrap();
        }
    }
    page
}

#[test]
fn the_page_is_made_from_the_table() {
    let path = root().join("docs/REQUIREMENTS.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        return std::fs::write(path, page()).unwrap();
    }
    let old = std::fs::read_to_string(path).unwrap_or_default();
    assert!(old == page(), "docs/REQUIREMENTS.md is out of date: run with UPDATE_DOCS=1");
}
