//! Servers and profiles from the command line, against a real osvold.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on panics")]

mod support;

use serde_json::{Value, json};
use support::{Daemon, directory};

/// A daemon with two enclosures, servers in them, and a deployment plan for empty volumes of 16 MiB.
fn estate(directory: &std::path::Path) -> Daemon {
    let daemon = Daemon::start(directory);
    daemon.done(&["hardware-type", "create", "vm", "--model", "QEMU"]);
    daemon.done(&["hardware-type", "create", "large"]);
    for group in ["eg1", "eg2"] {
        daemon.done(&["enclosure-group", "create", group]);
    }
    daemon.done(&["enclosure", "create", "e1", "--group", "eg1"]);
    daemon.done(&["enclosure", "create", "e2", "--group", "eg1"]);
    for (name, of_type, enclosure) in
        [("bay1", "vm", "e1"), ("bay2", "vm", "e1"), ("large", "large", "e1"), ("rack 2, bay 3", "vm", "e2")]
    {
        daemon.done(&[
            "hardware",
            "add",
            name,
            "--type",
            of_type,
            "--enclosure",
            enclosure,
            "--power",
            "off",
        ]);
    }
    let attributes = json!([
        {"name": "VolumeSize", "type": "number", "value": "16"},
        {"name": "HostName", "type": "hostname", "value": "none"},
        {"name": "Secret", "type": "password", "value": "initial"},
    ]);
    let build = json!({"name": "empty", "oeBuildPlanType": "deploy", "buildStep": [], "customAttributes": attributes});
    made(daemon.api("POST /rest/build-plans", &build));
    let plan = json!({"type": "OEDeploymentPlan", "name": "empty disk", "hpProvided": "false", "oeBuildPlanURI": "empty"});
    made(daemon.api("POST /rest/deployment-plans", &plan));
    daemon
}

fn made((status, body): (u16, Value)) -> Value {
    assert!(matches!(status, 200 | 201), "{status}: {body}");
    body
}

fn volume_of(daemon: &Daemon, profile: &str) -> Value {
    daemon.json(&["profile", "show", profile])["osDeploymentSettings"]["osVolumeUri"].clone()
}

#[test]
fn the_volume_stays_where_it_can_be_reached_and_is_made_anew_where_not() {
    let directory = directory();
    let daemon = estate(directory.path());
    let said = daemon.done(&["profile", "create", "web01", "--plan", "empty disk", "--hardware", "bay1"]);
    assert_eq!(said, "profile web01 created; its volume is OSVolume-1\n");
    let first = volume_of(&daemon, "web01");

    daemon.done(&["profile", "unassign", "web01"]);
    daemon.done(&["profile", "assign", "web01", "--hardware", "bay2"]);
    daemon.done(&["enclosure", "move", "e1", "--to", "eg2"]);
    assert_eq!(volume_of(&daemon, "web01"), first, "rows 1 and 2: retained");

    let elsewhere = ["profile", "assign", "web01", "--hardware", "rack 2, bay 3"];
    let shown = daemon.done(&[&elsewhere[..], &["--dry-run"]].concat());
    assert!(shown.contains("OSVolume-1 is replaced") && shown.contains("Nothing was changed."), "{shown}");
    let refused = daemon.refused(&elsewhere);
    assert!(refused.contains("(rule 4)") && refused.contains("nothing was changed"), "{refused}");
    assert!(refused.contains("give --yes to proceed"), "{refused}");
    assert_eq!(volume_of(&daemon, "web01"), first, "nothing was changed");
    daemon.done(&[&elsewhere[..], &["--yes"]].concat());
    let second = volume_of(&daemon, "web01");
    assert_ne!(second, first, "row 4: made anew");

    daemon.done(&["profile", "assign", "web01", "--hardware", "large", "--yes"]);
    assert_ne!(volume_of(&daemon, "web01"), second, "row 5: another type of server");
    let generations = daemon.json(&["profile", "generations", "web01"]);
    assert_eq!(generations.as_array().unwrap().len(), 2, "{generations}");

    daemon.done(&["profile", "unassign", "web01"]);
    assert!(daemon.refused(&["enclosure", "remove", "e1"]).contains("(rule 3)"));
    daemon.done(&["enclosure", "remove", "e1", "--yes"]);
    assert_eq!(volume_of(&daemon, "web01"), Value::Null, "row 3: gone with its enclosure");
    let list = daemon.json(&["hardware", "list"]);
    assert_eq!(list["total"], 4, "the servers stay: {list}");
}

#[test]
fn a_profile_waits_for_a_server_and_is_edited_by_name() {
    let directory = directory();
    let daemon = estate(directory.path());
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "hunter2-hunter2\n").unwrap();
    let secret = format!("Secret={}", secret.display());
    let said = daemon.done(&[
        "profile",
        "create",
        "my web server",
        "--plan",
        "empty disk",
        "--attribute",
        "HostName=web",
        "--attribute-file",
        &secret,
    ]);
    assert!(said.contains("pending assignment"), "{said}");
    daemon.done(&["profile", "assign", "my web server", "--hardware", "bay1"]);
    let shown = daemon.done(&["profile", "show", "my web server"]);
    assert!(shown.contains("HostName = web") && shown.contains("Secret = (not shown)"), "{shown}");
    assert!(!daemon.done(&["profile", "show", "my web server", "--json"]).contains("hunter2"));

    // What the server gave is no wish when it comes back: the whole profile, as it was read.
    let before = daemon.json(&["profile", "show", "my web server"]);
    let (status, task) = daemon.api(&format!("PUT {}", before["uri"].as_str().unwrap()), &before);
    assert_eq!(status, 202, "{task}");
    daemon.done(&["task", "follow", task["id"].as_str().unwrap()]);
    let after = daemon.json(&["profile", "show", "my web server"]);
    assert_eq!(after["osDeploymentSettings"], before["osDeploymentSettings"], "nothing was made anew");

    daemon.done(&["profile", "edit", "my web server", "--rename", "web 01", "--description", "front"]);
    assert_eq!(volume_of(&daemon, "web 01"), before["osDeploymentSettings"]["osVolumeUri"], "row 12");
    let change = ["profile", "edit", "web 01", "--attribute", "HostName=web02"];
    assert!(daemon.refused(&change).contains("(rule 9)"));
    daemon.done(&["hardware", "power", "bay1", "on"]);
    let words = daemon.refused(&[&change[..], &["--yes"]].concat());
    assert!(words.contains("recorded as powered on") && words.contains("--while-in-use"), "{words}");
    daemon.done(&["hardware", "power", "bay1", "off"]);
    daemon.done(&[&change[..], &["--yes"]].concat());
    assert!(
        daemon
            .refused(&["profile", "edit", "web 01", "--attribute", "HostName=a.b", "-y"])
            .contains("HostName")
    );
    daemon.done(&["profile", "rollback", "web 01", "1"]);
    assert_eq!(volume_of(&daemon, "web 01"), before["osDeploymentSettings"]["osVolumeUri"], "rolled back");

    assert!(daemon.refused(&["profile", "redeploy", "web 01"]).contains("is replaced by a new one"));
    daemon.done(&["profile", "redeploy", "web 01", "--yes"]);
    assert_ne!(volume_of(&daemon, "web 01"), before["osDeploymentSettings"]["osVolumeUri"], "as new");

    daemon.done(&["profile", "remove", "web 01", "--yes"]);
    assert_eq!(daemon.json(&["volume", "list"])["total"], 0);
    assert!(daemon.done(&["task", "list"]).contains("Delete"));
}

#[test]
fn a_confirmation_is_for_what_was_shown_and_nothing_else() {
    let directory = directory();
    let daemon = estate(directory.path());
    daemon.done(&["profile", "create", "web01", "--plan", "empty disk", "--hardware", "bay1"]);
    let uri = daemon.json(&["profile", "show", "web01"])["uri"].as_str().unwrap().to_owned();
    let (status, refusal) = daemon.api(&format!("DELETE {uri}"), &Value::Null);
    assert_eq!((status, &refusal["errorCode"]), (409, &json!("CONFIRMATION_REQUIRED")), "{refusal}");
    let token = refusal["impact"]["confirmationToken"].as_str().unwrap().to_owned();
    daemon.done(&["profile", "unassign", "web01"]);
    let (status, stale) = daemon.api(&format!("DELETE {uri}?confirmationToken={token}"), &Value::Null);
    assert_eq!((status, &stale["errorSource"]), (412, &json!("confirmationToken")), "{stale}");
    let token = stale["impact"]["confirmationToken"].as_str().unwrap();
    let (status, task) = daemon.api(&format!("DELETE {uri}?confirmationToken={token}"), &Value::Null);
    assert_eq!((status, &task["name"]), (202, &json!("Delete")), "{task}");
    daemon.done(&["task", "follow", task["id"].as_str().unwrap()]);
    assert!(daemon.refused(&["profile", "show", "web01"]).contains("osvol profile list"));
}

#[test]
fn a_profiles_volume_is_not_touched_behind_the_rules_back() {
    let directory = directory();
    let daemon = estate(directory.path());
    daemon.done(&["profile", "create", "web01", "--plan", "empty disk", "--hardware", "bay1"]);
    assert!(daemon.refused(&["volume", "create", "OSVolume-9", "--size", "1MiB"]).contains("another form"));
    let words = daemon.refused(&["volume", "remove", "OSVolume-1"]);
    assert!(
        words.contains("the disk of profile \"web01\"") && words.contains("osvol profile remove web01"),
        "{words}"
    );
    daemon.done(&["snapshot", "create", "OSVolume-1", "s1"]);
    assert!(daemon.refused(&["snapshot", "rollback", "OSVolume-1", "s1"]).contains("cannot be rolled back"));
    daemon.done(&["volume", "grow", "OSVolume-1", "32MiB"]);
    daemon.done(&["volume", "set", "OSVolume-1", "--quota", "8MiB"]);
    let shown = daemon.done(&["volume", "show", "OSVolume-1"]);
    assert!(shown.contains("web01, generation 1, for iqn.2015-02.com.hpe:oneview-"), "{shown}");
    let volume = daemon.json(&["volume", "show", "OSVolume-1"]);
    assert_eq!((&volume["state"], &volume["profileName"]), (&json!("Attached"), &json!("web01")));
    let (_, server) =
        daemon.api(&format!("GET {}", volume["statelessServerUri"].as_str().unwrap()), &Value::Null);
    assert_eq!(server["serverProfileName"], "web01", "{server}");
    for name in ["OSVolume-1", volume["id"].as_str().unwrap()] {
        let (status, log) = daemon.request(&format!("GET /rest/os-volumes/archive/{name}"), b"");
        assert!(status == 200 && log.contains("Create, asked by"), "{log}");
    }
    daemon.done(&["profile", "unassign", "web01"]);
    assert_eq!(daemon.json(&["volume", "show", "OSVolume-1"])["state"], "Ready");
}

#[test]
fn what_is_in_use_stays_and_addresses_are_one_servers() {
    let directory = directory();
    let daemon = estate(directory.path());
    daemon.done(&[
        "hardware",
        "edit",
        "bay1",
        "--mac",
        "52-54-00-00-00-01",
        "--initiator",
        "iqn.2026-01.com.x:bay1",
    ]);
    let add = ["hardware", "add", "bay9", "--type", "vm"];
    assert!(daemon.refused(&[&add[..], &["--mac", "525400000001"]].concat()).contains("is that of \"bay1\""));
    assert!(
        daemon.refused(&[&add[..], &["--initiator", "IQN.2026-01.com.x:BAY1"]].concat()).contains("bay1")
    );
    assert!(daemon.refused(&[&add[..], &["--initiator", "bay9"]].concat()).contains("no iSCSI name"));
    assert!(daemon.refused(&["hardware-type", "remove", "vm"]).contains("in use by server hardware"));
    assert!(daemon.refused(&["enclosure-group", "remove", "eg1"]).contains("logical enclosure \"e1\""));

    daemon.done(&["profile", "create", "web01", "--plan", "empty disk", "--hardware", "bay1"]);
    assert!(daemon.done(&["profile", "list"]).contains("iqn.2026-01.com.x:bay1"), "the server's own name");
    for change in [&["--type", "large"][..], &["--enclosure", "e2"], &["--initiator", "none"]] {
        let words = daemon.refused(&[&["hardware", "edit", "bay1"][..], change].concat());
        assert!(words.contains("in use by server profile \"web01\""), "{words}");
    }
    daemon.done(&["hardware", "edit", "bay1", "--description", "left of the door", "--bay", "7"]);
    assert!(daemon.refused(&["hardware", "remove", "bay1"]).contains("unassign it first"));
    assert!(daemon.refused(&["enclosure-group", "edit", "eg1", "--deployment", "false"]).contains("web01"));
    let (_, free) = daemon.api("GET /rest/server-profiles/available-targets", &Value::Null);
    assert_eq!(free["targets"].as_array().unwrap().len(), 3, "{free}");
    let other = ["profile", "create", "web02", "--plan", "empty disk", "--hardware", "bay1"];
    assert!(daemon.refused(&other).contains("in use by server profile \"web01\""));

    daemon.done(&["enclosure-group", "create", "bare", "--no-deployment"]);
    daemon.done(&["enclosure", "create", "e3", "--group", "bare"]);
    daemon.done(&["hardware", "add", "bay8", "--type", "vm", "--enclosure", "e3"]);
    let words = daemon.refused(&["profile", "create", "web03", "--plan", "empty disk", "--hardware", "bay8"]);
    assert!(words.contains("does not manage OS deployment"), "{words}");
    daemon.done(&["hardware", "add", "host", "--type", "vm"]);
    daemon.done(&["profile", "create", "web04", "--plan", "empty disk", "--hardware", "host"]);
}

#[test]
fn chap_is_set_from_files_and_never_read_back() {
    let directory = directory();
    let daemon = estate(directory.path());
    let file = directory.path().join("chap");
    std::fs::write(&file, "a-secret-of-16-b\n").unwrap();
    let file = file.to_str().unwrap();
    daemon.done(&["profile", "create", "web01", "--chap", "web01", "--chap-secret-file", file]);
    let chap = daemon.json(&["profile", "show", "web01"])["iscsiChap"].clone();
    assert_eq!((&chap["chapLevel"], &chap["chapSecret"]), (&json!("Chap"), &Value::Null), "{chap}");
    daemon.done(&["profile", "edit", "web01", "--description", "x"]);
    assert_eq!(daemon.json(&["profile", "show", "web01"])["iscsiChap"], chap, "an edit keeps it");
    daemon.done(&["profile", "edit", "web01", "--chap", "none"]);
    assert_eq!(daemon.json(&["profile", "show", "web01"])["iscsiChap"]["chapLevel"], "None");
    std::fs::write(directory.path().join("chap"), "short").unwrap();
    let words = daemon.refused(&["profile", "edit", "web01", "--chap", "web01", "--chap-secret-file", file]);
    assert!(words.contains("chapSecret"), "{words}");
}

#[test]
fn a_plan_is_looked_through_tried_out_and_succeeded_while_a_profile_uses_it() {
    let directory = directory();
    let daemon = estate(directory.path());
    let file = directory.path().join("hello.plan");
    std::fs::write(&file, "echo \"Hello @Who:nobody@, @Pw@\"\n").unwrap();
    let file = support::text(&file);
    daemon.done(&["plan", "script", "create", "hello", file]);
    let attributes = json!([
        {"name": "VolumeSize", "type": "number", "value": "16"},
        {"name": "Pw", "type": "password", "value": "hidden-value"},
    ]);
    let steps = json!([{"serialNumber": "1", "planScriptName": "hello"}]);
    let build = json!({"name": "greet", "oeBuildPlanType": "deploy", "buildStep": steps, "customAttributes": attributes});
    made(daemon.api("POST /rest/build-plans", &build));
    daemon.done(&["plan", "create", "greeting", "--build-plan", "greet"]);

    // Mistakes are told without running anything, and by exit code.
    assert!(!daemon.done(&["plan", "lint", file]).contains("error:"));
    let broken = directory.path().join("broken.plan");
    std::fs::write(&broken, "upload -<<END /x\n").unwrap();
    let refused = daemon.refused(&["plan", "lint", support::text(&broken)]);
    assert!(refused.contains("1 error found"), "{refused}");
    daemon.done(&["plan", "lint", "--plan", "greeting"]);

    // Tried out: nothing is left but the log, in which there is no password.
    let said = daemon.done(&["plan", "try", "greeting", "--set", "Who=world"]);
    assert!(said.contains("Hello world, ********") && said.contains("took"), "{said}");
    assert_eq!(daemon.json(&["volume", "list"])["total"], 0);
    daemon.done(&["plan", "try", "greeting", "--keep", "look"]);
    assert_eq!(daemon.json(&["volume", "show", "look"])["name"], "look");
    let refused = daemon.refused(&["plan", "try", "greeting", "--set", "Nobody=x"]);
    assert!(refused.contains("has no attribute \"Nobody\""), "{refused}");

    // In use: its script gets a successor, and so do the plans over it.
    daemon.done(&["profile", "create", "web01", "--plan", "greeting", "--hardware", "bay1"]);
    let log = daemon.done(&["volume", "log", "OSVolume-3"]);
    assert!(log.contains("Hello nobody, ********") && !log.contains("hidden-value"), "{log}");
    daemon.refused(&["plan", "script", "edit", "hello", "--description", "x"]);
    let said = daemon.done(&["plan", "script", "revise", "hello", "--with-users"]);
    assert!(said.contains("greeting (2) succeeds greeting"), "{said}");
    daemon.done(&["plan", "script", "edit", "hello (2)", "--description", "x"]);
    let plan = daemon.json(&["plan", "show", "greeting (2)"]);
    assert_eq!(plan["revisionOf"], daemon.json(&["plan", "show", "greeting"])["uri"]);
    let said = daemon.done(&["plan", "try", "greeting (2)"]);
    assert!(said.contains("Hello nobody, ********"), "passwords go along: {said}");

    let log = daemon.log();
    drop(daemon.stop());
    assert!(!log.contains("hidden-value"));
    for entry in std::fs::read_dir(directory.path().join("store/catalog")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = if path.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        assert!(!bytes.windows(12).any(|window| window == b"hidden-value"), "{}", path.display());
    }
}
