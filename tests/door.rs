//! Doors over a real socket, with a volume that fails where a test wants it to, and clients that behave badly.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]

#[path = "support/nbd.rs"]
mod nbd_client;
#[path = "support/sick.rs"]
mod sick;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cow::Kind;
use nbd_client::{Client, DISC, FLUSH, READ, TRIM, WRITE, WRITE_ZEROES};
use osvold::door::{Door, DoorSettings, Verdict};
use sick::SickDisk;
use tempfile::TempDir;

const EIO: u32 = 5;
const EPERM: u32 = 1;
const EINVAL: u32 = 22;
const FUA: u16 = 1;

struct Room {
    directory: TempDir,
    disk: Arc<SickDisk>,
}

impl Room {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), disk: Arc::new(SickDisk::new(8 << 20)) }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("disk.sock")
    }

    fn open(&self) -> Door {
        self.open_with(DoorSettings { read_only: false, clients_max: 4 })
    }

    fn open_with(&self, settings: DoorSettings) -> Door {
        Door::open(&self.socket(), self.disk.clone(), settings).unwrap()
    }

    fn client(&self) -> Client {
        Client::connect(&self.socket())
    }
}

/// Something that a client does, on a thread of its own: it blocks.
async fn client<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(act).await.unwrap()
}

fn unsound(verdict: &Verdict, why: &str) {
    let said = verdict.sound().unwrap_err();
    assert!(said.contains(why), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_and_flushed_is_sound() {
    let room = Room::new();
    let door = room.open();
    let mode = std::fs::metadata(room.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut peer = room.client();
    client(move || {
        assert_eq!(peer.write(4096, &[7; 8192]), 0);
        assert_eq!(peer.ask(0, TRIM, 0, 4096), 0);
        assert_eq!(peer.ask(0, WRITE_ZEROES, 8192, 512), 0);
        assert_eq!(peer.ask(0, FLUSH, 0, 0), 0);
        assert_eq!(peer.read(7680, 1024), Ok([[7_u8; 512], [0; 512]].concat()));
        peer.disconnect();
    })
    .await;
    let verdict = door.close().await;
    assert_eq!(verdict.sound(), Ok(()));
    assert_eq!((verdict.connections, verdict.writes, verdict.lost), (1, 3, 0));
    assert!(!room.socket().exists());
    assert_eq!(room.disk.bytes(4096, 2), [7, 7]);
    assert_eq!(Arc::strong_count(&room.disk), 1, "nothing holds the volume");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_after_the_last_flush_is_not_sound() {
    for (act, flags, sound) in
        [(WRITE, 0, false), (TRIM, 0, false), (WRITE_ZEROES, 0, false), (WRITE, FUA, true)]
    {
        let room = Room::new();
        let door = room.open();
        let mut peer = room.client();
        client(move || {
            assert_eq!(peer.ask(0, FLUSH, 0, 0), 0);
            let answer = match act {
                WRITE => peer.write_with(flags, 0, &[1; 512]),
                other => peer.ask(flags, other, 0, 512),
            };
            assert_eq!(answer, 0);
            peer.disconnect();
        })
        .await;
        let verdict = door.close().await;
        assert_eq!(verdict.sound().is_ok(), sound, "{act} {flags}");
        if !sound {
            unsound(&verdict, "no flush followed the last write");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_error_is_latched_and_no_space_is_an_input_output_error() {
    for (kind, words) in [
        (Kind::Io, "write of 512 bytes at 0: the disk under the store failed"),
        (Kind::NoSpace, "no space is left for the volume"),
        (Kind::Poisoned, "an earlier write or sync failed"),
    ] {
        let room = Room::new();
        let door = room.open();
        let (mut peer, disk) = (room.client(), room.disk.clone());
        client(move || {
            disk.fail(Some(kind));
            assert_eq!(peer.write(0, &[1; 512]), EIO);
            disk.fail(None);
            // All is well again, and the client never says that it was not.
            assert_eq!(peer.write(0, &[1; 512]), 0);
            assert_eq!(peer.ask(0, FLUSH, 0, 0), 0);
            peer.disconnect();
        })
        .await;
        unsound(&door.close().await, words);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_reads_trims_and_flushes_are_latched_too() {
    for (command, bytes) in [(READ, 512), (TRIM, 512), (WRITE_ZEROES, 512), (FLUSH, 0)] {
        let room = Room::new();
        let door = room.open();
        let (mut peer, disk) = (room.client(), room.disk.clone());
        client(move || {
            disk.fail(Some(Kind::Io));
            assert_eq!(peer.ask(0, command, 0, bytes), EIO);
            peer.disconnect();
        })
        .await;
        unsound(&door.close().await, "failed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_requests_are_latched() {
    let room = Room::new();
    let door = room.open_with(DoorSettings { read_only: true, clients_max: 1 });
    let mut peer = room.client();
    client(move || {
        assert_eq!(peer.write(0, &[1; 512]), EPERM);
        assert_eq!(peer.ask(0, READ, 1, 512), EINVAL);
        assert_eq!(peer.read(0, 512), Ok(vec![0; 512]));
        peer.disconnect();
    })
    .await;
    let verdict = door.close().await;
    unsound(&verdict, "read-only");
    assert_eq!((verdict.faults.len(), verdict.writes), (2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_ends_without_a_disconnect_is_lost() {
    let room = Room::new();
    let door = room.open();
    let mut peer = room.client();
    client(move || {
        assert_eq!(peer.write(0, &[1; 512]), 0);
        assert_eq!(peer.ask(0, FLUSH, 0, 0), 0);
        drop(peer);
    })
    .await;
    let verdict = door.close().await;
    assert_eq!(verdict.lost, 1);
    unsound(&verdict, "the client is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_in_transmission_is_a_lost_connection_and_others_go_on() {
    let room = Room::new();
    let door = room.open();
    let (mut good, mut bad) = (room.client(), room.client());
    client(move || {
        bad.send(&[0xff; 28]);
        assert!(bad.is_closed());
        assert_eq!(good.read(0, 512), Ok(vec![0; 512]));
        good.disconnect();
    })
    .await;
    unsound(&door.close().await, "magic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_still_there_at_the_end_is_lost() {
    let room = Room::new();
    let door = room.open();
    let peer = room.client();
    let verdict = door.close().await;
    unsound(&verdict, "had not disconnected");
    drop(peer);
}

#[tokio::test]
async fn what_was_sent_before_the_end_is_done_and_counts() {
    let room = Room::new();
    let door = room.open();
    // The runtime of this test has one thread, which is here: nobody has even accepted the connection.
    let mut peer = Client::greeted(&room.socket());
    peer.send(&Client::hello());
    peer.send(&[Client::write_request(0, 0, &[9; 4096]), Client::request(0, FLUSH, 0, 0)].concat());
    peer.send(&Client::request(0, DISC, 0, 0));
    drop(peer);
    let verdict = door.close().await;
    assert_eq!((verdict.sound(), verdict.writes), (Ok(()), 1));
    assert_eq!(room.disk.bytes(4095, 2), [9, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_store_holds_up_neither_the_close_nor_other_doors() {
    let room = Room::new();
    let door = room.open();
    let (mut peer, disk) = (room.client(), room.disk.clone());
    disk.hang(true);
    client(move || {
        peer.send(&Client::write_request(0, 0, &[1; 512]));
        // With its client gone, the request still waits.
        drop(peer);
    })
    .await;
    let healthy = Room::new();
    let other = healthy.open();
    let mut peer = healthy.client();
    client(move || {
        assert_eq!(peer.read(0, 512), Ok(vec![0; 512]));
        peer.disconnect();
    })
    .await;
    assert_eq!(other.close().await.sound(), Ok(()));
    let start = Instant::now();
    let verdict = door.close().await;
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    assert!(verdict.faults.iter().any(|fault| fault.contains("had not ended")), "{verdict:?}");
    assert!(verdict.sound().is_err() && verdict.unflushed);
    disk.hang(false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_waits_holds_up_no_other() {
    let room = Room::new();
    let door = room.open();
    let (mut slow, mut quick, disk) = (room.client(), room.client(), room.disk.clone());
    client(move || {
        disk.hang(true);
        slow.send(&Client::request(0, FLUSH, 0, 0));
        let start = Instant::now();
        while disk.waiting.load(Ordering::Acquire) == 0 {
            assert!(start.elapsed() < Duration::from_secs(30), "the flush has not reached the volume");
            std::thread::yield_now();
        }
        // The same connection, and another one.
        slow.send(&Client::request(0, READ, 0, 512));
        assert_eq!(slow.reply_with_data(512), Ok(vec![0; 512]));
        assert_eq!(quick.read(0, 512), Ok(vec![0; 512]));
        disk.hang(false);
        assert_eq!(slow.reply(), 0);
        slow.disconnect();
        quick.disconnect();
    })
    .await;
    assert_eq!(door.close().await.sound(), Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cold_data_is_read_on_the_pool() {
    let room = Room::new();
    let door = room.open();
    room.disk.cold.store(true, Ordering::Release);
    let mut peer = room.client();
    client(move || {
        assert_eq!(peer.write(512, &[5; 512]), 0);
        assert_eq!(peer.read(512, 512), Ok(vec![5; 512]));
        assert_eq!(peer.ask(0, FLUSH, 0, 0), 0);
        peer.disconnect();
    })
    .await;
    let verdict = door.close().await;
    assert_eq!((verdict.sound(), verdict.writes), (Ok(()), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_keep_nobody_out() {
    let room = Room::new();
    let door = room.open();
    let socket = room.socket();
    client(move || {
        let idle: Vec<_> = (0..100).map(|_| Client::greeted(&socket)).collect();
        let start = Instant::now();
        let mut peer = Client::connect(&socket);
        assert_eq!(peer.read(0, 512), Ok(vec![0; 512]));
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        peer.disconnect();
        drop(idle);
    })
    .await;
    let verdict = door.close().await;
    assert_eq!((verdict.sound(), verdict.connections, verdict.lost), (Ok(()), 1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_beyond_the_number_are_turned_away() {
    let room = Room::new();
    let door = room.open_with(DoorSettings { read_only: false, clients_max: 1 });
    let socket = room.socket();
    client(move || {
        let mut first = Client::connect(&socket);
        assert_eq!(first.read(0, 512), Ok(vec![0; 512]));
        assert!(Client::try_connect(&socket).is_none());
        first.disconnect();
        // Its place is free a moment later.
        let start = Instant::now();
        let second = std::iter::repeat_with(|| Client::try_connect(&socket)).find_map(|client| client);
        assert!(start.elapsed() < Duration::from_secs(5));
        second.unwrap().disconnect();
    })
    .await;
    assert_eq!(door.close().await.sound(), Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_is_checked_before_anything_is_made() {
    let room = Room::new();
    let settings = DoorSettings { read_only: true, clients_max: 1 };
    let refused = |path: &std::path::Path| {
        Door::open(path, room.disk.clone(), settings).err().expect("must be refused").to_string()
    };
    let long = room.directory.path().join("x".repeat(100));
    assert!(refused(&long).contains("bytes; a socket's path may have 107"), "{}", refused(&long));
    let file = room.directory.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    assert!(refused(&file).contains("not a socket"));
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    let door = room.open();
    assert!(refused(&room.socket()).contains("somebody listens"));
    drop(door);

    // A socket of a process that has died is replaced.
    let stale = room.directory.path().join("stale");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    assert!(stale.exists());
    let door = Door::open(&stale, room.disk.clone(), settings).unwrap();
    assert_eq!(door.close().await.sound(), Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_door_leaves_no_socket_and_serves_no_more() {
    let room = Room::new();
    let door = room.open();
    let mut peer = room.client();
    drop(door);
    assert!(!room.socket().exists());
    client(move || assert!(peer.is_closed())).await;
}
