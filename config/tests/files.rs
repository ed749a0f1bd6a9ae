//! Configuration files, good and bad, as an operator writes them.

#![expect(clippy::expect_used, reason = "a test that cannot go on panics")]

use std::path::Path;

use config::{Config, Fault, KEYS};

fn fault(text: &str) -> (usize, String) {
    let Fault { line, message } = Config::parse(text).expect_err(text);
    (line.unwrap_or_default(), message)
}

#[test]
fn every_example_loads() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let examples: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(examples.len() >= 2, "{examples:?}");
    for example in examples {
        Config::load(&example).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn the_full_example_names_every_key_with_its_default() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/full.toml")).unwrap();
    for key in KEYS {
        let (_, name) = key.path.rsplit_once('.').unwrap();
        let line = format!("{name} = {}", key.default);
        assert!(text.lines().any(|l| l == line), "full.toml lacks {line:?}");
    }
    assert_eq!(Config::parse(&text).unwrap(), Config::default());
}

#[test]
fn an_empty_file_is_all_defaults() {
    assert_eq!(Config::parse("").unwrap(), Config::default());
}

#[test]
fn an_unknown_key_names_its_line_and_the_nearest_key() {
    assert_eq!(
        fault("[iscsi]\nportals = [\"127.0.0.1:3260\"]\nname_prefx = \"x\"\n"),
        (3, r#"unknown key "name_prefx" in [iscsi]; did you mean "name_prefix"?"#.into())
    );
    assert_eq!(
        fault("[stor]\npath = \"/x\"\n"),
        (1, r#"unknown section or key "stor"; did you mean "store"?"#.into())
    );
    assert_eq!(
        fault("\n[store]\nportals = []\n"),
        (3, r#"unknown key "portals" in [store]; did you mean "iscsi.portals"?"#.into())
    );
    assert_eq!(
        fault("socket = \"/x\"\n"),
        (1, r#"unknown section or key "socket"; did you mean "control.socket"?"#.into())
    );
}

#[test]
fn a_section_that_is_a_value_is_told_so() {
    assert_eq!(fault("store = \"/x\"\n"), (1, "\"store\" is a section; write it as [store]".into()));
}

#[test]
fn a_value_of_a_wrong_kind_names_its_line() {
    for (text, line, says) in [
        ("[iscsi]\nportals = [\"localhost\"]\n", 2, "socket address"),
        ("[iscsi]\nportals = 3260\n", 2, "expected a sequence"),
        ("[images]\n\nsize_max = \"big\"\n", 3, "not a size"),
        ("[images]\nconvert_time_max = 60\n", 2, "a duration such as"),
        ("[images]\nconcurrent_max = -1\n", 2, "-1"),
        ("[store]\npath = \n", 2, ""),
        ("]]garbage", 1, ""),
    ] {
        let (at, message) = fault(text);
        assert_eq!(at, line, "{text}: {message}");
        assert!(message.contains(says), "{text}: {message}");
    }
}

#[test]
fn a_value_out_of_range_names_its_line_and_what_would_be_right() {
    for (text, line, says) in [
        ("[store]\npath = \"var\"\n", 2, "must be absolute"),
        ("[control]\nsocket = \"control.sock\"\n", 2, "must be absolute"),
        ("[iscsi]\n\nportals = []\n", 3, "at least one address"),
        ("[iscsi]\nportals = [\"127.0.0.1:1\", \"127.0.0.1:1\"]\n", 2, "given twice"),
        ("[iscsi]\nadvertise = [\"0.0.0.0:3260\"]\n", 2, "real address"),
        ("[iscsi]\nname_prefix = \"iqn.2026-13.io.osvol\"\n", 2, "iqn.2026-01.com.example"),
        ("[iscsi]\nname_prefix = \"IQN.2026-01.io.osvol\"\n", 2, "lower case"),
        ("[iscsi]\nallowed_addresses = [\"10.0.0.1/8\"]\n", 2, "did you mean 10.0.0.0/8?"),
        ("[iscsi]\nallowed_addresses = [\"lab\"]\n", 2, "write it as 10.0.0.0/8"),
        ("[iscsi]\nchap_algorithms = []\n", 2, "nobody could prove anything"),
        ("[iscsi]\nchap_algorithms = [\"SHA1\"]\n", 2, "SHA-1"),
        ("[iscsi.discovery]\nauthentication = \"CHAP\"\n", 2, "mutual-chap"),
        ("[iscsi.discovery]\nauthentication = \"chap\"\n", 2, "CHAP needs the name of a user"),
        ("[iscsi.discovery]\nauthentication = \"chap\"\nuser = \"a\"\n", 2, "CHAP needs a file"),
        ("[iscsi.discovery]\nuser = \"a\"\n", 2, "only with authentication = \"chap\""),
        ("[iscsi.discovery]\nsecret_file = \"/s\"\n", 2, "only with authentication = \"chap\""),
        (
            "[iscsi.discovery]\nauthentication = \"chap\"\nuser = \"a\"\nsecret_file = \"s\"\n",
            4,
            "must be absolute",
        ),
        (
            "[iscsi.discovery]\nauthentication = \"chap\"\nuser = \"a\"\nsecret_file = \"/s\"\nmutual_user = \"b\"\n",
            5,
            "mutual-chap",
        ),
        ("[iscsi.discovery]\ninitiators = [\"web01\"]\n", 2, "no iSCSI name"),
        ("[iscsi]\nname_prefix = \"iqn.2026-€.x\"\n", 2, "lower case"),
        ("[images]\nsize_max = 0\n", 2, "above zero"),
        ("[images]\nconvert_time_max = \"0s\"\n", 2, "1s"),
        ("[images]\nconcurrent_max = 0\n", 2, "1 or more"),
        ("[images]\nqemu_img = \"\"\n", 2, "empty"),
        ("[scrub]\npace = \"0\"\n", 2, "above zero"),
        ("[scrub]\ninterval = \"0s\"\n", 2, "1s"),
    ] {
        let (at, message) = fault(text);
        assert_eq!(at, line, "{text}: {message}");
        assert!(message.contains(says), "{text}: {message}");
    }
    let long = format!("[control]\nsocket = \"/{}\"\n", "x".repeat(107));
    assert!(fault(&long).1.contains("107"));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Path::new("/nonexistent/osvold.toml")).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the configuration /nonexistent/osvold.toml");
}

#[test]
fn a_fault_shows_file_and_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("osvold.toml");
    std::fs::write(&path, "[log]\nlevle = \"info\"\n").unwrap();
    let expected = format!(r#"{}:2: unknown key "levle" in [log]; did you mean "level"?"#, path.display());
    assert_eq!(Config::load(&path).unwrap_err().to_string(), expected);
}

#[test]
fn the_operators_reference_has_every_key() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/OPERATING.md")).unwrap();
    for key in KEYS {
        let row = format!("| `{}` | `{}` | {} |", key.path, key.default, key.about);
        assert!(text.lines().any(|line| line == row), "docs/OPERATING.md lacks {row:?}");
    }
}

#[test]
fn the_api_over_tls_has_its_own_section_below_control() {
    let config =
        Config::parse("[control.tls]\nlisten = [\"[::]:443\"]\nnames = [\"osvol.example.com\"]\n").unwrap();
    assert_eq!(config.control.tls.listen, ["[::]:443".parse().unwrap()]);
    assert_eq!(fault("[control]\ngroup = \"a b\"\n"), (2, "\"a b\" cannot be the name of a group".into()));
    assert_eq!(
        fault("[control.tls]\nlisten = []\nkye = \"/k\"\n"),
        (3, r#"unknown key "kye" in [control.tls]; did you mean "key"?"#.into())
    );
    let (line, message) = fault("[control]\n[control.tls]\ncertificate = \"/c\"\n");
    assert_eq!(line, 3, "{message}");
    assert!(message.contains("give control.tls.key as well"), "{message}");
    let (line, message) = fault("[control.tls]\ncertificate = \"c\"\nkey = \"/k\"\n");
    assert_eq!((line, message.contains("must be absolute")), (2, true), "{message}");
    let (line, message) = fault("[control.tls]\nnames = [\"a b\"]\n");
    assert_eq!((line, message.contains("neither a host name nor an address")), (2, true), "{message}");
    assert_eq!(fault("[control]\ntls = 443\n").0, 2);
    let (line, message) = fault("[control]\nothers = \"write\"\n");
    assert_eq!((line, message.contains("none")), (2, true), "{message}");
}
