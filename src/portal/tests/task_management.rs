//! Task management through a portal: every function that aborts, on each state of a write, over sessions and units.

use iscsi::wire::{Opcode, Pdu, ScsiResponsePdu, TaskManagementResponsePdu};
use iscsi::{InitiatorTaskTag, LogicalUnitNumber, TaskManagementFunction};
use tokio::time::timeout;

use super::client::Client;
use super::seed::{SEED, VOLUME, rig, sense};
use super::{A_WHILE, Rig, SOON, until};

const RESERVE_6: [u8; 16] = [0x16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const SANITIZE_BLOCK_ERASE: [u8; 16] = [0x48, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const RESERVATION_CONFLICT: u8 = 0x18;
const RESET_OR_LOSS: Option<(u8, u8)> = Some((6, 0x29));
const COMMANDS_CLEARED: Option<(u8, u8)> = Some((6, 0x2f));

async fn ready(rig: &Rig, isid: u8) -> Client {
    let mut client = rig.log_in(isid).await;
    client.lun = SEED;
    client.clear_attention().await;
    client.lun = VOLUME;
    client
}

async fn status(client: &mut Client, lun: LogicalUnitNumber, cdb: [u8; 16]) -> u8 {
    client.lun = lun;
    client.send_command(cdb, 0, &[]).await;
    ScsiResponsePdu::parse(&client.receive().await.bhs).status
}

fn is_complete(pdu: &Pdu, client: &Client) {
    assert_eq!(Opcode::of(&pdu.bhs), Opcode::TaskManagementResponse);
    let response = TaskManagementResponsePdu::parse(&pdu.bhs);
    assert_eq!((response.response, response.initiator_task_tag), (0, client.last_tag()));
}

async fn manage(client: &mut Client, function: TaskManagementFunction, lun: LogicalUnitNumber) {
    client.lun = lun;
    client.send_task_management(function).await;
    let pdu = timeout(SOON, client.receive()).await.unwrap();
    is_complete(&pdu, client);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nexus_reset_releases_what_the_nexus_holds_and_tells_it_on_every_unit() {
    let rig = rig();
    let mut holder = ready(&rig, 1).await;
    let mut other = ready(&rig, 2).await;
    for lun in [VOLUME, SEED] {
        assert_eq!(status(&mut holder, lun, RESERVE_6).await, 0);
        assert_eq!(status(&mut other, lun, [0; 16]).await, RESERVATION_CONFLICT);
    }
    manage(&mut holder, TaskManagementFunction::ITNexusReset, VOLUME).await;
    assert!(holder.is_at_end().await, "its session ends");
    for lun in [VOLUME, SEED] {
        assert_eq!(sense(&mut other, lun).await, None, "free, and nobody else is told");
    }
    until(|| rig.sessions() == 1).await;
    let mut again = Client::connect(rig.address).await;
    assert_eq!(again.log_in(super::TARGET, 1).await, [0, 0]);
    for lun in [VOLUME, SEED] {
        again.lun = lun;
        let pdu = again.test_unit_ready().await;
        assert_eq!(pdu.data[2 + 12..2 + 14], [0x29, 0x07], "I_T NEXUS LOSS OCCURRED");
        assert_eq!(sense(&mut again, lun).await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nexus_reset_waits_for_its_own_writes_and_for_nobody_elses() {
    let rig = rig();
    let mut idle = ready(&rig, 1).await;
    let mut resetter = ready(&rig, 2).await;
    let mut other = ready(&rig, 3).await;
    rig.store.stall();
    other.send_write(8, &[2; 512]).await;
    until(|| rig.store.stalled_calls() == 1).await;
    manage(&mut idle, TaskManagementFunction::ITNexusReset, VOLUME).await;
    assert!(idle.is_at_end().await);
    resetter.send_write(0, &[1; 512]).await;
    until(|| rig.store.stalled_calls() == 2).await;
    resetter.send_task_management(TaskManagementFunction::ITNexusReset).await;
    assert!(timeout(A_WHILE, resetter.receive()).await.is_err(), "its own write is still under way");
    rig.store.resume();
    let pdu = timeout(SOON, resetter.receive()).await.unwrap();
    is_complete(&pdu, &resetter);
    assert!(resetter.is_at_end().await);
    let pdu = timeout(SOON, other.receive()).await.unwrap();
    assert_eq!(ScsiResponsePdu::parse(&pdu.bhs).status, 0, "the other's write is answered");
}

/// Each function that reaches other sessions waits for their writes, and what they wrote stays what it is then.
#[tokio::test(flavor = "multi_thread")]
async fn functions_that_reach_other_sessions_wait_for_their_writes() {
    use TaskManagementFunction as Function;
    for (function, told) in [
        (Function::ClearTaskSet, COMMANDS_CLEARED),
        (Function::LogicalUnitReset, RESET_OR_LOSS),
        (Function::TargetWarmReset, RESET_OR_LOSS),
    ] {
        let rig = rig();
        let mut writer = ready(&rig, 1).await;
        let mut resetter = ready(&rig, 2).await;
        rig.store.stall();
        writer.send_write(0, &[1; 512]).await;
        until(|| rig.store.stalled_calls() == 1).await;
        resetter.send_task_management(function).await;
        assert!(timeout(A_WHILE, resetter.receive()).await.is_err(), "{function:?}");
        rig.store.resume();
        let pdu = timeout(SOON, resetter.receive()).await.unwrap();
        is_complete(&pdu, &resetter);
        assert_eq!(rig.store.writes_done(), 1, "{function:?}");
        // 29h is the code of every reset and of a lost nexus; the aborted write itself has no answer.
        assert_eq!(sense(&mut writer, VOLUME).await, told, "{function:?}");
    }
}

/// The other session names LUN 0 in flat addressing; it is the same unit.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_waits_for_writes_that_name_the_unit_in_the_other_way() {
    let rig = rig();
    let mut writer = ready(&rig, 1).await;
    let mut resetter = ready(&rig, 2).await;
    rig.store.stall();
    writer.lun = LogicalUnitNumber([0x40, 0, 0, 0, 0, 0, 0, 0]);
    writer.send_write(0, &[1; 512]).await;
    until(|| rig.store.stalled_calls() == 1).await;
    resetter.send_task_management(TaskManagementFunction::LogicalUnitReset).await;
    assert!(timeout(A_WHILE, resetter.receive()).await.is_err(), "the write is still under way");
    rig.store.resume();
    let pdu = timeout(SOON, resetter.receive()).await.unwrap();
    is_complete(&pdu, &resetter);
    assert_eq!(rig.store.writes_done(), 1);
    assert_eq!(sense(&mut writer, VOLUME).await, RESET_OR_LOSS, "the aborted write has no answer");
}

/// A session that is being replaced is in no list any more, but its writes are the unit's all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_waits_for_writes_of_a_session_that_is_being_replaced() {
    let rig = rig();
    let mut old = ready(&rig, 1).await;
    let mut resetter = ready(&rig, 2).await;
    rig.store.stall();
    old.send_write(0, &[1; 512]).await;
    until(|| rig.store.stalled_calls() == 1).await;
    let mut new = Client::connect(rig.address).await;
    let login = new.log_in(super::TARGET, 1);
    assert!(timeout(A_WHILE, login).await.is_err(), "the old write is still under way");
    until(|| rig.directory.logged_in().iter().any(|session| session.agreed.is_none())).await;
    resetter.send_task_management(TaskManagementFunction::LogicalUnitReset).await;
    assert!(timeout(A_WHILE, resetter.receive()).await.is_err(), "the old write is still under way");
    rig.store.resume();
    let pdu = timeout(SOON, resetter.receive()).await.unwrap();
    is_complete(&pdu, &resetter);
    assert_eq!(rig.store.writes_done(), 1);
    assert_eq!(timeout(SOON, new.log_in_answer()).await.unwrap(), [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cleared_on_one_unit_goes_on_on_the_other() {
    let rig = rig();
    let mut writer = ready(&rig, 1).await;
    let mut resetter = ready(&rig, 2).await;
    rig.store.stall();
    writer.send_write(0, &[1; 512]).await;
    until(|| rig.store.stalled_calls() == 1).await;
    manage(&mut resetter, TaskManagementFunction::ClearTaskSet, SEED).await;
    manage(&mut resetter, TaskManagementFunction::LogicalUnitReset, SEED).await;
    rig.store.resume();
    let pdu = timeout(SOON, writer.receive()).await.unwrap();
    assert_eq!(ScsiResponsePdu::parse(&pdu.bhs).status, 0, "the volume's write is answered");
    assert_eq!(sense(&mut writer, VOLUME).await, None);
    assert_eq!(sense(&mut writer, SEED).await, RESET_OR_LOSS, "the reset unit tells it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_task_set_stops_ones_own_commands_only() {
    let rig = rig();
    let mut aborter = ready(&rig, 1).await;
    let mut other = ready(&rig, 2).await;
    rig.store.stall();
    other.send_write(8, &[2; 512]).await;
    aborter.send_write(0, &[1; 512]).await;
    until(|| rig.store.stalled_calls() == 2).await;
    aborter.send_task_management(TaskManagementFunction::AbortTaskSet).await;
    assert!(timeout(A_WHILE, aborter.receive()).await.is_err());
    rig.store.resume();
    let pdu = timeout(SOON, aborter.receive()).await.unwrap();
    is_complete(&pdu, &aborter);
    let pdu = timeout(SOON, other.receive()).await.unwrap();
    assert_eq!(ScsiResponsePdu::parse(&pdu.bhs).status, 0);
    assert_eq!(sense(&mut other, VOLUME).await, None);
    assert_eq!(sense(&mut aborter, VOLUME).await, None);
}

/// RFC 7143 §11.5.1: the sessions end. The response comes first, also when it had to wait for a write of one's own.
#[tokio::test(flavor = "multi_thread")]
async fn a_cold_reset_is_answered_before_all_sessions_end() {
    let rig = rig();
    let mut resetter = ready(&rig, 1).await;
    let mut other = ready(&rig, 2).await;
    rig.store.stall();
    resetter.send_write(0, &[1; 512]).await;
    other.send_write(8, &[2; 512]).await;
    until(|| rig.store.stalled_calls() == 2).await;
    resetter.send_task_management(TaskManagementFunction::TargetColdReset).await;
    assert!(timeout(A_WHILE, resetter.receive()).await.is_err(), "both writes are still under way");
    rig.store.resume();
    let pdu = timeout(SOON, resetter.receive()).await.unwrap();
    is_complete(&pdu, &resetter);
    assert_eq!(rig.store.writes_done(), 2);
    assert!(resetter.is_at_end().await && other.is_at_end().await);
    until(|| rig.sessions() == 0).await;
}

/// SANITIZE is waited for by its own command: who else logs out, or aborts commands of his own, does not end that.
#[tokio::test(flavor = "multi_thread")]
async fn a_sanitize_is_answered_when_it_has_ended_whoever_else_goes() {
    let rig = rig();
    let mut eraser = ready(&rig, 1).await;
    let mut other = ready(&rig, 2).await;
    rig.store.stall();
    eraser.send_command(SANITIZE_BLOCK_ERASE, 0, &[]).await;
    until(|| rig.store.stalled_calls() == 1).await;
    manage(&mut other, TaskManagementFunction::AbortTaskSet, VOLUME).await;
    other.log_out().await;
    assert!(other.is_at_end().await);
    assert!(timeout(A_WHILE, eraser.receive()).await.is_err(), "it is still at work");
    rig.store.resume();
    let pdu = timeout(SOON, eraser.receive()).await.unwrap();
    assert_eq!(ScsiResponsePdu::parse(&pdu.bhs).status, 0);
}

/// A command that is aborted itself is not waited for: what it began goes on without it.
#[tokio::test(flavor = "multi_thread")]
async fn an_abort_does_not_wait_for_a_sanitize() {
    let rig = rig();
    for function in [TaskManagementFunction::AbortTaskSet, TaskManagementFunction::LogicalUnitReset] {
        let mut eraser = ready(&rig, 1).await;
        let calls = rig.store.stalled_calls();
        rig.store.stall();
        eraser.send_command(SANITIZE_BLOCK_ERASE, 0, &[]).await;
        until(|| rig.store.stalled_calls() > calls).await;
        manage(&mut eraser, function, VOLUME).await;
        rig.store.resume();
        eraser.clear_attention().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_is_no_task_is_told() {
    let rig = rig();
    let mut client = ready(&rig, 1).await;
    client.send_task_management(TaskManagementFunction::AbortTask).await;
    let response = TaskManagementResponsePdu::parse(&client.receive().await.bhs);
    assert_eq!((response.response, response.initiator_task_tag), (1, client.last_tag()));
    assert_ne!(client.last_tag(), InitiatorTaskTag::RESERVED);
}
