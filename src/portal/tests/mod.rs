//! Portals on loopback: a small initiator, and a store in memory that stalls when a test wants it to.

mod chap;
mod client;
mod exclusive;
mod seed;
mod store;
mod task_management;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use iscsi::wire::{AsyncEvent, AsyncMessage, NopIn, Opcode, ScsiResponsePdu};
use iscsi::{IscsiName, LoginStatus, TaskManagementFunction};
use scsi::UnitConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::limits::JOBS_PER_CONNECTION_MAX;
use super::{PortalConfig, Portals, bind};
use crate::exports::{Access, Directory, Luns};
use crate::lun::{Lun, LunConfig};
use client::Client;
use store::StallingStore;

const TARGET: &str = "iqn.2026-01.test:disk";
const SOON: Duration = Duration::from_secs(5);
/// Long enough for what must not happen to happen.
const A_WHILE: Duration = Duration::from_millis(150);

struct Rig {
    directory: Arc<Directory>,
    portals: Portals,
    store: Arc<StallingStore>,
    address: SocketAddr,
    _resumes: Resumes,
}

/// A test that fails while the store stalls must not wait for it: its runtime ends when all threads have.
struct Resumes(Weak<StallingStore>);

impl Drop for Resumes {
    fn drop(&mut self) {
        if let Some(store) = self.0.upgrade() {
            store.resume();
        }
    }
}

impl Rig {
    fn new() -> Self {
        Self::with_access(IpAddr::V4(Ipv4Addr::LOCALHOST), Access::default())
    }

    fn with_access(ip: IpAddr, access: Access) -> Self {
        Self::with_seed(ip, access, None)
    }

    fn with_seed(ip: IpAddr, access: Access, seed: Option<Arc<Lun>>) -> Self {
        let directory = Directory::new();
        let store = Arc::new(StallingStore::default());
        let opened = store.clone();
        let open = move || {
            let numbers = if seed.is_some() { vec![0, 1] } else { vec![0] };
            let unit = UnitConfig { numbers, ..UnitConfig::volume([7; 16], TARGET, 0) };
            let volume = Lun::open(LunConfig { unit, reservations: None, room: None }, opened.clone())?;
            Ok(Luns { volume, seed: seed.clone() })
        };
        directory.add(name(TARGET), access, Box::new(open));
        let listener = bind(SocketAddr::new(ip, 0)).unwrap();
        let portals = Portals::serve(vec![listener], directory.clone(), PortalConfig::default()).unwrap();
        let address = portals.listening()[0];
        let _resumes = Resumes(Arc::downgrade(&store));
        Self { directory, portals, store, address, _resumes }
    }

    async fn log_in(&self, isid: u8) -> Client {
        let mut client = Client::connect(self.address).await;
        assert_eq!(client.log_in(TARGET, isid).await, LoginStatus::Success.class_and_detail());
        client.clear_attention().await;
        client
    }

    fn sessions(&self) -> usize {
        self.directory.sessions(&name(TARGET)).len()
    }
}

fn name(text: &str) -> IscsiName {
    IscsiName::parse(text).unwrap()
}

/// Waits for something that another task brings about.
async fn until(what: impl Fn() -> bool) {
    let begin = Instant::now();
    while !what() {
        assert!(begin.elapsed() < SOON, "did not happen in time");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_read() {
    let rig = Rig::new();
    let mut client = rig.log_in(1).await;
    let data: Vec<u8> = (0..39_936u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    assert_eq!(client.write(3, &data).await, 0);
    assert_eq!(client.read(3, data.len()).await, data);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_ipv6() {
    let rig = Rig::with_access(IpAddr::V6(Ipv6Addr::LOCALHOST), Access::default());
    let mut client = rig.log_in(1).await;
    assert_eq!(client.read(0, 512).await, [0; 512]);
    let mut discoverer = Client::connect(rig.address).await;
    assert_eq!(
        discoverer.discover().await,
        format!("TargetName={TARGET}\0TargetAddress={},1\0", rig.address)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_log_in_discovers_nothing() {
    let access = Access { initiators: vec![name("iqn.2026-01.test:other")], ..Access::default() };
    let rig = Rig::with_access(IpAddr::V4(Ipv4Addr::LOCALHOST), access);
    let mut client = Client::connect(rig.address).await;
    assert_eq!(client.log_in(TARGET, 1).await, LoginStatus::AuthorizationFailure.class_and_detail());
    assert_eq!(Client::connect(rig.address).await.discover().await, "");
    let mut client = Client::connect(rig.address).await;
    assert_eq!(client.log_in("iqn.2026-01.test:none", 1).await, LoginStatus::NotFound.class_and_detail());
}

/// COMPAT L13: the new session begins when the old one's write can have no effect any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_reinstated_session_waits_for_the_writes_of_the_old_one() {
    let rig = Rig::new();
    let mut old = rig.log_in(1).await;
    rig.store.stall();
    old.send_write(0, &[0xaa; 4096]).await;
    until(|| rig.store.stalled_calls() == 1).await;
    let mut new = Client::connect(rig.address).await;
    assert!(timeout(A_WHILE, new.log_in(TARGET, 1)).await.is_err(), "the old write is still under way");
    rig.store.resume();
    assert_eq!(timeout(SOON, new.log_in_answer()).await.unwrap(), [0, 0]);
    assert_eq!(rig.store.writes_done(), 1, "it landed before the answer, not after");
    new.clear_attention().await;
    assert_eq!(new.read(0, 4096).await, [0xaa; 4096]);
    assert!(old.is_at_end().await);
    assert_eq!(rig.sessions(), 1);
}

/// COMPAT L13, P17: connections are cut in the middle of writes on a store that stalls now and then; once the next login
/// is through, nothing of the lost session changes the disk any more.
#[tokio::test(flavor = "multi_thread")]
async fn no_write_of_a_lost_session_lands_late() {
    let rig = Rig::new();
    let store = rig.store.clone();
    let stalls = tokio::task::spawn_blocking(move || {
        for _ in 0..200 {
            store.stall();
            std::thread::sleep(Duration::from_micros(700));
            store.resume();
            std::thread::sleep(Duration::from_micros(300));
        }
    });
    let mut round = 0u8;
    while !stalls.is_finished() {
        round = round.wrapping_add(1);
        let mut client = Client::connect(rig.address).await;
        assert_eq!(client.log_in(TARGET, 1).await, [0, 0]);
        let at_login = rig.store.bytes();
        tokio::time::sleep(Duration::from_millis(u64::from(round % 4))).await;
        assert!(rig.store.bytes() == at_login, "a late write in round {round}");
        for lba in 0..32 {
            client.send_write(lba * 8, &[round; 4096]).await;
        }
    }
    stalls.await.unwrap();
    assert!(round > 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_isid_is_a_session_beside_the_first() {
    let rig = Rig::new();
    let mut first = rig.log_in(1).await;
    let mut second = rig.log_in(2).await;
    assert_eq!(rig.sessions(), 2);
    assert_eq!(first.write(0, &[1; 512]).await, 0);
    assert_eq!(second.read(0, 512).await, [1; 512]);
    drop(first);
    until(|| rig.sessions() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_session_is_there_until_its_writes_have_ended() {
    let rig = Rig::new();
    let mut client = rig.log_in(1).await;
    rig.store.stall();
    client.send_write(0, &[1; 512]).await;
    until(|| rig.store.stalled_calls() == 1).await;
    drop(client);
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(rig.sessions(), 1);
    rig.store.resume();
    until(|| rig.sessions() == 0).await;
}

/// COMPAT P3.
#[tokio::test(flavor = "multi_thread")]
async fn pings_are_answered_while_the_store_stalls() {
    let rig = Rig::new();
    let mut client = rig.log_in(1).await;
    rig.store.stall();
    for _ in 0..64 {
        client.send_write(0, &[1; 512]).await;
    }
    for _ in 0..3 {
        client.ping().await;
        let pdu = timeout(Duration::from_secs(1), client.receive()).await.unwrap();
        assert_eq!(Opcode::of(&pdu.bhs), Opcode::NopIn);
        assert_eq!(pdu.data, "ping");
        assert_eq!(NopIn::parse(&pdu.bhs).initiator_task_tag, client.last_tag());
    }
    rig.store.resume();
    for _ in 0..64 {
        assert_eq!(Opcode::of(&client.receive().await.bhs), Opcode::ScsiResponse);
    }
}

/// COMPAT P3: more sessions than threads write to a store that does not come back and says so to nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn nobody_waits_for_commands_that_do_not_come_back() {
    let rig = Rig::new();
    let mut clients = Vec::new();
    for isid in 1..9 {
        clients.push(rig.log_in(isid).await);
    }
    rig.store.stall_without_a_word();
    for client in &mut clients {
        for _ in 0..100 {
            client.send_write(0, &[1; 512]).await;
        }
    }
    for client in &mut clients {
        client.ping().await;
        assert_eq!(Opcode::of(&timeout(SOON, client.receive()).await.unwrap().bhs), Opcode::NopIn);
    }
    timeout(SOON, rig.log_in(100)).await.unwrap();
    assert!(rig.store.stalled_calls() <= clients.len() * JOBS_PER_CONNECTION_MAX);
    rig.store.resume();
    for client in &mut clients {
        for _ in 0..100 {
            let pdu = timeout(SOON, client.receive()).await.unwrap();
            assert_eq!(ScsiResponsePdu::parse(&pdu.bhs).status, 0);
        }
        assert_eq!(client.read(0, 512).await, [1; 512]);
    }
    assert_eq!(rig.store.writes_done(), 800);
}

/// A connection that went on without its command is still there until the command has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_session_is_not_replaced_before_a_command_that_did_not_come_back() {
    let rig = Rig::new();
    let mut old = rig.log_in(1).await;
    rig.store.stall_without_a_word();
    for _ in 0..100 {
        old.send_write(0, &[0xaa; 4096]).await;
    }
    old.ping().await;
    assert_eq!(Opcode::of(&timeout(SOON, old.receive()).await.unwrap().bhs), Opcode::NopIn);
    let mut new = Client::connect(rig.address).await;
    assert!(timeout(A_WHILE, new.log_in(TARGET, 1)).await.is_err(), "the old writes are still under way");
    rig.store.resume();
    assert_eq!(timeout(SOON, new.log_in_answer()).await.unwrap(), [0, 0]);
    let landed = rig.store.writes_done();
    new.clear_attention().await;
    assert_eq!(new.read(0, 4096).await, [0xaa; 4096]);
    assert_eq!(rig.store.writes_done(), landed, "none came after the answer");
    assert_eq!(rig.sessions(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logical_unit_reset_waits_for_the_writes_of_other_sessions() {
    let rig = Rig::new();
    let mut writer = rig.log_in(1).await;
    let mut resetter = rig.log_in(2).await;
    rig.store.stall();
    writer.send_write(0, &[1; 512]).await;
    until(|| rig.store.stalled_calls() == 1).await;
    resetter.send_task_management(TaskManagementFunction::LogicalUnitReset).await;
    assert!(timeout(A_WHILE, resetter.receive()).await.is_err());
    rig.store.resume();
    let pdu = timeout(SOON, resetter.receive()).await.unwrap();
    assert_eq!(Opcode::of(&pdu.bhs), Opcode::TaskManagementResponse);
    assert_eq!(rig.store.writes_done(), 1);
    // The aborted write is never answered; the next command tells of the reset (SPC-4: 29h/03h).
    let pdu = writer.test_unit_ready().await;
    assert_eq!(ScsiResponsePdu::parse(&pdu.bhs).status, 2);
    assert_eq!(pdu.data[2 + 12], 0x29);
}

/// RFC 7143 §11.5.1, §11.6.1: like a power-on event. Whoever asks hears the answer, then all connections are closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_cold_reset_ends_all_sessions_of_the_target() {
    let rig = Rig::new();
    let mut other = rig.log_in(1).await;
    let mut resetter = rig.log_in(2).await;
    resetter.send_task_management(TaskManagementFunction::TargetColdReset).await;
    let pdu = timeout(SOON, resetter.receive()).await.unwrap();
    assert_eq!(Opcode::of(&pdu.bhs), Opcode::TaskManagementResponse);
    assert!(timeout(SOON, resetter.is_at_end()).await.unwrap());
    assert!(timeout(SOON, other.is_at_end()).await.unwrap());
    until(|| rig.sessions() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_in_use_is_removed_by_force_only() {
    let rig = Rig::new();
    let mut client = rig.log_in(1).await;
    let in_use = rig.directory.remove(&name(TARGET), false).await.unwrap_err();
    assert_eq!(in_use.0[0].initiator, name(client::INITIATOR));
    assert_eq!(client.read(0, 512).await, [0; 512]);
    let (directory, target) = (rig.directory.clone(), name(TARGET));
    let removal = tokio::spawn(async move { directory.remove(&target, true).await });
    let message = AsyncMessage::parse(&timeout(SOON, client.receive()).await.unwrap().bhs);
    assert_eq!(message.event, AsyncEvent::RequestLogout);
    // It may finish what it has begun, and need not log out.
    assert_eq!(client.write(0, &[1; 512]).await, 0);
    timeout(SOON, removal).await.unwrap().unwrap().unwrap();
    assert!(client.is_at_end().await);
    assert_eq!(rig.sessions(), 0);
    assert_eq!(Arc::strong_count(&rig.store), 1, "the store is let go");
    let mut client = Client::connect(rig.address).await;
    assert_eq!(client.log_in(TARGET, 1).await, LoginStatus::NotFound.class_and_detail());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_logged_in_is_told_and_can_be_ended() {
    let rig = Rig::new();
    let mut client = rig.log_in(1).await;
    let other = rig.log_in(2).await;
    until(|| rig.directory.logged_in().iter().all(|session| session.agreed.is_some())).await;
    let found = rig.directory.logged_in();
    let session = found.iter().find(|session| session.listing.isid.0[5] == 1).unwrap();
    assert_eq!((found.len(), session.target.as_ref()), (2, Some(&name(TARGET))));
    assert_eq!((session.portal, session.listing.initiator.as_str()), (rig.address, client::INITIATOR));
    let (directory, tsih) = (rig.directory.clone(), session.tsih);
    let ended = tokio::spawn(async move { directory.end_session(tsih).await });
    let message = AsyncMessage::parse(&timeout(SOON, client.receive()).await.unwrap().bhs);
    assert_eq!(message.event, AsyncEvent::RequestLogout);
    client.log_out().await;
    assert!(timeout(SOON, ended).await.unwrap().unwrap());
    assert_eq!(rig.sessions(), 1);
    assert!(!rig.directory.end_session(tsih).await, "it is gone");
    drop(other);
}

/// COMPAT L18.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_silent_connections_do_not_delay_a_login() {
    let rig = Rig::new();
    let mut silent = Vec::new();
    for _ in 0..1000 {
        silent.push(TcpStream::connect(rig.address).await.unwrap());
    }
    let begin = Instant::now();
    let mut client = rig.log_in(1).await;
    assert_eq!(client.read(0, 512).await, [0; 512]);
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_asks_for_a_logout_and_frees_the_port() {
    let rig = Rig::new();
    let mut client = rig.log_in(1).await;
    let (address, stop) = (rig.address, tokio::spawn(rig.portals.stop(SOON)));
    let message = AsyncMessage::parse(&timeout(SOON, client.receive()).await.unwrap().bhs);
    assert_eq!((message.event, message.parameter3), (AsyncEvent::RequestLogout, 5));
    client.log_out().await;
    assert_eq!(Opcode::of(&client.receive().await.bhs), Opcode::LogoutResponse);
    timeout(SOON, stop).await.unwrap().unwrap();
    assert!(client.is_at_end().await);
    assert!(TcpStream::connect(address).await.is_err());
    bind(address).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_log_out_is_cut_off_after_the_grace() {
    let rig = Rig::new();
    let mut client = rig.log_in(1).await;
    timeout(SOON, rig.portals.stop(Duration::from_millis(50))).await.unwrap();
    client.receive().await;
    assert!(client.is_at_end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_logins_leave_nothing_behind() {
    let rig = Rig::new();
    for round in 0..1000u32 {
        let mut client = Client::connect(rig.address).await;
        assert_eq!(client.log_in(TARGET, 1).await, [0, 0]);
        if round % 2 == 0 {
            client.log_out().await;
        }
    }
    until(|| rig.sessions() == 0).await;
    assert_eq!(rig.directory.session_count(), 0);
}
