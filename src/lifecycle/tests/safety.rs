//! Nothing is lost that nobody has confirmed, nothing is half done.

use api::{Code, ImpactOutcome, PowerState};
use iscsi::IscsiName;

use super::rig::Rig;
use crate::catalog::tasks::{self, TaskState};
use crate::catalog::{hardware, os_volumes};
use crate::control::Exports;
use crate::lifecycle::{Answer, Ask, Consent, Request};
use crate::portal::ReadOnlyDisk;
use crate::settings::ExportSettings;

fn token(token: Option<String>) -> Consent {
    Consent { token, ..Consent::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_lost_is_told_and_cancel_changes_nothing() {
    let rig = Rig::new();
    rig.create(Some("a1")).await;
    let volume = rig.store.open_volume(rig.volume().unwrap().id).unwrap();
    volume.write(0, &[&[7; 8192]], cow::Wait::Yes).unwrap();
    let before = rig.everything();
    let refused = rig.ask(rig.change(Some("b1")), Consent::default()).await.unwrap_err();
    assert_eq!(refused.error_code, Code::ConfirmationRequired);
    let impact = refused.impact.unwrap();
    assert_eq!((impact.outcome, impact.lossy), (ImpactOutcome::Regenerate, true));
    let lost = &impact.volumes[0];
    assert_eq!((lost.volume_name.as_deref(), lost.rule.as_str()), (Some("OSVolume-1"), "4"));
    assert_eq!(lost.bytes_written, 8192);
    assert!(lost.kept.as_ref().unwrap().contains("generation 1"));
    let ask = Ask { dry_run: true, ..Ask::default() };
    let preview = rig.lifecycle.ask(rig.change(Some("b1")), ask).await.unwrap();
    assert!(matches!(preview, Answer::Preview(impact) if impact.lossy));
    assert_eq!(rig.everything(), before);
    rig.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_for_the_state_that_it_was_given_out_for() {
    let rig = Rig::new();
    rig.create(Some("a1")).await;
    let ask = |request| rig.ask(request, Consent::default());
    let first = ask(rig.change(Some("b1"))).await.unwrap_err().impact.unwrap();
    // Another request.
    let other =
        rig.ask(Request::DeleteProfile("web01".into()), token(first.confirmation_token.clone())).await;
    assert_eq!(other.unwrap_err().error_code, Code::Stale);
    // Somebody has logged in since, and out again.
    let volume = rig.volume().unwrap().id;
    rig.exports.logins.lock().insert(volume, 1);
    let stale = rig.ask(rig.change(Some("b1")), token(first.confirmation_token)).await.unwrap_err();
    assert_eq!(stale.error_code, Code::Stale);
    // The profile has changed since.
    let second = stale.impact.unwrap();
    let mut spec = rig.spec(Some("a1"));
    spec.description = "changed".into();
    rig.proceed(Request::ChangeProfile("web01".into(), spec)).await;
    let stale = rig.ask(rig.change(Some("b1")), token(second.confirmation_token)).await.unwrap_err();
    assert_eq!(stale.error_code, Code::Stale);
    // Nothing has: even with what force alone would not have needed.
    let third = stale.impact.unwrap();
    let both = Consent { force: true, ..token(third.confirmation_token) };
    rig.ask(rig.change(Some("b1")), both).await.unwrap();
    assert_eq!(rig.volume().unwrap().generation, 2);
    rig.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_not_taken_from_who_is_logged_in_unless_that_is_asked_for() {
    let rig = Rig::new();
    rig.create(Some("a1")).await;
    let volume = rig.volume().unwrap();
    rig.exports.logged_in.lock().insert(volume.id, "iqn.x".into());
    let before = rig.everything();
    let force = Consent { force: true, ..Consent::default() };
    for server in [None, Some("a2"), Some("b1")] {
        let refused = rig.ask(rig.change(server), force.clone()).await;
        // Another server of the same profile has the same initiator: the export stays as it is.
        match server {
            Some("a2") => drop(refused.unwrap()),
            _ => assert_eq!(refused.unwrap_err().error_code, Code::InUse),
        }
    }
    rig.proceed(rig.change(Some("a1"))).await;
    assert_eq!(rig.volume().unwrap(), volume);
    drop(before);
    let by_name = Consent { force: true, while_in_use: true, ..Consent::default() };
    rig.ask(rig.change(Some("b1")), by_name).await.unwrap();
    assert_ne!(rig.volume().unwrap().id, volume.id);
    rig.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_the_server_is_on_unless_that_is_asked_for() {
    let rig = Rig::new();
    rig.create(Some("a1")).await;
    let server = rig.server("a1").unwrap();
    rig.catalog.write(|tx| hardware::set_power(tx, server, PowerState::On)).unwrap();
    let force = Consent { force: true, ..Consent::default() };
    let refused = rig.ask(rig.change(Some("b1")), force.clone()).await.unwrap_err();
    assert!(refused.message.contains("powered on"), "{refused}");
    rig.ask(rig.change(None), force).await.unwrap();
    rig.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_before_the_commit_leaves_everything_as_it_was() {
    let rig = Rig::new();
    rig.create(Some("a1")).await;
    // Somebody has taken the name that the next volume would have.
    let taken = cow::NewVolume { name: "OSVolume-2".into(), image: None, size_bytes: Some(1 << 20) };
    let taken = rig.store.create_volume(taken).unwrap();
    let before = rig.everything();
    let force = Consent { force: true, ..Consent::default() };
    let task = rig.ask(rig.change(Some("b1")), force).await.unwrap();
    assert_eq!(task.state, TaskState::Error);
    assert_eq!(task.errors[0].error_code, Code::NameExists);
    rig.store.volume_info(taken.id).expect("what somebody else made is not undone");
    assert_eq!(rig.everything(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_commit_is_undone_and_one_after_it_carried_on() {
    let rig = Rig::new();
    rig.create(Some("a1")).await;
    rig.proceed(rig.change(Some("b1"))).await;
    let volume = rig.volume().unwrap();
    // As a daemon leaves it that was killed between its steps.
    let made = cow::NewVolume { name: "OSVolume-3".into(), image: None, size_bytes: Some(1 << 20) };
    rig.store.create_volume(made).unwrap();
    rig.catalog
        .write(|tx| {
            let subject =
                tasks::Subject { kind: crate::catalog::Kind::ServerProfile, id: None, name: "web01".into() };
            let begun = tasks::TaskRecord::new(tx, "test", "Update", subject.clone());
            tasks::save(tx, &begun)?;
            tasks::set_journal(tx, begun.id, Some(r#"{"phase":"begun","volume":"OSVolume-3"}"#))?;
            let committed = tasks::TaskRecord::new(tx, "test", "Update", subject);
            tasks::save(tx, &committed)?;
            tasks::set_journal(tx, committed.id, Some(r#"{"phase":"committed"}"#))?;
            let kept = os_volumes::generations(tx, volume.profile.unwrap())?;
            os_volumes::doom(tx, kept.last().unwrap())
        })
        .unwrap();
    rig.lifecycle.recover().unwrap();
    let names: Vec<_> = rig.store.volumes().into_iter().map(|volume| volume.name).collect();
    assert_eq!(names, ["OSVolume-2"]);
    let states: Vec<_> =
        rig.catalog.read(tasks::list).unwrap().into_iter().take(2).map(|task| task.state).collect();
    assert!(states.contains(&TaskState::Error) && states.contains(&TaskState::Completed), "{states:?}");
    rig.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_points_to_somebody_elses_volume_is_told_and_not_obeyed() {
    let rig = Rig::new();
    rig.create(Some("a1")).await;
    let new = cow::NewVolume { name: "direct".into(), image: None, size_bytes: Some(1 << 20) };
    let direct = rig.store.create_volume(new).unwrap();
    rig.catalog
        .write(|tx| Ok(tx.execute("UPDATE os_volumes SET id = ?1", [direct.id.to_string()])?))
        .unwrap();
    rig.exports.open.lock().clear();
    rig.lifecycle.recover().unwrap();
    assert_eq!(rig.exports.open.lock()[&direct.id], Vec::<String>::new(), "direct volumes are open to all");
    assert!(rig.catalog.damage()[0].contains("direct"), "{:?}", rig.catalog.damage());
    let force = Consent { force: true, ..Consent::default() };
    let refused = rig.ask(Request::DeleteProfile("web01".into()), force).await.unwrap_err();
    assert_eq!(refused.error_code, Code::Corrupt);
    rig.store.volume_info(direct.id).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_whose_commit_is_in_doubt_takes_nothing_away_and_waits_for_the_next_start() {
    let rig = Rig::new();
    rig.create(Some("a1")).await;
    *rig.exports.fails.lock() = Some(rig.catalog.clone());
    let force = Consent { force: true, ..Consent::default() };
    rig.ask(rig.change(Some("b1")), force).await.unwrap();
    let names: Vec<_> = rig.store.volumes().into_iter().map(|volume| volume.name).collect();
    assert_eq!(names.len(), 2, "the old volume and the new one are both there: {names:?}");
    assert!(rig.exports.open.lock().is_empty(), "and nobody writes to either");
    // The next start reads the journal.
    let catalog = crate::catalog::Catalog::open(rig.catalog.directory()).unwrap();
    let unfinished = catalog.read(tasks::unfinished).unwrap();
    assert!(
        unfinished
            .iter()
            .any(|(_, journal)| journal.as_ref().is_some_and(|text| text.contains("OSVolume-2")))
    );
}

/// Its target, and its settings: nothing of it is there any more.
#[tokio::test(flavor = "multi_thread")]
async fn snapshots_that_are_served_go_with_their_volume() {
    let rig = Rig::new();
    rig.create(Some("a1")).await;
    let volume = rig.volume().unwrap();
    let read_only = rig.exports.read_only();
    let served: Vec<_> = ["one", "two"]
        .map(|name| {
            let snapshot = rig.store.snapshot(volume.id, name).unwrap();
            let disk = ReadOnlyDisk::Snapshot(snapshot.id);
            rig.exports.settings().keep(disk, ExportSettings::default()).unwrap();
            read_only.publish(disk).unwrap();
            (disk, IscsiName::parse(&read_only.target_name(disk)).unwrap())
        })
        .into();
    // The volume is taken away, and stays: so do its snapshots.
    rig.proceed(rig.change(None)).await;
    assert!(served.iter().all(|(_, name)| rig.targets.find(name).is_some()));
    rig.proceed(Request::DeleteProfile("web01".into())).await;
    for (disk, name) in served {
        assert!(rig.targets.find(&name).is_none(), "{name} is exported");
        assert!(!read_only.serves(disk), "the settings of {name} are left");
    }
    assert!(rig.store.snapshots().is_empty());
    rig.check();
}
