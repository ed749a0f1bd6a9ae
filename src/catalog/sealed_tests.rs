//! Passwords on disk: nowhere in clear text, neither after a migration nor in copies; and what holds without the key.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use uuid::Uuid;

use super::schema::{APPLICATION_ID, MIGRATIONS};
use super::*;
use crate::catalog::profiles::{Attribute, Profile};

const SECRETS: [&str; 5] = ["of-a-build-plan", "of-a-plan", "of-a-profile", "of-a-volume", "of-chap-0123"];

/// Which of the secrets are in a directory's files, and in which.
fn found_in(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        for secret in SECRETS {
            if bytes.windows(secret.len()).any(|window| window == secret.as_bytes()) {
                found.push(format!("{secret} in {}", path.display()));
            }
        }
    }
    found
}

const PLAN: Uuid = Uuid::from_u128(2);
const PROFILE: Uuid = Uuid::from_u128(3);
const VOLUME: u128 = 4;

/// A catalog of version 1, its secrets in clear text.
fn of_version_1(directory: &Path) {
    let file = directory.join("catalog.sqlite");
    let catalog = Connection::open(&file).unwrap();
    MIGRATIONS[0].iter().for_each(|sql| catalog.execute_batch(sql).unwrap());
    let envelope = "name, created_ms, modified_ms, revision";
    let password = |value: &str| {
        format!(
            r#"[{{"name":"P","type":"password","value":"{value}","description":"","constraints":"{{}}"}}]"#
        )
    };
    let value = |value: &str| format!(r#"[{{"name":"P","value":"{value}"}}]"#);
    catalog
        .execute(
            &format!("INSERT INTO build_plans (id, {envelope}, plan_type, attributes) VALUES (?1, 'b', 1, 1, 1, 'deploy', ?2)"),
            [Uuid::from_u128(1).to_string(), password(SECRETS[0])],
        )
        .unwrap();
    catalog
        .execute(
            &format!("INSERT INTO deployment_plans (id, {envelope}, build_plan_id, attributes) VALUES (?1, 'd', 1, 1, 1, ?2, ?3)"),
            [PLAN.to_string(), Uuid::from_u128(1).to_string(), password(SECRETS[1])],
        )
        .unwrap();
    let chap = format!(r#"{{"chapLevel":"Chap","chapName":"web","chapSecret":"{}"}}"#, SECRETS[4]);
    catalog
        .execute(
            &format!("INSERT INTO server_profiles (id, {envelope}, deployment_plan_id, attributes, initiator_name,
                      initiator_name_generated, chap) VALUES (?1, 'web01', 1, 1, 1, ?2, ?3, 'iqn.x:1', 1, ?4)"),
            [PROFILE.to_string(), PLAN.to_string(), value(SECRETS[2]), chap],
        )
        .unwrap();
    catalog
        .execute(
            "INSERT INTO os_volumes (id, name, created_ms, profile_id, generation, state, deployment_plan_id, attributes,
             deployed_bytes) VALUES (?1, 'OSVolume-1', 1, ?2, 1, 'current', ?3, ?4, 0)",
            [format!("{VOLUME:032x}"), PROFILE.to_string(), PLAN.to_string(), value(SECRETS[3])],
        )
        .unwrap();
    catalog.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
    catalog.pragma_update(None, "user_version", 1).unwrap();
}

/// All secrets as they are read.
fn read(catalog: &Catalog) -> [Option<String>; 5] {
    catalog
        .read(|tx| {
            let profile = profiles::by_id(tx, PROFILE)?;
            let volume = os_volumes::current(tx, PROFILE)?.unwrap();
            Ok([
                build_plans::get(tx, Uuid::from_u128(1))?.attributes[0].value.clone(),
                deployment_plans::get(tx, PLAN)?.attributes[0].value.clone(),
                profile.attributes[0].value.clone(),
                volume.origin.attributes[0].value.clone(),
                profile.chap.map(|chap| chap.chap_secret),
            ])
        })
        .unwrap()
}

#[test]
fn a_catalog_of_version_1_is_sealed_and_leaves_no_password_behind() {
    let directory = tempfile::tempdir().unwrap();
    of_version_1(directory.path());
    fs::copy(directory.path().join("catalog.sqlite"), directory.path().join("catalog.copy.sqlite")).unwrap();
    // Seen: the test would find them.
    assert_eq!(found_in(directory.path()).len(), 2 * SECRETS.len());
    let catalog = Catalog::open(directory.path()).unwrap();
    assert_eq!(catalog.damage(), Vec::<String>::new());
    assert_eq!(found_in(directory.path()), Vec::<String>::new());
    assert_eq!(read(&catalog), SECRETS.map(|secret| Some(secret.to_owned())));
    drop(catalog);
    assert_eq!(found_in(directory.path()), Vec::<String>::new());
    assert_eq!(
        read(&Catalog::open(directory.path()).unwrap()),
        SECRETS.map(|secret| Some(secret.to_owned()))
    );
    // The catalog as it was can still be looked into.
    let kept = Connection::open(directory.path().join("catalog.version-1.sqlite")).unwrap();
    let profiles: u64 = kept.query_row("SELECT count(*) FROM server_profiles", [], |row| row.get(0)).unwrap();
    assert_eq!(profiles, 1);
}

#[test]
fn what_is_written_is_sealed_in_database_log_and_copy() {
    let directory = tempfile::tempdir().unwrap();
    of_version_1(directory.path());
    let catalog = Catalog::open(directory.path()).unwrap();
    for round in 0..50 {
        catalog
            .write(|tx| {
                let profile = profiles::by_id(tx, PROFILE)?;
                let value = (round % 2 == 0).then(|| SECRETS[2].to_owned());
                let attributes = vec![Attribute { name: "P".into(), value }];
                profiles::save(tx, &Profile { attributes, ..profile })
            })
            .unwrap();
        assert_eq!(found_in(directory.path()), Vec::<String>::new());
    }
    catalog.copy().unwrap();
    assert_eq!(found_in(directory.path()), Vec::<String>::new());
    let debug = catalog.read(|tx| Ok(format!("{:?}", profiles::by_id(tx, PROFILE)?))).unwrap();
    assert!(SECRETS.iter().all(|secret| !debug.contains(secret)), "{debug}");
}

#[test]
fn without_its_key_a_catalog_is_read_and_nothing_is_destroyed() {
    let directory = tempfile::tempdir().unwrap();
    of_version_1(directory.path());
    drop(Catalog::open(directory.path()).unwrap());
    let key = directory.path().join("secret.key");
    let right = fs::read(&key).unwrap();
    for wrong in [None, Some(vec![7; 32]), Some(vec![7; 3])] {
        match &wrong {
            None => fs::remove_file(&key).unwrap(),
            Some(bytes) => fs::write(&key, bytes).unwrap(),
        }
        let catalog = Catalog::open(directory.path()).unwrap();
        assert!(catalog.damage()[0].contains("secret.key"), "{:?}", catalog.damage());
        assert!(matches!(catalog.write(|_| Ok(())), Err(Error::Damaged(_))));
        let secrets = read(&catalog);
        assert_eq!(secrets[..4], [None, None, None, None]);
        // A server that logs in with CHAP is not let in without.
        assert!(secrets[4].as_ref().is_some_and(|secret| secret.len() > 60 && secret != SECRETS[4]));
        drop(catalog);
        assert_eq!(fs::read(&key).ok(), wrong);
    }
    fs::write(&key, right).unwrap();
    let catalog = Catalog::open(directory.path()).unwrap();
    assert_eq!(catalog.damage(), Vec::<String>::new());
    assert_eq!(read(&catalog), SECRETS.map(|secret| Some(secret.to_owned())));
}
