//! Many at once: what happens is what would have happened one after the other.

use std::sync::Arc;

use api::Code;

use super::rig::Rig;
use crate::catalog::tasks::TaskState;
use crate::lifecycle::{Answer, Ask, Consent, ProfileSpec, Request};

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_profiles_for_one_server_one_gets_it() {
    let rig = Arc::new(Rig::new());
    let tries = (0..50).map(|number| {
        let rig = rig.clone();
        tokio::spawn(async move {
            let spec = ProfileSpec { name: format!("web{number}"), ..rig.spec(Some("a1")) };
            rig.ask(Request::CreateProfile(spec), Consent::default())
                .await
                .is_ok_and(|task| task.errors.is_empty())
        })
    });
    let tries: Vec<_> = tries.collect();
    let mut won = 0;
    for one in tries {
        won += u32::from(one.await.unwrap());
    }
    assert_eq!(won, 1);
    rig.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_change_what_they_read_one_is_told_to_read_again() {
    let rig = Arc::new(Rig::new());
    rig.create(Some("a1")).await;
    let e_tag = rig.profile().envelope.e_tag();
    let changes = ["one", "other"].map(|description| {
        let (rig, e_tag) = (rig.clone(), e_tag.clone());
        tokio::spawn(async move {
            let mut spec = rig.spec(Some("a1"));
            spec.description = description.into();
            let ask = Ask { if_match: Some(e_tag), ..Ask::default() };
            let asked = rig.lifecycle.ask(Request::ChangeProfile("web01".into(), spec), ask).await;
            if let Ok(Answer::Begun { task, .. }) = &asked {
                rig.lifecycle.finished(*task).await.unwrap();
            }
            asked.map(|_| description).map_err(|refusal| refusal.error_code)
        })
    });
    let mut outcomes = Vec::new();
    for change in changes {
        outcomes.push(change.await.unwrap());
    }
    let won: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.ok()).collect();
    assert_eq!(won.len(), 1, "{outcomes:?}");
    let lost = outcomes.iter().find_map(|outcome| outcome.err()).unwrap();
    assert!(matches!(lost, Code::Stale | Code::Busy), "{lost:?}");
    assert_eq!(rig.profile().envelope.description, won[0]);
    rig.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn moves_and_deletions_at_once_leave_nothing_over() {
    let rig = Arc::new(Rig::new());
    for round in 0..10 {
        rig.create(Some("a1")).await;
        let force = Consent { force: true, ..Consent::default() };
        let requests = [
            rig.change(Some("b1")),
            rig.change(Some("outside")),
            rig.change(None),
            Request::DeleteProfile("web01".into()),
            Request::DeleteHardware("a2".into()),
        ];
        let running: Vec<_> = requests
            .into_iter()
            .map(|request| {
                let (rig, force) = (rig.clone(), force.clone());
                tokio::spawn(async move { rig.ask(request, force).await.map(drop) })
            })
            .collect();
        for one in running {
            let _ = one.await.unwrap();
        }
        rig.check();
        if rig.catalog.read(|tx| crate::catalog::profiles::find(tx, "web01")).is_ok() {
            rig.proceed(Request::DeleteProfile("web01".into())).await;
        }
        assert!(rig.store.volumes().is_empty(), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_begun_goes_on_when_whoever_asked_goes_away() {
    let rig = Rig::new();
    let request = Request::CreateProfile(rig.spec(Some("a1")));
    let asked = rig.lifecycle.ask(request, Ask::default());
    // Polled once, then dropped, as a request whose client has closed its connection.
    let _ = tokio::time::timeout(std::time::Duration::ZERO, asked).await;
    let begin = std::time::Instant::now();
    let is_done =
        || rig.lifecycle.tasks().list().unwrap().iter().any(|task| task.state == TaskState::Completed);
    while !is_done() {
        assert!(begin.elapsed().as_secs() < 30, "{:?}", rig.lifecycle.tasks().list());
        tokio::task::yield_now().await;
    }
    rig.lifecycle.tasks().idle().await;
    rig.check();
    assert!(rig.volume().is_some());
}
