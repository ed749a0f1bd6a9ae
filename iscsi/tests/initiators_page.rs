//! docs/INITIATORS.md names tests that exist.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod support;
use support::{root, sources};

/// Is there such a test? `name` of a Rust test, or `file` "case".
fn exists(test: &str, rust: &str) -> bool {
    let Some((file, case)) = test.split_once("` \"") else {
        return rust.contains(&format!("fn {}(", test.trim_matches('`')));
    };
    let text = std::fs::read_to_string(root().join(file.trim_start_matches('`'))).unwrap_or_default();
    text.contains(case.trim_end_matches('"'))
}

#[test]
fn every_row_names_tests_that_exist() {
    let page = std::fs::read_to_string(root().join("docs/INITIATORS.md")).unwrap();
    let rust: String = ["iscsi/src", "iscsi/tests", "scsi/tests", "src"]
        .iter()
        .map(|folder| sources(&root().join(folder)))
        .collect();
    let rows: Vec<&str> =
        page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what they do")).collect();
    assert!(rows.len() > 30, "{} rows", rows.len());
    for row in rows {
        let tests = row.trim_end_matches(" |").rsplit_once(" | ").unwrap().1;
        for test in tests.split(", `").map(|test| test.trim_start_matches('`')) {
            assert!(exists(test, &rust), "{row}\nthere is no test {test:?}");
        }
    }
}
