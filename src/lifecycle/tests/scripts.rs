//! A volume is personalized before anybody can log in to it, or it is not there at all.

use api::{Code, Refusal};

use super::rig::Rig;
use crate::catalog::profiles;
use crate::catalog::tasks::TaskState;
use crate::lifecycle::{Consent, Request};

fn refusal() -> Refusal {
    Refusal::new(Code::ScriptFailed, "step 1 \"greet\", line 1: no")
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_run_with_the_profiles_values() {
    let rig = Rig::new();
    rig.proceed(Request::CreateProfile(rig.scripted(Some("a1"), "hello"))).await;
    assert_eq!(rig.begins_with(), "write /motd \"hello\"");
    assert_eq!(rig.volume().unwrap().deployed_bytes, 4096);
    rig.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_fails_leaves_nothing() {
    let rig = Rig::new();
    *rig.scripts.fails.lock() = Some(refusal());
    let spec = rig.scripted(Some("a1"), "hello");
    let task = rig.ask(Request::CreateProfile(spec.clone()), Consent::default()).await.unwrap();
    assert_eq!((task.state, &task.errors[..]), (TaskState::Error, &[refusal()][..]));
    assert_eq!(rig.catalog.read(profiles::list).unwrap(), []);
    assert_eq!(rig.store.volumes(), []);
    rig.check();
    *rig.scripts.fails.lock() = None;
    rig.proceed(Request::CreateProfile(spec)).await;
    rig.check();
    // The second try has a volume of its own.
    assert_eq!(*rig.scripts.jobs.lock(), ["OSVolume-1", "OSVolume-2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redeployment_that_fails_keeps_the_volume() {
    let rig = Rig::new();
    rig.proceed(Request::CreateProfile(rig.scripted(Some("a1"), "one"))).await;
    let before = rig.everything();
    *rig.scripts.fails.lock() = Some(refusal());
    let change = Request::ChangeProfile("web01".into(), rig.scripted(Some("a1"), "two"));
    let consent = Consent { force: true, ..Consent::default() };
    let task = rig.ask(change, consent).await.unwrap();
    assert_eq!(task.state, TaskState::Error);
    assert_eq!(rig.everything(), before);
    assert_eq!(rig.begins_with(), "write /motd \"one\"");
    rig.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_breaks_out_is_refused_before_anything() {
    let rig = Rig::new();
    let before = rig.everything();
    let spec = rig.scripted(Some("a1"), "a\" \"b");
    let refused = rig.ask(Request::CreateProfile(spec), Consent::default()).await.unwrap_err();
    assert_eq!(refused.error_code, Code::InvalidValue);
    assert_eq!(refused.error_source.as_deref(), Some("Greeting"), "{refused:?}");
    assert!(refused.message.contains("step 1 (\"greet\"), line 1"), "{}", refused.message);
    assert_eq!(rig.everything(), before);
    assert_eq!(*rig.scripts.jobs.lock(), [""; 0]);
}
