//! The rows of the table, done.

use super::rig::{OTHER_GROUP, Rig};
use crate::catalog::logical_enclosures;
use crate::catalog::os_volumes::{self, VolumeState};
use crate::catalog::profiles::Attribute;
use crate::catalog::tasks::TaskState;
use crate::lifecycle::{Consent, Request};

#[tokio::test(flavor = "multi_thread")]
async fn an_assigned_profile_has_a_volume_that_its_own_initiator_reaches() {
    let rig = Rig::new();
    rig.create(Some("a1")).await;
    let volume = rig.volume().unwrap();
    assert_eq!((volume.name.as_str(), volume.generation), ("OSVolume-1", 1));
    assert_eq!(rig.store.volume_info(volume.id).unwrap().size_bytes, 1 << 20);
    assert_eq!(rig.exports.open.lock()[&volume.id], [rig.profile().initiator_name]);
    rig.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unassigned_profile_has_none_until_it_is_assigned() {
    let rig = Rig::new();
    rig.create(None).await;
    assert_eq!(rig.volume(), None);
    rig.proceed(rig.change(Some("a1"))).await;
    assert!(rig.volume().is_some());
    rig.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn unassigning_and_assigning_again_retains_the_volume() {
    let rig = Rig::new();
    rig.create(Some("a1")).await;
    let volume = rig.volume();
    let nothing_lost = Consent::default();
    rig.ask(rig.change(None), nothing_lost.clone()).await.unwrap();
    assert_eq!(rig.volume(), volume);
    assert!(rig.exports.open.lock().is_empty(), "an unassigned volume is not exported");
    rig.check();
    rig.ask(rig.change(Some("a2")), nothing_lost).await.unwrap();
    assert_eq!(rig.volume(), volume);
    rig.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enclosure_in_another_group_retains_the_volume() {
    let rig = Rig::new();
    rig.create(Some("a1")).await;
    let volume = rig.volume();
    let request = Request::MoveEnclosure("enclosure-a".into(), OTHER_GROUP.into());
    rig.ask(request, Consent::default()).await.unwrap();
    assert_eq!(rig.volume(), volume);
    let group = rig.catalog.read(|tx| logical_enclosures::find(tx, "enclosure-a")).unwrap().enclosure_group;
    assert_eq!(rig.profile().enclosure_group, Some(group));
    let unmanaged = Request::MoveEnclosure("enclosure-a".into(), "group-unmanaged".into());
    assert!(rig.ask(unmanaged, Consent::default()).await.is_err());
    rig.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enclosure_goes_with_the_volumes_of_unassigned_profiles_only() {
    let rig = Rig::new();
    rig.create(Some("a1")).await;
    let force = Consent { force: true, ..Consent::default() };
    let delete = || Request::DeleteEnclosure("enclosure-a".into());
    let refused = rig.ask(delete(), force).await.unwrap_err();
    assert!(refused.message.contains("unassign it first"), "{refused}");
    rig.proceed(rig.change(None)).await;
    rig.proceed(delete()).await;
    assert_eq!(rig.volume(), None);
    assert!(rig.store.volumes().is_empty());
    assert!(rig.catalog.read(|tx| logical_enclosures::find(tx, "enclosure-a")).is_err());
    rig.check();
    rig.proceed(rig.change(Some("b1"))).await;
    assert_eq!(rig.volume().unwrap().name, "OSVolume-2", "numbers never come twice");
    rig.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn hardware_of_another_enclosure_regenerates_the_volume() {
    let rig = Rig::new();
    rig.create(Some("a1")).await;
    let old = rig.volume().unwrap();
    rig.proceed(rig.change(Some("b1"))).await;
    let new = rig.volume().unwrap();
    assert_ne!(new.id, old.id);
    assert_ne!(new.name, old.name);
    assert_eq!(new.generation, 2);
    let kept = rig.catalog.read(|tx| os_volumes::by_id(tx, old.id)).unwrap().unwrap();
    assert_eq!(kept.state, VolumeState::Kept);
    rig.check();
    // Of earlier generations one is kept.
    rig.proceed(rig.change(Some("a1"))).await;
    assert_eq!(rig.catalog.read(|tx| os_volumes::by_id(tx, old.id)).unwrap(), None);
    assert_eq!(rig.store.volumes().len(), 2);
    rig.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_type_plan_or_value_regenerates_the_volume() {
    let rig = Rig::new();
    rig.create(Some("a1")).await;
    let mut spec = rig.spec(Some("a-large"));
    let mut before = rig.volume().unwrap();
    for step in ["type", "plan", "value"] {
        match step {
            "plan" => spec.plan = Some(rig.other_plan),
            "value" => {
                spec.attributes = vec![Attribute { name: "VolumeSize".into(), value: Some("2".into()) }]
            }
            _ => {}
        }
        let request = || Request::ChangeProfile("web01".into(), spec.clone());
        let refused = rig.ask(request(), Consent::default()).await.unwrap_err();
        assert_eq!(refused.error_code, api::Code::ConfirmationRequired, "{step}");
        rig.proceed(request()).await;
        let after = rig.volume().unwrap();
        assert_ne!(after.id, before.id, "{step}");
        before = after;
        rig.check();
    }
    assert_eq!(rig.store.volume_info(before.id).unwrap().size_bytes, 2 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redeployment_gives_a_volume_as_new() {
    let rig = Rig::new();
    rig.create(Some("a1")).await;
    let old = rig.volume().unwrap();
    let request = || Request::RedeployProfile("web01".into());
    let refused = rig.ask(request(), Consent::default()).await.unwrap_err();
    assert_eq!(refused.error_code, api::Code::ConfirmationRequired);
    rig.proceed(request()).await;
    assert_ne!(rig.volume().unwrap().id, old.id);
    rig.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_without_a_plan_or_a_deleted_one_has_no_volume() {
    let rig = Rig::new();
    rig.create(Some("a1")).await;
    let mut spec = rig.spec(Some("a1"));
    spec.plan = None;
    rig.proceed(Request::ChangeProfile("web01".into(), spec)).await;
    assert!(rig.store.volumes().is_empty());
    rig.check();
    rig.proceed(rig.change(Some("a1"))).await;
    rig.proceed(rig.change(Some("b1"))).await;
    rig.proceed(Request::DeleteProfile("web01".into())).await;
    assert!(rig.store.volumes().is_empty(), "earlier generations go too");
    rig.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_generation_comes_back() {
    let rig = Rig::new();
    rig.create(Some("a1")).await;
    let old = rig.volume().unwrap();
    rig.proceed(rig.change(Some("a-large"))).await;
    let new = rig.volume().unwrap();
    let task = rig.ask(Request::RollBackProfile("web01".into(), 1), Consent::default()).await.unwrap();
    assert_eq!(task.state, TaskState::Completed);
    assert_eq!(rig.volume().unwrap().id, old.id);
    rig.check();
    rig.ask(Request::RollBackProfile("web01".into(), 2), Consent::default()).await.unwrap();
    assert_eq!(rig.volume().unwrap().id, new.id);
    assert!(rig.ask(Request::RollBackProfile("web01".into(), 9), Consent::default()).await.is_err());
    rig.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_access_change_without_touching_the_volume() {
    let rig = Rig::new();
    rig.create(Some("a1")).await;
    let volume = rig.volume();
    let mut spec = rig.spec(Some("a1"));
    spec.description = "the first".into();
    spec.initiator_name = Some("iqn.2026-01.com.example:web01".into());
    rig.ask(Request::ChangeProfile("web01".into(), spec), Consent::default()).await.unwrap();
    assert_eq!(rig.volume(), volume);
    assert_eq!(rig.exports.open.lock()[&volume.unwrap().id], ["iqn.2026-01.com.example:web01"]);
    rig.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn direct_volumes_are_never_touched() {
    let rig = Rig::new();
    let new = cow::NewVolume { name: "direct".into(), image: None, size_bytes: Some(1 << 20) };
    rig.store.create_volume(new).unwrap();
    rig.create(Some("a1")).await;
    rig.proceed(rig.change(Some("b1"))).await;
    rig.proceed(Request::DeleteProfile("web01".into())).await;
    let left: Vec<_> = rig.store.volumes().into_iter().map(|volume| volume.name).collect();
    assert_eq!(left, ["direct"]);
}
