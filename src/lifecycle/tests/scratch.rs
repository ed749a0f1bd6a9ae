//! A scratch volume is gone when its task has ended, or when the daemon has: only what was kept stays.

use std::sync::Arc;

use api::{Code, Refusal};
use script::{Step, Values};

use super::rig::Rig;
use crate::catalog::Kind;
use crate::catalog::tasks::{Subject, TaskState};
use crate::lifecycle::{Beginning, Request, Scratch};

async fn scratch(rig: &Rig) -> Scratch {
    let subject = Subject { kind: Kind::DeploymentPlan, id: None, name: "plan".into() };
    rig.lifecycle.begin_scratch("test", "Try", subject, Vec::new()).await.unwrap()
}

fn script() -> Arc<script::Expanded> {
    let step = Step { name: "s".into(), content: "mkdir /x".into(), has_attributes: true };
    Arc::new(script::expand(&[step], &Values::new()).unwrap())
}

const EMPTY: Beginning = Beginning::Image { image: None, size_bytes: Some(1 << 20) };

#[tokio::test(flavor = "multi_thread")]
async fn a_scratch_volume_goes_with_its_task() {
    let rig = Rig::new();
    let mut scratch = scratch(&rig).await;
    let id = scratch.task().id();
    let made = scratch.make(EMPTY).await.unwrap();
    scratch.run(script(), true).await.unwrap();
    assert_eq!(rig.store.volumes().len(), 1);
    assert_eq!(made.name, "OSVolume-1");
    scratch.end(Ok(())).await;
    assert_eq!(rig.lifecycle.finished(id).await.unwrap().state, TaskState::Completed);
    rig.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_leaves_the_volume_that_it_was_made_of_as_it_is() {
    let rig = Rig::new();
    rig.proceed(Request::CreateProfile(rig.scripted(Some("a1"), "hello"))).await;
    let before = rig.everything();
    let source = rig.volume().unwrap().id;
    let mut scratch = scratch(&rig).await;
    let id = scratch.task().id();
    let copy = scratch.make(Beginning::Copy(cow::Subject::Volume(source))).await.unwrap();
    let volume = rig.store.open_volume(copy.id).unwrap();
    let mut block = vec![0; 4096];
    volume.read(0, &mut block, cow::Wait::Yes).unwrap();
    assert!(block.starts_with(b"write /motd \"hello\""));
    volume.write(0, &[&[1; 4096]], cow::Wait::Yes).unwrap();
    drop(volume);
    scratch.end(Err(Refusal::new(Code::ScriptFailed, "no"))).await;
    assert_eq!(rig.lifecycle.finished(id).await.unwrap().state, TaskState::Error);
    assert_eq!(rig.everything(), before);
    assert_eq!(rig.store.snapshots(), []);
    assert_eq!(rig.begins_with(), "write /motd \"hello\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_as_if_it_had_been_made_directly() {
    let rig = Rig::new();
    let mut scratch = scratch(&rig).await;
    let made = scratch.make(EMPTY).await.unwrap();
    let kept = scratch.keep("look-here").await.unwrap();
    scratch.end(Ok(())).await;
    assert_eq!((kept.id, kept.name.as_str()), (made.id, "look-here"));
    assert_eq!(rig.store.volumes().into_iter().map(|volume| volume.name).collect::<Vec<_>>(), ["look-here"]);
    assert_eq!(rig.exports.open.lock().get(&made.id), Some(&Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_neither_volume_nor_snapshot_is_left() {
    let rig = Rig::new();
    rig.proceed(Request::CreateProfile(rig.scripted(Some("a1"), "hello"))).await;
    let before = rig.everything();
    let source = rig.volume().unwrap().id;
    let mut scratch = scratch(&rig).await;
    let id = scratch.task().id();
    scratch.make(Beginning::Copy(cow::Subject::Volume(source))).await.unwrap();
    assert_eq!(rig.store.snapshots().len(), 1);
    drop(scratch);
    rig.lifecycle.recover().unwrap();
    assert_eq!(rig.everything(), before);
    assert_eq!(rig.store.snapshots(), []);
    assert_eq!(rig.lifecycle.finished(id).await.unwrap().state, TaskState::Error);
    rig.check();
}
