//! Volumes that one initiator has for itself while it is logged in.

use iscsi::LoginStatus;

use super::client::{Client, INITIATOR};
use super::{A_WHILE, Rig, TARGET, name, until};

const OTHER: &str = "iqn.2026-01.test:other";
const LET_IN: [u8; 2] = LoginStatus::Success.class_and_detail();
const HELD: [u8; 2] = LoginStatus::OutOfResources.class_and_detail();

fn rig() -> Rig {
    let rig = Rig::new();
    make_exclusive(&rig);
    rig
}

fn make_exclusive(rig: &Rig) {
    rig.directory.set_terms(&name(TARGET), |terms| terms.exclusive = true).unwrap();
}

async fn log_in(rig: &Rig, initiator: &'static str, isid: u8) -> (Client, [u8; 2]) {
    let mut client = Client::connect(rig.address).await;
    client.initiator = initiator;
    let status = client.log_in(TARGET, isid).await;
    (client, status)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_initiator_waits_until_the_first_is_gone() {
    let rig = rig();
    let (first, status) = log_in(&rig, INITIATOR, 1).await;
    assert_eq!(status, LET_IN);
    assert_eq!(log_in(&rig, OTHER, 1).await.1, HELD);
    let mut discoverer = Client::connect(rig.address).await;
    discoverer.initiator = OTHER;
    assert!(discoverer.discover().await.contains(TARGET), "it may log in, later");
    drop(first);
    until(|| rig.sessions() == 0).await;
    let (_second, status) = log_in(&rig, OTHER, 1).await;
    assert_eq!(status, LET_IN);
    assert_eq!(log_in(&rig, INITIATOR, 1).await.1, HELD);
    assert_eq!(rig.sessions(), 1);
    assert_eq!(rig.directory.logins(&name(TARGET)), 2, "who was refused has not been there");
}

/// A boot loader's session is there yet when its operating system logs in; paths are sessions beside each other; a peer
/// that comes back takes the place of its dead session.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_initiator_is_always_let_in() {
    let rig = rig();
    let (first, _) = log_in(&rig, INITIATOR, 1).await;
    let (_second, status) = log_in(&rig, INITIATOR, 2).await;
    assert_eq!((status, rig.sessions()), (LET_IN, 2));
    let (_again, status) = log_in(&rig, INITIATOR, 2).await;
    assert_eq!((status, rig.sessions()), (LET_IN, 2));
    drop(first);
    until(|| rig.sessions() == 1).await;
    assert_eq!(log_in(&rig, OTHER, 1).await.1, HELD);
}

/// Those who were there together before stay, and come back; nobody else is let in.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_session_keeps_it_when_the_volume_becomes_exclusive() {
    let rig = Rig::new();
    let (mut first, _) = log_in(&rig, INITIATOR, 1).await;
    let (_second, status) = log_in(&rig, OTHER, 1).await;
    assert_eq!(status, LET_IN);
    make_exclusive(&rig);
    first.clear_attention().await;
    let (_again, status) = log_in(&rig, INITIATOR, 1).await;
    assert_eq!(status, LET_IN);
    assert_eq!(log_in(&rig, "iqn.2026-01.test:third", 1).await.1, HELD);
    assert_eq!(rig.sessions(), 2);
}

/// The disk of a holder that is gone is not another one's before the last write has landed.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_holder_keeps_the_volume_until_its_writes_have_ended() {
    let rig = rig();
    let mut holder = rig.log_in(1).await;
    rig.store.stall();
    holder.send_write(0, &[1; 512]).await;
    until(|| rig.store.stalled_calls() == 1).await;
    drop(holder);
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(log_in(&rig, OTHER, 1).await.1, HELD);
    rig.store.resume();
    until(|| rig.sessions() == 0).await;
    assert_eq!(log_in(&rig, OTHER, 1).await.1, LET_IN);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_come_at_the_same_instant_one_is_let_in() {
    let rig = rig();
    for round in 0..100 {
        let (one, other) = tokio::join!(log_in(&rig, INITIATOR, 1), log_in(&rig, OTHER, 1));
        let mut both = [one.1, other.1];
        both.sort_unstable();
        assert_eq!(both, [LET_IN, HELD], "round {round}");
        drop((one, other));
        until(|| rig.sessions() == 0).await;
    }
}
