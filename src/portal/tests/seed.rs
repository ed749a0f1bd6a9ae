//! A target with a second logical unit, which is only read.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use iscsi::wire::{Opcode, ScsiResponsePdu};
use iscsi::{LogicalUnitNumber, TaskManagementFunction};
use scsi::UnitConfig;
use tokio::time::timeout;

use super::client::Client;
use super::{Rig, SOON, TARGET};
use crate::exports::Access;
use crate::lun::{Lun, LunConfig, ReadOnlyMemory};

pub(super) const VOLUME: LogicalUnitNumber = LogicalUnitNumber::ZERO;
pub(super) const SEED: LogicalUnitNumber = LogicalUnitNumber([0, 1, 0, 0, 0, 0, 0, 0]);
const NOTHING: LogicalUnitNumber = LogicalUnitNumber([0, 2, 0, 0, 0, 0, 0, 0]);

pub(super) fn rig() -> Rig {
    let unit = UnitConfig {
        read_only: true,
        number: 1,
        numbers: vec![0, 1],
        ..UnitConfig::volume([8; 16], TARGET, 0)
    };
    let config = LunConfig { unit, reservations: None, room: None };
    let seed = Lun::open(config, Arc::new(ReadOnlyMemory::new(vec![9; 64 << 10]))).unwrap();
    Rig::with_seed(IpAddr::V4(Ipv4Addr::LOCALHOST), Access::default(), Some(seed))
}

/// Key and code of the sense that the next TEST UNIT READY brings; none when the unit is ready.
pub(super) async fn sense(client: &mut Client, lun: LogicalUnitNumber) -> Option<(u8, u8)> {
    client.lun = lun;
    let pdu = client.test_unit_ready().await;
    (ScsiResponsePdu::parse(&pdu.bhs).status == 2).then(|| (pdu.data[4] & 0x0F, pdu.data[2 + 12]))
}

async fn ready(rig: &Rig, isid: u8) -> Client {
    let mut client = rig.log_in(isid).await;
    client.lun = SEED;
    client.clear_attention().await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_is_read_beside_the_volume_and_never_written() {
    let rig = rig();
    let mut client = ready(&rig, 1).await;
    assert_eq!(client.read(127, 512).await, [9; 512]);
    assert_eq!(client.write(0, &[1; 512]).await, 2);
    assert_eq!(client.read(0, 512).await, [9; 512]);
    client.lun = VOLUME;
    assert_eq!(client.write(0, &[1; 512]).await, 0);
    assert_eq!(client.read(0, 512).await, [1; 512]);
    assert_eq!(sense(&mut client, NOTHING).await, Some((5, 0x25)));
    for lun in [VOLUME, SEED, NOTHING] {
        client.lun = lun;
        client.send_command([0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0], 24, &[]).await;
        let told = client.receive().await.data;
        assert_eq!(told[..], [&[0, 0, 0, 16, 0, 0, 0, 0][..], &VOLUME.0, &SEED.0].concat());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_reaches_the_unit_that_it_means() {
    let rig = rig();
    let mut other = ready(&rig, 1).await;
    let mut resetter = ready(&rig, 2).await;
    resetter.send_task_management(TaskManagementFunction::LogicalUnitReset).await;
    let pdu = timeout(SOON, resetter.receive()).await.unwrap();
    assert_eq!(Opcode::of(&pdu.bhs), Opcode::TaskManagementResponse);
    assert_eq!(sense(&mut other, VOLUME).await, None);
    assert_eq!(sense(&mut other, SEED).await, Some((6, 0x29)));
    resetter.send_task_management(TaskManagementFunction::TargetWarmReset).await;
    let _ = timeout(SOON, resetter.receive()).await.unwrap();
    assert_eq!(sense(&mut other, VOLUME).await, Some((6, 0x29)));
    assert_eq!(sense(&mut other, SEED).await, Some((6, 0x29)));
    resetter.lun = NOTHING;
    resetter.send_task_management(TaskManagementFunction::LogicalUnitReset).await;
    let pdu = timeout(SOON, resetter.receive()).await.unwrap();
    assert_eq!(pdu.bhs[2], 2, "the unit does not exist");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_session_leaves_both_units() {
    let rig = rig();
    for isid in 0..40 {
        let mut client = ready(&rig, isid).await;
        // RESERVE(6) of the seed: the next session finds it free.
        client.send_command([0x16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0, &[]).await;
        assert_eq!(ScsiResponsePdu::parse(&client.receive().await.bhs).status, 0);
        client.log_out().await;
        super::until(|| rig.sessions() == 0).await;
    }
}
